/** IP addresses of links (rtnetlink(7), RTM_NEWADDR). */

import {
  byteLength,
  defineSchema,
  type Fields,
  readBoolean,
  readInteger,
  readObject,
  readText,
} from '../container/settings/schema.js';
import { OptionError } from '../errors.js';
import { Attributes, AttributeWriter } from '../netlink/attributes.js';
import { messageFlag, native } from '../netlink/message.js';
import { type Duration, parseDuration } from '../units.js';
import {
  familyNumber,
  familyOf,
  formatIp,
  type IpFamily,
  type IpPrefix,
  readInterfaceAddress,
  readIp,
} from './address.js';
import type { LinkReference } from './link/options.js';
import { readReference } from './link/settings.js';
import { addressNames, ifa, type Rtnetlink, routeMessage } from './rtnetlink.js';
import { type RouteScope, readScope, scopeOf, wordOf } from './scope.js';

/** How an address is added. */
export interface InterfaceAddressOptions {
  /** The address at the other end, of a link that has two; with its prefix: `'10.0.0.2/32'`. */
  readonly peer?: string;
  /** IPv4's address for all on the link. Default none. */
  readonly broadcast?: string;
  /** IPv4: a name that begins with the link's. */
  readonly label?: string;
  /** Default `'link'` and `'host'` for addresses of these, else `'global'`. */
  readonly scope?: RouteScope;
  /** How long it is valid, and how long new connections use it, in whole seconds. Default for ever. */
  readonly validLifetime?: Duration;
  readonly preferredLifetime?: Duration;
  /** The metric of the route to its network. */
  readonly metric?: number;
  /** Make no route to its network. */
  readonly noPrefixRoute?: boolean;
  /** IPv6: use it at once, without looking whether another has it. */
  readonly noDad?: boolean;
  /** IPv6: use it while that is looked for. */
  readonly optimistic?: boolean;
}

/** An address of a link. */
export interface InterfaceAddress {
  /** The index of its link. */
  readonly link: number;
  readonly family: IpFamily;
  readonly address: string;
  readonly prefixLength: number;
  readonly peer: string | undefined;
  readonly broadcast: string | undefined;
  readonly label: string | undefined;
  readonly scope: RouteScope;
  readonly metric: number | undefined;
  /** Milliseconds from when it was read; Infinity for ever. */
  readonly validLifetime: number;
  readonly preferredLifetime: number;
  readonly noPrefixRoute: boolean;
  readonly noDad: boolean;
  /** Whether others are still being asked for it; whether one has it. */
  readonly tentative: boolean;
  readonly dadFailed: boolean;
  readonly optimistic: boolean;
  /** Not for new connections any more. */
  readonly deprecated: boolean;
  /** IPv4: another address of the network was there before; IPv6: it was made up, and will go. */
  readonly secondary: boolean;
  readonly permanent: boolean;
}

const flag = {
  SECONDARY: 1,
  NODAD: 2,
  OPTIMISTIC: 4,
  DADFAILED: 8,
  DEPRECATED: 0x20,
  TENTATIVE: 0x40,
  PERMANENT: 0x80,
  NOPREFIXROUTE: 0x200,
} as const;

/** sizeof(struct ifaddrmsg) */
const headerLength = 8;
const forEver = 0xffffffff;
const schema = defineSchema([
  'peer',
  'broadcast',
  'label',
  'scope',
  'validLifetime',
  'preferredLifetime',
  'metric',
  'noPrefixRoute',
  'noDad',
  'optimistic',
]);
const listSchema = defineSchema(['link', 'family']);

/** Which addresses, routes or neighbours are listed. Default all. */
export interface NetworkListOptions {
  readonly link?: LinkReference;
  readonly family?: IpFamily;
}

/** Addresses of the links of a namespace. */
export class InterfaceAddresses {
  readonly #rtnetlink: Rtnetlink;
  readonly #indexOf: (link: LinkReference) => Promise<number>;

  /** @internal */
  constructor(rtnetlink: Rtnetlink, indexOf: (link: LinkReference) => Promise<number>) {
    this.#rtnetlink = rtnetlink;
    this.#indexOf = indexOf;
  }

