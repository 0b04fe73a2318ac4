/** Group F of the catalogue: the system call filter, asked with calls that would fail harmlessly if it let them through. */

import { mkdtempSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Container, type DeniedCall, Seccomp, type SeccompDecision, type SystemCall } from '../../lib/index.js';
import { Capabilities } from '../../lib/primitives/capabilities.js';
import { compileSeccomp, defaultProfile, simulate } from '../../lib/primitives/seccomp/index.js';
import { maxKnown, syscallNumber } from '../../lib/primitives/seccomp/syscalls.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { runFresh } from './fresh.js';
import { inside, outside, scratch } from './probe.js';

checkResidue();

const arch = process.arch === 'arm64' ? 'arm64' : 'x64';
const number = (name: string): number | undefined => syscallNumber(arch, name);

/** Each call with arguments that no kernel accepts: descriptor -1, no memory behind the pointers. */
const bad: Record<string, readonly number[]> = {
  bpf: [-1, 0, 0],
  userfaultfd: [-1],
  perf_event_open: [0, 0, -1, -1, -1],
  io_uring_setup: [0, 0],
  io_uring_enter: [-1, 0, 0, 0, 0, 0],
  io_uring_register: [-1, 0, 0, 0],
  keyctl: [-1, 0, 0, 0, 0],
  add_key: [0, 0, 0, 0, 0],
  request_key: [0, 0, 0, 0],
  kexec_load: [0, -1, 0, -1],
  kexec_file_load: [-1, -1, 0, 0, -1],
  init_module: [0, 0, 0],
  finit_module: [-1, 0, 0],
  delete_module: [0, 0],
  acct: [1],
  swapon: [0, 0],
  swapoff: [0],
  quotactl: [-1, 0, 0, 0],
  iopl: [99],
  ioperm: [-1, -1, 0],
  lookup_dcookie: [0, 0, 0],
  mount: [0, 0, 0, 0, 0],
  umount2: [0, 0],
  pivot_root: [0, 0],
  setns: [-1, 0],
  unshare: [0x10000000],
  reboot: [0, 0, 0, 0],
  kcmp: [-1, -1, 99, 0, 0],
  process_vm_readv: [-1, 0, 0, 0, 0, 99],
  process_vm_writev: [-1, 0, 0, 0, 0, 99],
  pidfd_getfd: [-1, -1, 0],
  move_pages: [-1, 0, 0, 0, 0, 99],
  migrate_pages: [-1, 0, 0, 0],
  mbind: [1, 0, 99, 0, 0, 99],
  fanotify_init: [-1, 0],
  open_by_handle_at: [-1, 0, 0],
  name_to_handle_at: [-1, 0, 0, 0, 99],
  syslog: [99, 0, 0],
  settimeofday: [1, 0],
  clock_settime: [99, 0],
  clock_adjtime: [99, 0],
  adjtimex: [0],
  sethostname: [0, -1],
  setdomainname: [0, -1],
  vhangup: [],
  chroot: [0],
  open_tree: [-1, 0, 0],
  move_mount: [-1, 0, -1, 0, 0],
  fsopen: [0, 0],
  fsconfig: [-1, 99, 0, 0, 0],
  fsmount: [-1, 0, 0],
  fspick: [-1, 0, 0],
  mount_setattr: [-1, 0, 0, 0, 0],
};
// Calls that do something even with these arguments are not made outside.
const insideOnly = new Set(['vhangup', 'unshare', 'reboot', 'sethostname', 'setdomainname', 'iopl', 'ioperm']);

function verdicts(names: readonly string[]): string {
  const calls = names.flatMap((name) => {
    const nr = number(name);
    return nr === undefined ? [] : [`${JSON.stringify(name)}: call(${[nr, ...(bad[name] ?? [])].join(', ')})`];
  });
  return `answer({${calls.join(', ')}})`;
}

