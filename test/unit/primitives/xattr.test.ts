import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { addon } from '../../../lib/launcher/native.js';
import { getXattr, listXattr, removeXattr, setXattr } from '../../../lib/primitives/xattr.js';

const directory = mkdtempSync(join(tmpdir(), 'xattr-'));
afterAll(() => rmSync(directory, { recursive: true }));

function file(name: string): string {
  const path = join(directory, name);
  writeFileSync(path, 'x');
  return path;
}

describe('extended attributes', () => {
  it('are set, listed, read back byte for byte, and removed', () => {
    const path = file('a,b:c\\d\ne');
    const value = Buffer.from([0, 1, 255, 0]);
    setXattr(path, 'user.one', value);
    setXattr(Buffer.from(path), 'user.two', new Uint8Array());
    expect(
      listXattr(path)
        .filter((name) => name.startsWith('user.'))
        .sort(),
    ).toEqual(['user.one', 'user.two']);
    expect(getXattr(path, 'user.one')).toEqual(value);
    expect(getXattr(path, 'user.two')).toEqual(Buffer.alloc(0));
    expect(removeXattr(path, 'user.one')).toBe(true);
    expect(removeXattr(path, 'user.one')).toBe(false);
    expect(getXattr(path, 'user.one')).toBeUndefined();
  });

  it('can be asked to be new, or to be there', () => {
    const path = file('flags');
    expect(() => setXattr(path, 'user.x', Buffer.from('1'), 'replace')).toThrow(/ENODATA/);
    setXattr(path, 'user.x', Buffer.from('1'), 'create');
    expect(() => setXattr(path, 'user.x', Buffer.from('2'), 'create')).toThrow(/EEXIST/);
    setXattr(path, 'user.x', Buffer.from('3'), 'replace');
    expect(getXattr(path, 'user.x')?.toString()).toBe('3');
  });

  it('belong to a link itself, and not to what it leads to', () => {
    const path = file('target');
    setXattr(path, 'user.x', Buffer.from('1'));
    const link = join(directory, 'link');
    symlinkSync(path, link);
    expect(getXattr(path, 'user.x')?.toString()).toBe('1');
    expect(() => getXattr(link, 'user.x')).not.toThrow();
    expect(getXattr(link, 'user.x')).toBeUndefined();
    expect(() => setXattr(link, 'user.x', Buffer.from('2'))).toThrow(expect.objectContaining({ errno: 'EPERM' }));
  });

  it('can be had by a descriptor, until it is closed', () => {
    const [reader, writer] = addon().pipe();
    writer.close();
    expect(getXattr(reader, 'user.x')).toBeUndefined();
    reader.close();
    expect(() => getXattr(reader, 'user.x')).toThrow('closed');
  });

  it('refuse what the kernel would cut, and name what is missing', () => {
    expect(() => getXattr('/tmp\0/x', 'user.x')).toThrow(/NUL/);
    expect(() => getXattr('/tmp', 'user.x\0y')).toThrow(/NUL/);
    expect(() => getXattr(join(directory, 'none'), 'user.x')).toThrow(
      expect.objectContaining({ code: 'ERR_XATTR', errno: 'ENOENT', syscall: 'getxattr' }),
    );
    expect(() => setXattr(file('bad'), 'nonsense', Buffer.from('1'))).toThrow(
      expect.objectContaining({ code: 'ERR_UNSUPPORTED', errno: 'EOPNOTSUPP' }),
    );
  });
});
