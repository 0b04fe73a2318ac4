/** Links, addresses, routes and neighbours of namespaces that the tests make, with ip(8) as the witness. */

import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, type TestContext } from 'vitest';
import {
  Container,
  type Link,
  type LinkOptions,
  Links,
  Namespace,
  NetlinkError,
  OptionError,
  PermissionError,
  UnsupportedError,
} from '../../../lib/index.js';
import { AttributeWriter } from '../../../lib/netlink/attributes.js';
import { NetlinkSocket } from '../../../lib/netlink/socket.js';
import { readAddress } from '../../../lib/network/interface-addresses.js';
import { readLink } from '../../../lib/network/link/read.js';
import { readNeighbour } from '../../../lib/network/neighbours.js';
import { readRoute } from '../../../lib/network/route-message.js';
import { readRule } from '../../../lib/network/rules.js';
import { isFallback } from '../../support/links.js';
import { needsPrograms } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';

checkResidue();

/** As root of the host, and as an ordinary user, who has a user namespace of his own. */
const kinds = process.geteuid?.() === 0 ? (['net'] as const) : (['user', 'net'] as const);
let network: Namespace;
let links: Links;
beforeEach(async () => {
  network = await Namespace.create(kinds);
  links = await Links.open({ namespace: network });
});
afterEach(async () => {
  await links.close();
  await network.close();
});

type Json = { readonly [key: string]: unknown };

/** What ip(8) says, run in the namespace. */
async function ip(context: TestContext, ...args: string[]): Promise<Json[]> {
  needsPrograms(context, 'ip');
  const { stdout, stderr, exitCode } = await network.spawn(['ip', '-j', '-d', ...args]);
  expect([exitCode, stderr]).toEqual([0, '']);
  return JSON.parse(stdout === '' ? '[]' : stdout) as Json[];
}

/** The links of a namespace that were made. */
const own = async (from: Links) => (await from.list()).filter(({ name }) => !isFallback(name));
const namesOf = async (from: Links) => (await own(from)).map(({ name }) => name);

const caught = async (promise: Promise<unknown>) =>
  promise.then(
    (value) => ({ notThrown: value }),
    (error: unknown) => error,
  );
/** Skip where the kernel has not this kind of link. */
async function add(context: TestContext, options: LinkOptions): Promise<Link> {
  const made = await links.add(options).catch((error: unknown) => error);
  if (made instanceof UnsupportedError) context.skip(`this kernel has no ${options.kind} links`);
  if (made instanceof Error) throw made;
  return made as Link;
}
const veth = (name = 'a', peer = 'b') => links.add({ kind: 'veth', name, peer: { name: peer } });

