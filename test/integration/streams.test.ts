/** What goes into a program and comes out of it: every kind of source and destination, at the reader's pace. */

import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Container, TscontainError } from '../../lib/index.js';
import { buildOnce, fixture } from '../support/build.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const MiB = 2 ** 20;
const sh = (script: string): [string, ...string[]] => ['/bin/sh', '-c', script];
const sha = (data: Uint8Array | string) => createHash('sha256').update(data).digest('hex');

let box: Container;
beforeAll(async () => {
  box = await Container.create();
});
afterAll(() => box.kill());

describe('stdin', () => {
  it('is empty by default', async () => {
    expect((await box.exec(sh('wc -c; readlink /proc/self/fd/0'))).stdout).toBe('0\n/dev/null\n');
  });

  it('may be text, which is data and not a name', async () => {
    expect((await box.exec(['cat'], { stdin: 'grüße\n' })).stdout).toBe('grüße\n');
    expect((await box.exec(['cat'], { stdin: '' })).stdout).toBe('');
  });

  it('may be bytes', async () => {
    const bytes = Buffer.of(0, 1, 254, 255, 10);
    expect((await box.exec(['cat'], { stdin: bytes, encoding: 'buffer' })).stdout).toEqual(bytes);
  });

  const data = randomBytes(8 * MiB);
  it.for<[string, () => Uint8Array | Readable | AsyncIterable<Uint8Array>]>([
    ['bytes', () => data],
    ['a Readable', () => Readable.from([data.subarray(0, MiB), data.subarray(MiB)])],
    [
      'an async iterable',
      async function* () {
        for (let at = 0; at < data.length; at += 100_000) yield data.subarray(at, at + 100_000);
      },
    ],
  ])('of 8 MiB goes through cat unchanged, from %s', async ([, source]) => {
    const hash = createHash('sha256');
    const sink = new Writable({
      write(chunk, _encoding, callback) {
        hash.update(chunk);
        callback();
      },
    });
    await box.exec(['cat'], { stdin: source(), stdout: sink, check: true });
    expect(hash.digest('hex')).toBe(sha(data));
    const { stdout } = await box.exec(['sha256sum'], { stdin: source() });
    expect(stdout.slice(0, 64)).toBe(sha(data));
  });

  it('may be written to, at once and until its end', async () => {
    const process = box.exec(['cat'], { stdin: 'pipe' });
    expect(process.stdin).toBeInstanceOf(Writable);
    process.stdin?.write('one ');
    await sleep(50);
    process.stdin?.end('two');
    expect((await process).stdout).toBe('one two');
  });

  it('holds a writer back when the program does not read', async () => {
    const process = box.exec(['sleep', '0.3'], { stdin: 'pipe' });
    const chunk = Buffer.alloc(256 * 1024);
    expect(process.stdin?.write(chunk)).toBe(false);
    await sleep(100);
    expect(process.stdin?.writableLength).toBeGreaterThan(0);
    expect((await process).exitCode).toBe(0);
  });

  it('may be left unread: the program that stops early is no error', async () => {
    const { stdout, exitCode } = await box.exec(['head', '-c', '1'], { stdin: data });
    expect({ stdout: Buffer.from(stdout).length > 0, exitCode }).toEqual({ stdout: true, exitCode: 0 });
    const endless = async function* () {
      for (;;) yield Buffer.alloc(65_536, 'x');
    };
    expect((await box.exec(['head', '-c', '1'], { stdin: endless() })).stdout).toBe('x');
  });

  it('that fails is the end of the input, and the result is an error once the program has ended', async () => {
    const failure = new Error('source failed');
    const failing = async function* () {
      yield Buffer.from('some');
      throw failure;
    };
    const lines: string[] = [];
    const process = box.exec(sh('cat; echo; echo ended'), { stdin: failing() });
    const reading = async () => {
      for await (const line of process.lines()) lines.push(line);
    };
    await expect(reading()).rejects.toMatchObject({ code: 'ERR_INPUT', cause: failure });
    await expect(process).rejects.toThrow('(exit code 0)');
    expect(lines).toEqual(['some', 'ended']);
  });

  it('that is closed before its end, or was before the program began, is an error too', async () => {
    const closing = new Readable({ read() {} });
    setTimeout(() => closing.destroy(), 50);
    await expect(box.exec(['cat'], { stdin: closing })).rejects.toMatchObject({ code: 'ERR_INPUT' });
    await expect(box.exec(['cat'], { stdin: closing })).rejects.toMatchObject({ code: 'ERR_INPUT' });
    const read = Readable.from(['x']);
    await text(read);
    expect((await box.exec(['cat'], { stdin: read })).stdout).toBe('');
  });

  it('of a generator is finished when the program ends early', async () => {
    let finished = false;
    const endless = async function* () {
      try {
        for (;;) yield Buffer.alloc(65_536, 'x');
      } finally {
        finished = true;
      }
    };
    await box.exec(['head', '-c', '1'], { stdin: endless() });
    await sleep(20);
    expect(finished).toBe(true);
  });

  it('from a Readable is let go of, and nothing of ours stays on it', async () => {
    const source = new Readable({ read() {} });
    const count = () => source.eventNames().map((event) => `${String(event)} ${source.listenerCount(event)}`);
    const before = count();
    for (let index = 0; index < 20; index++) await box.exec(['true'], { stdin: source });
    await sleep(20);
    expect(count()).toEqual(before);
    expect(source.destroyed).toBe(false);
    source.destroy();
  });

  it('does not keep the program waiting when it ends without reading', async () => {
    const never = new Readable({ read() {} });
    expect((await box.exec(['true'], { stdin: never })).exitCode).toBe(0);
    never.destroy();
  });
});

