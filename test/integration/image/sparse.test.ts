/** Members whose holes are left out, in each of the four formats: by GNU tar, and written byte by byte. */

import { execFileSync, spawnSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LayoutWriter, named, TemporaryDirectory } from '../../support/layout.js';
import { needsPrograms } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';
import { file, header, longName, numberField, padded, pax, type TarMember, tar } from '../../support/tar.js';
import { mulberry, snapshot } from '../../support/tree.js';
import { Layers } from '../../support/unpacking.js';

checkResidue();

type Span = readonly [at: number, content: string];

let top = '';
let temporary: TemporaryDirectory;
beforeEach(() => {
  temporary = new TemporaryDirectory();
  top = mkdtempSync(join(tmpdir(), 'tscontain-sparse-'));
});
afterEach(() => {
  rmSync(top, { recursive: true, force: true });
  temporary.dispose();
});

function makeSparse(path: string, size: number, spans: readonly Span[]): void {
  const fd = openSync(path, 'w', 0o640);
  for (const [at, content] of spans) writeSync(fd, content, at);
  ftruncateSync(fd, size);
  closeSync(fd);
}

const formats: Record<string, readonly string[]> = {
  'the old format of GNU': ['--format=gnu'],
  'PAX 0.0': ['--format=posix', '--sparse-version=0.0'],
  'PAX 0.1': ['--format=posix', '--sparse-version=0.1'],
  'PAX 1.0': ['--format=posix', '--sparse-version=1.0'],
};

const stored = (spans: readonly Span[]) => spans.map(([, content]) => content).join('');
const map = (spans: readonly Span[]) => spans.flatMap(([at, content]) => [at, content.length]);

/** A member of each format; `numbers` in place of the map, `size` of the size. */
const written = {
  gnu(spans: readonly Span[], size: number, numbers = map(spans)): Buffer {
    const content = stored(spans);
    const block = header({ name: 'a', type: 'S', format: 'gnu', content, fields: { checksum: '' } });
    const fields = numbers.map((number) => numberField(number, 12));
    Buffer.concat(fields.slice(0, 8)).copy(block, 386);
    numberField(size, 12).copy(block, 483);
    const more: Buffer[] = [];
    for (let at = 8; at < fields.length; at += 42) {
      const next = Buffer.alloc(512);
      Buffer.concat(fields.slice(at, at + 42)).copy(next);
      if (at + 42 < fields.length) next[504] = 1;
      more.push(next);
    }
    if (more.length > 0) block[482] = 1;
    return Buffer.concat([sealed(block), ...more, padded(Buffer.from(content))]);
  },
  '0.0'(spans: readonly Span[], size: number, numbers = map(spans), name = 'a'): Buffer {
    const pairs = numbers.map((number, n) => [`GNU.sparse.${n % 2 ? 'numbytes' : 'offset'}`, String(number)] as const);
    return of({ name, content: stored(spans) }, [...sizes(size, numbers), ...pairs]);
  },
  '0.1'(spans: readonly Span[], size: number, numbers = map(spans)): Buffer {
    const records = [...sizes(size, numbers), ['GNU.sparse.name', 'a'], ['GNU.sparse.map', numbers.join(',')]] as const;
    return of({ name: 'GNUSparseFile.1/a', content: stored(spans) }, records);
  },
  '1.0'(spans: readonly Span[], size: number, numbers = map(spans)): Buffer {
    const lines = padded(Buffer.from([numbers.length / 2, ...numbers].map((number) => `${number}\n`).join('')));
    return of({ name: 'GNUSparseFile.1/a', content: Buffer.concat([lines, Buffer.from(stored(spans))]) }, [
      ['GNU.sparse.major', '1'],
      ['GNU.sparse.minor', '0'],
      ['GNU.sparse.name', 'a'],
      ['GNU.sparse.realsize', String(size)],
    ]);
  },
};

const sizes = (size: number, numbers: readonly number[]) =>
  [
    ['GNU.sparse.size', String(size)],
    ['GNU.sparse.numblocks', String(numbers.length / 2)],
  ] as const;

function of(member: TarMember, records: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat([pax(records), header(member), padded(Buffer.from(member.content ?? ''))]);
}

