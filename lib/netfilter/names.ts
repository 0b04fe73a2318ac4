/** Words that nf_tables' users write for numbers, as nft(8) names them. */

import type { Family } from './ruleset.js';

/** A closed set of words for numbers. A number that has no word stays a number. */
export type Names = Readonly<Record<string, number>>;

export const inetProtocols = {
  icmp: 1,
  igmp: 2,
  ipencap: 4,
  tcp: 6,
  udp: 17,
  dccp: 33,
  gre: 47,
  esp: 50,
  ah: 51,
  'ipv6-icmp': 58,
  sctp: 132,
  udplite: 136,
} as const satisfies Names;

export const nfProtocols = { ipv4: 2, ipv6: 10 } as const satisfies Names;

export const etherTypes = {
  ip: 0x0800,
  arp: 0x0806,
  ip6: 0x86dd,
  '8021q': 0x8100,
  '8021ad': 0x88a8,
} as const satisfies Names;

export const icmpTypes = {
  'echo-reply': 0,
  'destination-unreachable': 3,
  'source-quench': 4,
  redirect: 5,
  'echo-request': 8,
  'router-advertisement': 9,
  'router-solicitation': 10,
  'time-exceeded': 11,
  'parameter-problem': 12,
  'timestamp-request': 13,
  'timestamp-reply': 14,
} as const satisfies Names;

export const icmp6Types = {
  'destination-unreachable': 1,
  'packet-too-big': 2,
  'time-exceeded': 3,
  'parameter-problem': 4,
  'echo-request': 128,
  'echo-reply': 129,
  'mld-listener-query': 130,
  'mld-listener-report': 131,
  'mld-listener-done': 132,
  'nd-router-solicit': 133,
  'nd-router-advert': 134,
  'nd-neighbor-solicit': 135,
  'nd-neighbor-advert': 136,
  'nd-redirect': 137,
  'mld2-listener-report': 143,
} as const satisfies Names;

export const arpOperations = {
  request: 1,
  reply: 2,
  rrequest: 3,
  rreply: 4,
} as const satisfies Names;

export const interfaceTypes = { ether: 1, ppp: 512, loopback: 772, none: 65534 } as const satisfies Names;

export const packetTypes = { host: 0, broadcast: 1, multicast: 2, other: 3 } as const satisfies Names;

/** Kinds of routes, as an address has one by the routing tables (rtnetlink(7)). */
export const addressTypes = {
  unspec: 0,
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
} as const satisfies Names;

export const trackingDirections = { original: 0, reply: 1 } as const satisfies Names;

export const presence = { missing: 0, exists: 1 } as const satisfies Names;

export const trackingStates = {
  invalid: 1,
  established: 2,
  related: 4,
  new: 8,
  untracked: 64,
} as const satisfies Names;

export const trackingStatus = {
  expected: 1,
  'seen-reply': 2,
  assured: 4,
  confirmed: 8,
  snat: 16,
  dnat: 32,
  dying: 512,
} as const satisfies Names;

export const tcpFlags = {
  fin: 1,
  syn: 2,
  rst: 4,
  psh: 8,
  ack: 16,
  urg: 32,
  ecn: 64,
  cwr: 128,
} as const satisfies Names;

export const icmpCodes = {
  'net-unreachable': 0,
  'host-unreachable': 1,
  'prot-unreachable': 2,
  'port-unreachable': 3,
  'net-prohibited': 9,
  'host-prohibited': 10,
  'admin-prohibited': 13,
} as const satisfies Names;

export const icmp6Codes = {
  'no-route': 0,
  'admin-prohibited': 1,
  'addr-unreachable': 3,
  'port-unreachable': 4,
  'policy-fail': 5,
  'reject-route': 6,
} as const satisfies Names;

/** Codes that the kernel translates to the packet's own family. */
export const icmpxCodes = {
  'no-route': 0,
  'port-unreachable': 1,
  'host-unreachable': 2,
  'admin-prohibited': 3,
} as const satisfies Names;

/** NFPROTO_… */
export const families: Readonly<Record<Family, number>> = { inet: 1, ip: 2, arp: 3, netdev: 5, bridge: 7, ip6: 10 };

/** The word for a number, or undefined. */
export function nameOf<Name extends string>(names: Readonly<Record<Name, number>>, value: number): Name | undefined {
  for (const name in names) if (names[name] === value) return name;
  return undefined;
}
