/**
 * The cgroup files that limits become, written by hand below the base of whatever layout this host has, read back, and
 * felt by a process. Leaves nothing: the cgroup, and the base and its controllers where they were not there before, go.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type BaseStep,
  baseSteps,
  type Controller,
  cgroupLayout,
  cgroupName,
  type Limits,
  limitWrites,
  parseStats,
  requiredHierarchies,
  statFiles,
  unenforceable,
} from '../../lib/primitives/cgroup/index.js';

const MiB = 2 ** 20;
const limits = { memory: 64 * MiB, swap: 0, pids: 10, cpus: 0.5, cpuWeight: 50, cpuset: '0' } satisfies Limits;
const layout = cgroupLayout();
const placed = requiredHierarchies(layout, limits);
const name = cgroupName(`test-files-${process.pid}`, 'name');
const directories = new Map(placed.map((index) => [index, `${layout.hierarchies[index]?.base}/${name}`]));
const undo: (() => void)[] = [];

/** Why nothing here can run (not root and nothing delegated, mounted read-only, …); undefined when it can. */
const unusable =
  placed.length > 0 ? undefined : (layout.hierarchies[0]?.problem?.reason ?? 'no cgroup file system is mounted');

beforeAll(() => {
  if (unusable !== undefined) return;
  for (const step of baseSteps(layout, placed)) takeStep(step);
  for (const directory of directories.values()) mkdirSync(directory);
  for (const { hierarchy, file, value, optional } of limitWrites(layout, limits)) {
    const path = `${directories.get(hierarchy)}/${file}`;
    if (!optional || existsSync(path)) writeFileSync(path, value);
  }
});

afterAll(async () => {
  if (unusable !== undefined) return;
  for (const directory of directories.values()) await removeWhenEmpty(directory);
  for (const action of undo.reverse()) action();
});

describe(`limits on this ${layout.kind} host`, () => {
  it.for<[keyof typeof limits, Controller, Readonly<Record<1 | 2, readonly [file: string, value: string]>>]>([
    ['memory', 'memory', { 1: ['memory.limit_in_bytes', '67108864'], 2: ['memory.max', '67108864'] }],
    ['swap', 'memory', { 1: ['memory.swappiness', '0'], 2: ['memory.swap.max', '0'] }],
    ['pids', 'pids', { 1: ['pids.max', '10'], 2: ['pids.max', '10'] }],
    ['cpus', 'cpu', { 1: ['cpu.cfs_quota_us', '50000'], 2: ['cpu.max', '50000 100000'] }],
    ['cpuWeight', 'cpu', { 1: ['cpu.shares', '421'], 2: ['cpu.weight', '50'] }],
    ['cpuset', 'cpuset', { 1: ['cpuset.cpus', '0'], 2: ['cpuset.cpus', '0'] }],
  ])('read back as they were set: %s', ([limit, controller, files], ctx) => {
    const reason = unusable ?? unenforceable(layout, limits).find((item) => item.limit === limit)?.reason;
    if (reason !== undefined) return ctx.skip(reason);
    const hierarchy = layout.of(controller);
    const index = placed.findIndex((candidate) => layout.hierarchies[candidate] === hierarchy);
    const [file, value] = files[hierarchy?.version ?? 2];
    const directory = directories.get(placed[index] ?? -1);
    if (!existsSync(`${directory}/${file}`)) return ctx.skip(`this kernel has no ${file}`);
    expect(readFileSync(`${directory}/${file}`, 'utf8').trim()).toBe(value);
  });

  it('hold a process that is placed in every hierarchy, and its statistics say so', async (ctx) => {
    if (unusable !== undefined) return ctx.skip(unusable);
    if (!layout.availability.pids.usable) return ctx.skip(layout.availability.pids.reason);
    const enter = placed.map((index) => {
      const file = layout.hierarchies[index]?.version === 1 ? 'tasks' : 'cgroup.procs';
      return `echo $$ > '${directories.get(index)}/${file}' || exit 99`;
    });
    const forks = 'n=0; while [ $n -lt 20 ]; do n=$((n+1)); sleep 0.3 & done; wait';
    const child = spawn('/bin/sh', ['-c', [...enter, forks].join('\n')], { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.resume();
    const [exitCode] = await once(child, 'exit');
    expect(exitCode).not.toBe(99);

    const contents = new Map<string, string>();
    for (const { hierarchy, file } of statFiles(layout, placed)) {
      const path = `${directories.get(hierarchy)}/${file}`;
      if (existsSync(path)) contents.set(`${hierarchy}/${file}`, readFileSync(path, 'utf8'));
    }
    const stats = parseStats(layout, contents);
    expect(stats.cpu.usageMs).toBeGreaterThan(0);
    expect(stats.cpu.usageMs).toBeLessThan(20_000);
    expect(stats.pids.limitHits).toBeGreaterThan(0);
    if (contents.has(`${placed.find((index) => layout.hierarchies[index] === layout.of('pids'))}/pids.peak`)) {
      expect(stats.pids.peak).toBe(10);
    }
    if (layout.availability.memory.usable) {
      expect(stats.memory.peak).toBeGreaterThan(0);
      expect(stats.memory.peak).toBeLessThanOrEqual(64 * MiB);
    }
  });
});

/** Takes a step of the base, and notes how to take it back if it changed anything. */
function takeStep(step: BaseStep): void {
  if (step.kind === 'mkdir') {
    if (existsSync(step.path)) return;
    mkdirSync(step.path);
    undo.push(() => ignoringBusy(() => rmdirSync(step.path)));
    return;
  }
  const enabled = readFileSync(step.path, 'utf8').trim().split(' ');
  if (step.value.startsWith('+')) {
    if (enabled.includes(step.value.slice(1))) return;
    undo.push(() => ignoringBusy(() => writeFileSync(step.path, step.value.replace('+', '-'))));
  }
  writeFileSync(step.path, step.value);
}

/** Somebody else may have begun to use the base while we did. */
function ignoringBusy(action: () => void): void {
  try {
    action();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EBUSY') throw error;
  }
}

/** Processes whose parent has gone leave their cgroup some time after it. */
async function removeWhenEmpty(directory: string): Promise<void> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await sleep(50)) {
    try {
      rmdirSync(directory);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return;
      if (code !== 'EBUSY') throw error;
    }
  }
  throw new Error(`still in use: ${directory}`);
}
