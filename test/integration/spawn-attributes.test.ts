/** Attributes and capability sets of programs outside of containers, where the caller's own powers count. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { describe, expect, it } from 'vitest';
import { Capabilities, OptionError, type SpawnOptions, spawn } from '../../lib/index.js';
import { readRlimits } from '../../lib/primitives/rlimits.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

/** What `look` sees of a program that waits meanwhile. */
async function seen<Result>(options: SpawnOptions, look: (pid: number) => Result): Promise<Result> {
  const process = spawn(['sh', '-c', 'echo $$; exec cat'], { cwd: '/', stdin: 'pipe', ...options });
  const first = await process.lines().next();
  const result = look(Number(first.value));
  process.stdin?.end();
  await process;
  return result;
}

function tool(...argv: [string, ...string[]]): string {
  return execFileSync(argv[0], argv.slice(1), { encoding: 'utf8' }).trim();
}

describe('a program of spawn', () => {
  it('has the scheduling that this process may give', async (context) => {
    needsRoot(context);
    const chrt = (pid: number) => tool('chrt', '--pid', String(pid));
    const fifo = await seen({ scheduling: { policy: 'fifo', priority: 3, resetOnFork: true } }, chrt);
    expect(fifo).toMatch(/SCHED_FIFO\|SCHED_RESET_ON_FORK/);
    expect(fifo).toMatch(/priority: 3$/);
    expect(await seen({ scheduling: { policy: 'rr', priority: 2 } }, chrt)).toContain('SCHED_RR');
    const deadline = { policy: 'deadline', runtime: 1, deadline: 10, period: 20 } as const;
    const times = await seen({ scheduling: deadline }, chrt);
    expect(times).toContain('SCHED_DEADLINE');
    expect(times).toContain('1000000/10000000/20000000');
    expect(await seen({ scheduling: { nice: -5 } }, getPriority)).toBe(-5);
    const io = { io: { class: 'realtime', level: 2 } } as const;
    expect(await seen({ scheduling: io }, (pid) => tool('ionice', '--pid', String(pid)))).toBe('realtime: prio 2');
  });

  it('has its limits, its score and its personality, and this process keeps its own', async (context) => {
    needsRoot(context);
    const own = readRlimits();
    const options = {
      rlimits: { nofile: { soft: 50, hard: 60 } },
      oomScoreAdj: 300,
      personality: { domain: 'linux32' },
    };
    const [limits, score, personality] = await seen(options as SpawnOptions, (pid) => [
      readRlimits(pid).nofile,
      readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim(),
      readFileSync(`/proc/${pid}/personality`, 'utf8').trim(),
    ]);
    expect([limits, score, personality]).toEqual([{ soft: 50, hard: 60 }, '300', '00000008']);
    expect(readRlimits()).toEqual(own);
    const hard = own.nofile?.hard ?? 0;
    const raised = spawn(['sh', '-c', 'ulimit -Hn'], { rlimits: { nofile: hard + 1 }, cwd: '/' });
    if (Capabilities.ofProcess('self').effective.has('SYS_RESOURCE'))
      expect((await raised).stdout).toBe(`${hard + 1}\n`);
    else await expect(raised).rejects.toThrow(/EPERM/);
  });

  it('has exactly the sets of capabilities that were asked for', async (context) => {
    needsRoot(context);
    const capabilities = { bounding: ['KILL', 'CHOWN'], inheritable: ['KILL', 'CHOWN'], ambient: ['KILL'] };
    const names = await seen({ user: 1000, capabilities }, (pid) =>
      Object.fromEntries(Object.entries(Capabilities.ofProcess(pid)).map(([name, set]) => [name, [...set]])),
    );
    expect(names).toEqual({
      bounding: ['CAP_CHOWN', 'CAP_KILL'],
      permitted: ['CAP_KILL'],
      effective: ['CAP_KILL'],
      inheritable: ['CAP_CHOWN', 'CAP_KILL'],
      ambient: ['CAP_KILL'],
    });
    const held = await seen({}, (pid) => Capabilities.ofProcess(pid));
    expect(held.permitted.equals(Capabilities.ofProcess('self').permitted)).toBe(true);
    const missing = Capabilities.ofHost().without(held.bounding).toArray();
    if (missing.length > 0) {
      await expect(spawn(['true'], { cwd: '/', capabilities: { bounding: missing } })).rejects.toBeInstanceOf(
        OptionError,
      );
    }
  });
});
