import { describe, expect, it } from 'vitest';
import { Seccomp } from '../../../../lib/index.js';
import {
  defaultProfile,
  handOver,
  hasNotify,
  join,
  setIdGuard,
  withRefusalsNotified,
} from '../../../../lib/primitives/seccomp/index.js';
import { maxKnown, syscallNumber } from '../../../../lib/primitives/seccomp/syscalls.js';

const x64 = { architecture: 'x64', kernel: '6.1' } as const;

describe('a profile whose calls a handler takes over', () => {
  it('leaves these to it, whatever it said of them, and nothing else', () => {
    const names = ['socket', 'clone3', 'mount', 'read'];
    const before = Seccomp.compile(defaultProfile, x64);
    const after = Seccomp.compile(handOver(defaultProfile, names), x64);
    for (const name of names) expect(after.simulate(name, [38]).action, name).toBe('notify');
    const taken = new Set(names.map((name) => syscallNumber('x64', name)));
    for (let nr = 0; nr <= maxKnown('x64') + 1; nr++) {
      if (!taken.has(nr)) expect(after.simulate(nr, [2]).value, String(nr)).toBe(before.simulate(nr, [2]).value);
    }
    expect(hasNotify(defaultProfile)).toBe(false);
    expect(hasNotify(handOver(defaultProfile, names))).toBe(true);
  });

  it('is made once for the same calls', () => {
    expect(handOver(defaultProfile, ['mount', 'read'])).toBe(handOver(defaultProfile, ['read', 'mount', 'read']));
    expect(handOver(defaultProfile, ['mount'])).not.toBe(handOver(defaultProfile, ['read']));
    expect(handOver(defaultProfile, [])).toBe(defaultProfile);
  });
});

describe('two profiles joined', () => {
  it('refuse what either refuses', () => {
    const guarded = Seccomp.compile(join(defaultProfile, setIdGuard), x64);
    expect(guarded.simulate('chmod', [0, 0o755]).action).toBe('allow');
    expect(guarded.simulate('chmod', [0, 0o4755]).errno).toBe('EPERM');
    expect(guarded.simulate('openat2').errno).toBe('ENOSYS');
    expect(guarded.simulate('mount').errno).toBe('EPERM');
    const taken = join(handOver(defaultProfile, ['chmod']), setIdGuard);
    expect(Seccomp.compile(taken, x64).simulate('chmod', [0, 0o755]).action).toBe('notify');
    expect(Seccomp.compile(taken, x64).simulate('chmod', [0, 0o2755]).action).toBe('errno');
    expect(join(defaultProfile, setIdGuard)).toBe(join(defaultProfile, setIdGuard));
  });
});

describe('a program with its refusals made notifications', () => {
  it('notifies where it refused, and answers all else as before', () => {
    const filter = Seccomp.compile('docker', x64);
    const told = Seccomp.load(withRefusalsNotified(filter.program), x64);
    for (let nr = 0; nr <= maxKnown('x64') + 10; nr++) {
      const [before, after] = [filter.simulate(nr), told.simulate(nr)];
      if (before.action === 'errno') expect(after.action, String(nr)).toBe('notify');
      else expect(after, String(nr)).toEqual(before);
    }
    expect(told.simulate(0, [], { architecture: 'i386' }).action).toBe('kill_process');
  });
});
