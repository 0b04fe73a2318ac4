import { describe, expect, it } from 'vitest';
import { Assembler } from '../../../../lib/primitives/seccomp/assembler.js';
import {
  decode,
  disassemble,
  encode,
  type Instruction,
  opcode,
  simulate,
} from '../../../../lib/primitives/seccomp/bpf.js';

const one = (code: number, k = 0, jt = 0, jf = 0): Instruction => ({ code, k, jt, jf });
const run = (program: Instruction[], args: bigint[] = [], nr = 0): number =>
  simulate(encode(program), { arch: 'x64', nr, args });
const returnA = one(0x16);

describe('an instruction', () => {
  it('is eight bytes, little endian', () => {
    expect(Array.from(encode([one(0x15, 0xc000003e, 1, 2)]))).toEqual([0x15, 0, 1, 2, 0x3e, 0, 0, 0xc0]);
  });

  it('is read back as it was written', () => {
    const program = [one(0x20, 4), one(0x15, 0xffffffff, 255, 0), one(0x06, 0x7fff0000)];
    expect(decode(encode(program))).toEqual(program);
  });
});

describe('the listing', () => {
  it('shows names of fields, targets of jumps, and answers', () => {
    const program = [one(0x20, 4), one(0x15, 0xc000003e, 1, 0), one(0x06, 0x80000000), one(0x20, 28), one(0x54, 0xff)];
    program.push(one(0x05, 1), one(0x06, 0x7fff0000), one(0x06, 0x00050026), one(0x16));
    expect(disassemble(encode(program)).split('\n')).toEqual([
      '0: ld arch',
      '1: jeq 0xc000003e, then 3 else 2',
      '2: ret KILL_PROCESS',
      '3: ld args[1].high',
      '4: and 0xff',
      '5: ja 7',
      '6: ret ALLOW',
      '7: ret ERRNO ENOSYS',
      '8: code 0x16 k 0x0 jt 0 jf 0',
    ]);
  });
});

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
  });

  it('has X, and sixteen scratch words', () => {
    expect(run([one(0x00, 7), one(0x07), one(0x00, 5), one(0x0c), returnA])).toBe(12);
    expect(run([one(0x00, 7), one(0x02, 15), one(0x00, 0), one(0x60, 15), returnA])).toBe(7);
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
    ['a load of X from the data', [one(0x21, 0), returnA]],
    ['a code of more than a byte', [one(0x116), returnA]],
  ])('refuses %s', (_, program) => {
    expect(() => run(program)).toThrow(expect.objectContaining({ code: 'ERR_SECCOMP_PROGRAM' }));
  });

  it('refuses bytes that are no program', () => {
    for (const length of [0, 7, 4097 * 8]) {
      expect(() => decode(new Uint8Array(length)), String(length)).toThrow(/not a seccomp program/);
    }
  });
});

describe('the assembler', () => {
  it('reaches a target that is farther than a conditional jump can go', () => {
    for (const distance of [200, 254, 255, 256, 257, 300, 600]) {
      const assembler = new Assembler();
      const far = assembler.load(0, assembler.return(1));
      let near = assembler.return(2);
      for (let n = 0; n < distance; n++) near = assembler.and(0xffffffff, near);
      // Both ways round, and both far.
      for (const [then, otherwise] of [
        [far, near],
        [near, far],
        [far, far],
      ] as const) {
        assembler.load(0, assembler.compare(opcode.jumpIfEqual, 5, then, otherwise));
        const program = encode(assembler.finish());
        expect(simulate(program, { arch: 'x64', nr: 5, args: [] }), `${distance}`).toBe(then === far ? 1 : 2);
        expect(simulate(program, { arch: 'x64', nr: 6, args: [] }), `${distance}`).toBe(otherwise === far ? 1 : 2);
      }
    }
  });
});
