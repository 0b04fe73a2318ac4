/**
 * Classic BPF, the language of seccomp filters: instructions and their eight bytes. disassemble.ts lists them for people,
 * interpreter.ts runs them.
 *
 * @see https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
 */

import { TscontainError } from '../../errors.js';
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
  /** Where the program was; 0 by default. */
  readonly instructionPointer?: bigint;
}

/** `AUDIT_ARCH_*` (`linux/audit.h`): the ELF machine, 64-bit and little endian flags. */
export const auditArch: Readonly<Record<SeccompArch, number>> = { x64: 0xc000_003e, arm64: 0xc000_00b7 };

/** The longest program the kernel takes, `BPF_MAXINSNS`. */
export const maxInstructions = 4096;

/** Offsets of `struct seccomp_data`'s fields. */
export const dataOffset = { nr: 0, arch: 4, low: (arg: number) => 16 + 8 * arg, high: (arg: number) => 20 + 8 * arg };
/** Bytes of `struct seccomp_data`. */
export const dataSize = 64;
/** Words of memory that a program has besides A and X, `BPF_MEMWORDS`. */
export const scratchWords = 16;
const instructionSize = 8;

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
    throw invalidProgram(
      `${program.length} bytes are not 1 to ${maxInstructions} instructions of ${instructionSize} bytes`,
    );
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

/** The error of a program that the kernel would not load, or that is none. */
export function invalidProgram(what: string): TscontainError {
  return new TscontainError('ERR_SECCOMP_PROGRAM', `not a seccomp program: ${what}`);
}
