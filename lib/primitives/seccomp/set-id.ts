/**
 * A filter that refuses to make set-user-ID and set-group-ID files. For containers that write to a directory of the host
 * with ids shifted: there, what the container's root makes belongs to root on the host, and `nosuid` protects only as long
 * as the file is looked at through the container's own mount (security E12). It is loaded beside the container's profile;
 * of several filters the most restrictive answer counts (seccomp(2)).
 */

import { type SeccompArgument, type SeccompProfile, type SeccompRule, validateProfile } from './profile.js';

const setUserId = 0o4000;
const setGroupId = 0o2000;
const create = 0o100; // O_CREAT
const temporary = 0o20000000; // the bit of O_TMPFILE that is its own
const EPERM = 1;
const ENOSYS = 38;

function bit(index: number, value: number): SeccompArgument {
  return { index, value, valueTwo: value, op: 'SCMP_CMP_MASKED_EQ' };
}

/** Refuse calls whose mode, the argument at `mode`, has one of the two bits. */
function refuseMode(names: readonly string[], mode: number): SeccompRule[] {
  return [setUserId, setGroupId].map((value) => ({
    names,
    action: 'SCMP_ACT_ERRNO' as const,
    errnoRet: EPERM,
    args: [bit(mode, value)],
  }));
}

/** The same for calls that look at the mode only where `flags` ask for a new file. */
function refuseOpening(names: readonly string[], flags: number, mode: number): SeccompRule[] {
  return [create, temporary].flatMap((flag) =>
    [setUserId, setGroupId].map((value) => ({
      names,
      action: 'SCMP_ACT_ERRNO' as const,
      errnoRet: EPERM,
      args: [bit(flags, flag), bit(mode, value)],
    })),
  );
}

export const setIdGuard: SeccompProfile = validateProfile({
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [
    ...refuseMode(['chmod', 'fchmod', 'creat', 'mknod'], 1),
    ...refuseMode(['fchmodat', 'fchmodat2', 'mknodat'], 2),
    ...refuseOpening(['open'], 1, 2),
    ...refuseOpening(['openat'], 2, 3),
    // Its mode is in memory, where no filter can look; C libraries and runtimes fall back to openat.
    { names: ['openat2'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
    // Opens files too, by requests in shared memory; our profiles have none of it, a caller's own may.
    {
      names: ['io_uring_setup', 'io_uring_enter', 'io_uring_register'],
      action: 'SCMP_ACT_ERRNO',
      errnoRet: ENOSYS,
    },
  ],
});
