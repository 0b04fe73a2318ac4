/** References: names of images, each a small file of its own, named by a hash of the reference so that any reference fits. */

import { randomBytes } from 'node:crypto';
import { link, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from '../../errors.js';
import { type Digest, digestOf, hexOf, parseDigest } from '../digest.js';
import { closing, sealFile, writeAll } from './blobs.js';
import { syncDirectory } from './directory.js';
import { inStore, storeError } from './lock.js';

/** What a reference stands for: the manifest, or index, of an image (OCI image-spec, descriptor.md). */
export interface StoredDescriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
}

export interface ReferenceEntry {
  readonly reference: string;
  readonly descriptor: StoredDescriptor;
}

function referencePath(root: string, reference: string): string {
  return join(root, 'references', hexOf(digestOf(Buffer.from(reference))));
}

/**
 * @param move whether a reference that stands for another image may be taken from it (security J7)
 * @throws ImageError `ERR_REFERENCE` where it would have to be moved
 */
export async function writeReference(
  root: string,
  entry: ReferenceEntry,
  { move, directory }: { readonly move: boolean; readonly directory: string },
): Promise<void> {
  const { reference, descriptor } = entry;
  const { mediaType, digest, size } = descriptor;
  parseDigest(digest, `the image ${reference}`);
  const target = referencePath(root, reference);
  const fresh = join(directory, randomBytes(8).toString('hex'));
  try {
    await using file = closing(await open(fresh, 'wx', 0o600));
    const text = JSON.stringify({ reference, descriptor: { mediaType, digest, size } });
    await writeAll(file.handle, Buffer.from(text), fresh);
    await sealFile(file.handle);
    if (move) await rename(fresh, target);
    // A link is made only where there is nothing, whoever else tries the same.
    else await link(fresh, target);
    await syncDirectory(join(root, 'references'));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw storeError(`the reference ${reference} could not be written`, target, cause);
    }
    const found = await readReference(root, reference);
    if (found?.digest === digest) return;
    throw new ImageError('ERR_REFERENCE', `${reference} is already the name of ${found?.digest ?? 'another image'}`, {
      path: target,
      hint: 'choose another name, or ask for the name to be moved',
    });
  } finally {
    await rm(fresh, { force: true }).catch(() => {}); // it goes with the directory
  }
}

export async function readReference(root: string, reference: string): Promise<StoredDescriptor | undefined> {
  const entry = await readEntry(referencePath(root, reference));
  if (entry && entry.reference !== reference) throw damaged(referencePath(root, reference));
  return entry?.descriptor;
}

/** Whether it was there. */
export async function removeReference(root: string, reference: string): Promise<boolean> {
  const path = referencePath(root, reference);
  try {
    await rm(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw storeError(`the reference ${reference} could not be removed`, path, cause);
  }
  await inStore(`the removal of ${reference} may not be on disk`, path, () => syncDirectory(join(root, 'references')));
  return true;
}

/** All of them, sorted. @throws ImageError `ERR_STORE` for one that is damaged: what it kept is not known */
export async function listReferences(root: string): Promise<ReferenceEntry[]> {
  const entries: ReferenceEntry[] = [];
  const directory = join(root, 'references');
  for (const name of await inStore(`${directory} could not be read`, directory, () => readdir(directory))) {
    const entry = await readEntry(join(root, 'references', name));
    if (entry) entries.push(entry);
  }
  return entries.sort((a, b) => (a.reference < b.reference ? -1 : 1));
}

/** One file; undefined where it is gone. @throws ImageError `ERR_STORE` */
export async function readEntry(path: string): Promise<ReferenceEntry | undefined> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined;
    throw storeError(`${path} could not be read`, path, cause);
  });
  if (text === undefined) return undefined;
  try {
    const { reference, descriptor } = JSON.parse(text) as ReferenceEntry;
    parseDigest(descriptor.digest, path);
    if (typeof reference !== 'string' || referencePath(join(path, '..', '..'), reference) !== path) throw damaged(path);
    return { reference, descriptor };
  } catch (cause) {
    throw damaged(path, cause);
  }
}

function damaged(path: string, cause?: unknown): ImageError {
  const hint = 'remove the file; the image can be pulled or loaded again';
  return new ImageError('ERR_STORE', `${path} is no reference of this store`, { path, hint, cause });
}
