/** Group A of the catalogue: paths and mounts inside the root file system. */

import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Container, type ContainerOptions, OptionError, TscontainError } from '../../lib/index.js';
import { needsRoot, needsUpperOnDisk } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { inside, insideOf, makeRoot, outside, over, run, scratch } from './probe.js';

checkResidue();

describe('A: paths and mounts', () => {
  it('A1: masks are ours even when the root’s /dev/null is a link', async (context) => {
    needsRoot(context);
    const root = makeRoot();
    const sentinel = `${scratch()}/sentinel`;
    writeFileSync(sentinel, 'sentinel');
    mkdirSync(`${root}/dev`);
    symlinkSync(sentinel, `${root}/dev/null`);
    const probe = `
paths = [p for p in ('interrupts', 'keys', 'timer_list', 'kcore') if os.path.lexists('/proc/' + p)]
def look(p):
    s = os.stat('/proc/' + p)
    fd = os.open('/proc/' + p, os.O_RDONLY)
    return [stat.S_ISCHR(s.st_mode), os.major(s.st_rdev), os.minor(s.st_rdev), len(os.read(fd, 64))]
answer({p: look(p) for p in paths})`;
    const masked = await inside<Record<string, unknown>>(probe, over(root));
    expect(Object.keys(masked)).toContain('interrupts');
    for (const facts of Object.values(masked)) expect(facts).toEqual([true, 1, 3, 0]);
    expect(readFileSync(sentinel, 'utf8')).toBe('sentinel');
    const control = outside<Record<string, readonly unknown[]>>(probe);
    expect(control.interrupts?.[0]).toBe(false);
    expect(control.interrupts?.[3]).toBe(64);
  });

  it('A2: the terminal is one of the container’s own devpts, whatever link the root has for a console', async (context) => {
    needsRoot(context);
    const root = makeRoot();
    const sentinel = `${scratch()}/created`;
    mkdirSync(`${root}/dev`);
    symlinkSync(sentinel, `${root}/dev/console`);
    const probe = `
s = os.fstat(0)
answer([os.major(s.st_rdev), os.ttyname(0), os.path.lexists('/dev/console')])`;
    await using box = await Container.create(over(root));
    expect(await insideOf(box, probe, { tty: true })).toEqual([136, '/dev/pts/0', false]);
    expect(existsSync(sentinel)).toBe(false);
    // The link does lead there, for whoever follows it.
    writeFileSync(`${root}/dev/console`, '');
    expect(existsSync(sentinel)).toBe(true);
  });

  it.for(['proc', 'sys', 'dev'])(
    'A3, A5: a root whose /%s is a link is refused, and nothing is made behind it',
    async (name, context) => {
      needsRoot(context);
      const root = makeRoot();
      const sentinel = scratch();
      symlinkSync(sentinel, `${root}/${name}`);
      const failure = Container.run(['/bin/true'], over(root));
      await expect(failure).rejects.toThrow(TscontainError);
      await expect(failure).rejects.toMatchObject({ step: { kind: expect.any(String) } });
      expect(readdirSync(sentinel)).toEqual([]);
      rmSync(`${root}/${name}`);
      expect((await Container.run(['/bin/true'], over(root))).exitCode).toBe(0);
    },
  );

  it('A4: a mount target that is swapped for a link while containers start leads nowhere else', async (context) => {
    needsRoot(context);
    const shared = scratch();
    const sentinel = scratch();
    const weak = scratch();
    for (const [name, target] of [
      ['sub', sentinel],
      ['weak', weak],
    ] as const) {
      mkdirSync(`${shared}/${name}`);
      symlinkSync(target, `${shared}/${name}.other`);
    }
    const flipper = spawn('/usr/bin/python3', [
      '-c',
      `
import ctypes, sys
libc = ctypes.CDLL(None)
names = [(('%s/%s' % (sys.argv[1], n)).encode(), ('%s/%s.other' % (sys.argv[1], n)).encode()) for n in ('sub', 'weak')]
print('ready', flush=True)
while True:
    for a, b in names:
        libc.syscall(316 if ctypes.sizeof(ctypes.c_long) == 8 and sys.argv[2] == 'x64' else 276, -100, a, -100, b, 2)
`,
      shared,
      process.arch,
    ]);
    try {
      await new Promise((resolve) => flipper.stdout.once('data', resolve));
      const options: ContainerOptions = {
        mounts: [
          { type: 'bind', source: shared, target: '/volume', readOnly: false },
          { type: 'tmpfs', target: '/volume/sub/inner' },
        ],
      };
      const outcomes = { ran: 0, refused: 0 };
      for (let i = 0; i < 100; i++) {
        try {
          const { stdout } = await Container.run(['/bin/cat', '/proc/self/mountinfo'], options);
          expect(stdout).toMatch(/ \/volume\/sub(\.other)?\/inner /);
          outcomes.ran++;
        } catch (error) {
          expect(error).toBeInstanceOf(TscontainError);
          outcomes.refused++;
        }
      }
      expect(readdirSync(sentinel)).toEqual([]);
      expect(outcomes.ran).toBeGreaterThan(0);
      expect(outcomes.refused).toBeGreaterThan(0);
      // A careless `mkdir -p` loses the same race at once.
      const deadline = Date.now() + 5000;
      while (readdirSync(weak).length === 0 && Date.now() < deadline) {
        outside(`
for i in range(2000):
    try: os.makedirs('${shared}/weak/inner', exist_ok=True)
    except OSError: pass
answer(1)`);
      }
      expect(readdirSync(weak)).toEqual(['inner']);
    } finally {
      flipper.kill('SIGKILL');
      await new Promise((resolve) => flipper.once('close', resolve));
    }
  });

  it('A6: a working directory that leads through a link of the root is refused, not made', async (context) => {
    needsRoot(context);
    const root = makeRoot();
    const sentinel = scratch();
    symlinkSync(sentinel, `${root}/jobs`);
    const before = statSync(sentinel);
    await expect(Container.create({ ...over(root), cwd: '/jobs/deep' })).rejects.toMatchObject({
      code: 'ERR_STEP',
      step: { kind: 'makeDirectory' },
    });
    expect(readdirSync(sentinel)).toEqual([]);
    expect(statSync(sentinel).uid).toBe(before.uid);
    mkdirSync(`${root}/jobs/deep`);
    expect(readdirSync(sentinel)).toEqual(['deep']);
  });

  it('A7: every mount of the plan is attached beneath a descriptor, save the stage', async () => {
    const plan = await Container.plan({ mounts: [{ type: 'tmpfs', target: '/x' }] });
    const moves = plan.steps.flatMap(({ step }) => (step.kind === 'moveMount' ? [step] : []));
    const byPath = moves.filter(({ under }) => under === null);
    expect(byPath).toMatchObject([{ mount: 'stage', path: '/' }]);
    expect(moves.length).toBeGreaterThan(15);
    const opened = plan.steps.filter(({ where, step }) => where === 'init' && 'under' in step && step.under === null);
    expect(opened).toHaveLength(1);
  });

  it('A8, M10: subPath follows no link and does not climb', async (context) => {
    needsRoot(context);
    const volume = scratch();
    const secret = scratch();
    writeFileSync(`${secret}/secret`, 'secret');
    symlinkSync(secret, `${volume}/sub`);
    mkdirSync(`${volume}/real`);
    writeFileSync(`${volume}/real/secret`, 'mine');
    const mounted = (subPath: string) =>
      Container.run(['/bin/cat', '/m/secret'], { mounts: [{ type: 'bind', source: volume, target: '/m', subPath }] });
    for (const subPath of ['sub', '../x', 'real/../../x', '/etc', '.', '']) {
      await expect(mounted(subPath), subPath).rejects.toBeInstanceOf(OptionError);
    }
    expect((await mounted('real')).stdout).toBe('mine');
    expect(readFileSync(`${volume}/sub/secret`, 'utf8')).toBe('secret');
  });

  it('A10: mount options are a closed set', async () => {
    const given = (extra: object) =>
      Container.plan({ mounts: [{ type: 'tmpfs', target: '/x', ...extra }] } as unknown as ContainerOptions);
    for (const extra of [{ options: 'suid' }, { size: '1MiB,suid' }, { mode: '755,dev' }, { type: 'tmpfs,bind' }]) {
      await expect(given(extra)).rejects.toBeInstanceOf(OptionError);
    }
    await expect(given({ size: '1MiB', mode: 0o755 })).resolves.toBeDefined();
  });

  it('A12: the container’s root can neither remount nor unmount, and CAP_SYS_ADMIN is not to be had', async (context) => {
    needsRoot(context);
    for (const name of ['SYS_ADMIN', 'DAC_READ_SEARCH', 'SYS_MODULE', 'SYS_RAWIO', 'BPF', 'ALL']) {
      await expect(Container.create({ capabilities: [name] }), name).rejects.toBeInstanceOf(OptionError);
    }
    const probe = `
MS_REMOUNT, MS_BIND = 32, 4096
def mount(*a): return 'OK' if libc.mount(*a) == 0 else errno.errorcode[ctypes.get_errno()]
def umount(p): return 'OK' if libc.umount2(p, 2) == 0 else errno.errorcode[ctypes.get_errno()]
answer([mount(b'none', b'/usr', None, MS_REMOUNT | MS_BIND, None), umount(b'/proc/interrupts'), umount(b'/proc/sys'),
        mount(b'none', b'/tmp', b'tmpfs', 0, None)])`;
    expect(await inside(probe)).toEqual(['EPERM', 'EPERM', 'EPERM', 'EPERM']);
    // A filter that allows everything does not help: there is no user namespace to be had in which one would be root (E8).
    const nested = `
nested = libc.unshare(0x10000000 | 0x20000)
answered = nested == 0
${probe.replace('answer([', 'answer([answered, ')}`;
    const open = { seccomp: { defaultAction: 'SCMP_ACT_ALLOW' } } as const;
    expect(await inside(nested, open)).toEqual([false, 'EPERM', 'EPERM', 'EPERM', 'EPERM']);
  });

  it('A13: a read-only bind is read-only to the bottom', async (context) => {
    needsRoot(context);
    const source = scratch();
    mkdirSync(`${source}/below`);
    run('mount', '-t', 'tmpfs', 'none', `${source}/below`);
    try {
      const write = (readOnly: boolean) =>
        inside<string>(`answer(opens('/m/below/file', os.O_WRONLY | os.O_CREAT))`, {
          mounts: [{ type: 'bind', source, target: '/m', readOnly }],
        });
      expect(await write(true)).toBe('EROFS');
      expect(await write(false)).toBe('OK');
    } finally {
      run('umount', `${source}/below`);
    }
  });

  it('A14: mounts travel neither out nor in', async (context) => {
    needsRoot(context);
    const source = scratch();
    mkdirSync(`${source}/late`);
    const before = readFileSync('/proc/self/mountinfo', 'utf8');
    await using box = await Container.create({
      mounts: [
        { type: 'bind', source, target: '/m' },
        { type: 'tmpfs', target: '/t' },
      ],
    });
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).toBe(before);
    run('mount', '-t', 'tmpfs', 'none', `${source}/late`);
    try {
      expect(readFileSync('/proc/self/mountinfo', 'utf8')).toContain(`${source}/late`);
      const { stdout } = await box.exec(['/bin/cat', '/proc/self/mountinfo']);
      expect(stdout).toContain(' /m ');
      expect(stdout).not.toContain('/late');
      expect(stdout).not.toMatch(/ (shared|master|propagate_from):/);
    } finally {
      run('umount', `${source}/late`);
    }
  });

  it('A15: the old root is gone, and there is nothing above the new one', async (context) => {
    needsRoot(context);
    const probe = `
def same(a, b):
    x, y = os.stat(a), os.stat(b)
    return (x.st_dev, x.st_ino) == (y.st_dev, y.st_ino)
answer([same('/', '/..'), os.readlink('/proc/self/root'), attempt(lambda: os.chroot('/tmp')), attempt(lambda: os.readlink('/proc/1/root'))])`;
    expect(await inside(probe)).toEqual([true, '/', 'EPERM', 'EACCES']);
    // chroot alone is left through a descriptor of the old root: the same question, answered the other way.
    const weak = outside<[boolean, boolean]>(`
old = os.open('/', os.O_RDONLY)
os.chroot('${scratch()}')
os.fchdir(old)
answer([os.path.isdir('usr'), os.path.isdir('/usr')])`);
    expect(weak).toEqual([true, false]);
  });

  it('A16: a directory’s name is never part of an option string', async (context) => {
    needsRoot(context);
    const lower = `${scratch()}/a,b:c\\d`;
    mkdirSync(lower);
    writeFileSync(`${lower}/file`, 'content');
    const { stdout } = await Container.run(['sh', '-c', 'cat /o/file; grep " /o " /proc/self/mountinfo'], {
      mounts: [{ type: 'overlay', lower: [lower], target: '/o' }],
    });
    expect(stdout).toMatch(/^content/);
    expect(stdout).toMatch(/lowerdir=l0,upperdir=upper,workdir=work/);
    expect(() => run('mount', '-t', 'overlay', 'none', '-o', `lowerdir=${lower}:${lower}x`, scratch())).toThrow();
  });

  it('A16: a layer’s name in a root of several is never part of an option string', async (context) => {
    needsRoot(context);
    const directory = `${scratch()}/x,y:z`;
    const names = ['top,upperdir=u:v', 'base\\,w'];
    for (const name of names) {
      mkdirSync(`${directory}/${name}/usr`, { recursive: true });
      writeFileSync(`${directory}/${name}/${name.length}`, name);
    }
    symlinkSync('usr/bin', `${directory}/${names[1]}/bin`);
    for (const name of ['lib', 'lib64']) symlinkSync(`usr/${name}`, `${directory}/${names[1]}/${name}`);
    const { stdout } = await Container.run(['sh', '-c', 'cat /7 /16; grep " / / " /proc/self/mountinfo'], {
      image: { layers: { directory, names } },
      mounts: [{ type: 'bind', source: '/usr', target: '/usr' }],
    });
    expect(stdout).toMatch(/^base\\,wtop,upperdir=u:v/);
    // The kernel writes a comma that is part of a name as \054.
    const options = stdout.split(' ').at(-1)?.trim().split(',') ?? [];
    // Before Linux 6.8 it is the number of a descriptor.
    const upper = options.filter((option) => option.startsWith('upperdir='));
    expect(upper).toEqual([expect.stringMatching(/^upperdir=(disk\/upper|\d+)$/)]);
  });

  it('A17: what we keep on disk is closed to other users', (context) => {
    needsRoot(context);
    for (const path of ['/run/tscontain', '/var/lib/tscontain', '/var/lib/tscontain/containers']) {
      const facts = statSync(path);
      expect([facts.mode & 0o777, facts.uid]).toEqual([0o700, 0]);
      const list = `answer(attempt(lambda: os.listdir('${path}')))`;
      expect(outside(list, { uid: 65534 })).toBe('EACCES');
      expect(outside(list)).toBe('OK');
    }
  });

  it('A18: an overlay carries neither set-user-ID, devices nor redirects', async (context) => {
    needsRoot(context);
    const { stdout } = await Container.run(['/bin/cat', '/proc/self/mountinfo'], over(makeRoot()));
    const line = stdout.split('\n').find((text) => text.split(' ')[4] === '/') ?? '';
    expect(line).toContain(' - overlay ');
    expect(line).toContain(' rw,nosuid,nodev,');
    expect(line).toContain('userxattr');
    expect(line).not.toMatch(/redirect_dir=(on|follow)|metacopy=on/);
    expect(line).toContain('lowerdir=lower,upperdir=disk/upper');
  });

  it('A19, B1: nothing is mounted on or below /proc, /sys and /dev, and no procfs from the host', async (context) => {
    needsRoot(context);
    for (const target of ['/proc', '/proc/self', '/sys/fs', '/dev/null', '/dev', '/sys']) {
      await expect(Container.create({ mounts: [{ type: 'tmpfs', target }] }), target).rejects.toBeInstanceOf(
        OptionError,
      );
    }
    for (const source of ['/proc', '/proc/self', '/sys', '/dev']) {
      const mounts = [{ type: 'bind', source, target: '/m', unsafeSource: true }] as const;
      await expect(Container.create({ mounts }), source).rejects.toBeInstanceOf(OptionError);
    }
    // A rootfs that has one mounted below it, or that a link leads to, is no way around.
    await expect(Container.create({ image: { rootfs: '/proc' } })).rejects.toBeInstanceOf(OptionError);
    const { stdout } = await Container.run(['/bin/cat', '/proc/self/mountinfo'], {
      mounts: [{ type: 'tmpfs', target: '/dev/shm' }],
    });
    expect(stdout).toContain(' /dev/shm ');
  });

  it('M4: removing a container leaves alone what its directory on disk links to', async (context) => {
    needsRoot(context);
    needsUpperOnDisk(context);
    const sentinel = scratch();
    writeFileSync(`${sentinel}/file`, 'kept');
    const root = makeRoot();
    const box = await Container.create({
      ...over(root, [{ type: 'bind', source: sentinel, target: '/bound' }]),
      storage: { upper: 'disk' },
    });
    expect((await box.exec(['sh', '-c', `ln -s ${sentinel} /link && mkdir -p /a/b && echo x > /a/b/c`])).exitCode).toBe(
      0,
    );
    const kept = () => readdirSync('/var/lib/tscontain/containers').length;
    expect(kept()).toBeGreaterThan(0);
    await box.kill();
    for (let i = 0; i < 50 && kept() > 0; i++) await sleep(20);
    expect(readdirSync(sentinel)).toEqual(['file']);
    expect(readdirSync(root).sort()).toEqual(['bin', 'etc', 'lib', 'lib64', 'sbin', 'tmp', 'usr']);
  });

  it('M8: the owner and mode of a mounted host directory are left as they are', async (context) => {
    needsRoot(context);
    const source = scratch();
    writeFileSync(`${source}/file`, 'x');
    const facts = () =>
      [source, `${source}/file`].map((path) => [statSync(path).uid, statSync(path).mode, statSync(path).ctimeMs]);
    const before = facts();
    const { stdout } = await Container.run(['stat', '-c', '%u', '/m/file'], {
      mounts: [{ type: 'bind', source, target: '/m', readOnly: false }],
    });
    expect(facts()).toEqual(before);
    expect(stdout.trim()).toBe('0');
    run('chmod', '600', `${source}/file`);
    expect(facts()).not.toEqual(before);
  });
});
