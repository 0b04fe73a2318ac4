/** Group L of the catalogue: networks of containers, with hosts and a world that the tests make. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Container, Netfilter, Network } from '../../lib/index.js';
import { ask, NetworkLab, serve } from '../support/network-lab.js';
import { needsPrograms, needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

let lab: NetworkLab;
beforeEach(async (context) => {
  needsRoot(context);
  needsPrograms(context, 'python3');
  lab = await NetworkLab.make();
});
afterEach(() => lab?.[Symbol.asyncDispose]());

/** Sends one Ethernet frame from a container: from a hardware address, of a type, with these bytes. */
const sendFrame = `
import errno, socket, sys
source, kind, payload = sys.argv[1:]
try:
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind(('eth0', 0))
    s.send(b'\\xff' * 6 + bytes.fromhex(source) + bytes.fromhex(kind) + bytes.fromhex(payload))
    print('sent')
except OSError as e:
    print(errno.errorcode[e.errno])
`;

async function frame(box: Container, source: string, kind: string, payload: string): Promise<string> {
  return (await box.exec(['/usr/bin/python3', '-c', sendFrame, source, kind, payload])).stdout.trim();
}

const hex = (address: string) => Buffer.from(address.split('.').map(Number)).toString('hex');
/** An ARP request: who has `target`, by somebody who says that he is `mac` and `ip`. */
const arp = (mac: string, ip: string, target: string) => `0001080006040001${mac}${hex(ip)}000000000000${hex(target)}`;
/** An empty UDP datagram to port 9, whose checksums the way there does not look at. */
const ipv4 = (from: string, to: string) => `4500001c000040004011${'0000'}${hex(from)}${hex(to)}1000000900080000`;
/** A router’s advertisement from this link-local address to all nodes. */
const advertisement = (from: string) =>
  `6000000000103aff${from}${`ff02${'0'.repeat(27)}1`}860000004000070800000000 00000000`.replace(' ', '');

