/** Blobs on their way: files in `partial/` that outlive a process, so that a download goes on where it was interrupted. */

import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from '../../errors.js';
import type { Descriptor } from '../../launcher/native.js';
import { type Digest, DigestCheck, hexOf, parseDigest } from '../digest.js';
import { nameBlob, readPieces, sealFile, writeAll } from './blobs.js';
import { inStore, type LockWait, lock } from './lock.js';

/** One that this process writes, and nobody else. */
export class PartialBlob implements AsyncDisposable {
  readonly #held: Descriptor;
  readonly #file: FileHandle;
  #check: DigestCheck;

  private constructor(
    readonly digest: Digest,
    readonly path: string,
    readonly root: string,
    readonly expectedSize: number | undefined,
    held: Descriptor,
    file: FileHandle,
  ) {
    this.#held = held;
    this.#file = file;
    this.#check = this.#newCheck();
  }

  /** Waits for whoever is writing it. What is there already is read, so that it is part of the digest. */
  static async open(root: string, digest: Digest, size: number | undefined, wait: LockWait): Promise<PartialBlob> {
    parseDigest(digest, 'a blob of the store');
    const path = join(root, 'partial', hexOf(digest));
    const held = await lock(path, 'create', 'exclusive', wait);
    try {
      // Reading is by position; what is written goes to the end.
      const file = await open(path, 'a+');
      const partial = new PartialBlob(digest, path, root, size, held, file);
      await partial.#resume().catch(async (error: unknown) => {
        await file.close();
        throw error;
      });
      return partial;
    } catch (error) {
      held.close();
      throw error;
    }
  }

  /** How many bytes are there: where to go on. */
  get size(): number {
    return this.#check.size;
  }

  /** Appends. @throws ImageError `ERR_DIGEST` for more bytes than there should be */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += piece) {
      const part = bytes.subarray(at, at + piece);
      this.#check.update(part);
      await writeAll(this.#file, part, this.path);
    }
  }

  /** Begins again. */
  async reset(): Promise<void> {
    await this.#file.truncate(0);
    this.#check = this.#newCheck();
  }

  /**
   * Verifies all of it and makes it a blob. Bytes that are wrong are given up, so that the next try begins again.
   * @throws ImageError `ERR_DIGEST`
   */
  async finish(): Promise<void> {
    try {
      this.#check.finish();
    } catch (error) {
      await rm(this.path, { force: true });
      throw error;
    }
    await inStore(`${this.path} could not be finished`, this.path, () => sealFile(this.#file));
    await nameBlob(this.root, this.path, this.digest);
  }

  /** Ends the writing; what is there stays for the next one. */
  async close(): Promise<void> {
    if (!this.#held.open) return;
    try {
      await this.#file.close();
    } finally {
      this.#held.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #resume(): Promise<void> {
    try {
      for await (const bytes of readPieces(this.#file)) this.#check.update(bytes);
    } catch (error) {
      if (!(error instanceof ImageError)) throw error;
      await this.reset(); // longer than it should be
    }
  }

  #newCheck(): DigestCheck {
    return new DigestCheck(this.digest, this.expectedSize, `the blob ${this.digest}`);
  }
}

const piece = 128 * 1024;
