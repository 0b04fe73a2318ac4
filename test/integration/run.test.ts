/** `Container.run`: one program in a container of its own, its result, and what it is given. */

import { getEventListeners } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AbortedError, Container, ExitError, OptionError, TscontainError } from '../../lib/index.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue, expectNoResidue, takeResidue } from '../support/residue.js';

checkResidue();

const sh = (script: string, ...args: string[]): [string, ...string[]] => ['/bin/sh', '-c', script, ...args];

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tscontain-run-'));
  await chmod(directory, 0o755);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** What runs in containers of this process, apart from their inits. */
const programs = () => takeResidue().processes.filter((name) => !name.startsWith('tscontain '));

/** What a promise rejects with; a test fails if it does not. */
async function failure(promise: PromiseLike<unknown>): Promise<TscontainError> {
  const outcome = await Promise.allSettled([promise]);
  if (outcome[0].status === 'fulfilled') throw new Error('did not fail');
  expect(outcome[0].reason).toBeInstanceOf(TscontainError);
  return outcome[0].reason as TscontainError;
}

describe('the result says how the program ended', () => {
  it.for([0, 1, 42, 255])('exit code %i is a result, not an error', async (code) => {
    const result = await Container.run(sh(`exit ${code}`));
    expect(result).toMatchObject({ exitCode: code, signal: undefined, reason: 'exited', truncated: false });
  });

  it('exit code 137 of its own is an exit, not a kill', async () => {
    expect(await Container.run(sh('exit 137'))).toMatchObject({ exitCode: 137, signal: undefined, reason: 'exited' });
  });

  it.for(['SIGTERM', 'SIGKILL', 'SIGSEGV', 'SIGHUP'] as const)(
    'a program that gets %s is signaled, by that',
    async (signal) => {
      const result = await Container.run(sh(`kill -${signal.slice(3)} $$`));
      expect(result).toMatchObject({ exitCode: undefined, signal, reason: 'signaled' });
    },
  );

  it('has what was written, apart', async () => {
    const { stdout, stderr } = await Container.run(sh('echo out; echo err >&2; printf more'));
    expect({ stdout, stderr }).toEqual({ stdout: 'out\nmore', stderr: 'err\n' });
  });

  it('has bytes where encoding is buffer', async () => {
    const { stdout } = await Container.run(sh("printf '\\000\\377\\200'"), { encoding: 'buffer' });
    expect(stdout).toEqual(Buffer.of(0, 255, 128));
  });

  it('has the time it took and what it used', async () => {
    const { durationMs, usage } = await Container.run(
      sh('i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; sleep 0.2'),
    );
    expect(durationMs).toBeGreaterThan(200);
    expect(durationMs).toBeLessThan(20_000);
    expect(usage.cpuMs).toBeGreaterThan(5);
    expect(usage.cpuMs).toBeLessThan(durationMs * 2);
    expect(Math.abs(usage.cpuUserMs + usage.cpuSystemMs - usage.cpuMs)).toBeLessThan(5);
  });

  it('does not wait for what the program has left behind, and leaves nothing of it', async () => {
    const started = performance.now();
    const { stdout, reason } = await Container.run(sh('sleep 600 & setsid sleep 600 & echo done'));
    expect({ stdout, reason }).toEqual({ stdout: 'done\n', reason: 'exited' });
    expect(performance.now() - started).toBeLessThan(5000);
    expect(programs()).toEqual([]);
  });
});

