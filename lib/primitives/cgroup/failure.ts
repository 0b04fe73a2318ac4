/** What a failure in a cgroup file means: the file, the value, the kernel's reason, and what to do. */

import { constants } from 'node:os';
import { errnoName, PermissionError, TscontainError, UnsupportedError } from '../../errors.js';

/** The name of the errno of an error of Node's or of the addon's. */
export function errnoOf(cause: unknown): string | undefined {
  if (typeof cause !== 'object' || cause === null) return undefined;
  const { code, errno } = cause as { code?: unknown; errno?: unknown };
  // Our errors have the name there, Node's the number, and its name in `code`.
  if (typeof errno === 'string') return errno;
  return typeof errno === 'number' ? errnoName(Math.abs(errno)) : typeof code === 'string' ? code : undefined;
}

/** The error for a call that failed. Errors of ours are passed on. */
export function cgroupFailure(syscall: string, path: string, cause: unknown, value?: string): TscontainError {
  if (cause instanceof TscontainError) return cause;
  const errno = errnoOf(cause) ?? 'EIO';
  const done = value === undefined ? `${verbs[syscall] ?? syscall} ${path}` : `write '${value}' to ${path}`;
  const message = `cannot ${done}: ${reasonOf(errno)} (${errno})`;
  const file = path.slice(path.lastIndexOf('/') + 1);
  const details = { syscall, errno, path, hint: hintOf(errno, file, value, syscall), cause };
  if (errno === 'EPERM' || errno === 'EACCES' || errno === 'EROFS') return new PermissionError(message, details);
  if (value !== undefined && (errno === 'ENOENT' || errno === 'EOPNOTSUPP'))
    return new UnsupportedError(message, details);
  return new TscontainError('ERR_CGROUP', message, details);
}

const verbs: Readonly<Record<string, string>> = { open: 'open', read: 'read', mkdir: 'make', rmdir: 'remove' };

/** The kernel's words (errno(3)) for what cgroup files answer. */
const reasons: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EAGAIN: 'resource temporarily unavailable',
  EBUSY: 'device or resource busy',
  EEXIST: 'file exists',
  EINVAL: 'invalid argument',
  ENODEV: 'no such device',
  ENOENT: 'no such file or directory',
  ENOMEM: 'out of memory',
  ENOSPC: 'no space left on device',
  EOPNOTSUPP: 'operation not supported',
  EPERM: 'operation not permitted',
  ERANGE: 'numerical result out of range',
  EROFS: 'read-only file system',
  ESRCH: 'no such process',
  EXDEV: 'it is not in a cgroup file system',
};

function reasonOf(errno: string): string {
  return reasons[errno] ?? (errno in constants.errno ? errno.toLowerCase() : 'failed');
}

function hintOf(errno: string, file: string, value: string | undefined, syscall: string): string | undefined {
  if (errno === 'ENODEV' && value !== undefined && /^\d+:\d+ /.test(value))
    return 'name a whole disk that is there (lsblk)';
  if (errno === 'ENODEV') return 'the cgroup has been removed';
  if (errno === 'ESRCH') return 'the process has ended';
  if (errno === 'EPERM' || errno === 'EACCES') return 'run as root, or in a subtree that was delegated to this user';
  if (errno === 'EROFS') return 'mount the cgroup file system read-write';
  if (file === 'cgroup.subtree_control' && errno === 'EBUSY') {
    return 'a cgroup with processes of its own cannot hand controllers to children (cgroups(7), no internal processes): move them to a child first';
  }
  if ((file === 'cgroup.procs' || file === 'tasks') && errno === 'EBUSY') {
    return 'this cgroup hands controllers to its children, so that processes may only be in those: attach to a child';
  }
  if (file === 'cgroup.procs' && errno === 'EOPNOTSUPP')
    return 'the cgroup is threaded, or has an invalid domain above it';
  if (file === 'memory.limit_in_bytes' && errno === 'EBUSY') return 'more than this is in use and cannot be reclaimed';
  if (syscall === 'rmdir' && errno === 'EBUSY') return 'processes or cgroups are still in it: kill() first';
  if (file === 'cpu.max.burst' || file === 'cpu.cfs_burst_us') return 'burst is at most the quota of one period';
  if (file === 'cpu.weight' && errno === 'EINVAL') return 'an idle cgroup has no weight: set idle to false';
  if (file.endsWith('.pressure') && errno === 'EINVAL') {
    return 'without CAP_SYS_RESOURCE the window is a multiple of 2 s (Linux 6.5)';
  }
  if (syscall === 'open' && errno === 'ENOENT' && !file.includes('.')) return 'CgroupV2.create makes one';
  if (file.startsWith('cpuset.') && errno === 'ERANGE') return 'the host has no such processor or memory node';
  if (value !== undefined && errno === 'ENOENT') {
    return 'the kernel is older than this file or built without it, or the controller is not enabled in the parent';
  }
  return undefined;
}
