/** What a step does, in words, with the system call it makes and where to read about it. */

import { personalityNames } from '../primitives/personality.js';
import { sysctlPath } from '../primitives/sysctl.js';
import { cloneFlag, mountAttribute, type Step } from './step.js';

/** A step for a reader. */
export interface StepDescription {
  /** One line. */
  readonly text: string;
  /** The system call, as its manual page names it. */
  readonly call: string;
  /** The manual page, such as `mount_setattr(2)`. */
  readonly manual: string;
  /** The path that it is about, if any: of the host for `openTree`, else inside the container. */
  readonly path?: string;
}

/** Describe one step. */
export function describeStep(step: Step): StepDescription {
  switch (step.kind) {
    case 'openTree': {
      const what = step.path === '' ? `the tree at ${step.from}` : step.path;
      const where = step.from === null || step.path === '' ? what : `${step.path} beneath ${step.from}`;
      return page('open_tree', `take a copy of the mount of ${where} as "${step.to}"`, step.path);
    }
    case 'fsopen':
      return page('fsopen', `configure a new ${step.type} file system`);
    case 'fsconfig':
      if (step.file !== undefined) return page('fsconfig', `set ${step.key} to "${step.file}"`);
      return page('fsconfig', `set ${step.value === undefined ? step.key : `${step.key}=${step.value}`}`);
    case 'fsconfigLayers':
      return page('fsconfig', `set ${step.key} to ${step.layers.map((layer) => `"${layer}"`).join(', ')}`);
    case 'fsconfigCreate':
      return page('fsconfig', 'create the file system');
    case 'fsmount':
      return page('fsmount', `mount it, detached, as "${step.to}" (${attributeNames(step.attributes)})`);
    case 'mountSetattr': {
      const parts = [attributeNames(step.set)];
      if (step.propagation !== 0) parts.push('private');
      if (step.idmap !== undefined) parts.push("ids shifted to the container's");
      const on = step.on === null ? step.path : `"${step.on}"`;
      const text = `make ${on}${step.recursive ? ' and all below it' : ''} ${parts.filter(Boolean).join(', ')}`;
      return page('mount_setattr', text, step.path);
    }
    case 'moveMount':
      return page(
        'move_mount',
        `attach "${step.mount}" at ${step.path || '.'} of ${step.under ?? 'the old root'}`,
        step.path,
      );
    case 'unmount':
      return { ...page('umount2', `unmount ${step.name} of ${step.under}`, step.name), manual: 'umount(2)' };
    case 'detach':
      return { ...page('umount2', `take "${step.mount}" and all below it out of the tree`), manual: 'umount(2)' };
    case 'discard':
      return { ...page('unlinkat', `empty "${step.upper}" and "${step.work}"`), manual: 'unlink(2)' };
    case 'pack':
      return page('read', `write ${step.list === undefined ? '' : 'what changed in '}"${step.tree}" as a tar`);
    case 'copyTree': {
      const sources = step.sources.map((source) => `"${source}"`).join(' over ');
      return page('copy_file_range', `copy ${sources} to "${step.target}"`);
    }
    case 'lend':
      return page('sendmsg', `lend "${step.slot}", and wait until it is filled`);
    case 'unpack':
      return page('openat2', `unpack the ${step.mode} from "${step.archive}" into "${step.directory}"`);
    case 'pivotRoot':
      return page('pivot_root', `make "${step.to}" the root, and detach the old one`);
    case 'mask':
      return page(
        'move_mount',
        `${step.how === 'hide' ? 'hide' : 'make read-only'} /${step.under}/${step.path}, if it is there`,
        `/${step.under}/${step.path}`,
      );
    case 'makeDirectory':
      return page('mkdir', `make the directory ${step.path} of ${step.under} (${octal(step.mode)})`, step.path);
    case 'directoryInside': {
      const text = `find or make the directory ${step.path} of ${step.root}, which the image names (${step.setting})`;
      return page('openat2', text, step.path);
    }
    case 'writeFile':
      return page('open', `write ${step.path}, ${step.content.length} bytes (${octal(step.mode)})`, step.path);
    case 'writeKernelFile':
      return { ...page('write', `write ${step.value} to ${step.path} of ${step.under}`, step.path), manual: 'proc(5)' };
    case 'symlink':
      return page('symlink', `link ${step.path} to ${step.target}`, step.path);
    case 'open':
      return page(
        'openat2',
        `open ${step.path}${step.from === null ? '' : ` beneath ${step.from}`} as "${step.to}"`,
        step.path,
      );
    case 'close':
      return page('close', `let go of "${step.slot}"`);
    case 'fchdir':
      return page('chdir', `go to "${step.to}"`);
    case 'verifyRoot':
      return { ...page('stat', 'verify that "/" has nothing above it'), manual: 'pivot_root(2)' };
    case 'stateDirectory':
      return page('mkdir', `make a private directory on disk, as "${step.to}"`);
    case 'ownStateDirectory':
      return page('open_tree', `copy that directory, "${step.made}" in ${step.path}, as "${step.to}"`, step.path);
    case 'sparseFile':
      return page('openat', `make a file of ${step.size} bytes without a name, as "${step.to}"`);
    case 'loopDevice':
      return { ...page('ioctl', `make a block device of "${step.file}", as "${step.to}"`), manual: 'loop(4)' };
    case 'fsconfigDevice':
      return page('fsconfig', `set ${step.key} to "${step.device}"`);
    case 'layerDirectories':
      return page('mkdir', `make upper and work in "${step.on}", and give all to the container's root`);
    case 'subvolume': {
      const what = step.source === undefined ? 'a subvolume' : `a snapshot of "${step.source}"`;
      return { ...page('ioctl', `make ${what} as ${step.name} of "${step.under}"`), manual: 'btrfs-subvolume(8)' };
    }
    case 'subvolumeLimit':
      return { ...page('ioctl', `let "${step.on}" have ${step.bytes} bytes to itself`), manual: 'btrfs-qgroup(8)' };
    case 'removeTree':
      return { ...page('unlinkat', `remove ${step.name} of "${step.under}" and all below it`), manual: 'unlink(2)' };
    case 'rootDirectory': {
      const what = `a snapshot of "${step.source}" in "${step.under}"`;
      return { ...page('ioctl', `make ${what} the container's root, as "${step.to}"`), manual: 'btrfs-subvolume(8)' };
    }
    case 'reclaim':
      return { ...page('unlinkat', `remove from "${step.on}" what is nobody's any more`), manual: 'unlink(2)' };
    case 'setHostname':
      return page('sethostname', `set the host name to ${step.name}`);
    case 'setDomainName':
      return page('setdomainname', `set the domain name to ${step.name}`);
    case 'sysctl': {
      const text = `set ${step.key} to ${step.value}${step.tolerant ? ', if the kernel lets it here' : ''}`;
      return { ...page('write', text, sysctlPath(step.key)), manual: 'proc_sys(5)' };
    }
    case 'timeOffsets':
      return {
        ...page(
          'write',
          `set the monotonic clock ${ahead(step.monotonic)}, the one since boot ${ahead(step.boottime)}`,
        ),
        manual: 'time_namespaces(7)',
      };
    case 'loopbackUp':
      return { ...page('ioctl', 'bring the loopback interface up'), manual: 'netdevice(7)' };
    case 'unshare':
      return page('unshare', `new namespaces: ${namespaceNames(step.flags).join(', ')}`);
    case 'setns':
      return page('setns', `enter the ${namespaceNames(step.flags).join(', ')} namespace "${step.namespace}"`);
    case 'socket':
      return page('socket', `open a socket (${step.domain}, ${step.type}, ${step.protocol}) as "${step.to}"`);
    case 'joinCgroup':
      return { ...page('write', `join the cgroup of "${step.tasks}"`), manual: 'cgroups(7)' };
    case 'fork':
      return { ...page('clone3', 'go on as a child'), manual: 'clone(2)' };
    case 'parentDeathSignal':
      return { ...page('prctl', 'end with the process that started this one'), manual: 'PR_SET_PDEATHSIG(2const)' };
    case 'setGroups':
      return page('setgroups', `set the supplementary groups to [${step.groups.join(', ')}]`);
    case 'setGid':
      return { ...page('setresgid', `become group ${step.gid}`), manual: 'setresuid(2)' };
    case 'setUid':
      return page('setresuid', `become user ${step.uid}`);
    case 'boundingSet':
      return { ...page('prctl', `bound capabilities by ${hex(step.mask)}`), manual: 'capabilities(7)' };
    case 'capabilities': {
      const { effective, permitted, inheritable, ambient } = step;
      const used = effective === permitted ? '' : ` (in effect ${hex(effective)})`;
      const inherited =
        inheritable === 0 ? 'none inherited' : `inheritable ${hex(inheritable)}, ambient ${hex(ambient)}`;
      return {
        ...page('capset', `hold the capabilities ${hex(permitted)}${used}, ${inherited}`),
        manual: 'capabilities(7)',
      };
    }
    case 'keepCapabilities':
      return {
        ...page('prctl', 'keep what is permitted over the change of user'),
        manual: 'PR_SET_KEEPCAPS(2const)',
      };
    case 'noNewPrivs':
      return {
        ...page('prctl', 'never gain privileges by executing a program'),
        manual: 'PR_SET_NO_NEW_PRIVS(2const)',
      };
    case 'sessionKeyring':
      return { ...page('keyctl', 'use a new session keyring'), manual: 'keyctl(2)' };
    case 'rlimit':
      return { ...page('prlimit', `limit ${step.name} to ${limitText(step)}`), manual: 'getrlimit(2)' };
    case 'umask':
      return page('umask', `set the file mode mask to ${octal(step.mask)}`);
    case 'scheduling':
      return { ...page('sched_setattr', `the scheduling policy ${policyText(step)}`), manual: 'sched(7)' };
    case 'affinity':
      return page(
        'sched_setaffinity',
        `run on ${step.processors === 'all' ? 'any processor' : `processors ${step.processors}`}`,
      );
    case 'ioPriority':
      return page('ioprio_set', `the block device priority ${step.class}${step.level === 0 ? '' : ` ${step.level}`}`);
    case 'coreScheduling':
      return { ...page('prctl', 'share cores with none but its own processes'), manual: 'PR_SCHED_CORE(2const)' };
    case 'personality':
      return page('personality', `the personality ${personalityNames(step.value).join(', ')}`);
    case 'oomScoreAdjust':
      return {
        ...page('write', `adjust its score for the out-of-memory killer by ${step.value}`),
        manual: 'proc_pid_oom_score_adj(5)',
      };
    case 'seccomp':
      return page(
        'seccomp',
        `filter system calls (${step.program.byteLength / 8} instructions)${step.listener === undefined ? '' : ', some decided by a handler'}`,
      );
    case 'landlockRuleset': {
      const all = [
        ...step.files,
        ...step.network.map((name) => `TCP ${name}`),
        ...step.scope.map((name) => `scope ${name}`),
      ];
      return page('landlock_create_ruleset', `deny, where no rule allows it: ${all.join(', ')}`);
    }
    case 'landlockPath': {
      const there = step.optional ? ', if it is there' : '';
      return page('landlock_add_rule', `allow ${step.rights.join(', ')} at and below ${step.path}${there}`, step.path);
    }
    case 'landlockPort':
      return page('landlock_add_rule', `allow TCP ${step.rights.join(' and ')} of port ${step.port}`);
    case 'landlockRestrict':
      return page('landlock_restrict_self', 'come under these rules for ever');
    case 'labelOnExec': {
      const where = step.stack ? ' on top of the label there is' : '';
      const text = step.module === 'apparmor' ? `the profile ${step.label}${where}` : `the label ${step.label}`;
      return {
        ...page('write', `run the program under ${text}`),
        manual: step.module === 'apparmor' ? 'apparmor(7)' : 'selinux(8)',
      };
    }
    case 'stdio':
      return { ...page('dup3', `standard streams: ${step.stdin}, ${step.stdout}, ${step.stderr}`), manual: 'dup(2)' };
    case 'setsid':
      return page('setsid', 'lead a new session');
    case 'controllingTty':
      return { ...page('ioctl', 'take the terminal as the controlling one'), manual: 'TIOCSCTTY(2const)' };
    case 'closeRange':
      return page(
        'close_range',
        `close every descriptor from ${step.first} on${step.keep === undefined ? '' : `, but the ${step.keep}`}`,
      );
    case 'unblockSignals':
      return { ...page('rt_sigprocmask', 'block no signal (each is at its default)'), manual: 'sigprocmask(2)' };
    case 'changeDirectory':
      return page('chdir', `work in ${step.path}`, step.path);
    case 'exec':
      return page('execve', `execute ${step.argv.join(' ')}`, step.program);
  }
}

