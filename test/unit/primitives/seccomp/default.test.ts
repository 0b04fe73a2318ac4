import { describe, expect, it } from 'vitest';
import { Capabilities, type CapabilityName } from '../../../../lib/primitives/capabilities.js';
import { describeReturn } from '../../../../lib/primitives/seccomp/action.js';
import {
  compileSeccompCached,
  defaultProfile,
  dockerProfile,
  type SeccompProfile,
  simulate,
} from '../../../../lib/primitives/seccomp/index.js';
import { type SeccompArch, syscallName, syscallNumber } from '../../../../lib/primitives/seccomp/syscalls.js';
import { ALLOW, ENOSYS, EPERM } from './evaluate.js';

const arches = ['x64', 'arm64'] as const;
const kernel = [6, 1] as const;

/** The default profile's answer, as text. */
function verdict(arch: SeccompArch, name: string, args: bigint[] = [], ...added: CapabilityName[]): string {
  const nr = syscallNumber(arch, name);
  if (nr === undefined) return 'absent';
  const program = compileSeccompCached(defaultProfile, {
    arch,
    capabilities: Capabilities.default.add(...added),
    kernel,
  });
  return describeReturn(simulate(program, { arch, nr, args }));
}

const upperHalves = [0n, 1n, 0x8000_0000n, 0xffff_ffffn];
/** A value with every kind of upper half: what a program can put into the register of an `int` argument. */
const withUpper = (low: number): bigint[] => upperHalves.map((upper) => (upper << 32n) | BigInt(low));

