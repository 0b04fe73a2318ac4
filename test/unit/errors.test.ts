import { describe, expect, it } from 'vitest';
import {
  AbortedError,
  ExitError,
  errnoName,
  OptionError,
  PermissionError,
  printable,
  TscontainError,
  UnsupportedError,
} from '../../lib/errors.js';

describe('the error family', () => {
  it.each([
    [new OptionError('a', 'b', 1), 'OptionError', 'ERR_OPTION'],
    [new UnsupportedError('x'), 'UnsupportedError', 'ERR_UNSUPPORTED'],
    [new PermissionError('x'), 'PermissionError', 'ERR_PERMISSION'],
    [new AbortedError('x'), 'AbortError', 'ERR_ABORTED'],
    [new ExitError('x', { exitCode: 1 }), 'ExitError', 'ERR_EXIT'],
    [new TscontainError('ERR_X', 'x'), 'TscontainError', 'ERR_X'],
  ])('has one base, and a name and code for each: %o', (error, name, code) => {
    expect(error).toBeInstanceOf(TscontainError);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name, code });
    expect(String(error)).toBe(`${name}: ${error.message}`);
  });

  it('carries what is known, and undefined for the rest', () => {
    const cause = new Error('below');
    const step = { index: 3, of: 41, kind: 'mount' };
    const details = { syscall: 'mount', errno: 1, path: '/x', step, hint: 'do y', cause };
    expect(new TscontainError('ERR_X', 'cannot x', details)).toMatchObject({
      message: 'cannot x (hint: do y)',
      syscall: 'mount',
      errno: 'EPERM',
      path: '/x',
      step,
      hint: 'do y',
      cause,
    });
    const bare = new TscontainError('ERR_X', 'cannot x');
    expect(bare.message).toBe('cannot x');
    expect(bare.hint).toBeUndefined();
    expect('cause' in bare).toBe(false);
  });

  it('keeps the result that check refused', () => {
    expect(new ExitError('x', { exitCode: 3 }).result).toEqual({ exitCode: 3 });
  });
});

describe('an option error', () => {
  it.each<[unknown, string]>([
    [undefined, 'undefined'],
    [null, 'null'],
    ['x', "'x' (string)"],
    ['', "'' (string)"],
    ['a\nb\x1b[2J', "'a\\x0ab\\x1b[2J' (string)"],
    ['x'.repeat(81), `'${'x'.repeat(77)}...' (string)`],
    [5, '5 (number)'],
    [Number.NaN, 'NaN (number)'],
    [-0, '-0 (number)'],
    [true, 'true (boolean)'],
    [5n, '5n (bigint)'],
    [[1, 2], 'an array of 2'],
    [{}, 'an object (Object)'],
    [new Map(), 'an object (Map)'],
    [Object.create(null), 'an object (no prototype)'],
    [{ constructor: { name: 5 } }, 'an object (no prototype)'],
    [{ constructor: null }, 'an object (no prototype)'],
    [() => 1, 'a function'],
    [Symbol('s'), 'a symbol'],
  ])('names what came', (value, received) => {
    const error = new OptionError('limits.memory', 'a size', value);
    expect(error).toMatchObject({ option: 'limits.memory', expected: 'a size', received });
    expect(error.message).toBe(`option limits.memory: expected a size, got ${received}`);
  });

  it('survives a value that answers with an error', () => {
    const { proxy, revoke } = Proxy.revocable([], {});
    revoke();
    expect(new OptionError('a', 'b', proxy).received).toBe('an object that cannot be read');
    const value = {
      get constructor() {
        throw new Error('no');
      },
    };
    expect(new OptionError('a', 'b', value).received).toBe('an object that cannot be read');
  });
});

describe('text for people', () => {
  it.each([
    ['plain äöü 😀', 'plain äöü 😀'],
    ['\0\t\n\r\x1b\x7f', '\\x00\\x09\\x0a\\x0d\\x1b\\x7f'],
    ['\u0085\u009b', '\\x85\\x9b'],
    ['evil\u202etxt.exe', 'evil\\u202etxt.exe'],
    ['a\u2028b', 'a\\u2028b'],
    ['\ud800', '\\ud800'],
  ])('K1: %j has nothing that a terminal obeys', (text, expected) => {
    expect(printable(text)).toBe(expected);
    expect(printable(printable(text))).toBe(expected);
  });

  it('is what every message is, hints too', () => {
    expect(new TscontainError('ERR_X', 'a\nb', { hint: 'c\x1bd' }).message).toBe('a\\x0ab (hint: c\\x1bd)');
  });
});

describe('the name of an error number', () => {
  it.each([
    [1, 'EPERM'],
    [2, 'ENOENT'],
    [11, 'EAGAIN'],
    [22, 'EINVAL'],
    [28, 'ENOSPC'],
    [38, 'ENOSYS'],
    [40, 'ELOOP'],
    [87, 'EUSERS'],
    [95, 'EOPNOTSUPP'],
    [116, 'ESTALE'],
    [117, 'EUCLEAN'],
    [4000, 'errno 4000'],
  ])('%d is %s', (errno, name) => {
    expect(errnoName(errno)).toBe(name);
  });
});
