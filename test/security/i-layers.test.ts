/** Hostile archives (group I): each is refused or harmless, and nothing beside the layer changes. */

import { execFileSync, spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { ImageError } from '../../lib/index.js';
import { listXattr } from '../../lib/primitives/xattr.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import {
  base256,
  directory,
  endOfArchive,
  file,
  hardLink,
  longName,
  member,
  pax,
  symlink,
  type TarMember,
  tar,
} from '../support/tar.js';
import { Layers } from '../support/unpacking.js';

checkResidue();

type Part = TarMember | Uint8Array;

/** Refused with a typed error, and the sentinel as it was. */
async function refused(parts: readonly Part[] | Uint8Array, code = 'ERR_LAYER'): Promise<string> {
  using layers = new Layers();
  const archive = parts instanceof Uint8Array ? parts : tar(...parts);
  const error: unknown = await layers.unpack(archive).then(
    () => new Error('it was taken'),
    (reason: unknown) => reason,
  );
  expect(error, archive.toString('latin1').replaceAll('\0', '').slice(0, 200)).toBeInstanceOf(ImageError);
  expect(error).toMatchObject({ code });
  expect(layers.untouched).toBe(true);
  return String(error);
}

/** The positive control: taken, with this in it. */
async function taken(parts: readonly Part[], list: readonly string[]): Promise<void> {
  using layers = new Layers();
  await layers.unpack(tar(...parts));
  expect(layers.list()).toEqual(list);
  expect(layers.untouched).toBe(true);
}

const raw = (...bytes: Uint8Array[]) => Buffer.concat(bytes);

