/** A container's place in a network: its addresses, its link, its published ports. */

import { OptionError, TscontainError } from '../../errors.js';
import type { Descriptor } from '../../launcher/native.js';
import type { Netfilter } from '../../netfilter/index.js';
import { NetlinkSocket } from '../../netlink/socket.js';
import type { Namespace } from '../../primitives/namespace/namespace.js';
import { formatIp, type IpPrefix } from '../address.js';
import { containerLink, placeMessages } from './messages.js';
import { ipv4Bytes, ipv4Text, ipv6Of, linkLocalOf, macOf, macText } from './pool.js';
import type { BridgePorts } from './ports.js';
import {
  type HeldPort,
  holdPort,
  type PublishedPort,
  type PublishOptions,
  type PublishSettings,
  readPublish,
} from './publish.js';
import { guardTable } from './rules.js';

/** What a container asks of a network. */
export interface ContainerNetworkRequest {
  readonly address: number | undefined;
  readonly publish: readonly PublishSettings[];
}

/** What is its own of the network. */
interface PlaceFacts {
  readonly subnet: IpPrefix;
  readonly ipv6: IpPrefix | undefined;
  readonly mtu: number;
  readonly dns: readonly string[];
  readonly internal: boolean;
  readonly number: number;
  readonly gateway: number;
  /** The name of its port on the bridge. */
  readonly port: string;
}

interface PlaceResources {
  readonly inner: Descriptor;
  readonly ports: BridgePorts;
  readonly guard: Netfilter;
  readonly filter: Netfilter;
  readonly table: string;
  readonly outside: Namespace | undefined;
}

interface Publication extends PublishedPort {
  readonly held: readonly HeldPort[];
  /** The families that it is published in. */
  readonly families: readonly (4 | 6)[];
}

/** A container in a network. */
export class ContainerNetwork {
  readonly #facts: PlaceFacts;
  readonly #resources: PlaceResources;
  readonly #onRelease: () => void;
  readonly #publications = new Set<Publication>();
  #state: 'reserved' | 'connected' | 'released' = 'reserved';
  #connecting: Promise<void> | undefined;

  /** @internal */
  constructor(facts: PlaceFacts, resources: PlaceResources, onRelease: () => void) {
    this.#facts = facts;
    this.#resources = resources;
    this.#onRelease = onRelease;
  }

  /** Its link, inside. */
  get link(): string {
    return containerLink;
  }

