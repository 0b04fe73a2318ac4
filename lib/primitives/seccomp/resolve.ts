/** From a profile's rules by name to one verdict for each system call number, for one machine and one container. */

import { OptionError } from '../../errors.js';
import type { Capabilities } from '../capabilities.js';
import { defaultErrnoRet, precedence, returnValue } from './action.js';
import { isNarrowArgument } from './arguments.js';
import type { SeccompArgument, SeccompCondition, SeccompProfile } from './profile.js';
import { type SeccompArch, syscallNumber } from './syscalls.js';

/** What the rules of a profile depend on. */
export interface SeccompTarget {
  readonly arch: SeccompArch;
  /** The container's bounding set. */
  readonly capabilities: Capabilities;
  /** The kernel's version, such as `[6, 1]`. */
  readonly kernel: readonly [major: number, minor: number];
}

/** `(argument & mask) relation value`, or the opposite of it. The mask of a 32-bit argument has no upper half. */
export interface Test {
  readonly index: number;
  readonly mask: bigint;
  readonly relation: 'equal' | 'greater' | 'greaterOrEqual';
  readonly negated: boolean;
  readonly value: bigint;
}

/** An answer given when all of the tests hold. */
interface Case {
  readonly tests: readonly Test[];
  readonly answer: number;
}

/** The answer to one system call: that of the first case that holds, or else the last word. */
export interface Verdict {
  readonly cases: readonly Case[];
  readonly otherwise: number;
}

const goArch: Readonly<Record<SeccompArch, string>> = { x64: 'amd64', arm64: 'arm64' };
const all64 = 0xffff_ffff_ffff_ffffn;
const all32 = 0xffff_ffffn;

/** The verdicts of the numbers that some rule names, and the answer to the others. */
export function resolve(
  profile: SeccompProfile,
  target: SeccompTarget,
): { verdicts: Map<number, Verdict>; other: number } {
  const other = returnValue(profile.defaultAction, profile.defaultErrnoRet ?? defaultErrnoRet);
  const cases = new Map<number, Case[]>();
  for (const { names, action, errnoRet, args, includes, excludes } of profile.syscalls ?? []) {
    if (!includesHold(includes, target) || excludesHold(excludes, target)) continue;
    const answer = returnValue(action, errnoRet ?? defaultErrnoRet);
    for (const name of names) {
      const number = syscallNumber(target.arch, name);
      // The name of another architecture: nothing to say here, as in OCI runtimes.
      if (number === undefined) continue;
      const one: Case = { tests: (args ?? []).map((argument) => lower(argument, name)), answer };
      const known = cases.get(number);
      if (known) known.push(one);
      else cases.set(number, [one]);
    }
  }
  return { verdicts: new Map(Array.from(cases, ([number, list]) => [number, decide(list, other)])), other };
}

/**
 * Of several rules for one call, the most restrictive that holds wins, as it does in the kernel among several filters, so
 * that their order never matters and a rule that denies is never undone by one that allows.
 */
function decide(cases: readonly Case[], other: number): Verdict {
  const sorted = cases.toSorted((one, two) => precedence(one.answer) - precedence(two.answer));
  const last = sorted.findIndex(({ tests }) => tests.length === 0);
  if (last < 0) return { cases: sorted, otherwise: other };
  return { cases: sorted.slice(0, last), otherwise: sorted[last]?.answer ?? other };
}

function lower({ index, op, value, valueTwo }: SeccompArgument, syscall: string): Test {
  const width = isNarrowArgument(syscall, index) ? all32 : all64;
  const equal = { index, mask: width, relation: 'equal', negated: false, value: BigInt(value) & width } as const;
  switch (op) {
    case 'SCMP_CMP_EQ':
      return equal;
    case 'SCMP_CMP_NE':
      return { ...equal, negated: true };
    case 'SCMP_CMP_GT':
      return { ...equal, relation: 'greater' };
    case 'SCMP_CMP_LE':
      return { ...equal, relation: 'greater', negated: true };
    case 'SCMP_CMP_GE':
      return { ...equal, relation: 'greaterOrEqual' };
    case 'SCMP_CMP_LT':
      return { ...equal, relation: 'greaterOrEqual', negated: true };
    case 'SCMP_CMP_MASKED_EQ':
      return { ...equal, mask: BigInt(value) & width, value: BigInt(valueTwo ?? 0) & width };
  }
}

function includesHold(condition: SeccompCondition | undefined, { arch, capabilities, kernel }: SeccompTarget): boolean {
  const { caps = [], arches = [], minKernel } = condition ?? {};
  if (arches.length > 0 && !arches.includes(goArch[arch])) return false;
  return caps.every((name) => capabilities.has(name)) && (minKernel === undefined || isAtLeast(kernel, minKernel));
}

function excludesHold(condition: SeccompCondition | undefined, { arch, capabilities, kernel }: SeccompTarget): boolean {
  const { caps = [], arches = [], minKernel } = condition ?? {};
  if (arches.includes(goArch[arch]) || caps.some((name) => capabilities.has(name))) return true;
  return minKernel !== undefined && isAtLeast(kernel, minKernel);
}

function isAtLeast([major, minor]: readonly [number, number], version: string): boolean {
  const [wantedMajor = 0, wantedMinor = 0] = version.split('.').map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

/** @throws OptionError for an architecture without a table, or a version that is not two numbers */
export function checkTarget({ arch, kernel }: SeccompTarget): void {
  if (!Object.hasOwn(goArch, arch)) throw new OptionError('arch', "'x64' or 'arm64'", arch);
  if (kernel.length !== 2 || !kernel.every((part) => Number.isSafeInteger(part) && part >= 0)) {
    throw new OptionError('kernel', 'a version such as [6, 1]', kernel.join('.'));
  }
}
