/** Programs on the host and in namespaces, without a container. */

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmdirSync, rmSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it, type TestContext } from 'vitest';
import {
  AbortedError,
  Capabilities,
  ExitError,
  IdMap,
  Namespace,
  type NamespaceKind,
  OptionError,
  type SpawnOptions,
  spawn,
  TscontainError,
} from '../../../lib/index.js';
import { cgroupLayout } from '../../../lib/primitives/cgroup/index.js';
import { kernelKinds } from '../../../lib/primitives/namespace/kernel.js';
import { needsRoot } from '../../support/requirements.js';
import { checkResidue, expectNoResidue, takeResidue } from '../../support/residue.js';

checkResidue();

const namespaceKinds = kernelKinds();
const needsClocks = (context: TestContext) =>
  context.skip(!namespaceKinds.includes('time'), 'this kernel has no time namespaces');

// Where no program's own /tmp hides it.
const directory = mkdtempSync(process.geteuid?.() === 0 ? '/run/tscontain-test-' : `${tmpdir()}/tscontain-test-`);
chmodSync(directory, 0o755);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const sh = (script: string, options: SpawnOptions = {}) => spawn(['sh', '-c', script], { check: true, ...options });
const output = async (script: string, options?: SpawnOptions) => (await sh(script, options)).stdout;
/** The positive control. */
const outside = (script: string) => execFileSync('sh', ['-c', script], { encoding: 'utf8' });

/** Processes that have this variable. */
function marked(marker: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`MARKER=${marker}`);
      } catch {
        return false;
      }
    });
}

async function eventually(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 3000;
  while (!condition() && Date.now() < deadline) await sleep(10);
  expect(condition()).toBe(true);
}

