/** Limits hold, whatever runs under them, and say so. */

import { availableParallelism } from 'node:os';
import { describe, expect, it } from 'vitest';
import { Container, OptionError, UnsupportedError } from '../../lib/index.js';
import { cgroupLayout, explicitUnsupported } from '../../lib/primitives/cgroup/index.js';
import { needsController } from '../support/requirements.js';
import { checkResidue, expectNoResidue, takeResidue } from '../support/residue.js';

checkResidue();

const MiB = 2 ** 20;
const sh = (script: string): [string, ...string[]] => ['/bin/sh', '-c', script];
const hog = ['python3', '-c', 'b = []\nwhile True: b.append(bytearray(1 << 20))'] as const;

describe('memory', () => {
  it('that runs out is the reason of a run, and Node lives', async (ctx) => {
    needsController(ctx, 'memory');
    const { reason, signal, usage } = await Container.run(hog, { limits: { memory: '64MiB' } });
    expect({ reason, signal }).toEqual({ reason: 'oom', signal: 'SIGKILL' });
    expect(usage.memoryPeak).toBeGreaterThan(60 * MiB);
    expect(usage.memoryPeak).toBeLessThanOrEqual(64 * MiB);
  });

  it('that runs out takes everything in the container, which can be used again with its files', async (ctx) => {
    needsController(ctx, 'memory');
    await using box = await Container.create({ limits: { memory: '64MiB' } });
    await box.fs.writeFile('/tmp/kept', 'kept');
    const bystander = box.exec(['sleep', '600']);
    expect(await box.exec(hog)).toMatchObject({ reason: 'oom' });
    expect(await bystander).toMatchObject({ reason: 'oom' });
    expect((await box.exec(['cat', '/tmp/kept'])).stdout).toBe('kept');
    expect(await box.exec(hog)).toMatchObject({ reason: 'oom' });
    expect((await box.stats()).memory.oomKills).toBeGreaterThan(1);
  });

  it('includes what is written to a tmpfs', async (ctx) => {
    needsController(ctx, 'memory');
    const result = await Container.run(sh('head -c 200000000 /dev/zero > /tmp/x'), {
      limits: { memory: '64MiB' },
      storage: { size: '1GiB' },
    });
    expect(result.reason).toBe('oom');
  });

  it('of a program that fails by itself is no reason', async (ctx) => {
    needsController(ctx, 'memory');
    expect(await Container.run(sh('exit 137'), { limits: { memory: '64MiB' } })).toMatchObject({ reason: 'exited' });
  });

  it('that is too little for anything is refused', async () => {
    await expect(Container.run(['true'], { limits: { memory: '1MiB' } })).rejects.toBeInstanceOf(OptionError);
  });
});

describe('pids', () => {
  it('bound a fork bomb, and leave nothing of it', async (ctx) => {
    needsController(ctx, 'pids');
    const result = await Container.run(sh(':(){ :|: & }; :; sleep 1; echo over'), {
      limits: { pids: 64 },
      timeout: 10_000,
    });
    expect(result.usage.pidsPeak).toBeLessThanOrEqual(64);
    expect(['exited', 'timeout']).toContain(result.reason);
  });

  it('count the programs of the caller, exactly', async (ctx) => {
    needsController(ctx, 'pids');
    const script =
      'import os\nn = 1\ntry:\n  while True:\n    if os.fork() == 0: os.read(os.pipe()[0], 1)\n    n += 1\nexcept OSError as e: print(n, e.errno)';
    const { stdout, usage } = await Container.run(['python3', '-c', script], { limits: { pids: 20 }, timeout: 10_000 });
    expect(stdout).toBe('20 11\n');
    expect(usage.pidsPeak).toBe(20);
  });
});

