/** Images of archives and directories, and archives of images: what becomes of them in a store. */

import { execFileSync } from 'node:child_process';
import { createReadStream, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestOf, hexOf } from '../../../lib/image/digest.js';
import { mediaTypes } from '../../../lib/image/document/index.js';
import { Image, ImageStore } from '../../../lib/index.js';
import { LayoutWriter, named, TemporaryDirectory } from '../../support/layout.js';
import { needsPrograms } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';
import { directory, file, symlink, tar } from '../../support/tar.js';

checkResidue();

let temporary: TemporaryDirectory;
let store: ImageStore;
beforeEach(async () => {
  temporary = new TemporaryDirectory();
  store = await ImageStore.open({ path: temporary.at('store') });
});
afterEach(async () => {
  await store.close();
  temporary.dispose();
});

const code = (value: string) => expect.objectContaining({ code: value });
const platform = 'linux/amd64';
const plain = tar(directory('etc/'), file('etc/a', 'hello'));

describe('an image of an archive', () => {
  it.each([
    ['plain', plain, mediaTypes.ociLayer],
    ['gzip', gzipSync(plain), mediaTypes.ociLayerGzip],
  ])('has it as its layer as it came (%s), and can be unpacked', async (_, bytes, mediaType) => {
    const path = temporary.write('rootfs', bytes);
    const image = await Image.fromTar(path, { store, as: 'own/name', config: { cmd: ['/bin/sh'] } });
    expect(image.reference).toBe('docker.io/own/name:latest');
    expect(image.config.cmd).toEqual(['/bin/sh']);
    expect(image.manifest.layers).toEqual([{ mediaType, digest: digestOf(bytes), size: bytes.length }]);
    expect(image.config.diffIds).toEqual([digestOf(plain)]);
    using lease = await image.unpack();
    expect(readFileSync(join(lease.paths[0] ?? '', 'etc/a'), 'utf8')).toBe('hello');
  });

  it('is compressed as was asked for, from a stream too', async () => {
    const path = temporary.write('rootfs.tar', plain);
    const created = new Date(0);
    const image = await Image.fromTar(createReadStream(path), { store, compression: 'gzip', created });
    expect(image.manifest.layers[0]?.mediaType).toBe(mediaTypes.ociLayerGzip);
    expect(image.config.diffIds).toEqual([digestOf(plain)]);
    const again = await Image.fromTar(path, { store, compression: 'gzip', created });
    expect(again.descriptor.digest).toBe(image.descriptor.digest);
  });

  it('is none where there is no archive, or a damaged one, and has no name then', async () => {
    const made = (bytes: Uint8Array, more: object = {}) =>
      Image.fromTar(temporary.write('x', bytes), { store, as: 'a', ...more });
    await expect(made(Buffer.from('<html>'.repeat(1000)))).rejects.toThrow(/does not begin as a tar does/);
    await expect(made(Buffer.alloc(0))).rejects.toThrow(/is empty/);
    await expect(made(gzipSync(plain).subarray(0, -4))).rejects.toThrow(code('ERR_LAYER'));
    await expect(made(gzipSync(tar(file('z', Buffer.alloc(64 << 20)))))).rejects.toThrow(code('ERR_LAYER_LIMIT'));
    await expect(Image.fromTar(temporary.at('none'), { store })).rejects.toThrow(code('ERR_NOT_FOUND'));
    expect(await store.references()).toEqual([]);
  });

  it('is none where the archive has been cut off between two members, which no digest tells', async () => {
    const inPieces = async function* (bytes: Uint8Array, size: number) {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
    };
    const made = (bytes: Uint8Array, more: object = {}) =>
      Image.fromTar(Readable.from(inPieces(bytes, 700)), { store, ...more });
    for (const end of [512, 1024, 1536, 2048]) {
      await expect(made(plain.subarray(0, end)), `${end}`).rejects.toThrow(/may have been cut off/);
      await expect(made(gzipSync(plain.subarray(0, end))), `${end}`).rejects.toThrow(code('ERR_LAYER'));
      await expect(made(plain.subarray(0, end), { compression: 'gzip' }), `${end}`).rejects.toThrow(code('ERR_LAYER'));
    }
    // The control: whole, and with the padding of tar(1).
    expect(plain.length).toBe(2560);
    expect((await made(plain)).config.diffIds).toEqual([digestOf(plain)]);
    const padded = Buffer.concat([plain, Buffer.alloc(10_240 - plain.length)]);
    expect((await made(padded)).config.diffIds).toEqual([digestOf(padded)]);
  });

  it.each([
    [{ compression: 'xz' }, 'compression'],
    [{ limits: { ratio: 0 } }, 'limits.ratio'],
    [{ created: 'now' }, 'created'],
    [{ cmd: [] }, 'cmd'],
  ])('refuses the options %j', async (options, option) => {
    const failing = Image.fromTar(temporary.write('x', plain), { store, ...options } as never);
    await expect(failing).rejects.toThrow(expect.objectContaining({ code: 'ERR_OPTION', option }));
  });
});

