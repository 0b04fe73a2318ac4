/** Unpacking of layers: what is kept, what replaces what, and what whiteouts become. */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { unpackLayer } from '../../../lib/image/layer/unpack.js';
import { UnsupportedError } from '../../../lib/index.js';
import { getXattr, listXattr } from '../../../lib/primitives/xattr.js';
import { needsPrograms, needsRoot } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';
import { directory, file, hardLink, longName, symlink, tar } from '../../support/tar.js';
import { Layers, pieces } from '../../support/unpacking.js';

checkResidue();

const opaque = (layers: Layers, path: string) =>
  getXattr(`${layers.path()}/${path}`, 'user.overlay.opaque')?.toString();

describe('unpackLayer', () => {
  it('keeps types, modes, owners, times, links and contents', async (context) => {
    needsRoot(context);
    using layers = new Layers();
    const big = randomBytes(3_000_001);
    const result = await layers.unpack(
      tar(
        directory('./', { mode: 0o750 }),
        directory('./bin/', { mode: 0o2755, uid: 5, gid: 6, mtime: 1_000_000_000 }),
        file('./bin/su', 'program', { mode: 0o4755, uid: 7, gid: 8, pax: [['mtime', '1234567890.123456789']] }),
        hardLink('./bin/other', './bin/su'),
        symlink('./bin/link', '/etc/passwd', { uid: 9, gid: 9, mtime: 5 }),
        file('big', big),
        { name: 'pipe', type: '6', mode: 0o600 },
        file('cut', 'x', {
          xattrs: { 'user.kept': Buffer.from([0, 1]), 'trusted.x': 'y', 'user.overlay.opaque': 'y' },
        }),
      ),
    );
    expect(result).toEqual({ entries: 8, bytes: big.length + 8, skipped: { devices: 0, xattrs: 2, owners: 0 } });
    expect(layers.list()).toEqual([
      '- 644 big',
      'd 2755 bin',
      'l bin/link -> /etc/passwd',
      '- 4755 bin/other',
      '- 4755 bin/su',
      '- 644 cut',
      'p 600 pipe',
    ]);
    const su = lstatSync(`${layers.path()}/bin/su`, { bigint: true });
    expect([su.uid, su.gid, su.nlink, su.mtimeNs]).toEqual([7n, 8n, 2n, 1_234_567_890_123_456_789n]);
    expect(layers.stat('bin')).toMatchObject({ uid: 5, gid: 6, mtimeMs: 1e12 });
    expect(layers.stat('bin/link')).toMatchObject({ uid: 9, mtimeMs: 5000 });
    expect(layers.stat('').mode & 0o7777).toBe(0o750);
    expect(layers.read('bin/other')).toBe('program');
    expect(execFileSync('cmp', [`${layers.path()}/big`, '-'], { input: big }).length).toBe(0);
    expect(listXattr(`${layers.path()}/cut`)).toEqual(['user.kept']);
  });

  it('hides what is below a directory that has replaced a file, as the file did', async () => {
    using layers = new Layers();
    await layers.unpack(tar(file('again', ''), directory('again/'), directory('only/')));
    expect([opaque(layers, 'again'), opaque(layers, 'only')]).toEqual(['y', undefined]);
  });

  it('lets a later member replace an earlier one', async () => {
    using layers = new Layers();
    await layers.unpack(
      tar(
        file('a', '1'),
        file('a', '2'),
        directory('b', { mode: 0o700 }),
        file('b/c', 'x'),
        directory('b', { mode: 0o711 }),
        directory('d'),
        file('d/e', 'x'),
        file('d', 'now a file'),
        symlink('f', 'a'),
        directory('f'),
        file('f/g'),
      ),
    );
    expect(layers.list()).toEqual(['- 644 a', 'd 711 b', '- 644 b/c', '- 644 d', 'd 755 f', '- 644 f/g']);
    expect(layers.read('a')).toBe('2');
  });

  it('turns whiteouts into overlay form, whatever their order', async () => {
    using layers = new Layers();
    const first = [file('.wh.gone'), file('dir/.wh..wh..opq'), file('.wh.both'), file('.wh.file'), file('.wh.deep')];
    const rest = [directory('dir'), file('dir/own'), directory('both'), file('file', 'x'), file('deep/er/file')];
    const lists: string[][] = [];
    for (const archive of [tar(...first, ...rest), tar(...rest, ...first)]) {
      await layers.unpack(archive);
      lists.push(layers.list());
      expect(['dir', 'both', 'deep'].map((path) => opaque(layers, path))).toEqual(['y', 'y', 'y']);
      expect(opaque(layers, 'deep/er')).toBeUndefined();
    }
    const expected = ['d 755 both', 'd 755 deep', 'd 755 deep/er', '- 644 deep/er/file', 'd 755 dir', '- 644 dir/own'];
    expect(lists[0]).toEqual([...expected, '- 644 file', 'c 0 gone']);
    expect(lists[1]).toEqual(lists[0]);
  });

  it('hides all that is below an opaque root, wherever in the archive it is said', async () => {
    using layers = new Layers();
    const below = [
      file('gone/x'),
      file('file'),
      directory('both', { mode: 0o700 }),
      file('both/old'),
      symlink('l', 'file'),
    ];
    await layers.unpack(tar(...below), 'one');
    await layers.unpack(tar(file('second')), 'two', ['one']);
    const own = [file('both/own'), file('file', 'own'), directory('new')];
    const lists: string[][] = [];
    for (const parts of [
      [file('.wh..wh..opq'), ...own],
      [...own, file('.wh..wh..opq')],
    ]) {
      await layers.unpack(tar(directory('.', { mtime: 5 }), ...parts), 'layer', ['two', 'one']);
      lists.push(layers.list().filter((line) => !line.startsWith('d')));
      expect(opaque(layers, 'both')).toBe('y');
      expect(opaque(layers, 'new')).toBeUndefined();
      expect(layers.stat('').mtimeMs).toBe(5000);
    }
    expect(lists[0]).toEqual(['- 644 both/own', '- 644 file', 'c 0 gone', 'c 0 l', 'c 0 second']);
    expect(lists[1]).toEqual(lists[0]);
  });

  it('gives symbolic links and FIFOs a second name where the archive says so', async () => {
    using layers = new Layers();
    await layers.unpack(tar(symlink('l', 'nowhere'), hardLink('m', 'l'), { name: 'p', type: '6' }, hardLink('q', 'p')));
    expect(layers.list()).toEqual(['l l -> nowhere', 'l m -> nowhere', 'p 644 p', 'p 644 q']);
    for (const path of ['l', 'p']) expect(layers.stat(path).nlink).toBe(2);
  });

  it('gives directories that the archive does not name the attributes of those below', async (context) => {
    needsRoot(context);
    using layers = new Layers();
    const below = { mode: 0o1777, uid: 3, gid: 4, mtime: 77, xattrs: { 'user.note': 'n' } };
    await layers.unpack(
      tar(directory('.', { mode: 0o711 }), directory('tmp', below), directory('var/x', below)),
      'one',
    );
    await layers.unpack(tar(file('.wh.var'), file('tmp/a')), 'two', ['one']);
    await layers.unpack(tar(file('tmp/b'), file('var/x/c')), 'layer', ['two', 'one']);
    expect(layers.stat('tmp')).toMatchObject({ uid: 3, gid: 4, mtimeMs: 77_000 });
    expect(layers.stat('tmp').mode & 0o7777).toBe(0o1777);
    expect(getXattr(`${layers.path()}/tmp`, 'user.note')?.toString()).toBe('n');
    expect(layers.stat('').mode & 0o7777).toBe(0o711);
    expect(layers.stat('var/x'), 'hidden by a whiteout').toMatchObject({ uid: 0, gid: 0 });
  });

  it('finds those attributes also where the layers below cannot be shown as one', async (context) => {
    needsRoot(context);
    using layers = new Layers();
    await layers.unpack(tar(directory('tmp', { mode: 0o1777, uid: 3 })), 'one');
    // An overlay refuses a directory that it has already (ELOOP).
    await layers.unpack(tar(file('tmp/a')), 'layer', ['one', 'one']);
    expect(layers.stat('tmp')).toMatchObject({ uid: 3 });
    expect(layers.stat('tmp').mode & 0o7777).toBe(0o1777);
  });

  it('makes what GNU tar makes of its own archives', async (context) => {
    needsRoot(context);
    needsPrograms(context, 'tar');
    using layers = new Layers();
    const long = `${'d'.repeat(120)}/${'f'.repeat(120)}`;
    const archive = tar(
      directory('a/', { mode: 0o700 }),
      file('a/x', 'content', { uid: 70, gid: 7 }),
      hardLink('a/y', 'a/x'),
      longName(long),
      file('cut', 'l', { format: 'gnu' }),
      file(Buffer.from([0x66, 0xff, 0xfe]), 'bytes'),
      symlink('s', 'a/x'),
    );
    await layers.unpack(archive, 'theirs');
    const ours = layers.list('theirs');
    for (const format of ['gnu', 'pax']) {
      const made = execFileSync('tar', ['-C', layers.path('theirs'), `--format=${format}`, '-cf', '-', '.']);
      await layers.unpack(made);
      expect(layers.list(), format).toEqual(ours);
      expect(layers.stat('a/x').uid).toBe(70);
    }
  });

  it('gives directories times from before 1970, also those of a layer below', async (context) => {
    needsRoot(context);
    using layers = new Layers();
    const times = [['mtime', '-3.25']] as const;
    await layers.unpack(tar(directory('.', { pax: times }), directory('old', { pax: times })), 'one');
    await layers.unpack(tar(file('old/a')), 'layer', ['one']);
    expect(['', 'old'].map((path) => layers.stat(path).mtimeMs)).toEqual([-3250, -3250]);
  });

  it('as an ordinary user gives everything to that user, and counts whose owner was another', async (context) => {
    context.skip(process.geteuid?.() === 0, 'needs an ordinary user');
    using layers = new Layers();
    const owner = { uid: 5, gid: 6 };
    const result = await layers.unpack(
      tar(
        directory('.'),
        directory('d', { ...owner, mode: 0o555 }),
        file('d/f', 'x', { ...owner, mode: 0o4000, xattrs: { 'user.a': 'b' } }),
        file('d/own', '', { mode: 0o444, xattrs: { 'user.a': 'b' } }),
        symlink('l', 'x', { gid: 6 }),
        { name: 'p', type: '6', uid: 2 ** 31 },
        file('.wh.gone', '', owner),
      ),
    );
    expect(result.skipped).toEqual({ devices: 0, xattrs: 0, owners: 4 });
    expect(layers.list()).toEqual(['d 555 d', '- 4000 d/f', '- 444 d/own', 'c 0 gone', 'l l -> x', 'p 644 p']);
    for (const path of ['d', 'd/f', 'l', 'p']) expect(layers.stat(path).uid, path).toBe(process.getuid?.());
    expect(getXattr(`${layers.path()}/d/own`, 'user.a')?.toString()).toBe('b');
    chmodSync(layers.path('layer/d'), 0o755);
  });

  it('refuses a file system without idmapped mounts, and says what there is', async (context) => {
    needsRoot(context);
    using layers = new Layers();
    const at = layers.path('ramfs');
    mkdirSync(at);
    execFileSync('mount', ['-t', 'ramfs', 'ramfs', at]);
    try {
      const error = await unpackLayer(pieces(tar(file('a'))), at, []).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(UnsupportedError);
      expect(error).toMatchObject({ path: at, errno: 'EINVAL', hint: expect.stringContaining('idmapped mounts') });
      expect(readdirSync(at)).toEqual([]);
    } finally {
      execFileSync('umount', [at]);
    }
  });

  it('hears of an abort, and of a source that fails', async () => {
    using layers = new Layers();
    const controller = new AbortController();
    async function* stalls() {
      yield tar(file('a', 'x')).subarray(0, 512);
      setTimeout(() => controller.abort(new Error('enough')), 50);
      await new Promise(() => {});
    }
    await layers.unpack(tar());
    const { signal } = controller;
    await expect(unpackLayer(stalls(), layers.path(), [], { signal })).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    async function* fails() {
      yield tar(file('a', 'x'));
      throw new Error('the network');
    }
    await expect(unpackLayer(fails(), layers.path(), [])).rejects.toThrow('the network');
  });
});