describe.each(arches)('the default profile on %s', (arch) => {
  const program = compileSeccompCached(defaultProfile, { arch, capabilities: Capabilities.default, kernel });

  it('gives every number from 0 to 600 the verdict of the golden table (F3)', async () => {
    await expect(table(defaultProfile, arch)).toMatchFileSnapshot(`golden/default-${arch}.txt`);
  });

  it('denies by default: a known call without a rule fails with EPERM, an unknown one with ENOSYS (F3)', () => {
    const named = new Set(defaultProfile.syscalls?.flatMap(({ names }) => names));
    for (let nr = 0; nr <= 600; nr++) {
      const name = syscallName(arch, nr);
      if (name !== undefined && named.has(name)) continue;
      const expected = name === undefined ? ENOSYS : EPERM;
      expect(simulate(program, { arch, nr, args: [] }), `${nr} ${name}`).toBe(expected);
    }
  });

  it('has clone3 fail with ENOSYS whatever the capabilities, so that libc falls back on clone (F4)', () => {
    expect(verdict(arch, 'clone3')).toBe('ERRNO ENOSYS');
    expect(verdict(arch, 'clone3', [], 'ALL')).toBe('ERRNO ENOSYS');
  });

  it('lets clone make threads and processes, and no namespaces (F4)', () => {
    const CLONE_NEW = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80];
    const thread = 0x3d0f00;
    const fork = 0x1200011;
    const vfork = 0x4111;
    for (const flags of [thread, fork, vfork, 17]) {
      for (const value of withUpper(flags)) expect(verdict(arch, 'clone', [value])).toBe('ALLOW');
      for (const flag of CLONE_NEW) {
        for (const value of withUpper(flags | flag)) expect(verdict(arch, 'clone', [value], 'ALL')).toBe('ERRNO EPERM');
      }
    }
  });

  it('opens sockets of the families UNIX, INET, INET6 and NETLINK only, among 0 to 45 and all upper halves (F5)', () => {
    const opened = (name: string): number[] =>
      Array.from({ length: 46 }, (_, family) => family).filter((family) => {
        const answers = new Set(withUpper(family).map((value) => verdict(arch, name, [value, 1n, 0n], 'ALL')));
        expect(answers.size, `family ${family}`).toBe(1);
        return answers.has('ALLOW');
      });
    expect(opened('socket')).toEqual([1, 2, 10, 16]);
    expect(opened('socketpair')).toEqual([1]);
    for (const family of [46, 255, 0x10001, 0x7fffffff, 0xffffffff]) {
      expect(verdict(arch, 'socket', [BigInt(family)])).toBe('ERRNO EPERM');
    }
  });

  it('denies open_by_handle_at, with its capability as well (F6)', () => {
    expect(verdict(arch, 'open_by_handle_at')).toBe('ERRNO EPERM');
    expect(verdict(arch, 'open_by_handle_at', [], 'ALL')).toBe('ERRNO EPERM');
  });

  const neverAllowed = `bpf userfaultfd perf_event_open io_uring_setup io_uring_enter io_uring_register keyctl add_key
    request_key kexec_load kexec_file_load init_module finit_module delete_module create_module query_module
    get_kernel_syms acct swapon swapoff quotactl quotactl_fd iopl ioperm lookup_dcookie nfsservctl reboot move_pages
    migrate_pages fanotify_init open_by_handle_at syslog vserver _sysctl sysfs ustat uselib mount umount2 pivot_root
    mount_setattr move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick unshare setns`.split(/\s+/);

  it.each(neverAllowed)('denies %s whatever the capabilities (F7)', (name) => {
    for (const capabilities of [[], ['ALL']]) {
      expect(['ERRNO EPERM', 'absent']).toContain(verdict(arch, name, [0xffffffffn, 1n], ...capabilities));
    }
  });

  it.each(['ptrace', 'process_vm_readv', 'process_vm_writev', 'kcmp', 'pidfd_getfd', 'process_madvise'])(
    'denies %s without CAP_SYS_PTRACE (F7, F8)',
    (name) => {
      expect(verdict(arch, name)).toBe('ERRNO EPERM');
      expect(verdict(arch, name, [], 'CAP_SYS_ADMIN')).toBe('ERRNO EPERM');
      expect(verdict(arch, name, [], 'CAP_SYS_PTRACE')).toBe('ALLOW');
    },
  );

  it('denies chroot without CAP_SYS_CHROOT', () => {
    expect(verdict(arch, 'chroot')).toBe('ERRNO EPERM');
    expect(verdict(arch, 'chroot', [], 'CAP_SYS_CHROOT')).toBe('ALLOW');
  });

  it('allows five personalities, and none with another bit (F10)', () => {
    const allowed = [0, 8, 0x20000, 0x20008, 0xffffffff];
    for (const persona of allowed) {
      for (const value of withUpper(persona)) expect(verdict(arch, 'personality', [value])).toBe('ALLOW');
      for (let bit = 0; bit < 32; bit++) {
        const other = (persona ^ (2 ** bit)) >>> 0;
        if (allowed.includes(other)) continue;
        for (const value of withUpper(other)) expect(verdict(arch, 'personality', [value])).toBe('ERRNO EPERM');
      }
    }
    const ADDR_NO_RANDOMIZE = 0x40000n;
    expect(verdict(arch, 'personality', [ADDR_NO_RANDOMIZE], 'ALL')).toBe('ERRNO EPERM');
  });

  it.each(['settimeofday', 'clock_settime', 'clock_adjtime', 'adjtimex'])(
    'denies %s without CAP_SYS_TIME (F10)',
    (name) => {
      expect(verdict(arch, name)).toBe('ERRNO EPERM');
      expect(verdict(arch, name, [], 'CAP_SYS_TIME')).toBe('ALLOW');
    },
  );

  it.each([
    ['TIOCSTI', 0x5412],
    ['TIOCLINUX', 0x541c],
  ])('denies the ioctl %s with any upper half (G1)', (_, command) => {
    for (const value of withUpper(command)) expect(verdict(arch, 'ioctl', [0n, value], 'ALL')).toBe('ERRNO EPERM');
  });

  it('allows the other ioctls: TCGETS, TIOCGWINSZ, TIOCSWINSZ, FIONREAD, TIOCGPTN and their neighbours', () => {
    for (const command of [0x5401, 0x5411, 0x5413, 0x5414, 0x541b, 0x541d, 0x80045430, 0x15412]) {
      for (const value of withUpper(command)) expect(verdict(arch, 'ioctl', [0n, value])).toBe('ALLOW');
    }
  });

  const needed = `read write open openat openat2 close stat fstat lstat newfstatat statx poll ppoll select pselect6 epoll_create1
    epoll_ctl epoll_wait epoll_pwait mmap mprotect munmap mremap madvise brk rt_sigaction rt_sigprocmask rt_sigreturn
    rt_sigsuspend sigaltstack pipe pipe2 dup dup2 dup3 fork vfork execve execveat exit exit_group wait4 waitid kill tgkill
    uname fcntl flock fsync ftruncate getdents64 getcwd chdir rename renameat renameat2 mkdir mkdirat rmdir creat link linkat
    unlink unlinkat symlink symlinkat readlink readlinkat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat umask
    gettimeofday clock_gettime clock_nanosleep nanosleep getrlimit setrlimit prlimit64 getrusage sysinfo times getuid setuid
    setgroups setresuid capget capset prctl arch_prctl set_tid_address set_robust_list futex futex_waitv sched_yield
    sched_getaffinity sched_setaffinity getcpu getrandom rseq memfd_create eventfd2 signalfd4 timerfd_create timer_create
    inotify_init1 inotify_add_watch bind listen accept4 connect sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown
    getsockopt setsockopt getsockname getpeername sendfile splice copy_file_range mincore membarrier mlock seccomp
    landlock_create_ruleset landlock_add_rule landlock_restrict_self pidfd_open pidfd_send_signal close_range setxattr
    getxattr utimensat fallocate io_setup shmget shmat semop msgget mq_open setsid setpgid getpgid mknodat faccessat
    faccessat2 restart_syscall memfd_secret statfs sync ioprio_get pkey_alloc rt_sigtimedwait rt_tgsigqueueinfo`;

  it('allows what shells, compilers, Node, Python, Go and Java call', () => {
    const denied = needed.split(/\s+/).filter((name) => !['ALLOW', 'absent'].includes(verdict(arch, name)));
    expect(denied).toEqual([]);
  });

  it('allows nothing that Docker does not, but for uprobe', () => {
    const docker = compileSeccompCached(dockerProfile, { arch, capabilities: Capabilities.default, kernel });
    const looser = [];
    for (let nr = 0; nr <= 600; nr++) {
      for (const value of samples) {
        const args = [value, value, value];
        const allowed = simulate(program, { arch, nr, args }) === ALLOW;
        if (allowed && simulate(docker, { arch, nr, args }) !== ALLOW) looser.push(syscallName(arch, nr));
      }
    }
    expect([...new Set(looser)]).toEqual(arch === 'x64' ? ['uprobe'] : []);
  });
});

