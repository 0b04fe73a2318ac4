/** The cpu controller: how much processor time, and whose turn it is. Processor time is counted without it too. */

import { defineSchema, readBoolean, readInteger, readObject } from '../../../container/settings/schema.js';
import { OptionError } from '../../../errors.js';
import { type Duration, parseDuration } from '../../../units.js';
import { known, limitOf, numberOf, scaled, tableOf } from '../text.js';
import { cpuShares, cpuWeightOf } from '../weight.js';
import { type ControllerKind, type FileTexts, type FileValue, Writes } from './controller.js';

/** Limits and shares of processor time. */
export interface CpuSettings {
  /** Share of contended time, 1 to 10000; 100 is what others have. */
  readonly weight?: number;
  /** Processor time as a number of processors, such as 0.5, or `'max'`. */
  readonly max?: number | 'max';
  /** In which periods `max` is enforced, 1 ms to 1 s; 100 ms by default. */
  readonly period?: Duration;
  /** Unused time of earlier periods that one period may use on top. At most the quota of a period (Linux 5.14). */
  readonly burst?: Duration;
  /** Only run when nothing else wants to (SCHED_IDLE, Linux 5.15). `weight` cannot be changed meanwhile. */
  readonly idle?: boolean;
  /** The least and the most performance that is asked of the processor, in percent, or `'max'` (CONFIG_UCLAMP_TASK_GROUP). */
  readonly uclampMin?: number | 'max';
  readonly uclampMax?: number | 'max';
}

/** {@link CpuSettings}, checked: durations are milliseconds. */
export interface CpuValues extends CpuSettings {
  readonly period?: number;
  readonly burst?: number;
}

/** Processor time in milliseconds, with its fraction. */
export interface CpuStats {
  readonly usageMs: number;
  readonly userMs: number;
  readonly systemMs: number;
  /** How long processes were held back by `max`, and in how many periods. */
  readonly throttledMs?: number;
  readonly throttledPeriods?: number;
}

/** cpu.max and cpu.cfs_period_us, in microseconds; the kernel's own default. */
const defaultPeriod = 100_000;
/** The kernel refuses a smaller quota (kernel/sched/core.c, min_cfs_quota_period). */
const minQuota = 1_000;
const schema = defineSchema(['weight', 'max', 'period', 'burst', 'idle', 'uclampMin', 'uclampMax']);

function parse(settings: CpuSettings, option: string): CpuValues {
  const { weight, max, period, burst, idle, uclampMin, uclampMax } = readObject(settings, option, schema);
  if (period !== undefined && max === undefined) {
    throw new OptionError(`${option}.period`, 'to be given together with max', period);
  }
  return known<CpuValues>({
    weight: weight === undefined ? undefined : readInteger(weight, `${option}.weight`, 1, 10_000),
    max: max === undefined ? undefined : readProcessors(max, `${option}.max`),
    period: period === undefined ? undefined : parseDuration(period, `${option}.period`, { min: 1, max: 1000 }),
    burst: burst === undefined ? undefined : parseDuration(burst, `${option}.burst`),
    idle: idle === undefined ? undefined : readBoolean(idle, `${option}.idle`, false),
    uclampMin: readPercent(uclampMin, `${option}.uclampMin`),
    uclampMax: readPercent(uclampMax, `${option}.uclampMax`),
  });
}

function readProcessors(value: unknown, option: string): number | 'max' {
  if (value === 'max') return value;
  if (typeof value !== 'number' || !(value >= 0.01 && value <= 8192)) {
    throw new OptionError(option, "a number of processors from 0.01 to 8192, such as 0.5, or 'max'", value);
  }
  return value;
}

function readPercent(value: unknown, option: string): number | 'max' | undefined {
  if (value === undefined || value === 'max') return value;
  if (typeof value !== 'number' || !(value >= 0 && value <= 100)) {
    throw new OptionError(option, "a percentage from 0 to 100, or 'max'", value);
  }
  return Math.round(value * 100) / 100;
}

