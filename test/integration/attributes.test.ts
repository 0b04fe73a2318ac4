/** What a program is given or denied, as the usual tools see it from inside and the host from outside. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { describe, expect, it } from 'vitest';
import {
  type Argv,
  Container,
  type ContainerProcess,
  OptionError,
  PermissionError,
  type SchedulingOptions,
  UnsupportedError,
} from '../../lib/index.js';
import { readRlimits, resourceNames } from '../../lib/primitives/rlimits.js';
import { needsPrograms, needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

/** A process that stays until its input ends, and its number on the host. */
async function sleeper(box: Container, options: object): Promise<{ process: ContainerProcess; pid: number }> {
  const before = children(box);
  const process = box.exec(['sh', '-c', 'echo; exec cat'], { stdin: 'pipe', ...options });
  await process.lines().next();
  const [pid] = children(box).filter((child) => !before.includes(child));
  return { process, pid: Number(pid) };
}

function children(box: Container): string[] {
  const pid = box.inspect().pid;
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
}

function tool(...argv: [string, ...string[]]): string {
  return execFileSync(argv[0], argv.slice(1), { encoding: 'utf8' }).trim();
}

describe('limits of a process', () => {
  it('are those that were asked for, as prlimit(1) sees them, for all sixteen resources', async () => {
    const own = readRlimits();
    const asked = Object.fromEntries(
      resourceNames.map((name, index) => {
        const hard = Math.min(own[name]?.hard ?? 0, name === 'nice' || name === 'rtprio' ? 0 : 2 ** 31 + index * 4096);
        return [name, { soft: Math.floor(hard / 2) + (hard > 0 && name === 'nofile' ? 1 : 0), hard }];
      }),
    );
    await using box = await Container.create({ rlimits: asked });
    const { process, pid } = await sleeper(box, {});
    const lines = tool('prlimit', '--raw', '--noheadings', '--output', 'RESOURCE,SOFT,HARD', '--pid', String(pid));
    const seen = Object.fromEntries(
      lines.split('\n').map((line) => {
        const [name = '', soft, hard] = line.split(' ');
        return [name.toLowerCase(), { soft: Number(soft), hard: Number(hard) }];
      }),
    );
    expect(seen).toEqual(asked);
    expect(readRlimits(pid)).toEqual(asked);
    expect(readRlimits()).toEqual(own);
    process.stdin?.end();
    await process;
  });

  it('bite: a file, a number of processes, a stack', async (context) => {
    needsRoot(context);
    const tooLarge = await Container.run(['dd', 'if=/dev/zero', 'of=/tmp/f', 'bs=1k', 'count=100'], {
      rlimits: { fsize: 10_240 },
    });
    expect(tooLarge.signal).toBe('SIGXFSZ');
    const fork = ['python3', '-c', 'import os; pid = os.fork(); pid and print("forked", flush=True)'] as Argv;
    const alone = await Container.run(fork, { user: 1000, rlimits: { nproc: 1 } });
    expect([alone.exitCode, alone.stderr]).toEqual([1, expect.stringContaining('BlockingIOError')]);
    expect((await Container.run(fork, { user: 1000, rlimits: { nproc: 10 } })).stdout).toBe('forked\n');
    const spin = await Container.run(['sh', '-c', 'while :; do :; done'], { rlimits: { cpu: { soft: 1, hard: 2 } } });
    expect(spin.signal).toBe('SIGXCPU');
  });

  it('of an exec are tighter than its container’s, never wider', async () => {
    await using box = await Container.create({ rlimits: { nofile: { soft: 64, hard: 128 } } });
    const limits = async (options: object) => (await box.exec(['sh', '-c', 'ulimit -Sn; ulimit -Hn'], options)).stdout;
    expect(await limits({})).toBe('64\n128\n');
    expect(await limits({ rlimits: { nofile: 128 } })).toBe('128\n128\n');
    expect(await limits({ rlimits: { nofile: 20 } })).toBe('20\n20\n');
    expect(() => box.exec(['true'], { rlimits: { nofile: 129 } })).toThrow(OptionError);
    expect(children(box)).toEqual([]);
  });

  it('above those of this process are refused with what it has', async () => {
    const { hard } = readRlimits().nofile ?? { hard: 0 };
    const run = Container.run(['true'], { rlimits: { nofile: hard + 1 } });
    await expect(run).rejects.toBeInstanceOf(PermissionError);
    await expect(run).rejects.toThrow(`above that of this process, ${hard}`);
  });
});