function page(call: string, text: string, path?: string): StepDescription {
  return { text, call, manual: `${call}(2)`, ...(path && { path }) };
}

function octal(mode: number): string {
  return `0${mode.toString(8)}`;
}

function hex(mask: number): string {
  return `0x${mask.toString(16)}`;
}

function ahead(nanoseconds: bigint): string {
  const milliseconds = Number(nanoseconds) / 1e6;
  return `${Math.abs(milliseconds)} ms ${milliseconds < 0 ? 'back' : 'ahead'}`;
}

function limitText({ soft, hard }: { readonly soft: number; readonly hard: number }): string {
  const shown = (limit: number) => (limit === Number.POSITIVE_INFINITY ? 'unlimited' : String(limit));
  return soft === hard ? shown(soft) : `${shown(soft)}, at most ${shown(hard)}`;
}

function policyText(step: Extract<Step, { kind: 'scheduling' }>): string {
  const details =
    step.policy === 'deadline'
      ? `${step.runtime / 1e6} ms by ${step.deadline / 1e6} ms of each ${step.period / 1e6} ms`
      : step.priority > 0
        ? `priority ${step.priority}`
        : `nice ${step.nice}`;
  return `${step.policy}, ${details}${step.resetOnFork ? ', not for its children' : ''}`;
}

function attributeNames(attributes: number): string {
  const names = Object.entries(mountAttribute).filter(([, bit]) => attributes & bit);
  return names.map(([name]) => name.toLowerCase()).join(',');
}

/** `['user', 'mnt', …]` for flags of clone(2). */
function namespaceNames(flags: number): string[] {
  return Object.entries(cloneFlag)
    .filter(([, bit]) => flags & bit)
    .map(([name]) => (name === 'NEWNS' ? 'mnt' : name.slice(3).toLowerCase()));
}
