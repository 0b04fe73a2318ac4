/** What the tests write as tar is tar: other programs read it. */

import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { needsPrograms } from '../../support/requirements.js';
import {
  base256,
  directory,
  file,
  hardLink,
  longName,
  numberField,
  paxRecord,
  symlink,
  tar,
} from '../../support/tar.js';

const list = (archive: Buffer) =>
  execFileSync('tar', ['-tvf', '-', '--numeric-owner', '--utc'], { input: archive }).toString().trim().split('\n');

describe('the writer of tar archives', () => {
  it('writes what GNU tar lists', (context) => {
    needsPrograms(context, 'tar');
    const long = `${'d'.repeat(90)}/${'f'.repeat(90)}`;
    const archive = tar(
      directory('etc/', { mode: 0o1777, mtime: 86_400 }),
      file('etc/a', 'content', { mode: 0o4755, uid: 12, gid: 34 }),
      symlink('etc/b', 'a'),
      hardLink('etc/c', 'etc/a'),
      file('x', 'y', { pax: [['path', long]], uid: 3_000_000 }),
      longName(`${long}2`),
      file('cut', '', { format: 'gnu' }),
    );
    expect(list(archive).map((line) => line.replace(/ +/g, ' '))).toEqual([
      'drwxrwxrwt 0/0 0 1970-01-02 00:00 etc/',
      '-rwsr-xr-x 12/34 7 1970-01-01 00:00 etc/a',
      'lrwxrwxrwx 0/0 0 1970-01-01 00:00 etc/b -> a',
      'hrw-r--r-- 0/0 0 1970-01-01 00:00 etc/c link to etc/a',
      `-rw-r--r-- 3000000/0 1 1970-01-01 00:00 ${long}`,
      `-rw-r--r-- 0/0 0 1970-01-01 00:00 ${long}2`,
    ]);
  });

  it('writes numbers in octal where they fit, else in base 256', () => {
    expect(numberField(0o644, 8).toString('latin1')).toBe('0000644\0');
    expect(numberField(2 ** 21, 8)).toEqual(Buffer.from('8000000000200000', 'hex'));
    expect(base256(-1n, 12)).toEqual(Buffer.alloc(12, 0xff));
    expect(numberField(-2, 8)).toEqual(Buffer.from('fffffffffffffffe', 'hex'));
  });

  it('counts the length of a record in itself', () => {
    expect(paxRecord('path', 'a').toString()).toBe('9 path=a\n');
    expect(paxRecord('path', 'ab').toString()).toBe('11 path=ab\n');
    const record = paxRecord('comment', 'x'.repeat(87));
    expect(record.toString('latin1').startsWith(`${record.length} `)).toBe(true);
    for (let length = 80; length < 100; length++) {
      const one = paxRecord('k', 'v'.repeat(length));
      expect(Number.parseInt(one.toString(), 10)).toBe(one.length);
    }
  });
});
