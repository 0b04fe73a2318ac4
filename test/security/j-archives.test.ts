/** Row J7 of the catalogue where images come in archives: names in them lead nowhere, and take nothing from others. */

import { existsSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { digestOf } from '../../lib/image/digest.js';
import { Image, ImageStore } from '../../lib/index.js';
import { TemporaryDirectory } from '../support/layout.js';
import { checkResidue } from '../support/residue.js';
import { file, symlink, type TarMember, tar } from '../support/tar.js';

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

const config = (layer: Uint8Array) =>
  JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [digestOf(layer)] } });

/** An archive of one image, as Docker's, with other members before it. */
function archive(text: string, entry: object = {}, ...members: readonly TarMember[]): Buffer {
  const layer = tar(file('a', text));
  const list = [{ Config: 'config.json', RepoTags: ['debian:12'], Layers: ['layer.tar'], ...entry }];
  const own = [file('config.json', config(layer)), file('layer.tar', layer)];
  return tar(...members, ...own, file('manifest.json', JSON.stringify(list)));
}

const load = (bytes: Uint8Array, more: object = {}) =>
  Image.load(temporary.write('archive.tar', bytes), undefined, { store, platform: 'linux/amd64', ...more });

it('J7: an archive with a name that climbs, or a link that leads out, is refused', async () => {
  const layer = tar(file('a', 'outside'));
  const secret = temporary.write('secret', config(layer));
  const climbing = `../../../../../../../..${secret}`;
  const bad = [
    archive('a', { Config: climbing }),
    archive('a', { Config: secret }),
    archive('a', { Layers: [climbing] }),
    archive('a', { Config: './config.json' }),
    archive('a', { Config: 'link' }, symlink('link', secret)),
    archive('a', { Config: 'link' }, symlink('link', climbing)),
    archive('a', {}, file('../escaped', 'x')),
  ];
  for (const [index, bytes] of bad.entries()) {
    await expect(load(bytes), `archive ${index}`).rejects.toThrow(
      expect.objectContaining({ code: expect.stringMatching(/^ERR_(LAYER|MANIFEST|NOT_FOUND)$/) }),
    );
  }
  expect(await store.references()).toEqual([]);
  expect(readFileSync(secret, 'utf8')).toBe(config(layer));
  // An absolute name is one beneath the archive's directory.
  await load(archive('a', {}, file(temporary.at('escaped'), 'x')));
  expect(existsSync(temporary.at('escaped'))).toBe(false);
  expect(
    (await load(archive('b', { Config: 'link', RepoTags: ['b:1'] }, symlink('link', 'config.json')))).reference,
  ).toBeDefined();
});

it('J7: an archive does not take a name from an image of the store', async () => {
  const name = 'docker.io/library/debian:12';
  const first = await load(archive('first'));
  expect(first.reference).toBe(name);
  const second = await load(archive('second'));
  expect(second.reference).toBeUndefined();
  expect((await store.resolve(name))?.digest).toBe(first.descriptor.digest);
  await expect(load(archive('second'), { as: 'debian:12' })).rejects.toThrow(/moveTags: true/);
  expect((await store.resolve(name))?.digest).toBe(first.descriptor.digest);
  expect((await load(archive('second'), { moveTags: true })).reference).toBe(name);
  expect((await store.resolve(name))?.digest).toBe(second.descriptor.digest);
});

it('J7: a name in an archive that is none is given to nothing', async () => {
  for (const tag of ['../../etc/x:1', 'A:1', 'a', `${'0'.repeat(64)}`]) {
    expect((await load(archive(tag, { RepoTags: [tag] }))).reference, tag).toBeUndefined();
  }
  expect(await store.references()).toEqual([]);
});