describe('processors', () => {
  it('are given out by the share that was asked for', async (ctx) => {
    needsController(ctx, 'cpu');
    const spin = [
      'python3',
      '-c',
      'import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end: pass',
    ] as const;
    const { usage, durationMs } = await Container.run(spin, { limits: { cpus: 0.2 } });
    expect(usage.cpuMs / durationMs).toBeLessThan(0.35);
    expect(usage.cpuMs).toBeGreaterThan(50);
  });

  it('are those of the cpuset', async (ctx) => {
    needsController(ctx, 'cpuset');
    const last = String(availableParallelism() - 1);
    const { stdout } = await Container.run(sh('grep Cpus_allowed_list /proc/self/status; nproc'), {
      limits: { cpuset: last },
    });
    expect(stdout).toBe(`Cpus_allowed_list:\t${last}\n1\n`);
  });

  it('that do not exist are an error', async (ctx) => {
    needsController(ctx, 'cpuset');
    await expect(Container.run(['true'], { limits: { cpuset: '900' } })).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_/),
    });
  });
});

describe('open files and file sizes', () => {
  it('are bounded for each process', async () => {
    const script =
      'import os\nn = 0\ntry:\n  while True:\n    os.dup(0)\n    n += 1\nexcept OSError as e: print(n + 3, e.errno)';
    const { stdout } = await Container.run(['python3', '-c', script], { limits: { openFiles: 50 } });
    expect(stdout).toBe('50 24\n');
    expect((await Container.run(sh('ulimit -Sn; ulimit -Hn'))).stdout).toBe('1024\n1024\n');
  });

  it('end a program that writes a file that is too large', async () => {
    const result = await Container.run(['dd', 'if=/dev/zero', 'of=/tmp/x', 'bs=1024', 'count=100'], {
      limits: { fileSize: 10_240 },
    });
    expect(result).toMatchObject({ signal: 'SIGXFSZ', reason: 'signaled' });
  });

  it('leave no core files', async () => {
    expect((await Container.run(sh('ulimit -c'))).stdout).toBe('0\n');
  });
});

describe('a limit that this host cannot enforce', () => {
  it('is an error before anything starts, with a hint', async (ctx) => {
    const limits = { io: [{ device: '8:0', readBps: 1_000_000 }], ioWeight: 50, cpuWeight: 50, cpus: 0.5, cpuset: '0' };
    const missing = Object.entries(limits).filter(([name, value]) =>
      explicitUnsupported(cgroupLayout(), { [name]: value }),
    );
    ctx.skip(missing.length === 0, 'this host can enforce every limit');
    const before = takeResidue();
    for (const [name, value] of missing) {
      const outcome = await Promise.allSettled([Container.run(['true'], { limits: { [name]: value } })]);
      const error = outcome[0].status === 'rejected' ? outcome[0].reason : undefined;
      expect(error).toBeInstanceOf(UnsupportedError);
      expect(error.hint).toBeTruthy();
    }
    await expectNoResidue(before);
  });

  it('is only noted where it is a default', async () => {
    await using box = await Container.create();
    const missing = (['memory', 'pids'] as const).filter((name) => !cgroupLayout().availability[name].usable);
    for (const name of missing) expect(box.inspect().relaxations.join()).toContain(`limits.${name}`);
    const ofLimits = box.inspect().relaxations.filter((relaxation) => !relaxation.startsWith('ids:'));
    if (missing.length === 0) expect(ofLimits).toEqual([]);
  });
});

it('statistics are those of the container', async (ctx) => {
  needsController(ctx, 'memory');
  await using box = await Container.create();
  await box.exec(sh('i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done'));
  const process = box.exec(['python3', '-c', 'import time\nb = bytearray(30 << 20)\ntime.sleep(600)']);
  for (;;) {
    const { memory, cpu, pids } = await box.stats();
    if (memory.current > 30 * MiB) {
      expect(cpu.usageMs).toBeGreaterThan(0);
      expect(pids.current).toBeGreaterThanOrEqual(1);
      expect(memory.peak).toBeGreaterThanOrEqual(memory.current);
      break;
    }
  }
  await process[Symbol.asyncDispose]();
});
