/** What rules do to packets, and what is told of it: counters, traces, changes. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Namespace, Netfilter, nft, type RulesetEvent, spawn, type TraceEvent } from '../../../lib/index.js';
import { makeNetwork, runIn } from '../../support/nft.js';
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

/** A program of Node's that is a server and its client, over loopback. */
const exchange = (port: number) => `
  const net = require('node:net');
  const server = net.createServer((socket) => socket.end('hello')).listen(${port}, '127.0.0.1', () => {
    const client = net.connect({ port: ${port}, host: '127.0.0.1', timeout: 300 });
    const end = (word) => { console.log(word); process.exit(0); };
    client.on('data', (data) => end(String(data)));
    client.on('error', (error) => end(error.code));
    client.on('timeout', () => end('timeout'));
  });`;
const tryPort = (port: number) => runIn(network, [process.execPath, '-e', exchange(port)]).trim();

describe('rules', () => {
  it('decide what passes, and count it', async (context) => {
    needsPrograms(context, 'nsenter', 'ip');
    runIn(network, ['ip', 'link', 'set', 'lo', 'up']);
    expect([tryPort(4001), tryPort(4002), tryPort(4003)]).toEqual(['hello', 'hello', 'hello']);
    await filter.transaction((t) => {
      const table = t.table('inet', 'effects');
      table.set('closed', { type: 'inet_service', elements: [4002] });
      const input = table.chain('input', { base: { type: 'filter', hook: 'input' } });
      input.rule([nft.match('tcp dport', '@closed'), nft.counter(), nft.reject('tcp reset')]);
      input.rule([nft.match('tcp dport', 4003), nft.counter(), nft.drop]);
      input.rule([nft.match('tcp dport', 4001), nft.counter(), nft.accept]);
    });
    expect([tryPort(4001), tryPort(4002), tryPort(4003)]).toEqual(['hello', 'ECONNREFUSED', 'timeout']);
    const counted = (await filter.list()).tables[0]?.chains[0]?.rules.map(({ statements }) =>
      statements.find((statement) => statement.kind === 'counter'),
    );
    for (const counter of counted ?? [])
      expect(counter).toMatchObject({ packets: expect.toSatisfy((count: number) => count > 0) });
    expect(counted).toHaveLength(3);
    await filter.transaction((t) => t.remove('inet', 'effects'));
    expect(tryPort(4003)).toBe('hello');
  });

  it('send a connection elsewhere', async (context) => {
    needsPrograms(context, 'nsenter', 'ip');
    runIn(network, ['ip', 'link', 'set', 'lo', 'up']);
    const elsewhere = exchange(4010).replace('net.connect({ port: 4010', 'net.connect({ port: 4011');
    const reach = () => runIn(network, [process.execPath, '-e', elsewhere]).trim();
    expect(reach()).toBe('ECONNREFUSED');
    await filter.transaction((t) => {
      const chain = t.table('ip', 'nat').chain('output', { base: { type: 'nat', hook: 'output', priority: 'dstnat' } });
      chain.rule([nft.match('tcp dport', 4011), nft.dnat('ip', { address: '127.0.0.1', port: 4010 })]);
    });
    expect(reach()).toBe('hello');
    await filter.transaction((t) => t.remove('ip', 'nat'));
    expect(reach()).toBe('ECONNREFUSED');
  });

  it('tell the way of a packet that is traced', async (context) => {
    needsPrograms(context, 'nsenter', 'ip');
    runIn(network, ['ip', 'link', 'set', 'lo', 'up']);
    await filter.transaction((t) => {
      const table = t.table('inet', 'traced');
      const early = table.chain('early', { base: { type: 'filter', hook: 'prerouting', priority: 'raw' } });
      early.rule([nft.match('tcp dport', 4020), nft.set('meta nftrace', 1)]);
      const input = table.chain('input', { base: { type: 'filter', hook: 'input' } });
      input.rule([nft.match('tcp dport', 4020), nft.reject('tcp reset')]);
    });
    const trace = filter.trace();
    const seen: TraceEvent[] = [];
    tryPort(4020);
    for await (const event of trace) {
      seen.push(event);
      if (event.verdict.kind === 'drop') break;
    }
    expect(new Set(seen.map(({ id }) => id)).size).toBe(1);
    expect(seen[0]).toMatchObject({
      table: 'traced',
      chain: 'early',
      kind: 'rule',
      packet: { source: '127.0.0.1', destinationPort: 4020, protocol: 'tcp' },
    });
    expect(seen.at(-1)).toMatchObject({
      chain: 'input',
      kind: 'rule',
      verdict: { kind: 'drop' },
      handle: expect.any(Number),
    });
    await filter.transaction((t) => t.remove('inet', 'traced'));
  });
});

describe('a monitor', () => {
  it('tells of changes, with who has made them, until it is left', async () => {
    const monitor = filter.monitor();
    await filter.transaction((t) => {
      const table = t.table('inet', 'watched');
      table.set('s', { type: 'ipv4_addr', elements: ['10.0.0.1', '10.0.0.2'] });
      table.chain('c').rule([nft.accept], { comment: 'first' });
      table.object('n', { kind: 'counter', packets: 0, bytes: 0 });
    });
    await filter.transaction((t) => t.remove('inet', 'watched'));
    const seen: RulesetEvent[] = [];
    let commits = 0;
    for await (const event of monitor) {
      seen.push(event);
      if (event.event === 'committed' && ++commits === 2) break;
    }
    const words = seen.map((event) => (event.event === 'committed' ? 'committed' : `${event.event} ${event.what}`));
    // The kernel tells of elements one by one.
    expect([...new Set(words.slice(0, words.indexOf('committed') + 1))]).toEqual([
      'added table',
      'added set',
      'added elements',
      'added chain',
      'added rule',
      'added object',
      'committed',
    ]);
    expect(words).toContain('removed table');
    expect(seen.find((event) => event.event === 'added' && event.what === 'rule')).toMatchObject({
      chain: 'c',
      comment: 'first',
    });
    expect(seen.at(-1)).toMatchObject({ generation: await filter.generation() });
  });

  it('ends with its signal', async () => {
    const controller = new AbortController();
    const monitor = filter.monitor({ signal: controller.signal });
    const next = monitor.next();
    controller.abort(new Error('enough'));
    await expect(next).rejects.toMatchObject({
      name: 'AbortError',
      cause: expect.objectContaining({ message: 'enough' }),
    });
  });

  it('keeps Node alive only while it is read', async () => {
    const script = `
      import { Netfilter, Namespace } from ${JSON.stringify(new URL('../../../dist/index.js', import.meta.url).href)};
      const filter = await Netfilter.open({ namespace: await Namespace.create(${JSON.stringify(network.kinds)}) });
      filter.monitor();
      console.log('done');`;
    const program = spawn([process.execPath, '--input-type=module', '-e', script]);
    const { exitCode, stdout } = await program;
    expect([exitCode, String(stdout).trim()]).toEqual([0, 'done']);
  });
});
