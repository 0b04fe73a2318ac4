/** That the host forwards packets, which a network that leads out takes. */

import { TscontainError, UnsupportedError } from '../../errors.js';
import type { IpFamily } from '../address.js';
import type { Links } from '../links.js';

const switches: Readonly<Record<IpFamily, string>> = {
  ipv4: 'net.ipv4.ip_forward',
  ipv6: 'net.ipv6.conf.all.forwarding',
};
/** Linux 6.17, of links that are there and of those to come. The older switch has the host ignore what its routers advertise. */
const forced = ['net.ipv6.conf.all.force_forwarding', 'net.ipv6.conf.default.force_forwarding'] as const;

function forcing(on: 0 | 1): Record<string, number> {
  return Object.fromEntries(forced.map((key) => [key, on]));
}

/** Switches it on where it is off; which families that were. */
export async function switchForwardingOn(links: Links, families: readonly IpFamily[]): Promise<IpFamily[]> {
  const on: IpFamily[] = [];
  for (const family of families) {
    if ((await links.sysctl.get(switches[family])) !== '0') continue;
    if (family === 'ipv4') await links.sysctl.set({ [switches.ipv4]: 1 });
    else if (!(await force(links))) continue;
    on.push(family);
  }
  return on;
}

async function force(links: Links): Promise<boolean> {
  try {
    const values = [await links.sysctl.get(forced[0]), await links.sysctl.get(forced[1])];
    if (values.every((value) => value === '1')) return false;
    await links.sysctl.set(forcing(1));
    return true;
  } catch (cause) {
    if (!(cause instanceof TscontainError) || cause.errno !== 'ENOENT') throw cause;
    throw new UnsupportedError(
      'this host does not forward IPv6, and before Linux 6.17 it cannot without being a router',
      {
        cause,
        hint: `set ${switches.ipv6} to 1 (and accept_ra of its links to 2), or make the network internal`,
      },
    );
  }
}

/** As it was before. */
export async function switchForwardingOff(links: Links, families: readonly IpFamily[]): Promise<void> {
  for (const family of families) await links.sysctl.set(family === 'ipv4' ? { [switches.ipv4]: 0 } : forcing(0));
}
