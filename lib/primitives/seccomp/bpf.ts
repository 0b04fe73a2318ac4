/**
 * Classic BPF, the language of seccomp filters: instructions and their eight bytes, a listing for people, and an
 * interpreter that answers what the kernel would, so that a filter's verdicts can be tested without loading it.
 *
 * @see https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
 */

import { TscontainError } from '../../errors.js';
import { describeReturn } from './action.js';
import type { SeccompArch } from './syscalls.js';

/** One instruction, `struct sock_filter`. Jumps count instructions from the next one. */
export interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** What a filter sees of a system call, `struct seccomp_data`. */
export interface SeccompData {
  /** An architecture, or any `AUDIT_ARCH_*` number. */
  readonly arch: SeccompArch | number;
  readonly nr: number;
  /** Up to six registers; absent ones are 0. */
  readonly args: readonly bigint[];
}

/** `AUDIT_ARCH_*` (`linux/audit.h`): the ELF machine, 64-bit and little endian flags. */
export const auditArch: Readonly<Record<SeccompArch, number>> = { x64: 0xc000_003e, arm64: 0xc000_00b7 };

/** The longest program the kernel takes, `BPF_MAXINSNS`. */
export const maxInstructions = 4096;

/** Offsets of `struct seccomp_data`'s fields. */
export const dataOffset = { nr: 0, arch: 4, low: (arg: number) => 16 + 8 * arg, high: (arg: number) => 20 + 8 * arg };
const dataSize = 64;
const instructionSize = 8;
const scratchWords = 16;

/** The operation codes that filters use most, by their kernel macros. */
export const opcode = {
  /** `BPF_LD | BPF_W | BPF_ABS`: A = the 32-bit word of the data at offset k. */
  load: 0x20,
  /** `BPF_ALU | BPF_AND | BPF_K`: A &= k. */
  and: 0x54,
  /** `BPF_JMP | BPF_JA`: jump k forward; the only jump of more than 255. */
  jump: 0x05,
  jumpIfEqual: 0x15,
  jumpIfGreater: 0x25,
  jumpIfGreaterOrEqual: 0x35,
  /** `BPF_RET | BPF_K`. */
  return: 0x06,
} as const;

const classLoad = 0x00;
const classLoadX = 0x01;
const classStore = 0x02;
const classStoreX = 0x03;
const classAlu = 0x04;
const classJump = 0x05;
const classReturn = 0x06;
const classMisc = 0x07;

/** The program's bytes: eight for each instruction, little endian as both architectures are. */
export function encode(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * instructionSize);
  const view = new DataView(bytes.buffer);
  for (const [index, { code, jt, jf, k }] of program.entries()) {
    const at = index * instructionSize;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, jt);
    view.setUint8(at + 3, jf);
    view.setUint32(at + 4, k, true);
  }
  return bytes;
}

/**
 * The instructions of a program's bytes.
 * @throws TscontainError (`ERR_SECCOMP_PROGRAM`) for a length that is no multiple of eight, zero, or above 4096 instructions
 */
export function decode(program: Uint8Array): Instruction[] {
  const length = program.length / instructionSize;
  if (!Number.isInteger(length) || length < 1 || length > maxInstructions) {
    throw invalid(`${program.length} bytes are not 1 to ${maxInstructions} instructions of ${instructionSize} bytes`);
  }
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  return Array.from({ length }, (_, index) => {
    const at = index * instructionSize;
    return {
      code: view.getUint16(at, true),
      jt: view.getUint8(at + 2),
      jf: view.getUint8(at + 3),
      k: view.getUint32(at + 4, true),
    };
  });
}

/**
 * A listing of a program, one instruction a line, jumps with the line they lead to.
 * @throws TscontainError as {@link decode}
 */
export function disassemble(program: Uint8Array): string {
  const instructions = decode(program);
  const width = String(instructions.length - 1).length;
  return instructions.map((one, at) => `${String(at).padStart(width)}: ${describe(one, at)}`).join('\n');
}

function describe({ code, jt, jf, k }: Instruction, at: number): string {
  const hex = `0x${k.toString(16)}`;
  const branch = `${hex}, then ${at + 1 + jt} else ${at + 1 + jf}`;
  switch (code) {
    case opcode.load:
      return `ld ${fieldName(k)}`;
    case opcode.and:
      return `and ${hex}`;
    case opcode.jump:
      return `ja ${at + 1 + k}`;
    case opcode.jumpIfEqual:
      return `jeq ${branch}`;
    case opcode.jumpIfGreater:
      return `jgt ${branch}`;
    case opcode.jumpIfGreaterOrEqual:
      return `jge ${branch}`;
    case opcode.return:
      return `ret ${describeReturn(k)}`;
    default:
      return `code 0x${code.toString(16)} k ${hex} jt ${jt} jf ${jf}`;
  }
}

function fieldName(offset: number): string {
  if (offset === dataOffset.nr) return 'nr';
  if (offset === dataOffset.arch) return 'arch';
  if (offset < 16) return `instruction_pointer.${offset === 8 ? 'low' : 'high'}`;
  return `args[${(offset - 16) >> 3}].${offset % 8 === 0 ? 'low' : 'high'}`;
}

