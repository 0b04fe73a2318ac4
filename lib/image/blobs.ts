/** Content by its digest: the part of a store that reading, writing and saving of images need. */

import type { FileHandle } from 'node:fs/promises';
import type { Digest } from './digest.js';

/** What was stored. */
export interface StoredBlob {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

/** Where content is read from. */
export interface BlobSource {
  /** Opens content for reading; the caller closes it. @throws ImageError `ERR_NOT_FOUND` */
  openBlob(digest: Digest): Promise<FileHandle>;
  /** All of it, if it has at most `limit` bytes. Its digest is checked. */
  readBlob(digest: Digest, limit: number): Promise<Buffer>;
}

/** Where content is kept. */
export interface BlobStore extends BlobSource {
  hasBlob(digest: Digest): Promise<boolean>;
  /** Stores content whole or not at all; with `expected`, only what has that digest and size. */
  putBlob(
    content: AsyncIterable<Uint8Array> | Uint8Array,
    expected?: { readonly digest: Digest; readonly size?: number },
  ): Promise<StoredBlob>;
}