describe('stdout and stderr', () => {
  it('are apart, and every byte is kept', async () => {
    const script = 'import os\nb = bytes(range(256))\nos.write(1, b[:128])\nos.write(2, b)';
    const { stdout, stderr } = await box.exec(['python3', '-c', script], { encoding: 'buffer' });
    const all = Buffer.from(Array.from({ length: 256 }, (_, value) => value));
    expect(stdout as unknown as Buffer).toEqual(all.subarray(0, 128));
    expect(stderr as unknown as Buffer).toEqual(all);
  });

  it('go nowhere when ignored', async () => {
    const { stdout, stderr } = await box.exec(sh('echo out; echo err >&2; readlink /proc/self/fd/1'), {
      stdout: 'ignore',
      stderr: 'ignore',
    });
    expect({ stdout, stderr }).toEqual({ stdout: '', stderr: '' });
  });

  it('go to this process where inherited, and its stdin comes from there too', async () => {
    buildOnce();
    const child = spawn(process.execPath, [fixture('inherit.mjs')], { stdio: 'pipe' });
    child.stdin.end('typed');
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
    expect({ out, err }).toEqual({ out: 'typed+out', err: 'err' });
  });

  it('may be one Writable for both', async () => {
    const chunks: Buffer[] = [];
    const sink = new Writable({
      write(chunk, _encoding, callback) {
        chunks.push(chunk);
        callback();
      },
    });
    const { stdout } = await box.exec(sh('echo out; sleep 0.05; echo err >&2'), { stdout: sink, stderr: sink });
    expect(stdout).toBe('');
    expect(Buffer.concat(chunks).toString()).toBe('out\nerr\n');
    expect(sink.writableEnded).toBe(false);
  });

  it('wait for a Writable that is slow, with little in between', async () => {
    let most = 0;
    let bytes = 0;
    const slow = new Writable({
      highWaterMark: 65_536,
      write(chunk, _encoding, callback) {
        bytes += chunk.length;
        most = Math.max(most, slow.writableLength);
        setTimeout(callback, 1);
      },
    });
    await box.exec(['head', '-c', String(8 * MiB), '/dev/zero'], { stdout: slow });
    slow.end();
    await once(slow, 'finish');
    expect(bytes).toBe(8 * MiB);
    expect(most).toBeLessThan(MiB);
  });

  it('are dropped by a Writable that is destroyed, and the program goes on', async () => {
    const closing: Writable = new Writable({ write: () => closing.destroy() });
    const result = await box.exec(sh('head -c 1000000 /dev/zero; echo done >&2'), { stdout: closing });
    expect(result).toMatchObject({ exitCode: 0, stderr: 'done\n' });
  });

  it('are dropped by a Writable that fails, and the result is an error once the program has ended', async () => {
    const failure = new Error('disk full');
    const broken = () => new Writable({ write: (_chunk, _encoding, callback) => callback(failure) });
    const noted: string[] = [];
    const notes = new Writable({
      write(chunk, _encoding, callback) {
        noted.push(String(chunk));
        callback();
      },
    });
    const script = sh('head -c 1000000 /dev/zero; echo done >&2; exit 3');
    const program = box.exec(script, { stdout: broken(), stderr: notes, check: true });
    await expect(program).rejects.toBeInstanceOf(TscontainError);
    await expect(program).rejects.toMatchObject({ code: 'ERR_OUTPUT', cause: failure });
    await expect(program).rejects.toThrow('stdout of /bin/sh failed: disk full; the program has ended (exit code 3)');
    expect(noted).toEqual(['done\n']);
    await expect(box.exec(sh('echo >&2'), { stderr: broken() })).rejects.toMatchObject({ code: 'ERR_OUTPUT' });
  });

  it('to a file that has no room are an error, however late it comes', async () => {
    await expect(box.exec(['echo', 'x'], { stdout: createWriteStream('/dev/full') })).rejects.toMatchObject({
      code: 'ERR_OUTPUT',
      cause: { code: 'ENOSPC' },
    });
  });

  it('to a Writable that never answers do not hold the result for long', async () => {
    const stuck = new Writable({ write() {} });
    const started = performance.now();
    expect((await box.exec(['echo', 'x'], { stdout: stuck })).exitCode).toBe(0);
    expect(performance.now() - started).toBeLessThan(3000);
  });

  it('leave no listeners on this process, and warn of none, however many share its streams', async () => {
    const warnings: Error[] = [];
    const warned = (warning: Error) => warnings.push(warning);
    const counts = () =>
      [process.stdin, process.stdout, process.stderr].map((stream) =>
        ['drain', 'error', 'close', 'end', 'data'].map((event) => stream.listenerCount(event)).join(),
      );
    const inherit = { stdin: 'inherit', stdout: 'inherit', stderr: 'inherit' } as const;
    await box.exec(['true'], inherit);
    const before = { counts: counts(), most: process.stdout.getMaxListeners() };
    process.on('warning', warned);
    await Promise.all(Array.from({ length: 30 }, () => box.exec(['true'], inherit)));
    await sleep(20);
    process.off('warning', warned);
    expect({ counts: counts(), most: process.stdout.getMaxListeners() }).toEqual(before);
    expect(warnings).toEqual([]);
  });

  it('to this process, whose reader has gone, are dropped without a word', async () => {
    buildOnce();
    const child = spawn(process.execPath, [fixture('closed-stdout.mjs')], { stdio: 'pipe' });
    child.stdout.destroy();
    expect(JSON.parse(await text(child.stderr))).toEqual({ exitCode: 0, reason: 'exited' });
  });

  it('of 256 MiB go to a slow reader with flat memory', async () => {
    buildOnce();
    const child = spawn(process.execPath, [fixture('slow-reader.mjs'), String(256 * MiB)], { stdio: 'pipe' });
    const report = JSON.parse(await text(child.stdout)) as { bytes: number; growth: number; exitCode: number };
    expect(report).toMatchObject({ bytes: 256 * MiB, exitCode: 0 });
    expect(report.growth).toBeLessThan(48 * MiB);
  });

  it('as a pipe that nobody reads do not hold the result', async () => {
    const process = box.exec(sh('head -c 40000 /dev/zero'), { stdout: 'pipe' });
    expect((await process).exitCode).toBe(0);
    let bytes = 0;
    for await (const chunk of process.stdout ?? []) bytes += (chunk as Buffer).length;
    expect(bytes).toBe(40_000);
  });

  it('as a pipe that is destroyed give the program SIGPIPE', async () => {
    const process = box.exec(['yes'], { stdout: 'pipe' });
    process.stdout?.destroy();
    expect(await process).toMatchObject({ signal: 'SIGPIPE', reason: 'signaled' });
  });

  it('are not held open by what stays behind', async () => {
    const started = performance.now();
    const { stdout } = await box.exec(sh('sleep 5 & echo done'));
    const alone = await Container.run(sh('sleep 600 & echo done'));
    expect([stdout, alone.stdout]).toEqual(['done\n', 'done\n']);
    expect(performance.now() - started).toBeLessThan(3000);
  });

  it('end even when what stays behind goes on writing', async () => {
    const busy = box.exec(sh('yes & echo done >&2'), { stdout: 'buffer' });
    const { stderr, exitCode } = await busy;
    expect({ stderr, exitCode }).toEqual({ stderr: 'done\n', exitCode: 0 });
    await box.exec(['pkill', 'yes']);
  });
});