  get address(): string {
    return ipv4Text(this.#facts.number);
  }

  get ipv6(): string | undefined {
    const { ipv6, number } = this.#facts;
    return ipv6 && formatIp(ipv6Of(ipv6, number));
  }

  get gateway(): string {
    return ipv4Text(this.#facts.gateway);
  }

  get mac(): string {
    return macText(this.#facts.number);
  }

  /** @internal */
  get dns(): readonly string[] {
    return this.#facts.dns;
  }

  /** Its ports that are reachable at the host. */
  get published(): readonly PublishedPort[] {
    return [...this.#publications].map(({ protocol, hostAddress, hostPort, port }) => ({
      protocol,
      hostAddress,
      hostPort,
      port,
    }));
  }

  /**
   * Publishes a port, or several, from now on; returns what was published.
   * @throws OptionError, also for a port of the host that something else has; TscontainError `ERR_CONTAINER_GONE`
   */
  async publish(options: PublishOptions): Promise<readonly PublishedPort[]> {
    const { internal, ipv6 } = this.#facts;
    const settings = readPublish(options, '', ipv6 !== undefined);
    if (internal) throw new OptionError('port', 'a network that is not internal', options.port);
    this.#expectConnected();
    const made = this.hold(settings, '');
    try {
      await this.#change('add', made);
    } catch (error) {
      this.#drop(made);
      throw error;
    }
    return this.published.slice(-made.length);
  }

  /**
   * Takes back what {@link published} lists. Connections that are there stay.
   * @throws OptionError for what is not published
   */
  async unpublish(port: Pick<PublishedPort, 'hostPort'> & Partial<PublishedPort>): Promise<void> {
    const found = [...this.#publications].filter(
      (one) =>
        one.hostPort === port.hostPort &&
        (port.protocol === undefined || one.protocol === port.protocol) &&
        (port.hostAddress === undefined || one.hostAddress === port.hostAddress),
    );
    if (found.length === 0) throw new OptionError('hostPort', 'a port that is published', port.hostPort);
    this.#expectConnected();
    await this.#change('delete', found);
    this.#drop(found);
  }

  /** @internal Takes ports of the host, before anything leads from them to the container. */
  hold({ protocol, hostAddress, ports }: PublishSettings, option: string): readonly Publication[] {
    const { outside } = this.#resources;
    const at = option === '' ? 'hostPort' : `${option}.hostPort`;
    const families = familiesOf(hostAddress, this.#facts.ipv6 !== undefined);
    const made: Publication[] = [];
    try {
      for (const { hostPort, port } of ports) {
        const held: HeldPort[] = [];
        const publication = { protocol, hostAddress, port, families, held };
        try {
          for (const family of families) {
            const address = hostAddress ?? (family === 4 ? '0.0.0.0' : '::');
            held.push(holdPort(outside, protocol, address, held[0]?.number ?? hostPort, at));
          }
        } catch (error) {
          for (const one of held) one.close();
          throw error;
        }
        made.push({ ...publication, hostPort: held[0]?.number ?? hostPort });
      }
    } catch (error) {
      for (const { held } of made) for (const one of held) one.close();
      throw error;
    }
    for (const one of made) this.#publications.add(one);
    return made;
  }

  /**
   * @internal Makes the link and all that belongs to it.
   * @param socket one of rtnetlink, of the container's own namespace; it is taken over
   */
  connect(socket: Descriptor): Promise<void> {
    this.#connecting = this.#connect(socket);
    return this.#connecting;
  }

  async #connect(socket: Descriptor): Promise<void> {
    const { subnet, ipv6, number, gateway, port, mtu, internal } = this.#facts;
    const { inner, ports, guard } = this.#resources;
    const inside = NetlinkSocket.adopt('route', socket);
    try {
      if (this.#state !== 'reserved') throw closed();
      const addresses = [{ family: 'ipv4' as const, bytes: ipv4Bytes(number), length: subnet.length }];
      const gateways = [{ family: 'ipv4' as const, bytes: ipv4Bytes(gateway) }];
      const more = ipv6 && { family: 'ipv6' as const, bytes: ipv6Of(ipv6, number), length: ipv6.length };
      const gateway6 = ipv6 && { family: 'ipv6' as const, bytes: ipv6Of(ipv6, gateway) };
      const place = {
        mac: macOf(number),
        mtu,
        addresses: more ? [...addresses, more] : addresses,
        gateways: internal ? [] : gateway6 ? [...gateways, gateway6] : gateways,
      };
      const [made] = await Promise.all([
        inside.batch(placeMessages(place, { name: port, namespace: inner.number })),
        guard.transaction((t) => {
          const table = t.existing('bridge', guardTable);
          for (const [name, values] of this.#elements()) table.existingSet(name).add(...values);
        }),
      ]);
      if (made.length === 0) throw closed();
      this.#state = 'connected';
      if (this.#publications.size > 0) await this.#change('add', [...this.#publications]);
      // Frames pass from here on.
      await ports.add(port);
    } finally {
      inside.close();
    }
  }

  /** Its elements of the sets of the bridge. */
  #elements(): readonly (readonly [string, readonly (readonly string[])[]])[] {
    const { number, port, ipv6 } = this.#facts;
    const mac = this.mac;
    const sources6 = ipv6 ? [linkLocalOf(macOf(number)), formatIp(ipv6Of(ipv6, number))] : [];
    return [
      ['macs', [[port, mac]]],
      ['arp', [[port, mac, this.address]]],
      ['sources4', [[port, this.address]]],
      ['sources6', sources6.map((address) => [port, address])],
    ];
  }

  async #change(how: 'add' | 'delete', publications: readonly Publication[]): Promise<void> {
    const { filter, table } = this.#resources;
    await filter.transaction((t) => {
      const changes = t.existing('inet', table);
      for (const { protocol, hostAddress, hostPort, port, families } of publications) {
        for (const family of families) {
          const every = hostAddress === undefined || hostAddress === '0.0.0.0' || hostAddress === '::';
          const value = every ? [protocol, hostPort] : [protocol, hostAddress, hostPort];
          const to = family === 4 ? this.address : (this.ipv6 ?? '');
          const set = changes.existingSet(`${every ? 'every' : 'ports'}${family}`);
          if (how === 'add') set.add({ value, data: [to, port] });
          else set.delete(value);
        }
      }
    });
  }

  #drop(publications: readonly Publication[]): void {
    for (const publication of publications) {
      this.#publications.delete(publication);
      for (const one of publication.held) one.close();
    }
  }

  /** @internal The container has ended, and its namespace with it: what is left of it in the sets goes. */
  async release(): Promise<void> {
    await this.#connecting?.catch(() => {});
    if (this.#state === 'released') return;
    const connected = this.#state === 'connected';
    this.#state = 'released';
    const publications = [...this.#publications];
    try {
      if (publications.length > 0 && connected) await this.#change('delete', publications);
      this.#drop(publications);
      const { guard, ports } = this.#resources;
      if (connected) {
        // The namespace is taken apart after its last process has ended; nobody gets the address before.
        await ports.gone(this.#facts.port);
        await guard.transaction((t) => {
          const table = t.existing('bridge', guardTable);
          for (const [name, values] of this.#elements()) table.existingSet(name).delete(...values);
        });
      }
    } finally {
      this.abandon();
    }
  }

  /** @internal Nothing of it was made, or all of it goes with the network. */
  abandon(): void {
    this.#state = 'released';
    this.#drop([...this.#publications]);
    this.#onRelease();
  }

  #expectConnected(): void {
    if (this.#state !== 'connected') throw closed();
  }
}

function closed(): TscontainError {
  return new TscontainError('ERR_CONTAINER_GONE', 'the container has no network any more', {
    hint: 'the container has ended, or its network was closed',
  });
}

function familiesOf(hostAddress: string | undefined, ipv6: boolean): readonly (4 | 6)[] {
  if (hostAddress === undefined) return ipv6 ? [4, 6] : [4];
  return hostAddress.includes(':') ? [6] : [4];
}