describe('the default profile', () => {
  it('has no rule for socketcall, which would open every family to 32-bit programs (F5)', () => {
    expect(defaultProfile.syscalls?.flatMap(({ names }) => names)).not.toContain('socketcall');
  });
});

describe.each(arches)('Docker’s profile on %s', (arch) => {
  it('gives every number from 0 to 600 the verdict of the golden table', async () => {
    await expect(table(dockerProfile, arch)).toMatchFileSnapshot(`golden/docker-${arch}.txt`);
  });
});

describe('Docker’s profile', () => {
  it('has as many names as Docker’s: 426, of which 361 unconditional', () => {
    const names = dockerProfile.syscalls?.map((rule) => rule.names) ?? [];
    expect(names[0]).toHaveLength(361);
    expect(new Set(names[0]).size).toBe(361);
    expect(new Set(names.flat()).size).toBe(426);
    expect(dockerProfile.syscalls).toHaveLength(33);
  });

  it('denies AF_ALG and AF_VSOCK, and no other family', () => {
    const program = compileSeccompCached(dockerProfile, { arch: 'x64', capabilities: Capabilities.docker, kernel });
    const denied = Array.from({ length: 46 }, (_, family) => family).filter(
      (family) => simulate(program, { arch: 'x64', nr: 41, args: [BigInt(family)] }) !== ALLOW,
    );
    expect(denied).toEqual([38, 40]);
  });

  it('allows tracing from 4.8 on', () => {
    const answer = (version: readonly [number, number]): number =>
      simulate(
        compileSeccompCached(dockerProfile, { arch: 'x64', capabilities: Capabilities.docker, kernel: version }),
        {
          arch: 'x64',
          nr: 101,
          args: [],
        },
      );
    expect(answer([4, 7])).toBe(EPERM);
    expect(answer([4, 8])).toBe(ALLOW);
    expect(answer([6, 1])).toBe(ALLOW);
  });

  it('lets CAP_SYS_ADMIN make namespaces, with clone3 too', () => {
    const capabilities = Capabilities.docker.add('SYS_ADMIN');
    const program = compileSeccompCached(dockerProfile, { arch: 'x64', capabilities, kernel });
    expect(simulate(program, { arch: 'x64', nr: 56, args: [0x10000000n] })).toBe(ALLOW);
    expect(simulate(program, { arch: 'x64', nr: 435, args: [] })).toBe(ALLOW);
  });
});

/** Values that some rule of the two profiles looks for, and some that none does. */
const samples = [0n, 1n, 2n, 8n, 9n, 16n, 38n, 0x5412n, 0x541cn, 0x10000000n, 0xffffffffn];

/** One line for each number: its name, and its verdict or, where that depends on the arguments, its verdicts. */
function table(profile: SeccompProfile, arch: SeccompArch): string {
  const program = compileSeccompCached(profile, { arch, capabilities: Capabilities.default, kernel });
  const lines = Array.from({ length: 601 }, (_, nr) => {
    const answers = new Set(samples.map((value) => simulate(program, { arch, nr, args: [value, value] })));
    const text = [...answers].map(describeReturn).sort().join(' or ') + (answers.size > 1 ? ', by the arguments' : '');
    return `${String(nr).padStart(3)} ${(syscallName(arch, nr) ?? '-').padEnd(24)} ${text}`;
  });
  return `${lines.join('\n')}\n`;
}