describe('hostile archives', () => {
  it('I1: names that climb are refused, absolute ones are beneath the layer', async () => {
    for (const name of [
      '..',
      '../x',
      'a/../../x',
      '/..',
      '/../x',
      './../x',
      'a/..',
      'a//../..//x',
      '../layer-2/secret',
    ])
      expect(await refused([file(name, 'x')]), name).toContain("'..'");
    for (const name of ['', '.', '/', './']) await refused([file(name, 'x')]);
    await taken([file('/etc//./x'), file('..a'), file('...')], ['- 644 ...', '- 644 ..a', 'd 755 etc', '- 644 etc/x']);
  });

  it('I2: nothing is written through a link, also one that takes the place of a directory', async () => {
    for (const target of ['../layer-2', '/', '.', 'b']) {
      await refused([directory('a'), file('a/1'), symlink('a', target), file('a/secret', 'x')]);
      await refused([symlink('a', target), directory('a/b')]);
      await refused([symlink('a', target), hardLink('a/b', 'a/secret')]);
    }
    await taken([symlink('a', '../layer-2'), directory('a'), file('a/secret', 'x')], ['d 755 a', '- 644 a/secret']);
  });

  it('I3: a directory whose name begins like the layer’s stays as it is', async () => {
    await refused([file('../layer-2/x')]);
    await refused([symlink('l', '../layer-2'), file('l/x')]);
    await taken([file('-2/x')], ['d 755 -2', '- 644 -2/x']);
  });

  it('I4: hard links lead to files and links of the same layer only, and not through links', async () => {
    await refused([hardLink('a', '../layer-2/secret')]);
    await refused([hardLink('a', '/etc/passwd')]);
    await refused([hardLink('a', 'later'), file('later')]);
    await refused([symlink('l', '../layer-2'), hardLink('a', 'l/secret')]);
    // The link itself gets a second name; what it leads to is not looked at.
    const twoNames = ['l a -> ../layer-2/secret', 'l l -> ../layer-2/secret'];
    await taken([symlink('l', '../layer-2/secret'), hardLink('a', 'l')], twoNames);
    await refused([symlink('l', '../layer-2/secret'), hardLink('a', 'l'), hardLink('b', 'a/x')]);
    await refused([directory('d'), hardLink('a', 'd')]);
    await refused([file('.wh.w'), hardLink('a', 'w')]);
    await taken([file('/x'), hardLink('a', '/x')], ['- 644 a', '- 644 x']);
  });

  it('I5: names are bytes, and none is taken for another', async () => {
    using layers = new Layers();
    await layers.unpack(tar(file('ß', '1'), file('ss', '2'), file('SS', '3'), file('e\u0301', '4'), file('é', '5')));
    expect(layers.list()).toHaveLength(5);
    expect(layers.read('ß')).toBe('1');
  });

  it('I6: a backslash is a byte like others', async () => {
    await taken([file('a\\b'), file('C:x'), file('..\\x')], ['- 644 ..\\x', '- 644 C:x', '- 644 a\\b']);
  });

  it('I7: what two readers could understand differently is refused', async () => {
    const hidden = member(file('hidden', 'x'));
    const ambiguous: Record<string, readonly Part[] | Uint8Array> = {
      'size in PAX only': [file('a', hidden, { size: 0, pax: [['size', String(hidden.length)]] })],
      'size in the header only': [file('a', hidden, { pax: [['size', '0']] })],
      'two paths': [
        file('a', '', {
          pax: [
            ['path', 'b'],
            ['path', 'c'],
          ],
        }),
      ],
      'two PAX headers': [pax([['path', 'b']]), file('a', '', { pax: [['path', 'c']] })],
      'PAX and GNU': [longName('b'), file('a', '', { pax: [['path', 'c']] })],
      'GNU twice': [longName('b'), longName('c'), file('a')],
      'PAX for nobody': raw(pax([['path', 'b']]), endOfArchive),
      'a global path': [pax([['path', 'b']], 'g'), file('a')],
      'a directory with content': [{ name: 'd', type: '5', content: hidden }],
      'a link with content': [{ ...symlink('l', 'x'), content: hidden }],
      'a file with a slash': [file('d/')],
      'a wrong checksum': [file('a', '', { fields: { checksum: '0000000\0' } })],
      'an unknown type': [{ name: 'a', type: 'Z' }],
      'a sparse file of another format': [{ name: 'a', type: 'S' }],
      'a sparse file of PAX': [file('a', '', { pax: [['GNU.sparse.major', '1']] })],
      star: [file('a', '', { fields: { magic: 'ustar\0\0\0' } })],
      'one block of zeros': raw(member(file('a')), Buffer.alloc(512), hidden, endOfArchive),
      'a length that is wrong': [pax(Buffer.from('99 path=b\n')), file('a')],
      'a length with a zero': [pax(Buffer.from('010 path=b\n')), file('a')],
      'cut in the end': raw(member(file('a')), Buffer.alloc(700)),
      'cut after a PAX header': raw(member(file('a')), pax([['path', 'b']])),
      'cut after a long name': raw(member(file('a')), longName('b')),
      'cut in the padding of a PAX header': raw(member(file('a')), pax([['path', 'b']]).subarray(0, 600)),
      'cut in a header': member(file('a')).subarray(0, 100),
      'cut in a member': member(file('a', 'x'.repeat(300))).subarray(0, 811),
    };
    for (const [name, parts] of Object.entries(ambiguous)) expect(await refused(parts), name).toContain('near byte');
    await taken(
      [
        pax([['comment', 'c']], 'g'),
        file('a', 'xy', {
          pax: [
            ['size', '2'],
            ['path', 'b'],
            ['path', 'b'],
          ],
        }),
      ],
      ['- 644 b'],
    );
  });

  it('I8: no name has a NUL byte', async () => {
    await refused([file('a', '', { pax: [['path', 'b\0c']] })]);
    await refused([symlink('a', '', { pax: [['linkpath', 'b\0c']] })]);
    await refused([file('a', '', { xattrs: { 'user.a\0b': 'c' } })]);
    await refused([longName('b\0c'), file('a')]);
    await taken([file('a', '', { xattrs: { 'user.a': 'b\0c' } })], ['- 644 a']);
  });

  it('I9: bytes, entries and headers are bounded while they come', async () => {
    using layers = new Layers();
    const limited = (archive: Uint8Array, limits: object) =>
      expect(layers.unpack(archive, 'layer', [], { limits })).rejects.toMatchObject({ code: 'ERR_LAYER_LIMIT' });
    await limited(tar(file('a', 'x'.repeat(600)), file('b', 'x'.repeat(500))), { bytes: 1000 });
    await limited(tar(file('a', '', { size: 2 ** 37 })), {});
    await limited(tar(file('a'), file('b'), file('c')), { entries: 2 });
    await limited(tar(file('a', '', { pax: [['comment', 'x'.repeat(2000)]] })), { header: 1000 });
    await limited(tar(file('a', '', { pax: [['comment', 'x'.repeat(2 ** 20)]] })), {});
    await layers.unpack(tar(file('a', 'x'.repeat(500)), file('b')), 'layer', [], {
      limits: { bytes: 500, entries: 2 },
    });
  });

  it('I10: depth and length are bounded, and never cut', async () => {
    const deep = (n: number) => Array.from({ length: n }, () => 'd').join('/');
    await refused([file('x', '', { pax: [['path', deep(257)]] })], 'ERR_LAYER_LIMIT');
    await refused([file('x', '', { pax: [['path', deep(100_000)]] })], 'ERR_LAYER_LIMIT');
    await refused([file('x', '', { pax: [['path', 'n'.repeat(256)]] })], 'ERR_LAYER_LIMIT');
    await refused(
      [longName(Array.from({ length: 30 }, () => 'n'.repeat(140)).join('/')), file('x')],
      'ERR_LAYER_LIMIT',
    );
    using layers = new Layers();
    await layers.unpack(
      tar(file('x', '', { pax: [['path', `${deep(255)}/x`]] }), longName('n'.repeat(255)), file('y')),
    );
    expect(layers.list()).toHaveLength(257);
  });

  it('I11: the root is a directory and stays one', async () => {
    for (const name of ['.', './', '/']) {
      await refused([symlink(name, '../layer-2'), file('x')]);
      await refused([hardLink(name, 'x')]);
      await refused([{ name, type: '6' }]);
    }
    await taken([directory('.'), directory('/'), file('x')], ['- 644 x']);
  });

  it('I12: attributes of a link are the link’s own', async () => {
    using layers = new Layers();
    await layers.unpack(tar(symlink('l', '../layer-2/secret', { mode: 0o777, uid: 5, mtime: 9 })));
    expect(layers.stat('l').mtimeMs).toBe(9000);
    expect(layers.untouched).toBe(true);
  });

  it('I13: a whiteout is of one name, and removes nothing', async () => {
    for (const name of [
      '.wh.',
      '.wh..',
      '.wh...',
      '.wh..wh.',
      '.wh..wh.aufs',
      '.wh.a/b',
      'a/.wh..wh..opq/x',
      '.wh..wh..opq/x',
    ])
      await refused([directory('a'), file(name)]);
    await taken([file('.wh..wh..opq'), file('a')], ['- 644 a']);
    await refused([symlink('l', '../layer-2'), file('l/.wh.secret')]);
    await refused([symlink('l', '../layer-2'), file('l/.wh..wh..opq')]);
    await refused([file('.wh.a', 'content')]);
    await refused([directory('.wh.a')]);
    await taken([file('own'), file('.wh.own'), file('.wh.x')], ['- 644 own', 'c 0 x']);
  });

  it('I14: device nodes are refused, or skipped where that was asked for', async () => {
    const device = { name: 'sda', type: '4', major: 8, minor: 0 };
    expect(await refused([device])).toContain('a device node');
    await refused([{ name: 'null', type: '3' }]);
    using layers = new Layers();
    const result = await layers.unpack(tar(device, file('a')), 'layer', [], { devices: 'skip' });
    expect([result.skipped.devices, layers.list()]).toEqual([1, ['- 644 a']]);
  });

  it('I15: a FIFO in the place of a file or a directory holds nothing up', async () => {
    await refused([{ name: 'etc', type: '6' }, file('etc/passwd')]);
    await taken([{ name: 'a', type: '6' }, file('a', 'x')], ['- 644 a']);
  });

  it('I16: only attributes on the list are kept', async (context) => {
    needsRoot(context);
    using layers = new Layers();
    const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');
    const xattrs = {
      'user.fine': 'x',
      'user.overlay.redirect': '/etc',
      'user.overlay.metacopy': '',
      'trusted.overlay.opaque': 'y',
      'security.capability': capability,
      'security.selinux': 'x',
      'system.posix_acl_access': 'x',
    };
    await layers.unpack(tar(file('a', 'x', { xattrs }), directory('d', { xattrs })));
    for (const name of ['a', 'd']) expect(listXattr(`${layers.path()}/${name}`)).toEqual(['user.fine']);
    await layers.unpack(tar(file('a', 'x', { xattrs })), 'layer', [], { fileCapabilities: true });
    expect(listXattr(`${layers.path()}/a`).toSorted()).toEqual(['security.capability', 'user.fine']);
  });

  it('I17: a layer does not follow the links of the layer below', async () => {
    using layers = new Layers();
    await layers.unpack(tar(symlink('l', '../layer-2')), 'one');
    await layers.unpack(tar(file('l/secret', 'x')), 'layer', ['one']);
    expect(layers.list()).toEqual(['d 755 l', '- 644 l/secret']);
    expect(layers.untouched).toBe(true);
  });

  it('I19: numbers are exact, or refused', async () => {
    const field = (name: 'mode' | 'uid' | 'size' | 'mtime', value: string | Uint8Array) =>
      file('a', '', { fields: { [name]: value } });
    await refused([field('size', base256(-1n, 12))]);
    await refused([field('size', base256(2n ** 63n, 12))]);
    await refused([field('size', '0000000008\0')]);
    await refused([field('size', '-0000000001')]);
    await refused([field('uid', base256(-1n, 8))]);
    await refused([field('uid', base256(2n ** 32n, 8))]);
    await refused([field('mode', '0x1ff\0')]);
    await refused([field('mtime', base256(2n ** 60n, 12))]);
    for (const value of ['-1', '1e3', '', ' 1', '18446744073709551616', '4294967295'])
      await refused([file('a', '', { pax: [['uid', value]] })]);
    for (const value of ['', '-', '1.x', 'nan', '99999999999999999999'])
      await refused([file('a', '', { pax: [['mtime', value]] })]);
    using layers = new Layers();
    await layers.unpack(tar(file('a', '', { pax: [['mtime', '-1.5']] }), field('mode', '   644 \0')));
    await layers.unpack(tar(file('a', '', { pax: [['mtime', '-1.5']] })));
    expect(layers.stat('a').mtimeMs).toBe(-1500);
  });

  it('J9: nothing but zeros follows the end', async () => {
    await refused(raw(tar(file('a')), member(file('b'))));
    await refused(raw(tar(file('a')), Buffer.alloc(5000), Buffer.from('x')));
    await taken([file('a'), Buffer.alloc(9000)], ['- 644 a']);
  });

  it('I11, I13: an archive that is no layer has files, directories and links that stay inside', async () => {
    using layers = new Layers();
    for (const one of [symlink('l', '/etc'), symlink('a/l', '../../x'), { name: 'p', type: '6' }])
      await expect(layers.unpackArchive(tar(one))).rejects.toMatchObject({ code: 'ERR_LAYER' });
    // By names alone the second link stays inside, but the first one is no directory below it.
    const pair = tar(symlink('here', '.'), symlink('out', 'here/..'));
    await expect(layers.unpackArchive(pair)).rejects.toMatchObject({ code: 'ERR_LAYER', path: 'out' });
    // A link is inside by its first name, and by its second one, which has fewer directories above it, is not.
    const second = tar(symlink('d/l', '../x'), hardLink('l', 'd/l'));
    await expect(layers.unpackArchive(second)).rejects.toMatchObject({ code: 'ERR_LAYER', path: 'l' });
    await layers.unpackArchive(tar(file('a/layer.tar', 'x'), symlink('b/layer.tar', '../a/layer.tar'), file('.wh.x')));
    expect(layers.list()).toHaveLength(5);
  });
});

