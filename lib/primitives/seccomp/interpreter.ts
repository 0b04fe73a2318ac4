/**
 * An interpreter of classic BPF that answers what the kernel would, so that a filter's verdicts can be known without
 * loading it: in tests, in `simulate`, and where a handler has to find out what a notification stands for.
 *
 * @see https://www.kernel.org/doc/html/latest/networking/filter.html
 */

import type { TscontainError } from '../../errors.js';
import {
  auditArch,
  dataOffset,
  dataSize,
  decode,
  type Instruction,
  invalidProgram,
  opcode,
  type SeccompData,
  scratchWords,
} from './bpf.js';

/** What came out of a run. */
export interface Run {
  /** The `SECCOMP_RET_*` value, an unsigned 32-bit number. */
  readonly value: number;
  /** How many instructions were executed: what a call costs where the kernel has not remembered the answer. */
  readonly executed: number;
}

const kill = 0;

/**
 * What the filter answers to a system call.
 * @throws TscontainError (`ERR_SECCOMP_PROGRAM`) for a program that the kernel would not load
 */
export function simulate(program: Uint8Array, data: SeccompData): number {
  const instructions = decode(program);
  checkInstructions(instructions);
  return execute(instructions, data).value;
}

/** Runs instructions that {@link checkInstructions} has passed. */
export function execute(instructions: readonly Instruction[], data: SeccompData): Run {
  const words = layOut(data);
  const scratch = new Uint32Array(scratchWords);
  let a = 0;
  let x = 0;
  let executed = 0;
  for (let at = 0; ; at++) {
    const instruction = instructions[at];
    if (!instruction) throw invalidProgram(`instruction ${at} lies outside of the program of ${instructions.length}`);
    const { code, jt, jf, k } = instruction;
    executed++;
    // Bit 3 of ALU and JMP codes is the operand's source: k or X.
    const operand = code & 0x08 ? x : k;
    switch (code & 0x07) {
      case 0x00:
        a = loaded(code & 0xe0, k, words, scratch);
        break;
      case 0x01:
        x = loaded(code & 0xe0, k, words, scratch);
        break;
      case 0x02:
        scratch[k] = a;
        break;
      case 0x03:
        scratch[k] = x;
        break;
      case 0x04:
        // The kernel ends a program that divides by an X of 0 with 0, which is KILL_THREAD (bpf_convert_filter).
        if ((code & 0xf0) === 0x30 && operand === 0) return { value: kill, executed };
        a = computed(code & 0xf0, a, operand);
        break;
      case 0x05:
        if (code === opcode.jump) at += k;
        else at += holds(code & 0xf0, a, operand) ? jt : jf;
        break;
      case 0x06:
        return { value: code === opcode.return ? k : a, executed };
      case 0x07:
        if (code === 0x07) x = a;
        else a = x;
        break;
    }
  }
}

/**
 * The answer to a call that does not depend on its arguments; undefined where it may, which is also said of programs that use
 * more of the language than a search for a number needs, as the kernel says it (seccomp_is_const_allow).
 */
export function constantAnswer(instructions: readonly Instruction[], machine: number, nr: number): number | undefined {
  let a = 0;
  for (let at = 0; ; at++) {
    const { code, jt, jf, k } = instructions[at] ?? { code: opcode.return, jt: 0, jf: 0, k: kill };
    if (code === opcode.load && k === dataOffset.nr) a = nr >>> 0;
    else if (code === opcode.load && k === dataOffset.arch) a = machine;
    else if (code === opcode.return) return k;
    else if (code === opcode.jump) at += k;
    else if (code === opcode.and) a = (a & k) >>> 0;
    else if (conditional.has(code) && !(code & 0x08)) at += holds(code & 0xf0, a, k) ? jt : jf;
    else return undefined;
  }
}

/** The data as sixteen words, low halves first. */
function layOut({ arch, nr, args, instructionPointer = 0n }: SeccompData): Uint32Array {
  const words = new Uint32Array(dataSize / 4);
  words[0] = nr;
  words[1] = typeof arch === 'number' ? arch : auditArch[arch];
  putWords(words, 2, instructionPointer);
  for (let index = 0; index < 6; index++) putWords(words, 4 + 2 * index, args[index] ?? 0n);
  return words;
}

function putWords(words: Uint32Array, at: number, value: bigint): void {
  const unsigned = BigInt.asUintN(64, value);
  words[at] = Number(unsigned & 0xffff_ffffn);
  words[at + 1] = Number(unsigned >> 32n);
}

