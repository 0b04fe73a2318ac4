/** Resource limits: the ranges in which the kernel takes them at their word, and the defaults. */

import { OptionError } from '../../errors.js';
import { type IoLimit, type Limits, parseCpuset } from '../../primitives/cgroup/index.js';
import { formatSize, parseSize } from '../../units.js';
import { defineSchema, type Fields, readInteger, readList, readObject, readText } from './schema.js';

/** The limits of the container's cgroup; memory, swap and pids always have one. */
export interface LimitValues extends Limits {
  readonly memory: number;
  readonly swap: number;
  /** Processes of the caller's: whoever writes pids.max adds one for init. */
  readonly pids: number;
}

export interface LimitSettings {
  /** Devices in `io` are as given, `8:0` or a path; `resolveSources` makes them numbers. */
  readonly values: LimitValues;
  /** The keys that the caller gave: those are strict, the others best effort. */
  readonly explicit: ReadonlySet<string>;
  /** RLIMIT_NOFILE. */
  readonly openFiles: number;
  /** RLIMIT_FSIZE, bytes. */
  readonly fileSize?: number;
}

const limitKeys = [
  'memory',
  'swap',
  'pids',
  'cpus',
  'cpuWeight',
  'cpuset',
  'io',
  'ioWeight',
  'openFiles',
  'fileSize',
] as const;
type LimitKey = (typeof limitKeys)[number];
const schema = defineSchema(limitKeys);
const ioSchema = defineSchema(['device', 'readBps', 'writeBps', 'readIops', 'writeIops']);

const leastMemory = 6 * 2 ** 20;
/** 4 PiB: sums of two of them are still exact. */
const mostBytes = 2 ** 52;
/** PID_MAX_LIMIT, which pids.max may not pass, less one for init. */
const mostPids = 2 ** 22 - 1;
const mostDevices = 64;
/** Standard streams and one for the loader; the kernel's own ceiling for `fs.nr_open` by default. */
const openFilesRange = { min: 4, max: 1_048_576 };

const defaultOpenFiles = 1024;
const defaultValues: LimitValues = Object.freeze({ memory: 2 ** 30, swap: 0, pids: 512 });
/** What holds when nothing is said. */
export const defaultLimits: LimitSettings = Object.freeze({
  values: defaultValues,
  explicit: new Set<string>(),
  openFiles: defaultOpenFiles,
});

export function readLimits(value: unknown, option: string): LimitSettings {
  if (value === undefined) return defaultLimits;
  const fields = readObject(value, option, schema);
  const { openFiles, fileSize } = fields;
  return Object.freeze({
    values: readValues(fields, option),
    explicit: new Set(limitKeys.filter((key) => fields[key] !== undefined)),
    openFiles:
      openFiles === undefined
        ? defaultOpenFiles
        : readInteger(openFiles, `${option}.openFiles`, openFilesRange.min, openFilesRange.max),
    ...(fileSize === undefined ? {} : { fileSize: parseSize(fileSize, `${option}.fileSize`) }),
  });
}

function readValues(fields: Fields<LimitKey>, option: string): LimitValues {
  const { memory, swap, pids, cpus, cpuWeight, cpuset, io, ioWeight } = fields;
  return Object.freeze({
    memory: memory === undefined ? defaultValues.memory : readMemory(memory, `${option}.memory`),
    swap: swap === undefined ? defaultValues.swap : parseSize(swap, `${option}.swap`, { max: mostBytes }),
    pids: pids === undefined ? defaultValues.pids : readInteger(pids, `${option}.pids`, 1, mostPids),
    ...(cpus === undefined ? {} : { cpus: readCpus(cpus, `${option}.cpus`) }),
    ...(cpuWeight === undefined ? {} : { cpuWeight: readInteger(cpuWeight, `${option}.cpuWeight`, 1, 10_000) }),
    ...(cpuset === undefined ? {} : { cpuset: parseCpuset(cpuset, `${option}.cpuset`) }),
    ...(io === undefined ? {} : { io: readIo(io, `${option}.io`) }),
    ...(ioWeight === undefined ? {} : { ioWeight: readInteger(ioWeight, `${option}.ioWeight`, 1, 10_000) }),
  });
}

/** In less, not even a small program starts: the kernel counts page tables, stacks and sockets too. Docker's least. */
function readMemory(value: unknown, option: string): number {
  const bytes = parseSize(value, option, { max: mostBytes });
  if (bytes < leastMemory) {
    throw new OptionError(option, `at least ${formatSize(leastMemory)} (${leastMemory} bytes)`, value, {
      hint: 'no program starts in less',
    });
  }
  return bytes;
}

function readCpus(value: unknown, option: string): number {
  if (typeof value !== 'number' || !(value >= 0.01 && value <= 1024)) {
    throw new OptionError(option, 'a number of processors from 0.01 to 1024, such as 0.5', value);
  }
  return value;
}

function readIo(value: unknown, option: string): readonly IoLimit[] {
  const list = readList(value, option, 'an array of limits of block devices', mostDevices);
  return Object.freeze(list.map((element, index) => readDevice(element, `${option}[${index}]`)));
}

function readDevice(value: unknown, option: string): IoLimit {
  const { device, readBps, writeBps, readIops, writeIops } = readObject(value, option, ioSchema);
  // At least 1 everywhere: cgroup v1 takes 0 as no limit.
  const bytes = { min: 1, max: mostBytes };
  const mostOperations = 2 ** 32 - 1;
  const limit: IoLimit = Object.freeze({
    device: readDeviceName(device, `${option}.device`),
    ...(readBps === undefined ? {} : { readBps: parseSize(readBps, `${option}.readBps`, bytes) }),
    ...(writeBps === undefined ? {} : { writeBps: parseSize(writeBps, `${option}.writeBps`, bytes) }),
    ...(readIops === undefined ? {} : { readIops: readInteger(readIops, `${option}.readIops`, 1, mostOperations) }),
    ...(writeIops === undefined ? {} : { writeIops: readInteger(writeIops, `${option}.writeIops`, 1, mostOperations) }),
  });
  if (Object.keys(limit).length === 1) {
    throw new OptionError(option, 'at least one of readBps, writeBps, readIops and writeIops', value);
  }
  return limit;
}

function readDeviceName(value: unknown, option: string): string {
  const expected = "a block device, such as '/dev/sda' or '8:0'";
  const text = readText(value, option, expected);
  if (text.startsWith('/dev/') && !text.split('/').includes('..')) return text;
  const numbers = /^(0|[1-9]\d{0,3}):(0|[1-9]\d{0,6})$/.exec(text);
  // dev_t of the kernel: 12 bits for the major number, 20 for the minor.
  if (numbers && Number(numbers[1]) < 2 ** 12 && Number(numbers[2]) < 2 ** 20) return text;
  throw new OptionError(option, expected, value);
}
