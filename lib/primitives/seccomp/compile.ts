/**
 * From a profile to the BPF program that the kernel runs before every system call:
 *
 * 1. the architecture, before anything else, since numbers mean nothing without it;
 * 2. a balanced tree over ranges of numbers with the same verdict: some nine comparisons instead of one for each name;
 * 3. at its leaves an answer, or tests of the arguments.
 *
 * Since 5.11 the kernel runs a new filter once for every number in advance, and never again for those that it allows
 * whatever the arguments (seccomp_cache_prepare). It only follows the few instructions used here.
 */

import { OptionError } from '../../errors.js';
import { returnEnosys, returnKillProcess } from './action.js';
import { Assembler, type Position } from './assembler.js';
import { auditArch, dataOffset, encode, maxInstructions, opcode } from './bpf.js';
import { isValidated, type SeccompProfile, validateProfile } from './profile.js';
import { checkTarget, resolve, type SeccompTarget, type Test, type Verdict } from './resolve.js';
import { maxKnown, syscallName } from './syscalls.js';

/** What a filter is compiled for: the architecture, the container's bounding set, and the kernel's version. */
export type CompileOptions = SeccompTarget;

/** Numbers from `start` up to the next range. */
interface Range {
  readonly start: number;
  readonly verdict: Verdict;
  readonly key: string;
}

/**
 * Compiles a profile to `struct sock_filter` bytes, eight for each instruction.
 *
 * Besides the profile's own rules: calls of a foreign architecture kill the process; numbers that no kernel known here has
 * (gaps in the table, above its end, the x32 ABI) fail with ENOSYS, whatever the default action.
 * @throws OptionError for a profile that is not valid, or needs more than the kernel's 4096 instructions
 * @throws UnsupportedError for actions that need a supervisor
 * @see https://man7.org/linux/man-pages/man2/seccomp.2.html
 */
export function compileSeccomp(profile: SeccompProfile, options: CompileOptions): Uint8Array {
  checkTarget(options);
  const ranges = rangesOf(validateProfile(profile), options);
  const assembler = new Assembler();
  const tree = writeTree(assembler, ranges, 0, ranges.length, new Map());
  const start = assembler.load(dataOffset.nr, tree);
  // A foreign architecture is killed and not refused with an errno: a number it returns from means another call there, so
  // a program that went on would run with every one of its calls failing, its exit among them. No honest program gets
  // here: a 32-bit executable dies at its first call with SIGSYS, which names the cause.
  const foreign = assembler.return(returnKillProcess);
  const native = assembler.compare(opcode.jumpIfEqual, auditArch[options.arch], start, foreign);
  assembler.load(dataOffset.arch, native);
  if (assembler.length > maxInstructions) {
    const expected = `a profile that compiles to at most ${maxInstructions} instructions`;
    throw new OptionError('seccomp', expected, assembler.length);
  }
  return encode(assembler.finish());
}

const cache = new WeakMap<SeccompProfile, Map<string, Uint8Array>>();
/** Containers of one program use a handful of capability sets; more than this is a loop over all of them. */
const cachedPerProfile = 64;

/**
 * As {@link compileSeccomp}, remembered. A profile that {@link validateProfile} returned never changes, so that the object
 * itself stands for its content; any other is compiled anew each time.
 */
export function compileSeccompCached(profile: SeccompProfile, options: CompileOptions): Uint8Array {
  if (!isValidated(profile)) return compileSeccomp(profile, options);
  const programs = cache.get(profile) ?? new Map<string, Uint8Array>();
  cache.set(profile, programs);
  const key = `${options.arch} ${options.capabilities.mask} ${options.kernel.join('.')}`;
  let program = programs.get(key);
  if (!program) {
    program = compileSeccomp(profile, options);
    if (programs.size >= cachedPerProfile) programs.clear();
    programs.set(key, program);
  }
  // A copy, since whoever holds the cached bytes could change the next container's filter.
  return program.slice();
}

