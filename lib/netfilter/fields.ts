/** What of a packet, its connection or its way can be looked at: how nf_tables loads it into a register, and its type. */

import type { DataTypeName } from './data-types.js';

export type PayloadBase = 'link' | 'network' | 'transport';
export const payloadBases = { link: 0, network: 1, transport: 2 } as const;

/** Keys of the kernel's `meta` expression (enum nft_meta_keys). */
export const metaKeys = {
  len: 0,
  protocol: 1,
  priority: 2,
  mark: 3,
  iif: 4,
  oif: 5,
  iifname: 6,
  oifname: 7,
  iiftype: 8,
  oiftype: 9,
  skuid: 10,
  skgid: 11,
  nftrace: 12,
  nfproto: 15,
  l4proto: 16,
  ibrname: 17,
  obrname: 18,
  pkttype: 19,
  cpu: 20,
  iifgroup: 21,
  oifgroup: 22,
  cgroup: 23,
} as const;

/** Keys of the kernel's `ct` expression (enum nft_ct_keys). */
export const trackingKeys = {
  state: 0,
  direction: 1,
  status: 2,
  mark: 3,
  protocol: 10,
  protoSrc: 11,
  protoDst: 12,
  zone: 17,
  srcIp: 19,
  dstIp: 20,
  srcIp6: 21,
  dstIp6: 22,
} as const;

export type Load =
  | { readonly kind: 'payload'; readonly base: PayloadBase; readonly offset: number }
  | { readonly kind: 'meta'; readonly key: keyof typeof metaKeys }
  | { readonly kind: 'ct'; readonly key: keyof typeof trackingKeys; readonly direction?: 0 | 1 }
  | { readonly kind: 'fib'; readonly result: number; readonly flags: number }
  | { readonly kind: 'socket'; readonly key: number };

/** What must hold of a packet for a field to be there at all. */
export interface Need {
  readonly network?: 'ip' | 'ip6' | 'arp';
  /** Number of the protocol above. */
  readonly transport?: number;
  /** A frame of Ethernet. */
  readonly link?: true;
}

export interface FieldSpec {
  readonly type: DataTypeName;
  readonly load: Load;
  readonly needs?: Need;
  /** Where only some bits of a byte are meant. */
  readonly bits?: { readonly mask: number; readonly shift: number };
}

const ip: Need = { network: 'ip' };
const ip6: Need = { network: 'ip6' };
const arp: Need = { network: 'arp' };
const link: Need = { link: true };

function network(offset: number, type: DataTypeName, needs: Need): FieldSpec {
  return { type, load: { kind: 'payload', base: 'network', offset }, needs };
}

function transport(offset: number, type: DataTypeName, protocol: number | undefined, over?: 'ip' | 'ip6'): FieldSpec {
  const load: Load = { kind: 'payload', base: 'transport', offset };
  if (protocol === undefined) return { type, load };
  return { type, load, needs: { transport: protocol, ...(over && { network: over }) } };
}

function frame(offset: number, type: DataTypeName): FieldSpec {
  return { type, load: { kind: 'payload', base: 'link', offset }, needs: link };
}

function meta(key: keyof typeof metaKeys, type: DataTypeName): FieldSpec {
  return { type, load: { kind: 'meta', key } };
}

function ct(key: keyof typeof trackingKeys, type: DataTypeName, direction?: 0 | 1): FieldSpec {
  return { type, load: { kind: 'ct', key, ...(direction !== undefined && { direction }) } };
}

const fibResult = { oif: 1, type: 3 } as const;
const fibFlag = { saddr: 1, daddr: 2, iif: 8, oif: 16, present: 32 } as const;

function fib(result: number, flags: number, type: DataTypeName): FieldSpec {
  return { type, load: { kind: 'fib', result, flags } };
}

