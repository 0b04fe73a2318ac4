/** Neighbours: which hardware address an IP address of a link has (rtnetlink(7), RTM_NEWNEIGH; ip-neighbour(8)). */

import { defineSchema, readBoolean, readChoice, readObject } from '../container/settings/schema.js';
import { OptionError } from '../errors.js';
import { Attributes, AttributeWriter } from '../netlink/attributes.js';
import { messageFlag, native } from '../netlink/message.js';
import { familyNumber, familyOf, formatIp, formatMac, type IpFamily, readIp, readMac } from './address.js';
import { type NetworkListOptions, readListOptions } from './interface-addresses.js';
import type { LinkReference } from './link/options.js';
import { readReference } from './link/settings.js';
import { nda, neighbourNames, type Rtnetlink, routeMessage } from './rtnetlink.js';

/** What is known of a neighbour. Only `permanent` and `noarp` stay as they are. */
export type NeighbourState =
  | 'none'
  | 'incomplete'
  | 'reachable'
  | 'stale'
  | 'delay'
  | 'probe'
  | 'failed'
  | 'noarp'
  | 'permanent';

/** How a neighbour is added. */
export interface NeighbourOptions {
  /** Its hardware address: `'02:42:ac:11:00:02'`. */
  readonly linkAddress?: string;
  /** Default `'permanent'`. */
  readonly state?: 'permanent' | 'noarp' | 'reachable' | 'stale';
  /** IPv6: whether it is a router. */
  readonly router?: boolean;
  /** Answer for it on this link. There is no hardware address then, and no state. */
  readonly proxy?: boolean;
}

export interface Neighbour {
  /** The index of its link. */
  readonly link: number;
  readonly family: IpFamily;
  readonly address: string;
  readonly linkAddress: string | undefined;
  readonly state: NeighbourState;
  readonly router: boolean;
  readonly proxy: boolean;
}

const stateOf: Readonly<Record<NeighbourState, number>> = {
  none: 0,
  incomplete: 1,
  reachable: 2,
  stale: 4,
  delay: 8,
  probe: 0x10,
  failed: 0x20,
  noarp: 0x40,
  permanent: 0x80,
};
const flag = { PROXY: 8, ROUTER: 0x80 } as const;
/** sizeof(struct ndmsg) */
const headerLength = 12;
const schema = defineSchema(['linkAddress', 'state', 'router', 'proxy']);
const removeSchema = defineSchema(['proxy']);

/** Neighbours on the links of a namespace. */
export class Neighbours {
  readonly #rtnetlink: Rtnetlink;
  readonly #indexOf: (link: LinkReference) => Promise<number>;

  /** @internal */
  constructor(rtnetlink: Rtnetlink, indexOf: (link: LinkReference) => Promise<number>) {
    this.#rtnetlink = rtnetlink;
    this.#indexOf = indexOf;
  }

  /** Those that are known, without those that are answered for (`proxies`). */
  list(options: NetworkListOptions = {}): Promise<Neighbour[]> {
    return this.#list(options, 0);
  }

  /** Those that are answered for. */
  proxies(options: NetworkListOptions = {}): Promise<Neighbour[]> {
    return this.#list(options, flag.PROXY);
  }

  /** @throws OptionError; NetlinkError with `errno` EEXIST where it is known; PermissionError */
  async add(link: LinkReference, address: string, options: NeighbourOptions): Promise<void> {
    await this.#new(link, address, options, messageFlag.CREATE | messageFlag.EXCL, 'adding');
  }

  async replace(link: LinkReference, address: string, options: NeighbourOptions): Promise<void> {
    await this.#new(link, address, options, messageFlag.CREATE | messageFlag.REPLACE, 'replacing');
  }

  /** @throws NetlinkError with `errno` ENOENT where it is not known */
  async remove(link: LinkReference, address: string, options: { readonly proxy?: boolean } = {}): Promise<void> {
    const { proxy } = readObject(options, '', removeSchema);
    const flags = readBoolean(proxy, 'proxy', false) ? flag.PROXY : 0;
    await this.#send(routeMessage.DELNEIGH, 0, link, address, { state: 0, flags, attributes: empty }, 'removing');
  }

