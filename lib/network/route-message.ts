/** Routes as the kernel has them: `struct rtmsg`, `struct rtnexthop` and attributes (rtnetlink(7)). */

import { Attributes } from '../netlink/attributes.js';
import { malformed } from '../netlink/error.js';
import { align, native } from '../netlink/message.js';
import { familyOf, formatIp, formatPrefix } from './address.js';
import type { Route, RouteHop } from './routes.js';
import { rta, rtax } from './rtnetlink.js';
import {
  protocolOf,
  type RouteProtocol,
  type RouteScope,
  type RouteTable,
  type RouteType,
  scopeOf,
  tableOf,
  typeOf,
  wordOf,
} from './scope.js';

/** sizeof(struct rtmsg), sizeof(struct rtnexthop) */
export const routeLength = 12;
const nextHopLength = 8;

/** RTNH_F_… of linux/rtnetlink.h. */
export const hopFlag = { DEAD: 1, ONLINK: 4, LINKDOWN: 16 } as const;

export interface RouteHeader {
  readonly family: number;
  readonly length?: number;
  readonly table?: number;
  readonly protocol?: number;
  readonly scope?: number;
  readonly type?: number;
  readonly flags?: number;
}

/** `struct rtmsg`. */
export function writeRouteHeader(header: RouteHeader): Buffer {
  const { family, length = 0, table = 0, protocol = 0, scope = 0, type = 0, flags = 0 } = header;
  const bytes = Buffer.alloc(routeLength);
  bytes.set([family, length, 0, 0, table, protocol, scope, type]);
  native.writeU32(bytes, flags, 8);
  return bytes;
}

/** `struct rtnexthop`, with the attributes of its gateway. */
export function writeHop(hop: {
  readonly gateway: Buffer;
  readonly index: number;
  readonly weight: number;
  readonly flags: number;
}): Buffer {
  const bytes = Buffer.alloc(nextHopLength);
  native.writeU16(bytes, nextHopLength + hop.gateway.length, 0);
  bytes.writeUInt8(hop.flags, 2);
  bytes.writeUInt8(hop.weight - 1, 3);
  native.writeI32(bytes, hop.index, 4);
  return Buffer.concat([bytes, hop.gateway]);
}

/** Undefined for another family's. */
export function readRoute(body: Buffer): Route | undefined {
  const attributes = Attributes.after(body, routeLength);
  const family = familyOf(body.readUInt8(0));
  if (family === undefined) return undefined;
  const length = body.readUInt8(1);
  const destination = attributes.binary(rta.DST);
  const source = attributes.binary(rta.PREFSRC);
  const metrics = attributes.nested(rta.METRICS);
  const flags = native.readU32(body, 8);
  return {
    family,
    to:
      destination === undefined
        ? length === 0
          ? 'default'
          : `/${length}`
        : formatPrefix({ bytes: destination, length }),
    type: wordOf(typeOf, body.readUInt8(7)) as RouteType | number,
    table: wordOf(tableOf, attributes.u32(rta.TABLE) ?? body.readUInt8(4)) as RouteTable,
    scope: wordOf(scopeOf, body.readUInt8(6)) as RouteScope,
    protocol: wordOf(protocolOf, body.readUInt8(5)) as RouteProtocol,
    via: gatewayOf(attributes),
    link: attributes.u32(rta.OIF),
    source: source && formatIp(source),
    metric: attributes.u32(rta.PRIORITY) ?? 0,
    mtu: metrics?.u32(rtax.MTU),
    advmss: metrics?.u32(rtax.ADVMSS),
    onLink: (flags & hopFlag.ONLINK) !== 0,
    dead: (flags & hopFlag.DEAD) !== 0,
    linkDown: (flags & hopFlag.LINKDOWN) !== 0,
    nextHops: readHops(attributes.binary(rta.MULTIPATH)),
  };
}

function gatewayOf(attributes: Attributes): string | undefined {
  const gateway = attributes.binary(rta.GATEWAY);
  if (gateway !== undefined) return formatIp(gateway);
  const via = attributes.binary(rta.VIA, 6);
  return via && formatIp(via.subarray(2));
}

function readHops(bytes: Buffer | undefined): RouteHop[] {
  const hops: RouteHop[] = [];
  if (bytes === undefined) return hops;
  for (let at = 0; at < bytes.length; ) {
    const left = bytes.length - at;
    const length = left < nextHopLength ? 0 : native.readU16(bytes, at);
    if (length < nextHopLength || length > left) malformed(`a next hop of ${length} bytes where ${left} are left`);
    const flags = bytes.readUInt8(at + 2);
    hops.push({
      via: gatewayOf(new Attributes(bytes.subarray(at + nextHopLength, at + length))),
      link: native.readI32(bytes, at + 4),
      weight: bytes.readUInt8(at + 3) + 1,
      onLink: (flags & hopFlag.ONLINK) !== 0,
      dead: (flags & hopFlag.DEAD) !== 0,
      linkDown: (flags & hopFlag.LINKDOWN) !== 0,
    });
    at += Math.min(left, align(length));
  }
  return hops;
}
