/**
 * Device rules as a program of the kernel's eBPF machine (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE, Linux 4.15). The kernel
 * asks it whenever a device node is opened or made; 1 allows, 0 is EPERM. What no rule allows is refused.
 */

import { defineSchema, readChoice, readInteger, readObject } from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';

/** Something that is allowed: with device nodes of this kind and these numbers. */
export interface DeviceRule {
  /** `'char'` and `'block'` devices, or both. */
  readonly type: 'char' | 'block' | 'all';
  /** `'*'`, the default, is any number. */
  readonly major?: number | '*';
  readonly minor?: number | '*';
  /** Letters of `rwm`: read, write, mknod. `'rwm'` by default. */
  readonly access?: string;
}

/** {@link DeviceRule}, checked and complete. */
export interface CheckedDeviceRule {
  readonly type: 'char' | 'block' | 'all';
  readonly major: number | '*';
  readonly minor: number | '*';
  readonly access: string;
}

const schema = defineSchema(['type', 'major', 'minor', 'access']);
const accessBits: Readonly<Record<string, number>> = { m: 1, r: 2, w: 4 };
const typeNumbers = { block: 1, char: 2 } as const;
const allAccess = 7;

/** @throws OptionError naming `option` */
export function readDeviceRule(value: unknown, option: string): CheckedDeviceRule {
  const { type, major = '*', minor = '*', access = 'rwm' } = readObject(value, option, schema);
  const number = (given: unknown, key: string, most: number): number | '*' =>
    given === '*' ? given : readInteger(given, `${option}.${key}`, 0, most);
  if (typeof access !== 'string' || !/^(?!.*(.).*\1)[rwm]{1,3}$/.test(access)) {
    throw new OptionError(`${option}.access`, "letters of 'rwm', each once", access);
  }
  return {
    type: readChoice(type, `${option}.type`, ['char', 'block', 'all']),
    // dev_t of the kernel: 12 bits for the major number, 20 for the minor.
    major: number(major, 'major', 2 ** 12 - 1),
    minor: number(minor, 'minor', 2 ** 20 - 1),
    access,
  };
}

/** Operations of eBPF (Documentation/bpf/standardization/instruction-set.rst). */
const op = {
  load32: 0x61,
  move: 0xbf,
  moveTo: 0xb7,
  and: 0x57,
  shiftRight: 0x77,
  jumpNot: 0x55,
  jumpNotEqual: 0x5d,
  exit: 0x95,
} as const;

/** struct bpf_cgroup_dev_ctx: u32 access and type, u32 major, u32 minor. It comes in register 1. */
const registers = { result: 0, context: 1, type: 2, access: 3, major: 4, minor: 5 } as const;

interface Instruction {
  readonly code: number;
  readonly to: number;
  readonly from?: number;
  readonly offset?: number;
  readonly value?: number;
}

/** The instructions of a program that allows what one of these rules allows. */
export function compileDeviceRules(rules: readonly CheckedDeviceRule[]): Uint8Array {
  const { result, context, type, access, major, minor } = registers;
  const program: Instruction[] = [
    { code: op.load32, to: type, from: context, offset: 0 },
    { code: op.move, to: access, from: type },
    { code: op.and, to: type, value: 0xffff },
    { code: op.shiftRight, to: access, value: 16 },
    { code: op.load32, to: major, from: context, offset: 4 },
    { code: op.load32, to: minor, from: context, offset: 8 },
    ...rules.flatMap(compileRule),
    { code: op.moveTo, to: result, value: 0 },
    { code: op.exit, to: 0 },
  ];
  const bytes = Buffer.alloc(program.length * 8);
  program.forEach(({ code, to, from = 0, offset = 0, value = 0 }, index) => {
    const at = index * 8;
    bytes.writeUInt8(code, at);
    bytes.writeUInt8(to | (from << 4), at + 1);
    bytes.writeInt16LE(offset, at + 2);
    bytes.writeInt32LE(value, at + 4);
  });
  return bytes;
}

/** Tests that lead past the rule's end where they fail, then the allowance. */
function compileRule(rule: CheckedDeviceRule): Instruction[] {
  const { result, context, type, access, major, minor } = registers;
  const tests: Instruction[] = [];
  if (rule.type !== 'all') tests.push({ code: op.jumpNot, to: type, value: typeNumbers[rule.type] });
  const allowed = [...rule.access].reduce((bits, letter) => bits | (accessBits[letter] ?? 0), 0);
  if (allowed !== allAccess) {
    // What is asked for must be within what is allowed. Register 1 is free by now.
    tests.push({ code: op.move, to: context, from: access }, { code: op.and, to: context, value: allowed });
    tests.push({ code: op.jumpNotEqual, to: context, from: access });
  }
  if (rule.major !== '*') tests.push({ code: op.jumpNot, to: major, value: rule.major });
  if (rule.minor !== '*') tests.push({ code: op.jumpNot, to: minor, value: rule.minor });
  const allow: Instruction[] = [
    { code: op.moveTo, to: result, value: 1 },
    { code: op.exit, to: 0 },
  ];
  const jumps: readonly number[] = [op.jumpNot, op.jumpNotEqual];
  return [...tests, ...allow].map((instruction, index, all) =>
    jumps.includes(instruction.code) ? { ...instruction, offset: all.length - index - 1 } : instruction,
  );
}
