/** `container.fs`: files of a running container, which no link or special file leads out of. */

import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Container, OptionError, TscontainError } from '../../lib/index.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const MiB = 2 ** 20;
const sh = (script: string): [string, ...string[]] => ['/bin/sh', '-c', script];
const sha = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');

let box: Container;
let host = '';
beforeAll(async () => {
  host = await mkdtemp(join(tmpdir(), 'tscontain-fs-'));
  box = await Container.create({ storage: { size: '256MiB' } });
});
afterAll(async () => {
  await box.kill();
  await rm(host, { recursive: true, force: true });
});

describe('files', () => {
  it('are written for programs, and read after them', async () => {
    await box.fs.writeFile('/tmp/in', 'grüße');
    expect((await box.exec(['cat', '/tmp/in'])).stdout).toBe('grüße');
    await box.exec(sh('printf answer > /tmp/out'));
    expect(await box.fs.readFile('/tmp/out', 'utf8')).toBe('answer');
    expect(await box.fs.readFile('/tmp/out')).toEqual(Buffer.from('answer'));
  });

  it('belong to root, with the mode that was given', async () => {
    await box.fs.writeFile('/tmp/mode', '', { mode: 0o700 });
    await box.fs.writeFile('/tmp/plain', '');
    expect((await box.exec(['stat', '-c', '%u %g %a', '/tmp/mode', '/tmp/plain'])).stdout).toBe('0 0 700\n0 0 644\n');
  });

  it('are replaced, added to, or refused where they exist', async () => {
    await box.fs.writeFile('/tmp/flag', 'long text');
    await box.fs.writeFile('/tmp/flag', 'new');
    await box.fs.writeFile('/tmp/flag', '+more', { flag: 'a' });
    expect(await box.fs.readFile('/tmp/flag', 'utf8')).toBe('new+more');
    await expect(box.fs.writeFile('/tmp/flag', '', { flag: 'wx' })).rejects.toMatchObject({ errno: 'EEXIST' });
  });

  it('of 64 MiB come back as they were, and stream in pieces', async () => {
    const data = randomBytes(64 * MiB);
    await box.fs.writeFile('/tmp/large', data);
    expect((await box.exec(['sha256sum', '/tmp/large'])).stdout.slice(0, 64)).toBe(sha(data));
    expect(sha(await box.fs.readFile('/tmp/large'))).toBe(sha(data));
    const pieces = async function* () {
      for (let at = 0; at < data.length; at += 10 * MiB) yield data.subarray(at, at + 10 * MiB);
    };
    await box.fs.writeFile('/tmp/large', pieces());
    expect(sha(await box.fs.readFile('/tmp/large'))).toBe(sha(data));
    await box.fs.rm('/tmp/large');
  });

  it('of the kernel are read to their end, though they have no size', async () => {
    expect(await box.fs.readFile('/proc/version', 'utf8')).toContain('Linux');
  });

  it('are described, links followed or not', async () => {
    await box.fs.writeFile('/tmp/facts', '12345', { mode: 0o640 });
    await box.fs.chown('/tmp/facts', 0, 0);
    await box.fs.symlink('facts', '/tmp/link');
    const facts = await box.fs.stat('/tmp/link');
    expect(facts.isFile()).toBe(true);
    expect({ size: facts.size, mode: facts.mode & 0o777, uid: facts.uid, nlink: facts.nlink }).toEqual({
      size: 5,
      mode: 0o640,
      uid: 0,
      nlink: 1,
    });
    expect(Math.abs(facts.mtimeMs - Date.now())).toBeLessThan(60_000);
    expect((await box.fs.lstat('/tmp/link')).isSymbolicLink()).toBe(true);
    expect((await box.fs.stat('/')).isDirectory()).toBe(true);
    expect(await box.fs.readlink('/tmp/link')).toBe('facts');
  });

  it('are renamed, given away, made executable and removed', async (ctx) => {
    needsRoot(ctx);
    await box.fs.writeFile('/tmp/a', '#!/bin/sh\necho ran\n');
    await box.fs.rename('/tmp/a', '/tmp/b');
    await box.fs.chmod('/tmp/b', 0o755);
    await box.fs.chown('/tmp/b', 1000, 100);
    expect((await box.exec(['/tmp/b'])).stdout).toBe('ran\n');
    expect((await box.exec(['stat', '-c', '%u %g', '/tmp/b'])).stdout).toBe('1000 100\n');
    await box.fs.rm('/tmp/b');
    await expect(box.fs.stat('/tmp/b')).rejects.toMatchObject({ errno: 'ENOENT' });
  });
});

