/**
 * Docker's default profile: which system calls it allows, always or on a condition, as our own table of those facts
 * (moby, 2025). Its order and shape are ours; what it lets through is Docker's. Names that only 32-bit or other
 * architectures have are kept, so that the table can be compared with Docker's own.
 */

import { type SeccompRule, validateProfile } from './profile.js';

const words = (text: string): string[] => text.trim().split(/\s+/);

/** The 361 names that Docker allows whatever the arguments, capabilities and architecture. */
export const alwaysAllowed: readonly string[] = [
  // Opening, reading and writing.
  `open openat openat2 creat close close_range read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2
   lseek _llseek sendfile sendfile64 copy_file_range splice tee vmsplice readahead fadvise64 fadvise64_64 fallocate
   truncate truncate64 ftruncate ftruncate64 fsync fdatasync sync syncfs sync_file_range memfd_create memfd_secret`,
  // Descriptors.
  `dup dup2 dup3 fcntl fcntl64 ioctl flock pipe pipe2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_gettime
   timerfd_gettime64 timerfd_settime timerfd_settime64 inotify_init inotify_init1 inotify_add_watch inotify_rm_watch
   fanotify_mark`,
  // Waiting on descriptors.
  `select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
   epoll_wait epoll_wait_old epoll_pwait epoll_pwait2`,
  // Names, links, directories, mount points as information.
  `access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs
   fstatfs64 statmount listmount link linkat symlink symlinkat readlink readlinkat unlink unlinkat rename renameat
   renameat2 mkdir mkdirat rmdir mknod mknodat getdents getdents64 getcwd chdir fchdir umask name_to_handle_at`,
  // Owners, modes, times, attributes.
  `chown chown32 fchown fchown32 lchown lchown32 fchownat chmod fchmod fchmodat fchmodat2 utime utimes futimesat utimensat
   utimensat_time64 setxattr lsetxattr fsetxattr setxattrat getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr
   flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat`,
  // Asynchronous input and output; io_uring is not among it.
  'io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set',
  // Memory.
  `brk mmap mmap2 munmap mremap mprotect madvise msync mincore mseal mlock mlock2 mlockall munlock munlockall membarrier
   remap_file_pages pkey_alloc pkey_free pkey_mprotect map_shadow_stack cachestat process_mrelease`,
  // Processes and threads.
  `fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid getpgid getpgrp setpgid getsid
   setsid prctl set_tid_address set_thread_area get_thread_area set_robust_list get_robust_list rseq futex futex_time64
   futex_wait futex_waitv futex_wake futex_requeue pidfd_open pidfd_send_signal restart_syscall uretprobe`,
  // Signals.
  `kill tkill tgkill pause alarm sigaltstack sigprocmask sigreturn rt_sigaction rt_sigpending rt_sigprocmask
   rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64`,
  // Users, groups, capabilities, and restrictions that a process puts on itself.
  `getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid getresgid32 getgroups
   getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid setresuid32 setresgid
   setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset seccomp landlock_create_ruleset
   landlock_add_rule landlock_restrict_self`,
  // Scheduling, limits, usage.
  `sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam
   sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval
   sched_rr_get_interval_time64 getpriority setpriority getrlimit ugetrlimit setrlimit prlimit64 getrusage times getcpu
   sysinfo uname getrandom riscv_hwprobe`,
  // Clocks and timers. The adjusting two read the clock's state without CAP_SYS_TIME.
  `time gettimeofday clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64
   nanosleep getitimer setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
   timer_settime64 adjtimex clock_adjtime clock_adjtime64`,
  // Sockets; making one is below.
  `socketcall socketpair bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt shutdown send
   sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64`,
  // System V and POSIX message queues, semaphores, shared memory.
  `ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget mq_open
   mq_unlink mq_getsetattr mq_notify mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64`,
].flatMap(words);

