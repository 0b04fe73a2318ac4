/** Programs of spawn, and the agents that start them: rows of the groups C and H outside of containers. */

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Namespace, spawn } from '../../lib/index.js';
import { Agent } from '../../lib/launcher/agent.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { runFresh, startFresh } from './fresh.js';
import { outside, probeArgv } from './probe.js';

checkResidue();

/** Whether a process with this argument is there. */
function running(argument: string): boolean {
  return readdirSync('/proc').some((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(argument);
    } catch {
      return false;
    }
  });
}

async function eventually(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!condition() && Date.now() < deadline) await sleep(20);
  expect(condition()).toBe(true);
}

/** Runs a command as pid 1 of a pid namespace does, and stays until the launcher has cleaned up. */
const untilClean = (before = '') => [
  'sh',
  '-c',
  `${before}"$@"; while pgrep -x tscontain >/dev/null; do sleep 0.05; done`,
  'sh',
];
const inPidNamespace = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'];

describe('agents', () => {
  it('B1: a program in a new pid namespace gets its score itself, and not who has its number outside', async (context) => {
    needsRoot(context);
    // There, 2 is `sleep`; in the new one it is the program, whose /proc is the one outside.
    const code = `
const { readFileSync } = await import('node:fs');
const argv = ['sh', '-c', 'echo $$; cat /proc/self/oom_score_adj'];
const { stdout } = await lib.spawn(argv, { namespaces: ['pid'], oomScoreAdj: 500 });
const of2 = (file) => readFileSync('/proc/2/' + file, 'utf8');
console.log(JSON.stringify([stdout, of2('oom_score_adj'), of2('comm')]));`;
    const text = await runFresh(code, {}, [...inPidNamespace, ...untilClean('sleep 60 & ')]);
    expect(JSON.parse(text)).toEqual(['2\n500\n', '0\n', 'sleep\n']);
  });

  it('C1: a program of spawn has three descriptors and no more', async () => {
    const probe = `
def valid(fd):
    try: fcntl.fcntl(fd, fcntl.F_GETFD); return True
    except OSError: return False
answer([fd for fd in range(3, 4096) if valid(fd)])`;
    await using net = Namespace.current('net');
    for (const options of [{}, { tty: true }, { namespaces: net }, { seccomp: 'default' as const }]) {
      expect(JSON.parse((await spawn(probeArgv(probe), options)).stdout)).toEqual([]);
    }
    const [program, ...argv] = probeArgv(probe);
    const leak = execFileSync(program, argv, { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
    expect(JSON.parse(leak.toString())).toContain(3);
  });

  it('C2, C6: nobody but root can look into an agent, which has no environment', async (context) => {
    needsRoot(context);
    process.env.SENTINEL = 'seen';
    await using agent = await Agent.start({ create: ['net'] });
    await using control = spawn(['sleep', '60'], { user: '65534:0', cwd: '/' });
    await eventually(() => control.pid !== undefined);
    const probe = (pid: number) => `answer(attempt(lambda: os.readlink('/proc/${pid}/exe')))`;
    expect(outside(probe(agent.pid ?? 0), { uid: 65534 })).toBe('EACCES');
    expect(outside(probe(control.pid ?? 0), { uid: 65534 })).toBe('OK');
    expect(readFileSync(`/proc/${agent.pid}/environ`, 'utf8')).toBe('');
    expect(readFileSync(`/proc/${control.pid}/environ`, 'utf8')).toContain('SENTINEL=seen');
    expect(readlinkSync(`/proc/${agent.pid}/exe`)).toBe('/memfd:tscontain (deleted)');
    expect((await spawn(['/usr/bin/env'], { env: { A: 'b' } })).stdout).toBe('A=b\n');
    delete process.env.SENTINEL;
  });

  it('C2: what is in the namespaces that an ordinary user’s program enters cannot look into what becomes it', async () => {
    const watch = `
import json, os, signal
readable = set()
os.set_blocking(0, False)
print('ready', flush=True)
while True:
    try:
        if os.read(0, 1) == b'': break
    except BlockingIOError: pass
    try: os.kill(-1, signal.SIGSTOP)
    except OSError: pass
    for pid in os.listdir('/proc'):
        if not pid.isdigit() or int(pid) == os.getpid(): continue
        try:
            os.close(os.open('/proc/%s/mem' % pid, os.O_RDWR))
            readable.add(os.readlink('/proc/%s/exe' % pid))
        except OSError: pass
    try: os.kill(-1, signal.SIGCONT)
    except OSError: pass
print(json.dumps(sorted(readable)))`;
    const code = `
import { spawn as start } from 'node:child_process';
import { readFileSync } from 'node:fs';
lib.Namespace.current('net'); // loaded, so that it need not lie where this user may read
process.chdir('/');
if (process.getuid() === 0) process.setgroups([]), process.setgid(65534), process.setuid(65534);
const flags = ['--user', '--map-root-user', '--pid', '--fork', '--mount', '--mount-proc', '--kill-child'];
const outer = start('unshare', [...flags, 'python3', '-c', ${JSON.stringify(watch)}], { stdio: ['pipe', 'pipe', 'inherit'] });
let said = '';
const ready = new Promise((resolve) => outer.stdout.on('data', (bytes) => { said += bytes; resolve(); }));
await ready;
const watcher = Number(readFileSync('/proc/' + outer.pid + '/task/' + outer.pid + '/children', 'utf8'));
const namespaces = ['user', 'pid', 'mnt'].map((kind) => lib.Namespace.open(kind, watcher));
const control = lib.spawn(['sleep', '60'], { namespaces });
for (let i = 0; i < 20; i++) await lib.spawn(['true'], { namespaces });
const closed = new Promise((resolve) => outer.on('close', resolve));
outer.stdin.end();
await closed;
console.log(said);
process.exit(0);`;
    const text = await runFresh(code);
    const readable = JSON.parse(text.split('\n')[1] ?? '') as string[];
    expect(readable.filter((exe) => exe.endsWith('/sleep'))).toHaveLength(1);
    expect(readable.filter((exe) => exe.includes('memfd'))).toEqual([]);
  });

  it('E1: root’s groups stay behind when a program enters a user namespace that has setgroups switched off', async (context) => {
    needsRoot(context);
    const code = `
import { spawn as start } from 'node:child_process';
import { readFileSync } from 'node:fs';
process.setgroups([0, 4242]);
const as = ['--reuid=65534', '--regid=65534', '--clear-groups', 'unshare', '--user', '--map-root-user'];
const other = start('setpriv', [...as, 'sh', '-c', 'echo ready; exec sleep 60'], { stdio: ['ignore', 'pipe', 'inherit'] });
await new Promise((resolve) => other.stdout.once('data', resolve));
const namespaces = lib.Namespace.open('user', other.pid);
const groups = async (options) => (await lib.spawn(['grep', '^Groups', '/proc/self/status'], options)).stdout.trim();
console.log(JSON.stringify([readFileSync('/proc/' + other.pid + '/setgroups', 'utf8'), await groups({ namespaces }), await groups({})]));
other.kill();
process.exit(0);`;
    expect(JSON.parse(await runFresh(code))).toEqual(['deny\n', 'Groups:', 'Groups:\t0 4242']);
  });

  it('C8: a program of spawn takes over neither signals nor a mask', async () => {
    const prefix = ['env', '--ignore-signal=TERM', '--block-signal=USR1'];
    const probe = ['sh', '-c', 'grep -E "^Sig(Blk|Ign)" /proc/self/status; umask'] as const;
    const clean = 'SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0022\n';
    const code = `process.umask(0o077);
process.stdout.write((await lib.spawn(${JSON.stringify(probe)})).stdout);`;
    expect(await runFresh(code, {}, prefix)).toBe(clean);
    expect(execFileSync('env', [...prefix.slice(1), ...probe], { encoding: 'utf8' })).not.toBe(clean);
  });

  it('C12: SIGKILL of the Node process ends its agents, and all that their programs have started', async (context) => {
    needsRoot(context);
    const child = startFresh(`
await lib.Namespace.create(['pid', 'net']);
const p = lib.spawn(['sh', '-c', '(setsid sleep 4321.1 &) ; sleep 4321.2 & echo ready; sleep 4321.3'], { stdout: 'pipe' });
p.stdout.once('data', () => console.log('ready'));
await p;`);
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    await eventually(() => ['4321.1', '4321.2', '4321.3'].every(running));
    child.kill('SIGKILL');
    await eventually(() => !['4321.1', '4321.2', '4321.3'].some(running));
  });

  it('C12: an agent that nothing is asked of does not keep Node alive', async (context) => {
    needsRoot(context);
    const code = `
const held = await lib.Namespace.create(['pid', 'net']);
await held.spawn(['true']);
console.log('end');`;
    expect(await runFresh(code)).toBe('end\n');
    // One that runs a program does.
    expect(
      await runFresh(`lib.spawn(['sh', '-c', 'sleep 0.3; echo ran']).then(({ stdout }) => console.log(stdout));`),
    ).toBe('ran\n\n');
  });

  it('H8: an agent that is told to end everything spares the host when it is not pid 1', async (context) => {
    needsRoot(context);
    // In a pid namespace of its own, in case it does not. Memory that runs out in the agent's cgroup makes the launcher
    // tell it to end everything.
    const code = `
const { launcher } = await part('launcher/launcher.js');
const { launcherConfiguration } = await part('host/configuration.js');
const { Init } = await part('launcher/init.js');
const { cgroupLayout } = await part('primitives/cgroup/index.js');
const { encodeSteps } = await part('plan/encode.js');
const { spawn } = await import('node:child_process');
const memory = cgroupLayout().of('memory');
const hierarchy = cgroupLayout().hierarchies.indexOf(memory);
const file = memory.version === 1 ? 'memory.limit_in_bytes' : 'memory.max';
const witness = spawn('sleep', ['60']);
let ended = false;
witness.on('exit', () => { ended = true; });
const none = { common: new Uint8Array(0), own: new Uint8Array(0) };
const told = await new Promise((resolve, reject) => {
  const init = new Init({
    ready: () => {
      const env = [['PATH', process.env.PATH]];
      const argv = ['sh', '-c', 'x=$(head -c 100000000 /dev/zero | tr "\\\\0" x); sleep 5'];
      const steps = [
        { kind: 'stdio', stdin: 'null', stdout: 'null', stderr: 'null' },
        { kind: 'exec', program: 'sh', argv, env, search: process.env.PATH },
      ];
      const request = { steps: encodeSteps(steps), owner: 0, last: false, report: true, descriptors: [] };
      init.start(request, { started() {}, failed: reject, exited() {} });
    },
    failed: reject,
    ended() {},
  });
  const number = launcher(launcherConfiguration).create(
    {
      cloneFlags: 0, hierarchies: [hierarchy], ids: 'none', agent: true, host: none, init: none, socket: init.peer,
      writes: [{ hierarchy, file, value: '20000000', optional: false }],
    },
    { created() {}, failed: reject, gone: () => resolve('gone'), oom: () => setTimeout(() => resolve('oom'), 500) },
  );
});
console.log(JSON.stringify([told, ended]));
witness.kill();
process.exit(0);`;
    const text = await runFresh(code, {}, [...inPidNamespace, ...untilClean()]);
    expect(JSON.parse(text)).toEqual(['oom', false]);
  });
});
