/**
 * A seccomp profile: the JSON that Docker and OCI runtimes read, and its check. Strict, for a profile is a security policy:
 * an unknown key, operator or system call is an error that names its place, never skipped.
 */

import { OptionError, UnsupportedError } from '../../errors.js';
import { Capabilities, type Capability } from '../capabilities.js';
import { actionNames, isAction, type SeccompAction, takesErrno } from './action.js';
import { isNarrowArgument } from './arguments.js';
import { readFlag, type SeccompFlag } from './flags.js';
import { isSyscallName } from './syscalls.js';

const ops = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'] as const;

/** How an argument is compared, all as unsigned numbers. */
export type SeccompOp = `SCMP_CMP_${(typeof ops)[number]}`;

/** A condition on one argument: `args[index] op value`; for `MASKED_EQ`, `(args[index] & value) === valueTwo`. */
export interface SeccompArgument {
  /** 0 to 5. */
  readonly index: number;
  /** A 64-bit number; as a bigint where it is above 2^53. */
  readonly value: number | bigint;
  readonly valueTwo?: number | bigint | undefined;
  readonly op: SeccompOp;
}

/** When a rule takes part, besides its arguments. */
export interface SeccompCondition {
  /** Capabilities of the bounding set: `includes` wants all of them, `excludes` wants none. */
  readonly caps?: readonly Capability[] | undefined;
  /** Architectures by Go's names: `amd64`, `arm64`. */
  readonly arches?: readonly string[] | undefined;
  /** A kernel version such as `'4.8'`: this one or newer. */
  readonly minKernel?: string | undefined;
}

/** The answer to some system calls. Of several rules that match one call, the most restrictive answer wins. */
export interface SeccompRule {
  readonly names: readonly string[];
  readonly action: SeccompAction;
  /** The error number of `SCMP_ACT_ERRNO` or the message of `SCMP_ACT_TRACE`; EPERM by default. */
  readonly errnoRet?: number | undefined;
  /** Conditions that must all hold. */
  readonly args?: readonly SeccompArgument[] | undefined;
  readonly comment?: string | undefined;
  readonly includes?: SeccompCondition | undefined;
  readonly excludes?: SeccompCondition | undefined;
}

/**
 * A profile. `architectures` and `archMap` are read and checked, but only the machine's own ABI is ever let in: a second
 * one means a second set of numbers, and `socketcall`, which hides the arguments of `socket` from every filter.
 *
 * @see https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#seccomp
 */
export interface SeccompProfile {
  readonly defaultAction: SeccompAction;
  readonly defaultErrnoRet?: number | undefined;
  readonly architectures?: readonly string[] | undefined;
  readonly archMap?: readonly SeccompArchitecture[] | undefined;
  /**
   * `LOG`: the kernel's audit log has every answer but ALLOW that `actions_logged` names. `SPEC_ALLOW`: no protection from
   * speculative store bypass, a relaxation. The other two change nothing: a filter is loaded on the one thread there is, and
   * a call that a handler has seen is always waited for, where the kernel can (5.19).
   */
  readonly flags?: readonly SeccompFlag[] | undefined;
  readonly syscalls?: readonly SeccompRule[] | undefined;
}

export interface SeccompArchitecture {
  readonly architecture: string;
  readonly subArchitectures?: readonly string[] | undefined;
}

const goArches = ['amd64', 'x86', '386', 'x32', 'arm', 'arm64', 's390', 's390x', 'ppc', 'ppc64', 'ppc64le', 'riscv64']
  .concat(['mips', 'mips64', 'mips64n32', 'mipsel', 'mipsel64', 'mipsel64n32', 'mips64le', 'mipsle'])
  .concat(['loong64', 'loongarch64', 'parisc', 'parisc64', 'm68k', 'sh', 'sheb']);
const abi = /^SCMP_ARCH_[A-Z0-9_]+$/;
const maxErrno = 4095;
const maxTraceMessage = 0xffff;

/** Objects that came out of {@link validateProfile}: frozen throughout, so that they stay valid. */
const validated = new WeakSet<object>();

/** Whether the profile came out of {@link validateProfile}, and therefore can never change again. */
export function isValidated(profile: SeccompProfile): boolean {
  return validated.has(profile);
}