describe('directories', () => {
  it('are made one by one, or with their parents', async () => {
    await box.fs.mkdir('/tmp/one', { mode: 0o700 });
    expect((await box.fs.stat('/tmp/one')).mode & 0o777).toBe(0o700);
    await expect(box.fs.mkdir('/tmp/one')).rejects.toMatchObject({ errno: 'EEXIST' });
    await expect(box.fs.mkdir('/tmp/x/y/z')).rejects.toMatchObject({ errno: 'ENOENT' });
    await box.fs.mkdir('/tmp/x/y/z', { recursive: true });
    await box.fs.mkdir('/tmp/x/y/z', { recursive: true });
    expect((await box.fs.stat('/tmp/x/y/z')).isDirectory()).toBe(true);
  });

  it('are listed, with kinds', async () => {
    await box.exec(
      sh('mkdir -p /tmp/list/sub; touch /tmp/list/file; ln -s file /tmp/list/link; mkfifo /tmp/list/fifo'),
    );
    expect((await box.fs.readdir('/tmp/list')).sort()).toEqual(['fifo', 'file', 'link', 'sub']);
    const entries = await box.fs.readdir('/tmp/list', { withFileTypes: true });
    const kinds = entries.map((e) => `${e.name} ${e.isFile()} ${e.isDirectory()} ${e.isSymbolicLink()}`).sort();
    expect(kinds).toEqual([
      'fifo false false false',
      'file true false false',
      'link false false true',
      'sub false true false',
    ]);
  });

  it('of 5,000 entries are listed whole, and removed whole', async () => {
    await box.exec(sh('mkdir /tmp/many; cd /tmp/many; seq -f "entry-with-a-long-name-%06g" 1 5000 | xargs touch'));
    const names = await box.fs.readdir('/tmp/many');
    expect(new Set(names).size).toBe(5000);
    await expect(box.fs.rm('/tmp/many')).rejects.toMatchObject({ errno: 'EISDIR' });
    await box.fs.rm('/tmp/many', { recursive: true });
    await expect(box.fs.readdir('/tmp/many')).rejects.toMatchObject({ errno: 'ENOENT' });
  });
});

describe('what cannot be done is a typed error', () => {
  it.for<[string, (fs: Container['fs']) => Promise<unknown>, string]>([
    ['reading what is not there', (fs) => fs.readFile('/no/such'), 'ENOENT'],
    ['reading a directory', (fs) => fs.readFile('/tmp'), 'EISDIR'],
    ['writing into a file', (fs) => fs.writeFile('/etc/hosts/x', ''), 'ENOTDIR'],
    ['writing where it is read-only', (fs) => fs.writeFile('/usr/x', ''), 'EROFS'],
    ['listing a file', (fs) => fs.readdir('/etc/hosts'), 'ENOTDIR'],
    ['removing what is not there', (fs) => fs.rm('/no/such'), 'ENOENT'],
    ['reading a link that is a file', (fs) => fs.readlink('/etc/hosts'), 'EINVAL'],
    ['a loop of links', (fs) => fs.symlink('loop', '/tmp/loop').then(() => fs.readFile('/tmp/loop')), 'ELOOP'],
    ['a name of 300 bytes', (fs) => fs.writeFile(`/tmp/${'x'.repeat(300)}`, ''), 'ENAMETOOLONG'],
    ['removing the root', (fs) => fs.rm('/', { recursive: true }), 'EINVAL'],
  ])('%s', async ([, operation, errno]) => {
    const outcome = await Promise.allSettled([operation(box.fs)]);
    const error = outcome[0].status === 'rejected' ? outcome[0].reason : undefined;
    expect(error).toBeInstanceOf(TscontainError);
    expect(error).toMatchObject({ code: 'ERR_FILE', errno });
  });

  it('a full storage is ENOSPC with a hint', async () => {
    await using small = await Container.create({ storage: { size: '1MiB' } });
    await expect(small.fs.writeFile('/tmp/x', Buffer.alloc(2 * MiB))).rejects.toMatchObject({
      errno: 'ENOSPC',
      hint: expect.stringContaining('storage.size'),
    });
  });

  it.for(['relative', '', '/a\0b', `/${'x/'.repeat(3000)}`])('a path such as %j is refused', async (path) => {
    await expect(box.fs.readFile(path)).rejects.toBeInstanceOf(OptionError);
  });

  it('force makes none of what is not there', async () => {
    await box.fs.rm('/no/such', { force: true });
  });
});

