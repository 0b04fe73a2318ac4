/** Elements of sets and maps: how values become the keys that the kernel keeps, and back. */

import { OptionError } from '../errors.js';
import type { DataType, Scalar } from './data-types.js';
import type { Data } from './expressions.js';
import { compareBytes, formatInterval, hostToBig, type Interval, predecessor, successor } from './values.js';

/** What has to be known of a set to write and read its elements. */
export interface SetShape {
  readonly key: readonly DataType[];
  /** Whether its elements are ranges, as single values are then too. */
  readonly intervals: boolean;
  /** Types of a map's values; `'verdict'` of a verdict map. */
  readonly data?: readonly DataType[] | 'verdict';
}

/** What the kernel keeps beside an element's key. */
export interface ElementFacts {
  readonly data?: Data;
  /** Milliseconds. */
  readonly timeout?: number;
  readonly expires?: number;
  readonly comment?: string;
  readonly counter?: { readonly packets: number; readonly bytes: number };
}

/** An element as the kernel has it. */
export interface RawElement extends ElementFacts {
  /** None for the element that stands for every other value. */
  readonly key?: Uint8Array;
  readonly keyEnd?: Uint8Array;
  /** Whether this key is the first one after a range. */
  readonly end?: boolean;
}

/** An element before it is one: an interval for each field, or every other value. */
export interface Entry extends ElementFacts {
  readonly key: readonly Interval[] | 'others';
}

/**
 * The keys that the kernel gets. A set of ranges of one field has two for each, the second one after the end; one of several
 * fields has both ends in one element.
 * @param option names the elements, for errors
 */
export function rawElements(shape: SetShape, entries: readonly Entry[], option: string): readonly RawElement[] {
  if (!shape.intervals)
    return entries.map(({ key, ...facts }) => ({ ...facts, ...(key !== 'others' && { key: start(shape, key) }) }));
  if (shape.key.length > 1) {
    return entries.map(({ key, ...facts }) =>
      key === 'others' ? facts : { ...facts, key: start(shape, key), keyEnd: end(shape, key) },
    );
  }
  const ranges = entries.map((entry, index) => ({ entry, index }));
  expectApart(shape, ranges, option);
  return entries.flatMap(({ key, ...facts }): RawElement[] => {
    if (key === 'others') return [facts];
    const next = successor(end(shape, key));
    return [{ ...facts, key: start(shape, key) }, ...(next ? [{ key: next, end: true }] : [])];
  });
}

function start(shape: SetShape, key: readonly Interval[]): Uint8Array {
  return concatenate(
    key.map(({ from }, index) => ordered(shape, shape.key[index], from)),
    shape.key,
  );
}

function end(shape: SetShape, key: readonly Interval[]): Uint8Array {
  return concatenate(
    key.map(({ to }, index) => ordered(shape, shape.key[index], to)),
    shape.key,
  );
}

/** Ranges are compared byte by byte, so numbers of the machine are kept in the packet's order there. */
export function isSwapped(shape: SetShape, type: DataType | undefined): boolean {
  return shape.intervals && type?.order === 'host' && type.name !== 'ifname';
}

function ordered(shape: SetShape, type: DataType | undefined, bytes: Uint8Array): Uint8Array {
  return isSwapped(shape, type) ? hostToBig(bytes) : bytes;
}

/** Fields of a concatenation begin at registers of 4 bytes each. */
export function concatenate(parts: readonly Uint8Array[], types: readonly DataType[]): Uint8Array {
  const [only] = parts;
  if (types.length === 1 && only) return only;
  const bytes = new Uint8Array(types.reduce((sum, type) => sum + paddedLength(type), 0));
  let offset = 0;
  for (const [index, type] of types.entries()) {
    bytes.set(parts[index] ?? [], offset);
    offset += paddedLength(type);
  }
  return bytes;
}

export function paddedLength(type: DataType): number {
  return Math.ceil(type.bytes / 4) * 4;
}

function expectApart(shape: SetShape, ranges: readonly { entry: Entry; index: number }[], option: string): void {
  const sorted = ranges
    .flatMap(({ entry: { key }, index }) =>
      key === 'others' ? [] : [{ from: start(shape, key), to: end(shape, key), index }],
    )
    .sort((left, right) => compareBytes(left.from, right.from));
  for (const [place, { from, index }] of sorted.entries()) {
    const before = sorted[place - 1];
    if (before && compareBytes(from, before.to) <= 0) {
      throw new OptionError(
        `${option}[${index}]`,
        `a range apart from that of ${option}[${before.index}]`,
        'one that overlaps it',
      );
    }
  }
}

/** The kernel's elements as intervals. Those of one set, all of them. */
export function readElements(shape: SetShape, elements: readonly RawElement[]): readonly Entry[] {
  if (!shape.intervals || shape.key.length > 1) {
    return elements.map(({ key, keyEnd, end: _, ...facts }) => ({
      ...facts,
      key: key === undefined ? 'others' : split(shape, key, keyEnd ?? key),
    }));
  }
  return readRanges(shape, elements);
}

function readRanges(shape: SetShape, elements: readonly RawElement[]): readonly Entry[] {
  const entries: Entry[] = [];
  const sorted = elements
    .filter((element) => element.key !== undefined)
    .sort((left, right) => compareKeys(left, right));
  for (const [index, { key, keyEnd: _, end: isEnd, ...facts }] of sorted.entries()) {
    if (isEnd || !key) continue;
    const next = sorted[index + 1]?.key;
    const last = (next && predecessor(next)) ?? key.slice().fill(0xff);
    entries.push({ ...facts, key: split(shape, key, last) });
  }
  for (const { key, keyEnd: _, end: __, ...facts } of elements) if (!key) entries.push({ ...facts, key: 'others' });
  return entries;
}

/** By value; where one range ends and the next begins, the end is first. */
function compareKeys(left: RawElement, right: RawElement): number {
  return compareBytes(left.key ?? empty, right.key ?? empty) || Number(right.end ?? false) - Number(left.end ?? false);
}

const empty = new Uint8Array(0);

function split(shape: SetShape, from: Uint8Array, to: Uint8Array): readonly Interval[] {
  let offset = 0;
  return shape.key.map((type) => {
    const begin = offset;
    offset += shape.key.length === 1 ? type.bytes : paddedLength(type);
    const part = (bytes: Uint8Array) => ordered(shape, type, bytes.slice(begin, begin + type.bytes));
    return { from: part(from), to: part(to) };
  });
}

/** How a key is written: one value, or one for each field. */
export function formatKey(
  types: readonly DataType[],
  key: readonly Interval[],
): Scalar | readonly (Scalar | readonly string[])[] {
  const values = key.map((interval, index) => {
    const type = types[index];
    return type ? formatInterval(type, interval) : '';
  });
  const [only] = values;
  return values.length === 1 && only !== undefined ? only : values;
}
