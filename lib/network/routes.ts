/** Routes of a namespace (rtnetlink(7), RTM_NEWROUTE; ip-route(8)). */

import {
  defineSchema,
  optionName,
  readBoolean,
  readChoice,
  readInteger,
  readList,
  readObject,
} from '../container/settings/schema.js';
import { OptionError } from '../errors.js';
import { AttributeWriter } from '../netlink/attributes.js';
import { messageFlag } from '../netlink/message.js';
import {
  anyAddress,
  familyNumber,
  type IpAddress,
  type IpFamily,
  type IpPrefix,
  readIp,
  readNetwork,
} from './address.js';
import { readFamily } from './interface-addresses.js';
import type { LinkReference } from './link/options.js';
import { readReference } from './link/settings.js';
import { hopFlag, readRoute, writeHop, writeRouteHeader } from './route-message.js';
import { type Rtnetlink, routeMessage, routeNames, rta, rtax } from './rtnetlink.js';
import {
  protocolOf,
  type RouteProtocol,
  type RouteScope,
  type RouteTable,
  type RouteType,
  readProtocol,
  readScope,
  readTable,
  scopeOf,
  tableOf,
  typeOf,
} from './scope.js';

/** Where a packet goes next. */
export interface NextHop {
  /** The gateway; none where the destination is on the link. It may be an IPv6 address for an IPv4 route (Linux 5.2). */
  readonly via?: string;
  readonly link?: LinkReference;
  /** How much of the traffic, against the other hops: 1 to 256. Default 1. */
  readonly weight?: number;
  /** The gateway is on the link, though no address says so. */
  readonly onLink?: boolean;
}

/** A route. */
export interface RouteOptions {
  /** A network, or `'default'`. */
  readonly to: string;
  /** Which default. Default what `via` and `source` are, else `'ipv4'`. */
  readonly family?: IpFamily;
  readonly via?: string;
  readonly link?: LinkReference;
  readonly onLink?: boolean;
  /** Several ways, in place of `via` and `link`. */
  readonly nextHops?: readonly NextHop[];
  /** The address that is used as the sender's. */
  readonly source?: string;
  /** Of two routes to a network the one with the lower is used. Default 0, which IPv6 makes 1024. */
  readonly metric?: number;
  /** Default `'main'`; `'local'` for routes of type local, broadcast and anycast. */
  readonly table?: RouteTable;
  /** Default `'link'` without a gateway, else `'global'`; `'host'` for local addresses. */
  readonly scope?: RouteScope;
  /** Default `'static'`. */
  readonly protocol?: RouteProtocol;
  /** Default `'unicast'`. */
  readonly type?: RouteType;
  /** The largest packet on this way. */
  readonly mtu?: number;
  /** The largest TCP segment that is told to the other side. */
  readonly advmss?: number;
}

/** A route as it is. */
export interface Route {
  readonly family: IpFamily;
  /** A network, or `'default'`. */
  readonly to: string;
  readonly type: RouteType | number;
  readonly table: RouteTable;
  readonly scope: RouteScope;
  readonly protocol: RouteProtocol;
  readonly via: string | undefined;
  /** The index of its link. */
  readonly link: number | undefined;
  readonly source: string | undefined;
  readonly metric: number;
  readonly mtu: number | undefined;
  readonly advmss: number | undefined;
  readonly onLink: boolean;
  /** Its link is down or gone; or has no carrier. */
  readonly dead: boolean;
  readonly linkDown: boolean;
  /** Where there are several. */
  readonly nextHops: readonly RouteHop[];
}

export interface RouteHop {
  readonly via: string | undefined;
  readonly link: number | undefined;
  readonly weight: number;
  readonly onLink: boolean;
  readonly dead: boolean;
  readonly linkDown: boolean;
}

export interface RouteListOptions {
  readonly family?: IpFamily;
  /** Default `'main'`. */
  readonly table?: RouteTable | 'all';
  readonly link?: LinkReference;
}

const schema = defineSchema([
  'to',
  'family',
  'via',
  'link',
  'onLink',
  'nextHops',
  'source',
  'metric',
  'table',
  'scope',
  'protocol',
  'type',
  'mtu',
  'advmss',
]);
const hopSchema = defineSchema(['via', 'link', 'weight', 'onLink']);
const listSchema = defineSchema(['family', 'table', 'link']);
const mostHops = 256;
const routeTypes = Object.keys(typeOf) as RouteType[];

interface HopSettings {
  readonly via: IpAddress | undefined;
  readonly link: LinkReference | undefined;
  readonly weight: number;
  readonly onLink: boolean;
}