describe('F: system calls', () => {
  it('F1, F2: only the low half of an int counts, and foreign architectures have no rules at all', () => {
    const program = compileSeccomp(defaultProfile, { arch, capabilities: Capabilities.default, kernel: [6, 0] });
    const audit = arch === 'x64' ? 0xc000003e : 0xc00000b7;
    const verdict = (nr: number, args: readonly bigint[], machine = audit) =>
      simulate(program, { arch: machine, nr, args });
    const allow = 0x7fff0000;
    const ioctl = number('ioctl') ?? -1;
    const socket = number('socket') ?? -1;
    for (const upper of [0n, 1n, 0xffffffffn]) {
      expect(verdict(ioctl, [0n, (upper << 32n) | 0x5412n])).not.toBe(allow);
      expect(verdict(ioctl, [0n, (upper << 32n) | 0x5401n])).toBe(allow);
      expect(verdict(socket, [(upper << 32n) | 38n])).not.toBe(allow);
      expect(verdict(socket, [(upper << 32n) | 1n])).toBe(allow);
    }
    const read = number('read') ?? -1;
    expect(verdict(read, [])).toBe(allow);
    for (const machine of [0x40000003, 0x40000028, 0xc0000015, 0]) expect(verdict(read, [], machine)).not.toBe(allow);
    if (arch === 'x64') for (let nr = 0x40000000; nr < 0x40000300; nr++) expect(verdict(nr, [])).not.toBe(allow);
  });

  it('F2: the 32-bit entry of the processor leads nowhere', async (context) => {
    context.skip(arch !== 'x64', 'x86 only');
    // mov eax, 20 (getpid of i386); int 0x80; ret
    const probe = `
import mmap
pid = os.fork()
if pid == 0:
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(bytes([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]))
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    os._exit(0 if function() == os.getpid() else 1)
answer(os.waitpid(pid, 0)[1] == 0)`;
    expect(await inside(probe)).toBe(false);
    context.skip(!outside<boolean>(probe), 'this kernel has no 32-bit entry, so there is no control');
  });

  it('F3: a call that is newer than the list is not there, and none of the mount API is allowed', async () => {
    const first = maxKnown(arch) + 1;
    const newest = `answer(sorted({call(n, -1, 0, 0, 0, 0, 0) for n in range(${first}, ${first + 64})}))`;
    expect(await inside(newest)).toEqual(['ENOSYS']);
    const names = ['open_tree', 'move_mount', 'fsopen', 'fsconfig', 'fsmount', 'fspick', 'mount_setattr'];
    expect(new Set(Object.values(await inside<object>(verdicts(names))))).toEqual(new Set(['EPERM']));
    for (const verdict of Object.values(outside<object>(verdicts(names)))) expect(verdict).not.toBe('EPERM');
  });

  it('F5: sockets of four families open, and of no other', async () => {
    const probe = `
def family(f):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
        fd = libc.socket(f, kind, 0)
        if fd >= 0:
            os.close(fd)
            return True
    return False
answer([f for f in range(46) if family(f)])`;
    const allowed = await inside<number[]>(probe);
    expect(allowed).toEqual(expect.arrayContaining([1, 2, 16]));
    expect(allowed.filter((family) => ![1, 2, 10, 16].includes(family))).toEqual([]);
    expect(outside<number[]>(probe).filter((family) => ![1, 2, 10, 16].includes(family)).length).toBeGreaterThan(0);
    const pairs = `answer([libc.socketpair(f, 1, 0, (ctypes.c_int * 2)()) for f in (1, 40)])`;
    expect(await inside(pairs)).toEqual([0, -1]);
    const raw = `answer(attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)))`;
    expect(await inside(raw)).toBe('EPERM');
  });

  it('F6, F7: interfaces with a record of holes answer EPERM or ENOSYS before they look at anything', async (context) => {
    needsRoot(context);
    const names = Object.keys(bad);
    const found = await inside<Record<string, string>>(verdicts(names));
    expect(Object.keys(found).length).toBeGreaterThan(40);
    // As Docker's list, these two depend on the arguments and are harmless; they are asked to show that the probe works.
    const harmless = new Set(['name_to_handle_at', 'mbind', 'process_vm_readv', 'process_vm_writev', 'kcmp']);
    const passed = Object.entries(found).filter(
      ([name, verdict]) => !['EPERM', 'ENOSYS'].includes(verdict) && !harmless.has(name),
    );
    expect(passed).toEqual([]);
    const control = outside<Record<string, string>>(verdicts(names.filter((name) => !insideOnly.has(name))));
    const reached = Object.values(control).filter((verdict) => !['EPERM', 'ENOSYS'].includes(verdict));
    expect(reached.length).toBeGreaterThan(20);
    expect(control.open_by_handle_at).toBe('EFAULT');
    expect(Capabilities.default.has('CAP_DAC_READ_SEARCH')).toBe(false);
  });

  it('F8: nothing is traced', async () => {
    const probe = `answer(call(${number('ptrace')}, 0, 0, 0, 0))`;
    expect(await inside(probe)).toBe('EPERM');
    expect(outside(probe)).toBe('OK');
  });

  it('F9: every program runs under the filter, whoever starts it and as whom', async () => {
    const probe = `answer([l.split()[1] for l in open('/proc/self/status') if l.startswith(('Seccomp:', 'NoNewPrivs'))])`;
    await using box = await Container.create();
    for (const user of [0, 1000]) {
      const { stdout } = await box.exec(['grep', '-E', '^(Seccomp|NoNewPrivs):', '/proc/self/status'], { user });
      expect(stdout).toMatch(/NoNewPrivs:\t1\nSeccomp:\t2/);
    }
    expect(await inside(probe)).toEqual(['1', '2']);
    expect(outside(probe)).not.toEqual(['1', '2']);
  });

  it('F10: address randomisation stays on, and the clock is the host’s', async (context) => {
    needsRoot(context);
    const personality = number('personality');
    const probe = `answer([call(${personality}, 0x40000), call(${personality}, 0x0400000), call(${personality}, 0), call(${personality}, 0xffffffff)])`;
    expect(await inside(probe)).toEqual(['EPERM', 'EPERM', 'OK', 'OK']);
    expect(outside(probe)).toEqual(['OK', 'OK', 'OK', 'OK']);
    const names = ['settimeofday', 'clock_settime', 'clock_adjtime', 'adjtimex'];
    expect(new Set(Object.values(await inside<object>(verdicts(names))))).toEqual(new Set(['EPERM']));
    expect(new Set(Object.values(outside<object>(verdicts(names))))).not.toContain('OK');
  });

  it('F9: a program finds nothing of how its calls are decided: no descriptor, no child, no listener to be had', async (context) => {
    needsRoot(context);
    const probe = `
filter = struct.pack('HBBI', 6, 0, 0, 0x7fff0000)
class Filter(ctypes.Structure): _fields_ = [('length', ctypes.c_ushort), ('program', ctypes.c_char_p)]
def listen():
    if libc.prctl(38, 1, 0, 0, 0) or libc.syscall(${number('seccomp')}, 1, 8, ctypes.byref(Filter(1, filter))) < 0:
        raise OSError(ctypes.get_errno(), 'seccomp')
answer([sorted(os.listdir('/proc/self/fd')), attempt(lambda: os.wait()), libc.getpgid(0), attempt(listen)])`;
    const notify = { getpgid: () => ({ value: 77 }) };
    // Three, and the directory itself.
    expect(await inside(probe, { seccomp: { notify } })).toEqual([['0', '1', '2', '3'], 'ECHILD', 77, 'EBUSY']);
    const free = await inside<[string[], string, number, string]>(probe);
    expect([free[0], free[3]]).toEqual([['0', '1', '2', '3'], 'OK']);
  });

  it('F2: a handler that decides everything is not asked about calls by another convention', async (context) => {
    needsRoot(context);
    const asked = new Set<number>();
    const seccomp = {
      profile: { defaultAction: 'SCMP_ACT_NOTIFY' } as const,
      notify: (call: SystemCall) => {
        asked.add(call.number);
        return 'continue' as const;
      },
    };
    const x32 = 0x4000_0000 + (number('getpid') ?? 0);
    expect(
      await inside(`answer([call(${x32}), call(${maxKnown(arch) + 1}), call(${number('getpid')})])`, { seccomp }),
    ).toEqual(['ENOSYS', 'ENOSYS', 'OK']);
    expect(asked.has(number('getpid') ?? -1)).toBe(true);
    expect([...asked].filter((nr) => nr > maxKnown(arch))).toEqual([]);
    const filter = Seccomp.compile(seccomp.profile);
    for (const architecture of ['i386', 'arm'] as const) {
      expect(filter.simulate(20, [], { architecture }).action).toBe('kill_process');
    }
  });

  // Arguments in memory can change after they were looked at: what a handler allows with 'continue' the kernel reads again.
  it('F4: what a handler opens and hands over is what it has looked at, whatever the program does to its memory', async (context) => {
    needsRoot(context);
    const probe = `
import threading, time
path = ctypes.create_string_buffer(b'/etc/hostname-good', 64)
def swap():
    time.sleep(0.1)
    path.value = b'/etc/passwd'
thread = threading.Thread(target=swap)
thread.start()
fd = libc.syscall(${number('openat')}, -100, path, 0, 0)
thread.join()
answer(os.read(fd, 6).decode() if fd >= 0 else errno.errorcode[ctypes.get_errno()])`;
    const file = `${mkdtempSync(`${scratch()}/`)}/good`;
    writeFileSync(file, 'good\n');
    const decide = (decision: () => Promise<SeccompDecision>) => ({
      seccomp: {
        notify: {
          openat: (call: SystemCall) =>
            call.readString(1) === '/etc/hostname-good' ? decision() : ('continue' as const),
        },
      },
    });
    const handedOver = decide(async () => {
      await sleep(400);
      return { fd: await open(file), close: true };
    });
    expect(await inside(probe, handedOver)).toBe('good\n');
    // The control, and the reason for what the documentation says of 'continue'.
    const allowed = decide(async () => {
      await sleep(400);
      return 'continue';
    });
    expect(await inside(probe, allowed)).toBe('root:x');
  });

  it('E12, F9: no handler, and no telling of refusals, lifts the guard of a writable mount', async (context) => {
    needsRoot(context);
    const mounts = [{ type: 'bind', source: scratch(), target: '/shared', readOnly: false }] as const;
    const probe = `
open('/shared/file', 'w').close()
answer([attempt(lambda: os.chmod('/shared/file', 0o755)), attempt(lambda: os.chmod('/shared/file', 0o4755)), oct(os.stat('/shared/file').st_mode & 0o7777)])`;
    const asked: number[] = [];
    const proceed = (call: SystemCall) => {
      asked.push(call.int(call.syscall === 'chmod' ? 1 : 2));
      return 'continue' as const;
    };
    const notify = { chmod: proceed, fchmodat: proceed, ...(arch === 'x64' ? {} : { fchmod: proceed }) };
    const denied: DeniedCall[] = [];
    for (const audit of [false, (call: DeniedCall) => denied.push(call)]) {
      expect(await inside(probe, { mounts, seccomp: { notify, audit } })).toEqual(['OK', 'EPERM', '0o755']);
    }
    expect(asked).toEqual([0o755, 0o755]);
    expect(denied.filter(({ syscall }) => syscall?.includes('chmod')).map(({ errno }) => errno)).toEqual(['EPERM']);
    // Where nothing of the host can be written to there is no guard, and the handler has the say.
    const own = probe.replaceAll('/shared/', '/tmp/');
    expect(await inside(own, { seccomp: { notify } })).toEqual(['OK', 'OK', '0o4755']);
  });

  it.for(['openat2', 'seccomp', 'mount_setattr', 'open_tree', 'pivot_root', 'clone3'])(
    'F11: on a host without %s nothing runs',
    async (name, context) => {
      needsRoot(context);
      const weak = compileSeccomp(
        { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: [name], action: 'SCMP_ACT_ERRNO', errnoRet: 38 }] },
        { arch, capabilities: Capabilities.none, kernel: [6, 0] },
      );
      const directory = scratch();
      const file = `${mkdtempSync(`${directory}/`)}/filter`;
      writeFileSync(file, weak);
      const wrapper = [
        '/usr/bin/python3',
        '-c',
        `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
program = open(sys.argv[1], 'rb').read()
class Filter(ctypes.Structure): _fields_ = [('length', ctypes.c_ushort), ('program', ctypes.c_char_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Filter(len(program) // 8, program)), 0, 0) == 0
os.execvp(sys.argv[2], sys.argv[2:])`,
        file,
      ];
      const program = `
try { const r = await Container.run(['echo', 'ran']); console.log(r.stdout.trim()); }
catch (error) { console.log(error.constructor.name, error.code, error.errno); }`;
      expect(await runFresh(program, {}, wrapper)).toMatch(
        /^(TscontainError|UnsupportedError) ERR_(STEP|UNSUPPORTED) ENOSYS$/m,
      );
    },
  );

  it('F11: on a host with all of them the same program runs', async (context) => {
    needsRoot(context);
    const program = `const r = await Container.run(['echo', 'ran']); console.log(r.stdout.trim());`;
    expect(await runFresh(program)).toBe('ran\n');
  });
});
