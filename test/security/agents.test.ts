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

describe('agents', () => {
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
    const text = await runFresh(code, {}, ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child']);
    expect(JSON.parse(text)).toEqual(['oom', false]);
  });
});
