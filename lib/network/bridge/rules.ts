/**
 * What may pass, as rules of nf_tables. There is one set of rules for a network; what is each container's are elements of sets.
 *
 * - On the bridge, which is in a namespace of its own: frames come only from whom they say.
 * - On the host: what containers may send to, who may send to them, whose address they have outside, and published ports.
 */

import { type NftBaseChain as BaseChain, nft } from '../../netfilter/index.js';
import type { Transaction } from '../../netfilter/transaction.js';
import { special4, special6 } from './settings.js';

export const guardTable = 'guard';
/** The port of the bridge that leads to the host. */
export const uplinkName = 'uplink';

/** Frames of containers, and from whom. */
export function bridgeRules(t: Transaction): void {
  const table = t.table('bridge', guardTable, { owner: true, exclusive: true });
  table.object('spoofed', { kind: 'counter', packets: 0, bytes: 0 });
  table.set('macs', { type: ['ifname', 'ether_addr'] });
  table.set('arp', { type: ['ifname', 'ether_addr', 'ipv4_addr'] });
  table.set('sources4', { type: ['ifname', 'ipv4_addr'] });
  table.set('sources6', { type: ['ifname', 'ipv6_addr'] });
  const chain = table.chain('prerouting', {
    base: { type: 'filter', hook: 'prerouting', priority: -200, policy: 'drop' },
  });
  chain.rule([nft.match('iifname', uplinkName), nft.accept]);
  chain.rule([nft.match(['iifname', 'ether saddr'], '!=', '@macs'), nft.counter('spoofed'), nft.drop]);
  // Tags would take a frame past rules that look at what is in it.
  chain.rule([nft.match('ether type', [0x8100, 0x88a8]), nft.counter('spoofed'), nft.drop]);
  chain.rule([nft.match(['iifname', 'arp saddr ether', 'arp saddr ip'], '@arp'), nft.accept]);
  chain.rule([nft.match('ip daddr', '127.0.0.0/8'), nft.counter('spoofed'), nft.drop]);
  chain.rule([nft.match(['iifname', 'ip saddr'], '@sources4'), nft.accept]);
  // Only routers say these, and a container is none.
  chain.rule([nft.match('icmpv6 type', ['nd-router-advert', 'nd-redirect']), nft.counter('spoofed'), nft.drop]);
  chain.rule([nft.match(['iifname', 'ip6 saddr'], '@sources6'), nft.accept]);
  // The kernel's own, before its address is settled: it joins groups, and nobody needs to know.
  chain.rule([nft.match('ip6 saddr', '::'), nft.drop]);
  chain.rule([nft.counter('spoofed'), nft.drop]);
}

/** What the rules of the host need to know of a network. */
export interface HostRules {
  readonly table: string;
  readonly comment: string | undefined;
  /** The host's link. */
  readonly link: string;
  readonly subnet: string;
  readonly subnet6: string | undefined;
  readonly internal: boolean;
  /** Families that nothing was forwarded of before: what else would be forwarded now is still not. */
  readonly switchedOn: readonly ('ipv4' | 'ipv6')[];
}

