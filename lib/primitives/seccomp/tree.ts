/**
 * The search for a system call's verdict by its number. Each comparison halves not the numbers but their *weight*, so that
 * few instructions are executed for what is asked for often, and a few more for the rest.
 */

import { returnAllow } from './action.js';
import type { Assembler, Position } from './assembler.js';
import { opcode } from './bpf.js';
import type { SeccompTarget, Verdict } from './resolve.js';
import { type SeccompArch, syscallName } from './syscalls.js';
import { writeTests } from './tests.js';

/** Numbers from `start` up to the next range. */
export interface Range {
  readonly start: number;
  readonly verdict: Verdict;
  /** Equal for equal verdicts. */
  readonly key: string;
  weight: number;
}

/** What most programs spend their calls on: for kernels that run the filter each time. */
const frequent = new Set(
  `read write close fstat newfstatat lseek poll ppoll mmap munmap mprotect brk ioctl pread64 pwrite64 readv writev futex
   epoll_wait epoll_pwait recvfrom recvmsg sendto sendmsg openat clock_gettime clock_nanosleep nanosleep gettimeofday
   sched_yield madvise rt_sigprocmask rt_sigaction getpid gettid select pselect6`.split(/\s+/),
);

/** Linux 5.11: from here on the answers to calls that are allowed whatever their arguments are remembered. */
const remembersAllowed = ([major, minor]: readonly [number, number]) => major > 5 || (major === 5 && minor >= 11);

/** How often the filter is expected to run for this number, in no unit. */
export function weigh({ cases, otherwise }: Verdict, number: number, { arch, kernel }: SeccompTarget): number {
  if (remembersAllowed(kernel)) {
    if (cases.length > 0) return 64;
    return otherwise === returnAllow ? 1 / 64 : 1;
  }
  return isFrequent(arch, number) ? 64 : cases.length > 0 ? 8 : 1;
}

function isFrequent(arch: SeccompArch, number: number): boolean {
  return frequent.has(syscallName(arch, number) ?? '');
}

/** Writes the search among `ranges`, which are in order and cover every number. */
export function writeTree(assembler: Assembler, ranges: readonly Range[]): Position {
  // before[i]: the weight of all that stands before range i.
  const before = [0];
  for (const { weight } of ranges) before.push((before.at(-1) ?? 0) + weight);
  const leaves = new Map<string, Position>();
  const write = (from: number, to: number): Position => {
    const middle = to - from === 1 ? from : split(before, from, to);
    const range = ranges[middle];
    if (!range) throw new RangeError(`no range ${middle} of ${ranges.length}`);
    if (to - from === 1) return writeLeaf(assembler, range, leaves);
    const upper = write(middle, to);
    const lower = write(from, middle);
    return assembler.compare(opcode.jumpIfGreaterOrEqual, range.start, upper, lower);
  };
  return write(0, ranges.length);
}

/** Where the two sides weigh as nearly the same as can be; neither is empty. */
function split(before: readonly number[], from: number, to: number): number {
  const imbalance = (at: number) => Math.abs(2 * (before[at] ?? 0) - (before[from] ?? 0) - (before[to] ?? 0));
  let best = from + 1;
  for (let at = from + 2; at < to; at++) if (imbalance(at) < imbalance(best)) best = at;
  return best;
}

function writeLeaf(assembler: Assembler, { verdict, key }: Range, leaves: Map<string, Position>): Position {
  if (verdict.cases.length === 0) return assembler.return(verdict.otherwise);
  const known = leaves.get(key);
  if (known !== undefined) return known;
  const written = writeTests(assembler, verdict);
  leaves.set(key, written);
  return written;
}
