/** Group C of the catalogue: what a new process inherits. */

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Container, OptionError, type RunOptions, TscontainError } from '../../lib/index.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { runFresh, startFresh } from './fresh.js';
import { inside, insideOf, makeRoot, outside, over, probeArgv, scratch } from './probe.js';

checkResidue();

/** The launcher of this process. */
function launcherPid(): number {
  const children = readdirSync(`/proc/${process.pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${process.pid}/task/${task}/children`, 'utf8').trim().split(' '),
  );
  const found = children.find((pid) => pid !== '' && readFileSync(`/proc/${pid}/comm`, 'utf8') === 'tscontain\n');
  if (found === undefined) throw new Error('the launcher is not there');
  return Number(found);
}

describe('C: inheritance', () => {
  it('C1: a program has three descriptors and no more', async () => {
    const probe = `
def valid(fd):
    try: fcntl.fcntl(fd, fcntl.F_GETFD); return True
    except OSError: return False
answer([fd for fd in range(3, 4096) if valid(fd)])`;
    for (const stdin of ['ignore', 'pipe', 'text'] as const) {
      const box = Container.run(probeArgv(probe), { stdin: stdin === 'pipe' ? Buffer.from('x') : stdin });
      expect(JSON.parse((await box).stdout)).toEqual([]);
    }
    await using box = await Container.create();
    expect(await insideOf(box, probe)).toEqual([]);
    expect(await insideOf(box, probe, { tty: true })).toEqual([]);
    const leak = execFileSync(probeArgv(probe)[0], probeArgv(probe).slice(1), {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    expect(JSON.parse(leak.toString())).toContain(3);
  });

  it('C1: no working directory outside the root, by any descriptor of the starting process', async (context) => {
    needsRoot(context);
    for (const cwd of ['/proc/self/fd/7', '/proc', '/proc/self/cwd', '/dev/fd/5']) {
      await expect(Container.run(['/bin/true'], { cwd }), cwd).rejects.toBeInstanceOf(OptionError);
    }
    const root = makeRoot();
    for (let fd = 3; fd < 32; fd++) symlinkSync(`/proc/self/fd/${fd}`, `${root}/w${fd}`);
    mkdirSync(`${root}/real`);
    symlinkSync('/real', `${root}/link`);
    await using box = await Container.create(over(root));
    for (let fd = 3; fd < 32; fd++) {
      const outcome = await box.exec(['/bin/pwd', '-P'], { cwd: `/w${fd}` }).then<unknown, unknown>(
        ({ stdout }) => stdout.trim(),
        (error: unknown) => (error instanceof TscontainError ? error.step?.kind : error),
      );
      // Init holds its own /dev/pts and /proc, which are inside; everything else is refused.
      expect(['changeDirectory', '/dev/pts', '/proc'], `descriptor ${fd}`).toContain(outcome);
    }
    expect((await box.exec(['/bin/pwd', '-P'], { cwd: '/link' })).stdout).toBe('/real\n');
    await box.kill();
  });

  it('C2: a process that is about to become a program cannot be looked into from inside', async () => {
    await using box = await Container.create();
    const watcher = box.exec(
      probeArgv(`
import threading
ours, seen, strange, denied = str(os.getpid()), 0, [], 0
os.set_blocking(0, False)
while True:
    try:
        if os.read(0, 1) == b'': break
    except BlockingIOError: pass
    for pid in os.listdir('/proc'):
        if not pid.isdigit() or pid == ours: continue
        try:
            exe = os.readlink('/proc/%s/exe' % pid)
            links = [os.readlink('/proc/%s/fd/%s' % (pid, fd)) for fd in os.listdir('/proc/%s/fd' % pid)]
            seen += 1
            bad = [l for l in links if l.startswith(('socket:', '/memfd', 'anon_inode')) or l == '/']
            if bad or 'memfd' in exe: strange.append([exe, links])
        except PermissionError: denied += 1
        except OSError: pass
answer([seen > 0, strange, denied > 0])`),
      { stdin: 'pipe' },
    );
    const control = box.exec(['/bin/sleep', '60']);
    for (let i = 0; i < 200; i++) await box.exec(['/bin/true']);
    watcher.stdin?.end();
    const [seen, strange, denied] = JSON.parse((await watcher).stdout);
    // `sleep` could be looked into all the time, so the watcher does see; init never.
    expect([seen, denied]).toEqual([true, true]);
    expect(strange).toEqual([]);
    control.kill('SIGKILL');
    await control;
  });

  it('C3, M6: the launcher’s program is a sealed memfd, and nothing executed inside can write to it', async (context) => {
    needsRoot(context);
    await using box = await Container.create();
    for (const pid of [launcherPid(), box.inspect().pid]) {
      expect(readlinkSync(`/proc/${pid}/exe`)).toBe('/memfd:tscontain (deleted)');
      const seals = `fd = os.open('/proc/${pid}/exe', os.O_RDONLY)
answer([fcntl.fcntl(fd, 1034) & 15, opens('/proc/${pid}/exe', os.O_WRONLY) != 'OK'])`;
      expect(outside(seals)).toEqual([15, true]);
    }
    const unsealed = `fd = os.memfd_create('x', os.MFD_ALLOW_SEALING)
answer([fcntl.fcntl(fd, 1034) & 15, opens('/proc/self/fd/%d' % fd, os.O_WRONLY) != 'OK'])`;
    expect(outside(unsealed)).toEqual([0, false]);
    const hash = () => execFileSync('sha256sum', [`/proc/${launcherPid()}/exe`], { encoding: 'utf8' });
    const before = hash();
    // The launcher's program, found by the name of the starting process's own: it ends at once, without a connection.
    const own = await box.exec(['/proc/self/exe']).then<unknown, unknown>(
      ({ exitCode, signal }) => exitCode ?? signal,
      (error: unknown) => (error instanceof TscontainError ? error.code : error),
    );
    expect(own).not.toBeUndefined();
    expect(hash()).toBe(before);
    expect((await box.exec(['/bin/true'])).exitCode).toBe(0);
  });

  it('C4: keyrings are out of reach', async () => {
    const keyctl = process.arch === 'x64' ? 250 : 219;
    const probe = `answer([call(n, *a) for n, a in [(${keyctl}, (0, -3, 0)), (${keyctl}, (0, -4, 1)), (${keyctl - 2}, (None, None, None, 0, -3)), (${keyctl - 1}, (None, None, None, -3))]])`;
    expect(await inside(probe)).toEqual(Array(4).fill('EPERM'));
    expect(outside<string[]>(probe)).not.toContain('EPERM');
    expect(await inside(`answer(len(open('/proc/keys').read()) if os.path.exists('/proc/keys') else 0)`)).toBe(0);
  });

  it('C5: nobody but root can look into the launcher and init, whosever ids they have', async (context) => {
    needsRoot(context);
    await using box = await Container.create();
    const { pid, ids } = box.inspect();
    const process = box.exec(['/bin/sleep', '60']);
    await sleep(50);
    const list = (of: number) => `answer(attempt(lambda: os.listdir('/proc/${of}/fd')))`;
    for (const of of [launcherPid(), pid ?? 0]) {
      expect(outside(list(of), { uid: 65534 })).toBe('EACCES');
      expect(outside(list(of), { uid: ids.first ?? 0 })).toBe('EACCES');
      expect(outside(list(of))).toBe('OK');
    }
    // Not dumpable: its files in /proc belong to root (proc(5)); those of an ordinary program to who runs it.
    const owner = (of: number | string) => statSync(`/proc/${of}/fd`).uid;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
    expect(owner(pid ?? 0)).toBe(0);
    expect(owner(children[0] ?? '')).toBe(ids.first);
    process.kill('SIGKILL');
    await process;
  });

  it('C6: no variable of the host, nor of another container', async () => {
    process.env.TSCONTAIN_SENTINEL = 'sentinel-of-the-host';
    try {
      const probe = `
texts = [repr(dict(os.environ))]
for pid in filter(str.isdigit, os.listdir('/proc')):
    try: texts.append(open('/proc/%s/environ' % pid).read())
    except OSError: pass
answer(['sentinel' in t.lower() for t in texts] + [sorted(os.environ)])`;
      const options: RunOptions = { env: { OTHER: 'SENTINEL of the first' } };
      expect(await inside<unknown[]>(probe, options)).toContain(true);
      for (let i = 0; i < 2; i++) {
        const found = await inside<unknown[]>(probe);
        expect(found.slice(0, -1)).not.toContain(true);
        expect(found.at(-1)).toEqual(expect.arrayContaining(['HOME', 'PATH']));
      }
      expect(outside<unknown[]>(probe)[0]).toBe(true);
    } finally {
      delete process.env.TSCONTAIN_SENTINEL;
    }
  });

  it('C8: signals, mask, limits, priority and the rest do not come from the process that starts it', async (context) => {
    needsRoot(context);
    const state = `
import resource
status = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())
names = ('NOFILE', 'CORE', 'FSIZE', 'STACK', 'MEMLOCK', 'MSGQUEUE', 'NICE', 'RTPRIO', 'SIGPENDING', 'AS', 'DATA', 'CPU', 'NPROC')
answer({
  'blocked': int(status['SigBlk'], 16), 'ignored': int(status['SigIgn'], 16) & ~0x1001000, 'umask': status['Umask'].strip(),
  'priority': os.getpriority(0, 0), 'policy': os.sched_getscheduler(0), 'cpus': len(os.sched_getaffinity(0)) == os.cpu_count(),
  'oom': open('/proc/self/oom_score_adj').read().strip(), 'personality': open('/proc/self/personality').read().strip() if os.getuid() == 0 else '',
  'slack': open('/proc/self/timerslack_ns').read().strip(),
  'limits': {n: resource.getrlimit(getattr(resource, 'RLIMIT_' + n)) for n in names if n not in ('NPROC', 'SIGPENDING', 'MEMLOCK')},
})`;
    const program = `const r = await Container.run(${JSON.stringify(probeArgv(state))}); console.log(r.stdout || r.stderr);`;
    const plain = JSON.parse(await runFresh(program));
    expect(plain).toMatchObject({
      blocked: 0,
      ignored: 0,
      umask: '0022',
      priority: 0,
      policy: 0,
      cpus: true,
      oom: '0',
    });
    expect(plain).toMatchObject({ personality: '00000000', limits: { NOFILE: [1024, 1024], CORE: [0, 0] } });
    // The same from a process that has been through much.
    const odd = `
import ctypes, os, resource, signal, sys
os.umask(0o077)
os.nice(5)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
os.sched_setaffinity(0, [0])
resource.setrlimit(resource.RLIMIT_STACK, (2**24, resource.RLIM_INFINITY))
try: open('/proc/self/oom_score_adj', 'w').write('-500')
except PermissionError: pass
libc = ctypes.CDLL(None)
libc.personality(0x0040000)
libc.prctl(29, 12345678, 0, 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])`;
    const strange = JSON.parse(await runFresh(program, {}, ['/usr/bin/python3', '-c', odd]));
    const control = JSON.parse(
      execFileSync('/usr/bin/python3', ['-c', odd, ...probeArgv(state)], { encoding: 'utf8' }),
    );
    expect(control).toMatchObject({ umask: '0077', priority: 5, personality: '00040000', slack: '12345678' });
    expect(strange).toEqual(plain);
  });

  it('C9: programs of the root take no part in copying files', async (context) => {
    needsRoot(context);
    const root = makeRoot();
    mkdirSync(`${root}/usr/bin`);
    for (const name of ['tar', 'gzip', 'xz', 'sh', 'cp', 'cat']) {
      writeFileSync(`${root}/usr/bin/${name}`, '#!/usr/bin/marker\n');
      chmodSync(`${root}/usr/bin/${name}`, 0o755);
    }
    const marker = `${scratch()}/marker`;
    const program = `#!/bin/sh\ntouch ${marker}\n`;
    for (const name of ['tar', 'gzip', 'xz']) writeFileSync(`${root}/usr/bin/${name}`, program);
    const source = scratch();
    writeFileSync(`${source}/file`, 'content');
    await using box = await Container.create({ image: { rootfs: root } });
    await box.fs.writeFile('/tmp/x', 'y');
    await box.fs.copyIn(`${source}/file`, '/tmp/in');
    await box.fs.copyOut('/tmp/in', `${source}/out`);
    expect(readFileSync(`${source}/out`, 'utf8')).toBe('content');
    expect(await box.fs.readFile('/tmp/x', 'utf8')).toBe('y');
    await box.fs.readdir('/usr/bin');
    expect(existsSync(marker)).toBe(false);
    execFileSync(`${root}/usr/bin/tar`);
    expect(existsSync(marker)).toBe(true);
  });

  it('C11, M7: the library listens on nothing that has a name', async () => {
    const names = () =>
      readFileSync('/proc/net/unix', 'utf8')
        .split('\n')
        .flatMap((line) => line.split(/\s+/)[7] ?? []);
    const listening = `answer([l.split()[3] for f in ('tcp', 'tcp6') for l in open('/proc/${process.pid}/net/' + f).read().splitlines()[1:]].count('0A'))`;
    const before = [names().sort(), outside(listening)];
    await using box = await Container.create();
    await box.exec(['/bin/true'], { tty: true });
    await box.fs.readdir('/');
    expect([names().sort(), outside(listening)]).toEqual(before);
    const added = outside<boolean>(`
s = socket.socket(socket.AF_UNIX)
s.bind('\\0tscontain-test')
answer('@tscontain-test' in open('/proc/net/unix').read())`);
    expect(added).toBe(true);
  });

  it('C12: SIGKILL of the Node process ends its containers', async (context) => {
    needsRoot(context);
    const child = startFresh(`
const box = await Container.create();
const p = box.exec(['sh', '-c', 'setsid sleep 300 & sleep 301']);
await new Promise((r) => setTimeout(r, 100));
console.log(JSON.stringify({ pid: box.inspect().pid, children: 1 }));
await p;`);
    const text = await new Promise<string>((resolve) => child.stdout?.once('data', (data) => resolve(String(data))));
    const { pid } = JSON.parse(text);
    const alive = () =>
      existsSync(`/proc/${pid}`) ||
      outside<boolean>(`
def line(p):
    try: return open('/proc/%s/cmdline' % p).read()
    except OSError: return ''
answer(any(line(p) in ('sleep\\x00300\\x00', 'sleep\\x00301\\x00') for p in os.listdir('/proc') if p.isdigit()))`);
    expect(alive()).toBe(true);
    child.kill('SIGKILL');
    const deadline = Date.now() + 5000;
    while (alive() && Date.now() < deadline) await sleep(20);
    expect(alive()).toBe(false);
  });

  it('C13: the mounts of a default container are the golden list', async (context) => {
    needsRoot(context);
    const text = await inside<string>(`answer(open('/proc/self/mountinfo').read())`);
    const lines = normalise(text);
    const golden = new Set(readFileSync(`${import.meta.dirname}/golden/mountinfo.txt`, 'utf8').split('\n'));
    expect(lines.filter((line) => !golden.has(line))).toEqual([]);
    // What every host has must be there.
    for (const place of ['/', '/dev', '/dev/pts', '/proc', '/proc/sys', '/sys', '/usr']) {
      expect(lines.map((line) => line.split(' ')[0])).toContain(place);
    }
    const host = normalise(readFileSync('/proc/self/mountinfo', 'utf8'));
    expect(host.filter((line) => !golden.has(line)).length).toBeGreaterThan(0);
    // A socket of the host is not mounted without a word that says so.
    const mounts = [{ type: 'bind', source: '/', target: '/m' }] as const;
    await expect(Container.create({ mounts })).rejects.toThrow(/unsafeSource/);
  });
});

/** Place, attributes and type of each mount; what depends on the host (numbers, sizes, the file system of /usr) is left out. */
function normalise(mountinfo: string): string[] {
  return mountinfo
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const [, , , , place = '', attributes = '', ...fields] = before.split(' ');
      const kept = attributes.split(',').filter((word) => !['relatime', 'noatime', 'idmapped'].includes(word));
      const type = after.split(' ')[0] ?? '';
      const host = /^\/(usr|bin|sbin|lib|lib32|lib64|libx32|etc\/.*)$/.test(place);
      return [place, kept.join(','), host ? 'host' : type, ...fields].join(' ');
    })
    .sort();
}