describe('links', () => {
  it('are those that ip shows, with the same values', async (context) => {
    await links.add({ kind: 'bridge', name: 'br0', up: true, bridge: { ageingTime: 20_000, priority: 100 } });
    await links.add({
      kind: 'veth',
      name: 'a',
      up: true,
      master: 'br0',
      mtu: 1400,
      alias: 'für a',
      txQueueLength: 77,
      peer: { name: 'b', address: '02:00:00:00:00:05', mtu: 1300, up: true },
    });
    const shown = (await ip(context, '-s', 'link', 'show')).filter(({ ifname }) => !isFallback(String(ifname)));
    const ours = await own(links);
    expect(ours.map(({ name }) => name)).toEqual(['lo', 'br0', 'b', 'a']);
    for (const [position, link] of ours.entries()) {
      const theirs = shown[position] ?? {};
      const info = (theirs.linkinfo ?? {}) as Json;
      const stats = theirs.stats64 as { rx: Json; tx: Json };
      expect({
        ifindex: link.index,
        ifname: link.name,
        mtu: link.mtu,
        address: link.address,
        txqlen: link.txQueueLength,
        ifalias: link.alias,
        kind: link.kind,
        up: link.up,
        master: ours.find(({ index }) => index === link.master)?.name,
        type: link.type,
        rx: link.statistics?.rx.errors,
        tx: link.statistics?.tx.collisions,
      }).toEqual({
        ifindex: theirs.ifindex,
        ifname: theirs.ifname,
        mtu: theirs.mtu,
        address: theirs.address,
        txqlen: theirs.txqlen,
        ifalias: theirs.ifalias,
        kind: info.info_kind,
        up: (theirs.flags as string[]).includes('UP'),
        master: theirs.master,
        type: theirs.link_type,
        rx: stats.rx.errors,
        tx: stats.tx.collisions,
      });
    }
    const bridge = ours[1]?.bridge;
    const data = (shown[1]?.linkinfo as { info_data: Json } | undefined)?.info_data ?? {};
    expect(bridge).toMatchObject({
      ageingTime: Number(data.ageing_time) * 10,
      forwardDelay: Number(data.forward_delay) * 10,
      priority: data.priority,
      stp: data.stp_state !== 0,
      multicastSnooping: data.mcast_snooping === 1,
    });
    expect(bridge).toMatchObject({ ageingTime: 20_000, priority: 100 });
    expect(ours[3]).toMatchObject({ mtu: 1400, alias: 'für a', txQueueLength: 77, link: ours[2]?.index });
    expect(ours[2]).toMatchObject({ address: '02:00:00:00:00:05', mtu: 1300, link: ours[3]?.index });
  });

  it('count what passes', async () => {
    await links.set('lo', { up: true });
    const before = (await links.get('lo'))?.statistics?.tx.packets ?? -1;
    const sent = await network.spawn([
      process.execPath,
      '-e',
      "const s = require('dgram').createSocket('udp4'); s.send('x', 9, '127.0.0.1', () => s.close())",
    ]);
    expect(sent.exitCode).toBe(0);
    const { rx, tx } = (await links.get('lo'))?.statistics ?? {};
    expect(tx?.packets).toBeGreaterThan(before);
    expect(rx?.bytes).toBe(tx?.bytes);
  });

  it('are changed by index and by name, and can be taken back', async () => {
    const made = await veth();
    await links.set(made.index, { up: true, mtu: 1280, alias: 'x', address: '02:00:00:00:00:07', group: 5 });
    expect(await links.get('a')).toMatchObject({
      up: true,
      mtu: 1280,
      alias: 'x',
      group: 5,
      address: '02:00:00:00:00:07',
    });
    await links.set('a', { up: false, alias: '', promiscuous: true, arp: false, multicast: false });
    expect(await links.get(made.index)).toMatchObject({
      up: false,
      alias: undefined,
      promiscuous: true,
      arp: false,
      multicast: false,
    });
    await links.set('a', { name: 'renamed' });
    expect(await links.get('a')).toBeUndefined();
    expect((await links.get('renamed'))?.index).toBe(made.index);
    await links.remove('renamed');
    expect(await namesOf(links), 'both ends are gone').toEqual(['lo']);
  });

  it('are ports of a bridge, with settings', async (context) => {
    await links.add({ kind: 'bridge', name: 'br0', up: true });
    await veth();
    await links.set('a', {
      up: true,
      master: 'br0',
      port: { isolated: true, hairpin: true, learning: false, cost: 9 },
    });
    const [shown] = await ip(context, 'link', 'show', 'dev', 'a');
    const theirs = (shown?.linkinfo as { info_slave_data: Json } | undefined)?.info_slave_data;
    expect(theirs).toMatchObject({
      isolated: true,
      hairpin: true,
      learning: false,
      cost: 9,
      flood: true,
      guard: false,
    });
    expect((await links.get('a'))?.port).toMatchObject({
      isolated: true,
      hairpin: true,
      learning: false,
      cost: 9,
      unicastFlood: true,
      guard: false,
    });
    await links.set('br0', { bridge: { multicastSnooping: false } });
    expect((await links.get('br0'))?.bridge?.multicastSnooping).toBe(false);
    await links.set('a', { master: null });
    expect(await links.get('a')).toMatchObject({ master: undefined });
    expect((await links.get('a'))?.port).toBeUndefined();
  });

  it.for<LinkOptions>([
    { kind: 'dummy', name: 'd0', up: true },
    { kind: 'vlan', name: 'v0', link: 'a', vlan: { id: 42, protocol: '802.1ad' } },
    { kind: 'macvlan', name: 'm0', link: 'a', macvlan: { mode: 'bridge' } },
    { kind: 'ipvlan', name: 'i0', link: 'a', ipvlan: { mode: 'l2', flag: 'private' } },
  ])('of the kind $kind are made as they were asked for', async (options, context) => {
    await veth();
    const made = await add(context, options);
    expect(made).toMatchObject({ name: options.name, kind: options.kind });
    if (options.kind === 'vlan') expect(made.vlan).toEqual(options.vlan);
    if (options.kind === 'macvlan') expect(made.macvlan).toEqual(options.macvlan);
    if (options.kind === 'ipvlan') expect(made.ipvlan).toEqual(options.ipvlan);
    const [shown] = await ip(context, 'link', 'show', 'dev', options.name);
    expect((shown?.linkinfo as Json | undefined)?.info_kind).toBe(options.kind);
  });

  it('are moved to another namespace, renamed on the way, or made there as the other end', async () => {
    // It belongs to another user namespace than the first: both were made by this process.
    await using other = await Namespace.create(['user', 'net']);
    await using over = await Links.open({ namespace: other });
    await links.add({ kind: 'veth', name: 'here', peer: { name: 'there', namespace: other, up: true } });
    const here = await links.get('here');
    expect(here?.linkNamespaceId).toBeGreaterThanOrEqual(0);
    await veth();
    await links.set('b', { namespace: other, name: 'moved' });
    expect((await namesOf(over)).sort()).toEqual(['lo', 'moved', 'there']);
    expect(await over.get('there')).toMatchObject({ index: here?.link, up: true });
    expect((await namesOf(links)).sort()).toEqual(['a', 'here', 'lo']);
    // Taken, so nothing is made at either end.
    expect(
      await caught(links.add({ kind: 'veth', name: 'x', peer: { name: 'there', namespace: other } })),
    ).toMatchObject({
      errno: 'EEXIST',
    });
    expect(await links.get('x')).toBeUndefined();
  });

  it('of a thousand are listed whole', async () => {
    const names = Array.from({ length: 500 }, (_, index) => `p${index}`);
    await Promise.all(names.map((name) => links.add({ kind: 'veth', name, peer: { name: `q${name}` } })));
    const found = await own(links);
    expect(found).toHaveLength(1001);
    expect(new Set(found.map(({ name }) => name)).size).toBe(1001);
    expect(found.every((link, position) => position === 0 || link.index > (found[position - 1]?.index ?? 0))).toBe(
      true,
    );
  });

  it('that cannot be made are refused in the kernel’s words, and nothing is made', async () => {
    await veth();
    const refused: readonly (readonly [() => Promise<unknown>, object])[] = [
      [
        () => veth(),
        { code: 'ERR_NETLINK', errno: 'EEXIST', message: expect.stringMatching(/^adding the link a \(veth\)/) },
      ],
      [() => links.set('a', { mtu: 100_000 }), { errno: 'EINVAL', kernel: 'mtu greater than device maximum' }],
      [() => links.set('a', { port: { isolated: true } }), { code: expect.stringMatching(/^ERR_/) }],
      [() => links.set('none', { up: true }), { errno: 'ENODEV' }],
      [() => links.set(9999, { up: true }), { errno: 'ENODEV' }],
      [() => links.remove('none'), { errno: 'ENODEV' }],
      [() => links.add({ kind: 'macvlan', name: 'm', link: 9999 }), { errno: 'ENODEV' }],
      [() => links.addresses.list({ link: 'none' }), { errno: 'ENODEV' }],
    ];
    for (const [call, expected] of refused) expect(await caught(call())).toMatchObject(expected);
    expect(await links.get('none')).toBeUndefined();
    expect(await namesOf(links)).toEqual(['lo', 'b', 'a']);
  });

  it('with wrong options are refused before anything is asked', async () => {
    const wrong: readonly unknown[] = [
      {},
      { kind: 'veth', name: 'a' },
      { kind: 'veth', name: 'a', peer: {} },
      { kind: 'tun', name: 'a' },
      { kind: 'bridge', name: 'a/b' },
      { kind: 'bridge', name: 'a%d' },
      { kind: 'bridge', name: '' },
      { kind: 'bridge', name: '..' },
      { kind: 'bridge', name: 'x'.repeat(16) },
      { kind: 'bridge', name: 'a', mtu: 1.5 },
      { kind: 'bridge', name: 'a', mtu: '1500' },
      { kind: 'bridge', name: 'a', address: '01:00:00:00:00:00' },
      { kind: 'bridge', name: 'a', bridge: { ageing: 5 } },
      { kind: 'bridge', name: 'a', bridge: { priority: -1 } },
      { kind: 'bridge', name: 'a', vlan: { id: 5 } },
      { kind: 'bridge', name: 'a', port: {} },
      { kind: 'bridge', name: 'a', alias: 'x'.repeat(256) },
      { kind: 'vlan', name: 'a', link: 'b' },
      { kind: 'vlan', name: 'a', vlan: { id: 5 } },
      { kind: 'vlan', name: 'a', link: 'b', vlan: { id: 4095 } },
      { kind: 'macvlan', name: 'a', link: 'b', macvlan: { mode: 'all' } },
      { kind: 'veth', name: 'a', peer: { name: 'b', namespace: {} } },
      { kind: 'veth', name: 'a', master: 0, peer: { name: 'b' } },
    ];
    for (const options of wrong) {
      expect(await caught(links.add(options as LinkOptions)), JSON.stringify(options)).toBeInstanceOf(OptionError);
    }
    expect(await caught(links.set('lo', { namespace: network, port: {} }))).toBeInstanceOf(OptionError);
    expect(await caught(Links.open({ namespace: {} as never }))).toBeInstanceOf(OptionError);
    await using uts = Namespace.current('uts');
    expect(await caught(Links.open({ namespace: uts }))).toBeInstanceOf(OptionError);
    expect(await namesOf(links)).toEqual(['lo']);
  });
});