describe('a program on the host', () => {
  it('is in the namespaces, the directory and the environment of this process, as its user', async () => {
    const probe = 'id; pwd; readlink /proc/self/ns/*; env | grep -v "^_=\\|^SHLVL\\|^PWD" | sort';
    process.env.SPAWN_TEST = 'a\nb';
    expect(await output(probe)).toBe(outside(probe));
    delete process.env.SPAWN_TEST;
  });

  it('has the environment and the directory that it is given, and no other', async () => {
    const { stdout } = await spawn(['/usr/bin/env'], { env: { ONLY: 'this' } });
    expect(stdout).toBe('ONLY=this\n');
    expect(await output('pwd', { cwd: '/usr/bin' })).toBe('/usr/bin\n');
    expect(await output('pwd', { cwd: 'lib' })).toBe(`${process.cwd()}/lib\n`);
  });

  it('is read, written to, iterated, and told of as an exec is', async () => {
    expect(await output('cat', { stdin: 'text' })).toBe('text');
    const failed = await sh('echo out; echo err >&2; exit 3', { check: false });
    expect(failed).toMatchObject({ stdout: 'out\n', stderr: 'err\n', exitCode: 3, reason: 'exited' });
    await expect(sh('exit 3')).rejects.toBeInstanceOf(ExitError);
    const lines: string[] = [];
    for await (const line of sh('echo a; echo b').lines()) lines.push(line);
    expect(lines).toEqual(['a', 'b']);
    const piped = spawn(['cat'], { stdin: 'pipe' });
    piped.stdin?.end('later');
    expect((await piped).stdout).toBe('later');
    expect((await sh('kill -TERM $$', { check: false })).signal).toBe('SIGTERM');
  });

  it('has a terminal where one is asked for', async () => {
    const { stdout } = await sh('tty; stty size; ps -o tty= -p $$', { tty: { columns: 90, rows: 30 } });
    expect(stdout).toMatch(/^\/dev\/pts\/\d+\r\n30 90\r\npts\/\d+\s*\r\n$/);
    expect(await output('tty || true')).toBe('not a tty\n');
  });

  it('hears a signal that was sent before it was there', async () => {
    const process = sh('sleep 60', { check: false });
    expect(process.kill('SIGTERM')).toBe(true);
    expect(await process).toMatchObject({ signal: 'SIGTERM', reason: 'signaled' });
  });

  it('has the user, the groups, the capabilities, the limits and the filter that it is given', async (context) => {
    needsRoot(context);
    expect(await output('id -u; id -g; id -G', { user: '1234:5678', cwd: '/' })).toBe('1234\n5678\n5678\n');
    expect(await output('id -un', { user: 'nobody', cwd: '/' })).toBe('nobody\n');
    expect(await output('id -u', { user: 4_000_000_000, cwd: '/' })).toBe('4000000000\n');
    const status = (await output('cat /proc/self/status', { capabilities: ['CHOWN', 'SETPCAP'] })).split('\n');
    const mask = Capabilities.of('CHOWN', 'SETPCAP').mask.toString(16).padStart(16, '0');
    expect(status).toContain(`CapEff:\t${mask}`);
    expect(status).toContain(`CapBnd:\t${mask}`);
    expect(status).toContain('NoNewPrivs:\t1');
    expect(status).toContain('Seccomp:\t0');
    expect(outside('grep NoNewPrivs /proc/self/status')).toBe('NoNewPrivs:\t0\n');
    expect(await output('grep CapEff /proc/self/status', { user: 1000, cwd: '/' })).toBe('CapEff:\t0000000000000000\n');
    expect(await output('ulimit -n', { rlimits: { nofile: 77 } })).toBe('77\n');
    expect(await output('grep Seccomp: /proc/self/status', { seccomp: 'default' })).toBe('Seccomp:\t2\n');
    const unshare = { namespaces: ['user'] as NamespaceKind[], check: false };
    expect((await sh('unshare -u true', { ...unshare, seccomp: 'default' })).exitCode).not.toBe(0);
    expect((await sh('unshare -u true', unshare)).exitCode).toBe(0);
  });

  it('has calls decided by a handler', async (context) => {
    needsRoot(context);
    const seccomp = { profile: 'docker', notify: { sethostname: () => ({ errno: 'EINVAL' }) } } as const;
    const { stderr } = await sh('hostname nonsense', { seccomp, namespaces: ['uts'], check: false });
    expect(stderr).toBe('hostname: name too long\n');
    expect(await output('hostname nonsense; hostname', { namespaces: ['uts'] })).toBe('nonsense\n');
    expect(hostname()).not.toBe('nonsense');
  });

  it('is started in a cgroup', async (context) => {
    needsRoot(context);
    const unified = cgroupLayout().hierarchies.find(({ version, writable }) => version === 2 && writable);
    context.skip(!unified, 'no cgroup v2 tree that can be written');
    const path = `${unified?.base}/spawn-test-${process.pid}`;
    mkdirSync(path, { recursive: true });
    try {
      const inside = await output('grep ^0:: /proc/self/cgroup', { cgroup: { path } });
      expect(inside.trim().endsWith(`/spawn-test-${process.pid}`)).toBe(true);
      expect(await output('grep ^0:: /proc/self/cgroup')).toBe(outside('grep ^0:: /proc/self/cgroup'));
    } finally {
      rmdirSync(path);
    }
  });
});

