import { constants } from 'node:buffer';
import { PassThrough, Readable, Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { parseExecOptions } from '../../../../lib/container/settings.js';
import { refusal, shown } from './refusal.js';

describe('the settings of a process', () => {
  it('have defaults', () => {
    expect(parseExecOptions({})).toEqual({
      stdin: { kind: 'ignore' },
      stdout: { kind: 'buffer' },
      stderr: { kind: 'buffer' },
      maxBuffer: 2 ** 20,
      encoding: 'utf8',
      env: [],
      check: false,
      attributes: { rlimits: {}, scheduling: {} },
      capabilities: {},
    });
  });

  it('take sizes and durations in their units', () => {
    expect(
      parseExecOptions({ maxBuffer: 0, maxOutput: '1MB', timeout: '2s', check: true, encoding: 'buffer' }),
    ).toMatchObject({
      maxBuffer: 0,
      maxOutput: 1e6,
      timeout: 2000,
      check: true,
      encoding: 'buffer',
    });
  });

  it.each<[string, unknown]>([
    ['maxBuffer', -1],
    ['maxBuffer', Number.NaN],
    ['maxBuffer', constants.MAX_STRING_LENGTH + 1],
    ['maxOutput', 0],
    ['maxOutput', Number.POSITIVE_INFINITY],
    ['timeout', 0],
    ['timeout', '0.5'],
    ['timeout', '0.1ms'],
    ['timeout', -5],
    ['timeout', Number.NaN],
    ['timeout', Number.POSITIVE_INFINITY],
    ['timeout', 2 ** 31],
    ['timeout', '25d'],
    ['encoding', 'utf-8'],
    ['encoding', null],
    ['check', 'true'],
    ['check', 1],
    ['signal', {}],
    ['cwd', '/proc/self/fd/7'],
    ['tty', 'true'],
    ['tty', 1],
    ['tty', null],
  ])('K5: do not take %s: %j', (key, value) => {
    refusal(() => parseExecOptions({ [key]: value }), key);
  });
});

describe('stdin', () => {
  it.each(['ignore', 'pipe', 'inherit'])('may be %s', (stdin) => {
    expect(parseExecOptions({ stdin }).stdin).toEqual({ kind: stdin });
  });

  it('K1: may be any text and any bytes, NUL too', () => {
    expect(parseExecOptions({ stdin: 'a\0b\nü' }).stdin).toEqual({ kind: 'bytes', bytes: Buffer.from('a\0b\nü') });
    expect(parseExecOptions({ stdin: '' }).stdin).toEqual({ kind: 'bytes', bytes: Buffer.alloc(0) });
    const bytes = new Uint8Array([0, 255]);
    expect(parseExecOptions({ stdin: bytes }).stdin).toEqual({ kind: 'bytes', bytes });
  });

  it('may be a stream or an async iterable', () => {
    async function* generate() {
      yield 'x';
    }
    for (const stdin of [new PassThrough(), Readable.from(['x']), generate(), new Blob(['x']).stream()]) {
      expect(parseExecOptions({ stdin }).stdin).toMatchObject({ kind: 'stream', stream: stdin });
    }
  });

  it.each(
    [null, 5, true, {}, ['a'], new ArrayBuffer(1), new Writable(), () => 'x', 'a\ud800', '\ud800\0\udc00'].map((v) => [
      shown(v),
      v,
    ]),
  )('is not %s', (_, stdin) => {
    refusal(() => parseExecOptions({ stdin }), 'stdin');
  });
});

describe.each(['stdout', 'stderr'])('%s', (key) => {
  it.each(['buffer', 'pipe', 'inherit', 'ignore'])('may be %s', (kind) => {
    expect(parseExecOptions({ [key]: kind })).toMatchObject({ [key]: { kind } });
  });

  it('may be a Writable', () => {
    const stream = new PassThrough();
    expect(parseExecOptions({ [key]: stream })).toMatchObject({ [key]: { kind: 'stream', stream } });
  });

  it.each([null, 1, true, {}, [], 'Buffer', '', '/tmp/out', Readable.from([])].map((value) => [shown(value), value]))(
    'is not %s',
    (_, value) => {
      refusal(() => parseExecOptions({ [key]: value }), key);
    },
  );

  it('suggests the word that was meant', () => {
    expect(refusal(() => parseExecOptions({ [key]: 'inherti' }), key).hint).toBe("did you mean 'inherit'?");
  });
});

describe('tty', () => {
  it.each<[unknown, unknown]>([
    [true, { columns: 80, rows: 24 }],
    [{}, { columns: 80, rows: 24 }],
    [
      { columns: 1, rows: 65_535 },
      { columns: 1, rows: 65_535 },
    ],
    [false, undefined],
  ])('%j is a terminal of %j', (tty, expected) => {
    expect(parseExecOptions({ tty }).tty).toEqual(expected);
  });

  it.each<[string, unknown]>([
    ['columns', 0],
    ['columns', 65_536],
    ['columns', '80'],
    ['rows', 1.5],
    ['rows', Number.NaN],
    ['rows', null],
    ['cols', 80],
  ])('has no %s %j', (key, value) => {
    refusal(() => parseExecOptions({ tty: { [key]: value } }), `tty.${key}`);
  });

  it.each(['pipe', 'inherit', 'ignore', new PassThrough()].map((value) => [shown(value), value]))(
    'has one stream: stderr is not %s beside it',
    (_, stderr) => {
      const error = refusal(() => parseExecOptions({ tty: true, stderr }), 'stderr');
      expect(error.hint).toBe('a terminal has one stream, which is stdout');
      expect(parseExecOptions({ tty: false, stderr }).tty).toBeUndefined();
    },
  );

  it("takes stderr: 'buffer', which is what it is without being asked", () => {
    expect(parseExecOptions({ tty: true, stderr: 'buffer', stdout: 'pipe' }).tty).toBeDefined();
  });
});
