/** Network links of a namespace, and what is configured on them: by rtnetlink(7), as ip(8) does it. */

import { defineSchema, readObject } from '../container/settings/schema.js';
import type { Descriptor } from '../launcher/native.js';
import { AttributeWriter } from '../netlink/attributes.js';
import { NetlinkError } from '../netlink/error.js';
import { messageFlag } from '../netlink/message.js';
import { InterfaceAddresses } from './interface-addresses.js';
import { namesOf, writeFields } from './link/fields.js';
import { bridgeFields, kindSettings, portFields } from './link/kinds.js';
import type { Link, LinkChanges, LinkOptions, LinkReference } from './link/options.js';
import { readLink } from './link/read.js';
import {
  type ChangeSettings,
  ifinfo,
  type NewLinkSettings,
  readChanges,
  readNewLink,
  readReference,
  writeKind,
} from './link/settings.js';
import { Neighbours } from './neighbours.js';
import { Routes } from './routes.js';
import { ifla, iflaInfo, linkNames, Rtnetlink, routeMessage } from './rtnetlink.js';
import { RoutingRules } from './rules.js';
import { NetworkSysctl } from './sysctl.js';
import { copyDescriptor, type NetworkTarget, openNetwork } from './target.js';
import { NetworkEvents, readWatchOptions, type WatchOptions } from './watch.js';

export interface LinksOptions {
  /** The network namespace. Default that of this process. */
  readonly namespace?: NetworkTarget;
}

const schema = defineSchema(['namespace']);

/**
 * The links of one network namespace, with their addresses, routes and neighbours. It holds the namespace as long as it is
 * not closed, and no process is in it for that.
 *
 * Reading takes no privilege; changing something takes CAP_NET_ADMIN in the user namespace that owns the network: as root, or
 * in a namespace that this user has made with a user namespace of its own.
 *
 * @example
 * ```ts
 * await using network = await Namespace.create(['user', 'net']);
 * await using links = await Links.open({ namespace: network });
 * await links.add({ kind: 'bridge', name: 'br0', up: true });
 * await links.add({ kind: 'veth', name: 'a', master: 'br0', up: true, peer: { name: 'b' } });
 * (await links.list()).map(({ name }) => name); // ['lo', 'br0', 'b', 'a']
 * ```
 *
 * @see https://man7.org/linux/man-pages/man7/rtnetlink.7.html
 */
export class Links implements AsyncDisposable {
  /** Their IP addresses. */
  readonly addresses: InterfaceAddresses;
  /** The routes of the namespace. */
  readonly routes: Routes;
  /** The rules by which a routing table is chosen. */
  readonly rules: RoutingRules;
  /** Hardware addresses of neighbours. */
  readonly neighbours: Neighbours;
  /** Settings of the kernel for the namespace. */
  readonly sysctl: NetworkSysctl;
  readonly #rtnetlink: Rtnetlink;

  private constructor(rtnetlink: Rtnetlink) {
    this.#rtnetlink = rtnetlink;
    const indexOf = (link: LinkReference) => this.indexOf(link);
    this.addresses = new InterfaceAddresses(rtnetlink, indexOf);
    this.routes = new Routes(rtnetlink, indexOf);
    this.rules = new RoutingRules(rtnetlink);
    this.neighbours = new Neighbours(rtnetlink, indexOf);
    this.sysctl = new NetworkSysctl(rtnetlink.namespace);
  }

  /**
   * @throws OptionError; PermissionError where the namespace may not be entered; TscontainError (`ERR_NAMESPACE`,
   *   `ERR_CONTAINER_GONE`)
   */
  static async open(options: LinksOptions = {}): Promise<Links> {
    const { namespace } = readObject(options, '', schema);
    const network = namespace === undefined ? undefined : await openNetwork(namespace, 'namespace');
    return new Links(await Rtnetlink.open(network));
  }