// The names of GNU tar, for the corpus that both take.
describe('valid archives', () => {
  it('I7: need no blocks of zeros at their end, to other readers either', async () => {
    using layers = new Layers();
    const whole = raw(member(file('a', 'x')), member(file('b')));
    for (const archive of [whole, raw(whole, Buffer.alloc(512)), tar(whole)]) {
      await layers.unpack(archive);
      expect(layers.list()).toEqual(['- 644 a', '- 644 b']);
      expect(spawnSync('tar', ['-tf', '-'], { input: archive, encoding: 'utf8' }).stdout).toBe('a\nb\n');
    }
    for (const length of [513, 514, 1023]) {
      await layers.unpack(member(file('a', 'x')).subarray(0, length));
      expect(layers.read('a'), 'without padding, as Go takes it and GNU tar does not').toBe('x');
    }
    await layers.unpack(raw());
    expect(layers.list()).toEqual([]);
  });

  it('I7: are listed by GNU tar as they are unpacked', async () => {
    using layers = new Layers();
    const parts = [directory('d/'), file('d/f', 'x'), longName('n'.repeat(150)), file('n'), symlink('s', 'd/f')];
    const archive = tar(...parts);
    const listed = execFileSync('tar', ['-tf', '-'], { input: archive }).toString().trim().split('\n');
    await layers.unpack(archive);
    const ours = layers.list().map((line) =>
      line
        .replace(/ -> .*/, '')
        .split(' ')
        .at(-1),
    );
    expect(ours.toSorted()).toEqual(listed.map((name) => name.replace(/\/$/, '')).toSorted());
  });
});
