/** Networks of containers, on hosts and in a world that the tests make; ip(8), nft(8) and programs in both are the witnesses. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Container, Namespace, Netfilter, Network, OptionError } from '../../../lib/index.js';
import { makeRoot, over } from '../../security/probe.js';
import { ask, NetworkLab, serve } from '../../support/network-lab.js';
import { needsPrograms, needsRoot } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';

checkResidue();

let lab: NetworkLab;
beforeEach(async (context) => {
  needsRoot(context);
  needsPrograms(context, 'python3');
  lab = await NetworkLab.make();
});
afterEach(() => lab?.[Symbol.asyncDispose]());

const caught = async (promise: Promise<unknown>) =>
  promise.then(
    (value) => ({ notThrown: value }),
    (error: unknown) => error,
  );

async function json<T>(where: Namespace | Container, ...argv: [string, ...string[]]): Promise<T> {
  const { stdout } = await (where instanceof Namespace ? where.spawn(argv) : where.exec(argv));
  return JSON.parse(stdout) as T;
}

describe('a container in a network', () => {
  it('has a link with its addresses, routes by the gateway, and its own name', async (context) => {
    needsPrograms(context, 'ip');
    await using network = await Network.create({
      namespace: lab.host,
      subnet: '10.9.0.0/24',
      ipv6: 'fd00:9::/64',
      mtu: 1400,
      dns: ['192.0.2.53'],
    });
    await using box = await Container.create({ network: { bridge: network }, hostname: 'box' });
    type Address = { family: string; local: string; prefixlen: number };
    type Shown = { ifname: string; mtu: number; address: string; operstate: string; addr_info: Address[] };
    const shown = await json<Shown[]>(box, 'ip', '-j', 'address', 'show', 'dev', 'eth0');
    expect(shown).toMatchObject([{ mtu: 1400, address: '02:74:0a:09:00:02', operstate: 'UP' }]);
    // The kernel may make the link-local one a moment later.
    const addresses = shown[0]?.addr_info.map(({ local, prefixlen }) => `${local}/${prefixlen}`);
    expect(addresses?.slice(0, 2)).toEqual(['10.9.0.2/24', 'fd00:9::a09:2/64']);
    expect(addresses?.[2] ?? 'fe80::74:aff:fe09:2/64').toBe('fe80::74:aff:fe09:2/64');
    expect(await json(box, 'ip', '-j', 'route', 'show', 'default')).toMatchObject([
      { gateway: '10.9.0.1', dev: 'eth0' },
    ]);
    expect(await json(box, 'ip', '-6', '-j', 'route', 'show', 'default')).toMatchObject([{ gateway: 'fd00:9::a09:1' }]);
    expect(await box.fs.readFile('/etc/hosts', 'utf8')).toContain('10.9.0.2\tbox\nfd00:9::a09:2\tbox\n');
    expect(await box.fs.readFile('/etc/resolv.conf', 'utf8')).toBe('nameserver 192.0.2.53\n');
    expect(box.network).toMatchObject({
      address: '10.9.0.2',
      ipv6: 'fd00:9::a09:2',
      gateway: '10.9.0.1',
      link: 'eth0',
    });
    expect(network.inspect()).toMatchObject({ containers: [{ id: box.id, address: '10.9.0.2' }], mtu: 1400 });
  });

  it('reaches the world by the host’s address, and others of its network by their own', async () => {
    await using network = await Network.create({ namespace: lab.host, ipv6: true });
    await using a = await Container.create({ network: { bridge: network } });
    await using b = await Container.create({ network: { bridge: network } });
    await using _world = await serve(lab.world, 7000);
    await using _world6 = await serve(lab.world, 7001, { host: '::' });
    await using _udp = await serve(lab.world, 7002, { protocol: 'udp' });
    await using _b = await serve(b, 7000);
    await using _b6 = await serve(b, 7001, { host: '::' });
    expect(await ask(a, '192.0.2.2', 7000)).toBe('192.0.2.1');
    expect(await ask(a, '2001:db8::2', 7001)).toBe('2001:db8::1');
    expect(await ask(a, '192.0.2.2', 7002, 'udp')).toBe('192.0.2.1');
    expect(await ask(a, b.network?.address ?? '', 7000)).toBe(a.network?.address);
    expect(await ask(a, b.network?.ipv6 ?? '', 7001)).toBe(a.network?.ipv6);
    expect(await ask(lab.host, b.network?.address ?? '', 7000)).toBe(network.gateway);
    expect((await network.stats()).spoofed).toBe(0);
  });

  it('has its network before its program starts, also where it is made for one', async () => {
    await using network = await Network.create({ namespace: lab.host, subnet: '10.9.0.0/24' });
    const run = () => Container.run(['cat', '/proc/net/fib_trie'], { network: { bridge: network } });
    expect((await run()).stdout).toContain('10.9.0.2');
    expect((await run()).stdout).toContain('10.9.0.3');
  });

  it('has an address that was asked for, and nobody else has it', async () => {
    await using network = await Network.create({ namespace: lab.host, subnet: '10.9.0.0/24' });
    const network2 = { bridge: network, address: '10.9.0.77' };
    await using box = await Container.create({ network: network2 });
    expect(box.network?.address).toBe('10.9.0.77');
    expect(await caught(Container.create({ network: network2 }))).toMatchObject({ option: 'network.address' });
    for (const address of ['10.9.0.1', '10.9.0.255', '10.9.1.5', 'fd00::1', 'x', 5]) {
      const error = await caught(Container.create({ network: { bridge: network, address: address as string } }));
      expect(error, String(address)).toBeInstanceOf(OptionError);
    }
  });

  it('fails whole where its network has been closed', async () => {
    const network = await Network.create({ namespace: lab.host });
    await network.close();
    await network.close();
    expect(await caught(Container.create({ network: { bridge: network } }))).toMatchObject({ code: 'ERR_CLOSED' });
  });

  it('shows in its plan what is done for it', async () => {
    await using network = await Network.create({ namespace: lab.host });
    const plan = String(await Container.plan({ network: { bridge: network } }));
    expect(plan).toContain('rtnetlink');
    expect(network.inspect().containers).toEqual([]);
  });
});

describe('published ports', () => {
  it('lead to the container from the world, the host and other containers, and tell it who asks', async () => {
    await using network = await Network.create({ namespace: lab.host, ipv6: true });
    const publish = [
      { port: 80, hostPort: 8080 },
      { port: 53, protocol: 'udp' as const, hostPort: 0 },
    ];
    await using box = await Container.create({ network: { bridge: network, publish } });
    await using other = await Container.create({ network: { bridge: network } });
    await using _tcp = await serve(box, 80, { host: '0.0.0.0' });
    await using _udp = await serve(box, 53, { protocol: 'udp' });
    const [tcp, udp] = box.network?.published ?? [];
    expect(tcp).toEqual({ protocol: 'tcp', hostAddress: undefined, hostPort: 8080, port: 80 });
    expect(udp?.hostPort).toBeGreaterThan(1023);
    expect(await ask(lab.world, '192.0.2.1', 8080)).toBe('192.0.2.2');
    expect(await ask(lab.world, '192.0.2.1', udp?.hostPort ?? 0, 'udp')).toBe('192.0.2.2');
    expect(await ask(lab.host, '192.0.2.1', 8080)).toBe('192.0.2.1');
    expect(await ask(lab.host, '127.0.0.1', 8080)).toBe(network.gateway);
    expect(await ask(other, '192.0.2.1', 8080)).toBe(network.gateway);
    expect(await ask(box, '192.0.2.1', 8080)).toBe(network.gateway);
    expect(await ask(other, network.gateway, 8080)).toBe(network.gateway);
    await using _six = await serve(box, 81, { host: '::' });
    await box.network?.publish({ port: 81, hostAddress: '2001:db8::1' });
    expect(await ask(lab.world, '2001:db8::1', 81)).toBe('2001:db8::2');
  });

  it('come and go while the container runs', async () => {
    await using network = await Network.create({ namespace: lab.host });
    await using box = await Container.create({ network: { bridge: network } });
    await using _server = await serve(box, 8001);
    expect(await ask(lab.world, '192.0.2.1', 8001)).toBe('ECONNREFUSED');
    const published = await box.network?.publish({ port: '8000-8002' });
    expect(published?.map(({ hostPort }) => hostPort)).toEqual([8000, 8001, 8002]);
    expect(await ask(lab.world, '192.0.2.1', 8001)).toBe('192.0.2.2');
    await box.network?.unpublish({ hostPort: 8001 });
    expect(await ask(lab.world, '192.0.2.1', 8001)).toBe('ECONNREFUSED');
    expect(box.network?.published.map(({ hostPort }) => hostPort)).toEqual([8000, 8002]);
    expect(await caught(box.network?.unpublish({ hostPort: 8001 }) ?? Promise.resolve())).toBeInstanceOf(OptionError);
  });

  it('are free again when the container has ended', async () => {
    await using network = await Network.create({ namespace: lab.host });
    const options = { network: { bridge: network, publish: [{ port: 80, hostPort: 8080 }] } };
    const box = await Container.create(options);
    expect(await caught(Container.create(options))).toMatchObject({ option: 'network.publish.hostPort' });
    await box.kill();
    await expect.poll(() => network.inspect().containers).toEqual([]);
    await using _again = await Container.create(options);
  });

  it('are refused where they cannot be had', async () => {
    await using network = await Network.create({ namespace: lab.host });
    await using inside = await Network.create({ namespace: lab.host, internal: true });
    await using _taken = await serve(lab.host, 9000);
    const refused = [
      { port: 9000 },
      { port: 80, hostAddress: '192.0.2.77' },
      { port: 80, hostAddress: '::1' },
      { port: 80, hostAddress: '2001:db8::1' },
      { port: 80, hostAddress: 'localhost' },
      { port: 0 },
      { port: 65_536 },
      { port: '8-7' as const },
      { port: '80-82' as const, hostPort: '80-81' as const },
      { port: 80, protocol: 'sctp' as 'tcp' },
    ];
    for (const publish of refused) {
      const error = await caught(Container.create({ network: { bridge: network, publish: [publish] } }));
      expect(error, JSON.stringify(publish)).toBeInstanceOf(OptionError);
    }
    expect(await caught(Container.create({ network: { bridge: inside, publish: [{ port: 80 }] } }))).toMatchObject({
      option: 'network.publish',
    });
    expect(network.inspect().containers).toEqual([]);
  });
});

describe('a network', () => {
  it('takes a subnet that nothing else has', async () => {
    await using one = await Network.create({ namespace: lab.host });
    await using two = await Network.create({ namespace: lab.host });
    expect(one.subnet).not.toBe(two.subnet);
    for (const subnet of [one.subnet, '192.0.2.128/25', '192.0.0.0/16']) {
      const error = await caught(Network.create({ namespace: lab.host, subnet }));
      expect(error, subnet).toMatchObject({ option: 'subnet' });
    }
    expect(await caught(Network.create({ namespace: lab.host, ipv6: '2001:db8::/64' }))).toMatchObject({
      option: 'ipv6',
    });
    // The table is the lock between processes.
    await using other = await Netfilter.open({ namespace: lab.host });
    await other.transaction((t) => void t.table('inet', 'tscontain-10.9.0.0-24', { owner: true }));
    expect(await caught(Network.create({ namespace: lab.host, subnet: '10.9.0.0/24' }))).toMatchObject({
      option: 'subnet',
    });
  });

  it('refuses options that make no sense', async () => {
    const wrong: Record<string, readonly unknown[]> = {
      name: ['', 'A', '%d', 'a/b', 'all', 'default', 'abcdefghijklmnop', '../x', 'a"; flush ruleset', 5],
      subnet: [
        '10.0.0.1/24',
        '10.0.0.0/31',
        '0.0.0.0/0',
        '127.0.0.0/8',
        '169.254.0.0/16',
        '224.0.0.0/8',
        'fd00::/64',
        'x',
        1,
      ],
      ipv6: ['fe80::/64', 'fd00::/32', 'fd00::/100', '10.0.0.0/24', 'ff00::/64', 1],
      mtu: [1279, 65_536, '1500'],
      internal: [1],
      isolation: ['yes'],
      dns: [['localhost'], ['fe80::1%eth0'], 'x', ['1.1.1.1', '1.1.1.2', '1.1.1.3', '1.1.1.4']],
      namespace: [5, {}],
    };
    for (const [key, values] of Object.entries(wrong)) {
      for (const value of values) {
        const error = await caught(Network.create({ namespace: lab.host, [key]: value }));
        expect(error, `${key} ${JSON.stringify(value)}`).toBeInstanceOf(OptionError);
      }
    }
    for (const network of ['host', {}, { bridge: {} }, { bridge: null }, 5]) {
      expect(await caught(Container.create({ network } as never))).toBeInstanceOf(OptionError);
    }
  });

  it('gives the address last that was given back last', async () => {
    await using network = await Network.create({ namespace: lab.host, subnet: '10.9.0.0/29' });
    const seen: string[] = [];
    for (let count = 0; count < 12; count++) {
      await using box = await Container.create({ network: { bridge: network } });
      seen.push(box.network?.address ?? '');
      await box.kill();
      await expect.poll(() => network.inspect().containers).toEqual([]);
    }
    const round = ['10.9.0.2', '10.9.0.3', '10.9.0.4', '10.9.0.5', '10.9.0.6'];
    expect(seen).toEqual([...round, ...round, ...round.slice(0, 2)]);
  });

  it('says that no address is free', async () => {
    await using network = await Network.create({ namespace: lab.host, subnet: '10.9.0.0/30' });
    await using _only = await Container.create({ network: { bridge: network } });
    expect(await caught(Container.create({ network: { bridge: network } }))).toMatchObject({ code: 'ERR_NO_ADDRESS' });
  });

  it('has a hundred containers at once, with as many addresses and no more rules', { timeout: 120_000 }, async () => {
    await using network = await Network.create({ namespace: lab.host });
    await using filter = await Netfilter.open({ namespace: lab.host });
    const rules = async () =>
      (await filter.list()).tables.flatMap(({ chains }) => chains).reduce((sum, { rules }) => sum + rules.length, 0);
    const before = await rules();
    const boxes = await Promise.all(
      Array.from({ length: 100 }, () => Container.create({ network: { bridge: network } })),
    );
    try {
      expect(new Set(boxes.map((box) => box.network?.address)).size).toBe(100);
      expect(await rules()).toBe(before);
      const last = boxes[99] as Container;
      await using _server = await serve(last, 7000);
      expect(await ask(boxes[0] as Container, last.network?.address ?? '', 7000)).toBe(boxes[0]?.network?.address);
    } finally {
      await Promise.all(boxes.map((box) => box.kill()));
    }
    await expect.poll(() => network.inspect().containers, { timeout: 60_000 }).toEqual([]);
  });

  it('leaves nothing when it is closed, and the host as it was', async () => {
    const network = await Network.create({ namespace: lab.host, ipv6: true });
    expect(network.inspect().forwardingSwitchedOn).toContain('ipv4');
    expect(await lab.hostLinks.sysctl.get('net.ipv4.ip_forward')).toBe('1');
    await network.close();
    await using filter = await Netfilter.open({ namespace: lab.host });
    expect((await filter.list()).tables).toEqual([]);
    expect(await lab.linkNames()).toEqual(['lo', 'uplink']);
    expect(await lab.hostLinks.sysctl.get('net.ipv4.ip_forward')).toBe('0');
  });

  it('takes the links of its containers along, and they live on', async () => {
    const network = await Network.create({ namespace: lab.host });
    await using box = await Container.create({ network: { bridge: network, publish: [{ port: 80, hostPort: 8080 }] } });
    const links = async () => (await box.exec(['cat', '/proc/net/dev'])).stdout;
    expect(await links()).toContain('eth0');
    await network.close();
    await expect.poll(links).not.toContain('eth0');
    expect(await caught(box.network?.publish({ port: 81 }) ?? Promise.resolve())).toMatchObject({
      code: 'ERR_CONTAINER_GONE',
    });
    expect(await ask(lab.host, '127.0.0.1', 8080)).toBe('ECONNREFUSED');
  });

  it('has a place for a fork of a container as well', async () => {
    await using network = await Network.create({ namespace: lab.host });
    await using box = await Container.create({ ...over(makeRoot()), network: { bridge: network } });
    await box.fs.writeFile('/tmp/mark', 'written');
    await using fork = await box.fork();
    expect(await fork.fs.readFile('/tmp/mark', 'utf8')).toBe('written');
    expect(fork.network?.address).not.toBe(box.network?.address);
    await using _server = await serve(box, 7000);
    expect(await ask(fork, box.network?.address ?? '', 7000)).toBe(fork.network?.address);
  });

  it('leaves nothing where it could not be made', async () => {
    await caught(Network.create({ namespace: lab.host, subnet: '192.0.2.0/24' }));
    await using filter = await Netfilter.open({ namespace: lab.host });
    expect((await filter.list()).tables).toEqual([]);
    expect(await lab.linkNames()).toEqual(['lo', 'uplink']);
    expect(await lab.hostLinks.sysctl.get('net.ipv4.ip_forward')).toBe('0');
  });
});
