import { describe, expect, it } from 'vitest';
import { OptionError } from '../../../../lib/errors.js';
import { cgroupName } from '../../../../lib/primitives/cgroup/name.js';

describe('a cgroup name', () => {
  it.each(['a', '0', 'job-1', 'A_b.c', 'x'.repeat(64), '1.2.3', 'a-', 'a.'])('may be %j', (name) => {
    expect(cgroupName(name, 'name')).toBe(name);
  });

  it.each([
    '',
    '.',
    '..',
    '-a',
    '_a',
    '.a',
    'a..b',
    'a/b',
    '/a',
    'a\n',
    'a\0',
    'a b',
    'a:b',
    'ä',
    'a\u202e',
    'x'.repeat(65),
    undefined,
    null,
    7,
    ['a'],
    { toString: () => 'a' },
  ])('may not be %j', (name) => {
    expect(() => cgroupName(name, 'id')).toThrow(OptionError);
    expect(() => cgroupName(name, 'id')).toThrow('option id: expected a name');
  });
});