/** By mode: BPF_IMM, BPF_ABS, BPF_MEM, and BPF_LEN, which seccomp makes the size of its data. */
function loaded(mode: number, k: number, words: Uint32Array, scratch: Uint32Array): number {
  if (mode === 0x00) return k;
  if (mode === 0x20) return words[k / 4] ?? 0;
  return mode === 0x60 ? (scratch[k] ?? 0) : dataSize;
}

function computed(operation: number, a: number, operand: number): number {
  switch (operation) {
    case 0x00:
      return (a + operand) >>> 0;
    case 0x10:
      return (a - operand) >>> 0;
    case 0x20:
      return Math.imul(a, operand) >>> 0;
    case 0x30:
      return Math.floor(a / operand);
    case 0x40:
      return (a | operand) >>> 0;
    case 0x50:
      return (a & operand) >>> 0;
    // Only the low five bits of X count, in the kernel as in JavaScript.
    case 0x60:
      return (a << operand) >>> 0;
    case 0x70:
      return a >>> operand;
    case 0x80:
      return -a >>> 0;
    default:
      return (a ^ operand) >>> 0;
  }
}

function holds(operation: number, a: number, operand: number): boolean {
  switch (operation) {
    case 0x10:
      return a === operand;
    case 0x20:
      return a > operand;
    case 0x30:
      return a >= operand;
    default:
      return (a & operand) !== 0;
  }
}

/** The codes that seccomp takes (seccomp_check_filter), by what is to be checked of them. */
const loads = new Set([0x00, 0x01, 0x80, 0x81]);
const memory = new Set([0x60, 0x61, 0x02, 0x03]);
const conditional = new Set([0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d]);
const returns = new Set([0x06, 0x16]);
const arithmetic = new Set([0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x64, 0x6c])
  .add(0x74)
  .add(0x7c)
  .add(0x84)
  .add(0xa4)
  .add(0xac)
  .add(0x07)
  .add(0x87);

/**
 * The checks that the kernel makes when it loads a filter (bpf_check_classic, seccomp_check_filter): known codes, loads of
 * an aligned word of the data, jumps that stay inside, memory written before it is read, a return at the end.
 * @throws TscontainError (`ERR_SECCOMP_PROGRAM`) naming the instruction
 */
export function checkInstructions(instructions: readonly Instruction[]): void {
  const last = instructions.length - 1;
  for (const [at, instruction] of instructions.entries()) {
    const fault = faultOf(instruction, last - at);
    if (fault) throw refused(at, fault);
  }
  if (!returns.has(instructions[last]?.code ?? 0)) throw refused(last, 'is the last one, and no return');
  checkScratch(instructions);
}

/** @param left how many instructions follow */
function faultOf({ code, jt, jf, k }: Instruction, left: number): string | undefined {
  if (code === opcode.load) {
    return k % 4 === 0 && k < dataSize ? undefined : `loads offset ${k}, which is no word of the data`;
  }
  if (code === opcode.jump) return k < left ? undefined : 'jumps behind the end';
  if (conditional.has(code)) return jt < left && jf < left ? undefined : 'jumps behind the end';
  if (memory.has(code)) return k < scratchWords ? undefined : `uses scratch word ${k} of ${scratchWords}`;
  if (code === 0x34 && k === 0) return 'divides by zero';
  if ((code === 0x64 || code === 0x74) && k > 31) return `shifts by ${k} bits`;
  if (loads.has(code) || returns.has(code) || arithmetic.has(code)) return undefined;
  return `has the code 0x${code.toString(16)}, which seccomp does not take`;
}

/** Each word must have been written on every way to where it is read (check_load_and_stores). */
function checkScratch(instructions: readonly Instruction[]): void {
  const written = new Uint16Array(instructions.length).fill(0xffff);
  let valid = 0;
  for (const [at, { code, jt, jf, k }] of instructions.entries()) {
    valid &= written[at] ?? 0;
    if (code === 0x02 || code === 0x03) valid |= 1 << k;
    if ((code === 0x60 || code === 0x61) && !(valid & (1 << k))) {
      throw refused(at, `reads scratch word ${k}, which is not written on every way there`);
    }
    if (code === opcode.jump) written[at + 1 + k] = (written[at + 1 + k] ?? 0) & valid;
    if (conditional.has(code)) {
      for (const to of [at + 1 + jt, at + 1 + jf]) written[to] = (written[to] ?? 0) & valid;
    }
    // What follows one of these is reached by jumps only.
    if (code === opcode.jump || conditional.has(code)) valid = 0xffff;
  }
}

function refused(at: number, fault: string): TscontainError {
  return invalidProgram(`instruction ${at} ${fault}`);
}
