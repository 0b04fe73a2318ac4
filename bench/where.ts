/**
 * Where the time of one start goes. The floor program leaves out one part at a time: the difference is what the part costs
 * the kernel, set-up and tear-down. System calls are counted by strace, where it is installed: exact numbers, which noise
 * cannot change.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Container } from 'tscontain';
import { allParts, type Floor, openFloor, type Part } from './floor.js';
import { compare, type Options, type Section, type Table } from './table.js';

/** Parts, and what cannot be there without them. */
const leaveOut: readonly (readonly [Part, ...Part[]])[] = [
  ['masks'],
  ['sys', 'masks'],
  ['net', 'sys', 'masks'],
  ['cgroupns', 'sys', 'masks'],
  ['mqueue'],
  ['ipc', 'mqueue'],
  ['uts'],
  ['dev', 'mqueue', 'masks'],
  ['etc'],
  ['idmap'],
  ['root', 'idmap', 'etc', 'dev', 'mqueue', 'proc', 'sys', 'masks'],
  ['cgroups'],
];
const onlyNamespaces: readonly Part[] = ['user', 'mount', 'pid', 'net', 'ipc', 'uts', 'cgroupns'];
const countedStarts = 50;
/** Longer than the launcher keeps a spare init for. */
const spareLife = 1500;

export const where: Table = {
  name: 'where',
  ballasts: [0],
  async measure({ rounds }: Options): Promise<Section[]> {
    const floor = openFloor();
    try {
      return [await parts(floor, rounds ?? 60), await systemCalls()];
    } finally {
      await floor.close();
    }
  },
};

function parts(floor: Floor, rounds: number): Promise<Section> {
  const contenders = [
    floor.contender('everything', 'all'),
    floor.contender('everything, no program', [...allParts, 'noexec']),
    floor.contender('only namespaces, no program', [...onlyNamespaces, 'noexec']),
    floor.contender('two forks, no program', ['noexec']),
    floor.contender('two forks and the program', []),
    ...leaveOut.map((left) =>
      floor.contender(
        `everything but ${left.join(', ')}`,
        allParts.filter((part) => !left.includes(part)),
      ),
    ),
  ];
  return compare({ title: 'where, by leaving out (the floor program)', unit: 'ms', rounds, contenders });
}

/** Calls for each start, in the launcher, init and the program together. */
async function systemCalls(): Promise<Section> {
  const title = 'where, system calls for each start';
  const section = { title, unit: 'calls', rounds: countedStarts, rows: [] };
  try {
    execFileSync('strace', ['-V'], { stdio: 'ignore' });
  } catch {
    return { ...section, notes: ['strace is not installed'] };
  }
  const others = new Set(launchers());
  await Container.run(['/bin/true']);
  const launcher = launchers().find((pid) => !others.has(pid));
  if (launcher === undefined) return { ...section, notes: ['the launcher was not found'] };
  const directory = mkdtempSync(join(tmpdir(), 'tscontain-bench-'));
  const report = join(directory, 'calls');
  try {
    const tracer = spawn('strace', ['-f', '-c', '-S', 'calls', '-o', report, '-p', String(launcher)], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const ended = once(tracer, 'close');
    await attached(tracer);
    // Spare inits that were made untraced are given up first.
    await setTimeout(spareLife);
    for (let i = 0; i < countedStarts; i++) await Container.run(['/bin/true']);
    tracer.kill('SIGINT');
    await ended;
    return { ...section, notes: parseCounts(readFileSync(report, 'utf8')) };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** strace says on stderr when it has attached. */
async function attached(tracer: ChildProcess): Promise<void> {
  if (tracer.stderr) await once(tracer.stderr, 'data');
  tracer.stderr?.resume();
}

/** Launchers by their name. An init has the same, but only the launcher leads a session (proc_pid_stat(5), field 6). */
function launchers(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      const [, name, rest = ''] = /^\d+ \((.*)\) (.*)/s.exec(statOf(pid)) ?? [];
      return name === 'tscontain' && rest.split(' ')[3] === pid;
    })
    .map(Number);
}

function statOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return '';
  }
}

/** Lines of `strace -c`: % time, seconds, usecs/call, calls, errors or nothing, name. */
function parseCounts(report: string): string[] {
  const counts = report.split('\n').flatMap((line) => {
    const columns = line.trim().split(/\s+/);
    const [calls, name] = [Number(columns[3]), columns.at(-1) ?? ''];
    return columns.length >= 5 && Number.isFinite(calls) && name !== 'total' ? [{ name, calls }] : [];
  });
  const total = counts.reduce((sum, { calls }) => sum + calls, 0);
  return [{ name: 'all', calls: total }, ...counts]
    .filter(({ calls }) => calls >= countedStarts / 2)
    .map(({ name, calls }) => `${(calls / countedStarts).toFixed(1).padStart(8)}  ${name}`);
}