describe('a buffer', () => {
  it('keeps everything up to maxBuffer', async () => {
    const result = await box.exec(['head', '-c', '100000', '/dev/zero'], { maxBuffer: 100_000 });
    expect(result.stdout).toHaveLength(100_000);
    expect(result.truncated).toBe(false);
  });

  it('keeps head and tail of more, and says so', async () => {
    const result = await box.exec(['seq', '1', '200000'], { maxBuffer: 1000 });
    expect(result.truncated).toBe(true);
    expect(result.stdout).toHaveLength(1000);
    expect(result.stdout.startsWith('1\n2\n3\n')).toBe(true);
    expect(result.stdout.endsWith('199999\n200000\n')).toBe(true);
  });

  it('of zero keeps nothing', async () => {
    const result = await box.exec(['echo', 'x'], { maxBuffer: 0 });
    expect(result).toMatchObject({ stdout: '', truncated: true });
  });

  it('has bounds of its own for stderr', async () => {
    const result = await box.exec(sh('seq 1 1000 >&2; echo out'), { maxBuffer: 10 });
    expect(result).toMatchObject({
      stdout: 'out\n',
      stderr: '1\n2\n31000\n',
      truncated: true,
    });
  });
});

describe('maxOutput', () => {
  it('ends a program that writes more, with both streams counted', async () => {
    const result = await box.exec(['yes'], { maxOutput: '1MiB', maxBuffer: 100 });
    expect(result).toMatchObject({ reason: 'output-limit', signal: 'SIGKILL', truncated: true });
    const both = await Container.run(sh('while :; do echo x; echo y >&2; done'), { maxOutput: 1000 });
    expect(both.reason).toBe('output-limit');
  });

  it('does not touch a program that writes exactly as much', async () => {
    expect(await box.exec(['head', '-c', '1000', '/dev/zero'], { maxOutput: 1000 })).toMatchObject({
      reason: 'exited',
    });
  });
});

