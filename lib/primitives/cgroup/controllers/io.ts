/** The io controller (v1: blkio): bytes and operations of block devices. */

import { defineSchema, readInteger, readList, readObject } from '../../../container/settings/schema.js';
import { OptionError } from '../../../errors.js';
import { type Duration, parseDuration, parseSize, type Size } from '../../../units.js';
import { count, isDevice, known, linesOf, nestedOf, tableOf } from '../text.js';
import { bfqWeight, ioWeightOf } from '../weight.js';
import { type ControllerKind, type FileTexts, type FileValue, Writes } from './controller.js';

/** Limits and shares of block devices. On v1 only direct and synchronous I/O is counted. */
export interface IoSettings {
  readonly max?: readonly IoMax[];
  /** Share of contended I/O, 1 to 10000; 100 is what others have. Needs iocost (v2) or BFQ as the device's scheduler. */
  readonly weight?: number;
  /** Others are held back where a device takes longer than this. v2, CONFIG_BLK_CGROUP_IOLATENCY. */
  readonly latency?: readonly IoLatency[];
}

/** The rates of one block device, per second. What is absent stays as it is. */
export interface IoMax {
  /** `major:minor` of the whole disk, not of a partition. */
  readonly device: string;
  readonly readBps?: Size | 'max';
  readonly writeBps?: Size | 'max';
  readonly readIops?: number | 'max';
  readonly writeIops?: number | 'max';
}

export interface IoLatency {
  readonly device: string;
  readonly target: Duration;
}

/** {@link IoSettings}, checked: sizes are bytes, durations milliseconds. */
export interface IoValues extends IoSettings {
  readonly max?: readonly IoMaxValues[];
  readonly latency?: readonly { readonly device: string; readonly target: number }[];
}

export interface IoMaxValues extends IoMax {
  readonly readBps?: number | 'max';
  readonly writeBps?: number | 'max';
}

/** Bytes and operations of block devices, all devices together. */
export interface IoStats {
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly readOps: number;
  readonly writeOps: number;
}

const schema = defineSchema(['max', 'weight', 'latency']);
const maxSchema = defineSchema(['device', 'readBps', 'writeBps', 'readIops', 'writeIops']);
const latencySchema = defineSchema(['device', 'target']);
const mostDevices = 64;
const mostOperations = 2 ** 32 - 1;
const rates = [
  ['readBps', 'rbps', 'blkio.throttle.read_bps_device'],
  ['writeBps', 'wbps', 'blkio.throttle.write_bps_device'],
  ['readIops', 'riops', 'blkio.throttle.read_iops_device'],
  ['writeIops', 'wiops', 'blkio.throttle.write_iops_device'],
] as const;

function parse(settings: IoSettings, option: string): IoValues {
  const { max, weight, latency } = readObject(settings, option, schema);
  const list = <T>(value: unknown, key: string, read: (element: unknown, option: string) => T): T[] =>
    readList(value, `${option}.${key}`, 'an array, one element for each device', mostDevices).map((element, index) =>
      read(element, `${option}.${key}[${index}]`),
    );
  return known<IoValues>({
    max: max === undefined ? undefined : list(max, 'max', readMax),
    weight: weight === undefined ? undefined : readInteger(weight, `${option}.weight`, 1, 10_000),
    latency: latency === undefined ? undefined : list(latency, 'latency', readLatency),
  });
}

function readMax(value: unknown, option: string): IoMaxValues {
  const { device, readBps, writeBps, readIops, writeIops } = readObject(value, option, maxSchema);
  // At least 1 everywhere: v1 takes 0 as no limit.
  const bytes = (rate: unknown, key: string): number | 'max' | undefined =>
    rate === undefined || rate === 'max' ? rate : parseSize(rate, `${option}.${key}`, { min: 1 });
  const operations = (rate: unknown, key: string): number | 'max' | undefined =>
    rate === undefined || rate === 'max' ? rate : readInteger(rate, `${option}.${key}`, 1, mostOperations);
  return known<IoMaxValues>({
    device: readDevice(device, `${option}.device`),
    readBps: bytes(readBps, 'readBps'),
    writeBps: bytes(writeBps, 'writeBps'),
    readIops: operations(readIops, 'readIops'),
    writeIops: operations(writeIops, 'writeIops'),
  });
}

function readLatency(value: unknown, option: string): { device: string; target: number } {
  const { device, target } = readObject(value, option, latencySchema);
  return { device: readDevice(device, `${option}.device`), target: parseDuration(target, `${option}.target`) };
}

