/** A place for content of tests that need no store: files in a directory, by their digest. */

import { mkdtempSync, rmSync } from 'node:fs';
import { access, open, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageError } from '../../lib/errors.js';
import type { BlobStore, StoredBlob } from '../../lib/image/blobs.js';
import { type Digest, DigestCheck, digestOf, hexOf } from '../../lib/image/digest.js';

export class BlobDirectory implements BlobStore {
  readonly path = mkdtempSync(join(tmpdir(), 'blobs-'));

  async hasBlob(digest: Digest): Promise<boolean> {
    return access(this.#path(digest)).then(
      () => true,
      () => false,
    );
  }

  async openBlob(digest: Digest) {
    if (!(await this.hasBlob(digest))) throw new ImageError('ERR_NOT_FOUND', `no ${digest}`);
    return open(this.#path(digest));
  }

  async readBlob(digest: Digest, limit: number): Promise<Buffer> {
    await using file = await this.openBlob(digest);
    const bytes = await file.readFile();
    if (bytes.length > limit) throw new ImageError('ERR_MANIFEST', `${digest} is too large`);
    return bytes;
  }

  async putBlob(
    content: AsyncIterable<Uint8Array> | Uint8Array,
    expected?: { readonly digest: Digest; readonly size?: number },
  ): Promise<StoredBlob> {
    const parts: Uint8Array[] = [];
    if (content instanceof Uint8Array) parts.push(content);
    else for await (const part of content) parts.push(part);
    const bytes = Buffer.concat(parts);
    if (expected) {
      const check = new DigestCheck(expected.digest, expected.size, 'the blob');
      check.update(bytes);
      check.finish();
    }
    const digest = expected?.digest ?? digestOf(bytes);
    await writeFile(this.#path(digest), bytes);
    return { digest, size: bytes.length };
  }

  /** All bytes of a blob, for comparisons. */
  read(digest: Digest): Promise<Buffer> {
    return readFile(this.#path(digest));
  }

  dispose(): void {
    rmSync(this.path, { recursive: true });
  }

  #path(digest: Digest): string {
    return join(this.path, hexOf(digest));
  }
}