describe('addresses', () => {
  beforeEach(async () => {
    await veth();
    for (const name of ['a', 'b']) await links.set(name, { up: true });
  });

  it('are added, shown as ip shows them, changed and removed', async (context) => {
    await links.addresses.add('a', '10.1.2.3/24', { broadcast: '10.1.2.255', label: 'a:1', metric: 9 });
    await links.addresses.add('a', '10.1.2.4/24');
    await links.addresses.add('a', '192.0.2.1', { peer: '192.0.2.2/32', scope: 'link' });
    await links.addresses.add('a', 'fd00::2/64', {
      noDad: true,
      noPrefixRoute: true,
      validLifetime: '1h',
      preferredLifetime: '10m',
    });
    const ours = await links.addresses.list({ link: 'a' });
    const [shown] = await ip(context, 'addr', 'show', 'dev', 'a');
    const theirs = shown?.addr_info as Json[];
    expect(ours.map(({ address, prefixLength, scope }) => [address, prefixLength, scope])).toEqual(
      theirs.map(({ local, prefixlen, scope }) => [local, prefixlen, scope]),
    );
    expect(ours.find(({ address }) => address === '10.1.2.3')).toMatchObject({
      broadcast: '10.1.2.255',
      label: 'a:1',
      metric: 9,
      permanent: true,
      validLifetime: Number.POSITIVE_INFINITY,
    });
    expect(ours.find(({ address }) => address === '10.1.2.4')).toMatchObject({ secondary: true });
    expect(ours.find(({ address }) => address === '192.0.2.1')).toMatchObject({ peer: '192.0.2.2', scope: 'link' });
    const six = ours.find(({ address }) => address === 'fd00::2');
    expect(six).toMatchObject({ noDad: true, noPrefixRoute: true, tentative: false, permanent: false });
    expect(six?.validLifetime).toBeGreaterThan(3_590_000);
    expect(six?.preferredLifetime).toBeLessThanOrEqual(600_000);
    await links.addresses.replace('a', 'fd00::2/64', { validLifetime: '2h' });
    const again = await links.addresses.list({ link: 'a', family: 'ipv6' });
    expect(again.find(({ address }) => address === 'fd00::2')?.validLifetime).toBeGreaterThan(3_600_000);
    await links.addresses.remove('a', '10.1.2.4/24');
    expect((await links.addresses.list({ family: 'ipv4' })).map(({ address }) => address)).not.toContain('10.1.2.4');
  });

  it('are refused in the kernel’s words, or before', async () => {
    await links.addresses.add('a', '10.1.2.3/24');
    expect(await caught(links.addresses.add('a', '10.1.2.3/24'))).toMatchObject({
      errno: 'EEXIST',
      message: expect.stringMatching(/^adding the address 10\.1\.2\.3\/24 of a: the kernel answered EEXIST/),
    });
    expect(await caught(links.addresses.remove('a', '10.9.9.9/24'))).toMatchObject({ errno: 'EADDRNOTAVAIL' });
    expect(await caught(links.addresses.add('a', 'ff02::1/64'))).toBeInstanceOf(NetlinkError);
    const wrong: readonly (readonly [string, object])[] = [
      ['10.1.2.3/33', {}],
      ['here', {}],
      ['10.0.0.1/8', { noDad: true }],
      ['fd00::1/64', { broadcast: '10.0.0.255' }],
      ['10.0.0.1/8', { peer: 'fd00::1' }],
      ['10.0.0.1/8', { validLifetime: '1s', preferredLifetime: '1h' }],
      ['10.0.0.1/8', { scope: 'everywhere' }],
      ['10.0.0.1/8', { unknown: 1 }],
    ];
    for (const [address, options] of wrong) {
      expect(await caught(links.addresses.add('a', address, options)), address).toBeInstanceOf(OptionError);
    }
  });
});

