/** A container that stays: programs in it one after the other and at once, signals, pause, and its end. */

import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Container, OptionError } from '../../lib/index.js';
import { buildOnce, fixture } from '../support/build.js';
import { needsController, needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const sh = (script: string): [string, ...string[]] => ['/bin/sh', '-c', script];

/** Programs that run in a container, by name. */
async function programs(box: Container): Promise<string[]> {
  const { stdout } = await box.exec(sh('cat /proc/[0-9]*/comm'));
  return stdout.split('\n').filter((name) => !['', 'tscontain', 'sh', 'cat'].includes(name));
}

/** Waits until a program of the container has made this file. */
async function made(box: Container, path: string): Promise<void> {
  const there = () =>
    box.fs.readFile(path).then(
      () => true,
      () => false,
    );
  await expect.poll(there, { timeout: 20_000 }).toBe(true);
}

describe('programs in one container', () => {
  let box: Container;
  beforeAll(async () => {
    box = await Container.create({ env: { A: 'container', B: 'container' }, cwd: '/tmp' });
  });
  afterAll(() => box.kill());

  it('share its files, its host name and its processes', async () => {
    await box.exec(sh('echo kept > file'));
    const sleeper = box.exec(['sleep', '600']);
    expect((await box.exec(sh('cat /tmp/file; uname -n'))).stdout).toBe(`kept\n${box.id}\n`);
    expect(await programs(box)).toEqual(['sleep']);
    await sleeper[Symbol.asyncDispose]();
    expect(await programs(box)).toEqual([]);
  });

  it('have variables, a directory and a user of their own where asked', async () => {
    const { stdout } = await box.exec(sh('echo $A $B $(pwd) $(id -u)'), { env: { B: 'own' }, cwd: '/', user: 0 });
    expect(stdout).toBe('container own / 0\n');
    expect((await box.exec(['pwd'])).stdout).toBe('/tmp\n');
  });

  it('may be another user for one program only', async (ctx) => {
    needsRoot(ctx);
    expect((await box.exec(sh('id -u'), { user: 1234 })).stdout).toBe('1234\n');
    expect((await box.exec(sh('id -u'))).stdout).toBe('0\n');
  });

  it('may be fifty in a row, or fifty at once', async () => {
    for (let index = 0; index < 50; index++) {
      expect((await box.exec(['echo', String(index)])).stdout).toBe(`${index}\n`);
    }
    const results = await Promise.all(Array.from({ length: 50 }, (_, index) => box.exec(sh(`exit ${index}`))));
    expect(results.map(({ exitCode }) => exitCode)).toEqual(Array.from({ length: 50 }, (_, index) => index));
  });

  it('are told apart when some cannot be started', async () => {
    const outcomes = await Promise.allSettled([
      box.exec(['true']),
      box.exec(['no-such-program']),
      box.exec(['false']),
      box.exec(['/etc']),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'rejected']);
  });

  it('are started when a directory is missing only to fail, with the step', async () => {
    await expect(box.exec(['true'], { cwd: '/no/such' })).rejects.toMatchObject({
      code: 'ERR_STEP',
      errno: 'ENOENT',
      step: { kind: 'changeDirectory' },
    });
  });

  it('have the process id that the container knows them by', async () => {
    const process = box.exec(sh('echo $$; read x'), { stdin: 'pipe' });
    for await (const { data } of process) {
      expect(process.pid).toBe(Number(data));
      process.stdin?.end();
    }
    expect(process.running).toBe(false);
  });

  it('get signals by name or number; the default is SIGTERM', async () => {
    const process = box.exec(
      sh('trap "echo usr1" USR1; trap "echo term; exit 9" TERM; echo ready; while :; do sleep 0.02; done'),
    );
    const lines: string[] = [];
    for await (const line of process.lines()) {
      lines.push(line);
      if (line === 'ready') process.kill(10);
      if (line === 'usr1') process.kill();
    }
    expect(lines).toEqual(['ready', 'usr1', 'term']);
    expect(await process).toMatchObject({ exitCode: 9, reason: 'exited' });
    expect(process.kill()).toBe(false);
    expect(await settle(box.exec(['sleep', '600']), 'SIGINT')).toMatchObject({ signal: 'SIGINT', reason: 'signaled' });
    expect(await settle(box.exec(['sleep', '600']), 'SIGKILL')).toMatchObject({
      signal: 'SIGKILL',
      reason: 'signaled',
    });
    expect(() => box.exec(['true']).kill('SIGNOTHING' as NodeJS.Signals)).toThrow(OptionError);
  });

  it('end with all that they started when they are disposed of', async () => {
    const process = box.exec(sh('setsid sleep 600 & sleep 600'));
    await sleep(100);
    await process[Symbol.asyncDispose]();
    expect(await process).toMatchObject({ reason: 'stopped', signal: 'SIGKILL' });
    expect(await programs(box)).toEqual([]);
  });

  it('that run out of time take their daemons with them, and nobody else', async () => {
    const other = box.exec(['sleep', '601']);
    const daemon =
      'import os,time\nif os.fork(): time.sleep(600)\nos.setsid()\nif os.fork(): os._exit(0)\ntime.sleep(600)';
    const result = await box.exec(['python3', '-c', daemon], { timeout: 400 });
    expect(result).toMatchObject({ reason: 'timeout', signal: 'SIGKILL' });
    await sleep(20);
    expect(await programs(box)).toEqual(['sleep']);
    expect(other.running).toBe(true);
    await other[Symbol.asyncDispose]();
  });

  it('end by their own signal, and not by one that had aborted before', async () => {
    const controller = new AbortController();
    const process = box.exec(['sleep', '600'], { signal: controller.signal });
    setTimeout(() => controller.abort(), 100);
    expect(await process).toMatchObject({ reason: 'aborted' });
    await expect(box.exec(['true'], { signal: controller.signal })).rejects.toMatchObject({ name: 'AbortError' });
    expect((await box.exec(['true'])).exitCode).toBe(0);
  });

  it('may be ended before they have started', async () => {
    const process = box.exec(['sleep', '600']);
    await process[Symbol.asyncDispose]();
    expect(await process).toMatchObject({ reason: 'stopped' });
    expect(await programs(box)).toEqual([]);
  });

  it('have their use of processor time in the result', async () => {
    const { usage } = await box.exec(sh('i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done'));
    expect(usage.cpuMs).toBeGreaterThan(5);
    expect(usage.memoryPeak).toBeGreaterThan(100_000);
  });
});

describe('the end of a container', () => {
  it('is that of every program, whose results say stopped', async () => {
    const box = await Container.create();
    const ends: unknown[] = [];
    box.on('exit', ({ reason }) => ends.push(reason));
    const running = [box.exec(sh('echo begun; : >/tmp/begun; sleep 600')), box.exec(['sleep', '600'])];
    await made(box, '/tmp/begun');
    const { reason, stats } = await box.kill();
    expect(reason).toBe('stopped');
    expect(stats?.cpu.usageMs).toBeGreaterThan(0);
    const results = await Promise.all(running);
    expect(results[0]).toMatchObject({ reason: 'stopped', signal: 'SIGKILL', stdout: 'begun\n' });
    expect(results[1]).toMatchObject({ reason: 'stopped', signal: 'SIGKILL' });
    expect(ends).toEqual(['stopped']);
    expect(box.inspect().state).toBe('ended');
  });

  it('comes softly with stop: programs get SIGTERM and may finish', async () => {
    const box = await Container.create();
    const polite = box.exec(
      sh('trap "echo bye; exit 5" TERM; echo ready; : >/tmp/ready; while :; do sleep 0.02; done'),
    );
    const plain = box.exec(sh(': >/tmp/plain; exec sleep 600'));
    await Promise.all([made(box, '/tmp/ready'), made(box, '/tmp/plain')]);
    const started = performance.now();
    await box.stop();
    expect(performance.now() - started).toBeLessThan(5000);
    expect(await polite).toMatchObject({ exitCode: 5, reason: 'exited', stdout: 'ready\nbye\n' });
    expect(await plain).toMatchObject({ signal: 'SIGTERM', reason: 'stopped' });
  });

  it('comes hard after the grace, to those that do not listen', async () => {
    const box = await Container.create();
    const deaf = box.exec(sh('trap "" TERM; : >/tmp/deaf; while :; do sleep 0.02; done'));
    await made(box, '/tmp/deaf');
    const started = performance.now();
    expect((await box.stop({ grace: 300 })).reason).toBe('stopped');
    expect(performance.now() - started).toBeGreaterThan(290);
    expect(await deaf).toMatchObject({ signal: 'SIGKILL', reason: 'stopped' });
  });

  it('may be asked for twice, and every later call is a typed error', async () => {
    const box = await Container.create();
    await Promise.all([box.kill(), box.stop(), box.kill()]);
    const code = 'ERR_CONTAINER_GONE';
    await expect(box.exec(['true'])).rejects.toMatchObject({ code });
    await expect(box.stats()).rejects.toMatchObject({ code });
    await expect(box.pause()).rejects.toMatchObject({ code });
    await expect(box.fs.readFile('/etc/hosts')).rejects.toMatchObject({ errno: 'EPIPE' });
  });

  it('comes with its block', async () => {
    let id = '';
    {
      await using box = await Container.create();
      id = (await box.exec(['uname', '-n'])).stdout.trim();
      expect(box.inspect()).toMatchObject({ id, state: 'running' });
    }
    expect(id).toMatch(/^[0-9a-f]{12}$/);
  });

  it('comes with the abort of its signal', async () => {
    const controller = new AbortController();
    const box = await Container.create({ signal: controller.signal });
    const process = box.exec(['sleep', '600']);
    await sleep(50);
    controller.abort();
    expect((await box.wait()).reason).toBe('aborted');
    expect(await process).toMatchObject({ reason: 'aborted' });
  });

  it('is an error of every program when its init is killed from outside', async () => {
    const box = await Container.create();
    const process_ = box.exec(['sleep', '600']);
    await sleep(50);
    const { pid } = box.inspect();
    expect(pid).toBeGreaterThan(1);
    process.kill(pid ?? -1, 'SIGKILL');
    await expect(process_).rejects.toMatchObject({ code: 'ERR_CONTAINER_GONE' });
    expect((await box.wait()).reason).toBeUndefined();
  });
});

describe('pause', () => {
  it('stops every program where it is, until resume', async () => {
    await using box = await Container.create();
    const process = box.exec(sh('while :; do echo x; sleep 0.01; done'), { maxBuffer: 0 });
    let count = 0;
    const counting = (async () => {
      for await (const { data } of process) count += data.length;
    })();
    await sleep(150);
    await box.pause();
    await sleep(50);
    const paused = count;
    expect(paused).toBeGreaterThan(0);
    await sleep(150);
    expect(count).toBe(paused);
    await box.resume();
    await sleep(150);
    expect(count).toBeGreaterThan(paused);
    await process[Symbol.asyncDispose]();
    await counting;
  });

  it('does not hold up stop or kill', async () => {
    const stopped = await Container.create();
    const process = stopped.exec(['sleep', '600']);
    await sleep(50);
    await stopped.pause();
    expect((await stopped.stop()).reason).toBe('stopped');
    expect(await process).toMatchObject({ reason: 'stopped' });
    const killed = await Container.create();
    await killed.pause();
    expect((await killed.kill()).reason).toBe('stopped');
  });

  it('holds back what is to be told: a timeout takes its program at once, the result comes with resume', async () => {
    await using box = await Container.create();
    const process = box.exec(['sleep', '600'], { timeout: 200 });
    await sleep(50);
    await box.pause();
    await sleep(250);
    expect(process.running).toBe(true);
    await box.resume();
    expect(await process).toMatchObject({ reason: 'timeout' });
  });
});

describe('events', () => {
  it('tell of memory that ran out, and the container stays', async (ctx) => {
    needsController(ctx, 'memory');
    await using box = await Container.create({ limits: { memory: '48MiB' } });
    let events = 0;
    box.on('oom', () => events++);
    expect(await box.exec(['tail', '/dev/zero'])).toMatchObject({ reason: 'oom', signal: 'SIGKILL' });
    expect(events).toBeGreaterThan(0);
    expect((await box.exec(['echo', 'alive'])).stdout).toBe('alive\n');
    expect(await settle(box.exec(['sleep', '600']), 'SIGKILL')).toMatchObject({ reason: 'signaled' });
  });
});

describe('Node', () => {
  it.for([
    ['an idle container', 'idle'],
    ['an idle container after some programs and files', 'used'],
  ])('is not kept alive by %s', async ([, mode]) => {
    buildOnce();
    const child = spawn(process.execPath, [fixture('idle.mjs'), mode ?? ''], { stdio: 'pipe', timeout: 10_000 });
    expect((await text(child.stdout)).trim()).toBe('end of program');
  });

  it.for([
    ['a program', 'program', 'program ended exited'],
    ['waiting for the end', 'wait', 'container ended stopped'],
  ])('is kept alive by %s', async ([, mode, line]) => {
    buildOnce();
    const child = spawn(process.execPath, [fixture('idle.mjs'), mode ?? ''], { stdio: 'pipe', timeout: 10_000 });
    expect((await text(child.stdout)).trim().split('\n').at(-1)).toBe(line);
  });
});

/** Sends a signal once the program runs, and waits for the result. */
async function settle(process: ReturnType<Container['exec']>, signal: NodeJS.Signals) {
  await sleep(100);
  process.kill(signal);
  return process;
}
