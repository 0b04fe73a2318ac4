import { describe, expect, it } from 'vitest';
import { formatSize, parseDuration, parseSize } from '../../lib/units.js';
import { refusal, shown } from './container/settings/refusal.js';

describe('a size', () => {
  it.each<[number | string, number]>([
    [0, 0],
    [1, 1],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
    ['0', 0],
    ['64', 64],
    ['64b', 64],
    ['1kB', 1000],
    ['1KB', 1000],
    ['1k', 1024],
    ['1K', 1024],
    ['1KiB', 1024],
    ['64MiB', 67_108_864],
    ['64 MiB', 67_108_864],
    ['10MB', 10_000_000],
    ['1.5GiB', 1_610_612_736],
    ['1.000001GiB', 1_073_742_897],
    ['2t', 2 * 2 ** 40],
    ['0001', 1],
  ])('%j is %d bytes', (size, bytes) => {
    expect(parseSize(size, 'size')).toBe(bytes);
  });

  const bad: unknown[] = [
    ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number('1e309'), -1, 0.5, 1.5, 2 ** 53, 1e21],
    ...[
      '',
      ' ',
      'b',
      'MiB',
      '-1',
      '+1',
      '1e3',
      '0x10',
      '1_000',
      '1,000',
      ' 1',
      '1 ',
      '1  k',
      '1\n',
      '1k\n',
      '1.',
      '.5',
      '1.5',
      '1.5b',
    ],
    ...[
      '1.0000001GiB',
      '1.5.1k',
      '1PiB',
      '1kk',
      '1kibi',
      '１',
      '٣',
      'NaN',
      'Infinity',
      'max',
      '9'.repeat(17),
      '9999999999999999g',
    ],
    ...[
      '9007199254740992',
      '8192TiB',
      null,
      undefined,
      true,
      5n,
      {},
      [],
      [1],
      ['1k'],
      { valueOf: () => 1 },
      () => 1,
      Symbol('1'),
    ],
  ];
  it.each(bad.map((size) => [shown(size), size]))('K5: is not %s', (_, size) => {
    refusal(() => parseSize(size, 'limits.memory'), 'limits.memory');
  });

  it('lies in its range, which the error names', () => {
    expect(parseSize(10, 'size', { min: 10, max: 20 })).toBe(10);
    expect(parseSize('20', 'size', { min: 10, max: 20 })).toBe(20);
    expect(refusal(() => parseSize('9', 'size', { min: 10, max: 20 }), 'size').message).toBe(
      "option size: expected a size such as 67108864 or '64MiB', from 10 to 20 bytes, got '9' (string)",
    );
    expect(refusal(() => parseSize(21, 'size', { min: 10, max: 20 }), 'size').received).toBe('21 (number)');
    expect(refusal(() => parseSize(1, 'size', { min: 10 }), 'size').expected).toContain('at least 10 bytes');
  });
});

describe('a duration', () => {
  it.each<[number | string, number]>([
    [0, 0],
    [500, 500],
    ['500', 500],
    ['500ms', 500],
    ['2s', 2000],
    ['1.5m', 90_000],
    ['0.25s', 250],
    ['1h', 3_600_000],
    ['1 S', 1000],
    [2 ** 31 - 1, 2 ** 31 - 1],
  ])('%j is %d ms', (duration, ms) => {
    expect(parseDuration(duration, 'timeout')).toBe(ms);
  });

  const bad: unknown[] = [
    Number.NaN,
    Number('1e309'),
    -1,
    0.5,
    2 ** 31,
    '0.5',
    '0.5ms',
    '1d',
    '1 sec',
    '-1s',
    '',
    's',
    '600h',
    null,
    undefined,
    {},
    5n,
  ];
  it.each(bad.map((duration) => [shown(duration), duration]))('K5: is not %s', (_, duration) => {
    refusal(() => parseDuration(duration, 'timeout'), 'timeout');
  });
});

describe('a size for people', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [67_108_864, '64 MiB'],
    [1_610_612_736, '1.5 GiB'],
    [2 ** 50, '1024 TiB'],
  ])('%d is %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});
