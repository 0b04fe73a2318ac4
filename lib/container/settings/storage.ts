/** Where writes to the root go, by which driver the root is made, and the bounds of what holds it. */

import { OptionError } from '../../errors.js';
import type { Driver } from '../../image/driver/choose.js';
import { parseSize, type Range } from '../../units.js';
import { largestExt4, mostExt4Inodes } from '../storage/ext4.js';
import { defineSchema, type Fields, readChoice, readInteger, readObject } from './schema.js';

export interface StorageSettings {
  readonly upper: 'tmpfs' | 'disk';
  /** Bytes of the stage, which is a tmpfs. */
  readonly size: number;
  /** Files and directories of the stage. */
  readonly inodes: number;
  /** The bound of what is written to disk, where one was asked for, by a file system of its own. */
  readonly disk?: DiskBound;
  /** The same, in bytes, for a snapshot. */
  readonly quota?: number;
  /** Which driver was asked for; the rest is by an overlay's rules as long as it is left to us. */
  readonly driver: Driver | 'auto';
  /** As it was asked for, for a driver that is chosen later. */
  readonly asked: StorageFields;
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

const schema = defineSchema(['driver', 'upper', 'size', 'inodes']);
type StorageFields = Fields<'upper' | 'size' | 'inodes'>;
type Bounds = Omit<StorageSettings, 'driver' | 'asked'>;

/** @param memory the container's limit, which what is written to a tmpfs counts against */
export function readStorage(value: unknown, option: string, memory: number): StorageSettings {
  const { driver: named, ...fields } = value === undefined ? {} : readObject(value, option, schema);
  const driver =
    named === undefined ? 'auto' : readChoice(named, `${option}.driver`, ['auto', 'overlay', 'btrfs', 'vfs']);
  const asked = Object.freeze(fields);
  return Object.freeze({
    driver,
    asked,
    ...readBounds(asked, option, memory, driver === 'auto' ? 'overlay' : driver),
  });
}

/** The same by the rules of the driver that was chosen. @throws OptionError for what that one cannot have */
export function storageBy(settings: StorageSettings, driver: Driver, memory: number): StorageSettings {
  const { driver: named, asked } = settings;
  if (driver === 'overlay' || named !== 'auto') return settings;
  return Object.freeze({ driver: named, asked, ...readBounds(asked, 'storage', memory, driver) });
}

function readBounds(fields: StorageFields, option: string, memory: number, driver: Driver): Bounds {
  const upper =
    fields.upper === undefined
      ? driver === 'overlay'
        ? 'tmpfs'
        : 'disk'
      : readChoice(fields.upper, `${option}.upper`, ['tmpfs', 'disk']);
  if (driver === 'btrfs') return { upper: 'disk', ...stageBeside(memory), ...readQuota(fields, option, upper) };
  if (upper === 'disk') return { upper, ...stageBeside(memory), ...readDiskBound(fields, option) };
  const size = fields.size === undefined ? defaultSize(memory) : parseSize(fields.size, `${option}.size`, tmpfsSize);
  const inodes = fields.inodes === undefined ? defaultInodes(size) : readInodes(fields.inodes, `${option}.inodes`);
  return { upper, size, inodes };
}

/** A snapshot is where what it is of is, and of that file system only bytes can be bounded. */
function readQuota(fields: StorageFields, option: string, upper: 'tmpfs' | 'disk'): { quota?: number } {
  if (upper === 'tmpfs') {
    throw new OptionError(`${option}.upper`, "'disk' with driver btrfs", upper, { hint: 'a snapshot is on disk' });
  }
  if (fields.inodes !== undefined) {
    throw new OptionError(`${option}.inodes`, 'nothing with driver btrfs', fields.inodes, {
      hint: 'btrfs bounds bytes only, which what it notes of files counts as: give size',
    });
  }
  return fields.size === undefined ? {} : { quota: parseSize(fields.size, `${option}.size`, tmpfsSize) };
}

function defaultSize(memory: number): number {
  return Math.min(Math.floor(memory / 2), largestDefault);
}

/** Nothing of the container's is written to it then. */
function stageBeside(memory: number): { size: number; inodes: number } {
  const size = defaultSize(memory);
  return { size, inodes: defaultInodes(size) };
}

function readDiskBound(fields: StorageFields, option: string): { disk?: DiskBound } {
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
