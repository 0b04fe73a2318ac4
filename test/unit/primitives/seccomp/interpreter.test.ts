import { describe, expect, it } from 'vitest';
import { encode, type Instruction, opcode } from '../../../../lib/primitives/seccomp/bpf.js';
import { simulate } from '../../../../lib/primitives/seccomp/interpreter.js';

const one = (code: number, k = 0, jt = 0, jf = 0): Instruction => ({ code, k, jt, jf });
const run = (program: Instruction[], args: bigint[] = [], nr = 0): number =>
  simulate(encode(program), { arch: 'x64', nr, args });
const returnA = one(0x16);

describe('the interpreter', () => {
  it('reads the number, the architecture, and both halves of six arguments', () => {
    expect(run([one(0x20, 0), returnA], [], 231)).toBe(231);
    expect(run([one(0x20, 4), returnA])).toBe(0xc000003e);
    const args = [1n, 2n, 3n, 4n, 5n, 0x89abcdef_01234567n];
    expect(run([one(0x20, 16), returnA], args)).toBe(1);
    expect(run([one(0x20, 56), returnA], args)).toBe(0x01234567);
    expect(run([one(0x20, 60), returnA], args)).toBe(0x89abcdef);
  });

  it('computes with unsigned 32-bit numbers', () => {
    const ld = one(0x00, 0xfffffff0);
    expect(run([ld, one(0x04, 0x20), returnA])).toBe(0x10);
    expect(run([ld, one(0x14, 0xfffffff1), returnA])).toBe(0xffffffff);
    expect(run([ld, one(0x54, 0xff), returnA])).toBe(0xf0);
    expect(run([ld, one(0x44, 0x0f), returnA])).toBe(0xffffffff);
    expect(run([ld, one(0x64, 4), returnA])).toBe(0xffffff00);
    expect(run([ld, one(0x74, 4), returnA])).toBe(0x0fffffff);
    expect(run([ld, one(0xa4, 0xffffffff), returnA])).toBe(0x0f);
    expect(run([ld, one(0x84), returnA])).toBe(0x10);
    expect(run([ld, one(0x24, 3), returnA])).toBe(0xffffffd0);
    expect(run([ld, one(0x34, 0x10), returnA])).toBe(0x0fffffff);
  });

  it('has X, and sixteen scratch words', () => {
    expect(run([one(0x00, 7), one(0x07), one(0x00, 5), one(0x0c), returnA])).toBe(12);
    expect(run([one(0x00, 7), one(0x02, 15), one(0x00, 0), one(0x60, 15), returnA])).toBe(7);
    expect(run([one(0x01, 9), one(0x03, 3), one(0x61, 3), one(0x87), returnA])).toBe(9);
    expect(() => run([one(0x02, 16), returnA])).toThrow(/scratch word 16/);
  });

  it('compares unsigned numbers', () => {
    const answer = (code: number, k: number): number =>
      run([one(0x00, 0x80000000), one(code, k, 0, 1), one(6, 1), one(6, 2)]);
    expect(answer(opcode.jumpIfGreater, 0x7fffffff)).toBe(1);
    expect(answer(opcode.jumpIfGreater, 0x80000000)).toBe(2);
    expect(answer(opcode.jumpIfGreaterOrEqual, 0x80000000)).toBe(1);
    expect(answer(opcode.jumpIfEqual, 0x80000000)).toBe(1);
    expect(answer(0x45, 0x80000001)).toBe(1);
  });

  it.each([
    ['an unaligned load', [one(0x20, 2), returnA]],
    ['a load behind the data', [one(0x20, 64), returnA]],
    ['a load of a byte', [one(0x30, 0), returnA]],
    ['a jump behind the end', [one(0x05, 1), returnA]],
    ['a far jump behind the end', [one(0x05, 0xffffffff), returnA]],
    ['no return', [one(0x00, 1)]],
    ['an unknown code', [one(0xff), returnA]],
    ['an unknown comparison', [one(0x55), returnA]],
    ['a remainder', [one(0x94, 3), returnA]],
    ['a division by zero', [one(0x34, 0), returnA]],
    ['a shift by 32', [one(0x64, 32), returnA]],
    ['memory that was not written', [one(0x60, 0), returnA]],
    ['memory that was written on one way only', [one(0x15, 1, 0, 1), one(0x02, 1), one(0x60, 1), returnA]],
    ['a fault that no call reaches', [one(6), one(0xff), returnA]],
    ['a return of X', [one(0x0e)]],
    ['a load of X from the data', [one(0x21, 0), returnA]],
    ['a code of more than a byte', [one(0x116), returnA]],
  ])('refuses %s', (_, program) => {
    expect(() => run(program)).toThrow(expect.objectContaining({ code: 'ERR_SECCOMP_PROGRAM' }));
  });

  it('knows the length of the data, where the program was, and what X holds', () => {
    expect(run([one(0x80), returnA])).toBe(64);
    expect(run([one(0x81), one(0x87), returnA])).toBe(64);
    const program = encode([one(0x20, 12), returnA]);
    expect(simulate(program, { arch: 'x64', nr: 0, args: [], instructionPointer: 0x7fff_0000_0010n })).toBe(0x7fff);
    for (const [code, expected] of [
      [0x1d, 1],
      [0x2d, 0],
      [0x3d, 1],
      [0x4d, 1],
    ] as const) {
      const compared = [one(0x00, 6), one(0x01, 6), one(code, 0, 0, 1), one(6, 1), one(6, 0)];
      expect(run(compared), code.toString(16)).toBe(expected);
    }
  });

  it('takes memory that is written on both ways to where it is read', () => {
    const program = [one(0x15, 1, 0, 2), one(0x02, 1), one(0x05, 1), one(0x02, 1), one(0x60, 1), returnA];
    expect(run(program)).toBe(0);
  });

  // The kernel: bpf_convert_filter for the division, ___bpf_prog_run and the compilers for the shift.
  it('ends with KILL_THREAD at a division by an X of 0, and shifts by the low five bits of X', () => {
    expect(run([one(0x00, 7), one(0x01, 0), one(0x3c), one(6, 0x7fff0000)])).toBe(0);
    expect(run([one(0x00, 1), one(0x01, 33), one(0x6c), returnA])).toBe(2);
    expect(run([one(0x00, 4), one(0x01, 33), one(0x7c), returnA])).toBe(2);
  });
});