/** Whether the kernel was built with routes of several hops. */
async function hasMultipath(): Promise<boolean> {
  const route = { to: '10.200.0.0/16', nextHops: [{ via: '10.1.2.4' }, { via: '10.1.2.5' }] };
  const error = await caught(links.routes.add(route));
  if (error instanceof NetlinkError && /Multipath support not enabled/.test(error.message)) return false;
  await links.routes.remove({ to: route.to });
  return true;
}

describe('routes, rules and neighbours', () => {
  beforeEach(async () => {
    await veth();
    for (const name of ['a', 'b']) await links.set(name, { up: true });
    await links.addresses.add('a', '10.1.2.3/24');
    await links.addresses.add('a', 'fd00::2/64', { noDad: true });
  });

  it('of each form are what ip shows', async (context) => {
    await links.routes.add({ to: 'default', via: '10.1.2.1', mtu: 1300, source: '10.1.2.3' });
    await links.routes.add({ to: 'default', via: 'fd00::1', metric: 7 });
    const several = await hasMultipath();
    const nextHops = [
      { via: '10.1.2.4', weight: 2 },
      { link: 'a', via: '10.1.2.5' },
    ];
    if (several) await links.routes.add({ to: '10.8.0.0/16', nextHops });
    await links.routes.add({ to: '10.7.0.0/16', link: 'a', protocol: 'boot' });
    await links.routes.add({ to: '10.6.0.0/16', via: '172.16.0.1', link: 'a', onLink: true });
    await links.routes.add({ to: '10.5.0.0/16', type: 'blackhole' });
    await links.routes.add({ to: '10.4.0.0/16', type: 'unreachable', table: 1000 });
    await links.routes.add({ to: 'fd05::/32', type: 'prohibit' });
    await links.routes.add({ to: '10.3.0.0/16', via: 'fd00::1', link: 'a' });
    for (const family of ['ipv4', 'ipv6'] as const) {
      const shown = await ip(context, family === 'ipv4' ? '-4' : '-6', 'route', 'show', 'table', 'all');
      const ours = await links.routes.list({ table: 'all', family });
      const nameOf = new Map((await links.list()).map(({ index, name }) => [index, name]));
      const simple = ours.map((route) => ({
        dst: route.to.replace(family === 'ipv4' ? '/32' : '/128', ''),
        type: route.type,
        via: route.via,
        // The kernel has a link for these, the loopback, that ip does not show in the same way.
        dev: route.type === 'unicast' ? (route.link === undefined ? undefined : nameOf.get(route.link)) : undefined,
        metric: route.metric,
        hops: route.nextHops.length,
      }));
      const others = shown.map((route) => ({
        dst: route.dst,
        type: route.type,
        via: (route.gateway ?? (route.via as Json | undefined)?.host) as string | undefined,
        dev: route.type === 'unicast' ? route.dev : undefined,
        metric: route.metric ?? 0,
        hops: ((route.nexthops ?? []) as unknown[]).length,
      }));
      expect(simple).toEqual(others);
    }
    expect((await links.routes.list({ family: 'ipv4' })).find(({ to }) => to === 'default')).toMatchObject({
      mtu: 1300,
      source: '10.1.2.3',
      protocol: 'static',
      scope: 'global',
    });
    expect(await links.routes.list({ table: 1000 })).toMatchObject([
      { to: '10.4.0.0/16', type: 'unreachable', table: 1000 },
    ]);
    if (!several) return;
    const hops = (await links.routes.list()).find(({ to }) => to === '10.8.0.0/16')?.nextHops;
    expect(hops).toMatchObject([
      { via: '10.1.2.4', weight: 2 },
      { via: '10.1.2.5', weight: 1 },
    ]);
  });

  it('are replaced and removed, and refused in the kernel’s words', async () => {
    await links.routes.add({ to: '10.9.0.0/16', via: '10.1.2.1' });
    expect(await caught(links.routes.add({ to: '10.9.0.0/16', via: '10.1.2.1' }))).toMatchObject({ errno: 'EEXIST' });
    await links.routes.replace({ to: '10.9.0.0/16', via: '10.1.2.2' });
    const found = async () => (await links.routes.list({ family: 'ipv4' })).filter(({ to }) => to === '10.9.0.0/16');
    expect(await found()).toMatchObject([{ via: '10.1.2.2' }]);
    await links.routes.remove({ to: '10.9.0.0/16' });
    expect(await found()).toEqual([]);
    expect(await caught(links.routes.remove({ to: '10.9.0.0/16' }))).toMatchObject({ errno: 'ESRCH' });
    expect(await caught(links.routes.add({ to: 'default', via: '203.0.113.1' }))).toMatchObject({
      code: 'ERR_NETLINK',
      errno: 'ENETUNREACH',
      kernel: 'Nexthop has invalid gateway',
      message: 'adding the route to default: the kernel answered ENETUNREACH: Nexthop has invalid gateway',
    });
    const wrong: readonly object[] = [
      {},
      { to: '10.1.2.3/8' },
      { to: 'everywhere' },
      { to: 'default', via: '10.1.2.1', nextHops: [{ via: '10.1.2.1' }] },
      { to: 'default', nextHops: [] },
      { to: 'fd00::/8', via: '10.1.2.1' },
      { to: '10.0.0.0/8', source: 'fd00::1' },
      { to: 'default', family: 'ip' },
      { to: 'default', table: -1 },
      { to: 'default', type: 'hole' },
    ];
    for (const route of wrong) {
      expect(await caught(links.routes.add(route as { to: string })), JSON.stringify(route)).toBeInstanceOf(
        OptionError,
      );
    }
  });

  it('that are rules choose the table by mark and prefix', async (context) => {
    await links.rules.add({ mark: 1, mask: 0xff, table: 77, priority: 100 });
    await links.rules.add({ from: '10.0.0.0/8', inputLink: 'a', action: 'prohibit', priority: 200 });
    await links.rules.add({ family: 'ipv6', table: 'main', suppressPrefixLength: 0, priority: 300 });
    const shown = await ip(context, 'rule', 'show');
    const ours = await links.rules.list({ family: 'ipv4' });
    expect(ours.map(({ priority }) => priority)).toEqual(shown.map(({ priority }) => priority));
    expect(ours.slice(1, 3)).toMatchObject([
      { mark: 1, mask: 0xff, table: 77, action: 'table' },
      { from: '10.0.0.0/8', inputLink: 'a', action: 'prohibit', table: undefined },
    ]);
    expect(shown[1]).toMatchObject({ fwmark: '0x1', fwmask: '0xff', table: '77' });
    expect((await links.rules.list({ family: 'ipv6' })).find(({ priority }) => priority === 300)).toMatchObject({
      suppressPrefixLength: 0,
      table: 'main',
    });
    expect(await caught(links.rules.add({ mark: 1, mask: 0xff, table: 77, priority: 100 }))).toMatchObject({
      errno: 'EEXIST',
    });
    await links.rules.remove({ priority: 100 });
    expect(await caught(links.rules.remove({ priority: 100 }))).toMatchObject({ errno: 'ENOENT' });
    expect(await caught(links.rules.add({ action: 'prohibit', table: 5 }))).toBeInstanceOf(OptionError);
  });

  it('that are neighbours are added, shown, changed and removed', async (context) => {
    await links.neighbours.add('a', '10.1.2.9', { linkAddress: '02:00:00:00:00:09' });
    await links.neighbours.add('a', 'fd00::9', { linkAddress: '02:00:00:00:00:0a', router: true, state: 'reachable' });
    await links.neighbours.add('a', '10.1.2.10', { proxy: true });
    const shown = (await ip(context, 'neigh', 'show', 'dev', 'a')).filter(({ dst }) => !String(dst).startsWith('ff'));
    const ours = (await links.neighbours.list({ link: 'a' })).filter(({ state }) => state !== 'noarp');
    const order = (list: readonly (readonly unknown[])[]) =>
      [...list].sort((a, b) => String(a).localeCompare(String(b)));
    expect(order(ours.map(({ address, linkAddress }) => [address, linkAddress]))).toEqual(
      order(shown.map(({ dst, lladdr }) => [dst, lladdr])),
    );
    expect(ours.find(({ family }) => family === 'ipv6')).toMatchObject({ router: true });
    expect(await links.neighbours.proxies()).toMatchObject([{ address: '10.1.2.10', proxy: true }]);
    await links.neighbours.replace('a', '10.1.2.9', { linkAddress: '02:00:00:00:00:0b' });
    expect((await links.neighbours.list({ family: 'ipv4' }))[0]).toMatchObject({
      linkAddress: '02:00:00:00:00:0b',
      state: 'permanent',
    });
    await links.neighbours.remove('a', '10.1.2.9');
    await links.neighbours.remove('a', '10.1.2.10', { proxy: true });
    expect(await links.neighbours.proxies()).toEqual([]);
    expect(await caught(links.neighbours.remove('a', '10.1.2.99'))).toMatchObject({ errno: 'ENOENT' });
    expect(await caught(links.neighbours.add('a', '10.1.2.9', {}))).toBeInstanceOf(OptionError);
  });
});

