/**
 * The wire format of messages and of the steps of a plan: records of numbers and byte strings. native/launcher/wire.h
 * describes it and has the other half. What is decoded here came through a process that runs untrusted programs, so every
 * length is checked.
 */

import { TscontainError } from '../errors.js';

/** A decoded record. `ints` are unsigned and exact up to 2^53; larger ones are rounded. */
export interface WireRecord {
  readonly op: number;
  readonly ints: readonly number[];
  readonly blobs: readonly Buffer[];
}

/** All ones: "no slot", "no limit". */
export const none = -1;

/** Builds records one after another into a buffer that grows. */
export class RecordWriter {
  #buffer = Buffer.allocUnsafe(4096);
  #length = 0;

  /** Appends a record. Negative numbers are written as two's complement. */
  put(op: number, ints: readonly number[], blobs: readonly (string | Uint8Array)[] = []): this {
    const start = this.#length;
    let bound = 8 + ints.length * 8;
    for (const blob of blobs) bound += 24 + (typeof blob === 'string' ? blob.length * 3 : blob.byteLength);
    this.#reserve(bound);
    const buffer = this.#buffer;
    let at = start + 8;
    for (const int of ints) at = writeInt(buffer, at, int);
    for (const blob of blobs) {
      let length: number;
      if (typeof blob === 'string') {
        length = buffer.write(blob, at + 8);
      } else {
        buffer.set(blob, at + 8);
        length = blob.byteLength;
      }
      const padded = (length + 8) & ~7;
      buffer.writeUInt32LE(length, at);
      buffer.writeUInt32LE(0, at + 4);
      buffer.fill(0, at + 8 + length, at + 8 + padded);
      at += 8 + padded;
    }
    buffer.writeUInt16LE(op, start);
    buffer[start + 2] = ints.length;
    buffer[start + 3] = blobs.length;
    buffer.writeUInt32LE(at - start, start + 4);
    this.#length = at;
    return this;
  }

  /** What was written, without a copy: valid until the next `put`. */
  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

/** One record as bytes. */
export function encodeRecord(
  op: number,
  ints: readonly number[],
  blobs: readonly (string | Uint8Array)[] = [],
): Buffer {
  return new RecordWriter().put(op, ints, blobs).bytes();
}

/**
 * The records in `bytes`, in order.
 * @throws TscontainError (`ERR_PROTOCOL`) for anything that is not a whole number of well-formed records
 */
export function decodeRecords(bytes: Buffer): WireRecord[] {
  const records: WireRecord[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < 8) throw malformed('a header is cut');
    const size = bytes.readUInt32LE(at + 4);
    if (size < 8 || size % 8 !== 0 || size > bytes.length - at) throw malformed(`a record of ${size} bytes`);
    records.push(decodeBody(bytes.subarray(at, at + size)));
    at += size;
  }
  return records;
}

/** The one record that a message is; undefined where it is none. */
export function decodeMessage(bytes: Buffer): WireRecord | undefined {
  try {
    return decodeRecords(bytes)[0];
  } catch {
    return undefined;
  }
}

function decodeBody(record: Buffer): WireRecord {
  const ints: number[] = [];
  const blobs: Buffer[] = [];
  let at = 8;
  for (let i = 0; i < (record[2] ?? 0); i++, at += 8) {
    if (at + 8 > record.length) throw malformed('numbers are cut');
    ints.push(record.readUInt32LE(at) + record.readUInt32LE(at + 4) * 2 ** 32);
  }
  for (let i = 0; i < (record[3] ?? 0); i++) {
    if (at + 8 > record.length) throw malformed('a length is cut');
    const length = record.readUInt32LE(at);
    const padded = length + 8 - (length % 8);
    if (at + 8 + padded > record.length) throw malformed(`a string of ${length} bytes`);
    blobs.push(record.subarray(at + 8, at + 8 + length));
    at += 8 + padded;
  }
  if (at !== record.length) throw malformed('bytes after the end');
  return { op: record.readUInt16LE(0), ints, blobs };
}

function malformed(what: string): TscontainError {
  return new TscontainError('ERR_PROTOCOL', `malformed message from the launcher: ${what}`);
}

function writeInt(buffer: Buffer, at: number, value: number): number {
  const low = value < 0 ? value >>> 0 : value % 2 ** 32;
  const high = value < 0 ? Math.floor(value / 2 ** 32) >>> 0 : Math.floor(value / 2 ** 32);
  buffer.writeUInt32LE(low, at);
  return buffer.writeUInt32LE(high, at + 4);
}
