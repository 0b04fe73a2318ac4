/** However this process, its threads or the launcher end, nothing of a container is left. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Container } from '../../lib/index.js';
import { cgroupLayout } from '../../lib/primitives/cgroup/index.js';
import { buildOnce, fixture, packageRoot } from '../support/build.js';
import { needsRoot, needsUpperOnDisk } from '../support/requirements.js';
import { checkResidue, takeResidue } from '../support/residue.js';

checkResidue();

let rootfs = '';
beforeAll(() => {
  buildOnce();
  rootfs = mkdtempSync(join(tmpdir(), 'tscontain-life-'));
});
afterAll(() => rmSync(rootfs, { recursive: true, force: true }));

interface Found {
  readonly pid: number;
  readonly name: string;
  readonly parent: number;
}

function processes(): Found[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        const end = stat.lastIndexOf(')');
        const parent = Number(stat.slice(end + 2).split(' ')[1]);
        return [{ pid: Number(pid), name: stat.slice(stat.indexOf('(') + 1, end), parent }];
      } catch {
        return []; // it has just ended
      }
    });
}

function below(ancestor: number): Found[] {
  const all = processes();
  const children = (parent: number): Found[] =>
    all.filter((candidate) => candidate.parent === parent).flatMap((child) => [child, ...children(child.pid)]);
  return children(ancestor);
}

const launchers = () => processes().filter(({ parent, name }) => parent === process.pid && name === 'tscontain');

/** Waits until a condition holds, at most two seconds; what it was in the end. */
async function within(condition: () => boolean, time = 2000): Promise<boolean> {
  for (const deadline = Date.now() + time; Date.now() < deadline; await sleep(10)) if (condition()) return true;
  return condition();
}

/** A Node program that starts containers; resolves when it has begun, with every process below it. */
async function startBusy(how: string): Promise<{ child: ChildProcess; found: () => Found[] }> {
  const child = spawn(process.execPath, [fixture('busy.mjs'), how, rootfs], { stdio: ['ignore', 'pipe', 'ignore'] });
  children.push(child);
  const begun = once(createInterface(child.stdout), 'line');
  await Promise.race([begun, once(child, 'close').then(() => Promise.reject(new Error(`${how}: ended too early`)))]);
  return { child, found: () => below(child.pid ?? 0) };
}

const alive = ({ pid, name }: Found) => {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === name;
  } catch {
    return false;
  }
};

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

describe('a Node process', () => {
  it.for<[string, string, (child: ChildProcess) => void]>([
    ['is killed in the middle of thirty starts', 'wait', (child) => child.kill('SIGKILL')],
    ['is interrupted', 'wait', (child) => child.kill('SIGINT')],
    ['is terminated', 'wait', (child) => child.kill('SIGTERM')],
    ['calls process.exit()', 'exit', () => {}],
    ['ends with an uncaught exception', 'throw', () => {}],
  ])('that %s leaves nothing after two seconds', async ([, how, end]) => {
    const before = takeResidue();
    const { child, found } = await startBusy(how);
    const running = found();
    const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
    end(child);
    await gone;
    const fresh = (now: readonly string[], then: readonly string[]) => now.filter((entry) => !then.includes(entry));
    const left = () => {
      const now = takeResidue();
      return [
        ...running.filter(alive).map(({ name }) => name),
        ...processes()
          .filter(({ name, pid }) => name === 'sleep' && argument(pid) === '7777')
          .map(({ name }) => name),
        ...fresh(now.cgroups, before.cgroups),
        ...fresh(now.stateDirectories, before.stateDirectories),
        ...fresh(now.mounts, before.mounts),
      ];
    };
    await within(() => left().length === 0);
    expect(left()).toEqual([]);
  });
});

function argument(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[1] ?? '';
  } catch {
    return '';
  }
}

describe('the launcher', () => {
  it('that is killed takes its containers along; what waits is told, and the next run works', async () => {
    const box = await Container.create();
    const running = [Container.run(['sleep', '600']), box.exec(['sleep', '600'])];
    const outcomes = Promise.allSettled([...running, box.wait()]);
    await sleep(150);
    const [launcher] = launchers();
    const inits = below(launcher?.pid ?? 0);
    expect(inits.length).toBeGreaterThan(1);
    process.kill(launcher?.pid ?? -1, 'SIGKILL');
    const [run, exec, wait] = await outcomes;
    expect(run).toMatchObject({ status: 'rejected', reason: { code: 'ERR_LAUNCHER_DIED' } });
    expect(exec).toMatchObject({ status: 'rejected', reason: { code: 'ERR_LAUNCHER_DIED' } });
    expect(wait).toMatchObject({ status: 'fulfilled', value: { stats: undefined } });
    expect(await within(() => !inits.some(alive))).toBe(true);
    expect((await Container.run(['echo', 'again'])).stdout).toBe('again\n');
    expect(launchers()).toHaveLength(1);
    // Only a sweep can know that the dead launcher's cgroups are nobody's.
    expect(await Container.sweep()).toBeGreaterThan(0);
  });
});