describe('an end on purpose', () => {
  it('is a timeout when the time is up, takes every process with it, and keeps the output', async () => {
    const result = await Container.run(sh('echo begun; trap "" TERM HUP; setsid sleep 600 & sleep 600'), {
      timeout: 300,
    });
    expect(result).toMatchObject({ exitCode: undefined, signal: 'SIGKILL', reason: 'timeout', stdout: 'begun\n' });
    expect(result.durationMs).toBeGreaterThanOrEqual(295);
    expect(result.durationMs).toBeLessThan(5000);
    expect(programs()).toEqual([]);
  });

  it('is a timeout even when it comes before the program', async () => {
    expect(await Container.run(sh('sleep 600'), { timeout: 1 })).toMatchObject({ reason: 'timeout' });
  });

  it('does not come to a program that ends in time', async () => {
    expect(await Container.run(sh('exit 3'), { timeout: '1h' })).toMatchObject({ reason: 'exited', exitCode: 3 });
  });

  it('is an abort when its signal aborts', async () => {
    const controller = new AbortController();
    const running = Container.run(sh('echo begun; sleep 600'), { signal: controller.signal });
    await sleep(200);
    controller.abort();
    expect(await running).toMatchObject({ signal: 'SIGKILL', reason: 'aborted', stdout: 'begun\n' });
  });

  it('is an abort when the signal aborts while the container is being made', async () => {
    const controller = new AbortController();
    const running = Container.run(sh('sleep 600'), { signal: controller.signal });
    setImmediate(() => controller.abort());
    expect(await running).toMatchObject({ reason: 'aborted' });
  });

  it('is an error with the reason of the signal when that had aborted before', async () => {
    const error = await failure(Container.run(sh('true'), { signal: AbortSignal.abort('enough') }));
    expect(error).toBeInstanceOf(AbortedError);
    expect(error).toMatchObject({ name: 'AbortError', code: 'ERR_ABORTED', cause: 'enough' });
    const created = await failure(Container.create({ signal: AbortSignal.abort('enough') }));
    expect(created).toBeInstanceOf(AbortedError);
  });

  it('is an error of create when its signal aborts meanwhile', async () => {
    const controller = new AbortController();
    const creating = Container.create({ signal: controller.signal });
    setImmediate(() => controller.abort('later'));
    const outcome = await Promise.allSettled([creating]);
    // Whichever was first: a container that was ready is ended by the same signal.
    if (outcome[0].status === 'rejected') expect(outcome[0].reason).toBeInstanceOf(AbortedError);
    else expect((await outcome[0].value.wait()).reason).toBe('aborted');
  });

  it('leaves no listener on a signal that outlives the run', async () => {
    const { signal } = new AbortController();
    await Container.run(['true'], { signal });
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('is for want of memory when the limit is used up', async () => {
    const result = await Container.run(['tail', '/dev/zero'], { limits: { memory: '32MiB' } });
    expect(result).toMatchObject({ signal: 'SIGKILL', reason: 'oom' });
  });
});

describe('with check', () => {
  it('success is a result', async () => {
    expect((await Container.run(['true'], { check: true })).exitCode).toBe(0);
  });

  it('failure is an ExitError that has the result and the last line of stderr', async () => {
    const error = await failure(Container.run(sh('echo why >&2; exit 7'), { check: true }));
    expect(error).toBeInstanceOf(ExitError);
    expect(error).toMatchObject({ code: 'ERR_EXIT', result: { exitCode: 7, reason: 'exited', stderr: 'why\n' } });
    expect(error.message).toBe('/bin/sh exited with code 7: why');
  });

  it('a timeout is a failure too', async () => {
    const error = await failure(Container.run(['sleep', '600'], { check: true, timeout: 100 }));
    expect(error).toMatchObject({ result: { reason: 'timeout' } });
  });
});

describe('the environment', () => {
  it('is PATH and HOME and what was asked for, and nothing of the host', async () => {
    process.env.TSCONTAIN_TEST_SECRET = 'host';
    try {
      const { stdout } = await Container.run(['env'], { env: { A: 'b', EMPTY: '', LINES: 'x\ny' } });
      expect(stdout.split('\n').sort()).toEqual(
        [
          '',
          'A=b',
          'EMPTY=',
          'HOME=/root',
          'LINES=x',
          'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
          'y',
        ].sort(),
      );
    } finally {
      delete process.env.TSCONTAIN_TEST_SECRET;
    }
  });

  it('may set PATH and HOME, and the program is looked up in that PATH', async () => {
    const { stdout } = await Container.run(['sh', '-c', 'echo $HOME $PATH'], { env: { HOME: '/h', PATH: '/bin' } });
    expect(stdout).toBe('/h /bin\n');
    const error = await failure(Container.run(['sh'], { env: { PATH: '/nowhere' } }));
    expect(error.code).toBe('ERR_COMMAND_NOT_FOUND');
  });
});

describe('the working directory', () => {
  it('is / by default', async () => {
    expect((await Container.run(['pwd'])).stdout).toBe('/\n');
  });

  it('is made where it is missing', async () => {
    expect((await Container.run(['pwd'], { cwd: '/job/of/mine' })).stdout).toBe('/job/of/mine\n');
  });
});

describe('the user', () => {
  it('is root of the container by default, with no host id of root', async () => {
    expect((await Container.run(['id'])).stdout).toBe('uid=0(root) gid=0(root) groups=0(root)\n');
  });

  it.for<[string | number, string, string]>([
    ['nobody', '65534 65534 65534', '/nonexistent'],
    ['daemon:tty', '1 5 5', '/usr/sbin'],
    [1000, '1000 1000 1000', '/'],
    ['1000', '1000 1000 1000', '/'],
    ['1000:100', '1000 100 100', '/'],
    ['0:0', '0 0 0', '/root'],
  ])('may be given as %s', async ([user, ids, home], ctx) => {
    needsRoot(ctx);
    const { stdout } = await Container.run(sh('echo $(id -u) $(id -g) $(id -G); echo $HOME'), { user });
    expect(stdout).toBe(`${ids}\n${home}\n`);
  });

  it('has no capabilities when it is not root', async (ctx) => {
    needsRoot(ctx);
    const { stdout } = await Container.run(['grep', '-E', 'Cap(Inh|Prm|Eff|Amb)', '/proc/self/status'], { user: 1000 });
    expect(stdout.match(/0000000000000000/g)).toHaveLength(4);
  });

  it.for(['somebody', 'nobody:nogroupatall'])('that does not exist is an error: %s', async (user) => {
    const error = await failure(Container.run(['true'], { user }));
    expect(error).toBeInstanceOf(OptionError);
    expect(error).toMatchObject({ code: 'ERR_OPTION', option: 'user' });
  });
});

describe('the host name', () => {
  it('is the one asked for, in every place that tells', async () => {
    const { stdout } = await Container.run(sh('uname -n; cat /etc/hostname; grep -c box.example /etc/hosts'), {
      hostname: 'box.example',
    });
    expect(stdout).toBe('box.example\nbox.example\n1\n');
  });

  it("is the container's id by default", async () => {
    const box = await Container.create();
    expect((await box.exec(['uname', '-n'])).stdout.trim()).toBe(box.id);
    await box.kill();
  });
});

describe('a command that cannot be executed is an error that says why', () => {
  const bind = () => ({ mounts: [{ type: 'bind', source: directory, target: '/job' } as const] });

  it('when there is no such program in PATH', async () => {
    const error = await failure(Container.run(['no-such-program']));
    expect(error).toMatchObject({ code: 'ERR_COMMAND_NOT_FOUND', errno: 'ENOENT', path: 'no-such-program' });
    expect(error.message).toContain('PATH');
  });

  it('when there is no such path, or a part of it is a file', async () => {
    expect(await failure(Container.run(['/no/such/program']))).toMatchObject({ code: 'ERR_COMMAND_NOT_FOUND' });
    expect(await failure(Container.run(['/etc/hosts/program']))).toMatchObject({ code: 'ERR_COMMAND_NOT_FOUND' });
  });

  it('when it is not executable', async () => {
    const error = await failure(Container.run(['/etc/hosts']));
    expect(error).toMatchObject({ code: 'ERR_COMMAND_NOT_EXECUTABLE', errno: 'EACCES', path: '/etc/hosts' });
    expect(error.message).toContain('not executable');
  });

  it('when it is a directory', async () => {
    const error = await failure(Container.run(['/usr/bin']));
    expect(error).toMatchObject({ code: 'ERR_COMMAND_NOT_EXECUTABLE' });
    expect(error.message).toContain('it is a directory');
  });

  it('when the interpreter of a script is missing', async () => {
    await writeFile(join(directory, 'script'), '#!/no/such/interpreter -x\n', { mode: 0o755 });
    const error = await failure(Container.run(['/job/script'], bind()));
    expect(error).toMatchObject({ code: 'ERR_INTERPRETER_MISSING', path: '/job/script' });
    expect(error.message).toContain('/no/such/interpreter');
  });

  it('when it is no program at all', async () => {
    await writeFile(join(directory, 'text'), 'echo no first line\n', { mode: 0o755 });
    const error = await failure(Container.run(['/job/text'], bind()));
    expect(error).toMatchObject({ code: 'ERR_COMMAND_NOT_EXECUTABLE', errno: 'ENOEXEC' });
  });

  it('when it is a link that leads nowhere', async () => {
    await symlink('/no/such/target', join(directory, 'link'));
    expect(await failure(Container.run(['/job/link'], bind()))).toMatchObject({ code: 'ERR_COMMAND_NOT_FOUND' });
  });

  it('when its mount does not allow it', async () => {
    await writeFile(join(directory, 'good'), '#!/bin/sh\necho ran\n', { mode: 0o755 });
    expect((await Container.run(['/job/good'], bind())).stdout).toBe('ran\n');
    const mounts = [{ type: 'bind', source: directory, target: '/job', exec: false } as const];
    const error = await failure(Container.run(['/job/good'], { mounts }));
    expect(error).toMatchObject({ code: 'ERR_COMMAND_NOT_EXECUTABLE', errno: 'EACCES' });
  });

  it('when the user may not enter its directory', async (ctx) => {
    needsRoot(ctx);
    await mkdir(join(directory, 'closed'), { mode: 0o700 });
    const error = await failure(Container.run(['true'], { ...bind(), user: 1000, cwd: '/job/closed' }));
    expect(error).toMatchObject({ code: 'ERR_STEP', errno: 'EACCES', step: { kind: 'changeDirectory' } });
    expect(error.message).toContain('/job/closed');
  });

  it('when its arguments are longer than the kernel takes', async () => {
    // Each string and both lists are within their own bounds; together they are not.
    const long = (count: number) => Array.from({ length: count }, () => 'x'.repeat(100_000));
    const env = Object.fromEntries(long(18).map((value, index) => [`V${index}`, value]));
    const error = await failure(Container.run(['true', ...long(18)], { env }));
    expect(error).toMatchObject({ code: 'ERR_ARGUMENTS_TOO_LONG', errno: 'E2BIG' });
  });
});

describe('arguments reach the program as they are', () => {
  it('without a shell between', async () => {
    const words = ['a b', '$HOME', '*', '', '"\'\\', 'ü€🙂', '-n', 'x\ny'];
    const { stdout } = await Container.run(['printf', '%s\\0', ...words]);
    expect(stdout.split('\0').slice(0, -1)).toEqual(words);
  });

  it('also ten thousand of them, and one of 128 KiB', async () => {
    const many = Array.from({ length: 10_000 }, (_, index) => String(index));
    expect((await Container.run(sh('echo $#', 'sh', ...many))).stdout).toBe('10000\n');
    const long = 'y'.repeat(131_000);
    expect((await Container.run(sh('printf %s "$1" | wc -c', 'sh', long))).stdout).toBe('131000\n');
  });
});

describe('wrong options start nothing', () => {
  it.for<[string, unknown, unknown]>([
    ['argv', 'true', {}],
    ['argv', [], {}],
    ['argv[0]', [''], {}],
    ['argv[1]', ['true', 5], {}],
    ['argv[1]', ['true', 'a\0b'], {}],
    ['unknown', ['true'], { unknown: 1 }],
    ['privileged', ['true'], { privileged: true }],
    ['limits.memory', ['true'], { limits: { memory: 'lots' } }],
    ['limits.pids', ['true'], { limits: { pids: 0 } }],
    ['limits.cpus', ['true'], { limits: { cpus: Number.NaN } }],
    ['timeout', ['true'], { timeout: -1 }],
    ['maxBuffer', ['true'], { maxBuffer: '1e3' }],
    ['encoding', ['true'], { encoding: 'latin1' }],
    ['stdin', ['true'], { stdin: 5 }],
    ['stdout', ['true'], { stdout: 'file' }],
    ['stderr', ['true'], { tty: true, stderr: 'pipe' }],
    ['tty.columns', ['true'], { tty: { columns: 0 } }],
    ['user', ['true'], { user: -1 }],
    ['user', ['true'], { user: '1000:users' }],
    ['cwd', ['true'], { cwd: 'relative' }],
    ['cwd', ['true'], { cwd: '/proc/self/fd/7' }],
    ['env.A', ['true'], { env: { A: 1 } }],
    ['hostname', ['true'], { hostname: 'a b' }],
    ['image', ['true'], { image: 'Alpine:3' }],
    ['image.rootfs', ['true'], { image: { rootfs: '/no/such/directory' } }],
    ['mounts[0].source', ['true'], { mounts: [{ type: 'bind', source: '/no/such/source', target: '/x' }] }],
    ['mounts[0].target', ['true'], { mounts: [{ type: 'tmpfs', target: '/proc/x' }] }],
    ['signal', ['true'], { signal: new AbortController() }],
  ])('%s', async ([option, argv, options]) => {
    const before = takeResidue();
    const run = Container.run as (argv: unknown, options: unknown) => Promise<unknown>;
    const error = await failure(run(argv, options));
    expect(error).toBeInstanceOf(OptionError);
    expect((error as OptionError).option).toBe(option);
    await expectNoResidue(before);
  });
});
