/** New layers for a store: a tar is stored, and both digests are taken of it while it streams. */

import { ImageError } from '../../errors.js';
import { type Digest, DigestCheck, digestOf } from '../digest.js';
import { type Compression, mediaTypes } from '../document/index.js';
import { readAll } from '../source/copy.js';
import { beginning, beginsAsImages, expectTar } from '../source/recognize.js';
import type { ImageStore } from '../store/index.js';
import type { NewLayer } from '../write.js';
import { compressLayer } from './compress.js';
import { compressionOf, type DecompressLimits, decompressLayer } from './decompress.js';
import { Incoming } from './incoming.js';

const types = { none: mediaTypes.ociLayer, gzip: mediaTypes.ociLayerGzip, zstd: mediaTypes.ociLayerZstd };
/** Stores a plain tar, compressed. */
export async function addPlainLayer(
  store: ImageStore,
  plain: AsyncIterable<Uint8Array>,
  compression: Compression,
): Promise<NewLayer> {
  const seen = new PlainTar();
  const stored = await store.putBlob(compressLayer(seen.pass(plain), compression));
  return { descriptor: { mediaType: types[compression], ...stored }, diffId: seen.digest() };
}

/**
 * Stores a tar as it comes: plain, or compressed with gzip or zstd.
 * @param expected the digest that the plain tar should have
 * @throws ImageError `ERR_LAYER` for what is no tar, or damaged; `ERR_LAYER_LIMIT`; `ERR_DIGEST`
 */
export async function addLayerAsItIs(
  store: ImageStore,
  archive: AsyncIterable<Uint8Array>,
  limits: DecompressLimits,
  { signal, expected }: { readonly signal?: AbortSignal | undefined; readonly expected?: Digest } = {},
): Promise<NewLayer> {
  const incoming = new Incoming(archive);
  try {
    const compression = compressionOf(await incoming.peek(4));
    const stored = await store.putBlob(incoming.rest());
    const seen = new PlainTar(expected);
    const file = await store.openBlob(stored.digest);
    try {
      for await (const _ of seen.pass(decompressLayer(readAll(file, signal), { limits })));
    } finally {
      await file.close();
    }
    return { descriptor: { mediaType: types[compression], ...stored }, diffId: seen.digest() };
  } finally {
    await incoming.close();
  }
}

/** Bytes of the two blocks of zeros that a tar ends with (tar(5)). */
const ending = 1024;

/**
 * Hashes a tar that passes, and refuses what does not begin like one; or end, where no digest says whether all of it is there: a
 * stream that broke off between two members would be an image without the others.
 */
class PlainTar {
  readonly #check: DigestCheck;
  /** Zeros at the end of what has passed, counted to `ending`. */
  #zeros = 0;
  #digest: Digest | undefined;

  constructor(readonly expected?: Digest) {
    this.#check = new DigestCheck(expected ?? digestOf(new Uint8Array()), undefined, 'the layer');
  }

  async *pass(plain: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    const incoming = new Incoming(plain);
    try {
      const start = await incoming.peek(beginning);
      expectTar(start, 'the layer');
      if (this.expected === undefined && beginsAsImages(start)) {
        const hint = 'it is an archive of images, as of `docker save`: that is for Image.load';
        throw new ImageError('ERR_LAYER', 'the layer is no file system', { hint });
      }
      for await (const piece of incoming.rest()) {
        this.#check.update(piece);
        this.#countZeros(piece);
        yield piece;
      }
    } finally {
      await incoming.close();
    }
    if (this.expected) {
      this.#check.finish();
    } else if (this.#zeros < ending) {
      const hint = 'it may have been cut off: make it again, and see that its writer has ended well';
      throw new ImageError('ERR_LAYER', 'the layer ends without the two blocks of zeros that are the end of a tar', {
        hint,
      });
    }
    this.#digest = this.expected ?? this.#check.digest();
  }

  #countZeros(piece: Uint8Array): void {
    const most = Math.min(piece.length, ending);
    let zeros = 0;
    while (zeros < most && piece[piece.length - 1 - zeros] === 0) zeros++;
    this.#zeros = Math.min(ending, zeros === piece.length ? this.#zeros + zeros : zeros);
  }

  digest(): Digest {
    if (this.#digest === undefined) throw new RangeError('the tar has not come to its end');
    return this.#digest;
  }
}
