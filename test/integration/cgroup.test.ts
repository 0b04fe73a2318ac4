/** `CgroupV2` by itself: what it makes, what its limits do to processes, what it tells, and that nothing is left. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  fstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  statSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, describe, expect, it, type TestContext } from 'vitest';
import {
  type CgroupSettings,
  CgroupV2,
  OptionError,
  PermissionError,
  spawn as start,
  UnsupportedError,
} from '../../lib/index.js';
import { needsController, needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const MiB = 2 ** 20;
const layout = CgroupV2.layout();
const prefix = `test-${process.pid}`;
let number = 0;
const name = (): string => `${prefix}-${number++}`;
const bases = layout.hierarchies.map(({ base }) => base);

/** Cgroups of this file that are there. */
function left(): string[] {
  return bases.flatMap((base) =>
    (existsSync(base) ? readdirSync(base) : [])
      .filter((entry) => entry.startsWith(prefix))
      .map((entry) => `${base}/${entry}`),
  );
}

afterAll(() => expect(left()).toEqual([]));

/** A shell that runs the script once it is in the cgroup. */
async function within(group: CgroupV2, script: string): Promise<ChildProcess & { output(): string }> {
  const child = spawn('/bin/sh', ['-c', `read go; ${script}`], { stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (data) => {
    output += data;
  });
  child.stderr.on('data', (data) => {
    output += data;
  });
  await group.attach(child.pid ?? 0);
  child.stdin.end('go\n');
  return Object.assign(child, { output: () => output });
}

async function runWithin(group: CgroupV2, script: string): Promise<{ code: number | null; output: string }> {
  const child = await within(group, script);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output: child.output() };
}

function file(group: CgroupV2, controller: Parameters<typeof layout.of>[0], v2: string, v1: string): string {
  const hierarchy = layout.of(controller);
  const path = group.paths.find((one) => hierarchy && one.startsWith(`${hierarchy.mount}/`));
  return readFileSync(`${path}/${hierarchy?.version === 2 ? v2 : v1}`, 'utf8').trim();
}

function needsUnified(context: TestContext, controller: Parameters<typeof layout.of>[0]): void {
  context.skip(layout.of(controller)?.version !== 2, `the ${controller} controller is not in the v2 tree`);
}

const hog = (bytes: number): string => `exec /usr/bin/python3 -c "b = bytearray(b'x' * ${bytes}); print(len(b))"`;

