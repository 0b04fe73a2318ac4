/**
 * Kinds of values that packets are compared with: how each is written by users, and its bytes in a register of nf_tables.
 * Names and numbers are those of nft(8), which shows sets by them.
 */

import { endianness } from 'node:os';
import { OptionError } from '../errors.js';
import { formatIp, formatMac, parseIp } from '../network/address.js';
import * as names from './names.js';

/** A single value as users write it. */
export type Scalar = string | number;

export interface DataType {
  /** nft's name, as in `type ipv4_addr`. */
  readonly name: string;
  /** nft's number, which the kernel only keeps. */
  readonly number: number;
  readonly bytes: number;
  /** Registers hold what a packet holds (`big`), or a number of this machine's (`host`). */
  readonly order: 'big' | 'host';
  /** What is expected, for messages. */
  readonly expected: string;
  /** Bits of one word each, which can be tested together. */
  readonly flags?: names.Names;
  /** Whether a value may be written as `prefix/length`. */
  readonly prefixes: boolean;
  /** Whether values have an order that users know. */
  readonly ranges: boolean;
  parse(value: unknown, option: string): Uint8Array;
  format(bytes: Uint8Array): Scalar;
}

/** Interface names in registers: padded with NUL (IFNAMSIZ). */
const interfaceNameBytes = 16;

interface NumberOptions {
  readonly order?: 'big' | 'host';
  readonly words?: names.Names;
  readonly ranges?: boolean;
}

/** A number of 1, 2 or 4 bytes, with words for some. */
function numeric(name: string, number: number, bytes: number, options: NumberOptions = {}): DataType {
  const { order = 'big', words, ranges = true } = options;
  const max = 2 ** (8 * bytes) - 1;
  const listed = words === undefined ? '' : ` or one of ${Object.keys(words).join(', ')}`;
  const expected = `a whole number from 0 to ${max}${listed}`;
  return {
    name,
    number,
    bytes,
    order,
    expected,
    prefixes: false,
    ranges,
    parse(value, option) {
      const found = typeof value === 'string' && words !== undefined ? wordOf(words, value) : value;
      if (typeof found !== 'number' || !Number.isSafeInteger(found) || found < 0 || found > max) {
        throw new OptionError(option, expected, value);
      }
      return numberBytes(found, bytes, order);
    },
    format(data) {
      const value = bytesNumber(data, order);
      return (words && names.nameOf(words, value)) ?? value;
    },
  };
}

/** Bits with words. A value is one word; several together are a list, which {@link flagBits} reads. */
function bits(name: string, number: number, bytes: number, order: 'big' | 'host', flags: names.Names): DataType {
  return { ...numeric(name, number, bytes, { order, words: flags, ranges: false }), flags };
}

function address(name: string, number: number, family: 4 | 6): DataType {
  const bytes = family === 4 ? 4 : 16;
  const expected = `an IPv${family} address`;
  return {
    name,
    number,
    bytes,
    order: 'big',
    expected,
    prefixes: true,
    ranges: true,
    parse(value, option) {
      const parsed = typeof value === 'string' ? parseIp(value)?.bytes : undefined;
      if (parsed?.length !== bytes) throw new OptionError(option, expected, value);
      return Uint8Array.from(parsed);
    },
    format: formatIp,
  };
}

const interfaceName: DataType = {
  name: 'ifname',
  number: 41,
  bytes: interfaceNameBytes,
  order: 'host',
  expected: 'the name of an interface, of at most 15 bytes',
  prefixes: false,
  ranges: false,
  parse(value, option) {
    if (typeof value !== 'string' || !/^[^\0\s/]+$/.test(value) || Buffer.byteLength(value) >= interfaceNameBytes) {
      throw new OptionError(option, this.expected, value);
    }
    const bytes = new Uint8Array(interfaceNameBytes);
    bytes.set(Buffer.from(value));
    return bytes;
  },
  format(bytes) {
    const end = bytes.indexOf(0);
    return Buffer.from(end === -1 ? bytes : bytes.subarray(0, end)).toString();
  },
};

const ethernetAddress: DataType = {
  name: 'ether_addr',
  number: 9,
  bytes: 6,
  order: 'big',
  expected: 'an Ethernet address, such as 02:00:00:00:00:01',
  prefixes: false,
  ranges: true,
  parse(value, option) {
    // Of a group too: a filter asks for frames to everyone.
    const isOne = typeof value === 'string' && /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i.test(value);
    if (!isOne) throw new OptionError(option, this.expected, value);
    return Uint8Array.from(Buffer.from(value.replaceAll(':', ''), 'hex'));
  },
  format: formatMac,
};