  /** All links, in the order of their indexes. */
  async list(): Promise<Link[]> {
    const messages = await this.#rtnetlink.dump({
      type: routeMessage.GETLINK,
      header: ifinfo(),
      doing: 'listing links',
      names: linkNames(),
    });
    return messages.map(({ body }) => readLink(body)).sort((a, b) => a.index - b.index);
  }

  /** One link; undefined where there is none by this index or name. */
  async get(link: LinkReference): Promise<Link | undefined> {
    const reference = readReference(link, 'link');
    const header = typeof reference === 'number' ? ifinfo(reference) : ifinfo();
    const attributes = new AttributeWriter();
    if (typeof reference === 'string') attributes.string(ifla.IFNAME, reference);
    try {
      const [message] = await this.#rtnetlink.request({
        type: routeMessage.GETLINK,
        header,
        attributes: attributes.bytes(),
        doing: `reading the link ${reference}`,
        names: linkNames(),
      });
      return message && readLink(message.body);
    } catch (error) {
      if (error instanceof NetlinkError && error.errno === 'ENODEV') return undefined;
      throw error;
    }
  }

  /**
   * Makes a link. Of a pair, this is the end in this namespace.
   * @throws OptionError; NetlinkError with the kernel's reason, such as `errno` EEXIST; UnsupportedError for a kind that this
   *   kernel has not; PermissionError
   */
  async add(options: LinkOptions): Promise<Link> {
    const settings = readNewLink(options);
    const { kind, name, flags, change, master, link, peer } = settings;
    const elsewhere = peer?.namespace === undefined ? undefined : await openNetwork(peer.namespace, 'peer.namespace');
    try {
      const attributes = new AttributeWriter().string(ifla.IFNAME, name).append(settings.attributes);
      if (master !== undefined && master !== null) attributes.u32(ifla.MASTER, await this.indexOf(master));
      if (link !== undefined) attributes.u32(ifla.LINK, await this.indexOf(link));
      writeKind(attributes, settings, elsewhere?.number);
      await this.#rtnetlink.request({
        type: routeMessage.NEWLINK,
        flags: messageFlag.CREATE | messageFlag.EXCL,
        header: ifinfo(0, flags, change),
        attributes: attributes.bytes(),
        doing: `adding the link ${name} (${kind})`,
        names: linkNames(namesOf(kindSettings[kind]?.fields ?? {})),
      });
      const made = await this.#expect(name);
      return await this.#finish(made, settings, elsewhere);
    } finally {
      elsewhere?.close();
    }
  }

  /** What a link takes once it is there. One of which this fails is removed. */
  async #finish(made: Link, { alias, peer }: NewLinkSettings, elsewhere: Descriptor | undefined): Promise<Link> {
    const doing = `adding the link ${made.name}`;
    try {
      if (alias !== undefined) await this.#send(this.#rtnetlink, made.index, doing, { alias });
      if (peer !== undefined && peer.change !== 0) {
        const { flags, change } = peer;
        const there = elsewhere === undefined ? undefined : await Rtnetlink.open(copyDescriptor(elsewhere));
        try {
          await this.#send(there ?? this.#rtnetlink, made.link ?? 0, `${doing}: its other end`, { flags, change });
        } finally {
          there?.close();
        }
      }
      return alias === undefined ? made : await this.#expect(made.name);
    } catch (error) {
      await this.remove(made.index);
      throw error;
    }
  }

  async #send(
    rtnetlink: Rtnetlink,
    index: number,
    doing: string,
    settings: { readonly flags?: number; readonly change?: number; readonly alias?: Buffer },
    attributes = new AttributeWriter(),
  ): Promise<void> {
    const { flags = 0, change = 0, alias } = settings;
    if (alias !== undefined) attributes.binary(ifla.IFALIAS, alias);
    if (change === 0 && attributes.length === 0) return;
    await rtnetlink.request({
      type: routeMessage.NEWLINK,
      header: ifinfo(index, flags, change),
      attributes: attributes.bytes(),
      doing,
      names: linkNames(),
    });
  }

  /**
   * Changes a link. Settings of a bridge, and of a port, are made after the others; a failure of these leaves the rest as it was
   * set.
   * @throws OptionError; NetlinkError; PermissionError
   */
  async set(link: LinkReference, changes: LinkChanges): Promise<void> {
    const reference = readReference(link, 'link');
    const settings = readChanges(changes);
    const target = settings.namespace === undefined ? undefined : await openNetwork(settings.namespace, 'namespace');
    try {
      const index = await this.indexOf(reference);
      await this.#change(index, `changing the link ${reference}`, settings, target);
      if (settings.port !== undefined) {
        await this.#configure(index, `changing the port ${reference}`, (info) => {
          info.string(iflaInfo.SLAVE_KIND, 'bridge');
          info.nested(iflaInfo.SLAVE_DATA, (data) => void writeFields(settings.port ?? new Map(), data));
        });
      }
    } finally {
      target?.close();
    }
  }

  /**
   * Removes a link; of a pair, both ends.
   * @throws NetlinkError with `errno` ENODEV where there is none, EOPNOTSUPP (UnsupportedError) for hardware and the loopback
   */
  async remove(link: LinkReference): Promise<void> {
    const reference = readReference(link, 'link');
    const attributes = new AttributeWriter();
    if (typeof reference === 'string') attributes.string(ifla.IFNAME, reference);
    await this.#rtnetlink.request({
      type: routeMessage.DELLINK,
      header: ifinfo(typeof reference === 'number' ? reference : 0),
      attributes: attributes.bytes(),
      doing: `removing the link ${reference}`,
      names: linkNames(),
    });
  }

  /**
   * The index of a link.
   * @throws NetlinkError with `errno` ENODEV where there is none of that name
   */
  async indexOf(link: LinkReference): Promise<number> {
    const reference = readReference(link, 'link');
    return typeof reference === 'number' ? reference : (await this.#expect(reference)).index;
  }

  /**
   * Events of the namespace from now on.
   * @example
   * ```ts
   * await using links = await Links.open();
   * await using events = await links.watch({ types: ['link'] });
   * for await (const event of events) if (event.type === 'link') console.log(event.change, event.link.name);
   * ```
   * @throws OptionError; PermissionError where the namespace may not be entered
   */
  async watch(options: WatchOptions = {}): Promise<NetworkEvents> {
    return NetworkEvents.open(this.#rtnetlink.namespace, readWatchOptions(options));
  }

  /** Lets go of the namespace. Everything stays as it was configured. */
  async close(): Promise<void> {
    this.#rtnetlink.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #expect(name: string): Promise<Link> {
    const found = await this.get(name);
    if (found === undefined) {
      throw new NetlinkError('ERR_NETLINK', `there is no link ${name}`, { errno: 'ENODEV' });
    }
    return found;
  }

  async #change(index: number, doing: string, settings: ChangeSettings, target: Descriptor | undefined): Promise<void> {
    const { flags, change, alias, master, name, bridge } = settings;
    const attributes = new AttributeWriter().append(settings.attributes);
    if (name !== undefined) attributes.string(ifla.IFNAME, name);
    if (master !== undefined) attributes.u32(ifla.MASTER, master === null ? 0 : await this.indexOf(master));
    if (target !== undefined) attributes.u32(ifla.NET_NS_FD, target.number);
    const general = { flags, change, ...(alias === undefined ? {} : { alias }) };
    await this.#send(this.#rtnetlink, index, doing, general, attributes);
    if (bridge !== undefined) {
      await this.#configure(index, doing, (info) => {
        info.string(iflaInfo.KIND, 'bridge');
        info.nested(iflaInfo.DATA, (data) => void writeFields(bridge, data));
      });
    }
  }

  async #configure(index: number, doing: string, write: (info: AttributeWriter) => void): Promise<void> {
    await this.#rtnetlink.request({
      type: routeMessage.NEWLINK,
      header: ifinfo(index),
      attributes: new AttributeWriter().nested(ifla.LINKINFO, write).bytes(),
      doing,
      names: linkNames(namesOf(bridgeFields), namesOf(portFields)),
    });
  }
}
