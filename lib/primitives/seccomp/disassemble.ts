/** A listing of a filter for people: names of fields, calls and errors instead of numbers, and where each jump leads. */

import { describeReturn } from './action.js';
import { auditArch, dataOffset, decode, type Instruction, opcode } from './bpf.js';
import { type SeccompArch, syscallName } from './syscalls.js';

/** What the accumulator holds at an instruction, where that is the same on every way there. */
type Held = 'nr' | 'arch' | undefined;

const x32Bit = 0x4000_0000;
const operations: Readonly<Record<number, string>> = {
  0: 'add',
  1: 'sub',
  2: 'mul',
  3: 'div',
  4: 'or',
  5: 'and',
  6: 'lsh',
  7: 'rsh',
  10: 'xor',
};
const comparisons: Readonly<Record<number, string>> = { 1: 'jeq', 2: 'jgt', 3: 'jge', 4: 'jset' };
const machines: ReadonlyMap<number, string> = new Map<number, string>([
  ...(Object.entries(auditArch) as [SeccompArch, number][]).map(([name, value]) => [value, name] as const),
  [0x4000_0003, 'i386'],
  [0x4000_0028, 'arm'],
  [0xc000_00f3, 'riscv64'],
]);

/**
 * A listing of a program, one instruction a line, jumps with the line that they lead to, compared numbers with what they
 * mean: `12: jeq 0x29 (socket), then 40 else 13`.
 * @param arch whose system calls the numbers are
 * @throws TscontainError (`ERR_SECCOMP_PROGRAM`) for bytes that are no program
 */
export function disassemble(program: Uint8Array, arch?: SeccompArch): string {
  const instructions = decode(program);
  const width = String(instructions.length - 1).length;
  const held = follow(instructions);
  return instructions
    .map((one, at) => `${String(at).padStart(width)}: ${describe(one, at, held[at], arch)}`)
    .join('\n');
}

/** Classic BPF only jumps forward, so one pass over the program sees every way to an instruction before it. */
function follow(instructions: readonly Instruction[]): Held[] {
  const held: Held[] = [];
  const seen = new Set<number>();
  const reach = (at: number, value: Held): void => {
    held[at] = seen.has(at) && held[at] !== value ? undefined : value;
    seen.add(at);
  };
  reach(0, undefined);
  for (const [at, { code, jt, jf, k }] of instructions.entries()) {
    const kind = code & 0x07;
    if (code === opcode.jump) reach(at + 1 + k, held[at]);
    else if (kind === 0x05) for (const jump of [jt, jf]) reach(at + 1 + jump, held[at]);
    else if (code === opcode.load) reach(at + 1, fieldHeld(k));
    else if (kind === 0x00 || kind === 0x04 || code === 0x87) reach(at + 1, undefined);
    else if (kind !== 0x06) reach(at + 1, held[at]);
  }
  return held;
}

function fieldHeld(offset: number): Held {
  if (offset === dataOffset.nr) return 'nr';
  return offset === dataOffset.arch ? 'arch' : undefined;
}

function describe({ code, jt, jf, k }: Instruction, at: number, held: Held, arch: SeccompArch | undefined): string {
  const hex = `0x${k.toString(16)}`;
  const operand = code & 0x08 ? 'X' : hex;
  switch (code & 0x07) {
    case 0x00:
      return `ld ${source(code, k)}`;
    case 0x01:
      return `ldx ${source(code, k)}`;
    case 0x02:
      return `st mem[${k}]`;
    case 0x03:
      return `stx mem[${k}]`;
    case 0x04:
      return code === 0x84 ? 'neg' : `${operations[code >> 4] ?? `alu ${code >> 4}`} ${operand}`;
    case 0x05: {
      if (code === opcode.jump) return `ja ${at + 1 + k}`;
      const name = comparisons[code >> 4] ?? `jump ${code >> 4}`;
      const meaning = code & 0x08 ? undefined : meaningOf(k, held, arch);
      const compared = meaning === undefined ? operand : `${hex} (${meaning})`;
      return `${name} ${compared}, then ${at + 1 + jt} else ${at + 1 + jf}`;
    }
    case 0x06:
      return code === opcode.return ? `ret ${describeReturn(k)}` : 'ret A';
    default:
      return code & 0x80 ? 'txa' : 'tax';
  }
}

function meaningOf(k: number, held: Held, arch: SeccompArch | undefined): string | undefined {
  if (held === 'arch') return machines.get(k);
  if (held !== 'nr' || arch === undefined) return undefined;
  return k === x32Bit ? 'x32' : syscallName(arch, k);
}

function source(code: number, k: number): string {
  switch (code & 0xe0) {
    case 0x00:
      return `0x${k.toString(16)}`;
    case 0x20:
      return fieldName(k);
    case 0x60:
      return `mem[${k}]`;
    case 0x80:
      return 'len';
    default:
      return `mode 0x${(code & 0xe0).toString(16)} of ${k}`;
  }
}

function fieldName(offset: number): string {
  if (offset === dataOffset.nr) return 'nr';
  if (offset === dataOffset.arch) return 'arch';
  const half = offset % 8 === 0 ? 'low' : 'high';
  if (offset < 16) return `instruction_pointer.${half}`;
  return `args[${(offset - 16) >> 3}].${half}`;
}
