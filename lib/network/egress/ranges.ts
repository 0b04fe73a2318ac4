/**
 * Ranges of addresses that are not simply hosts of the internet (RFC 6890 and what clouds have added), and which range an
 * address is in. The narrowest counts.
 */

import { networkInterfaces } from 'node:os';
import { type IpPrefix, parseIp } from '../address.js';

/** A range, and whether a function that sees the address may allow it. */
export interface SpecialRange {
  readonly prefix: IpPrefix;
  readonly name: string;
  /** Seen and allowed by a function, it is reached. All others take a pattern that names them, or `connect`. */
  readonly decidable: boolean;
}

const special: Readonly<Record<string, readonly string[]>> = {
  // Networks of somebody's own, which a function that sees the address may well mean.
  private: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'],
  loopback: ['127.0.0.0/8', '::1/128'],
  unspecified: ['0.0.0.0/8', '::/128'],
  'link-local': ['169.254.0.0/16', 'fe80::/10', 'fec0::/10'],
  metadata: [
    '169.254.169.254/32',
    '169.254.170.2/32',
    'fd00:ec2::254/128',
    '100.100.100.200/32',
    '192.0.0.192/32',
    '168.63.129.16/32',
  ],
  multicast: ['224.0.0.0/4', 'ff00::/8'],
  // With those that names are given here (`stand-ins.ts`).
  reserved: ['240.0.0.0/4', '192.0.0.0/24', '198.18.0.0/15', '2001:2::/48'],
  // Each has an IPv4 address inside that someone on the way may take for the destination.
  translated: ['::/96', '::ffff:0:0/96', '64:ff9b::/96', '64:ff9b:1::/48', '2002::/16', '2001::/32'],
};

/** The network of a text that is known to be one. */
export function prefixOf(text: string): IpPrefix {
  const [address = '', length] = text.split('/');
  const ip = parseIp(address);
  if (ip === undefined) throw new TypeError(`${text} is no network`);
  return { ...ip, length: length === undefined ? ip.bytes.length * 8 : Number(length) };
}

const ranges: readonly SpecialRange[] = Object.entries(special)
  .flatMap(([name, texts]) => texts.map((text) => ({ prefix: prefixOf(text), name, decidable: name === 'private' })))
  .sort((a, b) => b.prefix.length - a.prefix.length);

export function isWithin(bytes: Uint8Array, { bytes: network, length }: IpPrefix): boolean {
  if (bytes.length !== network.length) return false;
  const whole = length >> 3;
  for (let index = 0; index < whole; index++) if (bytes[index] !== network[index]) return false;
  const mask = 0xff00 >> (length & 7);
  return (length & 7) === 0 || (((bytes[whole] ?? 0) ^ (network[whole] ?? 0)) & mask & 0xff) === 0;
}

const hostAddressesFor = 1000;
let known: { readonly at: number; readonly list: readonly SpecialRange[] } | undefined;

/** Addresses of this host, where its services listen; looked up again after a second. */
function hostAddresses(): readonly SpecialRange[] {
  const now = performance.now();
  if (known === undefined || now - known.at > hostAddressesFor) {
    const list = Object.values(networkInterfaces()).flatMap((addresses) =>
      (addresses ?? []).flatMap(({ address }) => {
        const ip = parseIp(address.replace(/%.*$/, ''));
        return ip ? [{ prefix: { ...ip, length: ip.bytes.length * 8 }, name: 'host', decidable: false }] : [];
      }),
    );
    known = { at: now, list };
  }
  return known.list;
}

/** The narrowest special range that the address is in; undefined for one of the internet. */
export function specialRange(bytes: Uint8Array): SpecialRange | undefined {
  return (
    hostAddresses().find(({ prefix }) => isWithin(bytes, prefix)) ??
    ranges.find(({ prefix }) => isWithin(bytes, prefix))
  );
}