/**
 * Checks a profile of unknown origin, such as a parsed JSON file, and returns it as a frozen copy without its empty parts.
 * System calls that only other architectures have are allowed in `names`.
 * @param option where the profile stands in the options, for the error's text
 * @throws OptionError naming the place, such as `seccomp.syscalls[3].names[0]`
 * @throws UnsupportedError for `listenerPath` and `listenerMetadata`
 */
export function validateProfile(value: unknown, option = 'seccomp'): SeccompProfile {
  if (typeof value === 'object' && value !== null && validated.has(value)) return value as SeccompProfile;
  const keys = ['defaultAction', 'defaultErrnoRet', 'architectures', 'archMap', 'flags', 'syscalls'];
  const notHere = ['listenerPath', 'listenerMetadata'];
  const profile = record(value, option, [...keys, ...notHere]);
  for (const key of notHere) if (isPresent(profile[key])) throw unsupported(`${option}.${key}`);
  const defaultAction = action(profile.defaultAction, `${option}.defaultAction`);
  const architectures = list(profile.architectures, `${option}.architectures`, architecture);
  const archMap = list(profile.archMap, `${option}.archMap`, architectureMapping);
  if (architectures && archMap) {
    throw new OptionError(`${option}.archMap`, 'not to stand beside architectures', profile.archMap);
  }
  const copy = compact({
    defaultAction,
    defaultErrnoRet: errno(profile.defaultErrnoRet, `${option}.defaultErrnoRet`, defaultAction),
    architectures,
    archMap,
    flags: list(profile.flags, `${option}.flags`, readFlag),
    syscalls: list(profile.syscalls, `${option}.syscalls`, rule),
  });
  validated.add(copy);
  return copy;
}

function rule(value: unknown, option: string): SeccompRule {
  const keys = ['names', 'action', 'errnoRet', 'args', 'comment', 'includes', 'excludes'];
  const { names, args, ...rest } = record(value, option, keys);
  const checkedNames = list(names, `${option}.names`, syscall);
  if (!checkedNames) throw new OptionError(`${option}.names`, 'a list of at least one system call', names);
  const ruleAction = action(rest.action, `${option}.action`);
  if (isPresent(rest.comment) && typeof rest.comment !== 'string') {
    throw new OptionError(`${option}.comment`, 'text', rest.comment);
  }
  return compact({
    names: checkedNames,
    action: ruleAction,
    errnoRet: errno(rest.errnoRet, `${option}.errnoRet`, ruleAction),
    args: list(args, `${option}.args`, (one, place) => argument(one, place, checkedNames)),
    includes: condition(rest.includes, `${option}.includes`),
    excludes: condition(rest.excludes, `${option}.excludes`),
  });
}

function argument(value: unknown, option: string, names: readonly string[]): SeccompArgument {
  const fields = record(value, option, ['index', 'value', 'valueTwo', 'op']);
  const { index, op } = fields;
  if (!isInteger(index) || index > 5)
    throw new OptionError(`${option}.index`, 'an argument position from 0 to 5', index);
  if (!isOp(op)) throw new OptionError(`${option}.op`, `one of ${ops.map((one) => `SCMP_CMP_${one}`).join(', ')}`, op);
  const masked = op === 'SCMP_CMP_MASKED_EQ';
  const checked: SeccompArgument = {
    index,
    value: uint64(fields.value, `${option}.value`),
    // Go leaves zeros out of its JSON.
    valueTwo: uint64(fields.valueTwo ?? 0, `${option}.valueTwo`),
    op,
  };
  // Truncated to the 32 bits that count, an impossible value would match a possible one.
  const compared = BigInt(masked ? (checked.valueTwo ?? 0) : checked.value);
  const narrow = names.find((name) => isNarrowArgument(name, index));
  if (narrow && compared >> 32n !== 0n && compared < 0xffff_ffff_8000_0000n) {
    const expected = `a 32-bit number, as argument ${index} of ${narrow} is`;
    throw new OptionError(`${option}.${masked ? 'valueTwo' : 'value'}`, expected, compared);
  }
  return compact({ ...checked, valueTwo: masked ? checked.valueTwo : undefined });
}