describe('a program in new namespaces', () => {
  const link = (kind: NamespaceKind) => readlinkSync(`/proc/self/ns/${kind}`);

  it.for(namespaceKinds)('is in a new %s namespace, and in no other that is new', async (kind, context) => {
    needsRoot(context);
    const names = await output(`for k in ${namespaceKinds.join(' ')}; do readlink /proc/self/ns/$k; done`, {
      namespaces: [kind],
    });
    for (const [index, name] of names.trim().split('\n').entries()) {
      const other = namespaceKinds[index] as NamespaceKind;
      if (other === kind) expect(name).not.toBe(link(other));
      else expect(name).toBe(link(other));
    }
  });

  it('does there what has no effect outside', async (context) => {
    needsRoot(context);
    const name = hostname();
    expect(await output('hostname inside; hostname', { namespaces: ['uts'] })).toBe('inside\n');
    expect(hostname()).toBe(name);
    // Some kernels put devices for tunnels, which are down, into every new one.
    const up = 'ip -o link show up | wc -l';
    expect(await output(`${up}; ip link set lo up; ${up}`, { namespaces: ['net'] })).toBe('0\n1\n');
    expect(Number(outside(up))).toBeGreaterThan(0);
    const queues = 'ipcmk -Q >/dev/null; ipcs -q | grep -c 0x';
    const before = outside('ipcs -q | grep -c 0x || true');
    expect(await output(queues, { namespaces: ['ipc'] })).toBe('1\n');
    expect(outside('ipcs -q | grep -c 0x || true')).toBe(before);
    expect(
      await output(`mount -t tmpfs none ${directory} && touch ${directory}/x && ls ${directory}`, {
        namespaces: ['mnt'],
      }),
    ).toBe('x\n');
    expect(readdirSync(directory)).toEqual([]);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(directory);
    expect(await output('echo $$', { namespaces: ['pid'] })).toBe('2\n');
    expect(await output('cat /proc/self/cgroup | cut -d: -f3 | sort -u', { namespaces: ['cgroup'] })).toBe('/\n');
  });

  it('has clocks that are ahead', async (context) => {
    needsRoot(context);
    needsClocks(context);
    const uptime = () => Number(outside('cut -d" " -f1 /proc/uptime'));
    const day = 86_400;
    const inside = Number(
      await output('cut -d" " -f1 /proc/uptime', { namespaces: ['time'], timeOffsets: { boottime: day * 1000 } }),
    );
    expect(Math.abs(inside - uptime() - day)).toBeLessThan(5);
    const zero = Number(await output('cut -d" " -f1 /proc/uptime', { namespaces: ['time'] }));
    expect(Math.abs(zero - uptime())).toBeLessThan(5);
    const offsets = await output('cat /proc/self/timens_offsets', {
      namespaces: ['user', 'time'],
      timeOffsets: { monotonic: 1500.25, boottime: -500 },
    });
    expect(offsets.replace(/ +/g, ' ')).toBe('monotonic 1 500250000\nboottime -1 500000000\n');
  });

  it('has the ids that are mapped', async (context) => {
    needsRoot(context);
    const maps = 'cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g; cat /proc/self/setgroups';
    const read = async (idMap?: SpawnOptions['idMap']) => {
      const text = await output(maps, { namespaces: ['user'], ...(idMap === undefined ? {} : { idMap }) });
      return text
        .trim()
        .split('\n')
        .map((line) => line.trim().replace(/ +/g, ' '));
    };
    expect(await read('single')).toEqual(['0 0 1', '0 0 1', '0', '0', 'deny']);
    const [uids = '', gids, ...rest] = await read();
    expect(uids).toMatch(/^0 \d{10} 65536$/);
    expect([gids, ...rest]).toEqual([uids, '0', '0', 'allow']);
    const given = [
      { inside: 0, outside: 300_000, count: 10 },
      { inside: 50, outside: 400_000, count: 5 },
    ];
    expect(await read(given)).toEqual(['0 300000 10', '50 400000 5', '0 300000 10', '50 400000 5', '0', '0', 'allow']);
    const uid = IdMap.of({ inside: 7, outside: 300_000, count: 1 });
    const gid = IdMap.of({ inside: 9, outside: 300_001, count: 1 });
    expect(await read({ uid, gid })).toEqual(['7 300000 1', '9 300001 1', '7', '9', 'allow']);
    const owner = await output(`id -u; stat -c '%u %g' .; touch ${directory}/made 2>&1 || true`, {
      namespaces: ['user'],
      idMap: { uid, gid },
      cwd: directory,
    });
    expect(owner).toMatch(/^7\n65534 65534\ntouch: .*Permission denied\n$/);
  });

  it('enters those of others, and gets new ones beside them', async (context) => {
    needsRoot(context);
    await using pair = await Namespace.create(['user', 'net']);
    const names = 'readlink /proc/self/ns/user /proc/self/ns/net /proc/self/ns/uts';
    const [user, net, uts] = (await pair.spawn(['sh', '-c', names], { namespaces: ['uts'] })).stdout.trim().split('\n');
    expect([user, net]).toEqual([`user:[${pair.inode('user')}]`, `net:[${pair.inode('net')}]`]);
    expect(uts).not.toBe(link('uts'));
    // What it made belongs to the user namespace that it has entered: root there may change it.
    expect((await pair.spawn(['sh', '-c', 'hostname inside && hostname'], { namespaces: ['uts'] })).stdout).toBe(
      'inside\n',
    );
    expect((await pair.spawn(['hostname', 'inside'])).exitCode).not.toBe(0);
    expect((await pair.spawn(['sh', '-c', 'echo $$'], { namespaces: ['pid'] })).stdout).toBe('2\n');
    await using ipc = await Namespace.create('ipc');
    const both = await spawn(['readlink', '/proc/self/ns/net', '/proc/self/ns/ipc'], { namespaces: [ipc, pair] });
    expect(both.stdout).toBe(`net:[${pair.inode('net')}]\nipc:[${ipc.inode()}]\n`);
  });

  it('shares a pid namespace, which ends with whoever holds it', async (context) => {
    needsRoot(context);
    const marker = `held-${process.pid}`;
    const held = await Namespace.create('pid');
    const first = held.spawn(['sleep', '100'], { env: { ...process.env, MARKER: marker } as Record<string, string> });
    await eventually(() => marked(marker).length === 1);
    const { stdout } = await held.spawn(['sh', '-c', 'kill -0 2 && echo there; kill -0 1 && echo first']);
    expect(stdout).toBe('there\nfirst\n');
    await held.close();
    expect(await first).toMatchObject({ signal: 'SIGKILL', reason: 'signaled' });
    expect(() => held.spawn(['true'])).toThrow(/has been closed/);
    expect(marked(marker)).toEqual([]);
  });

  it('is in namespaces that are closed meanwhile', async (context) => {
    needsRoot(context);
    const made = await Namespace.create('net');
    const inode = made.inode();
    const process = made.spawn(['readlink', '/proc/self/ns/net']);
    await made.close();
    expect((await process).stdout).toBe(`net:[${inode}]\n`);
  });
});

