import { describe, expect, it } from 'vitest';
import { parseContainerOptions, parseExecOptions } from '../../../../lib/container/settings.js';
import { refusal, shown } from './refusal.js';

describe('a user', () => {
  it.each([
    [0, { kind: 'ids', uid: 0, gid: 0 }],
    [1000, { kind: 'ids', uid: 1000, gid: 1000 }],
    [65_535, { kind: 'ids', uid: 65_535, gid: 65_535 }],
    ['0', { kind: 'ids', uid: 0, gid: 0 }],
    ['1000', { kind: 'ids', uid: 1000, gid: 1000 }],
    ['1000:100', { kind: 'ids', uid: 1000, gid: 100 }],
    ['nobody', { kind: 'name', user: 'nobody' }],
    ['_apt', { kind: 'name', user: '_apt' }],
    ['Machine$', { kind: 'name', user: 'Machine$' }],
    ['www-data:adm', { kind: 'name', user: 'www-data', group: 'adm' }],
    ['www-data:4', { kind: 'name', user: 'www-data', group: 4 }],
    [`a${'b'.repeat(31)}`, { kind: 'name', user: `a${'b'.repeat(31)}` }],
  ])('%j is understood', (user, spec) => {
    expect(parseContainerOptions({ user }).user).toEqual(spec);
    expect(parseExecOptions({ user }).user).toEqual(spec);
  });

  it('is the root of the container by default, and that of the container for a process', () => {
    expect(parseContainerOptions({}).user).toEqual({ kind: 'ids', uid: 0, gid: 0 });
    expect(parseExecOptions({})).not.toHaveProperty('user');
  });
});

describe('D3, E3, K5: a user is parsed as a whole, and digits are an id in range', () => {
  const bad: unknown[] = [
    ...[
      '1000x',
      'x:',
      '+0',
      '-0',
      '-1',
      '',
      ':',
      '1:',
      ':1',
      ' 1',
      '1 ',
      '1\n',
      '0x10',
      '1e3',
      '01',
      '00',
      '0:00',
      '1:01',
    ],
    ...[
      '1.5',
      '1,5',
      '٣',
      '１',
      '1:2:3',
      'a:b:c',
      'a b',
      'a/b',
      '../a',
      '.a',
      '-a',
      '$',
      'ä',
      'a\0',
      'root\n',
      'a:\n',
      'a$b',
    ],
    ...[
      '65536',
      '0:65536',
      '2147483648',
      '4294967294',
      '4294967295',
      '4294967296',
      '18446744073709551616',
      '9'.repeat(400),
    ],
    ...[`a${'b'.repeat(32)}`, '1000:staff', '\ud800'],
    ...[65_536, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 4294967296, 2 ** 53, Number('1e309')],
    ...[null, true, 5n, {}, [], ['root'], () => 0],
  ];
  it.each(bad.map((user) => [shown(user), user]))('%s is refused', (_, user) => {
    refusal(() => parseContainerOptions({ user }), 'user');
    refusal(() => parseExecOptions({ user }), 'user');
  });

  it('says what the range is', () => {
    const error = refusal(() => parseContainerOptions({ user: '4294967294' }), 'user');
    expect(error.message).toBe(
      "option user: expected whole ids from 0 to 65535, got '4294967294' (string) (hint: a container has 65,536 ids of its own)",
    );
  });
});