function sealed(block: Buffer): Buffer {
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

const kinds = Object.keys(written) as (keyof typeof written)[];

describe.each(Object.entries(formats))('sparse files by GNU tar, in %s', (_, flags) => {
  it('are what GNU tar makes of them, holes as holes', async (context) => {
    needsPrograms(context, 'tar');
    const [from, to] = ['from', 'to'].map((name) => join(top, name)) as [string, string];
    for (const path of [from, to, join(from, 'd')]) mkdirSync(path);
    const random = mulberry(7);
    makeSparse(join(from, 'hole'), 1 << 20, []);
    makeSparse(join(from, 'end'), (1 << 20) + 5, [[(1 << 20) - 3, 'the end.']]);
    makeSparse(join(from, 'd', 'begin'), 3 << 20, [[0, 'begin'.repeat(2000)]]);
    makeSparse(join(from, `${'n'.repeat(90)}-${'m'.repeat(90)}`), 1 << 22, [[70_000, 'x'.repeat(9999)]]);
    makeSparse(join(from, 'large'), 20 * 2 ** 30, [[10 * 2 ** 30, 'in the middle']]);
    // More pieces than a header and one further block hold.
    const many = Array.from(
      { length: 90 },
      (_, n): Span => [n * 65_536 + random(9000), `${n} `.repeat(1 + random(3000))],
    );
    makeSparse(join(from, 'many'), 90 * 65_536, many);
    makeSparse(join(from, 'plain'), 5, [[0, 'plain']]);
    const archive = execFileSync('tar', ['-C', from, '--sparse', '--hole-detection=seek', ...flags, '-cf', '-', '.'], {
      maxBuffer: 2 ** 28,
    });
    expect(archive.length).toBeLessThan(8 << 20); // the control: tar has left them out
    execFileSync('tar', ['-C', to, '-xpf', '-'], { input: archive });
    using layers = new Layers();
    await layers.unpack(archive);
    // Taking the large one away changes the time of the directory above.
    const facts = (path: string) => snapshot(path).filter((line) => !line.startsWith('. '));
    rmSync(join(to, 'large'));
    const large = layers.stat('large');
    expect([large.size, large.blocks < 200]).toEqual([20 * 2 ** 30, true]);
    rmSync(join(layers.path(), 'large'));
    expect(facts(layers.path())).toEqual(facts(to));
    for (const name of ['hole', 'end', 'd/begin', 'many']) {
      expect(readFileSync(join(layers.path(), name)).equals(readFileSync(join(from, name))), name).toBe(true);
      expect(layers.stat(name).blocks * 512, name).toBeLessThan(layers.stat(name).size);
    }
    expect(layers.stat('hole').blocks).toBeLessThanOrEqual(statSync(join(from, 'hole')).blocks);
  });
});

describe.each(kinds)('sparse files byte by byte: %s', (kind) => {
  const spans: readonly Span[] = [
    [3, 'abc'],
    [6, ''],
    [1000, 'defg'],
    [2000, ''],
  ];
  const whole = `\0\0\0abc${'\0'.repeat(994)}defg${'\0'.repeat(996)}`;

  async function unpacked(bytes: Uint8Array, options = {}): Promise<string> {
    using layers = new Layers();
    await layers.unpack(tar(bytes, file('after', 'x')), 'layer', [], options);
    expect(layers.list().map((line) => line.replace(/^- \d+ /, ''))).toEqual(['a', 'after']);
    return layers.read('a');
  }

  const refused = async (bytes: Uint8Array, code = 'ERR_LAYER', options = {}) =>
    expect(unpacked(bytes, options)).rejects.toMatchObject({ code });

  it('are taken as they are, also with pieces that are empty, at the end, or none at all', async () => {
    expect(await unpacked(written[kind](spans, 2000))).toBe(whole);
    expect(await unpacked(written[kind]([[0, 'all']], 3))).toBe('all');
    if (kind !== '0.0' && kind !== '0.1') expect(await unpacked(written[kind]([], 10))).toBe('\0'.repeat(10));
    expect(await unpacked(written[kind]([[10, '']], 10))).toBe('\0'.repeat(10));
  });

  it('are refused where the map overlaps, is out of order or range, or is not of the bytes that there are', async () => {
    const two: readonly Span[] = [
      [0, 'abc'],
      [10, 'def'],
    ];
    expect(await unpacked(written[kind](two, 13))).toBe('abc\0\0\0\0\0\0\0def');
    const map = (...numbers: number[]) => written[kind](two, 13, numbers);
    await refused(map(10, 3, 0, 3)); // out of order
    await refused(map(0, 4, 3, 2)); // overlapping
    await refused(map(0, 3, 11, 3)); // beyond the end
    await refused(written[kind](two, 12));
    await refused(map(0, 3, 10, 2)); // fewer bytes than there are
    await refused(map(0, 3, 9, 4)); // more
    await refused(map(0, 3)); // a piece without a place
    await refused(map(0, 3, 2 ** 60, 3)); // where no file can be
    await refused(map(0, 3, 10, 2 ** 62));
  });

  it('count as what they are with their holes, and their pieces are bounded', async () => {
    await refused(written[kind]([[0, 'x']], 100_001), 'ERR_LAYER_LIMIT', { limits: { bytes: 100_000 } });
    expect(await unpacked(written[kind]([[0, 'x']], 99_999), { limits: { bytes: 100_000 } })).toHaveLength(99_999);
    if (kind === '0.0') return; // a header is too long before
    const pieces = (n: number) => written[kind]([], n, Array.from({ length: n }, (_, at) => [at, 0]).flat());
    if (kind === '0.1') return await refused(pieces(90_000), 'ERR_LAYER_LIMIT');
    expect(await unpacked(pieces(65_536))).toHaveLength(65_536);
    await refused(pieces(65_537), 'ERR_LAYER_LIMIT');
  });

  it('are what umoci makes of them, which reads with archive/tar of Go', (context) => {
    needsPrograms(context, 'umoci');
    context.skip(kind === 'gnu', 'umoci makes nothing of the type S, which archive/tar has read');
    const more: readonly Span[] = Array.from({ length: 60 }, (_, n) => [n * 5000, `${n}`]);
    const last = 60 * 5000;
    for (const [list, size, good] of [
      [spans, 2000, true],
      [more, last, true],
      [[[0, 'abc']], 2, false],
    ] as const) {
      const layout = new LayoutWriter(temporary);
      layout.image({ layers: [tar(written[kind](list, size))], annotations: named('v1') });
      const bundle = temporary.at(`bundle-${kind}-${list.length}`);
      const argv = ['unpack', '--rootless', '--image', `${layout.path}:v1`, bundle];
      const { status, stderr } = spawnSync('umoci', argv, { encoding: 'utf8' });
      expect(status === 0, `${list.length} pieces: ${stderr}`).toBe(good);
      if (!good) continue;
      const expected = Buffer.alloc(size);
      for (const [at, content] of list) expected.write(content, at);
      expect(readFileSync(join(bundle, 'rootfs/a')).equals(expected)).toBe(true);
    }
  });

  it('are refused where they are cut', async () => {
    const bytes = written[kind](spans, 2000);
    using layers = new Layers();
    for (let length = 512; length < bytes.length - 512; length += 512) {
      await expect(layers.unpack(bytes.subarray(0, length)), String(length)).rejects.toMatchObject({
        code: 'ERR_LAYER',
      });
    }
  });
});

describe('records of sparse files', () => {
  const records = (...list: (readonly [string, string])[]) =>
    of(
      { name: 'a', content: 'abc' },
      list.map(([key, value]) => [`GNU.sparse.${key}`, value]),
    );
  const good = [
    ['size', '9'],
    ['numblocks', '1'],
    ['map', '6,3'],
  ] as const;

  it('are refused where readers could take them differently', async () => {
    using layers = new Layers();
    await layers.unpack(tar(records(...good)));
    expect(layers.read('a')).toBe('\0\0\0\0\0\0abc');
    await layers.unpack(tar(records(['major', '0'], ['minor', '1'], ...good)));
    const bad: Record<string, Uint8Array> = {
      'no size': records(...good.slice(1)),
      'two sizes': records(['realsize', '8'], ...good),
      'no map': records(...good.slice(0, 2)),
      'two maps': records(...good, ['offset', '6'], ['numbytes', '3']),
      'the same map twice': records(...good, ['map', '6,3']),
      'a wrong count': records(['size', '9'], ['numblocks', '2'], ['map', '6,3']),
      'no count': records(['size', '9'], ['map', '6,3']),
      'an odd map': records(['size', '9'], ['numblocks', '1'], ['map', '6,3,7']),
      'a map with spaces': records(['size', '9'], ['numblocks', '1'], ['map', '6, 3']),
      'an empty map': records(['size', '9'], ['numblocks', '0'], ['map', '']),
      'a length first': records(['size', '9'], ['numblocks', '1'], ['numbytes', '3'], ['offset', '6']),
      'an offset alone': records(
        ['size', '9'],
        ['numblocks', '1'],
        ['offset', '6'],
        ['numbytes', '3'],
        ['offset', '9'],
      ),
      'half a version': records(['major', '1'], ...good),
      'another version': records(['major', '1'], ['minor', '1'], ...good),
      'both kinds of map': records(['major', '1'], ['minor', '0'], ...good),
      'an unknown key': records(['flavour', '1'], ...good),
      'a name only': records(['name', 'b']),
      'a climbing name': records(['name', '../b'], ...good),
      'a directory': of({ name: 'a/', type: '5' }, [['GNU.sparse.size', '0']]),
      'for all that follow': Buffer.concat([pax([['GNU.sparse.size', '9']], 'g'), header({ name: 'a' })]),
      'PAX and GNU': Buffer.concat([pax([['mtime', '1']]), written.gnu([[0, 'x']], 1)]),
      "star's": of({ name: 'a', content: 'abc' }, [['SCHILY.realsize', '9']]),
    };
    for (const [name, bytes] of Object.entries(bad)) {
      await expect(layers.unpack(tar(bytes)), name).rejects.toMatchObject({ code: 'ERR_LAYER' });
    }
    const after = written.gnu([[0, 'x']], 1);
    after[386 + 72] = 0x30; // an offset where the map has ended
    await expect(layers.unpack(tar(sealed(after)))).rejects.toMatchObject({ code: 'ERR_LAYER' });
    // The next member has nothing of it, and a long name goes with the old format.
    await layers.unpack(
      tar(records(...good), file('b', 'plain'), longName('c'.repeat(150)), written.gnu([[1, 'x']], 3)),
    );
    expect([layers.read('b'), layers.read('c'.repeat(150))]).toEqual(['plain', '\0x\0']);
  });
});