describe('traffic', () => {
  it('passes over what was made: two namespaces, a pair of links, IPv4 and IPv6', async () => {
    await using other = await Namespace.create(kinds);
    await using over = await Links.open({ namespace: other });
    await links.add({ kind: 'veth', name: 'a', up: true, peer: { name: 'b', namespace: other, up: true } });
    await links.addresses.add('a', '10.1.0.1/24');
    await over.addresses.add('b', '10.1.0.2/24');
    await links.addresses.add('a', 'fd00::1/64', { noDad: true });
    await over.addresses.add('b', 'fd00::2/64', { noDad: true });
    for (const address of ['10.1.0.1', 'fd00::1']) {
      const server = network.spawn([process.execPath, '-e', serve(address)], { timeout: '20s' });
      const client = await other.spawn([process.execPath, '-e', ask(address)], { timeout: '20s' });
      expect([client.stdout, client.stderr]).toEqual([`hello ${address.includes(':') ? 'fd00::2' : '10.1.0.2'}`, '']);
      expect((await server).exitCode).toBe(0);
    }
  });
});

/** Answers one client with its address. */
const serve = (address: string) =>
  `require('net').createServer((s) => { s.end('hello ' + s.remoteAddress); s.on('close', () => process.exit()) }).listen(80, '${address}')`;