describe('scheduling', () => {
  it('is as chrt(1), ionice(1), taskset(1) and the priority tell', async () => {
    await using box = await Container.create({ scheduling: { policy: 'batch', nice: 7 } });
    const { process, pid } = await sleeper(box, {
      scheduling: { policy: 'idle', nice: 3, affinity: '0', io: { class: 'best-effort', level: 6 } },
    });
    expect(tool('chrt', '--pid', String(pid))).toContain('SCHED_IDLE');
    expect(tool('ionice', '--pid', String(pid))).toBe('best-effort: prio 6');
    expect(tool('taskset', '--cpu-list', '--pid', String(pid))).toMatch(/affinity list: 0$/);
    expect(getPriority(pid)).toBe(3);
    process.stdin?.end();
    await process;
    const other = await sleeper(box, { scheduling: { io: { class: 'idle' } } });
    expect(tool('chrt', '--pid', String(other.pid))).toContain('SCHED_BATCH');
    expect(getPriority(other.pid)).toBe(7);
    expect(tool('ionice', '--pid', String(other.pid))).toBe('idle');
    other.process.stdin?.end();
    await other.process;
  });

  it('without a word is the normal one', async () => {
    await using box = await Container.create();
    const { process, pid } = await sleeper(box, {});
    expect(tool('chrt', '--pid', String(pid))).toContain('SCHED_OTHER');
    expect(getPriority(pid)).toBe(0);
    process.stdin?.end();
    await process;
  });

  it('on a processor that there is not is an error with a hint', async () => {
    const run = Container.run(['true'], { scheduling: { affinity: '0,8000' } });
    await expect(run).rejects.toMatchObject({
      step: { kind: 'affinity' },
      hint: expect.stringContaining('scheduling.affinity'),
    });
  });

  it('that the host alone could give is refused before anything starts', async () => {
    const own = readRlimits();
    const refused: SchedulingOptions[] = [
      { policy: 'deadline', runtime: 1, deadline: 10 },
      { io: { class: 'realtime' } },
    ];
    if ((own.rtprio?.soft ?? 0) === 0) refused.push({ policy: 'fifo', priority: 1 });
    if ((own.nice?.soft ?? 0) === 0) refused.push({ nice: -1 });
    for (const scheduling of refused) {
      await expect(Container.create({ scheduling }), JSON.stringify(scheduling)).rejects.toBeInstanceOf(
        PermissionError,
      );
    }
  });

  it('of cores is had, or refused as what the kernel lacks', async () => {
    const cookie =
      'import ctypes; v = ctypes.c_ulong(); print(ctypes.CDLL(None).prctl(62, 0, 0, 0, ctypes.byref(v)), v.value)';
    try {
      const { stdout } = await Container.run(['python3', '-c', cookie], { scheduling: { core: true } });
      expect(stdout).toMatch(/^0 [1-9]/);
    } catch (error) {
      expect(error).toBeInstanceOf(UnsupportedError);
      expect(error).toMatchObject({ hint: expect.stringMatching(/CONFIG_SCHED_CORE|hyper-threads/) });
      const control = tool('python3', '-c', cookie);
      expect(control).toMatch(/^-1 /);
    }
  });
});

describe('the score for the out-of-memory killer', () => {
  it('is the container’s, or a higher one of an exec', async (context) => {
    needsRoot(context);
    await using box = await Container.create({ oomScoreAdj: 100 });
    const scoreOf = async (options: object) => {
      const { process, pid } = await sleeper(box, options);
      const outside = readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim();
      process.stdin?.end();
      await process;
      return outside;
    };
    expect(await scoreOf({})).toBe('100');
    expect(await scoreOf({ oomScoreAdj: 1000 })).toBe('1000');
    expect(await scoreOf({ user: 1000, oomScoreAdj: 321 })).toBe('321');
    expect(await scoreOf({})).toBe('100');
    expect(() => box.exec(['true'], { oomScoreAdj: 99 })).toThrow(OptionError);
    // Init itself has what it had: what it lends to a program it takes back.
    const own = Number(readFileSync('/proc/self/oom_score_adj', 'utf8'));
    expect(readFileSync(`/proc/${box.inspect().pid}/oom_score_adj`, 'utf8').trim()).toBe(String(Math.max(own, 0)));
  });
});

