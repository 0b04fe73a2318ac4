/** Landlock around programs of a container: each right bites, and what is not restricted still works. */

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Container, Landlock, type LandlockOptions, OptionError, type RunOptions, spawn } from '../../lib/index.js';
import { insideOf } from '../security/probe.js';
import { needsLandlock, needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const sh = (script: string): [string, ...string[]] => ['/bin/sh', '-c', script];
/** What Python needs to start. */
const system = ['/usr', '/lib', '/lib64', '/etc', '/bin'].map((path) => ({ path, optional: true }));

/** What each right is about, as one call that is refused without it. `/tmp/area` is made afresh for each. */
const attempts: Readonly<Record<string, string>> = {
  execute: `attempt(lambda: os.posix_spawn('/tmp/area/program', ['program'], {}))`,
  write_file: `opens('/tmp/area/file', os.O_WRONLY)`,
  read_file: `opens('/tmp/area/file', os.O_RDONLY)`,
  read_dir: `attempt(lambda: os.listdir('/tmp/area/directory'))`,
  remove_dir: `attempt(lambda: os.rmdir('/tmp/area/directory'))`,
  remove_file: `attempt(lambda: os.unlink('/tmp/area/file'))`,
  make_dir: `attempt(lambda: os.mkdir('/tmp/area/new'))`,
  make_reg: `opens('/tmp/area/new', os.O_RDONLY | os.O_CREAT)`,
  make_sock: `attempt(lambda: socket.socket(socket.AF_UNIX).bind('/tmp/area/new'))`,
  make_fifo: `attempt(lambda: os.mkfifo('/tmp/area/new'))`,
  make_sym: `attempt(lambda: os.symlink('/etc', '/tmp/area/new'))`,
  refer: `attempt(lambda: os.rename('/tmp/area/file', '/tmp/area/directory/file'))`,
  truncate: `attempt(lambda: os.truncate('/tmp/area/file', 0))`,
  ioctl_dev: `attempt(lambda: fcntl.ioctl(os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY), 0x80045430, bytearray(4)))`,
};
const prepare =
  'rm -rf /tmp/area; mkdir -p /tmp/area/directory; echo content > /tmp/area/file; cp /bin/true /tmp/area/program';

describe('a program under Landlock', () => {
  let box: Container;
  const probe = <T>(code: string, landlock?: LandlockOptions) => insideOf<T>(box, code, landlock ? { landlock } : {});
  beforeAll(async () => {
    box = await Container.create();
  });
  afterAll(() => box.kill());
  beforeEach((context) => needsLandlock(context, 1));

  it.each(Object.keys(attempts))('is denied %s where that is not given, and has it where it is', async (name) => {
    const right = Landlock.rights().find((one) => one === name);
    if (!right) return; // not known to this kernel; `needsLandlock` says so for the newest
    const code = `answer(${attempts[right]})`;
    const fresh = () => box.exec(sh(prepare), { check: true });
    const needed = right === 'refer' ? (['refer', 'make_reg', 'remove_file'] as const) : ([right] as const);
    const rules = (path: string) => ({ path, rights: right === 'ioctl_dev' ? (['ioctl_dev'] as const) : needed });
    const elsewhere = right === 'execute' || right === 'read_file' || right === 'read_dir';
    const denied: LandlockOptions = elsewhere
      ? { paths: ['/usr', '/etc'].map(rules) }
      : { deny: [...needed], paths: [] };
    await fresh();
    expect(await probe(code), 'without Landlock').toBe('OK');
    await fresh();
    expect(['EACCES', 'EXDEV'], 'denied').toContain(await probe(code, denied));
    await fresh();
    const given = ['/tmp/area', '/usr', '/etc', '/dev'].map(rules);
    expect(await probe(code, { deny: [right], paths: given }), 'given').toBe('OK');
  });

  it('may make device nodes nowhere, and what a writable directory asks for below it only', async () => {
    await box.exec(sh(prepare), { check: true });
    const code = `answer([opens('/tmp/area/file', os.O_WRONLY), opens('/tmp/other', os.O_WRONLY | os.O_CREAT),
      attempt(lambda: os.mknod('/tmp/area/null', 0o600 | stat.S_IFCHR, 0)), opens('/etc/passwd', os.O_RDONLY)])`;
    // A whiteout (0:0) is the one device node that anybody may make (mknod(2)); Linux 6.12 lets it pass, 6.18 does not.
    const whiteout = Landlock.abi() < 7 ? expect.stringMatching(/^(OK|EACCES)$/) : 'EACCES';
    expect(await probe(code)).toEqual(['OK', 'OK', 'OK', 'OK']);
    await box.exec(sh(prepare), { check: true });
    expect(await probe(code, { write: ['/tmp/area'] })).toEqual(['OK', 'EACCES', whiteout, 'OK']);
  });

  it('moves files between directories as before where only reading is restricted', async () => {
    await box.exec(sh(prepare), { check: true });
    const code = `answer([attempt(lambda: os.rename('/tmp/area/file', '/tmp/area/directory/file')), opens('/tmp/area/directory/file', os.O_RDONLY)])`;
    expect(await probe(code, { read: system })).toEqual(['OK', 'EACCES']);
  });

  it('reads what it may execute, and executes nothing else', async () => {
    await box.exec(sh(prepare), { check: true });
    const landlock = { read: system, execute: system };
    expect((await box.exec(sh('/bin/true && exec /tmp/area/program'), { landlock })).exitCode).toBe(126);
    expect((await box.exec(sh('/bin/true && exec /tmp/area/program'))).exitCode).toBe(0);
    await expect(box.exec(['/tmp/area/program'], { landlock })).rejects.toMatchObject({
      code: 'ERR_COMMAND_NOT_EXECUTABLE',
      hint: expect.stringContaining('landlock'),
    });
  });

  it('is under rules for a single file', async () => {
    await box.exec(sh(prepare), { check: true });
    const code = `answer([opens('/tmp/area/file', os.O_RDWR), opens('/tmp/area/program', os.O_RDONLY)])`;
    const landlock = { read: [...system, '/tmp/area/file'], write: ['/tmp/area/file'] };
    expect(await probe(code, landlock)).toEqual(['OK', 'EACCES']);
    await expect(
      box.exec(['true'], { landlock: { paths: [{ path: '/tmp/area/file', rights: ['make_dir'] }] } }),
    ).rejects.toMatchObject({ code: 'ERR_STEP', errno: 'ENOTDIR', step: { kind: 'landlockPath' } });
  });

  it('does not start where a path is missing, unless that is optional', async () => {
    await expect(box.exec(['true'], { landlock: { read: [...system, '/no/such'] } })).rejects.toMatchObject({
      code: 'ERR_STEP',
      errno: 'ENOENT',
      path: '/no/such',
      hint: expect.stringContaining('optional'),
    });
    const optional = { path: '/no/such', optional: true };
    expect((await box.exec(['true'], { landlock: { read: [...system, optional] } })).exitCode).toBe(0);
  });

  it('finds paths as root does, whoever it runs as', async (context) => {
    needsRoot(context); // for a second id
    await box.exec(sh('mkdir -p -m 700 /tmp/closed/open'), { check: true });
    const landlock = { write: ['/tmp/closed/open'] };
    expect((await box.exec(['id', '-u'], { landlock, user: 1234 })).stdout).toBe('1234\n');
  });

  it('binds and connects to the ports that are listed', async (context) => {
    needsLandlock(context, 4);
    const code = `
def bind(port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return s, attempt(lambda: s.bind(('127.0.0.1', port)))
a, first = bind(8080)
b, second = bind(8081)
c, any_port = bind(0)
refused = attempt(lambda: socket.socket().connect(('127.0.0.1', 9)))
listed = attempt(lambda: socket.socket().connect(('127.0.0.1', 443)))
udp = attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(('127.0.0.1', 53)))
answer([first, second, any_port, refused, listed, udp])`;
    expect(await probe(code)).toEqual(['OK', 'OK', 'OK', 'ECONNREFUSED', 'ECONNREFUSED', 'OK']);
    expect(await probe(code, { bind: [8080], connect: [443] })).toEqual([
      'OK',
      'EACCES',
      'EACCES',
      'EACCES',
      'ECONNREFUSED',
      'OK',
    ]);
    expect(await probe(code, { bind: [0] })).toEqual(['EACCES', 'EACCES', 'OK', 'ECONNREFUSED', 'ECONNREFUSED', 'OK']);
  });

  it('reaches abstract sockets and processes of its own only, with scopes', async (context) => {
    needsLandlock(context, 6);
    const server = box.exec(
      [
        'python3',
        '-uc',
        "import socket,os\ns=socket.socket(socket.AF_UNIX)\ns.bind('\\0tscontain')\ns.listen()\nprint(os.getpid())\ninput()",
      ],
      { stdin: 'pipe' },
    );
    let pid = 0;
    for await (const { data } of server) {
      pid = Number(data);
      break;
    }
    const code = `
child = os.fork() or os.execv('/bin/sleep', ['sleep', '60'])
own = attempt(lambda: os.kill(child, 0))
os.kill(child, 9)
answer([attempt(lambda: os.kill(${pid}, 0)), attempt(lambda: socket.socket(socket.AF_UNIX).connect('\\0tscontain')), own])`;
    expect(pid).toBeGreaterThan(1);
    const second = box.exec(sh('sleep 60'));
    expect(await probe(code)).toEqual(['OK', 'OK', 'OK']);
    expect(await probe(code, { scope: ['signal'] })).toEqual(['EPERM', 'OK', 'OK']);
    expect(await probe(code, { scope: ['abstract-unix-socket'] })).toEqual(['OK', 'EPERM', 'OK']);
    expect(await probe(code, { scope: ['abstract-unix-socket', 'signal'] })).toEqual(['EPERM', 'EPERM', 'OK']);
    await second[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  it('says what is logged', async (context) => {
    needsLandlock(context, 7);
    const log = { sameExec: false, newExec: true, subdomains: false };
    expect(await probe('answer(1)', { deny: ['make_sym'], log })).toBe(1);
  });

  it('can put itself under further rules, by the calls that the filter allows', async () => {
    const code = `
class Attributes(ctypes.Structure):
    _fields_ = [('fs', ctypes.c_uint64)]
abi = libc.syscall(444, None, ctypes.c_size_t(0), 1)
ruleset = libc.syscall(444, ctypes.byref(Attributes(1 << 12)), ctypes.c_size_t(8), 0)
before = attempt(lambda: os.symlink('/etc', '/tmp/one'))
done = call(446, ruleset, 0)
answer([abi, done, before, attempt(lambda: os.symlink('/etc', '/tmp/two'))])`;
    expect(await probe(code, { deny: ['make_sock'] })).toEqual([Landlock.abi(), 'OK', 'OK', 'EACCES']);
  });

  it('leaves no descriptor behind, in the program or in init', async () => {
    const code = `answer(sorted(int(n) for n in os.listdir('/proc/self/fd')))`;
    const plain = await probe(code);
    for (let index = 0; index < 20; index++) {
      expect(await probe(code, { deny: ['make_sym'], paths: [{ path: '/tmp', rights: ['make_fifo'] }] })).toEqual(
        plain,
      );
    }
    // Some that fail between ruleset and restriction.
    for (let index = 0; index < 20; index++) {
      await expect(box.exec(['true'], { landlock: { read: ['/no/such'] } })).rejects.toThrow();
      expect((await box.exec(['echo', 'x'])).stdout).toBe('x\n');
    }
  });
});

describe('rules of a container', () => {
  const run = (landlock: LandlockOptions, script: string, options: RunOptions = {}) =>
    Container.run(sh(script), { landlock, ...options });

  beforeEach((context) => needsLandlock(context, 1));

  it('hold for every program of it, and those of a program come on top', async () => {
    await using box = await Container.create({ landlock: { write: ['/tmp', '/dev/null'] } });
    const write = sh('for d in /tmp /var/tmp /run; do (echo > $d/x) 2> /dev/null && echo $d; done');
    expect((await box.exec(write)).stdout).toBe('/tmp\n');
    expect((await box.exec(write, { landlock: { write: ['/run', '/dev/null'] } })).stdout).toBe('');
    expect((await box.exec(write, { landlock: { write: ['/tmp', '/run', '/dev/null'] } })).stdout).toBe('/tmp\n');
    await using free = await Container.create();
    expect((await free.exec(write)).stdout).toBe('/tmp\n/var/tmp\n/run\n');
  });

  it('hold for a container that runs one program', async () => {
    expect((await run({ deny: ['make_dir'] }, 'mkdir /tmp/x')).stderr).toContain('Permission denied');
    expect((await run({ deny: ['make_sym'] }, 'mkdir /tmp/x && ls /tmp')).stdout).toBe('x\n');
  });

  it('are in its plan, with the manual', async () => {
    const landlock = { write: ['/tmp'], ...(Landlock.abi() >= 4 ? { connect: [443] } : {}) };
    const text = String(await Container.plan({ landlock }));
    for (const words of ['landlock_create_ruleset(2)', 'landlock_add_rule(2)', 'landlock_restrict_self(2)']) {
      expect(text).toContain(words);
    }
    expect(text).toMatch(/allow .*write_file.* at and below \/tmp/);
  });

  it.each([
    [{ read: ['usr'] }, 'landlock.read[0]'],
    [{ read: ['/a\0b'] }, 'landlock.read[0]'],
    [{ read: ['/usr/../etc'] }, 'landlock.read[0]'],
    [{ bind: [65_536] }, 'landlock.bind[0]'],
    [{ connect: [0] }, 'landlock.connect[0]'],
    [{ reed: ['/usr'] }, 'landlock.reed'],
    [{}, 'landlock'],
  ])('are refused where they are wrong, before anything starts: %j', async (landlock, option) => {
    const failure = await Container.run(['true'], { landlock: landlock as LandlockOptions }).catch((error) => error);
    expect(failure).toBeInstanceOf(OptionError);
    expect(failure.option).toBe(option);
  });
});

describe('rules without a container', () => {
  beforeEach((context) => needsLandlock(context, 1));
  const script = sh(
    'for d in /tmp /var/tmp; do (f=$d/landlock.$$; echo > $f && rm $f) 2> /dev/null && echo $d; done; id -u',
  );

  it('hold for a program on the host, and nothing but it', async () => {
    const landlock = { write: ['/tmp', '/dev/null'] };
    const uid = process.getuid?.();
    expect((await spawn(script, { landlock })).stdout).toBe(`/tmp\n${uid}\n`);
    expect((await spawn(script)).stdout).toBe(`/tmp\n/var/tmp\n${uid}\n`);
  });

  it('hold for one in namespaces of its own', async () => {
    const landlock = { write: ['/tmp', '/dev/null'] };
    const options = { namespaces: ['user', 'pid', 'mnt'] as const };
    expect((await spawn(script, { ...options, landlock })).stdout).toBe('/tmp\n0\n');
    expect((await spawn(script, options)).stdout).toBe('/tmp\n/var/tmp\n0\n');
  });

  it('are refused at once where they are wrong', () => {
    expect(() => spawn(['true'], { landlock: { bind: [-1] } })).toThrow(OptionError);
    expect(() => spawn(['true'], { landlock: {} })).toThrow(OptionError);
  });

  it('stop the start where a path is missing', async () => {
    await expect(spawn(['true'], { landlock: { read: ['/no/such'] } })).rejects.toMatchObject({
      step: { kind: 'landlockPath' },
      path: '/no/such',
    });
  });
});
