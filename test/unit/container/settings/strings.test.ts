import { describe, expect, it } from 'vitest';
import {
  parseArgv,
  parseContainerOptions,
  parseExecOptions,
  parseRunOptions,
} from '../../../../lib/container/settings.js';
import { refusal, shown } from './refusal.js';

const longest = 128 * 1024 - 1;

describe('argv', () => {
  it('is copied and frozen, whatever its strings hold', () => {
    const argv = ['sh', '-c', 'echo "$1"\n\r\t', '', 'ü😀', '-'];
    const parsed = parseArgv(argv);
    expect(parsed).toEqual(argv);
    expect(parsed).not.toBe(argv);
    expect(Object.isFrozen(parsed)).toBe(true);
  });

  it('is never a shell string', () => {
    expect(refusal(() => parseArgv('ls -l'), 'argv').hint).toContain("['sh', '-c', …]");
  });

  it.each([undefined, null, 5, {}, [], new Set(['a'])].map((value) => [shown(value), value]))(
    'is not %s',
    (_, value) => {
      refusal(() => parseArgv(value), 'argv');
    },
  );

  it.each<[unknown[], string]>([
    [[''], 'argv[0]'],
    [['a', 5], 'argv[1]'],
    [['a', null], 'argv[1]'],
    [['a', undefined], 'argv[1]'],
    [new Array(2), 'argv[0]'],
    [['a', 'b\0c'], 'argv[1]'],
    [['a', '\ud800'], 'argv[1]'],
    [['a\udc00'], 'argv[0]'],
    [[['a']], 'argv[0]'],
  ])('%j is refused by its element', (argv, option) => {
    refusal(() => parseArgv(argv), option);
  });

  it('K11: is refused, never cut, where execve(2) would say E2BIG', () => {
    expect(parseArgv(['a', 'x'.repeat(longest)])).toHaveLength(2);
    expect(refusal(() => parseArgv(['a', 'x'.repeat(longest + 1)]), 'argv[1]').message).toContain('131071 bytes');
    refusal(() => parseArgv(['a', 'ä'.repeat(longest / 2 + 1)]), 'argv[1]');
    const error = refusal(() => parseArgv(Array(17).fill('x'.repeat(longest))), 'argv');
    expect(error.message).toContain('at most 2031616 bytes in all');
  });

  it('H13: has at most 100,000 elements', () => {
    expect(parseArgv(Array(100_000).fill('x'))).toHaveLength(100_000);
    refusal(() => parseArgv(Array(100_001).fill('x')), 'argv');
    refusal(() => parseArgv(new Array(4_000_000_000)), 'argv');
  });
});

describe('env', () => {
  it('keeps order, and every value as it is', () => {
    const env = { B: '1', A: 'x=y', EMPTY: '', LINES: 'one\nLD_PRELOAD=/x\r\n', 'a.b-c d': 'ü😀' };
    expect(parseContainerOptions({ env }).env).toEqual(Object.entries(env));
    expect(parseExecOptions({ env }).env).toEqual(Object.entries(env));
  });

  it('K7: takes __proto__ as a name like any other', () => {
    expect(parseContainerOptions({ env: JSON.parse('{"__proto__":"x"}') }).env).toEqual([['__proto__', 'x']]);
  });

  it('belongs to the container in run, so that it is set once', () => {
    const { container, exec } = parseRunOptions({ env: { A: 'b' } });
    expect([container.env, exec.env]).toEqual([[['A', 'b']], []]);
  });

  it.each(['', 'A=B', '=', 'A\0', 'A\nB', 'A\r', 'A\x1b', 'A\x7f', 'A\u0085', '\ud800'])(
    'K1: %j is no name',
    (name) => {
      const error = refusal(() => parseContainerOptions({ env: { [name]: 'x' } }), 'env');
      expect(error.expected).toContain('names of variables');
    },
  );

  it.each(
    [undefined, null, 5, true, {}, [], 'a\0b', '\udfff', 'x'.repeat(longest)].map((value) => [shown(value), value]),
  )('%s is no value', (_, value) => {
    refusal(() => parseContainerOptions({ env: { A: value } }), 'env.A');
  });

  it.each([null, 'A=B', ['A=B'], new Map([['A', 'b']])].map((value) => [shown(value), value]))(
    '%s is no set of variables',
    (_, value) => {
      refusal(() => parseContainerOptions({ env: value }), 'env');
    },
  );

  it('C6: is never the whole of process.env by accident', () => {
    refusal(() => parseContainerOptions({ env: process.env }), 'env');
  });

  it('H13: is bounded in number and in bytes', () => {
    const many = (count: number, value: string) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`V${i}`, value]));
    expect(parseContainerOptions({ env: many(10_000, '') }).env).toHaveLength(10_000);
    refusal(() => parseContainerOptions({ env: many(10_001, '') }), 'env');
    refusal(() => parseContainerOptions({ env: many(17, 'x'.repeat(125_000)) }), 'env');
  });
});