  /** @throws OptionError; NetlinkError with `errno` ENODEV for a link that is not there */
  async list(options: NetworkListOptions = {}): Promise<InterfaceAddress[]> {
    const { link, family } = readListOptions(options);
    const index = link === undefined ? 0 : await this.#indexOf(link);
    const messages = await this.#rtnetlink.dump({
      type: routeMessage.GETADDR,
      header: ifaddr(family === undefined ? 0 : familyNumber[family], 0, 0, 0, index),
      doing: 'listing addresses',
      names: addressNames,
    });
    const all = messages.flatMap(({ body }) => readAddress(body) ?? []);
    // Kernels before 4.20 do not filter.
    return all.filter((address) => index === 0 || address.link === index);
  }

  /**
   * Adds an address with the length of its prefix: `'10.0.0.2/24'`.
   * @throws OptionError; NetlinkError with `errno` EEXIST where the link has it; PermissionError
   */
  async add(link: LinkReference, address: string, options: InterfaceAddressOptions = {}): Promise<void> {
    await this.#new(link, address, options, messageFlag.CREATE | messageFlag.EXCL, 'adding');
  }

  /** Adds an address, or changes one that is there: its lifetimes and its metric. */
  async replace(link: LinkReference, address: string, options: InterfaceAddressOptions = {}): Promise<void> {
    await this.#new(link, address, options, messageFlag.CREATE | messageFlag.REPLACE, 'replacing');
  }

  /** @throws NetlinkError with `errno` EADDRNOTAVAIL where the link has not this address with this prefix */
  async remove(link: LinkReference, address: string): Promise<void> {
    const prefix = readInterfaceAddress(address, 'address');
    const index = await this.#indexOf(readReference(link, 'link'));
    await this.#rtnetlink.request({
      type: routeMessage.DELADDR,
      header: ifaddr(familyNumber[prefix.family], prefix.length, 0, 0, index),
      attributes: new AttributeWriter().binary(ifa.LOCAL, prefix.bytes).bytes(),
      doing: `removing the address ${address} of ${link}`,
      names: addressNames,
    });
  }

  async #new(link: LinkReference, address: string, options: unknown, flags: number, doing: string): Promise<void> {
    const prefix = readInterfaceAddress(address, 'address');
    const settings = readOptions(options, prefix);
    const index = await this.#indexOf(readReference(link, 'link'));
    await this.#rtnetlink.request({
      type: routeMessage.NEWADDR,
      flags,
      header: ifaddr(familyNumber[prefix.family], settings.length, settings.flags & 0xff, settings.scope, index),
      attributes: settings.attributes,
      doing: `${doing} the address ${address} of ${link}`,
      names: addressNames,
    });
  }
}

/** @throws OptionError */
export function readListOptions(options: unknown): NetworkListOptions {
  const { link, family } = readObject(options, '', listSchema);
  return {
    ...(link === undefined ? {} : { link: readReference(link, 'link') }),
    ...(family === undefined ? {} : { family: readFamily(family, 'family') }),
  };
}

/** @throws OptionError */
export function readFamily(value: unknown, option: string): IpFamily {
  if (value === 'ipv4' || value === 'ipv6') return value;
  throw new OptionError(option, "'ipv4' or 'ipv6'", value);
}

type Key = keyof InterfaceAddressOptions;

function readOptions(options: unknown, prefix: IpPrefix) {
  const fields = readObject(options, '', schema);
  expectFamily(fields, prefix.family);
  const attributes = new AttributeWriter().binary(ifa.LOCAL, prefix.bytes);
  let length = prefix.length;
  if (fields.peer === undefined) attributes.binary(ifa.ADDRESS, prefix.bytes);
  else {
    const peer = readInterfaceAddress(fields.peer, 'peer');
    if (peer.family !== prefix.family) throw new OptionError('peer', `an address of ${prefix.family}`, fields.peer);
    attributes.binary(ifa.ADDRESS, peer.bytes);
    length = peer.length;
  }
  if (fields.broadcast !== undefined)
    attributes.binary(ifa.BROADCAST, readIp(fields.broadcast, 'broadcast', 'ipv4').bytes);
  if (fields.label !== undefined) attributes.string(ifa.LABEL, readLabel(fields.label));
  if (fields.metric !== undefined)
    attributes.u32(ifa.RT_PRIORITY, readInteger(fields.metric, 'metric', 1, 2 ** 32 - 1));
  const lifetimes = readLifetimes(fields);
  if (lifetimes !== undefined) attributes.binary(ifa.CACHEINFO, lifetimes);
  const on = (key: Key, bit: number) => (readBoolean(fields[key], key, false) ? bit : 0);
  const flags = on('noPrefixRoute', flag.NOPREFIXROUTE) | on('noDad', flag.NODAD) | on('optimistic', flag.OPTIMISTIC);
  if (flags !== 0) attributes.u32(ifa.FLAGS, flags);
  const scope = fields.scope === undefined ? defaultScope(prefix) : readScope(fields.scope, 'scope');
  return { attributes: attributes.bytes(), length, flags, scope };
}

