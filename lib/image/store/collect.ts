/** gc: what no reference reaches, nobody holds and no lease keeps is removed. */

import { readdir, rm, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../digest.js';
import { exists } from './directory.js';
import { lockCollection, readHeld } from './hold.js';
import { type Layers, layerGrammar, readRecord } from './layers.js';
import { isMissing, type LockWait, tryLock } from './lock.js';
import { emptyReach, type Reach, reach } from './reachable.js';
import { listReferences } from './references.js';
import { lockIfThere, sweepTemporary, type Temporary } from './temporary.js';

/** What gc has removed. */
export interface Collected {
  readonly blobs: number;
  readonly layers: number;
  /** Downloads that nobody continues. */
  readonly partial: number;
  /** Bytes of all of these; of layers, the content that was unpacked. */
  readonly bytes: number;
}

/** A download that was interrupted may be continued for so long, in milliseconds. */
const partialAge = 24 * 3600 * 1000;

/**
 * @param keep digests of more manifests to keep
 * @param age in milliseconds: what was made within it stays
 */
export async function collect(
  layers: Layers,
  keep: readonly Digest[],
  age: number | undefined,
  wait: LockWait,
): Promise<Collected> {
  const { root } = layers;
  await sweepTemporary(root);
  const oldest = age === undefined ? Number.POSITIVE_INFINITY : Date.now() - age;
  const removed: Temporary[] = [];
  const counts = { blobs: 0, layers: 0, partial: 0, bytes: 0 };
  const held = await lockCollection(root, wait);
  try {
    const { reached, noted } = await roots(root, keep);
    for (const { path, digest } of await listBlobs(root)) {
      if (reached.blobs.has(digest) || noted.has(digest)) continue;
      const facts = await stat(path);
      if (facts.mtimeMs > oldest) continue;
      await unlink(path);
      counts.blobs++;
      counts.bytes += facts.size;
    }
    for (const name of await readdir(join(root, 'layers'))) {
      if (!layerGrammar.test(name)) continue; // nothing of ours: verify() tells of it
      if (reached.chains.has(name.slice(0, 64)) || noted.has(`layer:${name}`)) continue;
      const record = await readRecord(layers.path(name));
      if (record && Date.parse(record.created) > oldest) continue;
      const aside = await layers.moveAside(name);
      if (!aside) continue;
      removed.push(aside);
      counts.layers++;
      counts.bytes += record?.bytes ?? 0;
    }
    await removeLocks(layers);
  } finally {
    held.close();
    // Moved away they are nobody's; removing them takes a while, for which nobody has to wait. After a failure too.
    const gone = await Promise.allSettled(removed.map((temporary) => temporary.dispose()));
    const stuck = gone.find((one) => one.status === 'rejected');
    // biome-ignore lint/correctness/noUnsafeFinally: of two failures either may be told
    if (stuck) throw stuck.reason;
  }
  await removePartial(root, Date.now() - (age ?? partialAge), counts);
  return counts;
}

/** Files that were locked while a layer was made that is gone. Whoever gets the lock sees that its file has no name any more. */
async function removeLocks(layers: Layers): Promise<void> {
  for (const name of await readdir(join(layers.root, 'locks'))) {
    if (!layerGrammar.test(name) || (await exists(layers.path(name)))) continue;
    const file = join(layers.root, 'locks', name);
    const held = lockIfThere(file, 'file');
    if (!held) continue;
    try {
      await rm(file, { force: true });
    } finally {
      held.close();
    }
  }
}

async function roots(root: string, keep: readonly Digest[]): Promise<{ reached: Reach; noted: Set<string> }> {
  const reached = emptyReach();
  const noted = await readHeld(root);
  for (const { descriptor } of await listReferences(root)) await reach(root, descriptor.digest, reached);
  for (const digest of keep) await reach(root, digest, reached);
  return { reached, noted };
}

async function removePartial(root: string, oldest: number, counts: { partial: number; bytes: number }): Promise<void> {
  for (const name of await readdir(join(root, 'partial'))) {
    const path = join(root, 'partial', name);
    try {
      const facts = await stat(path);
      if (facts.mtimeMs > oldest) continue;
      const held = tryLock(path, 'file', 'exclusive');
      if (!held) continue;
      await rm(path, { force: true });
      held.close();
      counts.partial++;
      counts.bytes += facts.size;
    } catch (error) {
      if (!isMissing(error)) throw error; // it has become a blob meanwhile
    }
  }
}

/** Files in `blobs/` whose names are digests. */
export async function listBlobs(root: string): Promise<{ readonly path: string; readonly digest: Digest }[]> {
  const found: { path: string; digest: Digest }[] = [];
  for (const [algorithm, length] of [
    ['sha256', 64],
    ['sha512', 128],
  ] as const) {
    for (const name of await readdir(join(root, 'blobs', algorithm))) {
      if (name.length !== length || !/^[0-9a-f]+$/.test(name)) continue;
      found.push({ path: join(root, 'blobs', algorithm, name), digest: `${algorithm}:${name}` });
    }
  }
  return found;
}
