/** Failures as the launcher and init report them, turned into errors that say what to do. */

import { errnoName, ImageError, PermissionError, TscontainError, UnsupportedError } from '../errors.js';
import { isRoot } from '../host/configuration.js';
import type { StepFailure } from '../launcher/init.js';
import { detail, stage } from '../launcher/protocol.js';
import { describeStep } from '../plan/describe.js';
import type { Step } from '../plan/step.js';
import type { CgroupLayout, CgroupWrite } from '../primitives/cgroup/index.js';
import { personalityNames } from '../primitives/personality.js';
import { joinedHint } from './plan/overlay.js';

/** Where steps ran: most hints are about what a container has of its own. */
export type Place = 'container' | 'host';

/** Why a process cannot be made, or not in the cgroup that it is to start in (clone(2), CLONE_INTO_CGROUP). */
const cloneHints: Readonly<Record<string, string>> = {
  EAGAIN: 'a limit on processes is reached: pids of the cgroup or of one above it, or nproc (getrlimit(2))',
  EBUSY: 'the cgroup hands controllers to its children, so that processes may only be in those',
  ENODEV: 'the cgroup has been removed',
  ENOMEM: 'the first process of the pid namespace has ended, and the namespace with it; or there is no memory left',
  EOPNOTSUPP: 'the cgroup is threaded, or has an invalid domain above it',
};

/**
 * A step that failed while the container or a process was set up.
 * @param foreign the platform of the image that the program is of, where it is not this host's
 */
export function stepError(
  steps: readonly Step[],
  failure: StepFailure,
  doing: string,
  place: Place = 'container',
  foreign?: string,
): TscontainError {
  const step = failure.step === undefined ? undefined : steps[failure.step];
  const errno = errnoName(failure.errno);
  if (step?.kind === 'exec') return execError(step.program, failure, place, steps, foreign);
  if (step?.kind === 'coreScheduling' && ['EINVAL', 'ENODEV'].includes(errno)) return noCoreScheduling(failure.errno);
  if (!step) {
    return new TscontainError('ERR_STEP', `${doing}: ${failure.text || 'starting'} failed: ${errno}`, {
      errno: failure.errno,
      syscall: failure.text || undefined,
      hint: failure.text === 'clone3' ? cloneHints[errno] : undefined,
    });
  }
  const { text, call, path } = describeStep(step);
  const index = (failure.step ?? 0) + 1;
  const kernel = failure.text ? ` (${failure.text.trim()})` : '';
  if (step.kind === 'directoryInside') {
    const wrong = ownDirectory[errno];
    if (wrong) return notADirectory(step, wrong, failure.errno);
  }
  if (step.kind === 'personality' && errno === 'EINVAL') return noPersonality(step.value, failure.errno);
  return new TscontainError(
    'ERR_STEP',
    `${doing}: step ${index} of ${steps.length}, ${text}: ${call} gave ${errno}${kernel}`,
    {
      errno: failure.errno,
      syscall: call,
      path,
      step: { index, of: steps.length, kind: step.kind },
      hint: place === 'container' ? stepHint(step, errno) : hostStepHint(step, errno),
    },
  );
}

/** What an image has in the place of a directory that it names itself. */
const ownDirectory: Readonly<Record<string, string>> = {
  EBUSY: 'it is the root itself',
  ELOOP: 'too many links lead there',
  ENAMETOOLONG: 'with the links that lead there it is too long a path',
  ENOTDIR: 'it has a file there, or on the way',
};

function notADirectory(
  { setting, path }: Extract<Step, { kind: 'directoryInside' }>,
  wrong: string,
  errno: number,
): ImageError {
  const hint =
    setting === 'WorkingDir' ? 'give the option cwd' : 'mount something of your own there: the option mounts';
  return new ImageError('ERR_CONFIG', `${setting} of the image names ${path}: ${wrong}`, { errno, path, hint });
}

function noPersonality(value: number, errno: number): UnsupportedError {
  return new UnsupportedError(`the personality ${personalityNames(value).join(', ')} cannot be had on this machine`, {
    errno,
    syscall: 'personality',
    hint: "its processor runs no 32-bit programs: leave out personality.domain, which is then 'linux'",
  });
}