describe('personality', () => {
  it('changes what uname(2) and the layout of memory tell', async () => {
    const machine = async (options: object) => (await Container.run(['uname', '-mr'], options)).stdout.trim();
    const plain = await machine({});
    expect(plain).toBe(tool('uname', '-rm'));
    // Most kernels for x86-64 say i686; one of user-mode Linux has no other name for itself.
    const linux32 =
      'import ctypes, os; ctypes.CDLL(None).personality(8); print(os.uname().release, os.uname().machine)';
    expect(await machine({ personality: { domain: 'linux32' } })).toBe(tool('python3', '-c', linux32));
    expect(await machine({ personality: { uname26: true } })).toMatch(/^2\.6\./);
    const layouts = async (options: object) => {
      const maps = await Promise.all(
        [1, 2, 3].map(async () => (await Container.run(['cat', '/proc/self/maps'], options)).stdout),
      );
      return new Set(maps.map((text) => /([0-9a-f]+)-[0-9a-f]+ .*\[stack\]/.exec(text)?.[1]));
    };
    expect((await layouts({ personality: { unsafeNoRandomize: true } })).size).toBe(1);
    expect((await layouts({})).size).toBeGreaterThan(1);
    await using box = await Container.create({ personality: { unsafeNoRandomize: true } });
    expect(box.inspect().relaxations).toContain('personality.unsafeNoRandomize');
  });
});

describe('capability sets', () => {
  const status = ['sh', '-c', 'grep ^Cap /proc/self/status'] as Argv;
  const sets = (text: string) =>
    Object.fromEntries(
      [...text.matchAll(/^Cap(...):\s+([0-9a-f]+)$/gm)].map(([, name, hex]) => [name, BigInt(`0x${hex}`)]),
    );

  it('of an exec are exactly those that were asked for, as getpcaps(8) sees them', async (context) => {
    needsPrograms(context, 'getpcaps');
    needsRoot(context);
    await using box = await Container.create();
    const { process, pid } = await sleeper(box, {
      user: 1000,
      capabilities: { bounding: ['CHOWN', 'KILL', 'SETUID'], inheritable: ['CHOWN', 'KILL'], ambient: ['KILL'] },
    });
    // Two ways to write the same, of different versions.
    expect([`${pid}: cap_chown=i cap_kill=eip`, `${pid}: cap_kill=eip cap_chown+i`]).toContain(
      tool('getpcaps', String(pid)),
    );
    const { Bnd, Amb } = sets(readFileSync(`/proc/${pid}/status`, 'utf8'));
    expect([Bnd, Amb]).toEqual([0b1010_0001n, 0b10_0000n]);
    process.stdin?.end();
    await process;
  });

  it('let another user do what one of them allows, and no more', async (context) => {
    needsRoot(context);
    const change = ['sh', '-c', 'touch /tmp/f && chown 5 /tmp/f'] as Argv;
    await using box = await Container.create();
    expect((await box.exec(change, { user: 1000 })).exitCode).toBe(1);
    expect((await box.exec(change, { user: 1000, capabilities: { ambient: ['CHOWN'] } })).exitCode).toBe(0);
  });

  it('given as a list bound root', async () => {
    await using box = await Container.create();
    const { stdout } = await box.exec(status, { capabilities: ['chown'] });
    expect(sets(stdout)).toEqual({ Inh: 0n, Prm: 1n, Eff: 1n, Bnd: 1n, Amb: 0n });
    const none = await box.exec(status, { capabilities: [] });
    expect(sets(none.stdout)).toEqual({ Inh: 0n, Prm: 0n, Eff: 0n, Bnd: 0n, Amb: 0n });
  });

  it('beyond the container’s, or that the kernel could not combine, are refused', async () => {
    await using box = await Container.create();
    for (const capabilities of [
      ['SYS_ADMIN'],
      { ambient: ['NET_ADMIN'] },
      { ambient: ['CHOWN'], inheritable: ['KILL'] },
      { ambient: ['CHOWN'], permitted: ['KILL'] },
      { effective: ['CHOWN'], permitted: [] },
      { bounding: ['KILL'], permitted: ['CHOWN'] },
      { bound: ['KILL'] },
      ['TYPO'],
      'CHOWN',
      5,
    ]) {
      const start = () => box.exec(['true'], { capabilities: capabilities as never });
      expect(start, JSON.stringify(capabilities)).toThrow(OptionError);
    }
    expect(children(box)).toEqual([]);
  });
});
