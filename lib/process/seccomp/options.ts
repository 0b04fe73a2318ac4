/**
 * Which system calls programs may make, and who decides what the profile leaves open. Only types; `settings.ts` checks them,
 * `filters.ts` compiles them.
 */

import type { DeniedCall, SeccompHandler, SeccompProfile } from '../../primitives/seccomp/index.js';

/** A system call filter with decisions that are made while programs run. */
export interface SeccompOptions {
  /** Default `'default'`. */
  readonly profile?: 'default' | 'docker' | SeccompProfile;
  /**
   * Decides system calls: one function for those that the profile answers with `SCMP_ACT_NOTIFY`, or functions by the names
   * of calls, which take these over from the profile. Listed by `inspect()`, as a handler may allow more than any profile.
   *
   * ```ts
   * const notify = {
   *   mkdirat: (call: SystemCall) => (call.int(2) === 0o700 ? 'continue' : { errno: 'EPERM' }) as SeccompDecision,
   * };
   * ```
   * The program waits for the decision, for a turn of the event loop at least (some 10 µs when it is idle). A handler that
   * throws, rejects or answers nonsense makes the call fail with EPERM, and the container emits `handlerError`. The filter
   * that guards writable mounts (of a container that may write to the host) cannot be decided away.
   *
   * `execve` may be decided as well, and then the first exec of each program is: it must be within ten seconds, and without
   * waiting for the container itself, which serves nothing else meanwhile. Programs inside can have no listener of their
   * own. See {@link SeccompDecision} for what `'continue'` is not good for, and seccomp_unotify(2).
   */
  readonly notify?: SeccompHandler | Readonly<Record<string, SeccompHandler>>;
  /**
   * Tell of each system call that the profile refuses with an error: the container emits `denied`, and a function given here
   * is called as well. A call that kills is not told of. The kernel's own audit log belongs to the host, so this is done
   * with notifications: what the filter would have refused by itself waits for a turn of the event loop, which answers with
   * the same error: some 10 µs for each refused call when it is idle, instead of a tenth of one. Calls that are allowed cost
   * nothing more. Default false.
   *
   * Programs meet refusals where nobody notices: a C library that asks for `clone3` is told ENOSYS, and falls back.
   */
  readonly audit?: boolean | ((call: DeniedCall) => void);
}
