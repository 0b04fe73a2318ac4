/** Settings of the kernel for a container's own namespaces: sysctl values, and the offsets of its clocks. */

import { readFileSync } from 'node:fs';
import { OptionError } from '../../errors.js';
import { checkSysctl, type Sysctl } from '../../primitives/sysctl.js';
import { type ClockOffsets, nanoseconds } from '../../primitives/time-namespace.js';
import { copyObject, defineSchema, optionName, readObject } from './schema.js';

const mostSysctls = 128;
const noSysctls: readonly Sysctl[] = Object.freeze([]);

/** In the order they were given, each once. */
export function readSysctls(value: unknown, option: string, networkIsPrivate: boolean): readonly Sysctl[] {
  if (value === undefined) return noSysctls;
  const entries = Object.entries(copyObject(value, option));
  if (entries.length > mostSysctls) throw new OptionError(option, `at most ${mostSysctls} settings`, value);
  if (entries.length === 0) return noSysctls;
  return Object.freeze(
    entries.map(([key, content]) => checkSysctl(key, content, optionName(option, key), networkIsPrivate)),
  );
}

const schema = defineSchema(['monotonic', 'boottime']);
/** KTIME_SEC_MAX / 2 in milliseconds: the kernel refuses clocks that would come within 146 years of their end. */
const most = 4_611_686_018_000;

/** @throws OptionError where a clock would be before 0, or near its end */
export function readTimeOffsets(value: unknown, option: string): ClockOffsets | undefined {
  if (value === undefined) return undefined;
  const { monotonic, boottime } = readObject(value, option, schema);
  return Object.freeze({
    monotonic: readOffset(monotonic, `${option}.monotonic`, () => Number(process.hrtime.bigint()) / 1e6),
    boottime: readOffset(boottime, `${option}.boottime`, uptime),
  });
}

function readOffset(value: unknown, option: string, now: () => number): bigint {
  if (value === undefined) return 0n;
  if (typeof value !== 'number' || !Number.isFinite(value) || Math.abs(value) > most) {
    throw new OptionError(option, `milliseconds from ${-most} to ${most}`, value);
  }
  if (value < 0 && -value > now()) {
    throw new OptionError(option, `at least ${-Math.floor(now())} ms, as no clock may be before 0`, value);
  }
  return nanoseconds(value);
}

function uptime(): number {
  return Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1000;
}
