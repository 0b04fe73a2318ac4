/**
 * Decompressing a layer (OCI image-spec, layer.md): gzip, zstd, or a tar as it is. What comes is not trusted: nothing may
 * follow the end, nothing may be missing, and limits hold while it streams. Output is asked for piece by piece, so memory is
 * that of a few pieces, whatever the size of the layer.
 */

import { createGunzip } from 'node:zlib';
import { ImageError } from '../../errors.js';
import { type Compression, layerCompression } from '../document/media-types.js';
import { PIECE, through } from './codec.js';
import { Incoming } from './incoming.js';
import { isZstd, unzstd } from './zstd.js';

/** How much a compressed layer may become. */
export interface DecompressLimits {
  /** Bytes of the plain tar. */
  readonly bytes: number;
  /** The plain tar's bytes for each compressed one; the first MiB is not counted, as little text may well repeat itself. */
  readonly ratio: number;
}

/** How {@link decompressLayer} works. */
export interface DecompressOptions {
  readonly limits: DecompressLimits;
  /** What the manifest says that it is. Where it names a compression, that must be the one that is there. */
  readonly mediaType?: string | undefined;
}

const RATIO_FROM = 2 ** 20;

/**
 * The plain tar of a layer. The format is told by its first bytes; where a media type was given, both must agree.
 * gzip of several members, and zstd of several frames with skippable ones between, are one stream, as both formats say.
 * @throws ImageError `ERR_LAYER` for bytes that are damaged, end early or go on after the end, and another format than the
 * media type's; `ERR_LAYER_LIMIT` as soon as a limit is exceeded
 */
export async function* decompressLayer(
  compressed: AsyncIterable<Uint8Array>,
  { limits, mediaType }: DecompressOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const incoming = new Incoming(compressed);
  let bytes = 0;
  try {
    const found = compressionOf(await incoming.peek(4));
    const declared = mediaType === undefined ? found : layerCompression(mediaType);
    if (declared === undefined) {
      throw new ImageError('ERR_LAYER', `layer: '${mediaType}' is not a media type of layers`);
    }
    if (declared !== found) {
      throw new ImageError('ERR_LAYER', `layer: its media type '${mediaType}' means ${declared}, but it is ${found}`);
    }
    for await (const piece of open(incoming, found)) {
      bytes += piece.length;
      if (bytes > limits.bytes) {
        throw new ImageError('ERR_LAYER_LIMIT', `layer: unpacked it is more than the ${limits.bytes} bytes allowed`);
      }
      if (bytes > RATIO_FROM && bytes - RATIO_FROM > incoming.bytes * limits.ratio) {
        throw new ImageError(
          'ERR_LAYER_LIMIT',
          `layer: ${incoming.bytes} bytes became ${bytes}, more than ${limits.ratio} times as many`,
        );
      }
      yield piece;
    }
  } finally {
    await incoming.close();
  }
}

function open(incoming: Incoming, compression: Compression): AsyncIterable<Uint8Array> {
  if (compression === 'gzip') return gunzip(incoming);
  return compression === 'zstd' ? unzstd(incoming) : incoming.rest();
}

/** Told by the first four bytes; fewer are no archive, and plain. */
export function compressionOf(first: Uint8Array): Compression {
  if (first[0] === 0x1f && first[1] === 0x8b) return 'gzip';
  return isZstd(first) ? 'zstd' : 'none';
}

/** zlib stops at what is no further member, and takes zeros for padding: what it left shows in its count. */
async function* gunzip(incoming: Incoming): AsyncGenerator<Uint8Array, void, undefined> {
  const stream = createGunzip({ chunkSize: PIECE });
  yield* through(incoming.rest(), stream, 'gzip');
  if (incoming.bytes !== stream.bytesWritten) {
    throw new ImageError('ERR_LAYER', `layer: bytes follow the end of its gzip stream, at ${stream.bytesWritten}`);
  }
}
