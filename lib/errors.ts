/**
 * The one error family of the library. Every failure that leaves the public API is a {@link TscontainError}; the
 * subclasses are only those that a caller can act on.
 */

import { constants } from 'node:os';

/** What is known about a failure besides its sentence. Every field is optional; absent means not applicable. */
export interface ErrorDetails {
  /** The system call that failed, as its manual page names it. */
  readonly syscall?: string | undefined;
  /** The kernel's error number, positive, or its name. */
  readonly errno?: number | string | undefined;
  /** The file or directory that the failure is about. */
  readonly path?: string | undefined;
  /** Which step of the plan failed: position (from 1), of how many, and its kind. */
  readonly step?: StepReference | undefined;
  /** What the reader can do about it. */
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

/** The place of a step in the plan that ran it. */
export interface StepReference {
  readonly index: number;
  readonly of: number;
  readonly kind: string;
}

/** The base of every error the library throws. `message` is one sentence; `hint` says what to do. */
export class TscontainError extends Error {
  override name = 'TscontainError';
  /** A stable identifier, `ERR_…`; what programs should compare. */
  readonly code: string;
  readonly syscall: string | undefined;
  /** The kernel's name of the error, such as `EPERM`. */
  readonly errno: string | undefined;
  readonly path: string | undefined;
  readonly step: StepReference | undefined;
  readonly hint: string | undefined;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    const sentence = details.hint ? `${message} (hint: ${details.hint})` : message;
    super(printable(sentence), details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.syscall = details.syscall;
    this.errno = typeof details.errno === 'number' ? errnoName(details.errno) : details.errno;
    this.path = details.path;
    this.step = details.step;
    this.hint = details.hint;
  }
}

/** An option that is wrong: which one, what was expected, what came. Nothing was started. */
export class OptionError extends TscontainError {
  override name = 'OptionError';
  /** The option's path, such as `limits.memory` or `mounts[0].source`. */
  readonly option: string;
  readonly expected: string;
  /** What came, as text, cut to a readable length. */
  readonly received: string;

  constructor(option: string, expected: string, received: unknown, details: ErrorDetails = {}) {
    const shown = describeValue(received);
    super('ERR_OPTION', `option ${option}: expected ${expected}, got ${shown}`, details);
    this.option = option;
    this.expected = expected;
    this.received = shown;
  }
}

/** The host (kernel, configuration, architecture) cannot do what was asked. */
export class UnsupportedError extends TscontainError {
  override name = 'UnsupportedError';
  constructor(message: string, details: ErrorDetails = {}) {
    super('ERR_UNSUPPORTED', message, details);
  }
}

/** The host could, but this process may not. */
export class PermissionError extends TscontainError {
  override name = 'PermissionError';
  constructor(message: string, details: ErrorDetails = {}) {
    super('ERR_PERMISSION', message, details);
  }
}

/** How a registry answered, where that is what an {@link ImageError} is about. */
export interface ImageErrorDetails extends ErrorDetails {
  /** The status of the registry's answer (HTTP), such as 404. */
  readonly status?: number | undefined;
}

/**
 * An image that is not what it should be, cannot be found, or cannot be had: the bytes of others, not an option. `code` says
 * which: `ERR_REFERENCE`, `ERR_DIGEST`, `ERR_MANIFEST`, `ERR_CONFIG`, `ERR_LAYER`, `ERR_LAYER_LIMIT`, `ERR_NOT_FOUND`,
 * `ERR_REGISTRY`, `ERR_UNAUTHORIZED`, `ERR_TIMEOUT`, `ERR_STORE`.
 */
export class ImageError extends TscontainError {
  override name = 'ImageError';
  readonly status: number | undefined;

  constructor(code: `ERR_${string}`, message: string, details: ImageErrorDetails = {}) {
    super(code, message, details);
    this.status = details.status;
  }
}

/** The operation was ended by an `AbortSignal`; `cause` is the signal's reason. */
export class AbortedError extends TscontainError {
  override name = 'AbortError';
  constructor(message: string, details: ErrorDetails = {}) {
    super('ERR_ABORTED', message, details);
  }
}

const errnoNames = new Map<number, string>(Object.entries(constants.errno).map(([name, value]) => [value, name]));
// Of two names for one number the manual pages prefer these; the rest Node has no name for, and mounts, namespaces and
// block devices answer with them.
errnoNames.set(11, 'EAGAIN').set(95, 'EOPNOTSUPP').set(15, 'ENOTBLK').set(87, 'EUSERS').set(117, 'EUCLEAN');
// nf_tables, where the ruleset has changed meanwhile.
errnoNames.set(85, 'ERESTART');

/** The kernel's name of an error number: `errnoName(1)` is `'EPERM'`. */
export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `errno ${errno}`;
}

/**
 * Text for people: control characters are escaped, so that nothing in a name reaches a terminal as a command, and so are
 * those that reorder or break a line of text, so that a name cannot look like another one.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cs}\p{Bidi_Control}\u2028\u2029]/gu, (character) => {
    const code = character.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code.padStart(4, '0')}` : `\\x${code.padStart(2, '0')}`;
  });
}

/** A short account of a value that was not expected: its type and, where it is short, its content. */
function describeValue(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'string')
    return `'${printable(value.length > 80 ? `${value.slice(0, 77)}...` : value)}' (string)`;
  if (typeof value === 'number') return `${Object.is(value, -0) ? '-0' : value} (number)`;
  if (typeof value === 'boolean') return `${value} (boolean)`;
  if (typeof value === 'bigint') return `${value}n (bigint)`;
  if (typeof value !== 'object') return `a ${typeof value}`;
  try {
    if (Array.isArray(value)) return `an array of ${value.length}`;
    const name: unknown = value.constructor?.name;
    return `an object (${typeof name === 'string' && name !== '' ? printable(name.slice(0, 80)) : 'no prototype'})`;
  } catch {
    // A revoked proxy, or a getter that throws: the account of an error must not become another error.
    return 'an object that cannot be read';
  }
}

/** A program that failed, thrown only where `check: true` asked for it. It has the shape of the result. */
export class ExitError<Result = unknown> extends TscontainError {
  override name = 'ExitError';
  constructor(
    message: string,
    readonly result: Result,
    details: ErrorDetails = {},
  ) {
    super('ERR_EXIT', message, details);
  }
}