describe('iteration', () => {
  it('gives output as it comes, and ends with the program', async () => {
    const seen: string[] = [];
    const process = box.exec(sh('echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three'));
    for await (const { stream, data } of process) seen.push(`${stream} ${data}`);
    expect(seen).toEqual(['stdout one\n', 'stderr two\n', 'stdout three\n']);
    expect((await process).stdout).toBe('one\nthree\n');
  });

  it('begins with what came before it', async () => {
    const process = box.exec(sh('echo early; sleep 0.3; echo late'));
    await sleep(200);
    const seen: string[] = [];
    for await (const { data } of process) {
      seen.push(String(data));
      await sleep(10);
    }
    expect(seen.join('')).toBe('early\nlate\n');
  });

  it('sets the pace of the program', async () => {
    const process = box.exec(['cat', '/dev/zero'], { maxBuffer: 0 });
    for await (const { data } of process) {
      expect(data.length).toBeGreaterThan(0);
      await sleep(200);
      break;
    }
    await process[Symbol.asyncDispose]();
    expect(await process).toMatchObject({ reason: 'stopped' });
  });

  it('may be left early; the program goes on', async () => {
    const process = box.exec(sh('echo one; sleep 0.1; echo two; exit 4'));
    for await (const _ of process) break;
    expect(await process).toMatchObject({ stdout: 'one\ntwo\n', exitCode: 4 });
  });

  it('throws what kept the program from starting', async () => {
    await expect(async () => {
      for await (const _ of box.exec(['no-such-program'])) expect.unreachable();
    }).rejects.toMatchObject({ code: 'ERR_COMMAND_NOT_FOUND' });
  });

  it('gives 100,000 lines, each whole', async () => {
    let count = 0;
    let wrong = 0;
    for await (const line of box.exec(['seq', '1', '100000'], { maxBuffer: 0 }).lines()) {
      if (line !== String(++count)) wrong++;
    }
    expect({ count, wrong }).toEqual({ count: 100_000, wrong: 0 });
  });

  it('gives a last line without an end, empty lines, and characters that came in two pieces', async () => {
    const lines: string[] = [];
    const script = "printf 'a\\n\\n\\303'; sleep 0.1; printf '\\274b\\nlast'";
    for await (const line of box.exec(sh(script)).lines()) lines.push(line);
    expect(lines).toEqual(['a', '', 'üb', 'last']);
  });

  it('gives a line that has no end in pieces', async () => {
    let bytes = 0;
    let pieces = 0;
    for await (const line of box.exec(['head', '-c', String(4 * MiB), '/dev/zero']).lines()) {
      bytes += line.length;
      pieces++;
    }
    expect(bytes).toBe(4 * MiB);
    expect(pieces).toBeGreaterThan(2);
  });
});
