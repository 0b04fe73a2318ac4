/** What a handler may answer to a system call, and the check of what it did answer. */

import { constants } from 'node:os';
import { OptionError } from '../../errors.js';
import type { SystemCall } from './notification.js';

/** A descriptor of this process: its number, or something that has one, such as a FileHandle of node:fs/promises. */
export type DescriptorSource = number | { readonly fd: number; close?(): unknown };

/**
 * What becomes of the call.
 *
 * - `'continue'`: the kernel carries it out as if there were no filter. **Not for a decision of security about what a
 *   pointer leads to**: the program can change its memory between the handler's look and the kernel's (another thread of it
 *   has all the time it wants), so what the kernel then does need not be what the handler saw. Sound for decisions on
 *   numbers in `args`, and for handlers that only watch. To let a file be opened, open it here and answer with `fd`.
 * - `errno`: it fails; a name such as `'EACCES'`, or a number from 1 to 4095.
 * - `value`: it returns this, without having been carried out. From -2^63 to 2^63-1, but not -4095 to -1, which are errors.
 * - `fd`: the descriptor is put into the program, and its number there is what the call returns. `at`: at this number,
 *   closing what is there (default: the lowest that is free). `closeOnExec`: default true. `close`: close it here afterwards
 *   (default false).
 */
export type SeccompDecision =
  | 'continue'
  | { readonly errno: string | number }
  | { readonly value: number | bigint }
  | {
      readonly fd: DescriptorSource;
      readonly at?: number;
      readonly closeOnExec?: boolean;
      readonly close?: boolean;
    };

/** Decides one call. The program waits until it has, so a handler that never settles stops the thread that called. */
export type SeccompHandler = (call: SystemCall) => SeccompDecision | Promise<SeccompDecision>;

/** A decision that was checked. */
export type CheckedDecision =
  | { readonly kind: 'continue' }
  | { readonly kind: 'errno'; readonly errno: number }
  | { readonly kind: 'value'; readonly value: bigint }
  | {
      readonly kind: 'fd';
      readonly source: DescriptorSource;
      readonly number: number;
      /** -1: the lowest free one. */
      readonly at: number;
      readonly closeOnExec: boolean;
      readonly close: boolean;
    };

const highestErrno = 4095;
const highestDescriptor = 2 ** 31 - 1;
const expected = "'continue', { errno }, { value } or { fd }";

/** @throws OptionError saying what the handler should have answered */
export function readDecision(value: unknown, option = 'decision'): CheckedDecision {
  if (value === 'continue') return { kind: 'continue' };
  if (typeof value !== 'object' || value === null) throw new OptionError(option, expected, value);
  const fields = value as Readonly<Record<string, unknown>>;
  const kinds = ['errno', 'value', 'fd'].filter((key) => fields[key] !== undefined);
  const known = kinds[0] === 'fd' ? ['fd', 'at', 'closeOnExec', 'close'] : kinds;
  const unknown = Object.keys(fields).find((key) => !known.includes(key));
  if (kinds.length !== 1 || unknown !== undefined) throw new OptionError(option, expected, value);
  if (kinds[0] === 'errno') return { kind: 'errno', errno: readErrno(fields.errno, `${option}.errno`) };
  if (kinds[0] === 'value') return { kind: 'value', value: readValue(fields.value, `${option}.value`) };
  return {
    kind: 'fd',
    source: fields.fd as DescriptorSource,
    number: readDescriptor(fields.fd, `${option}.fd`),
    at: fields.at === undefined ? -1 : readNumber(fields.at, `${option}.at`),
    closeOnExec: readFlag(fields.closeOnExec, `${option}.closeOnExec`, true),
    close: readFlag(fields.close, `${option}.close`, false),
  };
}

/** The number of an error by its name: `errnoNumber('EPERM')` is 1. */
function readErrno(value: unknown, option: string): number {
  if (typeof value === 'string' && Object.hasOwn(constants.errno, value)) {
    return constants.errno[value as keyof typeof constants.errno];
  }
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= highestErrno) return value;
  throw new OptionError(option, "an error's name such as 'EPERM', or its number from 1 to 4095", value);
}

function readValue(value: unknown, option: string): bigint {
  if (typeof value === 'number' ? Number.isSafeInteger(value) : typeof value === 'bigint') {
    const wide = BigInt(value as number | bigint);
    if (wide === BigInt.asIntN(64, wide) && (wide >= 0n || wide < BigInt(-highestErrno))) return wide;
  }
  throw new OptionError(option, 'a 64-bit number that is no error (from -4095 to -1)', value);
}

/** @internal The number of a descriptor of this process. */
export function readDescriptor(value: unknown, option: string): number {
  const number: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, 'fd') : value;
  return readNumber(number, option);
}

function readNumber(value: unknown, option: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= highestDescriptor) return value;
  throw new OptionError(option, 'the number of a descriptor', value);
}

function readFlag(value: unknown, option: string, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  throw new OptionError(option, 'true or false', value);
}
