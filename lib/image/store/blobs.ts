/** Blobs: files named by the digest of their content. A file gets that name only when it is whole, verified and on disk. */

import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ImageError } from '../../errors.js';
import { type Digest, DigestCheck, digestOf, hexOf, parseDigest } from '../digest.js';
import { exists, syncDirectory } from './directory.js';
import { inStore, storeError } from './lock.js';

/** What bytes should be. */
export interface Expected {
  readonly digest: Digest;
  readonly size?: number | undefined;
}

const piece = 128 * 1024;

/** The path of a blob. The digest is checked again: it becomes part of a path here (security J2). */
export function blobPath(root: string, digest: Digest): string {
  parseDigest(digest, 'a blob of the store');
  return join(root, 'blobs', digest.slice(0, 6), hexOf(digest));
}

/** Whether it is there, and has that size if one is given. */
export async function hasBlob(root: string, digest: Digest, size?: number): Promise<boolean> {
  const path = blobPath(root, digest);
  return inStore(`${path} could not be looked at`, path, async () => {
    return (await exists(path)) && (size === undefined || (await stat(path)).size === size);
  });
}

/** @throws ImageError `ERR_NOT_FOUND` */
export async function openBlob(root: string, digest: Digest): Promise<FileHandle> {
  const path = blobPath(root, digest);
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw storeError(`${path} could not be read`, path, cause);
    throw new ImageError('ERR_NOT_FOUND', `the store has no blob ${digest}`, { path, cause });
  }
}

/**
 * The whole of a small blob, compared with its digest once more: the disk may have changed it.
 * @throws ImageError `ERR_NOT_FOUND`, `ERR_DIGEST`, `ERR_STORE` for one that is larger than `limit` bytes
 */
export async function readBlob(root: string, digest: Digest, limit: number): Promise<Buffer> {
  await using file = closing(await openBlob(root, digest));
  const path = blobPath(root, digest);
  const { size } = await inStore(`${path} could not be read`, path, () => file.handle.stat());
  if (size > limit) {
    throw new ImageError('ERR_STORE', `the blob ${digest} has ${size} bytes, and at most ${limit} are read at once`);
  }
  const bytes = await inStore(`${path} could not be read`, path, () => file.handle.readFile());
  const check = new DigestCheck(digest, undefined, `the blob ${digest} in the store`);
  check.update(bytes);
  check.finish();
  return bytes;
}

/** Pieces of a file, from its beginning. */
export async function* readPieces(file: FileHandle): AsyncGenerator<Uint8Array> {
  for (let position = 0; ; ) {
    const buffer = Buffer.allocUnsafe(piece);
    const { bytesRead } = await file.read(buffer, 0, piece, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** Compares a file with what it should be. @throws ImageError `ERR_DIGEST`, `ERR_STORE` for what is no regular file */
export async function verifyFile(file: FileHandle, expected: Expected): Promise<void> {
  if (!(await file.stat()).isFile()) throw new ImageError('ERR_STORE', `${expected.digest} is no regular file`);
  const check = new DigestCheck(expected.digest, expected.size, `the blob ${expected.digest}`);
  for await (const bytes of readPieces(file)) check.update(bytes);
  check.finish();
}

/** Streams bytes to a new file and returns what it has found them to be. @throws ImageError `ERR_DIGEST`, `ERR_STORE` */
export async function writeVerified(
  path: string,
  content: AsyncIterable<Uint8Array> | Uint8Array,
  expected: Expected | undefined,
): Promise<{ digest: Digest; size: number }> {
  const check = new DigestCheck(expected?.digest ?? anyDigest, expected?.size, 'the content for the store');
  const failed = `${path} could not be written`;
  await using file = closing(await inStore(failed, path, () => open(path, 'wx', 0o600)));
  for await (const chunk of content instanceof Uint8Array ? [content] : content) {
    // Hashing a large chunk at once would hold up the event loop.
    for (let at = 0; at < chunk.length; at += piece) {
      const part = chunk.subarray(at, at + piece);
      check.update(part);
      await writeAll(file.handle, part, path);
    }
  }
  if (expected) check.finish();
  const digest = expected?.digest ?? check.digest();
  await inStore(failed, path, () => sealFile(file.handle));
  return { digest, size: check.size };
}

export async function writeAll(file: FileHandle, bytes: Uint8Array, path: string): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, at).catch((cause: unknown) => {
      throw storeError(`${path} could not be written`, path, cause);
    });
    at += bytesWritten;
  }
}

/** Read-only, and on disk: what comes next is its name. */
export async function sealFile(file: FileHandle): Promise<void> {
  await file.chmod(0o400);
  await file.sync();
}

/** Whether a blob is there already. Where a look is enough to see that it is damaged, it is not: the new one replaces it. */
async function isSame(path: string, digest: Digest, size: number): Promise<boolean> {
  if (!(await exists(path))) return false;
  await using file = closing(await open(path, constants.O_RDONLY | constants.O_NOFOLLOW));
  if ((await file.handle.stat()).size !== size) return false;
  return (
    size > looked ||
    digestOf(await file.handle.readFile(), digest.startsWith('sha512:') ? 'sha512' : 'sha256') === digest
  );
}

/** Bytes of a blob that is compared as a whole before another one is given up for it: documents of images are not larger. */
const looked = 4 << 20;

/** Gives a sealed file its name. One that is there already has the same bytes. */
export async function nameBlob(root: string, path: string, digest: Digest): Promise<void> {
  const target = blobPath(root, digest);
  await inStore(`the blob ${digest} could not be named`, target, async () => {
    if (await isSame(target, digest, (await stat(path)).size)) return rm(path, { force: true });
    await rename(path, target);
    await syncDirectory(dirname(target));
  });
}

/** A file that is closed at the end of a block. */
export function closing(handle: FileHandle): AsyncDisposable & { readonly handle: FileHandle } {
  return { handle, [Symbol.asyncDispose]: () => handle.close() };
}

const anyDigest: Digest = `sha256:${'0'.repeat(64)}`;
