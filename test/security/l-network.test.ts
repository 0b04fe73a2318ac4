/** Group L: networks and the packet filter. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Links, type Namespace, Netfilter, nft } from '../../lib/index.js';
import { makeNetwork, nftText, runIn } from '../support/nft.js';
import { needsPrograms } from '../support/requirements.js';

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

/** What would be a rule of its own, or would end the table, if it ever were text for nft. */
const injection = '"; }; add rule inet jobs c accept; #';

describe('group L', () => {
  it('L1: a name of a link is one, a link that is there is never altered by making one, and an index means one link', async () => {
    await using links = await Links.open({ namespace: network });
    const make = (name: string, mtu: number) => links.add({ kind: 'bridge', name, mtu });
    const made = await make('first', 1400);
    for (const name of ['eth%d', 'a/b', 'a b', 'a:1', '.', '..', 'all', 'default', '', 'x'.repeat(16), 'a\0b', 'a\n']) {
      await expect(make(name, 1400), JSON.stringify(name)).rejects.toThrow('option name');
    }
    await expect(make('first', 1300)).rejects.toThrow('EEXIST');
    expect(await links.get('first')).toEqual({ ...made, state: expect.anything() });
    // Whoever has the name later is not who is meant.
    await links.set('first', { name: 'renamed' });
    const second = await make('first', 1500);
    await links.set(made.index, { mtu: 1200 });
    expect([(await links.get('renamed'))?.mtu, (await links.get(second.index))?.mtu]).toEqual([1200, 1500]);
    for (const { index } of [made, second]) await links.remove(index);
  });

  it('L8: names and comments never become rules', async (context) => {
    await filter.transaction((t) => {
      const table = t.table('inet', 'jobs', { comment: injection });
      table.set('s', { type: 'ipv4_addr', comment: injection, elements: [{ value: '10.0.0.1', comment: injection }] });
      table.chain('c', { comment: injection }).rule([nft.log({ prefix: injection }), nft.drop], { comment: injection });
    });
    const [table] = (await filter.list()).tables;
    const [chain] = table?.chains ?? [];
    expect([table?.comment, table?.sets[0]?.comment, table?.sets[0]?.elements[0]?.comment]).toEqual([
      injection,
      injection,
      injection,
    ]);
    expect([chain?.comment, chain?.rules[0]?.comment]).toEqual([injection, injection]);
    expect(chain?.rules).toHaveLength(1);
    expect(chain?.rules[0]?.statements).toEqual([nft.log({ prefix: injection }), nft.drop]);
    for (const name of [injection, 'a b', 'a;b', '-a', '"a"', 'a\0b', '']) {
      await expect(filter.transaction((t) => void t.existing('inet', 'jobs').chain(name))).rejects.toThrow(
        'option name',
      );
      await expect(filter.transaction((t) => void t.table('inet', name))).rejects.toThrow('option name');
    }
    // As text for nft the same words are rules: the control.
    needsPrograms(context, 'nft', 'nsenter');
    runIn(
      network,
      ['nft', '-f', '-'],
      `add rule inet jobs c log prefix "a${injection.replace(' #', '')}\n`.replace(' };', ''),
    );
    expect(
      nftText(network)
        .split('\n')
        .filter((line) => /^\t\taccept$/.test(line)),
    ).toHaveLength(1);
  });
});