function expectFamily(fields: Fields<Key>, family: IpFamily): void {
  const others: readonly Key[] = family === 'ipv4' ? ['noDad', 'optimistic'] : ['broadcast', 'label'];
  for (const key of others) {
    if (fields[key] !== undefined) throw new OptionError(key, `no ${key} for an address of ${family}`, fields[key]);
  }
}

function readLabel(value: unknown): string {
  const label = readText(value, 'label', 'a text of at most 15 bytes');
  if (label === '' || byteLength(label) > 15) throw new OptionError('label', 'a text of at most 15 bytes', value);
  return label;
}

/** `struct ifa_cacheinfo`: seconds preferred, seconds valid, and two times of the kernel's. */
function readLifetimes(fields: Fields<Key>): Buffer | undefined {
  const { validLifetime, preferredLifetime } = fields;
  if (validLifetime === undefined && preferredLifetime === undefined) return undefined;
  const read = (value: unknown, option: Key, min: number) =>
    value === undefined ? forEver : Math.ceil(parseDuration(value, option, { min }) / 1000);
  const valid = read(validLifetime, 'validLifetime', 1000);
  const preferred = preferredLifetime === undefined ? valid : read(preferredLifetime, 'preferredLifetime', 0);
  if (preferred > valid) throw new OptionError('preferredLifetime', 'at most validLifetime', preferredLifetime);
  const bytes = Buffer.alloc(16);
  native.writeU32(bytes, preferred, 0);
  native.writeU32(bytes, valid, 4);
  return bytes;
}

/** As ip-address(8): what is the host's own, or the link's, by its number. */
function defaultScope({ family, bytes }: IpPrefix): number {
  if (family === 'ipv4') return bytes[0] === 127 ? scopeOf.host : scopeOf.global;
  return scopeOf.global; // the kernel decides, from the address
}

/** `struct ifaddrmsg`. */
export function ifaddr(family: number, length: number, flags: number, scope: number, index: number): Buffer {
  const bytes = Buffer.alloc(headerLength);
  bytes.set([family, length, flags, scope]);
  native.writeU32(bytes, index, 4);
  return bytes;
}

/** Undefined for another family's. */
export function readAddress(body: Buffer): InterfaceAddress | undefined {
  const attributes = Attributes.after(body, headerLength);
  const family = familyOf(body.readUInt8(0));
  const address = attributes.binary(ifa.ADDRESS);
  const local = attributes.binary(ifa.LOCAL) ?? address;
  if (family === undefined || local === undefined) return undefined;
  const flags = attributes.u32(ifa.FLAGS) ?? body.readUInt8(2);
  const has = (bit: number) => (flags & bit) !== 0;
  const cache = attributes.binary(ifa.CACHEINFO, 8);
  const lifetime = (at: number) => {
    const seconds = cache === undefined ? forEver : native.readU32(cache, at);
    return seconds === forEver ? Number.POSITIVE_INFINITY : seconds * 1000;
  };
  const broadcast = attributes.binary(ifa.BROADCAST);
  return {
    link: native.readU32(body, 4),
    family,
    address: formatIp(local),
    prefixLength: body.readUInt8(1),
    peer: address === undefined || address.equals(local) ? undefined : formatIp(address),
    broadcast: broadcast && formatIp(broadcast),
    label: attributes.string(ifa.LABEL),
    scope: wordOf(scopeOf, body.readUInt8(3)) as RouteScope,
    metric: attributes.u32(ifa.RT_PRIORITY),
    validLifetime: lifetime(4),
    preferredLifetime: lifetime(0),
    noPrefixRoute: has(flag.NOPREFIXROUTE),
    noDad: has(flag.NODAD),
    tentative: has(flag.TENTATIVE),
    dadFailed: has(flag.DADFAILED),
    optimistic: has(flag.OPTIMISTIC),
    deprecated: has(flag.DEPRECATED),
    secondary: has(flag.SECONDARY),
    permanent: has(flag.PERMANENT),
  };
}
