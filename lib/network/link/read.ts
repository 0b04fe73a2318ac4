/** A link as the kernel tells of it: `struct ifinfomsg` and attributes (rtnetlink(7)). */

import { Attributes } from '../../netlink/attributes.js';
import { native } from '../../netlink/message.js';
import { formatMac } from '../address.js';
import { ifla, iflaInfo } from '../rtnetlink.js';
import { valuesOf } from './fields.js';
import { kindSettings, portFields } from './kinds.js';
import type { Link, LinkState, LinkStatistics } from './options.js';

/** IFF_… of netdevice(7). */
export const linkFlag = { UP: 1, NOARP: 0x80, PROMISC: 0x100, ALLMULTI: 0x200, MULTICAST: 0x1000 } as const;

/** sizeof(struct ifinfomsg) */
export const ifinfoLength = 16;

const states: readonly LinkState[] = ['unknown', 'not-present', 'down', 'lower-layer-down', 'testing', 'dormant', 'up'];
const ARPHRD_ETHER = 1;
const ARPHRD_LOOPBACK = 772;

/** @throws NetlinkError (`ERR_NETLINK_MESSAGE`) */
export function readLink(body: Buffer): Link {
  const attributes = Attributes.after(body, ifinfoLength);
  const type = native.readU16(body, 2);
  const flags = native.readU32(body, 8);
  const info = attributes.nested(ifla.LINKINFO);
  const kind = info?.string(iflaInfo.KIND);
  const address = (attribute: number) => {
    const bytes = attributes.binary(attribute);
    return bytes === undefined || bytes.length === 0 ? undefined : formatMac(bytes);
  };
  return {
    index: native.readI32(body, 4),
    name: attributes.string(ifla.IFNAME) ?? '',
    alternativeNames: alternativeNames(attributes),
    kind,
    type: type === ARPHRD_ETHER ? 'ether' : type === ARPHRD_LOOPBACK ? 'loopback' : type,
    up: (flags & linkFlag.UP) !== 0,
    carrier: attributes.u8(ifla.CARRIER) === 1,
    state: states[attributes.u8(ifla.OPERSTATE) ?? 0] ?? 'unknown',
    mtu: attributes.u32(ifla.MTU) ?? 0,
    address: address(ifla.ADDRESS),
    broadcast: address(ifla.BROADCAST),
    txQueueLength: attributes.u32(ifla.TXQLEN) ?? 0,
    alias: attributes.string(ifla.IFALIAS),
    group: attributes.u32(ifla.GROUP) ?? 0,
    promiscuous: (attributes.u32(ifla.PROMISCUITY) ?? 0) > 0,
    allMulticast: (flags & linkFlag.ALLMULTI) !== 0,
    multicast: (flags & linkFlag.MULTICAST) !== 0,
    arp: (flags & linkFlag.NOARP) === 0,
    master: attributes.u32(ifla.MASTER),
    link: attributes.u32(ifla.LINK) || undefined,
    linkNamespaceId: attributes.i32(ifla.LINK_NETNSID),
    statistics: statistics(attributes.binary(ifla.STATS64, 80)),
    ...(info && settings(info, kind)),
  };
}

function settings(info: Attributes, kind: string | undefined): Partial<Link> {
  const data = info.nested(iflaInfo.DATA);
  const own = Object.hasOwn(kindSettings, kind ?? '') ? kindSettings[kind as keyof typeof kindSettings] : undefined;
  const port = info.string(iflaInfo.SLAVE_KIND) === 'bridge' ? info.nested(iflaInfo.SLAVE_DATA) : undefined;
  return {
    ...(own && data && { [own.key]: valuesOf(data, own.fields) }),
    ...(port && { port: valuesOf(port, portFields) }),
  };
}

function alternativeNames(attributes: Attributes): string[] {
  const list = attributes.nested(ifla.PROP_LIST);
  const names = list?.each().filter(({ type }) => type === ifla.ALT_IFNAME) ?? [];
  return names.map(({ value }) => value.toString('utf8').replace(/\0.*$/s, ''));
}

/** `struct rtnl_link_stats64`; newer kernels have more at its end. */
function statistics(bytes: Buffer | undefined): LinkStatistics | undefined {
  if (bytes === undefined) return undefined;
  const counter = (index: number) => Number(native.readU64(bytes, index * 8));
  return {
    rx: {
      packets: counter(0),
      bytes: counter(2),
      errors: counter(4),
      dropped: counter(6),
      multicast: counter(8),
    },
    tx: {
      packets: counter(1),
      bytes: counter(3),
      errors: counter(5),
      dropped: counter(7),
      collisions: counter(9),
    },
  };
}
