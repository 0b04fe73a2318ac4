/** Which name servers the host asks (resolv.conf(5)). */

import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { parseIp } from '../address.js';

const most = 3;

/** Those of the host that a container can ask as well: not on its loopback, and not link-local. */
export async function hostServers(): Promise<readonly string[]> {
  const text = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
  return text
    .split('\n')
    .flatMap((line) => /^\s*nameserver\s+(\S+)\s*$/.exec(line)?.[1] ?? [])
    .filter((server) => isIP(server) !== 0 && isElsewhere(server))
    .slice(0, most);
}

function isElsewhere(server: string): boolean {
  const address = parseIp(server);
  if (address === undefined || server === '::1') return false;
  const [first = 0, second = 0] = address.bytes;
  if (address.family === 'ipv6') return !(first === 0xfe && (second & 0xc0) === 0x80);
  return first !== 127 && first !== 0 && !(first === 169 && second === 254);
}
