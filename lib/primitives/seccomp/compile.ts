/**
 * From a profile to the BPF program that the kernel runs before every system call:
 *
 * 1. the architecture, before anything else, since numbers mean nothing without it;
 * 2. a tree over ranges of numbers with the same verdict, balanced by how often each is expected to be asked for: a handful
 *    of comparisons instead of one for each name (tree.ts);
 * 3. at its leaves an answer, or tests of the arguments (tests.ts).
 *
 * Since 5.11 the kernel runs a new filter once for every number in advance, and never again for those that it allows
 * whatever the arguments (seccomp_cache_prepare). It only follows the few instructions used here.
 */

import { OptionError } from '../../errors.js';
import { returnEnosys, returnKillProcess } from './action.js';
import { Assembler } from './assembler.js';
import { auditArch, dataOffset, encode, maxInstructions, opcode } from './bpf.js';
import { isValidated, type SeccompProfile, validateProfile } from './profile.js';
import { checkTarget, resolve, type SeccompTarget, type Verdict } from './resolve.js';
import { maxKnown, syscallName } from './syscalls.js';
import { type Range, weigh, writeTree } from './tree.js';

/** What a filter is compiled for: the architecture, the container's bounding set, and the kernel's version. */
export type CompileOptions = SeccompTarget;

/**
 * Compiles a profile to `struct sock_filter` bytes, eight for each instruction.
 *
 * Besides the profile's own rules: calls of a foreign architecture kill the process; numbers that no kernel known here has
 * (gaps in the table, above its end, the x32 ABI) fail with ENOSYS, whatever the default action.
 * @throws OptionError for a profile that is not valid, or needs more than the kernel's 4096 instructions
 * @see https://man7.org/linux/man-pages/man2/seccomp.2.html
 */
export function compileSeccomp(profile: SeccompProfile, options: CompileOptions): Uint8Array {
  checkTarget(options);
  const ranges = rangesOf(validateProfile(profile), options);
  const assembler = new Assembler();
  const tree = writeTree(assembler, ranges);
  const start = assembler.load(dataOffset.nr, tree);
  // A foreign architecture is killed and not refused with an errno: a number it returns from means another call there, so
  // a program that went on would run with every one of its calls failing, its exit among them. No honest program gets
  // here: a 32-bit executable dies at its first call with SIGSYS, which names the cause.
  const foreign = assembler.return(returnKillProcess);
  const native = assembler.compare(opcode.jumpIfEqual, auditArch[options.arch], start, foreign);
  assembler.load(dataOffset.arch, native);
  const program = assembler.finish();
  if (program.length > maxInstructions) {
    const expected = `a profile that compiles to at most ${maxInstructions} instructions`;
    throw new OptionError('seccomp', expected, program.length);
  }
  return encode(program);
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
    const weight = weigh(verdict, start, target);
    const last = ranges.at(-1);
    if (last?.key === key) last.weight += weight;
    else ranges.push({ start, verdict, key, weight });
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