interface RouteSettings {
  readonly to: IpPrefix;
  readonly text: string;
  readonly hops: readonly HopSettings[];
  readonly several: boolean;
  readonly source: IpAddress | undefined;
  readonly metric: number | undefined;
  readonly table: number;
  readonly scope: number | undefined;
  readonly protocol: number | undefined;
  readonly type: RouteType | undefined;
  readonly metrics: readonly (readonly [number, number])[];
}

/** Routes of a namespace. */
export class Routes {
  readonly #rtnetlink: Rtnetlink;
  readonly #indexOf: (link: LinkReference) => Promise<number>;

  /** @internal */
  constructor(rtnetlink: Rtnetlink, indexOf: (link: LinkReference) => Promise<number>) {
    this.#rtnetlink = rtnetlink;
    this.#indexOf = indexOf;
  }

  /** @throws OptionError; NetlinkError with `errno` ENODEV for a link that is not there */
  async list(options: RouteListOptions = {}): Promise<Route[]> {
    const { family, table, link } = readObject(options, '', listSchema);
    const wanted = table === 'all' ? undefined : readTable(table ?? 'main', 'table');
    const families: IpFamily[] = family === undefined ? ['ipv4', 'ipv6'] : [readFamily(family, 'family')];
    const index = link === undefined ? undefined : await this.#indexOf(readReference(link, 'link'));
    const lists = await Promise.all(families.map((one) => this.#dump(one)));
    return lists.flat().filter((route) => {
      const number = typeof route.table === 'number' ? route.table : tableOf[route.table];
      const links = [route.link, ...route.nextHops.map((hop) => hop.link)];
      return (wanted === undefined || number === wanted) && (index === undefined || links.includes(index));
    });
  }

  /** @throws OptionError; NetlinkError with `errno` EEXIST where there is one, ENETUNREACH for a gateway that is on no link */
  async add(route: RouteOptions): Promise<void> {
    await this.#send(routeMessage.NEWROUTE, messageFlag.CREATE | messageFlag.EXCL, route, 'adding');
  }

  /** Adds a route, or puts it in the place of that to the same network with the same metric. */
  async replace(route: RouteOptions): Promise<void> {
    await this.#send(routeMessage.NEWROUTE, messageFlag.CREATE | messageFlag.REPLACE, route, 'replacing');
  }

  /**
   * Removes the first route that fits what is given.
   * @throws NetlinkError with `errno` ESRCH where there is none
   */
  async remove(route: RouteOptions): Promise<void> {
    await this.#send(routeMessage.DELROUTE, 0, route, 'removing');
  }

  /** IPv6 takes a filter only where it was asked for strictly; so all is read, and chosen from here. */
  async #dump(family: IpFamily): Promise<Route[]> {
    const header = writeRouteHeader({ family: familyNumber[family] });
    const messages = await this.#rtnetlink
      .dump({ type: routeMessage.GETROUTE, header, doing: 'listing routes', names: routeNames })
      .catch((error: unknown) => {
        if ((error as { errno?: unknown }).errno === 'EAFNOSUPPORT') return []; // a kernel without IPv6
        throw error;
      });
    return messages.flatMap(({ body }) => readRoute(body) ?? []);
  }

  async #send(type: number, flags: number, options: RouteOptions, doing: string): Promise<void> {
    const settings = readSettings(options);
    const removing = type === routeMessage.DELROUTE;
    const attributes = new AttributeWriter().u32(rta.TABLE, settings.table);
    if (settings.to.length > 0) attributes.binary(rta.DST, settings.to.bytes);
    if (settings.metric !== undefined) attributes.u32(rta.PRIORITY, settings.metric);
    if (settings.source !== undefined) attributes.binary(rta.PREFSRC, settings.source.bytes);
    if (settings.metrics.length > 0) {
      attributes.nested(rta.METRICS, (nest) => {
        for (const [attribute, value] of settings.metrics) nest.u32(attribute, value);
      });
    }
    const hops = await Promise.all(settings.hops.map((hop) => this.#hop(hop, settings.to.family)));
    const [only] = hops;
    if (settings.several) attributes.binary(rta.MULTIPATH, Buffer.concat(hops.map(writeHop)));
    else if (only !== undefined) {
      attributes.append(only.gateway);
      if (only.index !== 0) attributes.u32(rta.OIF, only.index);
    }
    const how = settings.type === undefined ? '' : `${settings.type} `;
    await this.#rtnetlink.request({
      type,
      flags,
      header: writeRouteHeader({
        family: familyNumber[settings.to.family],
        length: settings.to.length,
        table: settings.table < 256 ? settings.table : 0,
        protocol: settings.protocol ?? (removing ? 0 : protocolOf.static),
        scope: settings.scope ?? (removing ? scopeOf.nowhere : defaultScope(settings)),
        type: settings.type === undefined ? (removing ? 0 : typeOf.unicast) : typeOf[settings.type],
        flags: !settings.several && only?.flags ? only.flags : 0,
      }),
      attributes: attributes.bytes(),
      doing: `${doing} the ${how}route to ${settings.text}`,
      names: routeNames,
    });
  }

