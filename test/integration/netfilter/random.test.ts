/** Random rulesets: what is read back is what was written, and nft(8) shows the same of it when it is written again. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Namespace, Netfilter, type NftMatch, type NftStatement, nft } from '../../../lib/index.js';
import { makeNetwork, nftText } from '../../support/nft.js';
import { needsPrograms } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';

checkResidue();

/** Numbers that only depend on the seed (mulberry32). */
class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed;
  }
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  }
  one<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}

const address = (random: Random) => `10.${random.below(256)}.${random.below(256)}.${random.below(256)}`;
const network = (random: Random) => {
  const bits = 8 * (1 + random.below(3));
  return `${[10, random.below(256), random.below(256), 0].map((byte, index) => (index * 8 < bits ? byte : 0)).join('.')}/${bits}`;
};
const port = (random: Random) => random.below(65_536);
const range = (random: Random) => {
  const from = random.below(60_000);
  return `${from}-${from + 1 + random.below(5000)}` as const;
};

/** Different values, of which no two overlap. */
function several<T>(random: Random, make: (random: Random, index: number) => T): readonly T[] {
  return Array.from({ length: 1 + random.below(5) }, (_, index) => make(random, index));
}

type Matcher = (random: Random, op: '==' | '!=') => NftMatch;

const anyFamily: readonly Matcher[] = [
  (random, op) => nft.match('iifname', op, random.one(['eth0', 'eth*', 'lo', 'a-b.c'])),
  (random, op) => nft.match('meta mark', op, random.one([random.below(2 ** 31), range(random)])),
  (random) => nft.match('meta mark', random.below(255), { mask: 255 }),
  (random) => nft.match('meta length', random.one(['<', '<=', '>', '>='] as const), random.below(9000)),
  (random, op) => nft.match('ct state', op, random.one(['new', ['established', 'related']])),
  (random) => nft.match('ct state', [['new'], [random.one(['established', 'untracked'] as const)]]),
  (random, op) => nft.match('ct mark', op, random.below(1000)),
  (random, op) => nft.match('meta skuid', op, range(random)),
  (random) => nft.match('fib daddr type', random.one(['local', 'broadcast'])),
];
const ofIp: readonly Matcher[] = [
  (random, op) => nft.match('ip saddr', op, random.one([address(random), network(random)])),
  (random, op) => nft.match('ip daddr', op, `10.0.0.${random.below(100)}-10.0.1.${random.below(100)}`),
  (random, op) =>
    nft.match(
      'ip daddr',
      op,
      several(random, (r, index) => `10.${index}.0.${r.below(256)}`),
    ),
  (random, op) =>
    nft.match(
      'ip saddr',
      op,
      several(random, (_, index) => `10.${index}.0.0/16`),
    ),
  (random, op) => nft.match('ip ttl', op, random.below(256)),
  (random, op) => nft.match('ip dscp', op, random.below(64)),
];
const ofTcp: readonly Matcher[] = [
  (random, op) => nft.match('tcp dport', op, random.one([port(random), range(random)])),
  (random, op) =>
    nft.match(
      'tcp sport',
      op,
      several(random, (r, index) => index * 10_000 + r.below(9999)),
    ),
  (random, op) =>
    nft.match(
      'tcp dport',
      op,
      several(random, (r, index) => `${index * 10_000}-${index * 10_000 + 1 + r.below(9000)}`),
    ),
  (random) =>
    nft.match('tcp flags', 'syn', {
      mask: random.one([
        ['syn', 'ack'],
        ['fin', 'syn', 'rst', 'ack'],
      ]),
    }),
  (random, op) => nft.match('tcp flags', op, ['fin', random.one(['syn', 'rst'])]),
];
const together: readonly ((random: Random) => NftMatch)[] = [
  (random) =>
    nft.match(
      ['ip saddr', 'tcp dport'],
      several(random, (r, index) => [`10.0.${index}.1`, port(r)]),
    ),
  (random) =>
    nft.match(
      ['ip saddr', 'tcp dport'],
      '!=',
      several(random, (r, index) => [`10.${index}.0.0/16`, range(r)]),
    ),
];
const effects: readonly ((random: Random) => NftStatement)[] = [
  (random) => ({ kind: 'counter', packets: random.below(1000), bytes: random.below(2 ** 31) }),
  (random) =>
    nft.limit(1 + random.below(1000), random.one(['second', 'minute', 'hour', 'day']), { over: random.chance(50) }),
  (random) => nft.log({ prefix: `p${random.below(100)}; "x" `, group: random.below(10) }),
  (random) => nft.quota(1 + random.below(2 ** 31), { over: random.chance(50) }),
  (random) => nft.set('meta mark', random.below(2 ** 31)),
  () => nft.set('ct mark', 'meta mark'),
];
const ends: readonly ((random: Random) => NftStatement)[] = [
  () => nft.accept,
  () => nft.drop,
  () => nft.return,
  () => nft.jump('other'),
  () => nft.reject('icmpx admin-prohibited'),
];

