/** Where writes to the root go, and the bounds of the in-memory file systems that hold them. */

import { UnsupportedError } from '../../errors.js';
import { parseSize, type Range } from '../../units.js';
import { defineSchema, readChoice, readInteger, readObject } from './schema.js';

export interface StorageSettings {
  readonly upper: 'tmpfs' | 'disk';
  /** Bytes; only for tmpfs. */
  readonly size: number;
  /** Files and directories; only for tmpfs. */
  readonly inodes: number;
}

/** At least a page: tmpfs takes `size=0` and `nr_inodes=0` as unlimited. */
export const tmpfsSize: Range = { min: 4096, max: 2 ** 52 };
const fewestInodes = 16;
const mostInodes = 2 ** 31 - 1;
const largestDefault = 2 ** 30;

const schema = defineSchema(['upper', 'size', 'inodes']);

/** @param memory the container's limit, which what is written to a tmpfs counts against */
export function readStorage(value: unknown, option: string, memory: number): StorageSettings {
  const fields = value === undefined ? {} : readObject(value, option, schema);
  const upper = fields.upper === undefined ? 'tmpfs' : readChoice(fields.upper, `${option}.upper`, ['tmpfs', 'disk']);
  const size =
    fields.size === undefined
      ? Math.min(Math.floor(memory / 2), largestDefault)
      : parseSize(fields.size, `${option}.size`, tmpfsSize);
  const inodes = fields.inodes === undefined ? defaultInodes(size) : readInodes(fields.inodes, `${option}.inodes`);
  if (upper === 'disk') {
    for (const key of ['size', 'inodes'] as const) {
      if (fields[key] === undefined) continue;
      throw new UnsupportedError(`option ${option}.${key}: a bound cannot be enforced yet with upper: 'disk'`, {
        hint: "leave it out, or use upper: 'tmpfs'",
      });
    }
  }
  return Object.freeze({ upper, size, inodes });
}

/** One for every page, as every file that is not empty takes one. */
export function defaultInodes(size: number): number {
  return Math.min(Math.max(1024, Math.ceil(size / 4096)), 2 ** 20);
}

export function readInodes(value: unknown, option: string): number {
  return readInteger(value, option, fewestInodes, mostInodes);
}
