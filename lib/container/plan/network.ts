/**
 * What init does for a network: it lends a socket of its namespace, and stands still until Node has made the link over that.
 * So no program starts before its network is there.
 */

import type { Step } from '../../plan/step.js';

const AF_NETLINK = 16;
const SOCK_RAW = 3;

export const lendNetwork: readonly Step[] = Object.freeze([
  { kind: 'socket', to: 'rtnetlink', domain: AF_NETLINK, type: SOCK_RAW, protocol: 0 },
  { kind: 'lend', slot: 'rtnetlink' },
  { kind: 'close', slot: 'rtnetlink' },
] as const);

/** Of links that are made from now on: routers are not heard (security L2), and without IPv6 there is none of it (L6). */
export function networkSysctls(ipv6: boolean): readonly Step[] {
  const values: Readonly<Record<string, number>> = {
    accept_ra: 0,
    accept_redirects: 0,
    // Nobody else can have its addresses.
    accept_dad: 0,
    disable_ipv6: ipv6 ? 0 : 1,
  };
  return Object.entries(values).map(([name, value]) => ({
    kind: 'sysctl',
    under: 'proc',
    key: `net.ipv6.conf.default.${name}`,
    value: String(value),
    tolerant: false,
  }));
}