/** Names that one capability of the bounding set unlocks. */
const byCapability = {
  CAP_DAC_READ_SEARCH: 'open_by_handle_at',
  CAP_SYS_ADMIN: `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
    lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd
    setdomainname sethostname setns syslog umount umount2 unshare`,
  CAP_SYS_BOOT: 'reboot',
  CAP_SYS_CHROOT: 'chroot',
  CAP_SYS_MODULE: 'delete_module finit_module init_module',
  CAP_SYS_PACCT: 'acct',
  CAP_SYS_PTRACE: 'kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace',
  CAP_SYS_RAWIO: 'ioperm iopl',
  CAP_SYS_TIME: 'clock_settime clock_settime64 settimeofday stime',
  CAP_SYS_TTY_CONFIG: 'vhangup',
  CAP_SYS_NICE: 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node',
  CAP_SYSLOG: 'syslog',
  CAP_BPF: 'bpf',
  CAP_PERFMON: 'perf_event_open',
} as const;

/** Names that only some architectures have, by Go's names for them. */
const byArchitecture: readonly (readonly [arches: string, names: string])[] = [
  ['ppc64le', 'swapcontext sync_file_range2'],
  ['arm arm64', 'arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2'],
  ['amd64 x32', 'arch_prctl'],
  ['amd64 x32 x86', 'modify_ldt'],
  ['s390 s390x', 's390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr'],
  ['riscv64', 'riscv_flush_icache'],
];

/** Rules for the calls that exist on some architectures only. */
export const architectureRules: readonly SeccompRule[] = byArchitecture.map(([arches, names]) => ({
  names: words(names),
  action: 'SCMP_ACT_ALLOW',
  includes: { arches: words(arches) },
}));

/** PER_LINUX, PER_LINUX32, both with UNAME26 (a 2.6 version from uname), and the value that only asks. */
export const personalityRules: readonly SeccompRule[] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff].map((value) => ({
  names: ['personality'],
  action: 'SCMP_ACT_ALLOW',
  args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
}));

const AF_ALG = 38;
const AF_VSOCK = 40;

/** All families but AF_ALG and AF_VSOCK, as three ranges: libseccomp takes one condition on an argument in a rule. */
const socketRules: readonly SeccompRule[] = [
  { index: 0, value: AF_ALG, op: 'SCMP_CMP_LT' } as const,
  { index: 0, value: AF_ALG + 1, op: 'SCMP_CMP_EQ' } as const,
  { index: 0, value: AF_VSOCK, op: 'SCMP_CMP_GT' } as const,
].map((argument) => ({ names: ['socket'], action: 'SCMP_ACT_ALLOW', args: [argument] }));

/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET. */
export const namespaceFlags = 0x7e02_0000;
const ENOSYS = 38;

const cloneRules: readonly SeccompRule[] = [
  {
    names: ['clone'],
    action: 'SCMP_ACT_ALLOW',
    args: [{ index: 0, value: namespaceFlags, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
    excludes: { caps: ['CAP_SYS_ADMIN'], arches: ['s390', 's390x'] },
  },
  {
    names: ['clone'],
    action: 'SCMP_ACT_ALLOW',
    args: [{ index: 1, value: namespaceFlags, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
    includes: { arches: ['s390', 's390x'] },
    excludes: { caps: ['CAP_SYS_ADMIN'] },
    comment: 's390 has the stack first and the flags second',
  },
  {
    names: ['clone3'],
    action: 'SCMP_ACT_ERRNO',
    errnoRet: ENOSYS,
    excludes: { caps: ['CAP_SYS_ADMIN'] },
    comment: 'its flags are in memory, out of sight; with ENOSYS glibc falls back on clone',
  },
];

/** The names that a capability unlocks, as a rule. */
export function unlockedBy(capability: keyof typeof byCapability): SeccompRule {
  return { names: words(byCapability[capability]), action: 'SCMP_ACT_ALLOW', includes: { caps: [capability] } };
}

/**
 * Docker's default profile, for images that rely on what Docker allows beyond {@link defaultProfile}: tracing, all socket
 * families but two, and whatever a capability unlocks.
 */
export const dockerProfile = validateProfile({
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: 1,
  syscalls: [
    { names: alwaysAllowed, action: 'SCMP_ACT_ALLOW' },
    {
      names: ['ptrace', 'process_vm_readv', 'process_vm_writev'],
      action: 'SCMP_ACT_ALLOW',
      includes: { minKernel: '4.8' },
      comment: 'before 4.8 a tracer could change the call after the filter had judged it',
    },
    ...socketRules,
    ...personalityRules,
    ...architectureRules,
    ...cloneRules,
    ...(Object.keys(byCapability) as (keyof typeof byCapability)[]).map(unlockedBy),
  ],
});