/** A rule whose statements are in the order and the form in which they are read back. */
function randomRule(random: Random): NftStatement[] {
  const op = () => random.one(['==', '!='] as const);
  const rule: NftStatement[] = [];
  for (let count = random.below(3); count > 0; count--) rule.push(random.one(anyFamily)(random, op()));
  if (random.chance(60)) rule.push(random.one(ofIp)(random, op()));
  if (random.chance(60)) rule.push(random.one(ofTcp)(random, op()));
  if (random.chance(20)) rule.push(random.one(together)(random));
  for (let count = random.below(3); count > 0; count--) rule.push(random.one(effects)(random));
  if (random.chance(80)) rule.push(random.one(ends)(random));
  return rule.length === 0 ? [nft.accept] : rule;
}

/** Elements come back in an order of their own. */
function sorted(statements: readonly NftStatement[]): readonly NftStatement[] {
  return statements.map((statement) => {
    if (statement.kind !== 'match' || !Array.isArray(statement.value)) return statement;
    return {
      ...statement,
      value: [...statement.value].map((one) => JSON.stringify(one)).sort(),
    } as unknown as NftStatement;
  });
}

describe('a random ruleset', () => {
  let namespace: Namespace;
  let filter: Netfilter;
  beforeAll(async () => {
    namespace = await makeNetwork();
    filter = await Netfilter.open({ namespace });
  });
  afterAll(() => {
    filter.close();
    namespace.close();
  });

  for (let seed = 1; seed <= 8; seed++) {
    it(`reads back as it was written, and is the same to nft when it is written again (seed ${seed})`, async (context) => {
      const random = new Random(seed);
      const rules = Array.from({ length: 60 }, () => randomRule(random));
      const comment = (index: number) => `rule ${index}: "quoted"; {}`;
      await filter.transaction((t) => {
        t.table('inet', 'random');
        t.remove('inet', 'random');
        const table = t.table('inet', 'random');
        table.chain('other');
        const chain = table.chain('c', { base: { type: 'filter', hook: 'input' } });
        for (const [index, rule] of rules.entries()) chain.rule(rule, { comment: comment(index) });
      });
      const { tables } = await filter.list();
      const read = tables[0]?.chains.find(({ name }) => name === 'c')?.rules ?? [];
      expect(read.map(({ statements }) => sorted(statements))).toEqual(rules.map(sorted));
      expect(read.map((rule) => rule.comment)).toEqual(rules.map((_, index) => comment(index)));

      needsPrograms(context, 'nft', 'nsenter');
      await using other = await makeNetwork();
      await using target = await Netfilter.open({ namespace: other });
      await target.transaction((t) => void (tables[0] && t.replace(tables[0])));
      const text = nftText(namespace);
      expect(nftText(other)).toBe(text);
      // A witness that is no echo of ours: nft shows one line for each rule, with its verdict.
      expect(text.split('\n').filter((line) => line.includes(' comment "rule '))).toHaveLength(rules.length);
    });
  }
});