describe('a file that never ends', () => {
  beforeAll(async () => {
    await box.exec(sh('truncate -s 1T /tmp/sparse; printf 12345 > /tmp/five'), { check: true });
  });
  afterAll(() => box.fs.rm('/tmp/sparse'));

  it('is not read beyond maxBytes, whatever size it says it has', async () => {
    const refused = { code: 'ERR_FILE_TOO_LARGE', path: '/tmp/sparse', hint: expect.stringContaining('maxBytes') };
    await expect(box.fs.readFile('/tmp/sparse')).rejects.toMatchObject(refused);
    await expect(box.fs.readFile('/tmp/sparse', { maxBytes: '1MiB' })).rejects.toMatchObject(refused);
    await expect(box.fs.readFile('/proc/version', { maxBytes: 3 })).rejects.toMatchObject({
      code: 'ERR_FILE_TOO_LARGE',
    });
  });

  it('is told from one that has exactly maxBytes', async () => {
    expect(await box.fs.readFile('/tmp/five', { encoding: 'utf8', maxBytes: 5 })).toBe('12345');
    expect(await box.fs.readFile('/tmp/five', { maxBytes: '5' })).toEqual(Buffer.from('12345'));
    await expect(box.fs.readFile('/tmp/five', { maxBytes: 4 })).rejects.toMatchObject({ code: 'ERR_FILE_TOO_LARGE' });
  });

  it('has no place in options that are wrong', async () => {
    await expect(box.fs.readFile('/tmp/five', { maxBytes: -1 })).rejects.toMatchObject({ option: 'maxBytes' });
    await expect(box.fs.readFile('/tmp/five', 'utf-9' as BufferEncoding)).rejects.toMatchObject({ option: 'encoding' });
    await expect(box.fs.copyOut('/tmp/five', join(host, 'no'), { maxBytes: 'all' })).rejects.toMatchObject({
      option: 'maxBytes',
    });
  });

  it('is not copied out beyond maxBytes, which is of the whole tree', async () => {
    await box.exec(sh('mkdir /tmp/two; truncate -s 3M /tmp/two/a; truncate -s 3M /tmp/two/b'), { check: true });
    await box.fs.copyOut('/tmp/two', join(host, 'two'), { maxBytes: '6MiB' });
    await expect(box.fs.copyOut('/tmp/two', join(host, 'less'), { maxBytes: '5MiB' })).rejects.toMatchObject({
      code: 'ERR_FILE_TOO_LARGE',
      hint: expect.stringContaining('maxBytes'),
    });
  });
});

describe('a name or a target that is not text', () => {
  it.for(['/etc/hosts\0', 'x'.repeat(4096), 5, undefined])('such as %j is no target of a link', async (target) => {
    await expect(box.fs.symlink(target as string, '/tmp/never')).rejects.toMatchObject({
      name: 'OptionError',
      option: 'target',
    });
  });

  it('may be the target of a link, if only a path may be that long', async () => {
    const target = 'x/'.repeat(2047);
    await box.fs.symlink(target, '/tmp/long');
    expect(await box.fs.readlink('/tmp/long')).toBe(target);
  });

  it('is listed with replacements, or as the bytes it is, which lead to the file', async () => {
    await box.exec(
      sh("mkdir /tmp/raw; printf raw > /tmp/raw/$(printf 'a\\377b'); ln -s $(printf '\\376') /tmp/raw/link"),
    );
    expect((await box.fs.readdir('/tmp/raw')).sort()).toEqual(['a\ufffdb', 'link']);
    const name = Buffer.of(0x61, 0xff, 0x62);
    expect(await box.fs.readdir('/tmp/raw', { encoding: 'buffer' })).toContainEqual(name);
    const entries = await box.fs.readdir('/tmp/raw', { encoding: 'buffer', withFileTypes: true });
    expect(entries.find((entry) => entry.isFile())?.name).toEqual(name);
    expect(await box.fs.readFile(Buffer.concat([Buffer.from('/tmp/raw/'), name]), 'utf8')).toBe('raw');
    expect(await box.fs.readlink('/tmp/raw/link', { encoding: 'buffer' })).toEqual(Buffer.of(0xfe));
    await expect(box.fs.readdir('/tmp/raw', { encoding: 'hex' as 'buffer' })).rejects.toMatchObject({
      option: 'encoding',
    });
  });

  it('is copied out and in as the bytes it is', async () => {
    await box.fs.copyOut('/tmp/raw', join(host, 'raw'));
    const name = Buffer.of(0x61, 0xff, 0x62);
    expect(await readFile(Buffer.concat([Buffer.from(`${host}/raw/`), name]), 'utf8')).toBe('raw');
    expect(await readlink(join(host, 'raw/link'), { encoding: 'buffer' })).toEqual(Buffer.of(0xfe));
    await box.fs.copyIn(join(host, 'raw'), '/tmp/raw-back');
    expect((await box.exec(['diff', '-r', '--no-dereference', '/tmp/raw', '/tmp/raw-back'])).exitCode).toBe(0);
  });
});

