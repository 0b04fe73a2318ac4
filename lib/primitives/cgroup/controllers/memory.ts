/** The memory controller: what is guaranteed, held back and refused, in bytes; what is used; how often it was too much. */

import { defineSchema, readBoolean, readObject } from '../../../container/settings/schema.js';
import { parseSize, type Size } from '../../../units.js';
import { known, limitOf, numberOf, tableOf } from '../text.js';
import { type ControllerKind, type FileTexts, type FileValue, type WriteContext, Writes } from './controller.js';

/** Protections and limits of memory, page cache included. */
export interface MemorySettings {
  /** Never reclaimed, and not while anything else can be. v2. */
  readonly min?: Size | 'max';
  readonly low?: Size | 'max';
  /** Above it processes are slowed down and memory is reclaimed, but none is refused. v2. */
  readonly high?: Size | 'max';
  /** Above it the kernel reclaims, and if that does not help it kills. */
  readonly max?: Size | 'max';
  /** Swap on top of `max`. */
  readonly swapMax?: Size | 'max';
  /** Above it processes are slowed down. v2 (Linux 5.8). */
  readonly swapHigh?: Size | 'max';
  /** Memory that compressed swap may take. v2 (Linux 5.19). */
  readonly zswapMax?: Size | 'max';
  /** Whether a kill for want of memory takes the whole cgroup. v2 (Linux 4.19). */
  readonly oomGroup?: boolean;
}

/** {@link MemorySettings}, checked: sizes are bytes. */
export interface MemoryValues extends MemorySettings {
  readonly min?: number | 'max';
  readonly low?: number | 'max';
  readonly high?: number | 'max';
  readonly max?: number | 'max';
  readonly swapMax?: number | 'max';
  readonly swapHigh?: number | 'max';
  readonly zswapMax?: number | 'max';
}

/** Bytes, and counts of events. */
export interface MemoryStats {
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
}

/** What v1 prints for no limit is LONG_MAX in whole pages. */
const unlimitedV1 = 2 ** 62;
const sizes = ['min', 'low', 'high', 'max', 'swapMax', 'swapHigh', 'zswapMax'] as const;
const schema = defineSchema([...sizes, 'oomGroup']);
const unifiedFiles = {
  min: 'memory.min',
  low: 'memory.low',
  high: 'memory.high',
  max: 'memory.max',
  swapHigh: 'memory.swap.high',
  swapMax: 'memory.swap.max',
  zswapMax: 'memory.zswap.max',
} as const;
const v1Files = ['memory.limit_in_bytes', 'memory.memsw.limit_in_bytes'] as const;

function parse(settings: MemorySettings, option: string): MemoryValues {
  const fields = readObject(settings, option, schema);
  const size = (key: (typeof sizes)[number]): number | 'max' | undefined => readLimit(fields[key], `${option}.${key}`);
  return known<MemoryValues>({
    min: size('min'),
    low: size('low'),
    high: size('high'),
    max: size('max'),
    swapMax: size('swapMax'),
    swapHigh: size('swapHigh'),
    zswapMax: size('zswapMax'),
    oomGroup: fields.oomGroup === undefined ? undefined : readBoolean(fields.oomGroup, `${option}.oomGroup`, false),
  });
}

/** A size, or the word for no limit. */
export function readLimit(value: unknown, option: string): number | 'max' | undefined {
  return value === undefined || value === 'max' ? value : parseSize(value, option);
}

export function memoryWrites(values: MemoryValues, version: 1 | 2, context: WriteContext): FileValue[] {
  const writes = new Writes('memory');
  if (version === 1) addV1(writes, values, context);
  else {
    writes.add('memory.oom.group', values.oomGroup === undefined ? undefined : Number(values.oomGroup));
    for (const key of ['min', 'low', 'high', 'max', 'swapHigh'] as const) writes.add(unifiedFiles[key], values[key]);
    // Absent from a kernel without swap, which has nothing to limit.
    writes.add('memory.swap.max', values.swapMax, true);
    writes.add('memory.zswap.max', values.zswapMax);
  }
  return writes.list;
}