/**
 * What the filter answers to a system call: the `SECCOMP_RET_*` value, an unsigned 32-bit number. On the way that execution
 * takes it is as strict as the kernel when it loads a filter: unknown instructions, loads that are not an aligned word of
 * the data, and running out of the program are errors.
 * @throws TscontainError (`ERR_SECCOMP_PROGRAM`) at an instruction the kernel would refuse
 */
export function simulate(program: Uint8Array, data: SeccompData): number {
  const instructions = decode(program);
  const words = layOut(data);
  const scratch = new Uint32Array(scratchWords);
  let a = 0;
  let x = 0;
  for (let at = 0; ; at++) {
    const instruction = instructions[at];
    if (!instruction) throw invalid(`instruction ${at} lies outside of the program of ${instructions.length}`);
    const { code, jt, jf, k } = instruction;
    if (code > 0xff) throw unknown(code, at);
    // Bit 3 of ALU and JMP codes is the operand's source: k or X.
    const operand = code & 0x08 ? x : k;
    switch (code & 0x07) {
      case classLoad:
        a = loadWord(code & ~0x07, k, words, scratch, at);
        break;
      case classLoadX:
        if ((code & ~0x07) === opcode.load) throw invalid(`instruction ${at} loads X from the data`);
        x = loadWord(code & ~0x07, k, words, scratch, at);
        break;
      case classStore:
      case classStoreX:
        if (code !== classStore && code !== classStoreX) throw unknown(code, at);
        scratch[slot(k, at)] = (code & 0x07) === classStore ? a : x;
        break;
      case classAlu:
        a = compute(code & 0xf0, a, operand, at);
        break;
      case classJump:
        if (code === opcode.jump) at += k;
        else at += holds(code & 0xf0, a, operand, at) ? jt : jf;
        break;
      case classReturn:
        if (code === opcode.return) return k;
        if (code === 0x16) return a;
        throw unknown(code, at);
      case classMisc:
        if (code === 0x07) x = a;
        else if (code === 0x87) a = x;
        else throw unknown(code, at);
        break;
    }
  }
}

/** The data as sixteen words, low halves first. */
function layOut({ arch, nr, args }: SeccompData): Uint32Array {
  const words = new Uint32Array(dataSize / 4);
  words[0] = nr;
  words[1] = typeof arch === 'number' ? arch : auditArch[arch];
  for (let index = 0; index < 6; index++) {
    const value = BigInt.asUintN(64, args[index] ?? 0n);
    words[4 + 2 * index] = Number(value & 0xffff_ffffn);
    words[5 + 2 * index] = Number(value >> 32n);
  }
  return words;
}

function loadWord(mode: number, k: number, words: Uint32Array, scratch: Uint32Array, at: number): number {
  switch (mode) {
    case 0x00: // BPF_IMM
      return k;
    case 0x20: {
      const word = k % 4 === 0 ? words[k / 4] : undefined;
      if (word === undefined) throw invalid(`instruction ${at} loads offset ${k}, which is no word of the data`);
      return word;
    }
    case 0x60: // BPF_MEM
      return scratch[slot(k, at)] ?? 0;
    case 0x80: // BPF_LEN
      return dataSize;
    default:
      throw unknown(mode, at);
  }
}

function slot(k: number, at: number): number {
  if (k >= scratchWords) throw invalid(`instruction ${at} uses scratch word ${k} of ${scratchWords}`);
  return k;
}

function compute(operation: number, a: number, operand: number, at: number): number {
  switch (operation) {
    case 0x00:
      return (a + operand) >>> 0;
    case 0x10:
      return (a - operand) >>> 0;
    case 0x20:
      return Math.imul(a, operand) >>> 0;
    case 0x30:
      // A division by zero ends the program with 0, KILL_THREAD; no filter relies on it.
      if (operand === 0) throw invalid(`instruction ${at} divides by zero`);
      return Math.floor(a / operand);
    case 0x40:
      return (a | operand) >>> 0;
    case 0x50:
      return (a & operand) >>> 0;
    case 0x60:
      return operand > 31 ? 0 : (a << operand) >>> 0;
    case 0x70:
      return operand > 31 ? 0 : a >>> operand;
    case 0x80:
      return -a >>> 0;
    case 0xa0:
      return (a ^ operand) >>> 0;
    default:
      throw unknown(classAlu | operation, at);
  }
}

function holds(operation: number, a: number, operand: number, at: number): boolean {
  switch (operation) {
    case 0x10:
      return a === operand;
    case 0x20:
      return a > operand;
    case 0x30:
      return a >= operand;
    case 0x40:
      return (a & operand) !== 0;
    default:
      throw unknown(classJump | operation, at);
  }
}

function unknown(code: number, at: number): TscontainError {
  return invalid(`instruction ${at} has the code 0x${code.toString(16)}, which seccomp does not take`);
}

function invalid(what: string): TscontainError {
  return new TscontainError('ERR_SECCOMP_PROGRAM', `not a seccomp program: ${what}`);
}