describe('an image of a directory', () => {
  it('has what is in it, the same bytes each time', async () => {
    temporary.write('tree/etc/a', 'hello');
    temporary.write('tree/omitted/b', 'x');
    const make = () => Image.fromDirectory(temporary.at('tree'), { store, omit: ['omitted'], created: new Date(0) });
    const image = await make();
    expect((await make()).descriptor.digest).toBe(image.descriptor.digest);
    using lease = await image.unpack();
    const root = lease.paths[0] ?? '';
    expect(readFileSync(join(root, 'etc/a'), 'utf8')).toBe('hello');
    expect(() => readFileSync(join(root, 'omitted/b'))).toThrow(/ENOENT/);
  });

  it('is none of what is no directory', async () => {
    const path = temporary.write('file', 'x');
    await expect(Image.fromDirectory(path, { store })).rejects.toThrow(/not a directory|ENOTDIR/i);
    await expect(Image.fromDirectory('', { store })).rejects.toThrow(code('ERR_OPTION'));
  });

  it('ends when its signal says so', async () => {
    mkdirSync(temporary.at('tree'));
    const failing = Image.fromDirectory(temporary.at('tree'), { store, as: 'a', signal: AbortSignal.abort() });
    await expect(failing).rejects.toThrow(code('ERR_ABORTED'));
    expect(await store.references()).toEqual([]);
  });
});

const rootFileSystem = tar(file('.dockerenv'), symlink('bin', 'usr/bin'), directory('etc/'), directory('usr/bin/'));
const rootWithLinks = tar(
  file('.dockerenv'),
  directory('etc/'),
  symlink('etc/mtab', '/proc/mounts'),
  directory('usr/'),
);

/** An archive as `docker save` wrote it until version 25: a directory for each layer, which others link to. */
function dockerArchive(change: { readonly layer?: Buffer; readonly entry?: object; readonly tags?: string[] } = {}) {
  const second = tar(file('b', 'second'));
  const config = JSON.stringify({
    architecture: 'amd64',
    os: 'linux',
    config: { Cmd: ['/x'] },
    rootfs: { type: 'layers', diff_ids: [plain, second, plain].map((bytes) => digestOf(bytes)) },
  });
  const entry = {
    Config: `${hexOf(digestOf(Buffer.from(config)))}.json`,
    RepoTags: change.tags ?? ['a/b:1', 'a/b:2'],
    Layers: ['one/layer.tar', 'two/layer.tar', 'three/layer.tar'],
    ...change.entry,
  };
  const bytes = tar(
    file(entry.Config, config),
    directory('one/'),
    file('one/VERSION', '1.0'),
    file('one/layer.tar', change.layer ?? plain),
    directory('two/'),
    file('two/layer.tar', second),
    directory('three/'),
    symlink('three/layer.tar', '../one/layer.tar'),
    file('manifest.json', JSON.stringify([entry])),
    file('repositories', '{"a/b":{"1":"three"}}'),
  );
  return { bytes, id: digestOf(Buffer.from(config)) };
}