/** Who makes the table has the network: that there is one already says that another process has it. */
export function hostRules(t: Transaction, rules: HostRules): void {
  const { link, internal, comment } = rules;
  const table = t.table('inet', rules.table, {
    owner: true,
    exclusive: true,
    ...(comment === undefined ? {} : { comment }),
  });
  const base = (hook: 'prerouting' | 'input' | 'forward', priority: number): { base: BaseChain } => ({
    base: { type: 'filter', hook, priority },
  });
  for (const name of ['refused', 'unasked']) table.object(name, { kind: 'counter', packets: 0, bytes: 0 });
  const early = table.chain('early', base('prerouting', -300));
  const input = table.chain('input', base('input', -10));
  const forward = table.chain('forward', base('forward', -10));
  for (const name of ['to-host', 'outward', 'inward']) table.chain(name);
  const here = nft.match('iifname', link);
  const there = nft.match('oifname', link);
  const known = nft.match('ct state', ['established', 'related']);
  const published = nft.match('ct status', ['dnat']);
  const refuse = [nft.counter('refused'), nft.reject('icmpx admin-prohibited')];

  early.rule([here, nft.match('ip saddr', '!=', rules.subnet), nft.counter('refused'), nft.drop]);
  early.rule([here, nft.match('ip daddr', '127.0.0.0/8'), nft.counter('refused'), nft.drop]);
  early.rule([
    here,
    rules.subnet6 === undefined
      ? nft.match('meta nfproto', 'ipv6')
      : nft.match('ip6 saddr', '!=', [rules.subnet6, 'fe80::/10']),
    nft.counter('refused'),
    nft.drop,
  ]);

  input.rule([here, nft.goto('to-host')]);
  table
    .existingChain('to-host')
    .rule([known, nft.accept])
    .rule([nft.match('icmpv6 type', ['nd-neighbor-solicit', 'nd-neighbor-advert']), nft.accept])
    .rule(refuse);

  forward.rule([here, nft.jump('outward')]);
  forward.rule([there, nft.goto('inward')]);
  const others = [nft.match('iifname', '!=', 'tsc*'), nft.match('oifname', '!=', 'tsc*')];
  for (const family of rules.switchedOn) forward.rule([nft.match('meta nfproto', family), ...others, nft.drop]);
  const outward = table.existingChain('outward').rule([known, nft.return]);
  if (internal) outward.rule(refuse);
  outward.rule([nft.match('ip daddr', special4), ...refuse]).rule([nft.match('ip6 daddr', special6), ...refuse]);
  outward.rule([there, published, nft.return]).rule([there, ...refuse]);
  const inward = table.existingChain('inward').rule([known, nft.accept]);
  if (!internal) inward.rule([published, nft.accept]);
  inward.rule([nft.counter('unasked'), nft.drop]);
  if (!internal) translations(table, rules);
}

/** What becomes of addresses: of containers outside, and of published ports. */
function translations(table: ReturnType<Transaction['table']>, rules: HostRules): void {
  const { link, subnet, subnet6 } = rules;
  const ports = ['inet_proto', 'inet_service'] as const;
  table.set('ports4', { type: ['inet_proto', 'ipv4_addr', 'inet_service'], map: ['ipv4_addr', 'inet_service'] });
  table.set('every4', { type: ports, map: ['ipv4_addr', 'inet_service'] });
  table.set('ports6', { type: ['inet_proto', 'ipv6_addr', 'inet_service'], map: ['ipv6_addr', 'inet_service'] });
  table.set('every6', { type: ports, map: ['ipv6_addr', 'inet_service'] });
  const local = [nft.match('fib daddr type', 'local'), nft.match('meta l4proto', ['tcp', 'udp'])];
  const gives = 'address . port';
  for (const hook of ['prerouting', 'output'] as const) {
    const chain = table.chain(`${hook}-nat`, { base: { type: 'nat', hook, priority: -100 } });
    const ip = [nft.match('meta nfproto', 'ipv4'), ...local];
    // The kernel routes nothing from ::1 to another link.
    const ip6 = [nft.match('ip6 daddr', '!=', '::1'), ...local];
    chain.rule([
      ...ip,
      nft.dnat('ip', { lookup: { key: ['meta l4proto', 'ip daddr', 'th dport'], gives, map: '@ports4' } }),
    ]);
    chain.rule([...ip, nft.dnat('ip', { lookup: { key: ['meta l4proto', 'th dport'], gives, map: '@every4' } })]);
    if (subnet6 === undefined) continue;
    chain.rule([
      ...ip6,
      nft.dnat('ip6', { lookup: { key: ['meta l4proto', 'ip6 daddr', 'th dport'], gives, map: '@ports6' } }),
    ]);
    chain.rule([...ip6, nft.dnat('ip6', { lookup: { key: ['meta l4proto', 'th dport'], gives, map: '@every6' } })]);
  }
  const chain = table.chain('postrouting-nat', { base: { type: 'nat', hook: 'postrouting', priority: 100 } });
  const there = nft.match('oifname', link);
  // Another network of ours finds its way back, and its containers may know who asks.
  const elsewhere = nft.match('oifname', '!=', 'tsc*');
  const published = nft.match('ct status', ['dnat']);
  // The host's own loopback is not the container's; and what one container sends to another by way of the host has to come back
  // that way.
  chain.rule([there, published, nft.match('ip saddr', ['127.0.0.0/8', subnet]), nft.masquerade()]);
  chain.rule([elsewhere, nft.match('ip saddr', subnet), nft.masquerade()]);
  if (subnet6 === undefined) return;
  chain.rule([there, published, nft.match('ip6 saddr', subnet6), nft.masquerade()]);
  chain.rule([elsewhere, nft.match('ip6 saddr', subnet6), nft.masquerade()]);
}