/** Every field, by the words of nft(8), "PAYLOAD EXPRESSIONS", "META EXPRESSIONS", "CT EXPRESSIONS", "FIB EXPRESSIONS". */
export const fields = {
  'ether daddr': frame(0, 'ether_addr'),
  'ether saddr': frame(6, 'ether_addr'),
  'ether type': frame(12, 'ether_type'),
  'arp operation': network(6, 'arp_op', arp),
  'arp saddr ether': network(8, 'ether_addr', arp),
  'arp saddr ip': network(14, 'ipv4_addr', arp),
  'arp daddr ether': network(18, 'ether_addr', arp),
  'arp daddr ip': network(24, 'ipv4_addr', arp),
  'ip dscp': { ...network(1, 'dscp', ip), bits: { mask: 0xfc, shift: 2 } },
  'ip length': network(2, 'integer16', ip),
  'ip id': network(4, 'integer16', ip),
  'ip ttl': network(8, 'integer8', ip),
  'ip protocol': network(9, 'inet_proto', ip),
  'ip saddr': network(12, 'ipv4_addr', ip),
  'ip daddr': network(16, 'ipv4_addr', ip),
  'ip6 length': network(4, 'integer16', ip6),
  'ip6 nexthdr': network(6, 'inet_proto', ip6),
  'ip6 hoplimit': network(7, 'integer8', ip6),
  'ip6 saddr': network(8, 'ipv6_addr', ip6),
  'ip6 daddr': network(24, 'ipv6_addr', ip6),
  'icmp type': transport(0, 'icmp_type', 1, 'ip'),
  'icmp code': transport(1, 'icmp_code', 1, 'ip'),
  'icmpv6 type': transport(0, 'icmpv6_type', 58, 'ip6'),
  'icmpv6 code': transport(1, 'icmpv6_code', 58, 'ip6'),
  'tcp sport': transport(0, 'inet_service', 6),
  'tcp dport': transport(2, 'inet_service', 6),
  'tcp flags': transport(13, 'tcp_flag', 6),
  'udp sport': transport(0, 'inet_service', 17),
  'udp dport': transport(2, 'inet_service', 17),
  'udp length': transport(4, 'integer16', 17),
  'sctp sport': transport(0, 'inet_service', 132),
  'sctp dport': transport(2, 'inet_service', 132),
  'th sport': transport(0, 'inet_service', undefined),
  'th dport': transport(2, 'inet_service', undefined),
  'meta length': meta('len', 'integer32'),
  'meta protocol': meta('protocol', 'ether_type'),
  'meta mark': meta('mark', 'mark'),
  iif: meta('iif', 'iface_index'),
  oif: meta('oif', 'iface_index'),
  iifname: meta('iifname', 'ifname'),
  oifname: meta('oifname', 'ifname'),
  iiftype: meta('iiftype', 'iface_type'),
  oiftype: meta('oiftype', 'iface_type'),
  iifgroup: meta('iifgroup', 'devgroup'),
  oifgroup: meta('oifgroup', 'devgroup'),
  'meta ibrname': meta('ibrname', 'ifname'),
  'meta obrname': meta('obrname', 'ifname'),
  'meta skuid': meta('skuid', 'uid'),
  'meta skgid': meta('skgid', 'gid'),
  'meta nfproto': meta('nfproto', 'nf_proto'),
  'meta l4proto': meta('l4proto', 'inet_proto'),
  'meta pkttype': meta('pkttype', 'pkt_type'),
  'meta cpu': meta('cpu', 'integer32'),
  'meta cgroup': meta('cgroup', 'integer32'),
  'ct state': ct('state', 'ct_state'),
  'ct status': ct('status', 'ct_status'),
  'ct direction': ct('direction', 'ct_dir'),
  'ct mark': ct('mark', 'mark'),
  'ct zone': ct('zone', 'integer16host'),
  'ct original protocol': ct('protocol', 'inet_proto', 0),
  'ct reply protocol': ct('protocol', 'inet_proto', 1),
  'ct original ip saddr': ct('srcIp', 'ipv4_addr', 0),
  'ct original ip daddr': ct('dstIp', 'ipv4_addr', 0),
  'ct reply ip saddr': ct('srcIp', 'ipv4_addr', 1),
  'ct reply ip daddr': ct('dstIp', 'ipv4_addr', 1),
  'ct original ip6 saddr': ct('srcIp6', 'ipv6_addr', 0),
  'ct original ip6 daddr': ct('dstIp6', 'ipv6_addr', 0),
  'ct reply ip6 saddr': ct('srcIp6', 'ipv6_addr', 1),
  'ct reply ip6 daddr': ct('dstIp6', 'ipv6_addr', 1),
  'ct original proto-src': ct('protoSrc', 'inet_service', 0),
  'ct original proto-dst': ct('protoDst', 'inet_service', 0),
  'ct reply proto-src': ct('protoSrc', 'inet_service', 1),
  'ct reply proto-dst': ct('protoDst', 'inet_service', 1),
  'fib saddr type': fib(fibResult.type, fibFlag.saddr, 'fib_addrtype'),
  'fib daddr type': fib(fibResult.type, fibFlag.daddr, 'fib_addrtype'),
  'fib saddr . iif type': fib(fibResult.type, fibFlag.saddr | fibFlag.iif, 'fib_addrtype'),
  'fib daddr . iif type': fib(fibResult.type, fibFlag.daddr | fibFlag.iif, 'fib_addrtype'),
  'fib saddr oif': fib(fibResult.oif, fibFlag.saddr | fibFlag.present, 'boolean'),
  'fib daddr oif': fib(fibResult.oif, fibFlag.daddr | fibFlag.present, 'boolean'),
  'fib saddr . iif oif': fib(fibResult.oif, fibFlag.saddr | fibFlag.iif | fibFlag.present, 'boolean'),
  'socket transparent': { type: 'integer8', load: { kind: 'socket', key: 0 } },
  'socket mark': { type: 'mark', load: { kind: 'socket', key: 1 } },
} as const satisfies Readonly<Record<string, FieldSpec>>;

/** A field of a packet, as nft(8) writes it. */
export type Field = keyof typeof fields;

export function isField(value: unknown): value is Field {
  return typeof value === 'string' && Object.hasOwn(fields, value);
}

export function fieldSpec(field: Field): FieldSpec {
  return fields[field];
}

/**
 * The fields that a load may stand for; several where protocols share a place.
 * @param bytes how many are loaded of a packet; -1 for what has one length
 */
export function fieldsLoadedBy(load: Load, typeBytes: (type: DataTypeName) => number, bytes: number): readonly Field[] {
  byLoad ??= indexFields(typeBytes);
  return byLoad.get(`${loadKey(load)} ${bytes}`) ?? [];
}

let byLoad: Map<string, Field[]> | undefined;

function indexFields(typeBytes: (type: DataTypeName) => number): Map<string, Field[]> {
  const index = new Map<string, Field[]>();
  for (const field of Object.keys(fields) as Field[]) {
    const { load, type } = fieldSpec(field);
    const key = `${loadKey(load)} ${load.kind === 'payload' ? typeBytes(type) : -1}`;
    index.set(key, [...(index.get(key) ?? []), field]);
  }
  return index;
}

function loadKey(load: Load): string {
  switch (load.kind) {
    case 'payload':
      return `payload ${load.base} ${load.offset}`;
    case 'meta':
      return `meta ${load.key}`;
    case 'ct':
      return `ct ${load.key} ${load.direction ?? ''}`;
    case 'fib':
      return `fib ${load.result} ${load.flags}`;
    case 'socket':
      return `socket ${load.key}`;
  }
}