describe('L: networks of containers', () => {
  it('L1: a link of the host is made under a name that nobody chose, and none that is there is touched', async () => {
    const before = await lab.hostLinks.get('uplink');
    await using one = await Network.create({ namespace: lab.host, name: 'uplink' });
    await using two = await Network.create({ namespace: lab.host, name: 'uplink' });
    for (const network of [one, two]) expect(network.inspect().link).toMatch(/^tsc[0-9a-f]{10}$/);
    expect(one.inspect().link).not.toBe(two.inspect().link);
    const { statistics: _, ...after } = (await lab.hostLinks.get('uplink')) ?? { statistics: 0 };
    const { statistics: __, ...then } = before ?? { statistics: 0 };
    expect(after).toEqual(then);
    for (const name of ['%d', 'a/b', 'all', 'default', 'Uplink', 'a b', 'eth0\n']) {
      await expect(Network.create({ namespace: lab.host, name }), name).rejects.toMatchObject({ option: 'name' });
    }
  });

  it('L2: frames under an address of another are dropped and counted, and routers are not heard', async () => {
    await using network = await Network.create({ namespace: lab.host, subnet: '10.9.0.0/24', ipv6: true });
    await using plain = await Container.create({ network: { bridge: network }, seccomp: 'docker' });
    await using box = await Container.create({
      network: { bridge: network },
      capabilities: ['NET_RAW'],
      seccomp: 'docker',
    });
    const mac = box.network?.mac.replaceAll(':', '') ?? '';
    const own = box.network?.address ?? '';
    const other = plain.network?.address ?? '';
    expect(await frame(plain, mac, '0806', arp(mac, own, other))).toBe('EPERM');
    const spoofed = async () => (await network.stats()).spoofed;
    const before = await spoofed();
    const attempts: readonly (readonly [string, string, string])[] = [
      ['020000000001', '0806', arp(mac, own, other)],
      [mac, '0806', arp(mac, '10.9.0.1', other)],
      [mac, '0806', arp('020000000001', own, other)],
      [mac, '0800', ipv4(other, '10.9.0.1')],
      [mac, '0800', ipv4(own, '127.0.0.1')],
      [mac, '86dd', advertisement(`fe80000000000000007${'4'}0afffe090003`)],
      [mac, '86dd', advertisement('fe800000000000000000000000000001')],
      [mac, '8100', `0001${'0800'}${ipv4(own, '10.9.0.1')}`],
      [mac, '88cc', '00'],
    ];
    for (const [index, attempt] of attempts.entries()) {
      expect(await frame(box, ...attempt)).toBe('sent');
      expect(await spoofed(), `frame ${index}`).toBe(before + index + 1);
    }
    // What it says about itself passes.
    const counted = await spoofed();
    expect(await frame(box, mac, '0806', arp(mac, own, other))).toBe('sent');
    expect(await frame(box, mac, '0800', ipv4(own, '10.9.0.1'))).toBe('sent');
    expect(await spoofed()).toBe(counted);
    expect(await box.fs.readFile('/proc/sys/net/ipv6/conf/eth0/accept_ra', 'utf8')).toBe('0\n');
  });

  it('L4: from outside a container is reached by published ports alone, and one of 127.0.0.1 not at all', async () => {
    await using network = await Network.create({ namespace: lab.host, subnet: '10.9.0.0/24' });
    const publish = [{ port: 80, hostAddress: '127.0.0.1', hostPort: 8080 }];
    await using box = await Container.create({ network: { bridge: network, publish } });
    await using _server = await serve(box, 80);
    // The world knows the way.
    await lab.worldLinks.routes.add({ to: '10.9.0.0/24', via: '192.0.2.1' });
    expect(await ask(lab.world, '10.9.0.2', 80)).toBe('timeout');
    expect((await network.stats()).unasked).toBeGreaterThan(0);
    expect(await ask(lab.world, '192.0.2.1', 8080)).toBe('ECONNREFUSED');
    await lab.worldLinks.sysctl.set({ 'net.ipv4.conf.all.route_localnet': 1 });
    await lab.worldLinks.set('lo', { up: false });
    await lab.worldLinks.routes.add({ to: '127.0.0.1/32', via: '192.0.2.1' });
    expect(await ask(lab.world, '127.0.0.1', 8080)).toBe('timeout');
    expect(await ask(lab.host, '127.0.0.1', 8080)).toBe('10.9.0.1');
    await box.network?.publish({ port: 80, hostPort: 8081 });
    expect(await ask(lab.world, '192.0.2.1', 8081)).toBe('192.0.2.2');
  });

  it('L5: from an internal network no packet leaves, to a name server neither', async () => {
    await using inside = await Network.create({ namespace: lab.host, internal: true, dns: ['192.0.2.2'] });
    await using outside = await Network.create({ namespace: lab.host, dns: ['192.0.2.2'] });
    await using a = await Container.create({ network: { bridge: inside }, capabilities: ['NET_ADMIN'] });
    await using b = await Container.create({ network: { bridge: inside } });
    await using c = await Container.create({ network: { bridge: outside } });
    await using _dns = await serve(lab.world, 53, { protocol: 'udp' });
    await using _b = await serve(b, 80);
    expect(await ask(a, '192.0.2.2', 53, 'udp')).toBe('ENETUNREACH');
    // With a route of its own making the host refuses.
    expect((await a.exec(['ip', 'route', 'add', 'default', 'via', inside.gateway])).exitCode).toBe(0);
    expect(await ask(a, '192.0.2.2', 53, 'udp')).toMatch(/^(EHOSTUNREACH|timeout)$/);
    expect((await inside.stats()).refused).toBeGreaterThan(0);
    expect(await ask(a, b.network?.address ?? '', 80)).toBe(a.network?.address);
    expect(await ask(lab.host, b.network?.address ?? '', 80)).toBe(inside.gateway);
    expect(await ask(c, '192.0.2.2', 53, 'udp')).toBe('192.0.2.1');
  });

  it('L6: without IPv6 there is none of it, and with it the rules are the same', async () => {
    await using four = await Network.create({ namespace: lab.host });
    await using both = await Network.create({ namespace: lab.host, ipv6: 'fd00:9::/64' });
    await using a = await Container.create({ network: { bridge: four } });
    await using b = await Container.create({ network: { bridge: both } });
    const addresses = async (box: Container) =>
      (await box.fs.readFile('/proc/net/if_inet6', 'utf8')).split('\n').filter((line) => line.endsWith('eth0'));
    expect(await addresses(a)).toEqual([]);
    await expect.poll(() => addresses(b)).toHaveLength(2);
    expect(await ask(a, '2001:db8::2', 7000)).toBe('ENETUNREACH');
    await using _world = await serve(lab.world, 7000, { host: '::' });
    await using _host = await serve(lab.host, 7001, { host: '::' });
    await using _b = await serve(b, 80, { host: '::' });
    expect(await ask(b, '2001:db8::2', 7000)).toBe('2001:db8::1');
    expect(await ask(b, '2001:db8::1', 7001)).toMatch(/^(EACCES|EHOSTUNREACH|ENETUNREACH|timeout)$/);
    expect((await both.stats()).refused).toBeGreaterThan(0);
    expect(await ask(lab.world, '2001:db8::1', 7001)).toBe('2001:db8::2');
    await lab.worldLinks.routes.add({ to: 'fd00:9::/64', via: '2001:db8::1' });
    expect(await ask(lab.world, b.network?.ipv6 ?? '', 80)).toBe('timeout');
  });

  it('L7: neither the host’s services, nor link-local addresses, nor other networks are reached', async () => {
    await using network = await Network.create({ namespace: lab.host });
    await using other = await Network.create({ namespace: lab.host });
    await using apart = await Network.create({ namespace: lab.host, isolation: true });
    await using box = await Container.create({ network: { bridge: network } });
    await using beside = await Container.create({ network: { bridge: other } });
    await using c = await Container.create({ network: { bridge: apart } });
    await using d = await Container.create({ network: { bridge: apart } });
    await using _host = await serve(lab.host, 7000);
    await using _beside = await serve(beside, 80);
    await using _d = await serve(d, 80);
    await lab.worldLinks.addresses.add('host', '169.254.169.254/16');
    await using _metadata = await serve(lab.world, 80);
    for (const address of [network.gateway, other.gateway, '192.0.2.1']) {
      expect(await ask(box, address, 7000), address).toBe('EHOSTUNREACH');
    }
    expect(await ask(lab.world, '192.0.2.1', 7000)).toBe('192.0.2.2');
    expect(await ask(box, '169.254.169.254', 80)).toBe('EHOSTUNREACH');
    expect(await ask(lab.host, '169.254.169.254', 80)).toBe('192.0.2.1');
    expect(await ask(box, beside.network?.address ?? '', 80)).toMatch(/^(timeout|EHOSTUNREACH)$/);
    expect(await ask(lab.host, beside.network?.address ?? '', 80)).toBe(other.gateway);
    expect(await ask(c, d.network?.address ?? '', 80)).toMatch(/^(timeout|EHOSTUNREACH)$/);
    expect(await ask(lab.host, d.network?.address ?? '', 80)).toBe(apart.gateway);
    // By a port that is published the other network is a part of the world.
    const [port] = (await beside.network?.publish({ port: 80, hostPort: 0 })) ?? [];
    expect(await ask(box, '192.0.2.1', port?.hostPort ?? 0)).toBe(box.network?.address);
  });

  it('L10: two hundred containers one after the other have two hundred addresses', { timeout: 120_000 }, async () => {
    await using network = await Network.create({ namespace: lab.host });
    const seen: string[] = [];
    const one = async () => {
      await using box = await Container.create({ network: { bridge: network } });
      seen.push(box.network?.address ?? '');
    };
    for (let count = 0; count < 50; count++) await Promise.all([one(), one(), one(), one()]);
    expect(new Set(seen).size).toBe(200);
  });

  it('L11: what was asked of the host’s loopback does not come from there', async () => {
    await using network = await Network.create({ namespace: lab.host });
    const publish = [{ port: 80, hostAddress: '127.0.0.1' }];
    await using box = await Container.create({ network: { bridge: network, publish } });
    await using _server = await serve(box, 80);
    await using _own = await serve(lab.host, 81);
    expect(await ask(lab.host, '127.0.0.1', 80)).toBe(network.gateway);
    expect(await ask(lab.host, '127.0.0.1', 81)).toBe('127.0.0.1');
  });

  it('leaves nothing on the host when its process is killed', async () => {
    const program = `
      import { Container, Network } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)};
      const network = await Network.create({ subnet: '10.9.0.0/24', ipv6: true });
      const publish = [{ port: 80 }];
      const box = await Container.create({ network: { bridge: network, publish } });
      console.log(network.inspect().link);
      setInterval(() => {}, 1000);`;
    const child = lab.host.spawn([process.execPath, '--input-type=module', '-e', program], { stdout: 'pipe' });
    child.catch(() => {});
    const link = String(await new Promise((resolve) => child.stdout?.once('data', resolve))).trim();
    await using filter = await Netfilter.open({ namespace: lab.host });
    expect((await lab.hostLinks.list()).map(({ name }) => name)).toContain(link);
    expect((await filter.list()).tables).toHaveLength(1);
    child.kill('SIGKILL');
    await child;
    await expect
      .poll(async () => (await lab.hostLinks.list()).map(({ name }) => name), { timeout: 5000 })
      .toEqual(['lo', 'uplink']);
    await expect.poll(async () => (await filter.list()).tables).toEqual([]);
    // Nobody has it any more.
    await using _again = await Network.create({ namespace: lab.host, subnet: '10.9.0.0/24', ipv6: true });
  });
});