/** Same for both versions but for `weight` and `max`, and the names. */
export function cpuWrites(values: CpuValues, version: 1 | 2): FileValue[] {
  const { weight, max, period, burst, idle, uclampMin, uclampMax } = values;
  const writes = new Writes('cpu');
  const periodUs = period === undefined ? defaultPeriod : period * 1000;
  const quota = typeof max === 'number' ? Math.max(minQuota, Math.round(max * periodUs)) : undefined;
  if (max !== undefined && version === 2) writes.add('cpu.max', `${quota ?? 'max'} ${periodUs}`);
  if (max !== undefined && version === 1) {
    writes.add('cpu.cfs_period_us', periodUs);
    writes.add('cpu.cfs_quota_us', quota ?? -1);
  }
  writes.add(version === 2 ? 'cpu.max.burst' : 'cpu.cfs_burst_us', burst === undefined ? undefined : burst * 1000);
  // An idle group has no weight of its own: it stops being idle before that is set.
  if (idle === false) writes.add('cpu.idle', 0);
  if (weight !== undefined) {
    if (version === 2) writes.add('cpu.weight', weight);
    else writes.add('cpu.shares', cpuShares(weight));
  }
  if (idle === true) writes.add('cpu.idle', 1);
  writes.add('cpu.uclamp.min', uclampMin);
  writes.add('cpu.uclamp.max', uclampMax);
  return writes.list;
}

/** The controller, for {@link CgroupV2.cpu}. */
export const cpu: ControllerKind<CpuSettings, CpuValues> = {
  name: 'cpu',
  parse,
  writes: cpuWrites,
  onlyUnified: [],
  files: (version) => [
    ...(version === 2
      ? ['cpu.weight', 'cpu.max', 'cpu.max.burst']
      : ['cpu.shares', 'cpu.cfs_quota_us', 'cpu.cfs_period_us', 'cpu.cfs_burst_us']),
    ...['cpu.idle', 'cpu.uclamp.min', 'cpu.uclamp.max'],
  ],
  read(texts, version) {
    const idle = numberOf(texts.get('cpu.idle'));
    const shares = numberOf(texts.get('cpu.shares'));
    const [quota, period] =
      version === 2
        ? (texts.get('cpu.max') ?? '').trim().split(' ')
        : [texts.get('cpu.cfs_quota_us')?.trim(), texts.get('cpu.cfs_period_us')?.trim()];
    const unlimited = quota === 'max' || quota === '-1';
    const max = unlimited ? 'max' : Number(quota) / Number(period);
    return known<CpuValues>({
      weight: version === 2 ? numberOf(texts.get('cpu.weight')) : shares && cpuWeightOf(shares),
      max: unlimited || (typeof max === 'number' && max > 0) ? max : undefined,
      period: scaled(numberOf(period), 1e3),
      burst: scaled(numberOf(texts.get(version === 2 ? 'cpu.max.burst' : 'cpu.cfs_burst_us')), 1e3),
      idle: idle === undefined ? undefined : idle === 1,
      uclampMin: percentOf(texts.get('cpu.uclamp.min')),
      uclampMax: percentOf(texts.get('cpu.uclamp.max')),
    });
  },
};

function percentOf(text: string | undefined): number | 'max' | undefined {
  const words = text?.trim() ?? '';
  return limitOf(words) ?? (/^\d{1,3}\.\d{1,2}$/.test(words) ? Number(words) : undefined);
}

/** The files of processor time: in any cgroup of v2, of the controllers cpu and cpuacct on v1. */
export const cpuStatFiles = {
  always: ['cpu.stat'],
  v1: ['cpu.stat'],
  cpuacct: ['cpuacct.usage', 'cpuacct.usage_user', 'cpuacct.usage_sys'],
} as const;

/** Processor time out of the files of v2, and of what v1 has. */
export function cpuStats(unified: FileTexts, v1: FileTexts): CpuStats {
  const tree = tableOf(unified.get('cpu.stat'));
  const legacy = tableOf(v1.get('cpu.stat'));
  const micro = (key: string): number | undefined => scaled(tree.get(key), 1e3);
  const nano = (file: string): number | undefined => scaled(numberOf(v1.get(file)), 1e6);
  const throttledMs = micro('throttled_usec') ?? scaled(legacy.get('throttled_time'), 1e6);
  const throttledPeriods = tree.get('nr_throttled') ?? legacy.get('nr_throttled');
  return {
    usageMs: micro('usage_usec') ?? nano('cpuacct.usage') ?? 0,
    userMs: micro('user_usec') ?? nano('cpuacct.usage_user') ?? 0,
    systemMs: micro('system_usec') ?? nano('cpuacct.usage_sys') ?? 0,
    ...(throttledMs !== undefined && { throttledMs }),
    ...(throttledPeriods !== undefined && { throttledPeriods }),
  };
}