/** Tries until it is answered. */
const ask = (address: string) =>
  `(function go() { require('net').connect(80, '${address}').on('error', () => setTimeout(go, 50)).pipe(process.stdout) })()`;

describe('sysctl', () => {
  it('is that of the namespace, and of no other', async () => {
    await using host = await Links.open();
    const before = await host.sysctl.get('net.ipv4.ip_default_ttl');
    await links.sysctl.set({ 'net.ipv4.ip_default_ttl': 33, 'net.ipv4.ip_forward': '1' });
    expect(await links.sysctl.get('net.ipv4.ip_default_ttl')).toBe('33');
    expect((await network.spawn(['cat', '/proc/sys/net/ipv4/ip_forward'])).stdout).toBe('1\n');
    expect(await host.sysctl.get('net.ipv4.ip_default_ttl')).toBe(before);
    expect(await caught(links.sysctl.set({ 'kernel.core_pattern': '|/bin/x' }))).toBeInstanceOf(OptionError);
    expect(await caught(links.sysctl.set({ 'kernel.msgmax': 1 }))).toBeInstanceOf(OptionError);
    expect(await caught(links.sysctl.get('net.ipv4/../../kernel'))).toBeInstanceOf(OptionError);
    expect(await caught(links.sysctl.get('net.ipv4.no_such_thing'))).toMatchObject({ errno: 'ENOENT' });
    expect(await caught(links.sysctl.set({ 'net.ipv4.ip_default_ttl': 999 }))).toMatchObject({ errno: 'EINVAL' });
  });
});

