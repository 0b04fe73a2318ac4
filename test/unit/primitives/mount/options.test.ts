/** Options of mounts: what cannot be is an error that names the option, and nothing is mounted. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  BindMount,
  type BindMountOptions,
  IdMap,
  OptionError,
  OverlayMount,
  TmpfsMount,
} from '../../../../lib/index.js';
import { readOverlayOptions } from '../../../../lib/primitives/mount/overlay-options.js';

const directory = mkdtempSync('/tmp/mount-options-');
for (const name of ['a', 'b', 'upper', 'work', 'upper/in']) mkdirSync(join(directory, name));
writeFileSync(join(directory, 'file'), '');
symlinkSync('a', join(directory, 'link'));
afterAll(() => rmSync(directory, { recursive: true }));

const at = (name: string) => join(directory, name);
const writable = { lower: [at('a')], upper: at('upper'), work: at('work') };
const mounts = () => readFileSync('/proc/self/mountinfo', 'utf8');

async function refused(make: Promise<unknown>): Promise<unknown> {
  return make.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('options of an overlay', () => {
  it.each([
    ['no lower directory', { lower: [] }, 'lower'],
    ['lower is text', { lower: at('a') }, 'lower'],
    ['lower is missing', {}, 'lower'],
    ['too many', { lower: Array.from({ length: 501 }, (_, i) => `/l${i}`) }, 'lower'],
    ['a relative lower', { lower: ['a'] }, 'lower[0]'],
    ['an empty lower', { lower: [''] }, 'lower[0]'],
    ['a NUL byte', { lower: [`${at('a')}\0b`] }, 'lower[0]'],
    ['half a character', { lower: ['/tmp/\ud800'] }, 'lower[0]'],
    ['a path too long', { lower: [`/${'x'.repeat(4095)}`] }, 'lower[0]'],
    ['a number', { lower: [5] }, 'lower[0]'],
    ['a lower that is not there', { lower: [at('none')] }, 'lower[0]'],
    ['a lower that is a file', { lower: [at('a'), at('file')] }, 'lower[1]'],
    ['the same twice', { lower: [at('a'), at('b'), at('a')] }, 'lower[2]'],
    ['the same twice, through a link', { lower: [at('a'), at('link')] }, 'lower[1]'],
    ['upper without work', { lower: [at('a')], upper: at('upper') }, 'work'],
    ['work without upper', { lower: [at('a')], work: at('work') }, 'upper'],
    ['a relative upper', { ...writable, upper: 'upper' }, 'upper'],
    ['work is upper', { ...writable, work: at('upper') }, 'work'],
    ['work in upper', { ...writable, work: at('upper/in') }, 'work'],
    ['upper in work', { ...writable, upper: at('upper/in'), work: at('upper') }, 'work'],
    ['upper is a lower', { ...writable, lower: [at('upper')] }, 'upper'],
    ['upper in a lower', { ...writable, lower: [directory] }, 'upper'],
    ['work in a lower', { ...writable, lower: [at('a'), at('work')] }, 'work'],
    ['an unknown option', { ...writable, options: 'index=on' }, 'options'],
    ['an option as the kernel spells it', { ...writable, redirect_dir: 'on' }, 'redirect_dir'],
    ['a redirect that is none', { ...writable, redirectDir: 'on,upperdir=/etc' }, 'redirectDir'],
    ['metacopy without redirects', { ...writable, metacopy: true, redirectDir: 'off' }, 'redirectDir'],
    ['metacopy with userxattr', { ...writable, metacopy: true, userxattr: true }, 'metacopy'],
    ['redirects with userxattr', { ...writable, redirectDir: 'on', userxattr: true }, 'redirectDir'],
    ['volatile, but nothing to write', { lower: [at('a')], volatile: true }, 'volatile'],
    ['index, but nothing to write', { lower: [at('a')], index: true }, 'index'],
    ['writable without upper', { lower: [at('a')], readOnly: false }, 'readOnly'],
    ['xino as a boolean', { ...writable, xino: true }, 'xino'],
    ['volatile as text', { ...writable, volatile: 'yes' }, 'volatile'],
    ['a relative target', { ...writable, target: 'm' }, 'target'],
    ['a target that is not there', { ...writable, target: at('none') }, 'target'],
    ['the root as the target', { ...writable, target: '/' }, 'target'],
    ['a target in a user namespace of its own', { ...writable, target: at('b'), userNamespace: true }, 'target'],
    ['an empty id map', { ...writable, idMap: [] }, 'idMap'],
    [
      'id maps that overlap',
      {
        ...writable,
        idMap: [
          { inside: 0, outside: 1000, count: 10 },
          { inside: 5, outside: 9000, count: 10 },
        ],
      },
      'idMap[1]',
    ],
    ['an id map of users only', { ...writable, idMap: { uid: IdMap.identity } }, 'idMap.gid'],
    ['an id map in a user namespace', { ...writable, idMap: IdMap.identity, userNamespace: true }, 'idMap'],
  ])('%s is refused', async (_, options, option) => {
    const before = mounts();
    const error = await refused(OverlayMount.create(options as never));
    expect(error).toBeInstanceOf(OptionError);
    expect((error as OptionError).option).toContain(option);
    expect(mounts()).toBe(before);
  });

  it('are the safe ones where nothing is said', () => {
    const { options, attributes, prefix, own } = readOverlayOptions({ ...writable, userNamespace: false });
    expect(options).toEqual([
      ['redirect_dir', 'nofollow'],
      ['metacopy', 'off'],
      ['index', 'off'],
    ]);
    expect(attributes).toBe(2 | 4); // nosuid, nodev
    expect(prefix).toBe('trusted.overlay.');
    expect(own).toBeUndefined();
  });

  it('become the kernel’s, key by key', () => {
    const all = { volatile: true, metacopy: true, index: true, xino: 'on', exec: false, unsafeSetuid: true } as const;
    const { options, attributes } = readOverlayOptions({
      ...writable,
      ...all,
      unsafeDevices: true,
      userNamespace: false,
    });
    expect(options).toEqual([
      ['redirect_dir', 'on'],
      ['metacopy', 'on'],
      ['index', 'on'],
      ['xino', 'on'],
      ['volatile'],
    ]);
    expect(attributes).toBe(8);
    expect(readOverlayOptions({ ...writable, userNamespace: true })).toMatchObject({
      options: [['userxattr'], ['redirect_dir', 'nofollow'], ['metacopy', 'off'], ['index', 'off']],
      prefix: 'user.overlay.',
    });
  });
});

describe('options of other mounts', () => {
  it.each([
    ['no source', {}, 'source'],
    ['a relative source', { source: 'a' }, 'source'],
    ['a source that is not there', { source: at('none') }, 'source'],
    ['a NUL byte', { source: '/tmp\0' }, 'source'],
    ['a flag as text', { source: at('a'), recursive: 'no' }, 'recursive'],
    ['flags of mount(8)', { source: at('a'), options: 'ro,bind' }, 'options'],
    ['a target that is not there', { source: at('a'), target: at('none') }, 'target'],
  ])('a bind with %s is refused', async (_, options, option) => {
    const before = mounts();
    const error = await refused(BindMount.create(options as BindMountOptions));
    expect(error).toMatchObject({ name: 'OptionError', option });
    expect(mounts()).toBe(before);
  });

  it.each([
    ['no bytes', { size: 0 }, 'size'],
    ['NaN bytes', { size: Number.NaN }, 'size'],
    ['a size with more options in it', { size: '1MiB,mode=777' }, 'size'],
    ['no inodes', { inodes: 0 }, 'inodes'],
    ['set-id bits', { mode: 0o4755 }, 'mode'],
    ['a user by name', { uid: 'root' }, 'uid'],
    ['the id that is none', { gid: 2 ** 32 - 1 }, 'gid'],
    ['an unknown key', { huge: true }, 'huge'],
  ])('a tmpfs with %s is refused', async (_, options, option) => {
    const before = mounts();
    const error = await refused(TmpfsMount.create(options as never));
    expect(error).toMatchObject({ name: 'OptionError', option });
    expect(mounts()).toBe(before);
  });
});
