import { describe, expect, it } from 'vitest';
import { Assembler } from '../../../../lib/primitives/seccomp/assembler.js';
import { decode, encode, type Instruction, opcode } from '../../../../lib/primitives/seccomp/bpf.js';
import { simulate } from '../../../../lib/primitives/seccomp/interpreter.js';

const one = (code: number, k = 0, jt = 0, jf = 0): Instruction => ({ code, k, jt, jf });

describe('an instruction', () => {
  it('is eight bytes, little endian', () => {
    expect(Array.from(encode([one(0x15, 0xc000003e, 1, 2)]))).toEqual([0x15, 0, 1, 2, 0x3e, 0, 0, 0xc0]);
  });

  it('is read back as it was written', () => {
    const program = [one(0x20, 4), one(0x15, 0xffffffff, 255, 0), one(0x06, 0x7fff0000)];
    expect(decode(encode(program))).toEqual(program);
  });
});

describe('a program', () => {
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
