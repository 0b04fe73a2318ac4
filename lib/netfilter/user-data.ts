/**
 * What programs keep with parts of a ruleset; the kernel does not look at it. The form is nft's, so that both show the same
 * comments: u8 type, u8 length, the value.
 */

import type { SetShape } from './elements.js';

const comment = 0;
const setField = { keyByteOrder: 0, dataByteOrder: 1, dataInterval: 6, comment: 7 } as const;
/** nft's numbers for byte orders. */
const byteOrder = { host: 1, big: 2 } as const;

/** The most bytes of a comment, without the NUL that ends it: nft's own bound. */
export const longestComment = 127;

export function commentData(text: string): Uint8Array {
  return entry(comment, Buffer.from(`${text}\0`));
}

export function readComment(data: Uint8Array | undefined, type: number = comment): string | undefined {
  const found = data && find(data, type);
  if (!found) return undefined;
  const end = found.indexOf(0);
  return Buffer.from(end < 0 ? found : found.subarray(0, end)).toString();
}

export function setData(shape: SetShape, text: string | undefined): Uint8Array {
  const parts = [entry(setField.keyByteOrder, number(order(shape.key.map((type) => type.order))))];
  if (shape.data && shape.data !== 'verdict') {
    parts.push(entry(setField.dataByteOrder, number(order(shape.data.map((type) => type.order)))));
  }
  if (text !== undefined) parts.push(entry(setField.comment, Buffer.from(`${text}\0`)));
  return Buffer.concat(parts);
}

export function readSetComment(data: Uint8Array | undefined): string | undefined {
  return readComment(data, setField.comment);
}

/** A concatenation has none of its own. */
function order(orders: readonly ('big' | 'host')[]): number {
  const [only] = orders;
  return orders.length === 1 && only ? byteOrder[only] : 0;
}

function number(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

function entry(type: number, value: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(type, value.length), value]);
}

function find(data: Uint8Array, type: number): Uint8Array | undefined {
  for (let at = 0; at + 2 <= data.length; ) {
    const length = data[at + 1] ?? 0;
    if (at + 2 + length > data.length) return undefined;
    if (data[at] === type) return data.subarray(at + 2, at + 2 + length);
    at += 2 + length;
  }
  return undefined;
}
