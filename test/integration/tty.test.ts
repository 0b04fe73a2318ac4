/** Programs on a terminal of their own. */

import { afterAll, beforeAll, expect, it } from 'vitest';
import { Container } from '../../lib/index.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const sh = (script: string): [string, ...string[]] => ['/bin/sh', '-c', script];
let box: Container;
beforeAll(async () => {
  box = await Container.create();
});
afterAll(() => box.kill());

it('stdin, stdout and stderr are one terminal, the first of a devpts of its own', async () => {
  const script = 'import os\nprint([os.isatty(fd) for fd in (0, 1, 2)], os.ttyname(0), os.environ["TERM"])';
  const { stdout, stderr, exitCode } = await box.exec(['python3', '-c', script], { tty: true });
  expect({ stdout, stderr, exitCode }).toEqual({
    stdout: '[True, True, True] /dev/pts/0 xterm\r\n',
    stderr: '',
    exitCode: 0,
  });
});

it('is the controlling terminal of a session of its own', async () => {
  const { stdout } = await box.exec(sh('tty; echo ok > /dev/tty; ps -o tty= -o sid= -p $$; echo $$'), { tty: true });
  const [tty, written, session, pid] = stdout.split('\r\n');
  expect([tty, written]).toEqual(['/dev/pts/0', 'ok']);
  expect(session?.trim().split(/\s+/)).toEqual(['pts/0', pid]);
});

it('there is none where none is asked for', async () => {
  const { stdout } = await box.exec(sh('test -t 0 || test -t 1 || test -t 2 || echo none; exec 2>&1; cat < /dev/tty'));
  expect(stdout).toMatch(/^none\n.*No such device/);
});

it('is 80 by 24, or as asked', async () => {
  expect((await box.exec(['stty', 'size'], { tty: true })).stdout).toBe('24 80\r\n');
  expect((await box.exec(['stty', 'size'], { tty: { columns: 132, rows: 50 } })).stdout).toBe('50 132\r\n');
});

it('tells the program of a new size', async () => {
  const script = 'trap "stty size; exit" WINCH; echo ready; while :; do sleep 0.02; done';
  const process = box.exec(sh(script), { tty: true });
  const lines: string[] = [];
  for await (const line of process.lines()) {
    lines.push(line.trim());
    if (line.trim() === 'ready') expect(process.resize(100, 40)).toBe(true);
  }
  expect(lines).toEqual(['ready', '40 100']);
  expect(process.resize(1, 1)).toBe(false);
});

it('has no size to change without a terminal', async () => {
  const process = box.exec(['true']);
  expect(process.resize(10, 10)).toBe(false);
  await process;
});

it('makes an interrupt of Ctrl-C', async () => {
  const process = box.exec(sh('trap "echo interrupted; exit 3" INT; echo ready; while :; do sleep 0.02; done'), {
    tty: true,
    stdin: 'pipe',
  });
  for await (const line of process.lines()) if (line.trim() === 'ready') process.stdin?.write('\x03');
  const { stdout, exitCode, reason } = await process;
  expect(stdout).toContain('interrupted');
  expect({ exitCode, reason }).toEqual({ exitCode: 3, reason: 'exited' });
});

it('ends the input with Ctrl-D, which is typed after text', async () => {
  const { stdout, exitCode } = await box.exec(sh('stty -echo; wc -l; echo over'), { tty: true, stdin: 'a\nb\n' });
  expect(stdout.endsWith('2\r\nover\r\n')).toBe(true);
  expect(exitCode).toBe(0);
  const process = box.exec(['cat'], { tty: true, stdin: 'pipe' });
  process.stdin?.write('typed before it started\n');
  process.stdin?.write('\x04');
  expect((await process).stdout).toContain('typed before it started\r\n');
});

it('takes input of many lines, with back-pressure', async () => {
  const line = `${'x'.repeat(78)}\n`;
  const { stdout } = await box.exec(sh('stty -echo; echo go; wc -c'), { tty: true, stdin: line.repeat(3000) });
  expect(stdout).toContain(String(line.length * 3000));
});

it('loses nothing of the output at the end', async () => {
  for (let round = 0; round < 20; round++) {
    const { stdout } = await box.exec(['seq', '1', '2000'], { tty: true });
    expect(stdout.endsWith('1999\r\n2000\r\n')).toBe(true);
    expect(stdout.split('\r\n')).toHaveLength(2001);
  }
});

it('may be read as a stream', async () => {
  const process = box.exec(sh('echo one; echo two'), { tty: true, stdout: 'pipe' });
  let all = '';
  for await (const chunk of process.stdout ?? []) all += String(chunk);
  expect(all).toBe('one\r\ntwo\r\n');
  expect((await process).exitCode).toBe(0);
});

it('belongs to the user of the program', async (ctx) => {
  needsRoot(ctx);
  const { stdout } = await box.exec(sh('stat -c "%u %g %a" $(tty); echo x > $(tty)'), { tty: true, user: 1000 });
  expect(stdout).toBe('1000 5 620\r\nx\r\n');
});

it('hangs up what stays behind, and does not wait for it', async () => {
  const started = performance.now();
  const { stdout } = await box.exec(sh('(trap "" HUP; sleep 3) & sleep 0.05; echo done'), { tty: true });
  expect(stdout).toBe('done\r\n');
  expect(performance.now() - started).toBeLessThan(2000);
});

it('ends with a timeout as any other program', async () => {
  const result = await Container.run(sh('echo begun; sleep 600'), { tty: true, timeout: 300 });
  expect(result).toMatchObject({ reason: 'timeout', stdout: 'begun\r\n' });
});

it('is given to several programs at once, each its own', async () => {
  const processes = Array.from({ length: 4 }, () => box.exec(sh('tty; sleep 0.2'), { tty: true }));
  const names = (await Promise.all(processes)).map(({ stdout }) => stdout.trim());
  expect(new Set(names).size).toBe(4);
});
