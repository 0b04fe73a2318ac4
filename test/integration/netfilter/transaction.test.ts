/** Transactions: all or nothing, who owns a table, and what is refused. */

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Namespace, Netfilter, type NftStatement, nft } from '../../../lib/index.js';
import { makeNetwork } from '../../support/nft.js';
import { checkResidue } from '../../support/residue.js';

checkResidue();

let network: Namespace;
let filter: Netfilter;
beforeAll(async () => {
  network = await makeNetwork();
});
afterAll(() => network.close());
beforeEach(async () => {
  filter = await Netfilter.open({ namespace: network });
  const { tables } = await filter.list();
  await filter.transaction((t) => {
    for (const { family, name } of tables) t.remove(family, name);
  });
  return () => filter.close();
});

const names = async () => (await filter.list()).tables.map(({ family, name }) => `${family} ${name}`);

describe('a transaction', () => {
  it('does nothing where the kernel refuses a part, and says which', async () => {
    const attempt = filter.transaction((t) => {
      const table = t.table('inet', 'jobs');
      const chain = table.chain('c');
      chain.rule([nft.match('tcp dport', 22), nft.accept]);
      chain.rule([nft.jump('nowhere')]);
    });
    await expect(attempt).rejects.toMatchObject({
      name: 'NetlinkError',
      errno: 'ENOENT',
      message: expect.stringContaining('adding the rule 2 of the chain inet jobs c'),
    });
    expect(await names()).toEqual([]);
    await filter.transaction(
      (t) =>
        void t
          .table('inet', 'jobs')
          .chain('c')
          .rule([nft.match('tcp dport', 22), nft.accept]),
    );
    expect(await names()).toEqual(['inet jobs']);
  });

  it('sends nothing where a part makes no sense, and names the option', async () => {
    const refusals: readonly (readonly [readonly unknown[], string])[] = [
      [
        [{ kind: 'match', key: 'ip saddr', op: '==', value: '10.0.0.300' }],
        'option statements[0].value: expected an IPv4 address',
      ],
      [[{ kind: 'match', key: 'ip sadr', op: '==', value: '10.0.0.3' }], "did you mean 'ip saddr'?"],
      [
        [{ kind: 'match', key: 'tcp dport', op: '==', value: '90-80' }],
        'expected a range whose end is not before its start',
      ],
      [[{ kind: 'match', key: 'tcp dport', op: '==', value: 65_536 }], 'expected a whole number from 0 to 65535'],
      [[{ kind: 'match', key: 'ip saddr', op: '==', value: '10.0.0.1/8' }], 'the network is 10.0.0.0/8'],
      [
        [{ kind: 'match', key: 'ip saddr', op: '==', value: '@none' }],
        'expected the name of a set or map of this table',
      ],
      [[{ kind: 'match', key: 'tcp dport', op: '==', value: ['1-5', 4] }], 'expected a range apart from'],
      [[{ kind: 'match', key: 'tcp dport', op: '==', valeu: 4 }], 'did you mean value?'],
      [[nft.match('tcp dport', 1), nft.match('udp dport', 2)], 'expected a field of tcp, which the packet is here'],
      [
        [nft.match('ip saddr', '10.0.0.1'), nft.match('ip6 saddr', 'fe80::1')],
        'expected a field of ip, which the packet is here',
      ],
      [[nft.accept, nft.drop], "expected nothing after 'accept', which ends the rule"],
      [[nft.redirect({ port: 80 })], 'expected a port only where the protocol is known'],
      [[nft.limit(0)], 'option statements[0].rate'],
      [[nft.log({ prefix: 'x'.repeat(128) })], 'option statements[0].prefix: expected at most 127 bytes'],
      [[{ kind: 'acept' }], "did you mean 'accept'?"],
      [['accept'], 'option statements[0]: expected a plain object'],
    ];
    for (const [statements, message] of refusals) {
      const attempt = filter.transaction(
        (t) =>
          void t
            .table('inet', 'jobs')
            .chain('c')
            .rule(statements as NftStatement[]),
      );
      await expect(attempt, message).rejects.toThrow(message);
    }
    const options: readonly (readonly [Parameters<Netfilter['transaction']>[0], string])[] = [
      [(t) => void t.table('inet', 'a b'), 'option name'],
      [(t) => void t.table('inet', '-a'), 'option name'],
      [(t) => void t.table('inett' as 'inet', 'a'), "did you mean 'inet'?"],
      [(t) => void t.table('inet', 'a', { owned: true } as never), 'did you mean owner?'],
      [
        (t) => void t.table('inet', 'a').chain('c', { base: { type: 'filter', hook: 'ingress' } }),
        'options.base.devices',
      ],
      [(t) => void t.table('arp', 'a').chain('c', { base: { type: 'filter', hook: 'forward' } }), 'in the family arp'],
      [(t) => void t.table('inet', 'a').set('s', { type: 'ipv5_addr' as 'ipv4_addr' }), 'option options.type'],
      [
        (t) => void t.table('inet', 'a').set('s', { type: 'ipv4_addr', elements: ['10.0.0.0/8'] }),
        'option options.elements',
      ],
      [
        (t) => void t.table('inet', 'a').set('s', { type: 'ifname', map: 'verdict', elements: ['lo'] }),
        'expected a verdict',
      ],
    ];
    for (const [build, message] of options) await expect(filter.transaction(build), message).rejects.toThrow(message);
    await expect(filter.transaction(async () => {})).rejects.toThrow('a function that does not wait');
    expect(await names()).toEqual([]);
  });

  it('is refused where the ruleset has changed since the generation that it names', async () => {
    const generation = await filter.generation();
    await filter.transaction((t) => void t.table('inet', 'first'));
    const late = filter.transaction((t) => void t.table('inet', 'second'), { generation });
    await expect(late).rejects.toMatchObject({ errno: 'ERESTART' });
    expect(await names()).toEqual(['inet first']);
    await filter.transaction((t) => void t.table('inet', 'second'), { generation: await filter.generation() });
    expect(await names()).toEqual(['inet first', 'inet second']);
  });

  it('puts rules where it is told, replaces them and takes them out', async () => {
    const marks = async () =>
      (await filter.list()).tables[0]?.chains[0]?.rules.map(({ statements, handle }) => ({
        handle,
        port: statements[0]?.kind === 'match' ? statements[0].value : undefined,
      })) ?? [];
    const rule = (port: number) => [nft.match('tcp dport', port), nft.accept];
    await filter.transaction(
      (t) => void t.table('ip', 'order').chain('c').rule(rule(1)).rule(rule(2)).rule(rule(0), { at: 'first' }),
    );
    const [zero, one, two] = await marks();
    expect([zero?.port, one?.port, two?.port]).toEqual([0, 1, 2]);
    await filter.transaction((t) => {
      const chain = t.existing('ip', 'order').existingChain('c');
      chain.rule(rule(11), { at: { after: one?.handle ?? 0 } });
      chain.rule(rule(10), { at: { before: one?.handle ?? 0 } });
      chain.replaceRule(two?.handle ?? 0, rule(22));
      chain.removeRule(zero?.handle ?? 0);
    });
    expect((await marks()).map(({ port }) => port)).toEqual([10, 1, 11, 22]);
    await filter.transaction((t) => void t.existing('ip', 'order').existingChain('c').flush());
    expect(await marks()).toEqual([]);
  });

  it('changes elements of sets and maps', async () => {
    const elements = async () =>
      (await filter.list()).tables[0]?.sets.flatMap((set) => set.elements.map(({ value }) => value));
    await filter.transaction((t) => {
      t.table('ip', 'sets').set('ports', { type: 'inet_service', intervals: true, elements: [22, '80-90'] });
    });
    await filter.transaction(
      (t) => void t.existing('ip', 'sets').existingSet('ports').add(443, '1000-2000').delete('80-90'),
    );
    expect(await elements()).toEqual([22, 443, '1000-2000']);
    await filter.transaction((t) => void t.existing('ip', 'sets').existingSet('ports').flush().add(1));
    expect(await elements()).toEqual([1]);
    const missing = filter.transaction((t) => void t.existing('ip', 'sets').existingSet('ports').delete(7));
    await expect(missing).rejects.toMatchObject({ errno: 'ENOENT' });
    const unknown = filter.transaction((t) => void t.existing('ip', 'sets').existingSet('prots').add(7));
    await expect(unknown).rejects.toThrow('the name of a set of the table ip sets');
  });

  it('lets elements end after their time', { timeout: 20_000 }, async () => {
    await filter.transaction((t) => {
      t.table('ip', 'times').set('s', {
        type: 'ipv4_addr',
        timeout: 60_000,
        elements: ['10.0.0.1', { value: '10.0.0.2', timeout: 3000 }],
      });
    });
    const listed = (await filter.list()).tables[0]?.sets[0]?.elements ?? [];
    expect(listed.map(({ value }) => value).sort()).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(listed.find(({ value }) => value === '10.0.0.2')).toMatchObject({ timeout: 3000 });
    await expect
      .poll(async () => (await filter.list()).tables[0]?.sets[0]?.elements.map(({ value }) => value), {
        timeout: 15_000,
      })
      .toEqual(['10.0.0.1']);
  });
});

describe('a table with an owner', () => {
  it('is nobody else’s, and goes with its socket', async () => {
    const owner = await Netfilter.open({ namespace: network });
    await owner.transaction((t) => void t.table('inet', 'mine', { owner: true }).chain('c'));
    const [table] = (await filter.list()).tables;
    expect(table).toMatchObject({ name: 'mine', owner: expect.any(Number) });
    const other = filter.transaction((t) => void t.existing('inet', 'mine').existingChain('c').rule([nft.drop]));
    await expect(other).rejects.toMatchObject({ errno: 'EPERM' });
    owner.close();
    await expect.poll(names).toEqual([]);
  });

  it('that is nobody’s stays', async () => {
    const other = await Netfilter.open({ namespace: network });
    await other.transaction((t) => void t.table('inet', 'stays'));
    other.close();
    expect(await names()).toEqual(['inet stays']);
  });
});
