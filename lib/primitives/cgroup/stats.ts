/**
 * What a container uses, read from the cgroup files of whichever hierarchies it is in. The launcher reads the files
 * ({@link statFiles} says which); {@link parseStats} turns the texts into one shape for every kind of host.
 */

import type { CgroupLayout, Controller } from './layout.js';

/**
 * What a container has used and uses. Numbers are never NaN, negative or beyond `Number.MAX_SAFE_INTEGER`. A required
 * field is 0 where the host has no source for it; an optional field is then absent.
 */
export interface ContainerStats {
  /** Processor time in milliseconds, with its fraction. */
  readonly cpu: {
    readonly usageMs: number;
    readonly userMs: number;
    readonly systemMs: number;
    /** How long processes were held back by `limits.cpus`, and in how many periods of 100 ms. */
    readonly throttledMs?: number;
    readonly throttledPeriods?: number;
  };
  /** Bytes, and counts of events. */
  readonly memory: {
    /** Memory in use, page cache and kernel memory included. */
    readonly current: number;
    /** The most that `current` has been; where the kernel keeps none (v2 before 5.19), `current`. */
    readonly peak: number;
    readonly swap?: number;
    /** Of `current`: what is not backed by files, and what is page cache. */
    readonly anonymous?: number;
    readonly cache?: number;
    /** Processes killed for want of memory. */
    readonly oomKills: number;
    /** How often the limit was hit, whether or not memory could be reclaimed. */
    readonly limitHits: number;
  };
  readonly pids: {
    readonly current: number;
    /** The most that `current` has been; where the kernel keeps none (before 6.1), `current`. */
    readonly peak: number;
    /** How often a fork was refused by the limit. */
    readonly limitHits: number;
  };
  /** Bytes and operations of block devices, all devices together. */
  readonly io: {
    readonly readBytes: number;
    readonly writeBytes: number;
    readonly readOps: number;
    readonly writeOps: number;
  };
}

/** A file to read in a container's cgroup. One that does not exist is left out of the answer. */
export interface StatFile {
  /** Index into `layout.hierarchies`. */
  readonly hierarchy: number;
  readonly file: string;
}

const unifiedFiles: Readonly<Partial<Record<Controller, readonly string[]>>> = {
  memory: ['memory.current', 'memory.peak', 'memory.swap.current', 'memory.events', 'memory.stat'],
  pids: ['pids.current', 'pids.peak', 'pids.events'],
  io: ['io.stat'],
};

const v1Files: Readonly<Partial<Record<Controller, readonly string[]>>> = {
  cpu: ['cpu.stat'],
  cpuacct: ['cpuacct.usage', 'cpuacct.usage_user', 'cpuacct.usage_sys'],
  memory: ['memory.usage_in_bytes', 'memory.max_usage_in_bytes', 'memory.oom_control', 'memory.failcnt', 'memory.stat'],
  pids: ['pids.current', 'pids.peak', 'pids.events'],
  io: ['blkio.throttle.io_service_bytes', 'blkio.throttle.io_serviced'],
};

/** The longest text that is looked at. io.stat has about 100 bytes a device, memory.stat 2 KiB in all. */
const maxText = 128 * 1024;

/** The files that {@link parseStats} wants from a container placed in these hierarchies. */
export function statFiles(layout: CgroupLayout, hierarchies: readonly number[]): StatFile[] {
  const inTree = hierarchies.some((index) => layout.hierarchies[index]?.version === 2);
  return hierarchies.flatMap((index): StatFile[] => {
    const hierarchy = layout.hierarchies[index];
    if (!hierarchy) return [];
    // Every v2 cgroup counts processor time, whether or not the cpu controller is bound there.
    const always = hierarchy.version === 2 ? ['cpu.stat'] : [];
    const table = hierarchy.version === 2 ? unifiedFiles : v1Files;
    const files = hierarchy.controllers.flatMap((controller) => {
      if (!layout.availability[controller].usable || (controller === 'cpuacct' && inTree)) return [];
      return table[controller] ?? [];
    });
    return [...always, ...files].map((file) => ({ hierarchy: index, file }));
  });
}

/**
 * The statistics in these texts, keyed `${hierarchy}/${file}`. Missing files, unknown keys and malformed lines count for
 * nothing.
 */
export function parseStats(layout: CgroupLayout, contents: ReadonlyMap<string, string>): ContainerStats {
  const texts = new Texts(layout, contents);
  return { cpu: parseCpu(texts), memory: parseMemory(texts), pids: parsePids(texts), io: parseIo(texts) };
}