describe('events', () => {
  it('tell what changes, of the types that are asked for, until they are ended', async () => {
    await using all = await links.watch();
    await using only = await links.watch({ types: ['address'] });
    await veth();
    await links.set('a', { up: true });
    await links.addresses.add('a', '10.1.2.3/24');
    await links.neighbours.add('a', '10.1.2.9', { linkAddress: '02:00:00:00:00:09' });
    await links.rules.add({ mark: 1, table: 77, priority: 5 });
    await links.remove('a');
    const seen: string[] = [];
    for await (const event of all) {
      if (event.type === 'lost') throw new Error('events were lost');
      seen.push(`${event.type} ${event.change}${event.type === 'link' ? ` ${event.link.name}` : ''}`);
      if (seen.includes('link removed a') && seen.includes('link removed b')) break;
    }
    expect(seen).toEqual(
      expect.arrayContaining([
        'link set a',
        'link set b',
        'address set',
        'route set',
        'neighbour set',
        'rule set',
        'address removed',
      ]),
    );
    const { value } = await only.next();
    expect(value).toMatchObject({ type: 'address', change: 'set', address: { address: '10.1.2.3', prefixLength: 24 } });
    expect(await all.next(), 'a loop that was left has ended them').toEqual({ done: true, value: undefined });
  });

  it('end with the signal, and say when some were lost', async () => {
    const controller = new AbortController();
    const events = await links.watch({ types: ['link'], signal: controller.signal });
    const waiting = caught(events.next());
    controller.abort(new Error('enough'));
    expect(await waiting).toMatchObject({ name: 'AbortError', cause: { message: 'enough' } });
    expect(await caught(links.watch({ types: ['cable' as 'link'] }))).toBeInstanceOf(OptionError);
    // This thread reads nothing while it sleeps, and the kernel keeps only so much.
    await using slow = await links.watch({ types: ['link'] });
    const { index } = await veth();
    const header = Buffer.alloc(16);
    header.writeInt32LE(index, 4);
    const change = (mtu: number) => ({
      type: 16,
      header,
      attributes: new AttributeWriter().u32(4, mtu).bytes(),
      doing: 'changing',
    });
    await using socket = await NetlinkSocket.open('route', network.descriptor('net'));
    const sent = socket.batch(Array.from({ length: 4000 }, (_, round) => change(1000 + (round % 2))));
    await new Promise((resolve) => setImmediate(resolve));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1500);
    await sent;
    const seen: string[] = [];
    for await (const event of slow) {
      seen.push(event.type);
      if (event.type === 'lost') break;
    }
    expect(seen).toContain('lost');
  }, 60_000);
});

