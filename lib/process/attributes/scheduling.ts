/** Scheduling as options: policy with what belongs to it, affinity, block device priority, core scheduling (sched(7)). */

import {
  defineSchema,
  type Fields,
  readBoolean,
  readChoice,
  readInteger,
  readObject,
} from '../../container/settings/schema.js';
import { OptionError, PermissionError } from '../../errors.js';
import { parseCpuset } from '../../primitives/cgroup/index.js';
import { type Rlimits, readRlimits } from '../../primitives/rlimits.js';
import type { SchedulingOptions } from './options.js';

export type Policy = NonNullable<SchedulingOptions['policy']>;
export type IoClass = NonNullable<SchedulingOptions['io']>['class'];

/** struct sched_attr, in the units of the kernel: nanoseconds. */
export interface PolicySettings {
  readonly policy: Policy;
  readonly nice: number;
  readonly priority: number;
  readonly runtime: number;
  readonly deadline: number;
  readonly period: number;
  readonly resetOnFork: boolean;
}

/** What is absent is the default, or the container's. */
export interface SchedulingSettings {
  readonly policy?: PolicySettings;
  /** A list of processors in canonical form. */
  readonly affinity?: string;
  readonly io?: { readonly class: IoClass; readonly level: number };
  readonly core?: boolean;
}

const keys = [
  'policy',
  'nice',
  'priority',
  'runtime',
  'deadline',
  'period',
  'resetOnFork',
  'affinity',
  'io',
  'core',
] as const;
type Key = (typeof keys)[number];
const schema = defineSchema(keys);
const ioSchema = defineSchema(['class', 'level']);
const policies = ['other', 'batch', 'idle', 'fifo', 'rr', 'deadline'] as const;
const ioClasses = ['none', 'realtime', 'best-effort', 'idle'] as const;
const policyKeys: readonly Key[] = ['policy', 'nice', 'priority', 'runtime', 'deadline', 'period', 'resetOnFork'];
/** Which of these each policy has, besides `resetOnFork`. */
const belongs: Readonly<Record<Policy, readonly Key[]>> = {
  other: ['nice'],
  batch: ['nice'],
  idle: ['nice'],
  fifo: ['priority'],
  rr: ['priority'],
  deadline: ['runtime', 'deadline', 'period'],
};

export const noScheduling: SchedulingSettings = Object.freeze({});
/** The normal policy: the launcher, and so every program's beginning, is in another. */
export const normalPolicy: PolicySettings = Object.freeze({
  policy: 'other',
  nice: 0,
  priority: 0,
  runtime: 0,
  deadline: 0,
  period: 0,
  resetOnFork: false,
});

export function readScheduling(value: unknown, option: string): SchedulingSettings {
  if (value === undefined) return noScheduling;
  const fields = readObject(value, option, schema);
  const { affinity, io, core } = fields;
  return Object.freeze({
    ...(policyKeys.some((key) => fields[key] !== undefined) ? { policy: readPolicy(fields, option) } : {}),
    ...(affinity === undefined ? {} : { affinity: parseCpuset(affinity, `${option}.affinity`) }),
    ...(io === undefined ? {} : { io: readIo(io, `${option}.io`) }),
    ...(core === undefined ? {} : { core: readBoolean(core, `${option}.core`, false) }),
  });
}

function readPolicy(fields: Fields<Key>, option: string): PolicySettings {
  const { nice, priority, resetOnFork } = fields;
  const policy = fields.policy === undefined ? 'other' : readChoice(fields.policy, `${option}.policy`, policies);
  for (const key of policyKeys) {
    if (fields[key] === undefined || key === 'policy' || key === 'resetOnFork' || belongs[policy].includes(key)) {
      continue;
    }
    throw new OptionError(`${option}.${key}`, `no setting beside policy '${policy}'`, fields[key], {
      hint: `what belongs to '${policy}' is ${belongs[policy].join(', ')}`,
    });
  }
  return Object.freeze({
    policy,
    nice: nice === undefined ? 0 : readInteger(nice, `${option}.nice`, -20, 19),
    priority: belongs[policy].includes('priority') ? readInteger(priority, `${option}.priority`, 1, 99) : 0,
    ...(policy === 'deadline' ? readDeadline(fields, option) : { runtime: 0, deadline: 0, period: 0 }),
    resetOnFork: readBoolean(resetOnFork, `${option}.resetOnFork`, false),
  });
}

const least = 0.001; // the kernel counts less than 1024 ns as nothing, and takes up to 2^63 of them
const most = 3_600_000;

function readDeadline(fields: Fields<Key>, option: string): { runtime: number; deadline: number; period: number } {
  const runtime = readMilliseconds(fields.runtime, `${option}.runtime`, most);
  const deadline = readMilliseconds(fields.deadline, `${option}.deadline`, most);
  const period = fields.period === undefined ? deadline : readMilliseconds(fields.period, `${option}.period`, most);
  if (runtime > deadline) throw new OptionError(`${option}.runtime`, 'at most the deadline', fields.runtime);
  if (deadline > period) throw new OptionError(`${option}.deadline`, 'at most the period', fields.deadline);
  return { runtime, deadline, period };
}

/** Nanoseconds. */
function readMilliseconds(value: unknown, option: string, max: number): number {
  if (typeof value !== 'number' || !(value >= least && value <= max)) {
    throw new OptionError(option, `milliseconds from ${least} to ${max}`, value);
  }
  return Math.max(1024, Math.round(value * 1e6));
}

function readIo(value: unknown, option: string): { class: IoClass; level: number } {
  const fields = readObject(value, option, ioSchema);
  const kind = readChoice(fields.class, `${option}.class`, ioClasses);
  const levelled = kind === 'realtime' || kind === 'best-effort';
  if (fields.level !== undefined && !levelled) {
    throw new OptionError(`${option}.level`, `no setting beside class '${kind}'`, fields.level);
  }
  const level = levelled ? readInteger(fields.level ?? 4, `${option}.level`, 0, 7) : 0;
  return Object.freeze({ class: kind, level });
}

/**
 * What the kernel would refuse a program of a container, whose capabilities count in its own user namespace only: it asks
 * for CAP_SYS_NICE in the host's (kernel/sched/syscalls.c, block/ioprio.c), or for the limits that stand in for it.
 * @throws PermissionError before anything is started
 */
export function expectSchedulable(
  { policy, io }: SchedulingSettings,
  rlimits: Rlimits,
  option: string,
  own?: Rlimits,
): void {
  const refuse = (what: string, hint: string): never => {
    const details = { syscall: 'sched_setattr', errno: 'EPERM', hint };
    throw new PermissionError(
      `option ${option}: ${what} needs CAP_SYS_NICE on the host, which no container has`,
      details,
    );
  };
  if (io?.class === 'realtime') refuse("io class 'realtime'", "use 'best-effort' with level 0");
  if (policy?.policy === 'deadline') refuse("policy 'deadline'", "use 'fifo' or 'rr', which RLIMIT_RTPRIO can allow");
  const soft = (name: 'nice' | 'rtprio') => (rlimits[name] ?? (own ?? readRlimits())[name])?.soft ?? 0;
  if (policy && policy.priority > 0 && soft('rtprio') < policy.priority) {
    refuse(
      `policy '${policy.policy}' with priority ${policy.priority}`,
      `rlimits.rtprio of at least ${policy.priority} allows it too`,
    );
  }
  if (policy && policy.nice < 0 && soft('nice') < 20 - policy.nice) {
    refuse(`nice ${policy.nice}`, `rlimits.nice of at least ${20 - policy.nice} allows it too`);
  }
}
