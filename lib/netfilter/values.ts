/** Values of users as intervals of bytes: what is compared, and what elements of sets are. */

import { OptionError } from '../errors.js';
import { type DataType, flagBits, flagWords, type Scalar } from './data-types.js';

/** Both ends belong to it. */
export interface Interval {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

export function isSingle({ from, to }: Interval): boolean {
  return compareBytes(from, to) === 0;
}

/** A value, a prefix, a range, or the beginning of an interface's name. */
export function parseInterval(type: DataType, value: unknown, option: string): Interval {
  if (type.flags && Array.isArray(value)) return single(flagBits(type, value, option));
  if (typeof value === 'string') {
    if (type.name === 'ifname' && value.length > 1 && value.endsWith('*')) return namesBeginning(type, value, option);
    if (type.prefixes && value.includes('/')) return parsePrefix(type, value, option);
    const range = type.ranges ? splitRange(type, value) : undefined;
    if (range) return parseRange(type, range, value, option);
  }
  return single(type.parse(value, option));
}

function single(bytes: Uint8Array): Interval {
  return { from: bytes, to: bytes };
}

/** The two ends, where the dash is not part of a word such as `echo-request`. */
function splitRange(type: DataType, value: string): readonly [string, string] | undefined {
  const dash = value.indexOf('-');
  if (dash <= 0) return undefined;
  const ends = [value.slice(0, dash), value.slice(dash + 1)] as const;
  return type.prefixes || type.name === 'ether_addr' || /^\d/.test(value) ? ends : undefined;
}

function parseRange(type: DataType, ends: readonly [string, string], value: string, option: string): Interval {
  const isNumber = !type.prefixes && type.name !== 'ether_addr';
  const parse = (text: string) => {
    if (isNumber && !/^\d+$/.test(text)) throw new OptionError(option, `${type.expected}, or a range`, value);
    return type.parse(isNumber ? Number(text) : text, option);
  };
  const from = parse(ends[0]);
  const to = parse(ends[1]);
  if (compareValues(type, from, to) > 0)
    throw new OptionError(option, 'a range whose end is not before its start', value);
  return { from, to };
}

function parsePrefix(type: DataType, value: string, option: string): Interval {
  const [text = '', length = ''] = value.split(/\/(.*)/s);
  const bits = type.bytes * 8;
  const prefix = /^\d{1,3}$/.test(length) ? Number(length) : Number.NaN;
  if (!(prefix <= bits)) throw new OptionError(option, `${type.expected}, or a prefix of at most ${bits} bits`, value);
  const address = type.parse(text, option);
  const mask = prefixMask(type.bytes, prefix);
  const from = address.map((byte, index) => byte & (mask[index] ?? 0));
  const to = address.map((byte, index) => byte | (~(mask[index] ?? 0) & 0xff));
  if (compareBytes(address, from) !== 0) {
    const hint = `the network is ${type.format(from)}/${prefix}`;
    throw new OptionError(option, 'a prefix without bits after its length', value, { hint });
  }
  return { from, to };
}

function namesBeginning(type: DataType, value: string, option: string): Interval {
  const start = value.slice(0, -1);
  const from = type.parse(start, option);
  const to = from.slice().fill(0xff, Buffer.byteLength(start));
  return { from, to };
}

/** The bits of a prefix. */
function prefixMask(bytes: number, length: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, index) => {
    const rest = Math.min(Math.max(length - index * 8, 0), 8);
    return (0xff << (8 - rest)) & 0xff;
  });
}

/** The length of a prefix, if a mask is one. */
export function maskLength(mask: Uint8Array): number | undefined {
  let length = 0;
  while (length < mask.length * 8 && ((mask[length >> 3] ?? 0) >> (7 - (length & 7))) & 1) length++;
  return compareBytes(mask, prefixMask(mask.length, length)) === 0 ? length : undefined;
}

/** How an interval is written: as a value, as a prefix, or as a range. */
export function formatInterval(type: DataType, { from, to }: Interval): Scalar | readonly string[] {
  if (compareBytes(from, to) === 0) {
    const words = type.flags && flagWords(type, from);
    return words && words.length > 1 ? words : type.format(from);
  }
  if (type.name === 'ifname') {
    const length = from.findIndex((byte, index) => byte !== to[index]);
    return `${Buffer.from(from.subarray(0, length)).toString()}*`;
  }
  const prefix = type.prefixes ? prefixOf({ from, to }) : undefined;
  if (prefix !== undefined) return `${type.format(from)}/${prefix}`;
  return `${numeric(type, from)}-${numeric(type, to)}`;
}

/** Ends of ranges are numbers, even where there are words for single values. */
function numeric(type: DataType, bytes: Uint8Array): Scalar {
  if (type.prefixes || type.name === 'ether_addr') return type.format(bytes);
  let value = 0;
  const ordered = type.order === 'host' ? hostToBig(bytes) : bytes;
  for (const byte of ordered) value = value * 256 + byte;
  return value;
}

function prefixOf({ from, to }: Interval): number | undefined {
  return maskLength(Uint8Array.from(from, (byte, index) => ~(byte ^ (to[index] ?? 0)) & 0xff));
}

/** The order of users. */
function compareValues(type: DataType, left: Uint8Array, right: Uint8Array): number {
  return type.order === 'host' && type.name !== 'ifname'
    ? compareBytes(hostToBig(left), hostToBig(right))
    : compareBytes(left, right);
}

export function compareBytes(left: Uint8Array, right: Uint8Array): number {
  return Buffer.compare(left, right);
}

const littleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** A number of this machine's in the packet's order, and back. */
export function hostToBig(bytes: Uint8Array): Uint8Array {
  return littleEndian ? bytes.slice().reverse() : bytes;
}

/** The next value, or undefined after the last one. */
export function successor(bytes: Uint8Array): Uint8Array | undefined {
  const next = bytes.slice();
  for (let index = next.length - 1; index >= 0; index--) {
    const byte = next[index] ?? 0;
    next[index] = (byte + 1) & 0xff;
    if (byte !== 0xff) return next;
  }
  return undefined;
}

/** The value before, or undefined before the first one. */
export function predecessor(bytes: Uint8Array): Uint8Array | undefined {
  const previous = bytes.slice();
  for (let index = previous.length - 1; index >= 0; index--) {
    const byte = previous[index] ?? 0;
    previous[index] = (byte + 0xff) & 0xff;
    if (byte !== 0) return previous;
  }
  return undefined;
}