describe(`a cgroup of a ${layout.kind} host`, () => {
  it('is made in every hierarchy, and gone after', async () => {
    let paths: readonly string[];
    {
      await using group = await CgroupV2.create(`${name()}/inner`);
      paths = group.paths;
      expect(paths.length).toBeGreaterThan(0);
      for (const path of paths) expect(statSync(path).isDirectory()).toBe(true);
      expect(new Set(paths.map((path) => path.split('/').slice(-3).join('/'))).size).toBe(1);
    }
    for (const path of paths) expect(existsSync(path)).toBe(false);
    expect(left()).toEqual([]);
  });

  it('is not made twice, and the first one stays', async () => {
    const path = name();
    await using group = await CgroupV2.create(path);
    await expect(CgroupV2.create(path)).rejects.toMatchObject({ code: 'ERR_EXISTS' });
    expect(existsSync(group.path)).toBe(true);
  });

  it('that is forgotten is closed when it is collected, and nothing is to be warned of', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const warnings: string[] = [];
    const listener = (warning: Error) => warnings.push(warning.message);
    process.on('warning', listener);
    const path = name();
    const links = () =>
      readdirSync('/proc/self/fd').flatMap((fd) => {
        try {
          return [readlinkSync(`/proc/self/fd/${fd}`)];
        } catch {
          return []; // that of the listing
        }
      });
    const open = () => links().filter((link) => link.split('/').includes(path));
    await (async () => {
      await (await CgroupV2.create(path)).stats();
    })();
    expect(open()).not.toEqual([]);
    const afterwards = () => {
      collect();
      return open();
    };
    await expect.poll(afterwards, { timeout: 10_000 }).toEqual([]);
    process.off('warning', listener);
    expect(warnings).toEqual([]);
    await (await CgroupV2.open(path, { own: true }))[Symbol.asyncDispose]();
  });

  it('takes what was made on the way with it, whoever else comes and goes there', async () => {
    const above = name();
    const one = async (job: string) => {
      for (let i = 0; i < 10; i++) {
        await using group = await CgroupV2.create(`${above}/${job}`);
        expect(group.paths.every((path) => existsSync(path))).toBe(true);
      }
    };
    await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map(one));
    expect(left()).toEqual([]);
    // Also where it is removed by another object than the one that made it.
    await (await CgroupV2.create(`${above}/a`)).close();
    await (await CgroupV2.open(`${above}/a`, { own: true }))[Symbol.asyncDispose]();
    expect(left()).toEqual([]);
    // What was made for itself stays until it is removed.
    await using made = await CgroupV2.create(above);
    await using _inner = await CgroupV2.create(`${above}/a`);
    await _inner.remove();
    expect(made.paths.every((path) => existsSync(path))).toBe(true);
  });

  it('has children of its own', async () => {
    await using group = await CgroupV2.create(name());
    await (await group.child('one')).close();
    await using two = await group.child('two/deep');
    expect(await group.children()).toEqual(['one', 'two']);
    const { code } = await runWithin(two, 'exit 3');
    expect(code).toBe(3);
    const sleeper = await within(two, 'sleep 60');
    expect(await group.processes()).toEqual([]);
    expect(await group.processes({ recursive: true })).toContain(sleeper.pid);
  });

  it('is opened by name, and by path, and is then not ended', async () => {
    const path = name();
    await using group = await CgroupV2.create(path);
    for (const opened of [await CgroupV2.open(path), await CgroupV2.open(group.path)]) {
      expect(opened.owned).toBe(false);
      for (const verb of ['kill', 'remove', 'freeze'] as const) {
        await expect(opened[verb](), verb).rejects.toBeInstanceOf(PermissionError);
      }
      await opened[Symbol.asyncDispose]();
    }
    expect(existsSync(group.path)).toBe(true);
    await using owned = await CgroupV2.open(path, { own: true });
    await owned.remove();
    expect(existsSync(group.path)).toBe(false);
  });

  it('is this process’s own, too', async () => {
    await using own = await CgroupV2.self();
    expect(own.owned).toBe(false);
    const line = readFileSync('/proc/self/cgroup', 'utf8')
      .split('\n')
      .find((one) => one.startsWith('0::'));
    if (line) expect(`${own.path}/`).toContain(`${line.slice(3).replace(/\/$/, '')}/`);
    expect((await own.stats()).cpu.usageMs).toBeGreaterThan(0);
    expect(await own.processes()).toContain(process.pid);
  });

  it('leaves another cgroup that came to its path alone', async (context) => {
    needsRoot(context);
    const group = await CgroupV2.create(name());
    const path = group.path;
    rmdirSync(path);
    mkdirSync(path);
    await group.remove();
    await group.close();
    expect(existsSync(path)).toBe(true);
    rmdirSync(path);
  });
});