/** All numbers from 0 to 2^32-1 as the fewest ranges of equal verdicts. */
function rangesOf(profile: SeccompProfile, target: SeccompTarget): Range[] {
  const { verdicts, other } = resolve(profile, target);
  const enosys: Verdict = { cases: [], otherwise: returnEnosys };
  const unnamed: Verdict = { cases: [], otherwise: other };
  const ranges: Range[] = [];
  const add = (start: number, verdict: Verdict): void => {
    const key = keyOf(verdict);
    if (ranges.at(-1)?.key !== key) ranges.push({ start, verdict, key });
  };
  const end = maxKnown(target.arch) + 1;
  for (let number = 0; number < end; number++) {
    const exists = syscallName(target.arch, number) !== undefined;
    add(number, exists ? (verdicts.get(number) ?? unnamed) : enosys);
  }
  // Holds the x32 ABI as well: its numbers have bit 30 set, and on old kernels 512 to 547 reached it without the bit.
  // ENOSYS is what a kernel without these calls answers, and what programs fall back on; EPERM would break them.
  add(end, enosys);
  return ranges;
}

function keyOf({ cases, otherwise }: Verdict): string {
  if (cases.length === 0) return String(otherwise);
  const texts = cases.map(
    ({ tests, answer }) => `${tests.map((test) => Object.values(test).join()).join('&')}:${answer}`,
  );
  return `${texts.join('|')}|${otherwise}`;
}

function writeTree(
  assembler: Assembler,
  ranges: readonly Range[],
  from: number,
  to: number,
  leaves: Map<string, Position>,
): Position {
  const middle = (from + to) >> 1;
  const range = ranges[middle];
  if (!range) throw new RangeError(`no range ${middle} of ${ranges.length}`);
  if (to - from === 1) return writeLeaf(assembler, range, leaves);
  const upper = writeTree(assembler, ranges, middle, to, leaves);
  const lower = writeTree(assembler, ranges, from, middle, leaves);
  return assembler.compare(opcode.jumpIfGreaterOrEqual, range.start, upper, lower);
}

function writeLeaf(assembler: Assembler, { verdict, key }: Range, leaves: Map<string, Position>): Position {
  if (verdict.cases.length === 0) return assembler.return(verdict.otherwise);
  const known = leaves.get(key);
  if (known !== undefined) return known;
  let next = assembler.return(verdict.otherwise);
  for (const { tests, answer } of verdict.cases.toReversed()) {
    let success = assembler.return(answer);
    for (const test of tests.toReversed()) success = writeTest(assembler, test, success, next);
    next = success;
  }
  leaves.set(key, next);
  return next;
}

/** A 64-bit test with 32-bit registers: the upper half decides, unless it is equal. */
function writeTest(assembler: Assembler, test: Test, success: Position, failure: Position): Position {
  const [then, otherwise] = test.negated ? [failure, success] : [success, failure];
  const low = writeHalf(assembler, test, dataOffset.low(test.index), 0n, lowComparison[test.relation], then, otherwise);
  if (test.mask >> 32n === 0n && test.value >> 32n === 0n) return low;
  const high = dataOffset.high(test.index);
  if (test.relation === 'equal') return writeHalf(assembler, test, high, 32n, opcode.jumpIfEqual, low, otherwise);
  const upper = Number(test.value >> 32n);
  const unlessEqual = assembler.compare(opcode.jumpIfEqual, upper, low, otherwise);
  return assembler.load(high, assembler.compare(opcode.jumpIfGreater, upper, then, unlessEqual));
}

const lowComparison = {
  equal: opcode.jumpIfEqual,
  greater: opcode.jumpIfGreater,
  greaterOrEqual: opcode.jumpIfGreaterOrEqual,
} as const;

function writeHalf(
  assembler: Assembler,
  test: Test,
  offset: number,
  shift: bigint,
  code: Parameters<Assembler['compare']>[0],
  then: Position,
  otherwise: Position,
): Position {
  const mask = Number((test.mask >> shift) & 0xffff_ffffn);
  const comparison = assembler.compare(code, Number((test.value >> shift) & 0xffff_ffffn), then, otherwise);
  return assembler.load(offset, mask === 0xffff_ffff ? comparison : assembler.and(mask, comparison));
}
