/** Looks at the whole store and tells what is wrong; on request it removes blobs that are not what their names say. */

import { lstat, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from '../../errors.js';
import type { Digest } from '../digest.js';
import { blobPath, openBlob, verifyFile } from './blobs.js';
import { listBlobs } from './collect.js';
import { directories, exists, verifyPrivate } from './directory.js';
import { lockCollection } from './hold.js';
import { layerGrammar, readRecord } from './layers.js';
import { emptyReach, reach } from './reachable.js';
import { readEntry } from './references.js';

/** One thing that is wrong in a store. */
export interface StoreProblem {
  readonly kind:
    | 'directory'
    | 'blob-damaged'
    | 'blob-missing'
    | 'document-damaged'
    | 'layer-incomplete'
    | 'reference-damaged'
    | 'stray-file';
  readonly path: string;
  /** What is wrong, as a sentence. */
  readonly problem: string;
  /** Names of the images that need it, where it is a blob. */
  readonly references: readonly string[];
}

export interface VerifyOptions {
  /** Whether the digest of each blob is computed again. Default false. */
  readonly content?: boolean;
  /**
   * Whether blobs that are found to be damaged are removed, so that the next pull or load of their images brings them again.
   * Takes `content`. Default false: nothing is changed.
   */
  readonly repair?: boolean;
}

export async function verifyStore(
  root: string,
  { content = false, repair = false }: VerifyOptions,
): Promise<StoreProblem[]> {
  const problems: StoreProblem[] = [];
  const users = await usersOf(root);
  const report = (kind: StoreProblem['kind'], path: string, problem: string) => {
    problems.push({ kind, path, problem, references: users.get(path) ?? [] });
  };
  for (const name of ['.', ...directories]) {
    await verifyPrivate(join(root, name)).catch((error: Error) => report('directory', join(root, name), error.message));
  }
  await verifyBlobs(root, content, report);
  for (const name of await readdir(join(root, 'layers'))) {
    const path = join(root, 'layers', name);
    if (!layerGrammar.test(name)) report('stray-file', path, 'it is no layer');
    else if (!(await readRecord(path)) && (await exists(path))) report('layer-incomplete', path, 'it has no record');
    else if (!(await exists(join(path, 'root')))) report('layer-incomplete', path, 'its root is missing');
  }
  await verifyReferences(root, report);
  if (repair) {
    for (const { path } of problems.filter(({ kind }) => kind === 'blob-damaged')) await removeDamaged(root, path);
  }
  return problems;
}

/** Names of images by the paths of the blobs that they need, as far as that can be read. */
async function usersOf(root: string): Promise<Map<string, string[]>> {
  const users = new Map<string, string[]>();
  for (const name of await readdir(join(root, 'references'))) {
    const entry = await readEntry(join(root, 'references', name)).catch(() => undefined);
    if (!entry) continue;
    const found = emptyReach();
    await reach(root, entry.descriptor.digest, found).catch(() => {}); // told of by verifyReferences
    for (const digest of new Set([entry.descriptor.digest, ...found.blobs])) {
      const path = blobPath(root, digest);
      users.set(path, [...(users.get(path) ?? []), entry.reference].sort());
    }
  }
  return users;
}

/** Another process may have brought it anew meanwhile: it is looked at once more, while nobody names anything. */
async function removeDamaged(root: string, path: string): Promise<void> {
  const held = await lockCollection(root);
  try {
    const blob = (await listBlobs(root)).find((one) => one.path === path);
    const damaged = blob && (await verifyContent(root, blob.digest).then(() => false, isDamage));
    if (damaged) await unlink(path);
  } finally {
    held.close();
  }
}

/** Whether the bytes are wrong, and not only out of reach at the moment. */
function isDamage(error: unknown): boolean {
  return error instanceof ImageError && error.code === 'ERR_DIGEST';
}

type Report = (kind: StoreProblem['kind'], path: string, problem: string) => void;

async function verifyBlobs(root: string, content: boolean, report: Report): Promise<void> {
  const blobs = await listBlobs(root);
  const known = new Set(blobs.map(({ path }) => path));
  for (const algorithm of ['sha256', 'sha512']) {
    for (const name of await readdir(join(root, 'blobs', algorithm))) {
      const path = join(root, 'blobs', algorithm, name);
      if (!known.has(path)) report('stray-file', path, 'its name is no digest');
    }
  }
  for (const { path, digest } of blobs) {
    if (!(await lstat(path)).isFile()) report('stray-file', path, 'it is no regular file');
    else if (content)
      await verifyContent(root, digest).catch((error: Error) => report('blob-damaged', path, error.message));
  }
}

async function verifyContent(root: string, digest: Digest): Promise<void> {
  const file = await openBlob(root, digest);
  try {
    await verifyFile(file, { digest });
  } finally {
    await file.close();
  }
}

async function verifyReferences(root: string, report: Report): Promise<void> {
  for (const name of await readdir(join(root, 'references'))) {
    const path = join(root, 'references', name);
    const entry = await readEntry(path).catch((error: Error) => report('reference-damaged', path, error.message));
    if (!entry) continue;
    const found = emptyReach();
    await reach(root, entry.descriptor.digest, found).catch((error: Error) =>
      report('document-damaged', blobPath(root, entry.descriptor.digest), error.message),
    );
    for (const { digest, problem } of found.broken) {
      report(
        (await exists(blobPath(root, digest))) ? 'document-damaged' : 'blob-missing',
        blobPath(root, digest),
        problem,
      );
    }
    for (const layer of new Set(found.images.flatMap(({ layers }) => layers))) {
      const layerPath = blobPath(root, layer);
      if (!(await exists(layerPath))) report('blob-missing', layerPath, `a layer of ${entry.reference} is missing`);
    }
  }
}