const host = { order: 'host' } as const;

/** Every type, by nft's name. */
export const dataTypes = {
  ipv4_addr: address('ipv4_addr', 7, 4),
  ipv6_addr: address('ipv6_addr', 8, 6),
  ether_addr: ethernetAddress,
  ifname: interfaceName,
  inet_service: numeric('inet_service', 13, 2),
  inet_proto: numeric('inet_proto', 12, 1, { words: names.inetProtocols }),
  nf_proto: numeric('nf_proto', 3, 1, { words: names.nfProtocols, ranges: false }),
  ether_type: numeric('ether_type', 10, 2, { words: names.etherTypes, ranges: false }),
  arp_op: numeric('arp_op', 11, 2, { words: names.arpOperations, ranges: false }),
  icmp_type: numeric('icmp_type', 14, 1, { words: names.icmpTypes }),
  icmp_code: numeric('icmp_code', 32, 1, { words: names.icmpCodes }),
  icmpv6_type: numeric('icmpv6_type', 29, 1, { words: names.icmp6Types }),
  icmpv6_code: numeric('icmpv6_code', 33, 1, { words: names.icmp6Codes }),
  mark: numeric('mark', 19, 4, host),
  iface_index: numeric('iface_index', 20, 4, { ...host, ranges: false }),
  iface_type: numeric('iface_type', 21, 2, { ...host, words: names.interfaceTypes, ranges: false }),
  uid: numeric('uid', 24, 4, host),
  gid: numeric('gid', 25, 4, host),
  pkt_type: numeric('pkt_type', 31, 1, { ...host, words: names.packetTypes, ranges: false }),
  devgroup: numeric('devgroup', 35, 4, host),
  dscp: numeric('dscp', 36, 1),
  fib_addrtype: numeric('fib_addrtype', 38, 4, { ...host, words: names.addressTypes, ranges: false }),
  // The kernel answers whether there is a route in four bytes.
  boolean: numeric('boolean', 39, 4, { ...host, words: names.presence, ranges: false }),
  ct_dir: numeric('ct_dir', 27, 1, { ...host, words: names.trackingDirections, ranges: false }),
  ct_state: bits('ct_state', 26, 4, 'host', names.trackingStates),
  ct_status: bits('ct_status', 28, 4, 'host', names.trackingStatus),
  tcp_flag: bits('tcp_flag', 15, 1, 'big', names.tcpFlags),
  integer8: numeric('integer', 4, 1),
  integer16: numeric('integer', 4, 2),
  integer32: numeric('integer', 4, 4, host),
  integer16host: numeric('integer', 4, 2, host),
} as const satisfies Readonly<Record<string, DataType>>;

export type DataTypeName = keyof typeof dataTypes;

/** The type of a named set's key or value that users may ask for. */
export type SetTypeName = Exclude<
  DataTypeName,
  'integer8' | 'integer16' | 'integer32' | 'integer16host' | 'boolean' | 'dscp'
>;

/** The bits that a list of words stands for. */
export function flagBits(type: DataType, value: unknown, option: string): Uint8Array {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  let sum = 0;
  for (const [index, word] of list.entries()) {
    const place = Array.isArray(value) ? `${option}[${index}]` : option;
    sum |= bytesNumber(type.parse(word, place), type.order);
  }
  return numberBytes(sum >>> 0, type.bytes, type.order);
}

/** The words of these bits, or undefined if one of them has none. */
export function flagWords(type: DataType, bytes: Uint8Array): readonly string[] | undefined {
  let rest = bytesNumber(bytes, type.order);
  const words: string[] = [];
  for (const [word, bit] of Object.entries(type.flags ?? {})) {
    if (rest & bit) words.push(word);
    rest &= ~bit;
  }
  return rest === 0 && words.length > 0 ? words : undefined;
}

export function numberBytes(value: number, bytes: number, order: 'big' | 'host'): Uint8Array {
  const data = new Uint8Array(bytes);
  let rest = value;
  for (let index = 0; index < bytes; index++) {
    data[isLittle(order) ? index : bytes - 1 - index] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return data;
}

function bytesNumber(data: Uint8Array, order: 'big' | 'host'): number {
  let value = 0;
  for (let index = 0; index < data.length; index++) {
    value = value * 256 + (data[isLittle(order) ? data.length - 1 - index : index] ?? 0);
  }
  return value;
}

function isLittle(order: 'big' | 'host'): boolean {
  return order === 'host' && endianness() === 'LE';
}

function wordOf(words: names.Names, word: string): number | undefined {
  return Object.hasOwn(words, word) ? words[word] : undefined;
}