function stepHint(step: Step, errno: string): string | undefined {
  if (errno === 'ENOSPC') return 'storage.size or storage.inodes is too small for what the container itself needs';
  switch (step.kind) {
    case 'openTree':
      if (errno === 'ENOENT') return `${step.path} does not exist on the host`;
      break;
    case 'fsconfig':
      if (step.key === 'upperdir') {
        return "the file system of this directory cannot hold what an overlay writes: use upper: 'tmpfs', or Linux 6.6 for that";
      }
      break;
    case 'mountSetattr':
      if (step.idmap && errno === 'EINVAL') {
        return 'the file system of this directory cannot shift ids; use one on ext4, xfs, btrfs or tmpfs, or idmap: false';
      }
      break;
    case 'moveMount':
    case 'makeDirectory':
      if (errno === 'ELOOP') return 'the path leads through a symbolic link of the image, which is not followed';
      if (errno === 'ENOTDIR') {
        return 'a part of the path is a file or a symbolic link, neither is followed; or a file is mounted on a directory';
      }
      if (errno === 'EISDIR') return 'a file cannot be mounted over a directory';
      if (errno === 'EROFS') return 'the target does not exist, and its directory is read-only: choose another target';
      break;
    case 'open':
      if (errno === 'ELOOP') return 'the path leads through a symbolic link, which is not followed';
      break;
    case 'fsconfigLayers':
      if (errno === 'E2BIG') return joinedHint;
      break;
    case 'changeDirectory':
      if (errno === 'ENOENT') return 'the working directory does not exist in the container';
      if (errno === 'EACCES') return 'the user may not enter the working directory';
      break;
    case 'stateDirectory':
      if (errno === 'EBADF')
        return "there is no private directory for storage on disk: set XDG_DATA_HOME, or upper: 'tmpfs'";
      break;
    case 'ownStateDirectory':
      if (errno === 'ESTALE' || errno === 'ENOENT')
        return 'the directory of containers was replaced while this process ran: start it again';
      break;
    case 'sparseFile':
      if (errno === 'EFBIG') return 'the file system of the directory of containers has no files of that size';
      break;
    case 'loopDevice':
      return "storage.size takes a free loop device with upper: 'disk' (loop(4)): is there one, and may this process use it?";
    case 'rootDirectory':
      if (errno === 'EXDEV') return 'a snapshot is on the btrfs that its subvolume is on';
      if (errno === 'ENOTTY' || errno === 'EINVAL') return 'only subvolumes of btrfs have snapshots';
      break;
    case 'subvolumeLimit':
      return 'storage.size takes quotas with btrfs, which are enabled for the whole file system (btrfs quota enable)';
    case 'fsopen':
      if (errno === 'ENODEV') return `this kernel has no ${step.type}`;
      break;
    case 'rlimit':
      if (errno === 'EPERM') return `this process may not go above its own hard limit of ${step.name} (ulimit -H)`;
      break;
    case 'seccomp':
      if (errno === 'EAGAIN') return 'limits.pids leaves no room for the process that hands the filter’s listener over';
      if (errno === 'EPIPE') return 'the process that hands the filter’s listener over was killed before it had';
      if (errno === 'EBUSY')
        return 'another handler decides calls of this process already: it is under a filter itself';
      break;
    case 'affinity':
      return 'each processor of scheduling.affinity must exist, and be in the cpuset that the program is in (limits.cpuset)';
    case 'scheduling':
    case 'ioPriority':
      if (errno === 'EPERM') return 'a better priority than the normal one takes CAP_SYS_NICE on the host';
      break;
    case 'sysctl':
      if (errno === 'ENOENT') return 'this kernel has no such setting, or not in a namespace of its own';
      if (errno === 'EACCES') return 'this kernel does not let a container set it (settings of ipc: Linux 6.10)';
      if (errno === 'EINVAL') return 'the kernel does not take this value; in parentheses stands what it made of it';
      break;
    case 'timeOffsets':
      if (errno === 'ERANGE') return 'no clock may be before 0, or near its end';
      break;
    case 'oomScoreAdjust':
      if (errno === 'EACCES') return 'less than what this process began with takes CAP_SYS_RESOURCE on the host';
      break;
    case 'landlockPath':
    case 'labelOnExec':
      return confinementHint(step, errno);
    case 'setUid':
    case 'setGid':
    case 'setGroups':
      if (errno === 'EINVAL') return 'the id is not mapped in the container';
      break;
  }
  return undefined;
}

/** What else can deny the execution of a program. */
function confinementOf(steps: readonly Step[]): string {
  const landlock = steps.some((step) => step.kind === 'landlockRestrict');
  const label = steps.find((step) => step.kind === 'labelOnExec');
  return [
    landlock ? ', and that landlock.execute and landlock.read have the program and its loader' : '',
    label ? `, and that ${label.label} allows it` : '',
  ].join('');
}

