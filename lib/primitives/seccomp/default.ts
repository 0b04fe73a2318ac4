/**
 * The profile a container gets unless it asks for another: Docker's, tightened where a kernel interface has a record of
 * holes and ordinary programs don't need it. An allowlist: what is not named here fails with EPERM, and what no kernel had
 * when this was written with ENOSYS.
 *
 * Not allowed whatever the capabilities, since each has opened the kernel or the host before: namespaces and mounts
 * (CVE-2022-0185), bpf, perf_event_open, userfaultfd, io_uring, keyrings, modules, kexec, open_by_handle_at, fanotify_init,
 * syslog, quotas, swap, accounting, port access, move_pages. Docker allows half of them to CAP_SYS_ADMIN.
 */

import { alwaysAllowed, architectureRules, namespaceFlags, personalityRules, unlockedBy } from './docker.js';
import { type SeccompRule, validateProfile } from './profile.js';

/** Of what Docker always allows, these have a rule of their own below, or none at all. */
const notAlways = new Set(['ioctl', 'socketpair', 'adjtimex', 'clock_adjtime', 'clock_adjtime64'])
  // The 32-bit entry to all socket calls; its arguments are in memory, out of the filter's sight.
  .add('socketcall');

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;

/** By equality: two rules "not this family" cancel each other out, and the next family has no rule yet. */
const socketRules: readonly SeccompRule[] = [
  ...[AF_UNIX, AF_INET, AF_INET6, AF_NETLINK].map((family) => allowIfEqual('socket', family)),
  allowIfEqual('socketpair', AF_UNIX),
];

const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;

const ioctlRule: SeccompRule = {
  names: ['ioctl'],
  action: 'SCMP_ACT_ALLOW',
  args: [
    { index: 1, value: TIOCSTI, op: 'SCMP_CMP_NE' },
    { index: 1, value: TIOCLINUX, op: 'SCMP_CMP_NE' },
  ],
  comment: 'both push input into a terminal that may be the host’s (CVE-2017-5226, CVE-2023-28100)',
};

/** CLONE_NEWTIME lies in the exit signal's bits: no signal has this one, and only clone3 and unshare take the flag. */
const CLONE_NEWTIME = 0x80;
const ENOSYS = 38;

const cloneRules: readonly SeccompRule[] = [
  {
    names: ['clone'],
    action: 'SCMP_ACT_ALLOW',
    args: [{ index: 0, value: namespaceFlags | CLONE_NEWTIME, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
  },
  {
    names: ['clone3'],
    action: 'SCMP_ACT_ERRNO',
    errnoRet: ENOSYS,
    comment: 'its flags are in memory, out of sight; with ENOSYS every libc and runtime falls back on clone',
  },
];

/** What a capability unlocks, where the capability is the whole of the question. */
const capabilityRules: readonly SeccompRule[] = [
  unlockedBy('CAP_SYS_CHROOT'),
  unlockedBy('CAP_SYS_PTRACE'),
  unlockedBy('CAP_SYS_NICE'),
  unlockedBy('CAP_SYS_TTY_CONFIG'),
  unlockedBy('CAP_SYS_TIME'),
  {
    // They read the clock's state too, but a filter cannot see the mode, which is in memory.
    names: ['adjtimex', 'clock_adjtime', 'clock_adjtime64'],
    action: 'SCMP_ACT_ALLOW',
    includes: { caps: ['CAP_SYS_TIME'] },
  },
  {
    names: ['sethostname', 'setdomainname', 'lsm_get_self_attr', 'lsm_list_modules', 'lsm_set_self_attr'],
    action: 'SCMP_ACT_ALLOW',
    includes: { caps: ['CAP_SYS_ADMIN'] },
  },
];

/**
 * The default seccomp profile: everything that shells, compilers, Node, Python, Go and Java programs and a Debian userland
 * call, and little else. Sockets are UNIX, IPv4, IPv6 and netlink; no new namespaces; tracing needs `CAP_SYS_PTRACE`,
 * setting clocks `CAP_SYS_TIME`, `chroot` `CAP_SYS_CHROOT`.
 */
export const defaultProfile = validateProfile({
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: 1,
  syscalls: [
    {
      // The kernel puts uretprobe (6.11) and uprobe (6.18) into a program that the host traces; denied, it would crash.
      names: [...alwaysAllowed.filter((name) => !notAlways.has(name)), 'uprobe'],
      action: 'SCMP_ACT_ALLOW',
    },
    ...socketRules,
    ioctlRule,
    ...personalityRules,
    ...cloneRules,
    ...architectureRules,
    ...capabilityRules,
  ],
});

function allowIfEqual(name: string, value: number): SeccompRule {
  return { names: [name], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }] };
}
