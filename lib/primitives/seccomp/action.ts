/** What a filter answers: the kernel's 32-bit return values (`SECCOMP_RET_*`, seccomp(2)) and their names. */

import { errnoName } from '../../errors.js';

/** An action, as libseccomp and the OCI specification name it. `SCMP_ACT_KILL` is `SCMP_ACT_KILL_THREAD`. */
export type SeccompAction = keyof typeof values;

const values = {
  /** Since 4.14; an older kernel kills the thread only. */
  SCMP_ACT_KILL_PROCESS: 0x8000_0000,
  SCMP_ACT_KILL_THREAD: 0x0000_0000,
  SCMP_ACT_KILL: 0x0000_0000,
  /** SIGSYS to the thread. */
  SCMP_ACT_TRAP: 0x0003_0000,
  /** The low 16 bits are the error number. */
  SCMP_ACT_ERRNO: 0x0005_0000,
  /** A handler decides (seccomp_unotify(2)); without one the call fails with ENOSYS. Since 5.0. */
  SCMP_ACT_NOTIFY: 0x7fc0_0000,
  /** The low 16 bits are the tracer's message; without a tracer the call fails with ENOSYS. */
  SCMP_ACT_TRACE: 0x7ff0_0000,
  /** Since 4.14. */
  SCMP_ACT_LOG: 0x7ffc_0000,
  SCMP_ACT_ALLOW: 0x7fff_0000,
} as const;

/** What becomes of a system call. `'notify'`: a handler decides. */
export type SeccompOutcome = 'allow' | 'errno' | 'kill_process' | 'kill_thread' | 'log' | 'notify' | 'trace' | 'trap';

/** A filter's answer, taken apart. */
export interface SeccompAnswer {
  readonly action: SeccompOutcome;
  /** The error that the call fails with, such as `'EPERM'`; only with `'errno'`. */
  readonly errno?: string;
  /** The low 16 bits: the error number, the tracer's message, or what SIGSYS carries. */
  readonly data: number;
  /** The whole `SECCOMP_RET_*` value. */
  readonly value: number;
}

const EPERM = 1;
const ENOSYS = 38;
const highestErrno = 4095;

/** The error number of an ERRNO or message of a TRACE that gives none: EPERM, as in the OCI specification. */
export const defaultErrnoRet = EPERM;

export const returnKillProcess: number = values.SCMP_ACT_KILL_PROCESS;
export const returnAllow: number = values.SCMP_ACT_ALLOW;
export const returnNotify: number = values.SCMP_ACT_NOTIFY;
/** What a kernel without the call answers. */
export const returnEnosys: number = values.SCMP_ACT_ERRNO | ENOSYS;

/** Every action's name, for checks and messages. */
export const actionNames: readonly string[] = Object.keys(values);

const outcomes: ReadonlyMap<number, SeccompOutcome> = new Map(
  Object.entries(values)
    .filter(([name]) => name !== 'SCMP_ACT_KILL')
    .map(([name, value]) => [value, name.slice('SCMP_ACT_'.length).toLowerCase() as SeccompOutcome]),
);

export function isAction(name: unknown): name is SeccompAction {
  return typeof name === 'string' && Object.hasOwn(values, name);
}

/** Whether the action carries a number, `errnoRet`. */
export function takesErrno(action: SeccompAction): boolean {
  return action === 'SCMP_ACT_ERRNO' || action === 'SCMP_ACT_TRACE';
}

/** The filter's return value for an action. */
export function returnValue(action: SeccompAction, errnoRet = defaultErrnoRet): number {
  return takesErrno(action) ? (values[action] | errnoRet) >>> 0 : values[action];
}

/**
 * How restrictive a return value is, lower is more: the order in which the kernel itself prefers the answers of several
 * filters, which is that of the action read as a signed number.
 */
export function precedence(value: number): number {
  return (value & 0xffff_0000) | 0;
}

/** Whether a return value is ERRNO, whatever the number. */
export function isErrno(value: number): boolean {
  return (value & 0xffff_0000) >>> 0 === values.SCMP_ACT_ERRNO;
}

/** What the kernel makes of a return value: one that it does not know kills the process (kernel/seccomp.c). */
export function readAnswer(value: number): SeccompAnswer {
  const data = value & 0xffff;
  const action = outcomes.get((value & 0xffff_0000) >>> 0) ?? 'kill_process';
  return { action, ...(action === 'errno' ? { errno: errnoName(Math.min(data, highestErrno)) } : {}), data, value };
}

/** A return value for people: `'ALLOW'`, `'ERRNO EPERM'`, `'KILL_PROCESS'`. */
export function describeReturn(value: number): string {
  const name = outcomes.get((value & 0xffff_0000) >>> 0)?.toUpperCase();
  if (name === 'ERRNO') return `ERRNO ${errnoName(value & 0xffff)}`;
  if (name === 'TRACE') return `TRACE ${value & 0xffff}`;
  return name ?? `0x${value.toString(16)}`;
}