/** Hints about what the kernel's security modules are asked for, wherever that is. */
function confinementHint(step: Step, errno: string): string | undefined {
  if (step.kind === 'landlockPath') {
    if (errno === 'ENOENT')
      return 'it does not exist when the program starts: make it, or give { path, optional: true }';
    if (errno === 'ENOTDIR') return 'some of these rights only a directory has, or a part of the path is no directory';
    if (errno === 'ELOOP') return 'a link of procfs is not followed';
  }
  if (step.kind !== 'labelOnExec') return undefined;
  if (errno === 'ENOENT') return 'the profile is not loaded';
  if (errno === 'EINVAL') return 'the kernel’s policy does not know the label';
  if (errno === 'EACCES' || errno === 'EPERM') {
    return 'the process that starts it may not change to this label: its own policy must allow that';
  }
  return undefined;
}

function hostStepHint(step: Step, errno: string): string | undefined {
  switch (step.kind) {
    case 'landlockPath':
    case 'labelOnExec':
      return confinementHint(step, errno);
    case 'setns':
      if (errno === 'EPERM')
        return 'to enter a namespace this process needs CAP_SYS_ADMIN in the user namespace that owns it (setns(2))';
      if (errno === 'EINVAL') return 'a process cannot enter the user namespace that it is in already (setns(2))';
      break;
    case 'unshare':
      if (errno === 'EPERM') return 'new namespaces need CAP_SYS_ADMIN, or a new user namespace beside them';
      if (errno === 'ENOSPC') return 'a limit of /proc/sys/user/ is reached (namespaces(7))';
      break;
    case 'timeOffsets':
      if (errno === 'ERANGE')
        return 'the clock would begin before zero, or beyond what it can hold (time_namespaces(7))';
      break;
    case 'changeDirectory':
      if (errno === 'ENOENT') return 'the working directory does not exist in the mount namespace of the program';
      if (errno === 'EACCES') return 'the user may not enter the working directory';
      break;
    case 'setUid':
    case 'setGid':
    case 'setGroups':
      if (errno === 'EINVAL') return 'the id is not mapped in the user namespace';
      if (errno === 'EPERM') return 'another id needs CAP_SETUID and CAP_SETGID in the user namespace';
      break;
    case 'moveMount':
    case 'makeDirectory':
    case 'affinity':
    case 'rlimit':
      return stepHint(step, errno);
  }
  return undefined;
}

/** prctl(2): EINVAL of a kernel that was built without it, ENODEV of a processor without hyper-threads. */
function noCoreScheduling(errno: number): UnsupportedError {
  const without = errnoName(errno) === 'ENODEV' ? 'no processor here has hyper-threads' : 'this kernel has none';
  return new UnsupportedError(`core scheduling cannot be had: ${without}`, {
    errno,
    syscall: 'prctl',
    hint: 'leave scheduling.core out; it takes Linux 5.14 with CONFIG_SCHED_CORE',
  });
}

function execError(
  program: string,
  failure: StepFailure,
  place: Place,
  steps: readonly Step[],
  foreign: string | undefined,
): TscontainError {
  const where = place === 'container' ? ' in the container' : '';
  const details = { errno: failure.errno, syscall: 'execve', path: program };
  const make = (code: string, message: string, hint: string) => new TscontainError(code, message, { ...details, hint });
  switch (failure.detail) {
    case detail.NOT_FOUND:
      return make(
        'ERR_COMMAND_NOT_FOUND',
        `cannot execute ${program}: there is no such program${where}`,
        program.includes('/')
          ? `check the path as it is ${place === 'container' ? 'inside the container' : 'in the mount namespace of the program'}`
          : 'it was looked for in the PATH of its environment; give a path, or set env.PATH',
      );
    case detail.IS_DIRECTORY:
      return make('ERR_COMMAND_NOT_EXECUTABLE', `cannot execute ${program}: it is a directory`, 'give a program in it');
    case detail.NOT_EXECUTABLE:
      return make(
        'ERR_COMMAND_NOT_EXECUTABLE',
        `cannot execute ${program}: it is there, but not executable for this user`,
        `give it the x permission bit, or check that its mount allows exec${confinementOf(steps)}`,
      );
    case detail.INTERPRETER_MISSING: {
      const interpreter = failure.text || 'the loader that its ELF header names';
      return make(
        'ERR_INTERPRETER_MISSING',
        `cannot execute ${program}: it is there, but its interpreter is not: ${interpreter}`,
        'install the interpreter in the image, or correct the first line of the script',
      );
    }
  }
  const errno = errnoName(failure.errno);
  if (errno === 'ENOEXEC') {
    const hint = foreign
      ? `the image is for ${foreign}: give platform, or install an emulator that the kernel has open (binfmt_misc, flag F)`
      : 'it is neither an ELF file for this processor nor a script that starts with "#!"';
    return make('ERR_COMMAND_NOT_EXECUTABLE', `cannot execute ${program}: it is no program (ENOEXEC)`, hint);
  }
  if (errno === 'E2BIG') {
    const hint = 'arguments and environment together are limited to 2 MiB, and each string to 128 KiB (execve(2))';
    return make(
      'ERR_ARGUMENTS_TOO_LONG',
      `cannot execute ${program}: its arguments and environment are too long`,
      hint,
    );
  }
  const hint =
    errno === 'EPERM'
      ? 'either the seccomp profile does not allow execve, or the file has capabilities that the bounding set lacks'
      : 'see execve(2) for what this error means';
  return make('ERR_EXEC', `cannot execute ${program}: ${errno}`, hint);
}

