/** Rulesets: written, read back, and shown by nft(8), in network namespaces that the tests make. */

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Namespace, Netfilter, type NftRuleset, nft } from '../../../lib/index.js';
import { makeNetwork, nftLoad, nftText } from '../../support/nft.js';
import { needsPrograms } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';

checkResidue();

let network: Namespace;
let filter: Netfilter;
beforeAll(async () => {
  network = await makeNetwork();
  filter = await Netfilter.open({ namespace: network });
});
afterAll(() => {
  filter.close();
  network.close();
});
beforeEach(async () => {
  const { tables } = await filter.list();
  await filter.transaction((t) => {
    for (const { family, name } of tables) t.remove(family, name);
  });
});

/** The same ruleset in a namespace of its own, as nft shows it. */
async function replay(ruleset: NftRuleset): Promise<string> {
  await using other = await makeNetwork();
  await using target = await Netfilter.open({ namespace: other });
  await target.transaction((t) => {
    for (const table of ruleset.tables) t.replace(table);
  });
  return nftText(other);
}

/** Whether the kernel has what a rule needs; anything else that nft says is an error. */
function isTaken(load: () => void): boolean {
  try {
    load();
    return true;
  } catch (error) {
    if (/No such file or directory|Operation not supported/.test(String(error))) return false;
    throw error;
  }
}

