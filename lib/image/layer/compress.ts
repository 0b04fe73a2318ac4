/** Compressing a layer: the opposite of decompress.ts, for layers that are made here. */

import { createGzip } from 'node:zlib';
import { OptionError, UnsupportedError } from '../../errors.js';
import type { Compression } from '../document/media-types.js';
import { PIECE, through } from './codec.js';
import { nodeZstd, ZSTD_c_compressionLevel } from './zstd.js';

/** How {@link compressLayer} works. */
export interface CompressOptions {
  /** gzip: 0 to 9, by default 6; zstd: 1 to 19, by default 3. */
  readonly level?: number | undefined;
}

/**
 * A plain tar, compressed on libuv's pool. The same bytes and level give the same bytes with the same version of Node: the
 * header has neither a time nor a name.
 * @throws OptionError for a level that is not one
 * @throws UnsupportedError for zstd, where Node has none (before 22.15)
 */
export function compressLayer(
  tar: AsyncIterable<Uint8Array>,
  compression: Compression,
  { level }: CompressOptions = {},
): AsyncIterable<Uint8Array> {
  if (compression === 'none') return tar;
  const [lowest, highest] = compression === 'gzip' ? [0, 9] : [1, 19];
  if (level !== undefined && !(Number.isInteger(level) && level >= lowest && level <= highest)) {
    throw new OptionError('level', `a whole number from ${lowest} to ${highest}`, level);
  }
  if (compression === 'gzip') return through(tar, createGzip({ chunkSize: PIECE, level: level ?? 6 }), compression);
  const create = nodeZstd.createZstdCompress;
  if (!create) {
    throw new UnsupportedError(`layer: this Node (${process.version}) cannot compress with zstd`, {
      hint: 'Node 22.15 and later can; or use gzip',
    });
  }
  return through(tar, create({ chunkSize: PIECE, params: { [ZSTD_c_compressionLevel]: level ?? 3 } }), compression);
}
