/** Images of as many layers as an overlay can have. */

import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Digest, digestOf } from '../../../lib/image/digest.js';
import { mediaTypes } from '../../../lib/image/document/index.js';
import { Image } from '../../../lib/image/image.js';
import { unpackLayer } from '../../../lib/image/layer/unpack.js';
import { ImageStore } from '../../../lib/image/store/index.js';
import { writeImage } from '../../../lib/image/write.js';
import { Container } from '../../../lib/index.js';
import { TemporaryDirectory } from '../../support/layout.js';
import { needsRoot } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';
import { file, tar } from '../../support/tar.js';
import { pieces } from '../../support/unpacking.js';

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

/** An image whose layers but for the last are unpacked already, and add a file to a directory that only the lowest names. */
async function deepImage(depth: number): Promise<Image> {
  const tars = Array.from({ length: depth }, (_, index) => tar(file(`d/${index}`, String(index))));
  const layers = [];
  const diffIds: Digest[] = [];
  for (const [index, bytes] of tars.entries()) {
    diffIds.push(digestOf(bytes));
    layers.push({
      descriptor: { mediaType: mediaTypes.ociLayer, ...(await store.putBlob(bytes)) },
      diffId: digestOf(bytes),
    });
    if (index === depth - 1) break;
    await store.ensureLayer({ diffIds: [...diffIds], whole: true }, async (directory) => {
      mkdirSync(join(directory, 'd'));
      chmodSync(join(directory, 'd'), 0o1770);
      writeFileSync(join(directory, 'd', String(index)), String(index));
      return { bytes: 1, entries: 2 };
    });
  }
  return await Image.read(store, (await writeImage(store, { layers })).descriptor);
}

describe('an image of many layers', () => {
  it('of 500 is unpacked and is the root of a container', { timeout: 120_000 }, async (context) => {
    needsRoot(context);
    const image = await deepImage(500);
    await using box = await Container.create({ image });
    expect((await box.fs.readFile('/d/0')).toString()).toBe('0');
    expect((await box.fs.readFile('/d/499')).toString()).toBe('499');
    expect((await box.fs.stat('/d')).mode & 0o7777, 'of a layer below the one that only implies it').toBe(0o1770);
  });

  it('of more is refused before anything starts', async () => {
    const below = Array.from({ length: 500 }, (_, index) => temporary.at(String(index)));
    await expect(unpackLayer(pieces(tar()), temporary.at('layer'), below)).rejects.toMatchObject({
      code: 'ERR_LAYER',
      message: 'more than 499 layers below',
    });
    const bytes = tar(file('a'));
    const descriptor = { mediaType: mediaTypes.ociLayer, ...(await store.putBlob(bytes)) };
    const layers = Array.from({ length: 501 }, () => ({ descriptor, diffId: digestOf(bytes) }));
    await expect(writeImage(store, { layers })).rejects.toMatchObject({ code: 'ERR_CONFIG' });
  });
});