  async #list(options: unknown, flags: number): Promise<Neighbour[]> {
    const { link, family } = readListOptions(options);
    const index = link === undefined ? undefined : await this.#indexOf(link);
    const messages = await this.#rtnetlink.dump({
      type: routeMessage.GETNEIGH,
      header: ndmsg(family === undefined ? 0 : familyNumber[family], 0, 0, flags),
      doing: 'listing neighbours',
      names: neighbourNames,
    });
    const all = messages.flatMap(({ body }) => readNeighbour(body) ?? []);
    return all.filter((neighbour) => index === undefined || neighbour.link === index);
  }

  async #new(link: LinkReference, address: string, options: unknown, flags: number, doing: string): Promise<void> {
    await this.#send(routeMessage.NEWNEIGH, flags, link, address, readOptions(options), doing);
  }

  async #send(
    type: number,
    flags: number,
    link: LinkReference,
    address: string,
    settings: ReturnType<typeof readOptions>,
    doing: string,
  ): Promise<void> {
    const { family, bytes } = readIp(address, 'address');
    const index = await this.#indexOf(readReference(link, 'link'));
    await this.#rtnetlink.request({
      type,
      flags,
      header: ndmsg(familyNumber[family], index, settings.state, settings.flags),
      attributes: new AttributeWriter().binary(nda.DST, bytes).append(settings.attributes).bytes(),
      doing: `${doing} the neighbour ${address} of ${link}`,
      names: neighbourNames,
    });
  }
}

const empty = Buffer.alloc(0);

function readOptions(options: unknown): {
  readonly state: number;
  readonly flags: number;
  readonly attributes: Buffer;
} {
  const { linkAddress, state, router, proxy } = readObject(options, '', schema);
  const flags =
    (readBoolean(router, 'router', false) ? flag.ROUTER : 0) | (readBoolean(proxy, 'proxy', false) ? flag.PROXY : 0);
  if (flags & flag.PROXY) {
    if (linkAddress !== undefined) throw new OptionError('linkAddress', 'no linkAddress beside proxy', linkAddress);
    return { state: stateOf.permanent, flags, attributes: empty };
  }
  const known = readChoice(state ?? 'permanent', 'state', ['permanent', 'noarp', 'reachable', 'stale']);
  const attributes = new AttributeWriter();
  if (linkAddress !== undefined || known !== 'noarp')
    attributes.binary(nda.LLADDR, readMac(linkAddress, 'linkAddress'));
  return { state: stateOf[known], flags, attributes: attributes.bytes() };
}

/** `struct ndmsg`. */
function ndmsg(family: number, index: number, state: number, flags: number): Buffer {
  const bytes = Buffer.alloc(headerLength);
  bytes.writeUInt8(family, 0);
  native.writeI32(bytes, index, 4);
  native.writeU16(bytes, state, 8);
  bytes.writeUInt8(flags, 10);
  return bytes;
}

/** Undefined for another family's. */
export function readNeighbour(body: Buffer): Neighbour | undefined {
  const attributes = Attributes.after(body, headerLength);
  const family = familyOf(body.readUInt8(0));
  const address = attributes.binary(nda.DST);
  if (family === undefined || address === undefined) return undefined;
  const linkAddress = attributes.binary(nda.LLADDR);
  const state = native.readU16(body, 8);
  const flags = body.readUInt8(10);
  const words = Object.keys(stateOf) as NeighbourState[];
  return {
    link: native.readI32(body, 4),
    family,
    address: formatIp(address),
    linkAddress: linkAddress && formatMac(linkAddress),
    state: words.find((word) => stateOf[word] === state) ?? 'none',
    router: (flags & flag.ROUTER) !== 0,
    proxy: (flags & flag.PROXY) !== 0,
  };
}
