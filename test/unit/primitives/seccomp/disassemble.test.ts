import { describe, expect, it } from 'vitest';
import { encode, type Instruction } from '../../../../lib/primitives/seccomp/bpf.js';
import { disassemble } from '../../../../lib/primitives/seccomp/disassemble.js';
import { Seccomp } from '../../../../lib/primitives/seccomp/index.js';

const one = (code: number, k = 0, jt = 0, jf = 0): Instruction => ({ code, k, jt, jf });

describe('the listing', () => {
  it('shows names of fields, targets of jumps, and answers', () => {
    const program = [one(0x20, 4), one(0x15, 0xc000003e, 1, 0), one(0x06, 0x80000000), one(0x20, 28), one(0x54, 0xff)];
    program.push(one(0x05, 1), one(0x06, 0x7fff0000), one(0x06, 0x00050026), one(0x16));
    expect(disassemble(encode(program)).split('\n')).toEqual([
      '0: ld arch',
      '1: jeq 0xc000003e (x64), then 3 else 2',
      '2: ret KILL_PROCESS',
      '3: ld args[1].high',
      '4: and 0xff',
      '5: ja 7',
      '6: ret ALLOW',
      '7: ret ERRNO ENOSYS',
      '8: ret A',
    ]);
  });

  it('has a word for each instruction that seccomp takes', () => {
    const codes: [number, string][] = [
      [0x00, 'ld 0x2'],
      [0x01, 'ldx 0x2'],
      [0x80, 'ld len'],
      [0x81, 'ldx len'],
      [0x60, 'ld mem[2]'],
      [0x61, 'ldx mem[2]'],
      [0x02, 'st mem[2]'],
      [0x03, 'stx mem[2]'],
      [0x04, 'add 0x2'],
      [0x0c, 'add X'],
      [0x14, 'sub 0x2'],
      [0x24, 'mul 0x2'],
      [0x34, 'div 0x2'],
      [0x44, 'or 0x2'],
      [0x5c, 'and X'],
      [0x64, 'lsh 0x2'],
      [0x74, 'rsh 0x2'],
      [0x84, 'neg'],
      [0xa4, 'xor 0x2'],
      [0x07, 'tax'],
      [0x87, 'txa'],
      [0x4d, 'jset X, then 1 else 1'],
    ];
    for (const [code, text] of codes) {
      expect(disassemble(encode([one(code, 2), one(6), one(6)])).split('\n')[0], text).toBe(`0: ${text}`);
    }
  });

  it('names the calls that numbers are compared with, and only where the number is in the accumulator', () => {
    const program = [one(0x20, 0), one(0x15, 41, 1, 0), one(0x20, 16), one(0x15, 41, 0, 0), one(6)];
    const lines = disassemble(encode(program), 'x64').split('\n');
    expect(lines[1]).toBe('1: jeq 0x29 (socket), then 3 else 2');
    expect(lines[2]).toBe('2: ld args[0].low');
    // Reached with the number from 1, and with an argument from 2.
    expect(lines[3]).toBe('3: jeq 0x29, then 4 else 4');
  });

  it('of a profile reads from the architecture to the answers', () => {
    const filter = Seccomp.compile('docker', { architecture: 'x64', kernel: '6.1' });
    const text = filter.disassemble();
    expect(text.split('\n')).toHaveLength(filter.length);
    expect(text).toMatch(
      /^ *0: ld arch\n *1: jeq 0xc000003e \(x64\), then 3 else 2\n *2: ret KILL_PROCESS\n *3: ld nr\n/,
    );
    expect(text).toContain('ret ALLOW');
    expect(text).toContain('ret ERRNO EPERM');
    expect(text).toMatch(/jge 0x[0-9a-f]+ \(\w+\)/);
  });
});