/** dev_t of the kernel: 12 bits for the major number, 20 for the minor. */
function readDevice(value: unknown, option: string): string {
  const numbers = typeof value === 'string' ? /^(0|[1-9]\d{0,3}):(0|[1-9]\d{0,6})$/.exec(value) : null;
  if (typeof value === 'string' && Number(numbers?.[1]) < 2 ** 12 && Number(numbers?.[2]) < 2 ** 20) return value;
  throw new OptionError(option, "the numbers of a block device, such as '8:0' (lsblk)", value);
}

export function ioWrites({ max, weight, latency }: IoValues, version: 1 | 2): FileValue[] {
  const writes = new Writes('io');
  for (const limit of max ?? []) {
    const given = rates.filter(([key]) => limit[key] !== undefined);
    if (version === 1) {
      for (const [key, , file] of given) writes.add(file, `${limit.device} ${limit[key] === 'max' ? 0 : limit[key]}`);
    } else if (given.length > 0) {
      writes.add('io.max', [limit.device, ...given.map(([key, name]) => `${name}=${limit[key]}`)].join(' '));
    }
  }
  for (const { device, target } of latency ?? []) writes.add('io.latency', `${device} target=${target * 1000}`);
  if (weight === undefined) return writes.list;
  if (version === 2) {
    writes.add('io.weight', weight);
    // There when BFQ is built in, and what counts for the devices it schedules.
    writes.add('io.bfq.weight', bfqWeight(weight), true);
  } else {
    // blkio.weight went with CFQ in 5.0.
    writes.add('blkio.bfq.weight', bfqWeight(weight));
  }
  return writes.list;
}

/** The controller, for {@link CgroupV2.io}. */
export const io: ControllerKind<IoSettings, IoValues> = {
  name: 'io',
  parse,
  writes: ioWrites,
  onlyUnified: ['latency'],
  files: (version) =>
    version === 2 ? ['io.max', 'io.weight', 'io.latency'] : [...rates.map(([, , file]) => file), 'blkio.bfq.weight'],
  read(texts, version) {
    if (version === 1) return readV1(texts);
    const max = [...nestedOf(texts.get('io.max'))].map(([device, values]) =>
      known<IoMaxValues>({
        device,
        readBps: values.get('rbps'),
        writeBps: values.get('wbps'),
        readIops: values.get('riops'),
        writeIops: values.get('wiops'),
      }),
    );
    const latency = [...nestedOf(texts.get('io.latency'))].flatMap(([device, values]) => {
      const target = values.get('target');
      return typeof target === 'number' ? [{ device, target: target / 1000 }] : [];
    });
    return known<IoValues>({
      max: texts.has('io.max') ? max.filter(({ device }) => isDevice(device)) : undefined,
      weight: tableOf(texts.get('io.weight')).get('default'),
      latency: texts.has('io.latency') ? latency : undefined,
    });
  },
};

function readV1(texts: FileTexts): IoValues {
  const limits = new Map<string, IoMaxValues>();
  for (const [key, , file] of rates) {
    for (const [device, rate] of tableOf(texts.get(file))) {
      limits.set(device, { ...limits.get(device), device, [key]: rate });
    }
  }
  const bfq = tableOf(texts.get('blkio.bfq.weight')).get('default') ?? count(texts.get('blkio.bfq.weight')?.trim());
  return known<IoValues>({ max: [...limits.values()], weight: bfq && ioWeightOf(bfq) });
}

export const ioStatFiles = {
  v2: ['io.stat'],
  v1: ['blkio.throttle.io_service_bytes', 'blkio.throttle.io_serviced'],
} as const;

export function ioStats(unified: FileTexts, v1: FileTexts): IoStats {
  const sums = { readBytes: 0, writeBytes: 0, readOps: 0, writeOps: 0 };
  const add = (key: keyof typeof sums, text: string | undefined): void => {
    sums[key] = Math.min(sums[key] + (count(text) ?? 0), Number.MAX_SAFE_INTEGER);
  };
  // 8:0 rbytes=1024 wbytes=0 rios=1 wios=0 dbytes=0 dios=0
  for (const [device, ...fields] of linesOf(unified.get('io.stat'))) {
    if (!isDevice(device)) continue;
    for (const field of fields) {
      const [name, value] = field.split('=');
      if (name === 'rbytes') add('readBytes', value);
      else if (name === 'wbytes') add('writeBytes', value);
      else if (name === 'rios') add('readOps', value);
      else if (name === 'wios') add('writeOps', value);
    }
  }
  // 8:0 Read 1024
  for (const [file, read, write] of [
    ['blkio.throttle.io_service_bytes', 'readBytes', 'writeBytes'],
    ['blkio.throttle.io_serviced', 'readOps', 'writeOps'],
  ] as const) {
    for (const [device, kind, value] of linesOf(v1.get(file))) {
      if (!isDevice(device)) continue;
      if (kind === 'Read') add(read, value);
      else if (kind === 'Write') add(write, value);
    }
  }
  return sums;
}