describe('limits', () => {
  it('read back as they were set, and are in the files', async (context) => {
    for (const controller of ['memory', 'pids', 'cpu'] as const) needsController(context, controller);
    await using group = await CgroupV2.create(name(), { memory: { max: '64MiB', swapMax: 0 }, pids: { max: 12 } });
    expect(await group.memory.get()).toMatchObject({ max: 64 * MiB });
    expect(file(group, 'memory', 'memory.max', 'memory.limit_in_bytes')).toBe(`${64 * MiB}`);
    expect(await group.pids.get()).toEqual({ max: 12 });
    await group.cpu.set({ weight: 50, max: 0.5, burst: '10ms' });
    expect(await group.cpu.get()).toMatchObject({ weight: 50, max: 0.5, period: 100, burst: 10 });
    expect(file(group, 'cpu', 'cpu.max', 'cpu.cfs_quota_us').split(' ')[0]).toBe('50000');
    await group.update({ memory: { max: '128MiB' }, pids: { max: 'max' }, cpu: { max: 'max', weight: 10000 } });
    expect(await group.memory.get()).toMatchObject({ max: 128 * MiB });
    expect((await group.memory.get()).swapMax ?? 0).toBe(0);
    expect(await group.pids.get()).toEqual({ max: 'max' });
    expect(await group.cpu.get()).toMatchObject({ max: 'max', weight: 10000 });
    await group.cpu.set({ idle: true });
    expect((await group.cpu.get()).idle).toBe(true);
    await group.cpu.set({ idle: false, weight: 77 });
    expect(await group.cpu.get()).toMatchObject({ idle: false, weight: 77 });
  });

  it('of processors hold', async (context) => {
    needsController(context, 'cpuset');
    await using group = await CgroupV2.create(name(), { cpuset: { cpus: '0' } });
    expect(await group.cpuset.get()).toMatchObject({ cpus: '0', effectiveCpus: '0' });
    expect((await runWithin(group, 'grep Cpus_allowed_list /proc/self/status')).output).toMatch(/:\s+0$/m);
  });

  it('of memory kill, and both the statistics and an event say so', async (context) => {
    needsController(context, 'memory');
    await using group = await CgroupV2.create(name(), { memory: { max: '48MiB', swapMax: 0 } });
    await using events = await group.watch();
    const told: string[] = [];
    events.on('memory', (event) => told.push(event.name));
    expect((await runWithin(group, hog(8 * MiB))).output).toContain(`${8 * MiB}`);
    expect((await group.stats()).memory.oomKills).toBe(0);
    expect((await runWithin(group, hog(200 * MiB))).output).not.toContain(`${200 * MiB}`);
    await expect.poll(() => told).toContain('oom');
    const { memory } = await group.stats();
    expect(memory.oomKills).toBe(1);
    // Newer kernels do not count failures on v1 (memory.failcnt).
    if (layout.of('memory')?.version === 2) expect(memory.limitHits).toBeGreaterThan(0);
    expect(memory.peak).toBeLessThanOrEqual(48 * MiB);
    expect(memory.peak).toBeGreaterThan(40 * MiB);
  });

  it('of processes refuse a fork, with EAGAIN', async (context) => {
    needsController(context, 'pids');
    await using group = await CgroupV2.create(name(), { pids: { max: 4 } });
    await using events = await group.watch();
    const told: number[] = [];
    events.on('pids', ({ total }) => told.push(total));
    const flood = `exec /usr/bin/python3 -c "
import os, time, errno
n = 0
try:
    while n < 20:
        if os.fork() == 0: os.closerange(0, 3); time.sleep(60)
        n += 1
except OSError as e: print(n, errno.errorcode[e.errno], flush=True)
else: print(n, flush=True)
os._exit(0)"`;
    expect((await runWithin(group, flood)).output).toBe('3 EAGAIN\n');
    const { pids } = await group.stats();
    expect([pids.current, pids.limitHits]).toEqual([3, 1]);
    if (layout.of('pids')?.version === 2) await expect.poll(() => told).toEqual([1]);
    await group.pids.set({ max: 'max' });
    expect((await runWithin(group, flood)).output).toBe('20\n');
  });

  it('of processor time throttle, as cpu.stat counts', async (context) => {
    needsController(context, 'cpu');
    await using group = await CgroupV2.create(name(), { cpu: { max: 0.2 } });
    const loop = await within(group, 'while :; do :; done');
    await sleep(1000);
    const before = await group.stats();
    await sleep(2000);
    const after = await group.stats();
    expect((after.cpu.throttledPeriods ?? 0) - (before.cpu.throttledPeriods ?? 0)).toBeGreaterThan(5);
    const share = (after.cpu.usageMs - before.cpu.usageMs) / 2000;
    expect(share).toBeGreaterThan(0.02);
    expect(share).toBeLessThan(0.3);
    expect(Object.keys(after.raw['cpu.stat'] ?? {})).not.toEqual([]);
    expect(loop.exitCode).toBeNull();
  });

  it('of a block device slow its writes', async (context) => {
    needsController(context, 'io');
    needsRoot(context);
    const disk = loopDevice(context);
    try {
      await using group = await CgroupV2.create(name());
      const write = `dd if=/dev/zero of=${disk.path} bs=64k count=16 oflag=direct 2>&1`;
      const time = async (): Promise<number> => {
        const start = performance.now();
        expect((await runWithin(group, write)).code).toBe(0);
        return performance.now() - start;
      };
      const free = await time();
      await group.io.set({ max: [{ device: disk.numbers, writeBps: '512KiB' }] });
      expect((await group.io.get()).max).toMatchObject([{ device: disk.numbers, writeBps: 512 * 1024 }]);
      const slow = await time();
      expect(slow).toBeGreaterThan(1500);
      expect(free).toBeLessThan(slow / 2);
      expect((await group.stats()).io.writeBytes).toBeGreaterThanOrEqual(MiB);
      await group.io.set({ max: [{ device: disk.numbers, writeBps: 'max' }] });
      expect((await group.io.get()).max?.[0]?.writeBps ?? 'max').toBe('max');
    } finally {
      disk.remove();
    }
  });

  it('that only v2 has are unsupported on v1, and nothing is left', async (context) => {
    context.skip(layout.of('memory')?.version !== 1, 'the memory controller is not on v1');
    const path = name();
    await expect(CgroupV2.create(path, { pids: { max: 3 }, memory: { high: '1MiB' } })).rejects.toMatchObject({
      name: 'UnsupportedError',
      message: expect.stringContaining('memory.high'),
    });
    expect(left()).toEqual([]);
  });

  it('of v2 read back: protections, high, groups to kill', async (context) => {
    needsUnified(context, 'memory');
    const settings = { min: '1MiB', low: '2MiB', high: '32MiB', max: '64MiB', oomGroup: true } as const;
    await using group = await CgroupV2.create(name(), { memory: settings });
    expect(await group.memory.get()).toMatchObject({
      min: MiB,
      low: 2 * MiB,
      high: 32 * MiB,
      max: 64 * MiB,
      oomGroup: true,
    });
    await runWithin(group, hog(10 * MiB));
    expect((await group.stats()).memory.peak).toBeGreaterThan(10 * MiB);
    await group.memory.resetPeak();
    expect((await group.stats()).memory.peak).toBeLessThan(10 * MiB);
    expect(typeof (await group.memory.reclaim('1GiB'))).toBe('boolean');
    await group.unified.set({ 'memory.high': '16777216' });
    expect(await group.unified.get('memory.high')).toBe('16777216\n');
    await group.io.set({ weight: 200 });
    expect((await group.io.get()).weight).toBe(200);
  });

  it('that the kernel refuses say file, value and reason', async (context) => {
    needsController(context, 'cpu');
    await using group = await CgroupV2.create(name(), { cpu: { max: 0.5 } });
    await expect(group.cpu.set({ burst: '900ms' })).rejects.toMatchObject({
      message: expect.stringMatching(
        /^cannot write '900000' to \/.*\/cpu\..*burst.*: invalid argument \(EINVAL\) \(hint: burst is /,
      ),
      errno: 'EINVAL',
      syscall: 'write',
    });
    await expect(group.attach(2 ** 22 - 1)).rejects.toMatchObject({ errno: 'ESRCH' });
  });

  it('of a cgroup with processes are not handed down to children', async (context) => {
    needsUnified(context, 'pids');
    await using group = await CgroupV2.create(name());
    const sleeper = await within(group, 'sleep 60');
    await expect(group.child('inner', { pids: { max: 5 } })).rejects.toMatchObject({
      errno: 'EBUSY',
      hint: expect.stringContaining('no internal processes'),
    });
    expect(await group.children()).toEqual([]);
    await group.kill();
    await using inner = await group.child('inner', { pids: { max: 5 } });
    expect(await inner.pids.get()).toEqual({ max: 5 });
    await expect(group.attach(process.pid)).rejects.toMatchObject({ errno: 'EBUSY' });
    expect(sleeper.signalCode ?? 'SIGKILL').toBe('SIGKILL');
  });
});

describe('the life of its processes', () => {
  it('stops and goes on, and events tell', async () => {
    await using group = await CgroupV2.create(name());
    await using events = await group.watch();
    const told: string[] = [];
    events.on('populated', (on) => told.push(`populated ${on}`));
    events.on('frozen', (on) => told.push(`frozen ${on}`));
    events.on('removed', () => told.push('removed'));
    const child = await within(group, 'while :; do echo .; sleep 0.01; done');
    await expect.poll(() => child.output().length).toBeGreaterThan(2);
    await group.freeze();
    expect(readFileSync(`${group.path}/cgroup.events`, 'utf8')).toContain('frozen 1');
    await sleep(50);
    const stopped = child.output().length;
    await sleep(200);
    expect(child.output().length).toBe(stopped);
    await group.thaw();
    await expect.poll(() => child.output().length).toBeGreaterThan(stopped);
    await group.freeze();
    await group.kill();
    expect(await group.processes()).toEqual([]);
    await expect.poll(() => told.slice(0, 3)).toEqual(['populated true', 'frozen true', 'frozen false']);
    await expect.poll(() => told).toContain('populated false');
    await group.thaw();
    await group.remove();
    await expect.poll(() => told.at(-1)).toBe('removed');
  });

  it('ends with it, hidden as it may be', async () => {
    const group = await CgroupV2.create(name());
    const child = await within(
      group,
      '(setsid sleep 61 </dev/null >/dev/null 2>&1 &) ; sleep 0.1; echo ready; sleep 60',
    );
    await expect.poll(() => child.output()).toContain('ready');
    const pids = await group.processes();
    expect(pids.length).toBe(3);
    await group.kill();
    for (const pid of pids) expect(statusOf(pid)).toMatch(/^$|Z/);
    await group.remove();
    await group.close();
  });

  it('is busy until it is ended', async () => {
    await using group = await CgroupV2.create(name());
    await within(group, 'sleep 60');
    await expect(group.remove()).rejects.toMatchObject({ errno: 'EBUSY', hint: expect.stringContaining('kill()') });
  });

  it('begins in it, by the descriptors of its entrance', async () => {
    await using group = await CgroupV2.create(name());
    const { unified, tasks } = group.entrance();
    if (unified) expect(fstatSync(unified.number).ino).toBe(statSync(group.path).ino);
    expect(tasks.length).toBe(group.paths.length - (unified ? 1 : 0));
    for (const descriptor of tasks) {
      const child = spawn('/bin/sh', ['-c', 'echo 0 >&3; cat /proc/self/cgroup'], {
        stdio: ['ignore', 'pipe', 'inherit', descriptor.number],
      });
      let output = '';
      child.stdout?.on('data', (data) => {
        output += data;
      });
      await once(child, 'close');
      expect(output).toContain(group.path.split('/').at(-1));
    }
    for (const descriptor of [...tasks, ...(unified ? [unified] : [])]) descriptor.close();
  });

  it('begins in it, by spawn, in every hierarchy', async () => {
    await using group = await CgroupV2.create(name());
    const own = group.path.split('/').at(-1) ?? '';
    const inside = (stdout: string) => stdout.split('\n').filter((line) => line.endsWith(`/${own}`));
    const argv = ['/bin/cat', '/proc/self/cgroup'] as const;
    expect(inside((await start(argv)).stdout)).toEqual([]);
    expect(inside((await start(argv, { cgroup: group })).stdout)).toHaveLength(group.paths.length);
    expect(inside((await start(argv, { cgroup: group, namespaces: ['user', 'pid'] })).stdout)).toHaveLength(
      group.paths.length,
    );
    const elsewhere = { cgroup: { path: '/tmp' } };
    expect(() => start(argv, elsewhere)).toThrow(OptionError);
    expect(() => start(argv, { ...elsewhere, namespaces: ['user'] })).toThrow(OptionError);
    expect(inside((await start(argv, { cgroup: { path: group.path } })).stdout)).toEqual([
      expect.stringMatching(/^0::/),
    ]);
  });

  it('is limited from its first instruction, by spawn', async (context) => {
    needsController(context, 'pids');
    await using group = await CgroupV2.create(name(), { pids: { max: 4 } });
    const forks = 'for i in 1 2 3 4 5 6 7 8; do sleep 5 & done';
    const { stderr } = await start(['/bin/sh', '-c', forks], { cgroup: group });
    expect(stderr).toMatch(/fork/);
    expect((await start(['/bin/sh', '-c', forks])).stderr).toBe('');
  });

  it('has nothing of ours in it beside what spawn was asked for: not counted, not in the way of its end', async (context) => {
    needsController(context, 'pids');
    for (const namespaces of [[], ['user', 'pid']] as const) {
      await using group = await CgroupV2.create(name(), { pids: { max: 1 } });
      await expect(start(['/bin/true'], { cgroup: group, namespaces })).resolves.toMatchObject({ exitCode: 0 });
      const program = start(['/bin/sleep', '60'], { cgroup: group, namespaces });
      program.catch(() => {});
      const counted = async () => (await group.stats()).pids.current;
      await expect.poll(counted).toBe(1);
      await group.kill();
      await group.remove();
    }
  });

  it('is ended by disposal with what is on its way into it', async () => {
    for (let i = 0; i < 20; i++) {
      const group = await CgroupV2.create(name());
      const program = start(['/bin/sleep', '60'], { cgroup: group }).catch((error: unknown) => error);
      if (i % 2) await sleep(i);
      await group[Symbol.asyncDispose]();
      expect(group.paths.filter((path) => existsSync(path))).toEqual([]);
      // Killed, or not started because there was no cgroup any more.
      const end = (await program) as { signal?: string; errno?: string };
      expect(['SIGKILL', 'ENODEV', 'ENOENT']).toContain(end.signal ?? end.errno);
    }
  });

  it('tells of pressure', async (context) => {
    await using group = await CgroupV2.create(name());
    context.skip(!existsSync(`${group.path}/cpu.pressure`), 'this kernel has no pressure files');
    await using events = await group.watch();
    const told: string[] = [];
    events.on('pressure', ({ resource }, { some }) => told.push(`${resource} ${(some?.totalMs ?? 0) > 0}`));
    const stop = events.pressureAbove({ resource: 'cpu', stall: '50ms' });
    for (let i = 0; i < 4; i++) await within(group, 'while :; do :; done');
    await expect.poll(() => told, { timeout: 10_000 }).toContain('cpu true');
    expect((await group.stats()).pressure?.cpu?.some?.totalMs).toBeGreaterThan(50);
    stop();
    await group.kill();
    await events.close();
    const descriptors = readdirSync('/proc/self/fd').length;
    expect(() => events.pressureAbove({ resource: 'cpu', stall: '50ms' })).toThrow('have been closed');
    expect(readdirSync('/proc/self/fd')).toHaveLength(descriptors);
  });
});

describe('its devices', () => {
  it('are those that the rules allow, and no others', async (context) => {
    needsRoot(context);
    await using group = await CgroupV2.create(name());
    const probe =
      'for d in null zero full; do head -c1 /dev/$d >/dev/null 2>&1 && echo $d r; (echo > /dev/$d) 2>/dev/null && echo $d w; done; true';
    const open = await runWithin(group, probe);
    expect(open.output).toBe('null r\nnull w\nzero r\nzero w\nfull r\n');
    await group.devices.set([
      { type: 'char', major: 1, minor: 3 },
      { type: 'char', major: 1, minor: 5, access: 'r' },
    ]);
    expect((await runWithin(group, probe)).output).toBe('null r\nnull w\nzero r\n');
    await group.devices.set(CgroupV2.standardDevices);
    expect((await runWithin(group, probe)).output).toBe(open.output);
    await group.devices.set([]);
    expect((await runWithin(group, '(: < /dev/null) 2>&1 || true; echo end')).output).toContain('end');
    expect((await runWithin(group, 'head -c1 /dev/zero')).output).toContain('Operation not permitted');
    await group.devices.clear();
    expect((await runWithin(group, probe)).output).toBe(open.output);
    expect(group.devices.get()).toBeUndefined();
  });
});

describe('a delegated cgroup', () => {
  it('lets its user make cgroups in it, and no other', async (context) => {
    needsRoot(context);
    await using group = await CgroupV2.create(name());
    const mkdir = () => spawnSync('/bin/mkdir', [`${group.path}/mine`], { uid: 65534, gid: 65534 }).status;
    expect(mkdir()).not.toBe(0);
    const files = await group.delegate({ uid: 65534, gid: 65534 });
    expect(files).toEqual(expect.arrayContaining(['.', 'cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control']));
    expect(mkdir()).toBe(0);
    for (const one of files) expect(statSync(`${group.path}/${one}`).uid).toBe(65534);
    expect(statSync(`${group.path}/cgroup.freeze`).uid).toBe(0);
  });
});

describe('bad input', () => {
  it.each([
    '',
    '/',
    '..',
    'a/../b',
    'a//b',
    'a\0b',
    'a\nb',
    'a/',
    '-a',
    'memory.max',
    'cgroup.procs',
    'tasks',
    '01234567-x',
    'x'.repeat(65),
    'é',
    5,
    null,
  ])('is refused as a name: %j', async (path) => {
    await expect(CgroupV2.create(path as string)).rejects.toBeInstanceOf(OptionError);
  });

  it.each(['/sys/fs/cgroup/../../..', '/sys/fs/cgroup//x', '/sys/fs/cgroup/\0', '/sys/fs/cgroup/a\nb', '/'])(
    'is refused as a path: %j',
    async (path) => {
      await expect(CgroupV2.open(path)).rejects.toBeInstanceOf(OptionError);
    },
  );

  it('is refused as a path outside of the hierarchies', async () => {
    await expect(CgroupV2.open('/tmp')).rejects.toMatchObject({ code: 'ERR_CGROUP' });
    await expect(CgroupV2.open(name())).rejects.toMatchObject({ errno: 'ENOENT' });
  });

  it.each<[string, object]>([
    ['settings.nothing', { nothing: 1 }],
    ['memory.max', { memory: { max: Number.NaN } }],
    ['memory.max', { memory: { max: -1 } }],
    ['memory.max', { memory: { max: '1e309' } }],
    ['memory.maximum', { memory: { maximum: 1 } }],
    ['memory.oomGroup', { memory: { oomGroup: 1 } }],
    ['pids.max', { pids: { max: 1.5 } }],
    ['pids.max', { pids: { max: '10' } }],
    ['cpu.max', { cpu: { max: 0 } }],
    ['cpu.max', { cpu: { max: Number.NaN } }],
    ['cpu.weight', { cpu: { weight: 0 } }],
    ['cpu.period', { cpu: { period: 100 } }],
    ['cpuset.cpus', { cpuset: { cpus: '0-9999999999' } }],
    ['io.max[0].device', { io: { max: [{ device: '/dev/sda\n' }] } }],
    ['io.max', { io: { max: {} } }],
    ['hugetlb.max["2MB/../x"]', { hugetlb: { max: { '2MB/../x': 1 } } }],
    ['rdma.max[0].device', { rdma: { max: [{ device: 'a b' }] } }],
    ['misc.max["a b"]', { misc: { max: { 'a b': 1 } } }],
    ['devices[0].access', { devices: [{ type: 'char', access: 'rr' }] }],
    ['devices[0].major', { devices: [{ type: 'char', major: -1 }] }],
    ['unified["cgroup.procs"]', { unified: { 'cgroup.procs': '1' } }],
    ['unified["../x"]', { unified: { '../x': '1' } }],
    ['unified["memory.high"]', { unified: { 'memory.high': 'a\0b' } }],
  ])('is refused as a setting, and nothing is made: %s', async (option, settings) => {
    const path = name();
    const error = await CgroupV2.create(path, settings as CgroupSettings).catch((failure: unknown) => failure);
    expect(error).toBeInstanceOf(OptionError);
    expect((error as OptionError).option.replace('settings.', '')).toContain(option.replace('settings.', ''));
    expect(left()).toEqual([]);
  });

  it('is refused as an option of a question', async () => {
    await using group = await CgroupV2.create(name());
    for (const options of [null, { recursiv: true }, { recursive: 1 }] as never[]) {
      await expect(group.processes(options)).rejects.toBeInstanceOf(OptionError);
    }
    await expect(CgroupV2.open(name())).rejects.toMatchObject({ errno: 'ENOENT', hint: 'CgroupV2.create makes one' });
  });

  it('is refused by methods', async () => {
    await using group = await CgroupV2.create(name());
    for (const pid of [0, -1, 1.5, Number.NaN, 2 ** 40])
      await expect(group.attach(pid)).rejects.toBeInstanceOf(OptionError);
    await expect(group.delegate({ uid: -1, gid: 0 })).rejects.toBeInstanceOf(OptionError);
    await expect(group.freeze({ timeout: 'soon' })).rejects.toBeInstanceOf(OptionError);
    await using events = await group.watch();
    expect(() => events.pressureAbove({ resource: 'cpu', stall: '3s' })).toThrow(OptionError);
    await group.close();
    await expect(group.stats()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await (await CgroupV2.open(group.path.split('/').at(-1) ?? '', { own: true }))[Symbol.asyncDispose]();
  });
});

describe('statistics', () => {
  it('are what the files say', async (context) => {
    needsController(context, 'memory');
    needsController(context, 'pids');
    await using group = await CgroupV2.create(name());
    const child = await within(group, 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; exec sleep 60');
    await expect.poll(() => child.output()).toContain('done');
    await sleep(50);
    const stats = await group.stats();
    const byHand = (text: string, key: string): number => Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(text)?.[1]);
    if (layout.hierarchies.some(({ version }) => version === 2)) {
      expect(stats.cpu.usageMs).toBeCloseTo(
        byHand(readFileSync(`${group.path}/cpu.stat`, 'utf8'), 'usage_usec') / 1000,
        -1,
      );
    }
    expect(stats.pids.current).toBe(Number(file(group, 'pids', 'pids.current', 'pids.current')));
    const current = Number(file(group, 'memory', 'memory.current', 'memory.usage_in_bytes'));
    expect(Math.abs(stats.memory.current - current)).toBeLessThan(MiB);
    const text = file(group, 'memory', 'memory.stat', 'memory.stat');
    const anonymous = byHand(text, layout.of('memory')?.version === 2 ? 'anon' : 'total_rss');
    expect(Math.abs((stats.memory.anonymous ?? -1) - anonymous)).toBeLessThan(MiB);
    expect(stats.raw['memory.stat']?.pgfault).toBeGreaterThan(0);
    expect(stats.raw['pids.events']).toEqual({ max: 0 });
  });

  it('say so when there are none', async () => {
    const group = await CgroupV2.create(name());
    await group.stats();
    await group.remove();
    await expect(group.stats()).rejects.toMatchObject({ errno: 'ENODEV', hint: 'the cgroup has been removed' });
    await group.close();
  });

  it('of a missing controller are an error only where it is asked for', async () => {
    await using group = await CgroupV2.create(name());
    expect(await group.stats()).toMatchObject({ cpu: expect.anything() });
    if (!layout.availability.misc.usable) await expect(group.misc.get()).rejects.toBeInstanceOf(UnsupportedError);
  });
});

function statusOf(pid: number): string {
  try {
    return /^State:\s+(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
  } catch {
    return '';
  }
}

function loopDevice(context: TestContext): { path: string; numbers: string; remove(): void } {
  const image = `/tmp/tscontain-${prefix}.img`;
  spawnSync('truncate', ['-s', '16M', image]);
  const { stdout, status } = spawnSync('losetup', ['-f', '--show', image], { encoding: 'utf8' });
  const path = stdout.trim();
  if (status !== 0) spawnSync('rm', [image]);
  context.skip(status !== 0, 'no loop device can be set up');
  const rdev = statSync(path).rdev;
  return {
    path,
    numbers: `${(rdev >> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >> 12) & 0xfff00)}`,
    remove() {
      spawnSync('losetup', ['-d', path]);
      spawnSync('rm', [image]);
    },
  };
}