describe('the end of a program', () => {
  /** Leaves processes behind in every way that we know of. */
  const family = `
    sleep 100 &
    (setsid sleep 100 &)
    setsid sh -c 'sleep 100 & sleep 100 & exit' &
    (trap '' TERM HUP INT; setsid setsid sleep 100 &)
    sleep 0.2; echo ready;`;
  const env = (marker: string) => ({ env: { ...process.env, MARKER: marker } as Record<string, string> });

  it.for([[], ['pid'], ['user', 'pid', 'net']] as NamespaceKind[][])(
    'by a timeout ends everything that it has started (%s)',
    async (namespaces, context) => {
      needsRoot(context);
      const marker = `timeout-${process.pid}-${namespaces.length}`;
      const process_ = spawn(['sh', '-c', `${family} sleep 100`], { namespaces, timeout: 1000, ...env(marker) });
      await sleep(600);
      expect(marked(marker).length).toBeGreaterThanOrEqual(5);
      expect(await process_).toMatchObject({ reason: 'timeout', signal: 'SIGKILL', stdout: 'ready\n' });
      await eventually(() => marked(marker).length === 0);
    },
  );

  it('by itself ends what it has left in the background; without us that would stay', async () => {
    const marker = `background-${process.pid}`;
    expect((await spawn(['sh', '-c', family], env(marker))).stdout).toBe('ready\n');
    await eventually(() => marked(marker).length === 0);
    execFileSync('sh', ['-c', '(setsid sleep 30 >/dev/null 2>&1 &)'], env(`${marker}-control`));
    await sleep(200);
    const [left] = marked(`${marker}-control`);
    expect(left).toBeGreaterThan(0);
    execFileSync('kill', ['-KILL', String(left)]);
  });

  it('comes with disposal, and with its signal', async () => {
    const marker = `disposed-${process.pid}`;
    {
      await using running = spawn(['sh', '-c', `${family} sleep 100`], env(marker));
      for await (const { data } of running) if (String(data).includes('ready')) break;
      expect(marked(marker).length).toBeGreaterThanOrEqual(5);
    }
    await eventually(() => marked(marker).length === 0);
    const controller = new AbortController();
    const aborted = spawn(['sleep', '100'], { signal: controller.signal, ...env(marker) });
    await eventually(() => marked(marker).length === 1);
    controller.abort();
    expect(await aborted).toMatchObject({ reason: 'aborted', signal: 'SIGKILL' });
    await expect(spawn(['sleep', '100'], { signal: controller.signal })).rejects.toBeInstanceOf(AbortedError);
    // One that has not begun yet.
    await using _ = spawn(['sleep', '100'], env(marker));
    expect(marked(marker)).toEqual([]);
  });

  it('is an error where what started it is killed from outside', async () => {
    const marker = `orphan-${process.pid}`;
    const program = spawn(['sh', '-c', `${family} sleep 100`], env(marker));
    for await (const { data } of program) if (String(data).includes('ready')) break;
    const parent = Number(/^PPid:\t(\d+)/m.exec(readFileSync(`/proc/${program.pid}/status`, 'utf8'))?.[1]);
    expect(readFileSync(`/proc/${parent}/comm`, 'utf8')).toBe('tscontain\n');
    execFileSync('kill', ['-KILL', String(parent)]);
    await expect(program).rejects.toMatchObject({ code: 'ERR_AGENT_GONE' });
    await eventually(() => marked(marker).length === 0);
  });
});

