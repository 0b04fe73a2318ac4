/** Group H of the catalogue: resources and life cycle. */

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Container, type ContainerOptions, OptionError } from '../../lib/index.js';
import { cgroupLayout } from '../../lib/primitives/cgroup/index.js';
import { needsController, needsLoopFiles, needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { startFresh } from './fresh.js';
import { inside, insideOf, outside, probeArgv } from './probe.js';

checkResidue();

describe('H: resources', () => {
  it('H1: a flood of processes stops at the limit, which is set by default', async (context) => {
    needsController(context, 'pids');
    const flood = `
count = 0
try:
    while count < 700:
        if os.fork() == 0:
            import time
            time.sleep(600)
        count += 1
except OSError as error: pass
answer(count)`;
    expect(await inside(flood, { limits: { pids: 64 } })).toBe(63);
    expect(await inside(flood, { limits: { pids: 100 } })).toBe(99);
    expect(await inside(flood)).toBe(511);
  });

  it('H2: what runs out of memory ends as a group, and neither Node nor the launcher is in it', async (context) => {
    needsController(context, 'memory');
    const hog = `
if os.fork() == 0:
    import time
    time.sleep(600)
blocks = []
for i in range(256): blocks.append(bytearray(b'x') * (1 << 20))
answer(len(blocks))`;
    const { reason, signal } = await Container.run(probeArgv(hog), { limits: { memory: '64MiB' } });
    expect([reason, signal]).toEqual(['oom', 'SIGKILL']);
    const own = readFileSync('/proc/self/cgroup', 'utf8');
    await using box = await Container.create();
    expect(own).not.toContain(box.inspect().cgroup);
    expect(await inside(hog, { limits: { memory: '512MiB' } })).toBe(256);
  });

  it('H3: output that nobody reads fills a pipe, not Node', async () => {
    const before = process.memoryUsage.rss();
    await using box = await Container.create();
    const writer = box.exec(['dd', 'if=/dev/zero', 'bs=1M', 'count=1024'], { stdout: 'pipe', stderr: 'ignore' });
    await sleep(700);
    expect(writer.running).toBe(true);
    expect(process.memoryUsage.rss() - before).toBeLessThan(64 * 2 ** 20);
    let bytes = 0;
    writer.stdout?.on('data', (data: Buffer) => {
      bytes += data.length;
    });
    await writer;
    expect(bytes).toBe(2 ** 30);
  });

  it('H5: storage is bounded in bytes and in files', async () => {
    const fill = (path: string) => `
def bytes_():
    with open('${path}/big', 'wb', buffering=0) as f:
        while True: f.write(b'x' * 65536)
def files():
    for i in range(5000): os.close(os.open('${path}/f%d' % i, os.O_CREAT | os.O_WRONLY))
first = attempt(bytes_)
size = os.path.getsize('${path}/big')
os.unlink('${path}/big')
answer([first, size < 9 * 2**20, attempt(files)])`;
    expect(await inside(fill('/tmp'), { storage: { size: '8MiB', inodes: 2000 } })).toEqual(['ENOSPC', true, 'ENOSPC']);
    const mounts = [{ type: 'tmpfs', target: '/x', size: '8MiB', inodes: 2000 }] as const;
    expect(await inside(fill('/x'), { mounts })).toEqual(['ENOSPC', true, 'ENOSPC']);
    expect(await inside<string[]>(fill('/dev/shm'), { limits: { memory: '512MiB' } })).toEqual(['ENOSPC', false, 'OK']);
  });

  it('H5: storage on disk is bounded in bytes and in files', async (context) => {
    needsLoopFiles(context);
    const fill = `
def bytes_():
    with open('/tmp/big', 'wb', buffering=0) as f:
        while True: f.write(b'x' * 65536)
def files():
    for i in range(5000): os.close(os.open('/tmp/f%d' % i, os.O_CREAT | os.O_WRONLY))
first = attempt(bytes_)
size = os.path.getsize('/tmp/big')
os.unlink('/tmp/big')
answer([first, size < 9 * 2**20, size > 7 * 2**20, attempt(files), len(os.listdir('/tmp')) < 2000])`;
    const bounded = { storage: { upper: 'disk', size: '8MiB', inodes: 2000 } } as const;
    expect(await inside(fill, bounded)).toEqual(['ENOSPC', true, true, 'ENOSPC', true]);
  });

  it('H6: descriptors, queues and shared memory are bounded', async () => {
    const probe = `
import resource
def fds():
    kept = []
    while len(kept) < 3000: kept.append(os.dup(0))
answer([resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE), attempt(fds),
        os.statvfs('/dev/shm').f_blocks * os.statvfs('/dev/shm').f_frsize])`;
    expect(await inside(probe)).toEqual([[1024, 1024], [0, 0], 'EMFILE', 64 * 2 ** 20]);
    const lifted = await inside<unknown[]>(probe, { limits: { openFiles: 4000 } });
    expect(lifted[2]).toBe('OK');
  });

  it('H6: every limit of a process is what was asked for, and what an exec asks for is never wider', async () => {
    const probe = `
import resource
answer({n[7:].lower(): resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith('RLIMIT_') and n != 'RLIMIT_OFILE'})`;
    const rlimits = {
      nproc: 50,
      memlock: 8192,
      msgqueue: 4096,
      sigpending: { soft: 5, hard: 10 },
      locks: 7,
      as: '2GiB',
    };
    await using box = await Container.create({ rlimits });
    const asked = {
      nproc: [50, 50],
      memlock: [8192, 8192],
      msgqueue: [4096, 4096],
      sigpending: [5, 10],
      as: [2 ** 31, 2 ** 31],
    };
    expect(await insideOf(box, probe)).toMatchObject({ ...asked, nofile: [1024, 1024], core: [0, 0] });
    const tighter = await insideOf(box, probe, { rlimits: { sigpending: 4, nofile: 30 } });
    expect(tighter).toMatchObject({ ...asked, sigpending: [4, 4], nofile: [30, 30] });
    for (const wider of [
      { nproc: 51 },
      { sigpending: { soft: 5, hard: 11 } },
      { core: 1 },
      { as: 'unlimited' },
    ] as const) {
      expect(() => box.exec(['/bin/true'], { rlimits: wider }), JSON.stringify(wider)).toThrow(OptionError);
    }
    expect(outside<{ nproc: number[] }>(probe).nproc).not.toEqual([50, 50]);
  });

  it('H7: orphans are reaped', async () => {
    await using box = await Container.create();
    const orphans = `
for i in range(300):
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0: os._exit(0)
        os._exit(0)
    os.waitpid(pid, 0)
import time
time.sleep(0.2)
answer([p for p in os.listdir('/proc') if p.isdigit() and open('/proc/%s/stat' % p).read().rsplit(')', 1)[1].split()[0] == 'Z'])`;
    expect(await insideOf(box, orphans)).toEqual([]);
    const zombie = `
pid = os.fork()
if pid == 0: os._exit(0)
import time
time.sleep(0.1)
answer(open('/proc/%d/stat' % pid).read().rsplit(')', 1)[1].split()[0])`;
    expect(await insideOf(box, zombie)).toBe('Z');
  });

  it('H8: the library signals no process by its number', () => {
    const files = readdirSync('lib', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
    const uses = files.filter((name) => /process\.kill\((?!'SIG|signal\b)/.test(code(`lib/${name}`)));
    expect(uses).toEqual([]);
    expect(files.length).toBeGreaterThan(40);
    expect('process.kill(pid, 9)').toMatch(/process\.kill\((?!'SIG|signal\b)/);
  });

  it.for(['running', 'paused'] as const)(
    'H9: a daemon that has hidden itself ends with its %s container',
    async (state) => {
      const box = await Container.create();
      const daemon = `
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        import time
        os.close(0); os.close(1); os.close(2)
        time.sleep(600)
    os._exit(0)
os.wait()
answer('away')`;
      expect(await insideOf(box, daemon)).toBe('away');
      const pid = box.inspect().pid;
      const children = () => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
      const hidden = children()[0];
      expect(readFileSync(`/proc/${hidden}/stat`, 'utf8')).toContain('python3');
      if (state === 'paused') await box.pause();
      await box.stop({ grace: 100 });
      expect(readdirSync('/proc')).not.toContain(hidden);
      expect(readdirSync('/proc')).not.toContain(String(pid));
    },
  );

  it('H10: hostile names and lists break neither statistics nor options', async () => {
    await using box = await Container.create();
    const named = box.exec(
      probeArgv(`open('/proc/self/comm', 'w').write('a) R 1 (\\n'); answer(1); sys.stdout.flush(); sys.stdin.read()`),
      {
        stdin: 'pipe',
      },
    );
    await named.lines().next();
    const stats = await box.stats();
    expect(stats.pids.current).toBeGreaterThanOrEqual(1);
    expect(Number.isFinite(stats.cpu.usageMs)).toBe(true);
    named.stdin?.end();
    await named;
    for (const cpuset of ['0-9999999999', '0-', '1-0', '0,,1', '0-1;x', '', 'a', '0\n']) {
      await expect(Container.plan({ limits: { cpuset } }), cpuset).rejects.toBeInstanceOf(OptionError);
    }
    if (cgroupLayout().availability.cpuset.usable) {
      expect((await Container.plan({ limits: { cpuset: '0' } })).steps.length).toBeGreaterThan(10);
    }
  });

  it('H12: SIGKILL of Node at any moment of a start leaves nothing', async (context) => {
    needsRoot(context);
    for (let delay = 0; delay < 8; delay++) {
      const child = startFresh(`
console.log('started');
await Promise.all(Array.from({ length: 20 }, () => Container.run(['/bin/sleep', '100'], { storage: { upper: 'tmpfs' } })));`);
      await new Promise((resolve) => child.stdout?.once('data', resolve));
      await sleep(delay * 7);
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('close', resolve));
    }
    // checkResidue, at the end of the file, looks for what is left.
    const sleeping = `
def line(p):
    try: return open('/proc/%s/cmdline' % p).read()
    except OSError: return ''
answer(sum(line(p) == '/bin/sleep\\x00100\\x00' for p in os.listdir('/proc') if p.isdigit()))`;
    const deadline = Date.now() + 5000;
    while (outside(sleeping) !== 0 && Date.now() < deadline) await sleep(50);
    expect(outside(sleeping)).toBe(0);
  });

  it('H13: lists in options are bounded', async () => {
    const mounts = Array.from({ length: 10_000 }, (_, i) => ({ type: 'tmpfs', target: `/m${i}` }) as const);
    await expect(Container.plan({ mounts })).rejects.toBeInstanceOf(OptionError);
    await expect(Container.plan({ mounts: mounts.slice(0, 100) })).resolves.toBeDefined();
    const options: ContainerOptions = {
      limits: { io: Array.from({ length: 1000 }, () => ({ device: '8:0', readBps: 1 })) },
    };
    await expect(Container.plan(options)).rejects.toBeInstanceOf(OptionError);
  });
});

/** A source file without its comments. */
function code(path: string): string {
  return readFileSync(path, 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
}