describe('a ruleset', () => {
  it('is what was written: tables, chains, rules, sets, maps and counters', async () => {
    await filter.transaction((t) => {
      const table = t.table('inet', 'jobs', { comment: 'of the tests' });
      const other = table.chain('other');
      other.rule([nft.return]);
      table.set('allowed', { type: 'ipv4_addr', intervals: true, elements: ['10.0.0.0/8', '192.168.1.1-192.168.1.9'] });
      table.set('verdicts', {
        type: 'ifname',
        map: 'verdict',
        elements: [
          { value: 'eth0', verdict: nft.accept },
          { value: '*', verdict: nft.jump('other') },
        ],
      });
      table.object('bytes', { kind: 'counter', packets: 1, bytes: 2 });
      const input = table.chain('input', { base: { type: 'filter', hook: 'input', policy: 'drop' } });
      input.rule([nft.match('ct state', ['established', 'related']), nft.accept], { comment: 'answers' });
      input.rule([
        nft.match('ip saddr', '@allowed'),
        nft.match('tcp dport', [80, '1000-2000']),
        nft.counter('bytes'),
        nft.accept,
      ]);
      input.rule([nft.vmap('iifname', '@verdicts')]);
    });
    const { tables } = await filter.list({ family: 'inet', table: 'jobs' });
    expect(tables).toMatchObject([
      {
        family: 'inet',
        name: 'jobs',
        comment: 'of the tests',
        dormant: false,
        chains: [
          { name: 'other', rules: [{ statements: [nft.return] }] },
          {
            name: 'input',
            base: { type: 'filter', hook: 'input', priority: 0, policy: 'drop' },
            rules: [
              { comment: 'answers', statements: [nft.match('ct state', ['established', 'related']), nft.accept] },
              {
                statements: [
                  nft.match('ip saddr', '@allowed'),
                  nft.match('tcp dport', [80, '1000-2000']),
                  nft.counter('bytes'),
                  nft.accept,
                ],
              },
              { statements: [nft.vmap('iifname', '@verdicts')] },
            ],
          },
        ],
        sets: [
          {
            name: 'allowed',
            type: 'ipv4_addr',
            intervals: true,
            elements: [{ value: '10.0.0.0/8' }, { value: '192.168.1.1-192.168.1.9' }],
          },
          { name: 'verdicts', type: 'ifname', map: 'verdict' },
        ],
        objects: [{ name: 'bytes', kind: 'counter', packets: 1, bytes: 2 }],
      },
    ]);
  });

  it('that nft wrote is understood, and written again it is the same to nft', async (context) => {
    needsPrograms(context, 'nft', 'nsenter');
    nftLoad(network, declared);
    const refused = Object.entries(rules).flatMap(([chain, list]) =>
      list.filter((rule) => !isTaken(() => nftLoad(network, `add rule ${chain} ${rule}`))),
    );
    // Expressions that a kernel was built without; those of most rules it has.
    expect(refused.length).toBeLessThan(10);
    const ruleset = await filter.list();
    const unknown = ruleset.tables.flatMap(({ chains }) =>
      chains.flatMap((chain) =>
        chain.rules.filter(({ statements }) => statements.some(({ kind }) => kind === 'unknown')),
      ),
    );
    expect(unknown).toEqual([]);
    expect(await replay(ruleset)).toBe(nftText(network));
  });

  it('shows what it does not know, and does not write it', async (context) => {
    needsPrograms(context, 'nft', 'nsenter');
    nftLoad(network, 'table inet t { chain c { tcp dport 80 numgen inc mod 2 0 accept\n}\n}');
    const { tables } = await filter.list();
    const [rule] = tables[0]?.chains[0]?.rules ?? [];
    expect(rule?.statements).toEqual([
      nft.match('tcp dport', 80),
      { kind: 'unknown', expressions: ['numgen', 'cmp', 'immediate'] },
    ]);
    await expect(filter.transaction((t) => void (tables[0] && t.replace(tables[0])))).rejects.toThrow(
      'option statements[1].kind: expected a statement that this library can write',
    );
    expect((await filter.list()).tables).toEqual(tables);
  });

  it('has thousands of elements in a set, in any order', async () => {
    // What is sent at once has to fit: beyond the host's bound only as root.
    const count = process.geteuid?.() === 0 ? 20_000 : 1000;
    const address = (index: number) => `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;
    const elements = Array.from({ length: count }, (_, index) => address(((index * 7919) % count) * 2));
    await filter.transaction((t) => {
      t.table('ip', 'large').set('all', { type: 'ipv4_addr', elements });
      t.table('ip', 'large').set('ranges', { type: 'ipv4_addr', intervals: true, elements });
    });
    const { tables } = await filter.list();
    const numbers = (name: string) =>
      tables[0]?.sets.find((set) => set.name === name)?.elements.map(({ value }) => value);
    expect(new Set(numbers('all'))).toEqual(new Set(elements));
    expect(numbers('ranges')).toEqual(elements.map((_, index) => address(index * 2)));
  });

  it('is replaced at once, and is the same afterwards', async (context) => {
    await filter.transaction((t) => {
      const chain = t.table('ip', 'one').chain('c');
      for (let port = 1; port <= 100; port++) chain.rule([nft.match('tcp dport', port), nft.accept]);
    });
    const before = await filter.list();
    await filter.transaction((t) => void (before.tables[0] && t.replace(before.tables[0])));
    const after = await filter.list();
    const statements = ({ tables }: NftRuleset) => tables[0]?.chains[0]?.rules.map((rule) => rule.statements);
    expect(statements(after)).toEqual(statements(before));
    expect(after.generation).not.toBe(before.generation);
    needsPrograms(context, 'nft', 'nsenter');
    expect(await replay(after)).toBe(nftText(network));
  });
});

/** Tables, sets and chains for the rules below, as users of nft write them. */
const declared = `
table inet everything {
  comment "of nft"
  counter named { packets 3 bytes 4 }
  quota small { over 5 mbytes }
  limit slow { rate 5/minute burst 7 packets }
  set addresses { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.168.1.1-192.168.1.9, 1.2.3.4 } }
  set six { type ipv6_addr; flags interval; elements = { fe80::/10, 2001:db8::1 } }
  set pairs { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 80-90, 1.2.3.4 . 443 } }
  set seen { type ipv4_addr; size 100; flags dynamic,timeout; timeout 1h; }
  set marks { type mark; flags interval; elements = { 5, 7-9 } }
  set counted { type ether_addr; counter; comment "each"; elements = { 02:00:00:00:00:01 } }
  map verdicts { type ifname : verdict; elements = { "eth0" : accept, * : jump other } }
  map published { type inet_proto . inet_service : ipv4_addr . inet_service; elements = { tcp . 80 : 10.0.0.2 . 8080 } }
  chain other { comment "not called by itself"; }
  chain input { type filter hook input priority filter; policy drop; }
  chain forward { type filter hook forward priority 5; }
  chain post { type nat hook postrouting priority srcnat; }
  chain pre { type nat hook prerouting priority dstnat; }
  chain mangle { type filter hook prerouting priority mangle; }
}
table bridge frames {
  chain forward { type filter hook forward priority filter; }
}
table ip old {
  flags dormant
  chain out { type route hook output priority mangle; }
}
table arp requests {
  chain in { type filter hook input priority 0; }
}
table netdev early {
  chain in { type filter hook ingress device "lo" priority 0; }
}
`;

/** Everything that users of nft write in rules, each once. */
const rules: Readonly<Record<string, readonly string[]>> = {
  'inet everything input': [
    'ct state established,related accept comment "answers"',
    'ct state invalid drop',
    'ct state != new accept',
    'ct state { new, untracked } counter',
    'ct state vmap { new : accept, invalid : drop }',
    'ip saddr @addresses tcp dport { 80, 443, 1000-2000 } counter packets 5 bytes 300 accept',
    'ip saddr 10.0.0.0/7 ip daddr 10.0.0.0/8 ip daddr != 10.0.0.1-10.0.0.7',
    'ip saddr != { 1.2.3.4, 3.3.3.0/24 } drop',
    'ip6 saddr @six ip6 daddr fe80::1 ip6 hoplimit 255 ip6 nexthdr udp',
    'ip saddr . tcp dport @pairs accept',
    'ip saddr . tcp dport { 1.2.3.4 . 80, 10.0.0.0/8 . 90-99 } accept',
    'ip protocol { icmp, igmp } ip ttl < 5 ip dscp cs1 ip length 100-200',
    'meta mark 5 meta mark 7-9 meta mark & 0x000000ff == 0x00000003 meta mark @marks meta mark { 4, 6-7 }',
    'meta skuid 100-200 meta skgid 5 meta length < 500 meta pkttype broadcast meta l4proto { tcp, udp }',
    'meta nfproto ipv4 counter',
    'meta l4proto tcp th dport 80-90',
    'iifname "eth*" oifname != "lo" iif "lo" iifname { "a", "b*" }',
    'tcp flags syn / syn,ack',
    'tcp flags & (fin | syn | rst | ack) == syn',
    'tcp flags fin,syn',
    'tcp flags != syn',
    'tcp sport != 80 tcp dport >= 1024',
    'icmp type echo-request limit rate 10/second accept',
    'icmpv6 type { nd-neighbor-solicit, nd-router-advert } accept',
    'limit rate over 1 mbytes/second burst 2 mbytes drop',
    'ct count over 5 reject',
    'ct mark 3 ct status dnat ct direction reply',
    'ct original ip saddr 1.2.3.4 meta l4proto tcp ct original proto-dst 80',
    'fib saddr . iif oif missing drop',
    'fib daddr type local accept',
    'ether saddr 02:00:00:00:00:01 accept',
    'log prefix "seen " group 3 snaplen 64',
    'log prefix "level " level info',
    'add @seen { ip saddr }',
    'update @seen { ip saddr timeout 5m }',
    'counter name "named" quota name "small" limit name "slow" quota 5000 bytes',
    'iifname vmap @verdicts',
    'tcp dport vmap { 22 : accept, 23-24 : drop, 25 : jump other }',
    'meta mark set 0x5 ct mark set meta mark meta mark set ct mark meta nftrace set 1',
    'tcp dport 1 reject with tcp reset',
    'meta nfproto ipv4 reject with icmp host-unreachable',
    'reject with icmpv6 no-route',
    'reject with icmpx admin-prohibited',
    'jump other',
    'goto other',
  ],
  'inet everything forward': ['queue flags bypass to 1-3'],
  'inet everything post': [
    'ip saddr 10.0.0.0/8 masquerade fully-random',
    'meta l4proto tcp masquerade to :1024-2048',
    'snat ip to 1.2.3.4-1.2.3.9',
    'meta l4proto udp snat ip6 to [2001:db8::1]:100-200 persistent',
  ],
  'inet everything pre': [
    'tcp dport 80 dnat ip to 10.0.0.2:8080',
    'tcp dport 81 redirect to :8081',
    'dnat ip to meta l4proto . th dport map @published',
    'dnat ip to tcp dport map { 80 : 10.0.0.2 . 8080, 90 : 10.0.0.3 . 99 }',
    'dnat ip to ip daddr map { 1.1.1.1 : 10.0.0.1 }',
  ],
  'inet everything mangle': ['tcp dport 82 tproxy ip to 127.0.0.1:8082 meta mark set 1 accept', 'notrack'],
  'bridge frames forward': [
    'ether saddr != 02:00:00:00:00:01 drop',
    'ether type arp arp operation request arp saddr ip != 10.0.0.3 drop',
    'ip saddr 10.0.0.1 tcp dport 5 drop',
    'iifname . ip saddr { "a" . 10.0.0.1, "b" . 10.0.0.2 } accept',
    'iifname . ip saddr . ether saddr vmap { "a" . 10.0.0.1 . 02:00:00:00:00:01 : drop }',
  ],
  'ip old out': ['ip daddr 10.0.0.1 accept'],
  'arp requests in': ['arp operation reply drop'],
  'netdev early in': ['ip saddr 1.2.3.4 drop'],
};
