/**
 * Networks of containers on a bridge.
 *
 * The bridge is in a network namespace of its own, that no process is in and only descriptors of this one hold. A pair of links
 * leads from it to the host, where its end has the address of the gateway. So however this process ends, the kernel takes all of
 * it away: the bridge and its ports with their namespace, the link of the host with its other end, and the rules, in tables with
 * an owner, with their socket.
 */

import { randomBytes, randomInt } from 'node:crypto';
import { OptionError, PermissionError, TscontainError } from '../../errors.js';
import { isRoot } from '../../host/configuration.js';
import { Netfilter } from '../../netfilter/index.js';
import { NetlinkError } from '../../netlink/error.js';
import { Namespace } from '../../primitives/namespace/namespace.js';
import { formatIp, formatPrefix, type IpFamily, type IpPrefix, parsePrefix } from '../address.js';
import { Links } from '../links.js';
import { ContainerNetwork, type ContainerNetworkRequest } from './container-network.js';
import { switchForwardingOff, switchForwardingOn } from './forwarding.js';
import { hostServers } from './name-servers.js';
import { AddressPool, ipv4Text, ipv6Of, macText, overlap } from './pool.js';
import { BridgePorts } from './ports.js';
import { bridgeRules, guardTable, type HostRules, hostRules, uplinkName } from './rules.js';
import { type NetworkOptions, type NetworkSettings, readNetworkSettings, tableName } from './settings.js';

/** How many networks are tried where none was asked for. */
const attempts = 64;
const bridgeName = 'bridge';
const prefix = 'tsc';
const defaultMtu = 1500;

/** What a network is, for a reader. */
export interface NetworkInspection {
  readonly name: string | undefined;
  readonly subnet: string;
  readonly gateway: string;
  readonly ipv6: { readonly subnet: string; readonly gateway: string } | undefined;
  readonly internal: boolean;
  readonly isolation: boolean;
  readonly mtu: number;
  readonly dns: readonly string[];
  /** The host's link. */
  readonly link: string;
  /** Ids of its containers, with their addresses. */
  readonly containers: readonly { readonly id: string; readonly address: string }[];
  /** Of which families the host has been made to forward packets for this. */
  readonly forwardingSwitchedOn: readonly ('ipv4' | 'ipv6')[];
}

/** What has passed, and what has not. */
export interface NetworkStatistics {
  /** From the containers to the host and beyond, and back. */
  readonly fromContainers: { readonly packets: number; readonly bytes: number };
  readonly toContainers: { readonly packets: number; readonly bytes: number };
  /** Packets of containers that the host refused: to itself, to link-local addresses, or out of an internal network. */
  readonly refused: number;
  /** Packets from elsewhere to a container that nobody had asked for, and no port was published for. */
  readonly unasked: number;
  /** Frames of containers under an address that is not theirs. */
  readonly spoofed: number;
}

interface Parts {
  readonly settings: NetworkSettings;
  readonly subnet: IpPrefix;
  readonly ipv6: IpPrefix | undefined;
  readonly mtu: number;
  readonly link: string;
  readonly table: string;
  readonly switchedOn: readonly IpFamily[];
  readonly dns: readonly string[];
  readonly inner: Namespace;
  readonly links: Links;
  readonly bridge: Links;
  readonly ports: BridgePorts;
  readonly filter: Netfilter;
  readonly guard: Netfilter;
}

/**
 * A network that containers of this process share: a bridge, with addresses, a gateway, and rules about who may talk to whom.
 *
 * What is in it reaches each other, and the world by the host's address. It reaches nothing of the host itself, no other network,
 * and no link-local address, such as those at which clouds tell machines their secrets. From outside it is reached at published
 * ports only. It takes root, and ends with {@link close} or with this process, however that ends.
 *
 * @example
 * ```ts
 * await using network = await Network.create();
 * await using server = await Container.create({ network: { bridge: network, publish: [{ port: 8000, hostPort: 0 }] } });
 * server.network?.published; // [{ protocol: 'tcp', hostAddress: undefined, hostPort: 40123, port: 8000 }]
 * ```
 */
export class Network implements AsyncDisposable {
  readonly #parts: Parts;
  readonly #pool: AddressPool;
  readonly #containers = new Map<ContainerNetwork, string>();
  readonly #releases = new Set<Promise<void>>();
  #closing: Promise<void> | undefined;

