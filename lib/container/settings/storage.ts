/** Where writes to the root go, and the bounds of the in-memory file systems that hold them. */

import { OptionError } from '../../errors.js';
import { parseSize, type Range } from '../../units.js';
import { largestExt4, mostExt4Inodes } from '../storage/ext4.js';
import { defineSchema, readChoice, readInteger, readObject } from './schema.js';

export interface StorageSettings {
  readonly upper: 'tmpfs' | 'disk';
  /** Bytes of the stage, which is a tmpfs. */
  readonly size: number;
  /** Files and directories of the stage. */
  readonly inodes: number;
  /** The bound of what is written to disk, where one was asked for. */
  readonly disk?: DiskBound;
}

export interface DiskBound {
  readonly size: number;
  readonly inodes: number;
}

/** At least a page: tmpfs takes `size=0` and `nr_inodes=0` as unlimited. */
export const tmpfsSize: Range = { min: 4096, max: 2 ** 52 };
/** With room for what a file system of that size needs itself. */
const diskSize: Range = { min: 4096, max: largestExt4 / 2 };
const fewestInodes = 16;
const mostInodes = 2 ** 31 - 1;
const largestDefault = 2 ** 30;

const schema = defineSchema(['upper', 'size', 'inodes']);

/** @param memory the container's limit, which what is written to a tmpfs counts against */
export function readStorage(value: unknown, option: string, memory: number): StorageSettings {
  const fields = value === undefined ? {} : readObject(value, option, schema);
  const upper = fields.upper === undefined ? 'tmpfs' : readChoice(fields.upper, `${option}.upper`, ['tmpfs', 'disk']);
  if (upper === 'disk') return Object.freeze({ upper, ...stageBeside(memory), ...readDiskBound(fields, option) });
  const size = fields.size === undefined ? defaultSize(memory) : parseSize(fields.size, `${option}.size`, tmpfsSize);
  const inodes = fields.inodes === undefined ? defaultInodes(size) : readInodes(fields.inodes, `${option}.inodes`);
  return Object.freeze({ upper, size, inodes });
}

function defaultSize(memory: number): number {
  return Math.min(Math.floor(memory / 2), largestDefault);
}

/** Nothing of the container's is written to it then. */
function stageBeside(memory: number): { size: number; inodes: number } {
  const size = defaultSize(memory);
  return { size, inodes: defaultInodes(size) };
}

function readDiskBound(fields: { size?: unknown; inodes?: unknown }, option: string): { disk?: DiskBound } {
  if (fields.size === undefined) {
    if (fields.inodes === undefined) return {};
    throw new OptionError(`${option}.inodes`, "nothing without size, with upper: 'disk'", fields.inodes, {
      hint: 'without a size nothing that is written to disk is bounded',
    });
  }
  const size = parseSize(fields.size, `${option}.size`, diskSize);
  const inodes = fields.inodes === undefined ? defaultInodes(size) : readInodes(fields.inodes, `${option}.inodes`);
  if (inodes > mostExt4Inodes(size)) {
    throw new OptionError(`${option}.inodes`, `at most one for every 4 KiB of size (${mostExt4Inodes(size)})`, inodes);
  }
  return { disk: Object.freeze({ size, inodes }) };
}

/** One for every page, as every file that is not empty takes one. */
export function defaultInodes(size: number): number {
  return Math.min(Math.max(1024, Math.ceil(size / 4096)), 2 ** 20);
}

export function readInodes(value: unknown, option: string): number {
  return readInteger(value, option, fewestInodes, mostInodes);
}
