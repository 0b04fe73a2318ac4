/** Group J of the catalogue: images whose bytes are someone else's. Also rows A11 and C7, as far as documents go. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Descriptor, mediaTypes, parseConfig, parseIndex, parseManifest } from '../../lib/image/document/index.js';
import { Image } from '../../lib/image/image.js';
import { ImageStore } from '../../lib/image/store/index.js';
import { parseReference } from '../../lib/index.js';
import { LayoutWriter, named, TemporaryDirectory } from '../support/layout.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

let temporary: TemporaryDirectory;
let layout: LayoutWriter;
let store: ImageStore;
beforeEach(async () => {
  temporary = new TemporaryDirectory();
  layout = new LayoutWriter(temporary);
  store = await ImageStore.open({ path: temporary.at('store') });
});
afterEach(async () => {
  await store.close();
  temporary.dispose();
});

const open = (more: object = {}) => Image.open(layout.path, undefined, { store, platform: 'linux/amd64', ...more });
const code = (value: string) => expect.objectContaining({ code: value });
const fileOf = ({ digest }: Descriptor) => join(layout.path, 'blobs/sha256', digest.slice(7));

describe('J: images', () => {
  it('J2: a digest is one, or nothing is done with it', async () => {
    const digest = 'sha256:../x';
    expect(() => parseReference(`debian@${digest}`)).toThrow(code('ERR_REFERENCE'));
    const { descriptor } = layout.unlisted();
    temporary.write('layout/blobs/x', readFileSync(fileOf(descriptor)));
    layout.list({ ...descriptor, digest } as unknown as Descriptor);
    await expect(open()).rejects.toThrow(code('ERR_DIGEST'));
    const inner = layout.unlisted({ manifest: { config: { mediaType: mediaTypes.ociConfig, digest, size: 1 } } });
    const other = new LayoutWriter(temporary, 'other');
    temporary.write(`other/blobs/sha256/${inner.descriptor.digest.slice(7)}`, readFileSync(fileOf(inner.descriptor)));
    other.list(inner.descriptor);
    await expect(Image.open(other.path, undefined, { store })).rejects.toThrow(code('ERR_DIGEST'));
  });

  it('J3: a flipped byte in a manifest, a configuration or a layer is found, and the image is not there', async () => {
    const made = layout.image({ annotations: named('a/b:c') });
    for (const piece of [made.descriptor, made.config, made.layer]) {
      const whole = readFileSync(fileOf(piece));
      const flipped = Buffer.from(whole);
      flipped[10] = (flipped[10] ?? 0) ^ 1;
      writeFileSync(fileOf(piece), flipped);
      await expect(open()).rejects.toThrow(code('ERR_DIGEST'));
      expect(await store.hasBlob(piece.digest)).toBe(false);
      expect(await store.hasBlob(made.descriptor.digest)).toBe(false);
      expect(await store.references()).toEqual([]);
      writeFileSync(fileOf(piece), whole.subarray(0, -1));
      await expect(open()).rejects.toThrow(code('ERR_DIGEST'));
      writeFileSync(fileOf(piece), whole);
    }
    expect((await open()).id).toBe(made.config.digest);
  });

  it('J4: a document is a manifest or an index, and says which', async () => {
    const { descriptor } = layout.unlisted();
    const documents = [
      { ...JSON.parse(readFileSync(fileOf(descriptor), 'utf8')), manifests: [descriptor] },
      { schemaVersion: 2, layers: [], manifests: [descriptor] },
    ];
    for (const document of documents) {
      const bytes = Buffer.from(JSON.stringify(document));
      expect(() => parseManifest(bytes, mediaTypes.ociManifest)).toThrow(code('ERR_MANIFEST'));
      expect(() => parseIndex(bytes, mediaTypes.ociIndex)).toThrow(code('ERR_MANIFEST'));
    }
    const plain = readFileSync(fileOf(descriptor));
    for (const other of [mediaTypes.dockerManifest, mediaTypes.ociIndex, 'application/json']) {
      expect(() => parseManifest(plain, other), other).toThrow(code('ERR_MANIFEST'));
    }
    layout.list({ ...descriptor, mediaType: mediaTypes.ociIndex });
    await expect(open()).rejects.toThrow(code('ERR_MANIFEST'));
    expect(parseManifest(plain, mediaTypes.ociManifest).layers).toHaveLength(1);
  });

  it('J5: documents have bounds', async () => {
    const { descriptor, layer } = layout.unlisted();
    const parts = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config: layer };
    const large = layout.blob(mediaTypes.ociManifest, { ...parts, layers: [layer], x: 'x'.repeat(5 << 20) });
    const many = layout.blob(mediaTypes.ociManifest, { ...parts, layers: Array.from({ length: 10_000 }, () => layer) });
    for (const [name, bad] of Object.entries({ large, many })) {
      const other = new LayoutWriter(temporary, name);
      temporary.write(`${name}/blobs/sha256/${bad.digest.slice(7)}`, readFileSync(fileOf(bad)));
      other.list(bad);
      await expect(Image.open(other.path, undefined, { store })).rejects.toThrow(code('ERR_MANIFEST'));
    }
    const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
    expect(() => parseManifest(Buffer.from(deep), mediaTypes.ociManifest)).toThrow(code('ERR_MANIFEST'));
    layout.list(descriptor);
    expect((await open()).manifest.layers).toHaveLength(1);
  });

  it('J7: a name that another image has stays that one’s, unless it is to be moved', async () => {
    const name = 'docker.io/library/debian:12';
    const first = layout.image({ text: 'first', annotations: named('debian:12') });
    await open();
    const theirs = new LayoutWriter(temporary, 'theirs');
    const second = theirs.image({ text: 'second', annotations: named('debian:12') });
    const load = (more: object = {}) => Image.open(theirs.path, undefined, { store, platform: 'linux/amd64', ...more });
    expect((await load()).reference).toBeUndefined();
    await expect(load({ as: 'debian:12' })).rejects.toThrow(/moveTags: true/);
    expect((await store.resolve(name))?.digest).toBe(first.descriptor.digest);
    expect((await load({ moveTags: true })).reference).toBe(name);
    expect((await store.resolve(name))?.digest).toBe(second.descriptor.digest);
  });

  it('J7: a name that climbs is no name', async () => {
    layout.image({ annotations: named('../../etc/x:latest') });
    expect((await open()).reference).toBeUndefined();
    expect(await store.references()).toEqual([]);
    await expect(open({ as: '../../etc/x' })).rejects.toThrow(code('ERR_REFERENCE'));
  });

  it('C7: a variable without a value, or with a wildcard, is no variable of an image', async () => {
    for (const Env of [['SENTINEL'], ['PATH=/bin', 'SENT*'], ['=x']]) {
      const other = new LayoutWriter(temporary, Env.join());
      other.image({ config: { Env } });
      await expect(Image.open(other.path, undefined, { store })).rejects.toThrow(code('ERR_CONFIG'));
    }
    layout.image({ config: { Env: ['SENTINEL='] } });
    expect({ ...(await open()).config.env }).toEqual({ SENTINEL: '' });
  });

  it('A11: a volume of an image is a path in normal form', () => {
    const parse = (path: string) =>
      parseConfig(
        Buffer.from(
          JSON.stringify({
            os: 'linux',
            architecture: 'amd64',
            config: { Volumes: { [path]: {} } },
            rootfs: { type: 'layers', diff_ids: [] },
          }),
        ),
      );
    for (const path of ['/../../x', '/a/../../x', '/a/./b', 'x', '//x', '/', '/a\0b']) {
      expect(() => parse(path), path).toThrow(code('ERR_CONFIG'));
    }
    expect(parse('/data').volumes).toEqual(['/data']);
  });
});
