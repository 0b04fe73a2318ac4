/** New layers for a store: a tar is stored, and both digests are taken of it while it streams. */

import { ImageError } from '../../errors.js';
import { type Digest, DigestCheck, digestOf } from '../digest.js';
import { type Compression, mediaTypes } from '../document/index.js';
import { readAll } from '../source/copy.js';
import type { ImageStore } from '../store/index.js';
import type { NewLayer } from '../write.js';
import { compressLayer } from './compress.js';
import { compressionOf, type DecompressLimits, decompressLayer } from './decompress.js';
import { Incoming } from './incoming.js';

const types = { none: mediaTypes.ociLayer, gzip: mediaTypes.ociLayerGzip, zstd: mediaTypes.ociLayerZstd };
const block = 512;

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

/** Hashes a tar that passes, and refuses what does not begin like one. */
class PlainTar {
  readonly #check: DigestCheck;
  #digest: Digest | undefined;

  constructor(readonly expected?: Digest) {
    this.#check = new DigestCheck(expected ?? digestOf(new Uint8Array()), undefined, 'the layer');
  }

  async *pass(plain: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    const incoming = new Incoming(plain);
    try {
      expectHeader(await incoming.peek(block));
      for await (const piece of incoming.rest()) {
        this.#check.update(piece);
        yield piece;
      }
    } finally {
      await incoming.close();
    }
    if (this.expected) this.#check.finish();
    this.#digest = this.expected ?? this.#check.digest();
  }

  digest(): Digest {
    if (this.#digest === undefined) throw new RangeError('the tar has not come to its end');
    return this.#digest;
  }
}

/** The sum of all bytes of a header, its own field taken as spaces (ustar, pax(1)). An archive of nothing begins with zeros. */
function expectHeader(header: Uint8Array): void {
  if (header.length === block && header.every((byte) => byte === 0)) return;
  const written = /^[ ]*([0-7]{1,7})[ \0]/.exec(Buffer.from(header.subarray(148, 156)).toString('latin1'))?.[1];
  const sum = header.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 0x20 : byte), 0);
  if (header.length < block || written === undefined || Number.parseInt(written, 8) !== sum) {
    const hint = 'a layer is a tar, plain or compressed with gzip or zstd';
    throw new ImageError('ERR_LAYER', 'the layer does not begin as a tar does', { hint });
  }
}
