/**
 * What a profile means, written as plainly as can be and apart from the compiler: the yardstick that compiled programs are
 * measured with. Also the seeded random numbers of the property tests, so that a failure can be repeated.
 */

import type { Capabilities } from '../../../../lib/primitives/capabilities.js';
import { isNarrowArgument } from '../../../../lib/primitives/seccomp/arguments.js';
import type { SeccompArgument, SeccompProfile } from '../../../../lib/primitives/seccomp/profile.js';
import { type SeccompArch, syscallName } from '../../../../lib/primitives/seccomp/syscalls.js';

/** The kernel's return values, from the most restrictive on. */
const returns = [
  ['SCMP_ACT_KILL_PROCESS', 0x80000000],
  ['SCMP_ACT_KILL_THREAD', 0x00000000],
  ['SCMP_ACT_KILL', 0x00000000],
  ['SCMP_ACT_TRAP', 0x00030000],
  ['SCMP_ACT_ERRNO', 0x00050000],
  ['SCMP_ACT_NOTIFY', 0x7fc00000],
  ['SCMP_ACT_TRACE', 0x7ff00000],
  ['SCMP_ACT_LOG', 0x7ffc0000],
  ['SCMP_ACT_ALLOW', 0x7fff0000],
] as const;

export const ALLOW = 0x7fff0000;
export const EPERM = 0x00050001;
export const ENOSYS = 0x00050026;
export const KILL_PROCESS = 0x80000000;

interface Situation {
  readonly arch: SeccompArch;
  readonly capabilities: Capabilities;
  readonly kernel: readonly [number, number];
}

/** The answer to one call by reading the profile's rules one after the other. */
export function evaluate(profile: SeccompProfile, situation: Situation, nr: number, args: readonly bigint[]): number {
  const name = syscallName(situation.arch, nr);
  if (name === undefined) return ENOSYS;
  const matching = (profile.syscalls ?? []).filter(
    ({ names, includes, excludes, args: conditions }) =>
      names.includes(name) &&
      (includes?.caps ?? []).every((cap) => situation.capabilities.has(cap)) &&
      !(excludes?.caps ?? []).some((cap) => situation.capabilities.has(cap)) &&
      (includes?.arches === undefined || includes.arches.includes(goArch(situation.arch))) &&
      !excludes?.arches?.includes(goArch(situation.arch)) &&
      (includes?.minKernel === undefined || reached(situation.kernel, includes.minKernel)) &&
      (excludes?.minKernel === undefined || !reached(situation.kernel, excludes.minKernel)) &&
      (conditions ?? []).every((condition) => holds(condition, name, args)),
  );
  for (const [action, value] of returns) {
    const rule = matching.find((one) => one.action === action);
    if (rule) return withData(action, value, rule.errnoRet);
  }
  const value = returns.find(([action]) => action === profile.defaultAction)?.[1] ?? 0;
  return withData(profile.defaultAction, value, profile.defaultErrnoRet);
}

function withData(action: string, value: number, data = 1): number {
  return action === 'SCMP_ACT_ERRNO' || action === 'SCMP_ACT_TRACE' ? value + data : value;
}

function holds({ index, op, value, valueTwo }: SeccompArgument, name: string, args: readonly bigint[]): boolean {
  const width = isNarrowArgument(name, index) ? 32 : 64;
  const cut = (number: number | bigint): bigint => BigInt.asUintN(width, BigInt(number));
  const actual = cut(args[index] ?? 0n);
  switch (op) {
    case 'SCMP_CMP_NE':
      return actual !== cut(value);
    case 'SCMP_CMP_LT':
      return actual < cut(value);
    case 'SCMP_CMP_LE':
      return actual <= cut(value);
    case 'SCMP_CMP_EQ':
      return actual === cut(value);
    case 'SCMP_CMP_GE':
      return actual >= cut(value);
    case 'SCMP_CMP_GT':
      return actual > cut(value);
    case 'SCMP_CMP_MASKED_EQ':
      return (actual & cut(value)) === cut(valueTwo ?? 0);
  }
}

function goArch(arch: SeccompArch): string {
  return arch === 'x64' ? 'amd64' : 'arm64';
}

function reached([major, minor]: readonly [number, number], wanted: string): boolean {
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split('.').map(Number);
  return major * 1000 + minor >= wantedMajor * 1000 + wantedMinor;
}

/** Random numbers from a seed (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  uint32(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** From 0 up to, not including, `end`. */
  below(end: number): number {
    return this.uint32() % end;
  }

  chance(share: number): boolean {
    return this.uint32() < share * 2 ** 32;
  }

  pick<T>(list: readonly T[]): T {
    const index = this.below(list.length);
    if (list.length === 0) throw new RangeError('nothing to pick from');
    return list[index] as T;
  }

  uint64(): bigint {
    return (BigInt(this.uint32()) << 32n) | BigInt(this.uint32());
  }
}
