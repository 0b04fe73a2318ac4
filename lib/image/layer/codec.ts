/** One of zlib's streams, run as an iteration: output when it is asked for, errors as this library's own. */

import type { Transform } from 'node:stream';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ImageError, TscontainError } from '../../errors.js';
import { gather } from './incoming.js';

/** Bytes for one turn of the pool, in and out: measured with gzip, above 256 KiB it does not get faster. */
export const PIECE = 256 * 1024;

/**
 * What the stream makes of the source. It is destroyed, and the source ended, when the iteration is over.
 * @param format for the error of a stream that cannot be decompressed
 */
export async function* through(
  source: AsyncIterable<Uint8Array>,
  stream: Transform,
  format: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  const fed = pipeline(Readable.from(gather(source, PIECE)), stream);
  // A failure comes out of the stream as well, and is told there.
  fed.catch(() => {});
  try {
    for await (const piece of stream) yield piece as Uint8Array;
    // The output's end comes first only if the decompressor takes no more, and the pipeline is cut off then.
    if (!stream.writableEnded) throw new ImageError('ERR_LAYER', `layer: bytes follow the end of its ${format} stream`);
  } catch (error) {
    throw damaged(error, format);
  } finally {
    stream.destroy();
  }
}

/** An error of a decompressor becomes an ImageError; one that came from the source of the bytes stays what it is. */
function damaged(error: unknown, format: string): unknown {
  if (error instanceof TscontainError || !(error instanceof Error)) return error;
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (!/^(Z_|ZSTD_|ERR_ZSTD)/.test(code)) return error;
  return new ImageError('ERR_LAYER', `layer: its ${format} stream is damaged: ${error.message}`, { cause: error });
}