describe('threads', () => {
  it('of one process each run containers, at once', async () => {
    const workers = Array.from({ length: 3 }, () => new Worker(fixture('worker.mjs'), { workerData: {} }));
    const answers = workers.map((worker) => once(worker, 'message').then(([answer]) => answer as string));
    const own = Promise.all(Array.from({ length: 10 }, () => Container.run(['echo', 'main'])));
    expect(await Promise.all(answers)).toEqual(Array(3).fill('0,1,2,3,4,5,6,7,8,9'));
    expect((await own).every(({ stdout }) => stdout === 'main\n')).toBe(true);
    await Promise.all(workers.map((worker) => worker.terminate()));
  });

  it('that are terminated take their containers along, and no others', async () => {
    await using box = await Container.create();
    const mine = box.exec(['sleep', '600']);
    const worker = new Worker(fixture('worker.mjs'), { workerData: { endless: true } });
    await once(worker, 'message');
    const theirs = () => processes().filter(({ name, pid }) => name === 'sleep' && argument(pid) === '7777');
    expect(await within(() => theirs().length === 2)).toBe(true);
    await worker.terminate();
    expect(await within(() => theirs().length === 0)).toBe(true);
    expect(mine.running).toBe(true);
    expect((await box.exec(['echo', 'alive'])).stdout).toBe('alive\n');
  });
});

describe('two copies of the package', () => {
  it('work beside each other in one process', async () => {
    const copy = mkdtempSync(join(tmpdir(), 'tscontain-copy-'));
    try {
      for (const part of ['dist', 'native/build/Release/tscontain.node', 'package.json']) {
        cpSync(join(packageRoot, part), join(copy, part), { recursive: true });
      }
      symlinkSync(join(packageRoot, 'node_modules'), join(copy, 'node_modules'));
      const other = (await import(join(copy, 'dist/index.js'))) as { Container: typeof Container };
      const both = await Promise.all(
        [other.Container, Container].flatMap((Class) => [1, 2, 3].map((n) => Class.run(['echo', String(n)]))),
      );
      expect(both.map(({ stdout }) => stdout.trim())).toEqual(['1', '2', '3', '1', '2', '3']);
      const box = await other.Container.create();
      await Container.sweep();
      expect((await box.exec(['echo', 'there'])).stdout).toBe('there\n');
      await box.kill();
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  });
});

describe('many containers', () => {
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const launcherDescriptors = () =>
    launchers().reduce((sum, { pid }) => sum + readdirSync(`/proc/${pid}/fd`).length, 0);
  const settled = async (before: readonly [number, number]) => {
    await within(() => descriptors() <= before[0] && launcherDescriptors() <= before[1], 3000);
    return [descriptors() <= before[0], launcherDescriptors() <= before[1]];
  };

  it('two hundred in a row leave descriptors and processes as they were', async () => {
    await Container.run(['true']);
    await sleep(1500);
    const before = [descriptors(), launcherDescriptors()] as const;
    for (let index = 0; index < 200; index++) {
      const { stdout } = await Container.run(['echo', String(index)], { stdin: 'x' });
      if (stdout !== `${index}\n`) expect(stdout).toBe(`${index}\n`);
    }
    expect(await settled(before)).toEqual([true, true]);
  });

  it('sixty at once do too', async () => {
    const before = [descriptors(), launcherDescriptors()] as const;
    const results = await Promise.all(
      Array.from({ length: 60 }, (_, index) => Container.run(['/bin/sh', '-c', `sleep 0.1; exit ${index}`])),
    );
    expect(results.map(({ exitCode }) => exitCode)).toEqual(Array.from({ length: 60 }, (_, index) => index));
    expect(await settled(before)).toEqual([true, true]);
  });

  it('each have ids of their own', async (ctx) => {
    needsRoot(ctx);
    const boxes = await Promise.all(Array.from({ length: 10 }, () => Container.create()));
    expect(new Set(boxes.map((box) => box.inspect().ids.first)).size).toBe(10);
    await Promise.all(boxes.map((box) => box.kill()));
  });
});

describe('sweep', () => {
  it('removes what dead launchers left, and touches nothing that lives', async (ctx) => {
    needsRoot(ctx);
    needsUpperOnDisk(ctx);
    const layout = cgroupLayout();
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
    await using box = await Container.create({ image: { rootfs }, storage: { upper: 'disk' } });
    const { child, found } = await startBusy('wait');
    const theirs = found().filter(({ name }) => name === 'sleep').length;
    const bases = layout.hierarchies
      .filter(({ writable, base }) => writable && existsSync(base))
      .map(({ base }) => base);
    // One of another boot, and one of a process that cannot have been.
    const names = ['00000000-1-1-1-1', `${boot}-${namespaceInode()}-4194303-1-1`];
    const places = [...bases, '/var/lib/tscontain/containers'].flatMap((base) => names.map((name) => join(base, name)));
    for (const place of places) mkdirSync(place);
    mkdirSync('/var/lib/tscontain/containers/00000000-1-1-1-1/upper/deep', { recursive: true });
    expect(await Container.sweep()).toBeGreaterThanOrEqual(places.length);
    expect(places.filter((place) => existsSync(place))).toEqual([]);
    expect(found().filter(({ name }) => name === 'sleep').length).toBeGreaterThanOrEqual(theirs);
    expect(box.inspect().state).toBe('running');
    expect((await box.fs.readdir('/')).length).toBeGreaterThan(3);
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
});

/** The pid namespace, which a launcher's identity includes. */
function namespaceInode(): string {
  return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '';
}