describe('bad input', () => {
  it('is refused before anything is started', async () => {
    const before = takeResidue();
    await using here = Namespace.current('net');
    const wrong: unknown[] = [
      { namespaces: ['network'] },
      { namespaces: 'net' },
      { namespaces: ['net', 'net'] },
      { namespaces: [here, 'net'] },
      { namespaces: [here, 'user'] },
      { namespaces: [{}] },
      { idMap: 'single' },
      { timeOffsets: {} },
      { cwd: 'a\0b' },
      { user: -1 },
      { user: 2 ** 32 - 1 },
      { user: '1000x' },
      { env: { 'A=B': 'c' } },
      { shell: true },
      { stdio: 'inherit' },
      { cgroup: '/sys/fs/cgroup' },
      { cgroup: { path: '/tmp' } },
      { cgroup: { path: '/sys/fs/cgroup', pids: 5 } },
      { cgroup: {} },
      { seccomp: 'none' },
      { rlimits: { nofile: Number.NaN } },
      { timeout: 0 },
    ];
    for (const options of wrong) {
      expect(() => spawn(['true'], options as SpawnOptions), JSON.stringify(options)).toThrow(OptionError);
    }
    expect(() => spawn([] as never)).toThrow(OptionError);
    expect(() => spawn('true' as never)).toThrow(/there is no shell/);
    await expectNoResidue({ ...before, descriptors: before.descriptors + 1 });
  });

  it('that only the kernel can refuse is an error that says what and why, and leaves nothing', async (context) => {
    needsRoot(context);
    const before = takeResidue();
    const failures: [string[], SpawnOptions, object][] = [
      [['/not/there'], {}, { code: 'ERR_COMMAND_NOT_FOUND', message: expect.not.stringContaining('container') }],
      [['no-such-program'], {}, { code: 'ERR_COMMAND_NOT_FOUND' }],
      [['/etc/passwd'], {}, { code: 'ERR_COMMAND_NOT_EXECUTABLE' }],
      [['true'], { cwd: '/not/there' }, { errno: 'ENOENT', step: { kind: 'changeDirectory' } }],
      [['true'], { user: 'no-such-user' }, { code: 'ERR_OPTION', option: 'user' }],
      [['true'], { namespaces: ['user'], idMap: 'single', user: 5 }, { errno: 'EINVAL' }],
      [['true'], { tty: true, user: '1', namespaces: ['user'], idMap: 'single' }, {}],
    ];
    for (const [argv, options, expected] of failures) {
      const error = await spawn(argv as [string], options).then(
        () => 'no error',
        (caught: unknown) => caught,
      );
      expect(error, argv.join()).toBeInstanceOf(TscontainError);
      expect(error, argv.join()).toMatchObject(expected);
    }
    expect(() => spawn(['true'], { cgroup: { path: '/not/there' } })).toThrow(TscontainError);
    await expectNoResidue(before);
  });

  it('of clocks that the kernel does not take is told as such', async (context) => {
    needsRoot(context);
    needsClocks(context);
    const options: SpawnOptions = { namespaces: ['time'], timeOffsets: { boottime: -1e14 } };
    await expect(spawn(['true'], options)).rejects.toMatchObject({ errno: 'ERANGE' });
  });
});
