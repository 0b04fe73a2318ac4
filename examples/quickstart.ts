/**
 * What a container is, seen with one's own eyes: every line comes from a program that has just run in one.
 * `npm run quickstart`
 */

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { Capabilities, Container, TscontainError, UnsupportedError } from 'tscontain';

const colour = process.stdout.isTTY && !process.env.NO_COLOR;
const bold = (text: string) => (colour ? `\x1b[1m${text}\x1b[22m` : text);
const dim = (text: string) => (colour ? `\x1b[2m${text}\x1b[22m` : text);

function show(topic: string, inside: string, outside = ''): void {
  console.log(`${bold(topic.padEnd(13))}${inside}${outside && dim(`   (${outside})`)}`);
}

/** The last line of what a program wrote. */
const lastLine = (text: string) => text.trim().split('\n').at(-1) ?? '';
/** A field of /proc/<pid>/status. */
const field = (status: string, name: string) => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? '?';

async function quickstart(): Promise<void> {
  await using box = await Container.create({ hostname: 'box' });
  const sh = (script: string) => box.exec(['sh', '-c', script]);

  const list = 'cd /proc; for pid in [0-9]*; do read -r name < $pid/comm && echo "$pid $name"; done';
  const processes = (await sh(list)).stdout.trim().split('\n');
  const onHost = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).length;
  show('processes', `all there are: ${processes.join(', ')}`, `${onHost} outside`);

  show('host name', (await sh('uname -n')).stdout.trim(), `outside: ${hostname()}`);

  const network = await box.fs.readdir('/sys/class/net');
  const hostNetwork = readdirSync('/sys/class/net');
  show('network', `all there is: ${network.join(', ')}`, `outside: ${hostNetwork.join(', ')}`);

  const { pid } = box.inspect();
  const fromOutside = pid === undefined ? '?' : field(readFileSync(`/proc/${pid}/status`, 'utf8'), 'Uid');
  show('user', (await sh('id')).stdout.split(' ')[0] ?? '', `the host sees uid ${fromOutside}`);

  const { stdout: status } = await box.exec(['cat', '/proc/self/status']);
  const mask = BigInt(`0x${field(status, 'CapEff')}`);
  const held = Capabilities.all.toArray().filter((_, number) => (mask >> BigInt(number)) & 1n);
  const names = held.map((name) => name.slice('CAP_'.length).toLowerCase()).join(' ');
  show('capabilities', `${held.length} of root's ${Capabilities.all.size}: ${names}`);

  const filtered = field(status, 'Seccomp') === '2' ? 'filtered by seccomp' : 'not filtered';
  const frozen = field(status, 'NoNewPrivs') === '1' ? 'no_new_privs is set' : 'no_new_privs is not set';
  show('system calls', `${filtered}, ${frozen}`);

  const refused = await sh('echo > /usr/bin/mine');
  show('programs', lastLine(refused.stderr), "the host's own /usr, read-only");

  const file = `/tmp/quickstart-${box.id}`;
  await sh(`echo written inside > ${file}`);
  const content = (await box.fs.readFile(file, 'utf8')).trim();
  show('files', `${file}: "${content}"`, existsSync(file) ? 'exists outside too!' : 'does not exist outside');

  await ifEnforceable('memory', async () => {
    const hog = await Container.run(['tail', '/dev/zero'], { limits: { memory: '64MiB' } });
    const used = Math.round(hog.usage.memoryPeak / 2 ** 20);
    show('memory', `a hog under 64MiB: reason '${hog.reason}' at ${used} MiB`, `Node ${process.pid} is alive`);
  });

  await ifEnforceable('pids', async () => {
    const bomb = 'i=0; while [ $i -lt 100 ]; do sleep 1 & i=$((i+1)); done; wait';
    const forks = await Container.run(['sh', '-c', bomb], { limits: { pids: 16 }, timeout: '3s' });
    show('pids', `a hundred forks under pids: 16: at most ${forks.usage.pidsPeak} at once`, lastLine(forks.stderr));
  });

  const late = await Container.run(['sh', '-c', 'sleep 600 & sleep 600'], { timeout: 200 });
  show('time limit', `timeout: 200 gives reason '${late.reason}' after ${Math.round(late.durationMs)} ms`);

  const [contained, bare] = await measure(25);
  const times = `container ${contained.toFixed(1)} ms, bare spawn ${bare.toFixed(1)} ms`;
  show('start to end', `/bin/true: ${times}`, 'medians of 25, warm');
}

/** A limit that this host, or this user, cannot have is refused before anything starts, with what would help. */
async function ifEnforceable(limit: string, demonstrate: () => Promise<void>): Promise<void> {
  try {
    await demonstrate();
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error;
    show(limit, 'no limit can be set here', error.hint);
  }
}

/** Medians in milliseconds of `/bin/true` in a container and without, taken in turns. */
async function measure(rounds: number): Promise<[contained: number, bare: number]> {
  const contained: number[] = [];
  const bare: number[] = [];
  for (let round = -3; round < rounds; round++) {
    const start = performance.now();
    await Container.run(['/bin/true']);
    const middle = performance.now();
    await new Promise((resolve, reject) => spawn('/bin/true').on('close', resolve).on('error', reject));
    if (round < 0) continue;
    contained.push(middle - start);
    bare.push(performance.now() - middle);
  }
  const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
  return [median(contained), median(bare)];
}

// `npm run quickstart | head -3` is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

try {
  await quickstart();
} catch (error) {
  if (!(error instanceof TscontainError)) throw error;
  const { hint } = error;
  console.error(`${error.name}: ${error.message.replace(` (hint: ${hint})`, '')}`);
  if (hint) console.error(`hint: ${hint}`);
  process.exitCode = 1;
}
