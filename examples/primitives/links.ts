/**
 * Links: two networks that know of nothing else, a bridge in one of them, and a pair of links between the two; a program in
 * one reaches a program in the other, and nobody has run ip(8). It takes no privilege: both are this user's own.
 */

import { Links, Namespace } from 'tscontain';
import { example, refusal, show } from '../show.js';

/** Answers one client with the address that it comes from. */
const server = `require('net').createServer((s) => { s.end('hello ' + s.remoteAddress); s.on('close', () => process.exit()) }).listen(80, '10.9.0.1')`;
const client = `(function go() { require('net').connect(80, '10.9.0.1').on('error', () => setTimeout(go, 20)).pipe(process.stdout) })()`;

await example(async () => {
  await using here = await Namespace.create(['user', 'net']);
  await using there = await Namespace.create(['user', 'net']);
  await using links = await Links.open({ namespace: here });
  await using others = await Links.open({ namespace: there });
  show('a new network', (await links.list()).map(({ name, state }) => `${name} (${state})`).join());

  await using events = await links.watch({ types: ['link', 'address'] });
  await links.add({ kind: 'bridge', name: 'br0', up: true, bridge: { ageingTime: '1m' } });
  const peer = { name: 'eth0', namespace: there, up: true, address: '02:42:0a:09:00:02' };
  const port = await links.add({ kind: 'veth', name: 'port1', master: 'br0', up: true, peer });
  await links.set(port.index, { port: { isolated: true, learning: false } });
  await links.addresses.add('br0', '10.9.0.1/24');
  await others.addresses.add('eth0', '10.9.0.2/24');
  await others.routes.add({ to: 'default', via: '10.9.0.1' });
  show('bridge', `ages after ${(await links.get('br0'))?.bridge?.ageingTime} ms`, 'read back from the kernel');
  const [route] = await others.routes.list();
  show('route there', `${route?.to} via ${route?.via}`);

  const listening = here.spawn([process.execPath, '-e', server]);
  const { stdout } = await there.spawn([process.execPath, '-e', client]);
  await listening;
  show('from there', stdout);
  const { rx, tx } = (await links.get('port1'))?.statistics ?? {};
  show('port1 counted', `${rx?.packets} packets in, ${tx?.packets} out`);

  const { value: first } = await events.next();
  if (first?.type === 'link') show('first event', `link ${first.link.name} ${first.change}`);
  show('taken already', await refusal(() => links.add({ kind: 'bridge', name: 'br0' })));
  show('too large', await refusal(() => links.set('port1', { mtu: 100_000 })));
  show('leads nowhere', await refusal(() => others.routes.add({ to: '10.8.0.0/16', via: '192.0.2.1' })));
});
