import { describe, expect, it } from 'vitest';
import { OptionError, Seccomp, type SeccompProfile } from '../../../../lib/index.js';

const x64 = { architecture: 'x64', kernel: '6.1' } as const;

describe('a filter', () => {
  it('tells what becomes of a call, by its name or number', () => {
    const filter = Seccomp.compile('default', x64);
    expect(filter.simulate('read')).toMatchObject({ action: 'allow', data: 0, value: 0x7fff0000 });
    expect(filter.simulate(0)).toEqual(filter.simulate('read'));
    expect(filter.simulate('mount')).toMatchObject({ action: 'errno', errno: 'EPERM', data: 1 });
    expect(filter.simulate('clone3')).toMatchObject({ action: 'errno', errno: 'ENOSYS' });
    expect(filter.simulate('socket', [38]).errno).toBe('EPERM');
    expect(filter.simulate('socket', [2n]).action).toBe('allow');
  });

  it('has an answer for calls that come by another convention', () => {
    const filter = Seccomp.compile('docker', x64);
    expect(filter.simulate('read', [], { architecture: 'x32' })).toMatchObject({ action: 'errno', errno: 'ENOSYS' });
    for (const architecture of ['i386', 'arm', 0xc000_00b7, 0] as const) {
      expect(filter.simulate(3, [], { architecture }).action, String(architecture)).toBe('kill_process');
    }
    const arm = Seccomp.compile('docker', { ...x64, architecture: 'arm64' });
    expect(arm.simulate('read').action).toBe('allow');
    expect(arm.simulate('read', [], { architecture: 'x64' }).action).toBe('kill_process');
  });

  it('answers every action by its name', () => {
    const actions = {
      allow: 'SCMP_ACT_ALLOW',
      errno: 'SCMP_ACT_ERRNO',
      kill_process: 'SCMP_ACT_KILL_PROCESS',
      kill_thread: 'SCMP_ACT_KILL',
      log: 'SCMP_ACT_LOG',
      notify: 'SCMP_ACT_NOTIFY',
      trace: 'SCMP_ACT_TRACE',
      trap: 'SCMP_ACT_TRAP',
    } as const;
    for (const [outcome, action] of Object.entries(actions)) {
      const profile: SeccompProfile = { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['mkdir'], action }] };
      expect(Seccomp.compile(profile, x64).simulate('mkdir').action).toBe(outcome);
    }
    // What this kernel has no name for kills, and so do error numbers above the highest read as that.
    expect(Seccomp.load(Uint8Array.of(6, 0, 0, 0, 0, 0, 1, 0x7f)).simulate(0).action).toBe('kill_process');
    expect(Seccomp.load(Uint8Array.of(6, 0, 0, 0, 0xff, 0xff, 5, 0)).simulate(0).errno).toBe('errno 4095');
  });

  it('is made for capabilities, an architecture and a kernel', () => {
    const mount = (capabilities: readonly string[]) =>
      Seccomp.compile('docker', { ...x64, capabilities }).simulate('mount');
    expect(mount([]).action).toBe('errno');
    expect(mount(['sys_admin']).action).toBe('allow');
    const ptrace = (kernel: string) => Seccomp.compile('docker', { ...x64, kernel }).simulate('ptrace').action;
    expect([ptrace('4.7'), ptrace('4.8')]).toEqual(['errno', 'allow']);
    expect(Seccomp.compile('docker').architecture).toBe(process.arch);
  });

  it('knows which calls are allowed whatever their arguments', () => {
    const filter = Seccomp.compile('default', x64);
    for (const call of ['read', 'futex', 0]) expect(filter.allowsAlways(call), String(call)).toBe(true);
    for (const call of ['socket', 'clone', 'ioctl', 'mount', 'clone3', 9999]) {
      expect(filter.allowsAlways(call), String(call)).toBe(false);
    }
    const profile: SeccompProfile = {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [{ names: ['futex'], action: 'SCMP_ACT_NOTIFY', args: [{ index: 5, value: 1, op: 'SCMP_CMP_EQ' }] }],
    };
    const guarded = Seccomp.compile(profile, x64);
    expect([guarded.allowsAlways('futex'), guarded.allowsAlways('read')]).toEqual([false, true]);
    expect(() => filter.allowsAlways('opne')).toThrow(OptionError);
  });

  it('gives its bytes away as copies', () => {
    const filter = Seccomp.compile('default', x64);
    expect(filter.program).toHaveLength(8 * filter.length);
    filter.program.fill(0);
    expect(filter.simulate('mount').action).toBe('errno');
    expect(Seccomp.compile('default', x64).simulate('mount').action).toBe('errno');
  });

  it('takes few instructions to an answer: two loads, a handful of comparisons, the return', () => {
    for (const profile of ['default', 'docker'] as const) {
      const filter = Seccomp.compile(profile, x64);
      const cost = (name: string, args: number[] = []) => filter.simulate(name, args).instructions;
      // These run for each call on every kernel, as their arguments are looked at.
      expect(cost('socket', [2]), profile).toBeLessThanOrEqual(13);
      expect(cost('clone', [0x1200011]), profile).toBeLessThanOrEqual(11);
      // On kernels before 5.11 these do too.
      const old = Seccomp.compile(profile, { ...x64, kernel: '5.4' });
      for (const name of ['read', 'write', 'futex', 'epoll_wait', 'clock_gettime', 'close', 'openat']) {
        expect(old.simulate(name).instructions, `${profile} ${name}`).toBeLessThanOrEqual(11);
      }
      // And nothing is far away.
      for (let number = 0; number < 470; number++) expect(filter.simulate(number).instructions).toBeLessThanOrEqual(32);
    }
  });

  it.each([
    ['profile', () => Seccomp.compile('unconfined' as 'docker')],
    ['profile', () => Seccomp.compile(null as never)],
    ['profile.extra', () => Seccomp.compile({ defaultAction: 'SCMP_ACT_ALLOW', extra: 1 } as never)],
    ['architecture', () => Seccomp.compile('docker', { architecture: 'riscv64' as 'x64' })],
    ['kernel', () => Seccomp.compile('docker', { kernel: '6' })],
    ['kernel', () => Seccomp.compile('docker', { kernel: '6.1.0-rc1' })],
    ['capabilities[0]', () => Seccomp.compile('docker', { capabilities: ['SYS_ADMIM'] })],
    ['call', () => Seccomp.compile('docker', x64).simulate('opne')],
    ['call', () => Seccomp.compile('docker', x64).simulate(-1)],
    ['call', () => Seccomp.compile('docker', x64).simulate('read', [], { architecture: 'i386' })],
    ['args', () => Seccomp.compile('docker', x64).simulate('read', [1, 2, 3, 4, 5, 6, 7])],
    ['args[1]', () => Seccomp.compile('docker', x64).simulate('read', [1, 2n ** 64n])],
    ['args[0]', () => Seccomp.compile('docker', x64).simulate('read', [0.5])],
    ['architecture', () => Seccomp.compile('docker', x64).simulate('read', [], { architecture: 'mips' as 'x64' })],
    ['program', () => Seccomp.load('ret ALLOW' as never)],
  ])('names the option %s that is wrong', (option, action) => {
    const error = expect.objectContaining({ name: 'OptionError', option });
    expect(action).toThrow(error);
    expect(action).toThrow(OptionError);
  });

  it('is not made of what the kernel would refuse', () => {
    for (const bytes of [[], [1, 2, 3], [0xff, 0, 0, 0, 0, 0, 0, 0], [0x20, 0, 0, 0, 0, 0, 0, 0]]) {
      expect(() => Seccomp.load(Uint8Array.from(bytes)), String(bytes)).toThrow(/not a seccomp program/);
    }
  });
});