  private constructor(parts: Parts) {
    this.#parts = parts;
    this.#pool = new AddressPool(parts.subnet);
  }

  /**
   * @throws OptionError, also for a subnet that a route of the host or another network has; PermissionError without root;
   *   UnsupportedError where the kernel lacks nf_tables, bridges, or what it takes to forward IPv6
   */
  static async create(options: NetworkOptions = {}): Promise<Network> {
    const settings = readNetworkSettings(options);
    if (!isRoot()) {
      throw new PermissionError('a network of containers takes root, as it changes links and rules of the host', {
        hint: "a container without one, network: 'none', takes no privilege",
      });
    }
    const undo: Undo[] = [];
    try {
      return new Network(await makeParts(settings, undo));
    } catch (error) {
      for (const step of undo.reverse()) await step().catch(() => {});
      throw error;
    }
  }

  get subnet(): string {
    return formatPrefix(this.#parts.subnet);
  }

  /** The host's address in it. */
  get gateway(): string {
    return ipv4Text(this.#pool.gateway);
  }

  inspect(): NetworkInspection {
    const { settings, ipv6, mtu, dns, link, switchedOn } = this.#parts;
    const { name, internal, isolation } = settings;
    return {
      name,
      subnet: this.subnet,
      gateway: this.gateway,
      ipv6: ipv6 && { subnet: formatPrefix(ipv6), gateway: formatIp(ipv6Of(ipv6, this.#pool.gateway)) },
      internal,
      isolation,
      mtu,
      dns,
      link,
      containers: [...this.#containers].map(([{ address }, id]) => ({ id, address })),
      forwardingSwitchedOn: switchedOn,
    };
  }

  /** @throws TscontainError `ERR_CLOSED`; NetlinkError where somebody has removed its link */
  async stats(): Promise<NetworkStatistics> {
    this.#expectOpen();
    const { links, link, filter, guard, table } = this.#parts;
    const [own, host, bridge] = await Promise.all([
      links.get(link),
      filter.list({ family: 'inet', table }),
      guard.list({ family: 'bridge', table: guardTable }),
    ]);
    const packets = (list: typeof host, name: string) => {
      const counter = list.tables[0]?.objects.find((object) => object.name === name);
      return counter?.kind === 'counter' ? counter.packets : 0;
    };
    const { rx, tx } = own?.statistics ?? { rx: { packets: 0, bytes: 0 }, tx: { packets: 0, bytes: 0 } };
    return {
      fromContainers: { packets: rx.packets, bytes: rx.bytes },
      toContainers: { packets: tx.packets, bytes: tx.bytes },
      refused: packets(host, 'refused'),
      unasked: packets(host, 'unasked'),
      spoofed: packets(bridge, 'spoofed'),
    };
  }

  /** @internal A place for a container, with an address that nobody else has until it is released. */
  reserve(request: ContainerNetworkRequest): ContainerNetwork {
    this.#expectOpen();
    const { settings, inner, ports, filter, guard, table, subnet, ipv6, mtu, dns } = this.#parts;
    const number = this.#pool.take(request.address, 'network.address');
    const place = new ContainerNetwork(
      {
        subnet,
        ipv6,
        mtu,
        dns,
        internal: settings.internal,
        number,
        gateway: this.#pool.gateway,
        port: linkName(),
      },
      { inner: inner.descriptor('net'), ports, guard, filter, table, outside: settings.namespace },
      () => {
        this.#containers.delete(place);
        this.#pool.release(number);
      },
    );
    this.#containers.set(place, '');
    try {
      for (const publish of request.publish) place.hold(publish, 'network.publish');
    } catch (error) {
      place.abandon();
      throw error;
    }
    return place;
  }

  /** @internal The container of a place has ended. */
  release(place: ContainerNetwork): void {
    const releasing = place.release();
    this.#releases.add(releasing);
    const over = () => void this.#releases.delete(releasing);
    releasing.then(over, over);
  }

  /** @internal */
  named(place: ContainerNetwork, id: string): void {
    if (this.#containers.has(place)) this.#containers.set(place, id);
  }

  /** @internal */
  get ipv6(): boolean {
    return this.#parts.ipv6 !== undefined;
  }

  /** @internal */
  get internal(): boolean {
    return this.#parts.settings.internal;
  }

  /** Takes it away. Containers that are still in it have no link any more. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const { links, link, filter, guard, bridge, ports, inner, switchedOn } = this.#parts;
    // What is left of containers goes with the bridge.
    await ports.close();
    await Promise.allSettled(this.#releases);
    for (const place of this.#containers.keys()) place.abandon();
    try {
      await links.remove(link).catch(ignoreMissing);
      const others = (await links.list()).some(({ name, kind }) => name.startsWith(prefix) && kind === 'veth');
      if (!others) await switchForwardingOff(links, switchedOn);
    } finally {
      filter.close();
      guard.close();
      await Promise.all([links.close(), bridge.close()]);
      await inner.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #expectOpen(): void {
    if (this.#closing) throw new TscontainError('ERR_CLOSED', 'the network has been closed');
  }
}

/** Random, so that it is nobody else's; making it is exclusive. */
function linkName(): string {
  return `${prefix}${randomBytes(5).toString('hex')}`;
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof NetlinkError && error.errno === 'ENODEV')) throw error;
}

/** What takes back a part that was made. */
type Undo = () => Promise<void>;

async function makeParts(settings: NetworkSettings, undo: Undo[]): Promise<Parts> {
  const { namespace, internal } = settings;
  const use = <Part extends AsyncDisposable>(part: Part): Part => {
    undo.push(async () => part[Symbol.asyncDispose]());
    return part;
  };
  const inner = use(await Namespace.create('net'));
  const outside = namespace === undefined ? {} : { namespace };
  const links = use(await Links.open(outside));
  const bridge = use(await Links.open({ namespace: inner }));
  const filter = use(await Netfilter.open(outside));
  const guard = use(await Netfilter.open({ namespace: inner }));
  const ipv6 = settings.ipv6 === true ? uniqueLocal() : settings.ipv6 === false ? undefined : settings.ipv6;
  const mtu = settings.mtu ?? (await outsideMtu(links));
  const dns = settings.dns ?? (internal ? [] : await hostServers());
  const families: IpFamily[] = ipv6 === undefined ? ['ipv4'] : ['ipv4', 'ipv6'];
  const switchedOn = internal ? [] : await switchForwardingOn(links, families);
  undo.push(() => switchForwardingOff(links, switchedOn));
  const link = linkName();
  const rules = { link, internal, switchedOn, comment: settings.name, subnet6: ipv6 && formatPrefix(ipv6) };
  const subnet = await takeSubnet(settings.subnet, ipv6, links, (wanted) =>
    makeTable(filter, { ...rules, table: tableName(wanted), subnet: formatPrefix(wanted) }),
  );
  const gateway = new AddressPool(subnet).gateway;
  await guard.transaction(bridgeRules);
  // Nothing of the bridge's namespace has an address: it only passes frames on.
  await bridge.sysctl.set({ 'net.ipv6.conf.all.disable_ipv6': 1, 'net.ipv6.conf.default.disable_ipv6': 1 });
  const { index } = await bridge.add({
    kind: 'bridge',
    name: bridgeName,
    mtu,
    up: true,
    bridge: { stp: false, multicastSnooping: false },
  });
  const ports = use(await BridgePorts.open(inner, bridge, index, settings.isolation));
  const peer = { name: uplinkName, namespace: inner, mtu };
  await links.add({ kind: 'veth', name: link, mtu, address: macText(gateway), peer });
  undo.push(() => links.remove(link));
  await bridge.set(uplinkName, { master: bridgeName, up: true });
  await configureHostLink(links, link, { subnet, ipv6, gateway, internal });
  return {
    settings,
    subnet,
    ipv6,
    mtu,
    link,
    table: tableName(subnet),
    switchedOn,
    dns,
    inner,
    links,
    bridge,
    ports,
    filter,
    guard,
  };
}

interface HostLink {
  readonly subnet: IpPrefix;
  readonly ipv6: IpPrefix | undefined;
  readonly gateway: number;
  readonly internal: boolean;
}

async function configureHostLink(
  links: Links,
  link: string,
  { subnet, ipv6, gateway, internal }: HostLink,
): Promise<void> {
  await links.sysctl.set({
    [`net.ipv4.conf.${link}.forwarding`]: internal ? 0 : 1,
    // From the host's 127.0.0.1 to a container. What a container sends to such an address is dropped before it is routed.
    [`net.ipv4.conf.${link}.route_localnet`]: internal ? 0 : 1,
    [`net.ipv4.conf.${link}.rp_filter`]: 1,
    [`net.ipv6.conf.${link}.accept_ra`]: 0,
    [`net.ipv6.conf.${link}.accept_dad`]: 0,
    [`net.ipv6.conf.${link}.disable_ipv6`]: ipv6 === undefined ? 1 : 0,
  });
  await links.set(link, { up: true });
  await links.addresses.add(link, `${ipv4Text(gateway)}/${subnet.length}`);
  if (ipv6 === undefined) return;
  await links.addresses.add(link, `${formatIp(ipv6Of(ipv6, gateway))}/${ipv6.length}`, { noDad: true });
}

/** fd and 40 random bits (RFC 4193), and its first network. */
function uniqueLocal(): IpPrefix {
  const bytes = Buffer.alloc(16);
  bytes[0] = 0xfd;
  randomBytes(5).copy(bytes, 1);
  return { family: 'ipv6', bytes, length: 64 };
}

/**
 * A network that nothing of the host has. Which other one of ours has it is known from the name of its table: making that is
 * exclusive, also between processes, and it goes with its owner.
 */
async function takeSubnet(
  asked: IpPrefix | undefined,
  ipv6: IpPrefix | undefined,
  links: Links,
  take: (subnet: IpPrefix) => Promise<boolean>,
): Promise<IpPrefix> {
  const used = await usedNetworks(links);
  const clash = (wanted: IpPrefix) => used.find((other) => overlap(wanted, other));
  const inUse = (option: string, wanted: IpPrefix, hint: string) =>
    new OptionError(option, 'a network that the host has no use for yet', formatPrefix(wanted), { hint });
  const clash6 = ipv6 && clash(ipv6);
  if (ipv6 && clash6) throw inUse('ipv6', ipv6, `${formatPrefix(clash6)} is there`);
  const start = randomInt(candidates);
  for (let attempt = 0; attempt < (asked === undefined ? attempts : 1); attempt++) {
    const subnet = asked ?? candidate((start + attempt) % candidates);
    const other = clash(subnet);
    if (other) {
      if (asked) throw inUse('subnet', asked, `${formatPrefix(other)} is there`);
      continue;
    }
    if (await take(subnet)) return subnet;
    if (asked) throw inUse('subnet', asked, 'another network has it');
  }
  throw new TscontainError('ERR_NO_ADDRESS', `no free network was found in 10.192.0.0/10, after ${attempts} attempts`, {
    hint: 'give one: subnet',
  });
}

/** Makes the rules; false where there is a table of that name, which is another socket's. */
async function makeTable(filter: Netfilter, rules: HostRules): Promise<boolean> {
  try {
    await filter.transaction((t) => hostRules(t, rules));
    return true;
  } catch (error) {
    // The kernel says EPERM of what is another's, and of whoever may do nothing here.
    if (!(error instanceof NetlinkError && (error.errno === 'EEXIST' || error.errno === 'EPERM'))) throw error;
    const { tables } = await filter.list({ family: 'inet' });
    if (tables.some(({ name }) => name === rules.table)) return false;
    throw error;
  }
}

/** Networks of 256 addresses in 10.192.0.0/10. */
const candidates = 2 ** 14;

function candidate(index: number): IpPrefix {
  return { family: 'ipv4', bytes: Buffer.from([10, 192 + (index >> 8), index & 255, 0]), length: 24 };
}

async function usedNetworks(links: Links): Promise<IpPrefix[]> {
  const [routes, addresses] = await Promise.all([links.routes.list({ table: 'all' }), links.addresses.list()]);
  const texts = [
    ...routes.filter(({ to, type }) => to !== 'default' && type === 'unicast').map(({ to }) => to),
    ...addresses.map(({ address }) => address),
  ];
  return texts.flatMap((text) => parsePrefix(text) ?? []);
}

/** Packets that leave the host whole leave a container whole. */
async function outsideMtu(links: Links): Promise<number> {
  const [route] = (await links.routes.list({ family: 'ipv4' })).filter(({ to }) => to === 'default');
  const link = route?.link === undefined ? undefined : await links.get(route.link);
  return link === undefined || link.mtu < 1280 ? defaultMtu : link.mtu;
}
