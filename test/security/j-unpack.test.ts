/** Rows I9 and J3 of the catalogue where a layer becomes a directory: what it grows to, and whether it is the one that is meant. */

import { readdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Digest, digestOf } from '../../lib/image/digest.js';
import { mediaTypes } from '../../lib/image/document/index.js';
import type { ImageProgress } from '../../lib/image/progress.js';
import { writeImage } from '../../lib/image/write.js';
import { Image, ImageStore } from '../../lib/index.js';
import { TemporaryDirectory } from '../support/layout.js';
import { checkResidue } from '../support/residue.js';
import { file, header, tar } from '../support/tar.js';

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
const layers = () => readdirSync(join(store.path, 'layers'));

async function image(compressed: Uint8Array, diffId: Digest): Promise<Image> {
  const descriptor = { mediaType: mediaTypes.ociLayerGzip, ...(await store.putBlob(compressed)) };
  return await Image.read(store, (await writeImage(store, { layers: [{ descriptor, diffId }] })).descriptor);
}

describe('J: layers of images', () => {
  it('J3: a layer that is not what its diffID says is not unpacked, though its blob is what its digest says', async () => {
    const plain = tar(file('a', 'meant'));
    const flipped = Buffer.from(plain);
    flipped[512] = (flipped[512] ?? 0) ^ 1;
    const bad = await image(gzipSync(flipped), digestOf(plain));
    await expect(bad.unpack()).rejects.toThrow(code('ERR_DIGEST'));
    expect(layers()).toEqual([]);
    const good = await image(gzipSync(plain), digestOf(plain));
    (await good.unpack()).release();
    expect(layers()).toHaveLength(1);
  });
});

describe('I: sizes of layers', () => {
  // gzip of several members is one stream: 10 GiB, made of one MiB.
  const gib10 = 10 * 2 ** 30;
  const bomb = Buffer.concat([
    gzipSync(header({ name: 'zeros', size: gib10 })),
    ...Array<Buffer>(gib10 / 2 ** 20).fill(gzipSync(Buffer.alloc(2 ** 20))),
    gzipSync(Buffer.alloc(1024)),
  ]);

  it.each([
    // What is decompressed is counted by pieces of what comes in: a quarter of a MiB, of which two may be on their way.
    ['by the ratio', {}, (1 + 250 / 2) * 2 ** 20],
    ['by its bytes', { bytes: 64 * 2 ** 20, entries: 1000, ratio: 2 ** 20 }, 70 * 2 ** 20],
  ])('I9: 10 GiB of zeros are ended %s, and the disk is as it was', async (_, limits, most) => {
    const made = await image(bomb, digestOf(bomb));
    const used = () => {
      const { blocks, bfree, bsize } = statfsSync(store.path);
      return (blocks - bfree) * bsize;
    };
    const before = used();
    let [seen, peak] = [0, 0];
    const onProgress = (event: ImageProgress) => {
      if (event.phase === 'unpacking') seen = Math.max(seen, event.bytes);
      peak = Math.max(peak, used() - before);
    };
    await expect(made.unpack({ limits, onProgress })).rejects.toThrow(code('ERR_LAYER_LIMIT'));
    expect(seen).toBeLessThanOrEqual(most);
    // Others use the same disk.
    expect(Math.max(peak, used() - before)).toBeLessThan(256 * 2 ** 20);
    expect(layers()).toEqual([]);
  });
});