describe('a namespace', () => {
  it('can be given as a container, a process or a path, and goes with its last holder', async () => {
    await using box = await Container.create();
    const { pid } = box.inspect();
    // An ordinary user may not look into its init, which hands its network out itself.
    const root = process.geteuid?.() === 0;
    for (const namespace of root ? [box, pid ?? 0, `/proc/${pid}/ns/net`] : [box]) {
      await using inside = await Links.open({ namespace });
      expect(await namesOf(inside)).toEqual(['lo']);
    }
    await using inside = await Links.open({ namespace: box });
    await inside.add({ kind: 'veth', name: 'a', peer: { name: 'b' } });
    expect((await box.exec(['ls', '/sys/class/net'])).stdout).toContain('a');
    await box.kill();
    await box.wait();
    expect(await caught(Links.open({ namespace: box }))).toMatchObject({ code: 'ERR_CONTAINER_GONE' });
    expect((await own(inside)).length, 'it is held by the socket still').toBe(3);
  });

  it('that was closed is not used any more', async () => {
    await links.close();
    expect(await caught(links.list())).toMatchObject({ code: 'ERR_CLOSED' });
    expect(await caught(links.watch())).toMatchObject({ code: 'ERR_CLOSED' });
    expect(await caught(links.sysctl.get('net.ipv4.ip_forward'))).toMatchObject({ code: 'ERR_CLOSED' });
  });

  it('of this process may be looked at by anyone, and changed by who may', async (context) => {
    await using host = await Links.open();
    expect((await host.list()).map(({ name }) => name)).toContain('lo');
    context.skip(process.geteuid?.() === 0, 'root may change it');
    const error = await caught(host.add({ kind: 'bridge', name: `t${randomBytes(4).toString('hex')}` }));
    expect(error).toBeInstanceOf(PermissionError);
    expect(error).toMatchObject({ errno: 'EPERM', message: expect.stringContaining('CAP_NET_ADMIN') });
  });
});

describe('real messages, mutated', () => {
  it('are read or refused with a typed error', async () => {
    await links.add({ kind: 'bridge', name: 'br0', up: true });
    await links.add({ kind: 'veth', name: 'a', up: true, master: 'br0', alias: 'x', peer: { name: 'b', up: true } });
    await links.addresses.add('b', '10.1.2.3/24', { validLifetime: '1h' });
    const nextHops = [{ via: '10.1.2.4' }, { via: '10.1.2.5' }];
    const way = (await hasMultipath()) ? { nextHops } : { via: '10.1.2.4' };
    await links.routes.add({ to: '10.8.0.0/16', mtu: 1300, ...way });
    await links.neighbours.add('b', '10.1.2.9', { linkAddress: '02:00:00:00:00:09' });
    await using socket = await NetlinkSocket.open('route', network.descriptor('net'));
    const readers = [
      [18, 16, readLink],
      [22, 8, readAddress],
      [26, 12, readRoute],
      [30, 12, readNeighbour],
      [34, 12, readRule],
    ] as const;
    let state = 11;
    const next = (below: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) % below;
    };
    let refused = 0;
    for (const [type, length, read] of readers) {
      const messages = await socket.dump({ type, header: Buffer.alloc(length), doing: 'listing' });
      expect(messages.length).toBeGreaterThan(0);
      for (const { body } of messages) read(body);
      for (let round = 0; round < 1500; round++) {
        const bytes = Buffer.from(messages[next(messages.length)]?.body ?? []);
        for (let i = 0; i < 1 + next(4); i++) bytes[next(bytes.length)] = next(3) === 0 ? 255 : next(256);
        try {
          read(next(4) === 0 ? bytes.subarray(0, next(bytes.length)) : bytes);
        } catch (error) {
          if (!(error instanceof NetlinkError) || error.code !== 'ERR_NETLINK_MESSAGE') throw error;
          refused++;
        }
      }
    }
    expect(refused).toBeGreaterThan(500);
  });
});
