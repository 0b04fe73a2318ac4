/** Content of an image from one place into another, each piece under its digest. */

import type { FileHandle } from 'node:fs/promises';
import { AbortedError } from '../../errors.js';
import type { BlobSource, BlobStore } from '../blobs.js';
import type { Descriptor, Manifest } from '../document/index.js';

/** Bytes of one reading, each of which is a turn of libuv's pool. */
const chunk = 256 * 1024;

/** Copies layers, configuration and, last, the manifest: when that is there, so is all that it names. */
export async function copyImage(
  source: BlobSource,
  target: BlobStore,
  { descriptor, manifest }: { readonly descriptor: Descriptor; readonly manifest: Manifest },
  signal?: AbortSignal,
): Promise<void> {
  for (const { digest, size } of [...manifest.layers, manifest.config, descriptor]) {
    if (await target.hasBlob(digest)) continue;
    const file = await source.openBlob(digest);
    try {
      await target.putBlob(readAll(file, signal), { digest, size });
    } finally {
      await file.close();
    }
  }
}

/** The bytes of an open file, from its beginning or a position, to its end or another one. The file stays open. */
export async function* readAll(
  file: FileHandle,
  signal?: AbortSignal,
  start = 0,
  end = Number.POSITIVE_INFINITY,
): AsyncGenerator<Uint8Array, void> {
  for (let position = start; position < end; ) {
    if (signal?.aborted) throw new AbortedError('copying an image was aborted', { cause: signal.reason });
    const length = Math.min(chunk, end - position);
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(length), 0, length, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}