function condition(value: unknown, option: string): SeccompCondition | undefined {
  if (!isPresent(value)) return undefined;
  const { caps, arches, minKernel } = record(value, option, ['caps', 'arches', 'minKernel']);
  if (
    isPresent(minKernel) &&
    minKernel !== '' &&
    !(typeof minKernel === 'string' && /^\d{1,3}\.\d{1,3}$/.test(minKernel))
  ) {
    throw new OptionError(`${option}.minKernel`, "a kernel version such as '4.8'", minKernel);
  }
  const checked = {
    caps: list(caps, `${option}.caps`, capability)?.flat(),
    arches: list(arches, `${option}.arches`, goArch),
    minKernel: typeof minKernel === 'string' && minKernel !== '' ? minKernel : undefined,
  };
  return Object.values(checked).some(isPresent) ? compact(checked) : undefined;
}

function capability(value: unknown, option: string): Capability[] {
  if (typeof value !== 'string')
    throw new OptionError(option, "the name of a capability such as 'CAP_SYS_ADMIN'", value);
  try {
    return Capabilities.of(value).toArray();
  } catch (cause) {
    throw new OptionError(option, "the name of a capability such as 'CAP_SYS_ADMIN'", value, { cause });
  }
}

function architectureMapping(value: unknown, option: string): SeccompArchitecture {
  const fields = record(value, option, ['architecture', 'subArchitectures']);
  return compact({
    architecture: architecture(fields.architecture, `${option}.architecture`),
    subArchitectures: list(fields.subArchitectures, `${option}.subArchitectures`, architecture),
  });
}

function syscall(value: unknown, option: string): string {
  if (typeof value === 'string' && isSyscallName(value)) return value;
  throw new OptionError(option, 'the name of a system call', value);
}

function architecture(value: unknown, option: string): string {
  if (typeof value === 'string' && abi.test(value)) return value;
  throw new OptionError(option, "an architecture such as 'SCMP_ARCH_X86_64'", value);
}

function goArch(value: unknown, option: string): string {
  if (typeof value === 'string' && goArches.includes(value)) return value;
  throw new OptionError(option, "an architecture by Go's name such as 'amd64'", value);
}

function action(value: unknown, option: string): SeccompAction {
  if (isAction(value)) return value;
  throw new OptionError(option, `one of ${actionNames.join(', ')}`, value);
}

function errno(value: unknown, option: string, of: SeccompAction): number | undefined {
  if (!isPresent(value)) return undefined;
  const max = of === 'SCMP_ACT_TRACE' ? maxTraceMessage : maxErrno;
  if (!takesErrno(of)) throw new OptionError(option, `not to stand beside ${of}, which carries no number`, value);
  if (!isInteger(value) || value > max) throw new OptionError(option, `a number from 0 to ${max}`, value);
  return value;
}

function uint64(value: unknown, option: string): number | bigint {
  if (isInteger(value)) return value;
  if (typeof value === 'bigint' && value === BigInt.asUintN(64, value)) return value;
  throw new OptionError(option, 'a number from 0 to 2^53-1, or a bigint from 0n to 2^64-1', value);
}

/** An object with no other keys than these. */
function record(value: unknown, option: string, keys: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new OptionError(option, `an object with ${keys.join(', ')}`, value);
  }
  for (const [key, content] of Object.entries(value)) {
    if (!keys.includes(key)) throw new OptionError(`${option}.${key}`, `only the keys ${keys.join(', ')}`, content);
  }
  return value as Readonly<Record<string, unknown>>;
}

/** A list whose entries are checked one by one; undefined if it is absent, null or empty, as Go's JSON often has it. */
function list<T>(
  value: unknown,
  option: string,
  check: (entry: unknown, option: string) => T,
): readonly T[] | undefined {
  if (!isPresent(value)) return undefined;
  if (!Array.isArray(value)) throw new OptionError(option, 'a list', value);
  const entries = Array.from(value, (entry: unknown, index) => check(entry, `${option}[${index}]`));
  return entries.length === 0 ? undefined : Object.freeze(entries);
}

/** A frozen copy without the keys whose value is undefined. */
function compact<T extends object>(fields: T): T {
  return Object.freeze(Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T);
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function isInteger(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isOp(value: unknown): value is SeccompOp {
  return ops.some((op) => value === `SCMP_CMP_${op}`);
}

function unsupported(what: string): UnsupportedError {
  return new UnsupportedError(`${what} is not supported: no program beside this one answers for the container`, {
    hint: 'calls of SCMP_ACT_NOTIFY are decided by a handler: seccomp: { profile, notify }',
  });
}