/** A failure on the launcher's side, before the container's first step. */
export function creationError(
  failure: { readonly stage: number; readonly index: number; readonly errno: number; readonly text: string },
  hostSteps: readonly Step[],
  writes: readonly CgroupWrite[],
  layout: CgroupLayout,
): TscontainError {
  const errno = errnoName(failure.errno);
  const details = { errno: failure.errno };
  switch (failure.stage) {
    case stage.RANGE:
      return new TscontainError('ERR_NO_IDS', `no range of user ids could be had for the container: ${errno}`, {
        ...details,
        hint: 'every range is in use, or /run/tscontain/ids.lock cannot be opened',
      });
    case stage.CGROUP: {
      const hierarchy = layout.hierarchies[failure.index];
      return new PermissionError(`a cgroup could not be made below ${hierarchy?.base ?? 'the cgroup tree'}: ${errno}`, {
        ...details,
        path: hierarchy?.base,
        syscall: 'mkdir',
        hint: 'this process needs a cgroup subtree that it may write (as root, or delegated by systemd)',
      });
    }
    case stage.LIMIT:
      return limitError(failure.errno, writes[failure.index], layout);
    case stage.CLONE:
      return cloneError(failure.errno);
    case stage.MAP:
      return new PermissionError(`the id map of the container could not be written (${failure.text}): ${errno}`, {
        ...details,
        path: '/proc/<pid>/uid_map',
        hint: isRoot()
          ? 'writing a range needs CAP_SETUID and CAP_SETGID (user_namespaces(7))'
          : 'newuidmap and newgidmap write it, as /etc/subuid and /etc/subgid allow (subuid(5)), and must be able to gain privileges',
      });
    case stage.HOST_STEP:
      return stepError(
        hostSteps,
        { step: failure.index, errno: failure.errno, detail: 0, text: failure.text },
        'preparing the mounts of the container',
      );
  }
  return new TscontainError('ERR_LAUNCHER', `the launcher could not start the container: ${errno}`, details);
}

function limitError(errno: number, write: CgroupWrite | undefined, layout: CgroupLayout): TscontainError {
  if (!write) return new TscontainError('ERR_LIMIT', `a limit could not be set: ${errnoName(errno)}`, { errno });
  const path = `${layout.hierarchies[write.hierarchy]?.base}/<container>/${write.file}`;
  return new TscontainError(
    'ERR_LIMIT',
    `the limit ${write.value} could not be written to ${write.file}: ${errnoName(errno)}`,
    {
      errno,
      path,
      syscall: 'write',
      hint: 'a limit must fit into those of the cgroup that this process is in, and name devices that exist',
    },
  );
}

export function cloneError(errno: number): TscontainError {
  const name = errnoName(errno);
  const details = { errno, syscall: 'clone3' };
  if (name === 'ENOSPC' || name === 'EUSERS') {
    return new UnsupportedError('the host refuses new namespaces: a limit is reached', {
      ...details,
      hint: 'see the limits in /proc/sys/user/ (max_user_namespaces and the like)',
    });
  }
  if (name === 'EPERM' || name === 'EACCES') {
    return new PermissionError('this process may not make namespaces', {
      ...details,
      hint: 'run as root, or allow unprivileged user namespaces: sysctl kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns',
    });
  }
  if (name === 'ENOSYS') {
    return new UnsupportedError('this kernel has no clone3, or a seccomp filter hides it', {
      ...details,
      hint: 'Linux 5.7 or newer is needed; inside a container, its filter must allow clone3',
    });
  }
  return new TscontainError('ERR_CLONE', `new namespaces could not be made: ${name}`, details);
}