/** `max` and `swapMax` are one sum on v1, so the second is only written together with the first. */
function addV1(writes: Writes, { max, swapMax }: MemoryValues, { update }: WriteContext): void {
  if (max === undefined) return;
  // memory.limit may never be above memory.memsw.limit, so that one goes out of the way first and comes back after.
  if (update) writes.add('memory.memsw.limit_in_bytes', -1, true);
  writes.add('memory.limit_in_bytes', max === 'max' ? -1 : max);
  if (swapMax === undefined) return;
  const sum = max === 'max' || swapMax === 'max' ? -1 : max + swapMax;
  // Absent without swap accounting (CONFIG_SWAP, swapaccount=0). -1 is what it is already.
  if (sum !== -1) writes.add('memory.memsw.limit_in_bytes', sum, true);
  if (swapMax === 0) writes.add('memory.swappiness', 0);
}

/** The controller, for {@link CgroupV2.memory}. */
export const memory: ControllerKind<MemorySettings, MemoryValues> = {
  name: 'memory',
  parse,
  writes: memoryWrites,
  onlyUnified: ['min', 'low', 'high', 'swapHigh', 'zswapMax', 'oomGroup'],
  files: (version) => (version === 2 ? [...Object.values(unifiedFiles), 'memory.oom.group'] : v1Files),
  read(texts, version) {
    if (version === 1) return readV1(texts);
    const group = numberOf(texts.get('memory.oom.group'));
    return known<MemoryValues>({
      min: limitOf(texts.get(unifiedFiles.min)),
      low: limitOf(texts.get(unifiedFiles.low)),
      high: limitOf(texts.get(unifiedFiles.high)),
      max: limitOf(texts.get(unifiedFiles.max)),
      swapMax: limitOf(texts.get(unifiedFiles.swapMax)),
      swapHigh: limitOf(texts.get(unifiedFiles.swapHigh)),
      zswapMax: limitOf(texts.get(unifiedFiles.zswapMax)),
      oomGroup: group === undefined ? undefined : group === 1,
    });
  },
};

function readV1(texts: FileTexts): MemoryValues {
  const [max, sum] = v1Files.map((file) => numberOf(texts.get(file)));
  const bounded = (value: number): number | 'max' =>
    value >= Number.MAX_SAFE_INTEGER || value >= unlimitedV1 ? 'max' : value;
  const limit = max === undefined ? undefined : bounded(max);
  const both = sum === undefined ? undefined : bounded(sum);
  const swapMax = typeof both === 'number' && typeof limit === 'number' ? Math.max(0, both - limit) : both && 'max';
  return known<MemoryValues>({ max: limit, swapMax });
}

export const memoryStatFiles = {
  v2: ['memory.current', 'memory.peak', 'memory.swap.current', 'memory.events', 'memory.stat'],
  v1: [
    'memory.usage_in_bytes',
    'memory.max_usage_in_bytes',
    'memory.oom_control',
    'memory.failcnt',
    'memory.memsw.failcnt',
    'memory.stat',
  ],
} as const;

export function memoryStats(unified: FileTexts, v1: FileTexts): MemoryStats {
  const events = tableOf(unified.get('memory.events'));
  const stat = tableOf(unified.get('memory.stat'));
  const legacy = tableOf(v1.get('memory.stat'));
  const current = numberOf(unified.get('memory.current')) ?? numberOf(v1.get('memory.usage_in_bytes')) ?? 0;
  const peak = numberOf(unified.get('memory.peak')) ?? numberOf(v1.get('memory.max_usage_in_bytes')) ?? 0;
  // The v1 keys without `total_` leave out children.
  const swap = numberOf(unified.get('memory.swap.current')) ?? legacy.get('total_swap');
  const anonymous = stat.get('anon') ?? legacy.get('total_rss');
  const cache = stat.get('file') ?? legacy.get('total_cache');
  // Each refusal counts at the limit that was hit: without swap that is always the one of the sum.
  const failures = (numberOf(v1.get('memory.failcnt')) ?? 0) + (numberOf(v1.get('memory.memsw.failcnt')) ?? 0);
  return {
    current,
    peak: Math.max(peak, current),
    ...(swap !== undefined && { swap }),
    ...(anonymous !== undefined && { anonymous }),
    ...(cache !== undefined && { cache }),
    oomKills: events.get('oom_kill') ?? tableOf(v1.get('memory.oom_control')).get('oom_kill') ?? 0,
    limitHits: events.get('max') ?? Math.min(failures, Number.MAX_SAFE_INTEGER),
  };
}
