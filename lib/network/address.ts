/**
 * Addresses as text and as bytes: IPv4, IPv6 (RFC 4291; written as RFC 5952 says), prefixes, and those of Ethernet. Read
 * strictly: one form of each byte, no leading zeros that could be octal, no zones.
 */

import { OptionError } from '../errors.js';

export type IpFamily = 'ipv4' | 'ipv6';

/** An address as the kernel has it: 4 or 16 bytes in network order. */
export interface IpAddress {
  readonly family: IpFamily;
  readonly bytes: Buffer;
}

/** An address and how many bits of it name the network. */
export interface IpPrefix extends IpAddress {
  readonly length: number;
}

/** AF_INET, AF_INET6. */
export const familyNumber: Readonly<Record<IpFamily, number>> = { ipv4: 2, ipv6: 10 };

/** How many bytes an address has. */
const size: Readonly<Record<IpFamily, number>> = { ipv4: 4, ipv6: 16 };

export function familyOf(number: number): IpFamily | undefined {
  return number === 2 ? 'ipv4' : number === 10 ? 'ipv6' : undefined;
}

const octet = /^(?:0|[1-9]\d{0,2})$/;
const group = /^[0-9a-fA-F]{1,4}$/;

/** The address of a text, undefined where it is none. */
export function parseIp(text: string): IpAddress | undefined {
  const bytes = text.includes(':') ? ipv6Bytes(text) : ipv4Bytes(text);
  return bytes && { family: bytes.length === 4 ? 'ipv4' : 'ipv6', bytes: Buffer.from(bytes) };
}

function ipv4Bytes(text: string): number[] | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => octet.test(part) && Number(part) < 256)) return undefined;
  return parts.map(Number);
}

function ipv6Bytes(text: string): number[] | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head = '', tail] = halves;
  const before = groups(head, tail === undefined);
  const after = tail === undefined ? [] : groups(tail, true);
  if (before === undefined || after === undefined) return undefined;
  const gap = 16 - before.length - after.length;
  // A double colon stands for one group at least.
  if (tail === undefined ? gap !== 0 : gap < 2) return undefined;
  return [...before, ...Array<number>(gap).fill(0), ...after];
}

/** Groups of hexadecimal digits, of which the last may be an IPv4 address where nothing follows. */
function groups(text: string, last: boolean): number[] | undefined {
  if (text === '') return [];
  const bytes: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (group.test(part)) {
      const value = Number.parseInt(part, 16);
      bytes.push(value >> 8, value & 255);
      continue;
    }
    const dotted = last && index === parts.length - 1 ? ipv4Bytes(part) : undefined;
    if (dotted === undefined) return undefined;
    bytes.push(...dotted);
  }
  return bytes.length > 16 ? undefined : bytes;
}

/** The one text of an address: lower case, the longest run of zeros as `::` (RFC 5952), mapped IPv4 addresses with dots. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const words = Array.from({ length: 8 }, (_, index) => ((bytes[index * 2] ?? 0) << 8) | (bytes[index * 2 + 1] ?? 0));
  if (words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff) {
    return `::ffff:${bytes.subarray(12).join('.')}`;
  }
  const zeros = longestZeros(words);
  const text = (from: number, to?: number) =>
    words
      .slice(from, to)
      .map((word) => word.toString(16))
      .join(':');
  return zeros === undefined ? text(0) : `${text(0, zeros.start)}::${text(zeros.start + zeros.length)}`;
}

/** The first of the longest runs; a single zero is none. */
function longestZeros(words: readonly number[]): { readonly start: number; readonly length: number } | undefined {
  let best = { start: 0, length: 1 };
  for (let start = 0; start < words.length; start++) {
    let end = start;
    while (words[end] === 0) end++;
    if (end - start > best.length) best = { start, length: end - start };
    start = Math.max(start, end);
  }
  return best.length > 1 ? best : undefined;
}

/** An address, as it is written. */
export function readIp(value: unknown, option: string, family?: IpFamily): IpAddress {
  const address = typeof value === 'string' ? parseIp(value) : undefined;
  if (address === undefined || (family !== undefined && address.family !== family)) {
    const example = family === 'ipv6' ? "'fd00::1'" : family === 'ipv4' ? "'10.0.0.1'" : "'10.0.0.1' or 'fd00::1'";
    const hint = typeof value === 'string' && value.includes('%') ? 'the link has an option of its own' : undefined;
    throw new OptionError(option, `an IP address such as ${example}`, value, { hint });
  }
  return address;
}

/** An address with the length of its network's prefix: of its own alone where there is none. */
export function readInterfaceAddress(value: unknown, option: string): IpPrefix {
  const prefix = typeof value === 'string' ? parsePrefix(value) : undefined;
  if (prefix === undefined) throw new OptionError(option, "an address such as '10.0.0.2/24' or 'fd00::2/64'", value);
  return prefix;
}

/** A network: nothing is set behind the prefix. */
export function readNetwork(value: unknown, option: string): IpPrefix {
  const prefix = typeof value === 'string' ? parsePrefix(value) : undefined;
  if (prefix === undefined) throw new OptionError(option, "a network such as '10.0.0.0/8' or 'fd00::/64'", value);
  const network = networkOf(prefix);
  if (!network.bytes.equals(prefix.bytes)) {
    const hint = `the network of this address is ${formatPrefix(network)}`;
    throw new OptionError(option, 'a network, without bits behind its prefix', value, { hint });
  }
  return prefix;
}

export function parsePrefix(text: string): IpPrefix | undefined {
  const [address = '', length, ...rest] = text.split('/');
  const ip = parseIp(address);
  if (ip === undefined || rest.length > 0) return undefined;
  const most = size[ip.family] * 8;
  if (length === undefined) return { ...ip, length: most };
  return octet.test(length) && Number(length) <= most ? { ...ip, length: Number(length) } : undefined;
}

/** The network that an address is in. */
export function networkOf({ family, bytes, length }: IpPrefix): IpPrefix {
  const network = bytes.map((byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, length - index * 8))));
  return { family, length, bytes: Buffer.from(network) };
}

export function formatPrefix({ bytes, length }: { readonly bytes: Uint8Array; readonly length: number }): string {
  return `${formatIp(bytes)}/${length}`;
}

/** All zeros: `0.0.0.0`, `::`. */
export function anyAddress(family: IpFamily): Buffer {
  return Buffer.alloc(size[family]);
}

/** Six bytes, as they are written: `02:42:ac:11:00:02`. */
export function readMac(value: unknown, option: string): Buffer {
  if (typeof value !== 'string' || !/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i.test(value)) {
    throw new OptionError(option, "an Ethernet address such as '02:42:ac:11:00:02'", value);
  }
  const bytes = Buffer.from(value.replaceAll(':', ''), 'hex');
  if ((bytes[0] ?? 0) & 1 || bytes.every((byte) => byte === 0)) {
    throw new OptionError(option, 'the address of one station', value, {
      hint: 'the lowest bit of its first byte says that it is of a group',
    });
  }
  return bytes;
}

/** A hardware address of any length. */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
