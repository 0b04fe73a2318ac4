/**
 * What all of rtnetlink(7) has in common: numbers of messages, the names of attributes for errors, and one way of asking, whose
 * errors are ours.
 */

import { PermissionError, UnsupportedError } from '../errors.js';
import type { Descriptor } from '../launcher/native.js';
import type { AttributeNames } from '../netlink/acknowledgement.js';
import { NetlinkError } from '../netlink/error.js';
import type { NetlinkMessage } from '../netlink/message.js';
import { type NetlinkRequest, NetlinkSocket } from '../netlink/socket.js';

/** RTM_… of linux/rtnetlink.h. */
export const routeMessage = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
  NEWNEIGH: 28,
  DELNEIGH: 29,
  GETNEIGH: 30,
  NEWRULE: 32,
  DELRULE: 33,
  GETRULE: 34,
} as const;

/** IFLA_… of linux/if_link.h. */
export const ifla = {
  ADDRESS: 1,
  BROADCAST: 2,
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  MASTER: 10,
  TXQLEN: 13,
  OPERSTATE: 16,
  LINKINFO: 18,
  IFALIAS: 20,
  STATS64: 23,
  GROUP: 27,
  NET_NS_FD: 28,
  PROMISCUITY: 30,
  CARRIER: 33,
  LINK_NETNSID: 37,
  PROP_LIST: 52,
  ALT_IFNAME: 53,
} as const;

/** IFLA_INFO_…, inside IFLA_LINKINFO. */
export const iflaInfo = { KIND: 1, DATA: 2, SLAVE_KIND: 4, SLAVE_DATA: 5 } as const;
/** IFA_… of linux/if_addr.h. */
export const ifa = { ADDRESS: 1, LOCAL: 2, LABEL: 3, BROADCAST: 4, CACHEINFO: 6, FLAGS: 8, RT_PRIORITY: 9 } as const;
/** RTA_… of linux/rtnetlink.h. */
export const rta = {
  DST: 1,
  OIF: 4,
  GATEWAY: 5,
  PRIORITY: 6,
  PREFSRC: 7,
  METRICS: 8,
  MULTIPATH: 9,
  TABLE: 15,
  VIA: 18,
} as const;
/** RTAX_…, inside RTA_METRICS. */
export const rtax = { MTU: 2, ADVMSS: 8 } as const;
/** NDA_… of linux/neighbour.h. */
export const nda = { DST: 1, LLADDR: 2 } as const;
/** FRA_… of linux/fib_rules.h. */
export const fra = {
  DST: 1,
  SRC: 2,
  IIFNAME: 3,
  PRIORITY: 6,
  FWMARK: 10,
  SUPPRESS_PREFIXLEN: 14,
  TABLE: 15,
  FWMASK: 16,
  OIFNAME: 17,
} as const;

function named(prefix: string, numbers: Readonly<Record<string, number>>): Record<number, string> {
  return Object.fromEntries(Object.entries(numbers).map(([name, number]) => [number, `${prefix}${name}`]));
}

/** Names for errors. What is inside the settings of a link's kind, and of its master's, depends on the kind. */
export function linkNames(data: AttributeNames = {}, slaveData: AttributeNames = {}): AttributeNames {
  const info: AttributeNames = {
    ...named('IFLA_INFO_', iflaInfo),
    [iflaInfo.DATA]: ['IFLA_INFO_DATA', data],
    [iflaInfo.SLAVE_DATA]: ['IFLA_INFO_SLAVE_DATA', slaveData],
  };
  return { ...named('IFLA_', ifla), [ifla.LINKINFO]: ['IFLA_LINKINFO', info] };
}
export const addressNames: AttributeNames = named('IFA_', ifa);
export const routeNames: AttributeNames = {
  ...named('RTA_', rta),
  [rta.METRICS]: ['RTA_METRICS', named('RTAX_', rtax)],
};
export const neighbourNames: AttributeNames = named('NDA_', nda);
export const ruleNames: AttributeNames = named('FRA_', fra);

/** A connection to rtnetlink of one namespace, which it also holds, to open more of them there. */
export class Rtnetlink {
  readonly #socket: NetlinkSocket;
  /** Undefined for that of this process. */
  readonly namespace: Descriptor | undefined;

  private constructor(socket: NetlinkSocket, namespace: Descriptor | undefined) {
    this.#socket = socket;
    this.namespace = namespace;
  }

  /** Over a socket that is there already, which is closed with it. */
  static of(socket: NetlinkSocket): Rtnetlink {
    return new Rtnetlink(socket, undefined);
  }

  /** Takes the descriptor over. */
  static async open(namespace: Descriptor | undefined): Promise<Rtnetlink> {
    try {
      return new Rtnetlink(await NetlinkSocket.open('route', namespace), namespace);
    } catch (error) {
      namespace?.close();
      throw error;
    }
  }

  get isClosed(): boolean {
    return this.#socket.isClosed;
  }

  request(request: NetlinkRequest): Promise<readonly NetlinkMessage[]> {
    return this.#socket.request(request).catch(rethrow);
  }

  dump(request: NetlinkRequest): Promise<readonly NetlinkMessage[]> {
    return this.#socket.dump(request).catch(rethrow);
  }

  close(): void {
    if (this.isClosed) return;
    this.#socket.close();
    this.namespace?.close();
  }
}

/** A refusal for want of rights, or of a part of the kernel, as what it is. */
function rethrow(error: unknown): never {
  if (!(error instanceof NetlinkError) || error.code !== 'ERR_NETLINK') throw error;
  const details = { errno: error.errno, syscall: error.syscall, cause: error };
  if (error.errno === 'EPERM' || error.errno === 'EACCES') {
    const hint = 'this needs CAP_NET_ADMIN in the user namespace that owns the network namespace';
    throw new PermissionError(error.message, { ...details, hint });
  }
  if (error.errno === 'EOPNOTSUPP' || error.errno === 'EAFNOSUPPORT')
    throw new UnsupportedError(error.message, details);
  throw error;
}
