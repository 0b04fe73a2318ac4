/**
 * Sizes, durations and processor shares as people write them: `'256MiB'`, `'500ms'`, `1.5`. Sizes are bytes, times are
 * milliseconds; both are checked, finite and in range, so that no `NaN` or `1e309` turns into "unlimited".
 */

import { OptionError } from './errors.js';

/** A size: a number of bytes, or text such as `'64MiB'`, `'1.5GiB'`, `'10MB'`. */
export type Size = number | string;
/** A duration: a number of milliseconds, or text such as `'500ms'`, `'2s'`, `'1.5m'`, `'1h'`. */
export type Duration = number | string;

const sizeUnits: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

const durationUnits: Readonly<Record<string, number>> = { '': 1, ms: 1, s: 1e3, m: 60e3, h: 3600e3 };

/** The inclusive range that a parsed value must lie in. */
export interface Range {
  readonly min?: number;
  readonly max?: number;
}

/**
 * Bytes of a {@link Size}. `k`, `m`, `g` alone are powers of 1024, as in Docker; `kB`, `MB` are powers of 1000.
 * @throws OptionError naming `option`
 */
export function parseSize(
  value: unknown,
  option: string,
  { min = 0, max = Number.MAX_SAFE_INTEGER }: Range = {},
): number {
  const range = max === Number.MAX_SAFE_INTEGER ? `at least ${min} bytes` : `from ${min} to ${max} bytes`;
  const expected = `a size such as 67108864 or '64MiB', ${range}`;
  return parse(value, option, sizeUnits, expected, min, max);
}

/**
 * Milliseconds of a {@link Duration}. The longest is 2^31-1 ms, what a timer can hold.
 * @throws OptionError naming `option`
 */
export function parseDuration(value: unknown, option: string, { min = 0, max = 2 ** 31 - 1 }: Range = {}): number {
  const expected = `a duration such as 500, '500ms' or '2s', from ${min} to ${max} ms`;
  return parse(value, option, durationUnits, expected, min, max);
}

/** `67108864` as `'64 MiB'`, for people. */
export function formatSize(bytes: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < names.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${names[unit]}`;
}

function parse(
  value: unknown,
  option: string,
  units: Readonly<Record<string, number>>,
  expected: string,
  min: number,
  max: number,
): number {
  const parsed = typeof value === 'string' ? parseText(value, units) : value;
  if (typeof parsed !== 'number' || !Number.isFinite(parsed)) throw new OptionError(option, expected, value);
  // A fraction of a byte or of a millisecond is only sensible where a larger unit made it ('1.5GiB').
  const whole = typeof value === 'string' ? Math.floor(parsed) : parsed;
  if (!Number.isSafeInteger(whole) || whole < min || whole > max) throw new OptionError(option, expected, value);
  return whole;
}

function parseText(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^(\d{1,16}(\.\d{1,6})?)(?: ?([a-z]{1,3}))?$/i.exec(text);
  if (!match) return undefined;
  const unit = units[(match[3] ?? '').toLowerCase()];
  if (unit === undefined || (unit === 1 && match[2] !== undefined)) return undefined;
  return Number(match[1]) * unit;
}