  async #hop({ via, link, weight, onLink }: HopSettings, family: IpFamily) {
    const gateway = new AttributeWriter();
    if (via !== undefined && via.family === family) gateway.binary(rta.GATEWAY, via.bytes);
    // `struct rtvia`: the family of the gateway's address, and that.
    if (via !== undefined && via.family !== family) {
      const number = Buffer.from(Uint16Array.of(familyNumber[via.family]).buffer);
      gateway.binary(rta.VIA, Buffer.concat([number, via.bytes]));
    }
    const index = link === undefined ? 0 : await this.#indexOf(link);
    return { gateway: gateway.bytes(), index, weight, flags: onLink ? hopFlag.ONLINK : 0 };
  }
}

/** @throws OptionError */
function readSettings(options: unknown): RouteSettings {
  const fields = readObject(options, '', schema);
  const several = fields.nextHops !== undefined;
  const own = { via: fields.via, link: fields.link, onLink: fields.onLink };
  for (const key of ['via', 'link', 'onLink'] as const) {
    if (several && own[key] !== undefined) throw new OptionError(key, `no ${key} beside nextHops`, own[key]);
  }
  const hops = several ? readHops(fields.nextHops) : [readHop(own, '')].filter((hop) => hop.via || hop.link);
  const source = fields.source === undefined ? undefined : readIp(fields.source, 'source');
  const to = readDestination(fields.to, fields.family, hops[0]?.via ?? source);
  if (source !== undefined && source.family !== to.family) {
    throw new OptionError('source', `an address of ${to.family}`, fields.source);
  }
  for (const { via } of hops) {
    if (via?.family === 'ipv4' && to.family === 'ipv6') throw new OptionError('via', 'an address of ipv6', fields.via);
  }
  const type = fields.type === undefined ? undefined : readChoice(fields.type, 'type', routeTypes);
  const metric = (key: 'mtu' | 'advmss', attribute: number) =>
    fields[key] === undefined ? [] : [[attribute, readInteger(fields[key], key, 1, 2 ** 31 - 1)] as const];
  return {
    to,
    text: String(fields.to),
    hops,
    several,
    source,
    metric: fields.metric === undefined ? undefined : readInteger(fields.metric, 'metric', 0, 2 ** 32 - 1),
    table: fields.table === undefined ? defaultTable(type) : readTable(fields.table, 'table'),
    scope: fields.scope === undefined ? undefined : readScope(fields.scope, 'scope'),
    protocol: fields.protocol === undefined ? undefined : readProtocol(fields.protocol, 'protocol'),
    type,
    metrics: [...metric('mtu', rtax.MTU), ...metric('advmss', rtax.ADVMSS)],
  };
}

function readDestination(value: unknown, given: unknown, other: IpAddress | undefined): IpPrefix {
  const family = given === undefined ? undefined : readFamily(given, 'family');
  if (value === 'default') {
    const found = family ?? other?.family ?? 'ipv4';
    return { family: found, bytes: anyAddress(found), length: 0 };
  }
  const network = readNetwork(value, 'to');
  if (family !== undefined && network.family !== family) throw new OptionError('to', `a network of ${family}`, value);
  return network;
}

function readHops(value: unknown): HopSettings[] {
  const list = readList(value, 'nextHops', 'a list of next hops', mostHops);
  if (list.length === 0) throw new OptionError('nextHops', 'at least one next hop', value);
  return list.map((hop, index) => readHop(hop, `nextHops[${index}]`));
}

function readHop(value: unknown, parent: string): HopSettings {
  const { via, link, weight, onLink } = readObject(value, parent, hopSchema);
  const name = (key: string) => optionName(parent, key);
  return {
    via: via === undefined ? undefined : readIp(via, name('via')),
    link: link === undefined ? undefined : readReference(link, name('link')),
    weight: weight === undefined ? 1 : readInteger(weight, name('weight'), 1, 256),
    onLink: readBoolean(onLink, name('onLink'), false),
  };
}

function defaultTable(type: RouteType | undefined): number {
  return type === 'local' || type === 'broadcast' || type === 'anycast' ? tableOf.local : tableOf.main;
}

/** As ip-route(8). */
function defaultScope({ to, type = 'unicast', hops }: RouteSettings): number {
  if (to.family === 'ipv6') return scopeOf.global;
  if (type === 'local') return scopeOf.host;
  if (type === 'broadcast' || type === 'multicast' || type === 'anycast') return scopeOf.link;
  return type === 'unicast' && hops.length > 0 && hops.every(({ via }) => via === undefined)
    ? scopeOf.link
    : scopeOf.global;
}
