/**
 * The packet filter of a network namespace: a port is closed and opened for one address, each packet is counted, the way of
 * one is shown, and what a connection is meant for is changed. All of it in a namespace made for it.
 */

import { Links, Namespace, Netfilter, type NftRule, nft, spawn } from 'tscontain';
import { example, show } from '../show.js';

const bytesOf = ({ statements }: NftRule) => {
  const counter = statements.find((statement) => statement.kind === 'counter');
  return counter && 'packets' in counter ? `${counter.packets} packets, ${counter.bytes} bytes` : 'not counted';
};

/** A server on port 80 of every address, and a client of it. */
const program = `
  const net = require('node:net');
  const [host, port] = process.argv.slice(1);
  const server = net.createServer((socket) => socket.end('an answer')).listen(80, '127.0.0.1', () => {
    const client = net.connect({ host, port, timeout: 500 });
    const end = (words) => { console.log(words); process.exit(); };
    client.on('data', (data) => end(String(data))).on('error', (error) => end(error.code)).on('timeout', () => end('nothing'));
  });`;

await example(async () => {
  await using network = await Namespace.create(['user', 'net']);
  await using links = await Links.open({ namespace: network });
  await links.set('lo', { up: true });
  const reach = async (host: string, port = 80) =>
    (await spawn([process.execPath, '-e', program, host, String(port)], { namespaces: network })).stdout.trim();
  show('before', `port 80: ${await reach('127.0.0.1')}`);

  await using filter = await Netfilter.open({ namespace: network });
  await filter.transaction((t) => {
    const table = t.table('inet', 'example', { owner: true, comment: 'gone with this program' });
    table.set('friends', { type: 'ipv4_addr', intervals: true, elements: ['192.0.2.0/24'] });
    const input = table.chain('input', { base: { type: 'filter', hook: 'input' } });
    input.rule([nft.match('ct state', ['established', 'related']), nft.accept]);
    input.rule([nft.match('tcp dport', 80), nft.match('ip saddr', '@friends'), nft.counter(), nft.accept]);
    input.rule([nft.match('tcp dport', 80), nft.counter(), nft.reject('tcp reset')]);
  });
  show('closed', `port 80: ${await reach('127.0.0.1')}`);

  // Sets are changed while rules use them.
  await filter.transaction((t) => void t.existing('inet', 'example').existingSet('friends').add('127.0.0.1'));
  show('a friend', `port 80: ${await reach('127.0.0.1')}`);

  // Another destination than the one that the program asks for.
  await filter.transaction((t) => {
    const table = t.existing('inet', 'example');
    const output = table.chain('output', { base: { type: 'nat', hook: 'output', priority: 'dstnat' } });
    output.rule([nft.match('tcp dport', 8080), nft.dnat('ip', { address: '127.0.0.1', port: 80 })]);
    table
      .chain('early', { base: { type: 'filter', hook: 'output', priority: 'raw' } })
      .rule([nft.match('tcp dport', 8080), nft.set('meta nftrace', 1)]);
  });
  const trace = filter.trace();
  show('elsewhere', `127.0.0.1, port 8080: ${await reach('127.0.0.1', 8080)}`, 'where nobody listens');
  for await (const { chain, kind, verdict, handle } of trace) {
    show('its first packet', `${chain}, ${kind}${handle === undefined ? '' : ` ${handle}`}: ${verdict.kind}`);
    if (chain === 'input') break;
  }

  const { tables, generation } = await filter.list();
  for (const { name, rules } of tables[0]?.chains ?? []) show(`chain ${name}`, rules.map(bytesOf).join('; '));
  show('generation', String(generation), 'every transaction makes another one');
});
