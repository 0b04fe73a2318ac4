/**
 * What a container's side of a network takes, as messages of rtnetlink(7) that are sent together: the pair of links, made from
 * inside with its other end outside, addresses and default routes.
 */

import { AttributeWriter } from '../../netlink/attributes.js';
import { messageFlag } from '../../netlink/message.js';
import type { NetlinkRequest } from '../../netlink/socket.js';
import { familyNumber, type IpFamily } from '../address.js';
import { ifaddr } from '../interface-addresses.js';
import { linkFlag } from '../link/read.js';
import { ifinfo, vethPeer } from '../link/settings.js';
import { writeRouteHeader } from '../route-message.js';
import { addressNames, ifa, ifla, iflaInfo, linkNames, routeMessage, routeNames, rta } from '../rtnetlink.js';
import { protocolOf, scopeOf, tableOf, typeOf } from '../scope.js';

/** The name of a container's link, inside. */
export const containerLink = 'eth0';
/** Its index inside: one that no link has which the kernel makes by itself in each namespace. */
const containerIndex = 1000;
/** IFA_F_NODAD: nobody else can have it. */
const noDad = 2;

export interface Place {
  readonly mac: Buffer;
  readonly mtu: number;
  readonly addresses: readonly { readonly family: IpFamily; readonly bytes: Buffer; readonly length: number }[];
  /** Of each family that leads out. */
  readonly gateways: readonly { readonly family: IpFamily; readonly bytes: Buffer }[];
}

const creating = messageFlag.CREATE | messageFlag.EXCL | messageFlag.ACK;

/** @param port the name of the other end, and the number of the descriptor of the namespace that it is in */
export function placeMessages(
  place: Place,
  port: { readonly name: string; readonly namespace: number },
): NetlinkRequest[] {
  const doing = (what: string) => `making the network of a container: ${what}`;
  const peer = new AttributeWriter()
    .string(ifla.IFNAME, port.name)
    .u32(ifla.MTU, place.mtu)
    .u32(ifla.NET_NS_FD, port.namespace)
    .bytes();
  const link = new AttributeWriter()
    .string(ifla.IFNAME, containerLink)
    .binary(ifla.ADDRESS, place.mac)
    .u32(ifla.MTU, place.mtu)
    .nested(ifla.LINKINFO, (info) => {
      info.string(iflaInfo.KIND, 'veth');
      info.nested(iflaInfo.DATA, (data) => void data.binary(vethPeer, Buffer.concat([ifinfo(), peer])));
    });
  return [
    {
      type: routeMessage.NEWLINK,
      flags: creating,
      header: ifinfo(containerIndex),
      attributes: link.bytes(),
      doing: doing('its link'),
      names: linkNames(),
    },
    {
      type: routeMessage.NEWLINK,
      flags: messageFlag.ACK,
      header: ifinfo(containerIndex, linkFlag.UP, linkFlag.UP),
      doing: doing('its link going up'),
      names: linkNames(),
    },
    ...place.addresses.map(({ family, bytes, length }) => ({
      type: routeMessage.NEWADDR,
      flags: creating,
      header: ifaddr(familyNumber[family], length, family === 'ipv6' ? noDad : 0, scopeOf.global, containerIndex),
      attributes: new AttributeWriter().binary(ifa.LOCAL, bytes).binary(ifa.ADDRESS, bytes).bytes(),
      doing: doing('its address'),
      names: addressNames,
    })),
    ...place.gateways.map(({ family, bytes }) => ({
      type: routeMessage.NEWROUTE,
      flags: creating,
      header: writeRouteHeader({
        family: familyNumber[family],
        table: tableOf.main,
        protocol: protocolOf.static,
        scope: scopeOf.global,
        type: typeOf.unicast,
      }),
      attributes: new AttributeWriter().binary(rta.GATEWAY, bytes).u32(rta.OIF, containerIndex).bytes(),
      doing: doing('its default route'),
      names: routeNames,
    })),
  ];
}
