/**
 * Tests of arguments. A register has 64 bits and the filter's accumulator 32, so a test is of one half or of both; and a
 * half that the accumulator holds already is not loaded again.
 */

import type { Assembler, Position } from './assembler.js';
import { dataOffset, opcode } from './bpf.js';
import type { Test, Verdict } from './resolve.js';

/** A place to go on at, and where it may be entered instead with its first word in the accumulator. */
interface Target {
  readonly entry: Position;
  readonly loaded?: { readonly word: number; readonly at: Position };
}

const all32 = 0xffff_ffff;

const lowComparison = {
  equal: opcode.jumpIfEqual,
  greater: opcode.jumpIfGreater,
  greaterOrEqual: opcode.jumpIfGreaterOrEqual,
} as const;

/** Case after case: the answer of the first whose tests all hold, or else the last word. */
export function writeTests(assembler: Assembler, { cases, otherwise }: Verdict): Position {
  let next: Target = { entry: assembler.return(otherwise) };
  for (const { tests, answer } of cases.toReversed()) {
    let success: Target = { entry: assembler.return(answer) };
    for (const test of tests.toReversed()) success = writeTest(assembler, test, success, next);
    next = success;
  }
  return next.entry;
}

/** A 64-bit test: the upper half decides, unless it is equal. */
function writeTest(assembler: Assembler, test: Test, success: Target, failure: Target): Target {
  const [then, otherwise] = test.negated ? [failure, success] : [success, failure];
  const low = writeHalf(assembler, test, dataOffset.low(test.index), 0n, lowComparison[test.relation], then, otherwise);
  if (test.mask >> 32n === 0n && test.value >> 32n === 0n) return low;
  const high = dataOffset.high(test.index);
  if (test.relation === 'equal') return writeHalf(assembler, test, high, 32n, opcode.jumpIfEqual, low, otherwise);
  const upper = Number(test.value >> 32n);
  const unlessEqual = assembler.compare(opcode.jumpIfEqual, upper, low.entry, holding(otherwise, high));
  const at = assembler.compare(opcode.jumpIfGreater, upper, holding(then, high), unlessEqual);
  return { entry: assembler.load(high, at), loaded: { word: high, at } };
}

function writeHalf(
  assembler: Assembler,
  test: Test,
  word: number,
  shift: bigint,
  code: Parameters<Assembler['compare']>[0],
  then: Target,
  otherwise: Target,
): Target {
  const mask = Number((test.mask >> shift) & 0xffff_ffffn);
  const value = Number((test.value >> shift) & 0xffff_ffffn);
  const whole = mask === all32;
  const held = whole ? word : undefined;
  const comparison = assembler.compare(code, value, holding(then, held), holding(otherwise, held));
  const at = whole ? comparison : assembler.and(mask, comparison);
  return { entry: assembler.load(word, at), loaded: { word, at } };
}

/** Where to go on with this word in the accumulator. */
function holding({ entry, loaded }: Target, word: number | undefined): Position {
  return loaded !== undefined && loaded.word === word ? loaded.at : entry;
}
