/** System calls of real programs that a handler decides, and refusals that are told of. */

import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import {
  Container,
  type DeniedCall,
  type SeccompHandler,
  type SeccompProfile,
  type SystemCall,
  type TscontainError,
} from '../../lib/index.js';
import { syscallNumber } from '../../lib/primitives/seccomp/syscalls.js';
import { probeArgv } from '../security/probe.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const arch = process.arch === 'arm64' ? 'arm64' : 'x64';
const nr = (name: string): number => syscallNumber(arch, name) ?? -1;

/** A program that makes one call of a number and prints what it returned, or the error's name. */
const calls = (...list: (readonly [name: string, ...args: (number | string)[]])[]) =>
  probeArgv(`
def value(number, *arguments):
    ctypes.set_errno(0)
    fixed = [ctypes.c_char_p(a.encode()) if isinstance(a, str) else ctypes.c_long(a) for a in arguments]
    got = libc.syscall(ctypes.c_long(number), *fixed)
    return errno.errorcode[ctypes.get_errno()] if got < 0 else got
answer([${list.map(([name, ...args]) => `value(${[nr(name), ...args.map((one) => JSON.stringify(one))].join(', ')})`).join(', ')}])`);

async function answers(
  notify: Readonly<Record<string, SeccompHandler>>,
  ...list: (readonly [name: string, ...args: (number | string)[]])[]
): Promise<unknown> {
  const { stdout, stderr } = await Container.run(calls(...list), { seccomp: { notify } });
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

describe('a handler', () => {
  it('decides each call: it fails, returns a value, or goes on', async () => {
    const seen: string[] = [];
    const mkdirat = (call: SystemCall) => {
      const path = call.readString(1);
      seen.push(`${call.syscall} ${call.int(0)} ${path} ${call.int(2)}`);
      if (path === '/tmp/refused') return { errno: 'EACCES' } as const;
      if (path === '/tmp/number') return { errno: 17 };
      if (path === '/tmp/pretended') return { value: 7 };
      return path === '/tmp/wide' ? { value: 2n ** 40n } : ('continue' as const);
    };
    const paths = ['refused', 'number', 'pretended', 'wide', 'made', 'made'];
    const found = await answers({ mkdirat }, ...paths.map((path) => ['mkdirat', -100, `/tmp/${path}`, 0o700] as const));
    expect(found).toEqual(['EACCES', 'EEXIST', 7, 2 ** 40, 0, 'EEXIST']);
    expect(seen).toEqual(paths.map((path) => `mkdirat -100 /tmp/${path} ${0o700}`));
  });

  it('may take its time, and decides for several threads at once', async () => {
    let waiting = 0;
    let most = 0;
    const getpgid = async () => {
      most = Math.max(most, ++waiting);
      await sleep(150);
      waiting--;
      return { value: 42 };
    };
    const probe = `
import threading
got = []
def ask():
    got.append(libc.syscall(${nr('getpgid')}, 0))
threads = [threading.Thread(target=ask) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
answer(got)`;
    const { stdout } = await Container.run(probeArgv(probe), { seccomp: { notify: { getpgid } } });
    expect(JSON.parse(stdout)).toEqual(Array(8).fill(42));
    expect(most).toBeGreaterThan(1);
  });

  it('puts descriptors of this process into the program', async () => {
    const before = openSync('/etc/hostname', 'r');
    const openat = async (call: SystemCall) => {
      const path = call.readString(1);
      if (path === '/injected/number') return { fd: before };
      if (path === '/injected/at') return { fd: before, at: 77, closeOnExec: false };
      if (path === '/injected/handle') return { fd: await open('/etc/hostname'), close: true };
      if (path === '/injected/two') {
        call.addDescriptor(before, { at: 90 });
        return { value: call.addDescriptor(before) };
      }
      return path === '/injected/bad' ? { fd: 999_999 } : ('continue' as const);
    };
    const probe = `
def text(path):
    fd = os.open(path, os.O_RDONLY)
    os.lseek(fd, 0, 0)
    return [fd, fcntl.fcntl(fd, fcntl.F_GETFD), len(os.read(fd, 100)) > 0]
number, at, handle, two = [text('/injected/' + name) for name in ('number', 'at', 'handle', 'two')]
os.fstat(90)
answer([number[1:], at, handle[1:], two[1:], attempt(lambda: os.open('/injected/bad', 0)), attempt(lambda: os.open('/injected/none', 0))])`;
    const errors: TscontainError[] = [];
    await using box = await Container.create({ seccomp: { notify: { openat } } });
    box.on('handlerError', (error) => errors.push(error));
    const { stdout, stderr } = await box.exec(probeArgv(probe));
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual([[1, true], [77, 0, true], [1, true], [1, true], 'EPERM', 'ENOENT']);
    expect(errors).toMatchObject([
      { code: 'ERR_SECCOMP_HANDLER', cause: { code: 'ERR_CALL_DESCRIPTOR', errno: 'EBADF' } },
    ]);
    closeSync(before);
  });

  it('tells a program that has too many open files so', async () => {
    const fd = openSync('/etc/hostname', 'r');
    const openat = (call: SystemCall) => (call.readString(1) === '/injected' ? { fd } : ('continue' as const));
    const probe = `
kept = []
def fill():
    while True: kept.append(os.dup(0))
attempt(fill)
answer(attempt(lambda: os.open('/injected', 0)))`;
    const options = { seccomp: { notify: { openat } }, limits: { openFiles: 64 } };
    expect(JSON.parse((await Container.run(probeArgv(probe), options)).stdout)).toBe('EMFILE');
    closeSync(fd);
  });

  it('that throws, rejects or answers nonsense refuses the call, and is told of', async () => {
    const reactions: Record<string, () => unknown> = {
      throws: () => {
        throw new Error('no idea');
      },
      rejects: () => Promise.reject(new Error('no idea')),
      nothing: () => undefined,
      later: () => Promise.resolve({ value: 1, errno: 'EPERM' }),
      errors: () => ({ value: -13 }),
      unknown: () => ({ errno: 'ENOTHING' }),
      allow: () => 'allow',
    };
    const notify = { mkdirat: (call: SystemCall) => reactions[call.readString(1)]?.() } as never;
    const errors: TscontainError[] = [];
    await using box = await Container.create({ seccomp: { notify } });
    box.on('handlerError', (error, call) => {
      expect(call.syscall).toBe('mkdirat');
      errors.push(error);
    });
    const names = Object.keys(reactions);
    const { stdout } = await box.exec(calls(...names.map((name) => ['mkdirat', -100, name, 0] as const)));
    expect(JSON.parse(stdout)).toEqual(names.map(() => 'EPERM'));
    expect(errors.map(({ code }) => code)).toEqual(names.map(() => 'ERR_SECCOMP_HANDLER'));
    expect(errors[0]?.message).toMatch(/^the handler of mkdirat failed: no idea; the call has failed with EPERM/);
    expect(errors[3]?.cause).toMatchObject({ code: 'ERR_OPTION', option: 'decision' });
  });

  it('that fails where nobody listens is a warning', async () => {
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
    const getpgid = () => {
      throw new Error('no idea');
    };
    expect(await answers({ getpgid }, ['getpgid', 0])).toEqual(['EPERM']);
    expect((await warned).message).toMatch(/the handler of getpgid failed: no idea/);
  });

  it('looks into memory, and is told of what is not there', async () => {
    const found: unknown[] = [];
    const attempt = (action: () => unknown) => {
      try {
        found.push(action());
      } catch (error) {
        found.push((error as TscontainError).code);
      }
    };
    const mkdirat = (call: SystemCall) => {
      attempt(() => call.readBytes(1, 3).toString());
      attempt(() => call.readBytes(call.args[1] ?? 0n, 2).toString('latin1'));
      attempt(() => call.readString(1));
      attempt(() => call.readString(1, { maxBytes: 5 }));
      attempt(() => call.readString(0));
      attempt(() => call.readBytes(0n, 8));
      attempt(() => call.readBytes(0xffff_ffff_ffff_f000n, 8));
      attempt(() => call.readBytes(6, 1));
      attempt(() => call.readBytes(1, -1));
      attempt(() => call.readString(1, { maxBytes: 6 }));
      return { value: 0 };
    };
    expect(await answers({ mkdirat }, ['mkdirat', 16, 'abcdef', 0])).toEqual([0]);
    const gone = ['ERR_CALL_TEXT', 'ERR_CALL_MEMORY', 'ERR_CALL_MEMORY', 'ERR_CALL_MEMORY', 'ERR_OPTION', 'ERR_OPTION'];
    expect(found).toEqual(['abc', 'ab', 'abcdef', ...gone, 'abcdef']);
  });

  it('reads to the end of a mapping and not beyond, takes only UTF-8 for text, and fills buffers', async () => {
    const found: string[] = [];
    const getcwd = (call: SystemCall) => {
      try {
        const text = call.readString(0);
        call.writeBytes(0, Buffer.from(text.toUpperCase()));
        found.push(text);
        return { value: text.length };
      } catch (error) {
        found.push((error as TscontainError).code);
        return { errno: 'EINVAL' } as const;
      }
    };
    const probe = `
import mmap
memory = mmap.mmap(-1, 8192)
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
libc.munmap(ctypes.c_void_p(start + 4096), ctypes.c_size_t(4096))
def ask(text):
    at = start + 4096 - len(text)
    ctypes.memmove(at, text, len(text))
    return [libc.syscall(${nr('getcwd')}, ctypes.c_void_p(at), 1), ctypes.string_at(at, len(text)).decode('latin1')]
answer([ask(b'end\\0'), ask(b'none'), ask(b'\\xff\\0'), ask('é\\0'.encode())])
sys.stdout.flush()
os._exit(0)`;
    const { stdout } = await Container.run(probeArgv(probe), { seccomp: { notify: { getcwd } } });
    expect(found).toEqual(['end', 'ERR_CALL_MEMORY', 'ERR_CALL_TEXT', 'é']);
    expect(JSON.parse(stdout).map(([value]: [number]) => value)).toEqual([3, -1, -1, 1]);
    expect(JSON.parse(stdout)[0][1]).toBe('END\0');
  });

  it('finds out when the caller is gone', async () => {
    let asked: SystemCall | undefined;
    let settle: (decision: 'continue') => void = () => {};
    const getpgid: SeccompHandler = (call) => {
      asked = call;
      expect(call.valid).toBe(true);
      return new Promise((resolve) => {
        settle = resolve;
      });
    };
    await using box = await Container.create({ seccomp: { notify: { getpgid } } });
    const controller = new AbortController();
    const program = box.exec(calls(['getpgid', 0]), { signal: controller.signal });
    await expect.poll(() => asked, { timeout: 20_000 }).toBeDefined();
    controller.abort();
    expect((await program).reason).toBe('aborted');
    expect(asked?.valid).toBe(false);
    expect(() => asked?.readBytes(0n, 1)).toThrow(expect.objectContaining({ code: 'ERR_CALL_GONE' }));
    settle('continue');
    expect((await box.exec(['echo', 'next'])).stdout).toBe('next\n');
  });

  it('is asked once, however many signals the caller gets meanwhile', async () => {
    let asked = 0;
    const getpgid = async () => {
      asked++;
      await sleep(300);
      return { value: 5 };
    };
    const probe = `
import signal
count = [0]
def tick(*_): count[0] += 1
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
got = libc.syscall(${nr('getpgid')}, 0)
signal.setitimer(signal.ITIMER_REAL, 0)
answer(got)`;
    const { stdout } = await Container.run(probeArgv(probe), { seccomp: { notify: { getpgid } } });
    expect([JSON.parse(stdout), asked]).toEqual([5, 1]);
  });

  it('decides for what the program leaves behind, and for each program by itself', async () => {
    const asked = new Set<number>();
    const getpgid = (call: SystemCall) => {
      asked.add(call.pid);
      return { value: 11 };
    };
    const ask = `python3 -c 'import os; print(os.getpgid(0))'`;
    await using box = await Container.create({ seccomp: { notify: { getpgid } } });
    await box.exec(['sh', '-c', `(sleep 0.3; ${ask} > /tmp/late) & ${ask} > /tmp/early`]);
    const options = process.geteuid?.() === 0 ? { user: 1000 } : {};
    const others = await Promise.all([1, 2, 3].map(() => box.exec(['sh', '-c', ask], options)));
    expect(others.map(({ stdout }) => stdout)).toEqual(['11\n', '11\n', '11\n']);
    await expect
      .poll(() => box.fs.readFile('/tmp/late', { encoding: 'utf8' }).catch(() => ''), { timeout: 5000 })
      .toBe('11\n');
    expect(await box.fs.readFile('/tmp/early', { encoding: 'utf8' })).toBe('11\n');
    expect(asked.size).toBe(5);
  });

  it('may decide the exec of the program itself', async (context) => {
    needsRoot(context);
    const seen: string[] = [];
    const execve: SeccompHandler = async (call) => {
      const path = call.readString(0);
      seen.push(path);
      await sleep(20);
      return path.endsWith('/id') ? { errno: 'EACCES' } : 'continue';
    };
    await using box = await Container.create({ seccomp: { notify: { execve } } });
    expect((await box.exec(['/usr/bin/echo', 'ran'])).stdout).toBe('ran\n');
    expect((await box.exec(['/bin/sh', '-c', '/usr/bin/id; echo $?'])).stdout).toBe('126\n');
    await expect(box.exec(['/usr/bin/id'])).rejects.toMatchObject({ code: 'ERR_COMMAND_NOT_EXECUTABLE' });
    expect((await box.exec(['/usr/bin/echo', 'again'])).stdout).toBe('again\n');
    expect(seen).toEqual(['/usr/bin/echo', '/bin/sh', '/usr/bin/id', '/usr/bin/id', '/usr/bin/echo']);
  });

  it('decides everything, where the profile leaves everything to it', async () => {
    const names = new Set<string | undefined>();
    const profile: SeccompProfile = { defaultAction: 'SCMP_ACT_NOTIFY' };
    const notify = (call: SystemCall) => {
      names.add(call.syscall);
      return 'continue' as const;
    };
    for (const tty of [false, true]) {
      const { stdout, exitCode } = await Container.run(['sh', '-c', 'echo out; exit 3'], {
        seccomp: { profile, notify },
        tty,
      });
      expect([stdout.trim(), exitCode]).toEqual(['out', 3]);
    }
    expect([...names]).toEqual(expect.arrayContaining(['execve', 'write', 'exit_group', 'mmap']));
  });

  it('decides calls of rules with arguments, and leaves the others to the profile', async () => {
    const asked: string[] = [];
    const profile: SeccompProfile = {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [
        { names: ['getpgid'], action: 'SCMP_ACT_NOTIFY', args: [{ index: 0, op: 'SCMP_CMP_GT', value: 100 }] },
        { names: ['getsid'], action: 'SCMP_ACT_ERRNO', errnoRet: 5 },
      ],
    };
    const notify = (call: SystemCall) => {
      asked.push(`${call.syscall} ${call.args[0]}`);
      return { value: call.int(0) + 1 };
    };
    const program = calls(['getpgid', 0], ['getpgid', 200], ['getsid', 0]);
    const { stdout } = await Container.run(program, { seccomp: { profile, notify } });
    const [own, raised, refused] = JSON.parse(stdout);
    expect([typeof own, raised, refused, asked]).toEqual(['number', 201, 'EIO', ['getpgid 200']]);
    expect(own).toBeLessThan(100);
  });

  it('is let go of when the last process is gone, with its descriptors', async () => {
    const listeners = () =>
      readdirSync('/proc/self/fd').filter((fd) => {
        try {
          return readlinkSync(`/proc/self/fd/${fd}`).includes('seccomp');
        } catch {
          return false;
        }
      }).length;
    await using box = await Container.create({ seccomp: { notify: { getpgid: () => ({ value: 0 }) } } });
    const lasting = box.exec(['sleep', '100']);
    for (let i = 0; i < 20; i++) await box.exec(['/bin/true']);
    await expect.poll(listeners, { timeout: 5000 }).toBe(1);
    lasting.kill('SIGKILL');
    await lasting;
    await expect.poll(listeners, { timeout: 5000 }).toBe(0);
  });

  it('works beside the flags that a profile may have', async () => {
    const profile: SeccompProfile = {
      defaultAction: 'SCMP_ACT_ALLOW',
      flags: [
        'SECCOMP_FILTER_FLAG_TSYNC',
        'SECCOMP_FILTER_FLAG_LOG',
        'SECCOMP_FILTER_FLAG_SPEC_ALLOW',
        'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV',
      ],
    };
    const program = calls(['getpgid', 0]);
    expect(JSON.parse((await Container.run(program, { seccomp: profile })).stdout)).toEqual([expect.any(Number)]);
    const notify = { getpgid: () => ({ value: 1234 }) };
    expect(JSON.parse((await Container.run(program, { seccomp: { profile, notify } })).stdout)).toEqual([1234]);
  });
});

describe('what is refused', () => {
  it('is told of: the call by its name, its arguments, who made it, and the error it got', async () => {
    await using box = await Container.create({ seccomp: { audit: true } });
    const denied: [DeniedCall, readonly string[]][] = [];
    box.on('denied', (call, program) => {
      if (call.kind === undefined && program) denied.push([call, program.argv]);
    });
    const program = calls(['mount', 0, 0, 0, 0, 0], ['socket', 38, 5, 0], ['getpid'], ['kexec_load', 1, 2, 3, 4]);
    const { stdout } = await box.exec(program);
    expect(JSON.parse(stdout)).toMatchObject(['EPERM', 'EPERM', expect.any(Number), 'EPERM']);
    const mine = denied.filter(([{ syscall }]) => ['mount', 'socket', 'kexec_load'].includes(syscall ?? ''));
    expect(mine.map(([{ syscall, errno, architecture }]) => [syscall, errno, architecture])).toEqual([
      ['mount', 'EPERM', arch],
      ['socket', 'EPERM', arch],
      ['kexec_load', 'EPERM', arch],
    ]);
    expect(mine[2]?.[0].args.slice(0, 4)).toEqual([1n, 2n, 3n, 4n]);
    expect(mine[0]?.[0].pid).toBeGreaterThan(0);
    expect(mine[0]?.[1]).toEqual(program);
    expect(box.inspect().relaxations.filter((relaxation) => !relaxation.startsWith('ids:'))).toEqual([]);
  });

  it('gets the very error that it gets without being told of', async () => {
    const list = ['clone3', 'mount', 'setns', 'openat2', 'bpf', 'io_uring_setup'].map(
      (name) => [name, 0, 0, 0] as const,
    );
    const program = calls(...list);
    const quiet = await Container.run(program);
    const told: DeniedCall[] = [];
    const audited = await Container.run(program, { seccomp: { audit: (call) => told.push(call) } });
    expect(JSON.parse(audited.stdout)).toEqual(JSON.parse(quiet.stdout));
    expect(told.map(({ syscall }) => syscall)).toEqual(expect.arrayContaining(['clone3', 'mount', 'bpf']));
    expect(told.find(({ syscall }) => syscall === 'clone3')?.errno).toBe('ENOSYS');
  });

  it('is told of where a handler decides other calls, and a number without a name as well', async () => {
    const told: DeniedCall[] = [];
    const { stdout } = await Container.run(
      probeArgv(`answer([call(${nr('getpgid')}, 0), call(${nr('mount')}, 0, 0, 0, 0, 0), call(5000)])`),
      { seccomp: { audit: (call) => told.push(call), notify: { getpgid: () => ({ errno: 'EIO' }) } } },
    );
    expect(JSON.parse(stdout)).toEqual(['EIO', 'EPERM', 'ENOSYS']);
    const mine = told.filter(({ syscall }) => syscall === undefined || syscall === 'mount' || syscall === 'getpgid');
    expect(mine.map(({ number, errno }) => [number, errno])).toEqual([
      [nr('mount'), 'EPERM'],
      [5000, 'ENOSYS'],
    ]);
  });

  it('needs someone to tell', async () => {
    await expect(Container.run(['true'], { seccomp: { audit: true } })).rejects.toMatchObject({
      option: 'seccomp.audit',
    });
  });

  it('is still refused where the listener throws', async () => {
    const thrown = new Promise<unknown>((resolve) => {
      const listeners = process.listeners('uncaughtException');
      process.removeAllListeners('uncaughtException');
      process.once('uncaughtException', (error) => {
        for (const listener of listeners) process.on('uncaughtException', listener);
        resolve(error);
      });
    });
    let first = true;
    const audit = ({ syscall }: DeniedCall) => {
      if (syscall !== 'mount' || !first) return;
      first = false;
      throw new Error('of the listener');
    };
    const { stdout } = await Container.run(calls(['mount', 0, 0, 0, 0, 0]), { seccomp: { audit } });
    expect(JSON.parse(stdout)).toEqual(['EPERM']);
    expect(await thrown).toMatchObject({ message: 'of the listener' });
  });
});