function parseCpu(texts: Texts): ContainerStats['cpu'] {
  const tree = texts.table(2, 'cpu.stat');
  const v1 = texts.table(1, 'cpu.stat');
  const micro = (key: string): number | undefined => scaled(tree.get(key), 1e3);
  const nano = (file: string): number | undefined => scaled(texts.number(1, file), 1e6);
  const throttledMs = micro('throttled_usec') ?? scaled(v1.get('throttled_time'), 1e6);
  const throttledPeriods = tree.get('nr_throttled') ?? v1.get('nr_throttled');
  return {
    usageMs: micro('usage_usec') ?? nano('cpuacct.usage') ?? 0,
    userMs: micro('user_usec') ?? nano('cpuacct.usage_user') ?? 0,
    systemMs: micro('system_usec') ?? nano('cpuacct.usage_sys') ?? 0,
    ...(throttledMs !== undefined && { throttledMs }),
    ...(throttledPeriods !== undefined && { throttledPeriods }),
  };
}

function parseMemory(texts: Texts): ContainerStats['memory'] {
  const events = texts.table(2, 'memory.events');
  const stat = texts.table(2, 'memory.stat');
  const v1 = texts.table(1, 'memory.stat');
  const current = texts.number(2, 'memory.current') ?? texts.number(1, 'memory.usage_in_bytes') ?? 0;
  const peak = texts.number(2, 'memory.peak') ?? texts.number(1, 'memory.max_usage_in_bytes') ?? 0;
  // The v1 keys without `total_` leave out children.
  const swap = texts.number(2, 'memory.swap.current') ?? v1.get('total_swap');
  const anonymous = stat.get('anon') ?? v1.get('total_rss');
  const cache = stat.get('file') ?? v1.get('total_cache');
  return {
    current,
    peak: Math.max(peak, current),
    ...(swap !== undefined && { swap }),
    ...(anonymous !== undefined && { anonymous }),
    ...(cache !== undefined && { cache }),
    oomKills: events.get('oom_kill') ?? texts.table(1, 'memory.oom_control').get('oom_kill') ?? 0,
    limitHits: events.get('max') ?? texts.number(1, 'memory.failcnt') ?? 0,
  };
}

function parsePids(texts: Texts): ContainerStats['pids'] {
  // Both versions have the same files.
  const number = (file: string): number => texts.number(2, file) ?? texts.number(1, file) ?? 0;
  const limitHits = texts.table(2, 'pids.events').get('max') ?? texts.table(1, 'pids.events').get('max') ?? 0;
  const current = number('pids.current');
  return { current, peak: Math.max(number('pids.peak'), current), limitHits };
}

function parseIo(texts: Texts): ContainerStats['io'] {
  const sums = { readBytes: 0, writeBytes: 0, readOps: 0, writeOps: 0 };
  const add = (key: keyof typeof sums, text: string | undefined): void => {
    sums[key] = Math.min(sums[key] + (count(text) ?? 0), Number.MAX_SAFE_INTEGER);
  };
  // 8:0 rbytes=1024 wbytes=0 rios=1 wios=0 dbytes=0 dios=0
  for (const [device, ...fields] of texts.lines(2, 'io.stat')) {
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
    for (const [device, kind, value] of texts.lines(1, file)) {
      if (!isDevice(device)) continue;
      if (kind === 'Read') add(read, value);
      else if (kind === 'Write') add(write, value);
    }
  }
  return sums;
}

/** The texts by version and file name: a controller is in one hierarchy only, so that is unambiguous. */
class Texts {
  readonly #texts = new Map<string, string>();

  constructor(layout: CgroupLayout, contents: ReadonlyMap<string, string>) {
    layout.hierarchies.forEach(({ version }, index) => {
      const prefix = `${index}/`;
      for (const [key, text] of contents) {
        if (key.startsWith(prefix)) this.#texts.set(`${version}/${key.slice(prefix.length)}`, bounded(text));
      }
    });
  }

  /** The words of every line. */
  lines(version: 1 | 2, file: string): string[][] {
    const text = this.#texts.get(`${version}/${file}`) ?? '';
    return text.split('\n').map((line) => line.split(' '));
  }

  /** A file of `key value` lines. The first of equal keys counts. */
  table(version: 1 | 2, file: string): ReadonlyMap<string, number> {
    const table = new Map<string, number>();
    for (const [key, value, ...rest] of this.lines(version, file)) {
      const number = rest.length === 0 ? count(value) : undefined;
      if (key && number !== undefined && !table.has(key)) table.set(key, number);
    }
    return table;
  }

  /** A file of one number. */
  number(version: 1 | 2, file: string): number | undefined {
    return count(this.#texts.get(`${version}/${file}`)?.replace(/\n$/, ''));
  }
}

/** The whole lines of the first part of a text that is too long: a number cut in two would be another number. */
function bounded(text: string): string {
  return text.length <= maxText ? text : text.slice(0, text.lastIndexOf('\n', maxText) + 1);
}

/** A count as the kernel prints it: an unsigned 64-bit decimal, held to what a number is exact for. */
function count(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,20}$/.test(text)) return undefined;
  return Math.min(Number(text), Number.MAX_SAFE_INTEGER);
}

function scaled(value: number | undefined, divisor: number): number | undefined {
  return value === undefined ? undefined : value / divisor;
}

function isDevice(text: string | undefined): boolean {
  return text !== undefined && /^\d{1,10}:\d{1,10}$/.test(text);
}