describe('an image that is loaded', () => {
  const load = (bytes: Uint8Array, reference?: string, more: object = {}) =>
    Image.load(temporary.write('archive', bytes), reference, { store, platform, ...more });

  it('is the one that was saved, in both forms', async () => {
    const layout = new LayoutWriter(temporary);
    layout.image({ annotations: named('a/b:1') });
    const image = await Image.open(layout.path, undefined, { store, platform });
    for (const format of ['oci-archive', 'docker-archive'] as const) {
      await image.save(temporary.at(format), { format });
      await using other = await ImageStore.open({ path: temporary.at(`store-${format}`) });
      const source = createReadStream(temporary.at(format));
      const again = await Image.load(source, 'a/b:1', { store: other, platform });
      expect([again.id, again.reference]).toEqual([image.id, image.reference]);
      expect(again.inspect().layers).toEqual(image.inspect().layers);
    }
  });

  it.each(['plain', 'gzip'])('is read of an old archive of Docker (%s), its id kept', async (form) => {
    const { bytes, id } = dockerArchive();
    const image = await load(form === 'gzip' ? gzipSync(bytes) : bytes, 'a/b:2');
    expect([image.id, image.reference, image.config.cmd]).toEqual([id, 'docker.io/a/b:2', ['/x']]);
    using lease = await image.unpack();
    expect(lease.paths).toHaveLength(3);
    await expect(load(bytes, 'a/b:3')).rejects.toThrow(/no image named 'a\/b:3'/);
  });

  it('is refused where a layer is not the one that the configuration tells of', async () => {
    await expect(load(dockerArchive({ layer: tar(file('evil')) }).bytes)).rejects.toThrow(code('ERR_DIGEST'));
    const { bytes } = dockerArchive({ entry: { Layers: ['one/layer.tar'] } });
    await expect(load(bytes)).rejects.toThrow(code('ERR_CONFIG'));
    expect(await store.references()).toEqual([]);
  });

  it('is none of an archive without images, and of what is no archive', async () => {
    await expect(load(tar(file('a')))).rejects.toThrow(/no manifest.json/);
    await expect(load(Buffer.from('x'.repeat(5000)))).rejects.toThrow(code('ERR_LAYER'));
    await expect(load(tar(file('manifest.json', '{}')))).rejects.toThrow(code('ERR_MANIFEST'));
    await expect(load(tar(file('manifest.json', '[]')))).rejects.toThrow(code('ERR_NOT_FOUND'));
  });

  it.each<[string, () => string | Promise<string>, RegExp, RegExp | undefined]>([
    ['an empty file', () => temporary.write('x', ''), /is empty/, undefined],
    ['text', () => temporary.write('x', 'hello'), /does not begin as a tar/, /gzip or zstd/],
    ['xz', () => temporary.write('x', Buffer.from('fd377a585a000004', 'hex')), /does not begin/, /xz: decompress/],
    ['bzip2', () => temporary.write('x', `BZh9${'x'.repeat(600)}`), /does not begin/, /bzip2: decompress/],
    ['a zip', () => temporary.write('x', `PK\x03\x04${'x'.repeat(600)}`), /does not begin/, /Image.fromDirectory/],
    ['what is compressed twice', () => temporary.write('x', gzipSync(gzipSync(plain))), /does not begin/, /twice/],
    ['JSON', () => temporary.write('x', '{"schemaVersion":2}'), /does not begin/, /Image.open/],
    ['a cut archive', () => temporary.write('x', dockerArchive().bytes.subarray(0, 5000)), /the archive/, undefined],
    ['a cut gzip', () => temporary.write('x', gzipSync(dockerArchive().bytes).subarray(0, 300)), /gzip|end/, undefined],
    ['a directory', () => dirname(temporary.write('tree/etc/x', '')), /is a directory/, /Image.fromDirectory/],
    ['a layout', () => new LayoutWriter(temporary).path, /is a directory/, /Image.open/],
    ['a root file system', () => temporary.write('x', rootFileSystem), /no manifest.json/, /Image.fromTar/],
    ['one with links that lead out', () => temporary.write('x', rootWithLinks), /etc\/mtab/, /Image.fromTar/],
  ])('says what was given where that is %s', async (_what, make, message, hint) => {
    const failing = Image.load(await make(), undefined, { store, platform });
    await expect(failing).rejects.toMatchObject({
      name: 'ImageError',
      message: expect.stringMatching(message),
      ...(hint && { hint: expect.stringMatching(hint) }),
    });
    expect(await store.references()).toEqual([]);
  });

  it('is not made of as if it were a file system, and neither is what is no layout opened as one', async () => {
    const failing = (source: string, how: 'fromTar' | 'open') =>
      Image[how](source, { store, platform } as never).then(
        () => undefined,
        (error: { hint?: string }) => error.hint,
      );
    const archive = temporary.write('x', dockerArchive().bytes);
    expect(await failing(archive, 'fromTar')).toMatch(/Image.load/);
    const layout = new LayoutWriter(temporary);
    layout.image({ annotations: named('a/b:1') });
    const image = await Image.open(layout.path, undefined, { store, platform });
    for (const format of ['oci-archive', 'docker-archive'] as const) {
      await image.save(temporary.at(format), { format });
      expect(await failing(temporary.at(format), 'fromTar')).toMatch(/Image.load/);
    }
    expect(await failing(temporary.write('y', 'BZh91AY'), 'fromTar')).toMatch(/bzip2/);
    expect(await failing(layout.path, 'fromTar')).toMatch(/Image.open/);
    const open = (path: string) =>
      Image.open(path, undefined, { store }).catch((error: { hint?: string }) => error.hint);
    expect(await open(archive)).toMatch(/Image.load/);
    expect(await open(temporary.at('none'))).toMatch(/nothing of this name/);
    expect(await open(dirname(temporary.write('saved/manifest.json', '[]')))).toMatch(/docker save/);
    expect(await open(temporary.at('saved/..'))).toMatch(/Image.fromDirectory/);
    // The control: the same root file system is one to Image.fromTar.
    const made = await Image.fromTar(temporary.write('z', rootFileSystem), { store, platform });
    expect(made.manifest.layers).toHaveLength(1);
  });

  it('leaves nothing in the store’s own directories', async () => {
    const { bytes } = dockerArchive();
    await load(bytes);
    await expect(load(bytes.subarray(0, 3000), undefined, { as: 'x' })).rejects.toThrow(code('ERR_LAYER'));
    const kept = execFileSync('find', [join(store.path, 'tmp'), '-mindepth', '2'], { encoding: 'utf8' });
    expect(kept).toBe('');
  });

  it('was saved so that skopeo reads it, and what skopeo wrote is read', async (context) => {
    needsPrograms(context, 'skopeo');
    writeFileSync(temporary.at('rootfs.tar'), plain);
    const image = await Image.fromTar(temporary.at('rootfs.tar'), {
      store,
      platform,
      compression: 'gzip',
      as: 'a/b:1',
    });
    await image.save(temporary.at('ours.tar'), { format: 'docker-archive' });
    const copy = ['--insecure-policy', 'copy', `docker-archive:${temporary.at('ours.tar')}`];
    execFileSync('skopeo', [...copy, `docker-archive:${temporary.at('theirs.tar')}:a/b:2`], { stdio: 'pipe' });
    execFileSync('skopeo', [...copy, `oci-archive:${temporary.at('theirs-oci.tar')}:a/b:3`], { stdio: 'pipe' });
    for (const [name, reference] of [
      ['theirs.tar', 'docker.io/a/b:2'],
      ['theirs-oci.tar', 'docker.io/a/b:3'],
    ] as const) {
      const again = await Image.load(temporary.at(name), undefined, { store, platform });
      expect(again.config.diffIds).toEqual(image.config.diffIds);
      expect(again.reference).toBe(reference);
      (await again.unpack()).release();
    }
  });
});