describe('nothing leads out of the container', () => {
  it('links that climb, or are absolute, end inside', async () => {
    await box.exec(sh('mkdir -p /tmp/l; ln -s ../../../../../../etc/shadow /tmp/l/up; ln -s /etc/hostname /tmp/l/abs'));
    await expect(box.fs.readFile('/tmp/l/up')).rejects.toMatchObject({ errno: 'ENOENT' });
    expect(await box.fs.readFile('/tmp/l/abs', 'utf8')).toBe(`${box.id}\n`);
    expect(await box.fs.readFile('/../../../etc/hostname', 'utf8')).toBe(`${box.id}\n`);
  });

  it('links of procfs are not followed', async () => {
    await expect(box.fs.readFile('/proc/1/root/etc/hostname')).rejects.toBeInstanceOf(TscontainError);
    await expect(box.fs.readdir('/proc/self/cwd')).rejects.toBeInstanceOf(TscontainError);
  });

  it('a FIFO or a device is refused at once, not waited for', async () => {
    await box.exec(['mkfifo', '/tmp/fifo']);
    const started = performance.now();
    await expect(box.fs.readFile('/tmp/fifo')).rejects.toMatchObject({ errno: 'EINVAL' });
    await expect(box.fs.writeFile('/tmp/fifo', 'x')).rejects.toBeInstanceOf(TscontainError);
    await expect(box.fs.readFile('/dev/zero')).rejects.toMatchObject({ errno: 'EINVAL' });
    expect(performance.now() - started).toBeLessThan(2000);
  });

  it('removing a tree does not follow links in it', async () => {
    await box.exec(sh('mkdir -p /tmp/keep /tmp/tree; touch /tmp/keep/file; ln -s /tmp/keep /tmp/tree/link'));
    await box.fs.rm('/tmp/tree', { recursive: true });
    expect(await box.fs.readdir('/tmp/keep')).toEqual(['file']);
  });
});

describe('copies', () => {
  it('of a tree go in with modes and links, and come out the same', async () => {
    const source = join(host, 'tree');
    await mkdir(join(source, 'deep/er'), { recursive: true });
    await writeFile(join(source, 'file'), 'content');
    await writeFile(join(source, 'deep/er/run'), randomBytes(300_000), { mode: 0o755 });
    await chmod(join(source, 'file'), 0o600);
    await symlink('../file', join(source, 'deep/link'));
    await box.fs.copyIn(source, '/tmp/copied');
    expect((await box.exec(sh('cd /tmp/copied; cat deep/link; stat -c %a file deep/er/run'))).stdout).toBe(
      'content600\n755\n',
    );
    await box.fs.copyOut('/tmp/copied', join(host, 'back'));
    expect(execFileSync('diff', ['-r', '--no-dereference', source, join(host, 'back')]).toString()).toBe('');
    expect((await lstat(join(host, 'back/file'))).mode & 0o777).toBe(0o600);
    expect(await readlink(join(host, 'back/deep/link'))).toBe('../file');
  });

  it('out are made new: nothing on the host is written over or followed', async () => {
    await writeFile(join(host, 'precious'), 'precious');
    await box.fs.writeFile('/tmp/evil', 'evil');
    await symlink(join(host, 'precious'), join(host, 'trap'));
    await expect(box.fs.copyOut('/tmp/evil', join(host, 'precious'))).rejects.toThrow();
    await expect(box.fs.copyOut('/tmp/evil', join(host, 'trap'))).rejects.toThrow();
    expect(await readFile(join(host, 'precious'), 'utf8')).toBe('precious');
  });

  it('out keep holes, so that a sparse file takes no disk', async () => {
    await box.exec(sh('truncate -s 256M /tmp/holes; printf middle | dd of=/tmp/holes bs=1M seek=100 conv=notrunc'));
    await box.fs.copyOut('/tmp/holes', join(host, 'holes'));
    const { size, blocks } = await lstat(join(host, 'holes'));
    expect(size).toBe(256 * MiB);
    expect(blocks * 512).toBeLessThan(2 * MiB);
    const hash = (path: string) => execFileSync('sha256sum', [path]).toString().slice(0, 64);
    expect((await box.exec(['sha256sum', '/tmp/holes'])).stdout.slice(0, 64)).toBe(hash(join(host, 'holes')));
  });

  it('out leave out pipes and devices', async () => {
    await box.exec(sh('mkdir /tmp/odd; mkfifo /tmp/odd/fifo; touch /tmp/odd/file'));
    await box.fs.copyOut('/tmp/odd', join(host, 'odd'));
    expect(await readdir(join(host, 'odd'))).toEqual(['file']);
  });
});

it('a hundred operations at once are each answered', async () => {
  await Promise.all(Array.from({ length: 100 }, (_, index) => box.fs.writeFile(`/tmp/many-${index}`, String(index))));
  const read = await Promise.all(
    Array.from({ length: 100 }, (_, index) => box.fs.readFile(`/tmp/many-${index}`, 'utf8')),
  );
  expect(read).toEqual(Array.from({ length: 100 }, (_, index) => String(index)));
});
