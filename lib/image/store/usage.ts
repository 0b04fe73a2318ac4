/** What is in a store and how much room it takes. */

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../digest.js';
import { listBlobs } from './collect.js';
import { readRecord } from './layers.js';
import { emptyReach, type FoundImage, reach } from './reachable.js';
import { listReferences } from './references.js';

/** An image of the store that has a name. */
export interface StoredImage {
  /** The digest of its config. */
  readonly id: Digest;
  /** The digest of its manifest. */
  readonly digest: Digest;
  /** Its names, sorted. */
  readonly references: readonly string[];
  /** Bytes of its blobs: manifest, config and compressed layers. */
  readonly size: number;
  /** When it was built, as it says itself (RFC 3339). */
  readonly created: string | undefined;
  /** Compressed layers, bottom first. */
  readonly layers: readonly Digest[];
  /** Digests of the plain layers, bottom first. */
  readonly diffIds: readonly Digest[];
}

/** Bytes in a store. */
export interface DiskUsage {
  readonly blobs: number;
  /** Content of unpacked layers. */
  readonly layers: number;
  /** What more than one image uses, of blobs and layers; counted once. */
  readonly shared: number;
  /** What `gc` would free, but for what is in use. */
  readonly reclaimable: number;
}

/** Images with a name; an index stands for those of its images that are in the store. */
export async function listImages(root: string): Promise<StoredImage[]> {
  const images = new Map<Digest, { image: FoundImage; size: number; references: Set<string> }>();
  for (const { reference, descriptor } of await listReferences(root)) {
    const found = emptyReach();
    await reach(root, descriptor.digest, found);
    for (const image of found.images) {
      const parts = new Set([image.manifest, image.id, ...image.layers]);
      const sizes = [...parts].map(
        (part) => found.sizes.get(part) ?? (part === descriptor.digest ? descriptor.size : 0),
      );
      const size = sizes.reduce((sum, next) => sum + next, 0);
      const entry = images.get(image.manifest) ?? { image, size, references: new Set() };
      entry.references.add(reference);
      images.set(image.manifest, entry);
    }
  }
  return [...images.values()].map(({ image, size, references }) => ({
    id: image.id,
    digest: image.manifest,
    references: [...references],
    size,
    created: image.created,
    layers: image.layers,
    diffIds: image.diffIds,
  }));
}

export async function diskUsage(root: string): Promise<DiskUsage> {
  const uses = new Map<string, Set<Digest>>();
  const use = (part: string, by: Digest) => void uses.set(part, (uses.get(part) ?? new Set()).add(by));
  for (const { descriptor } of await listReferences(root)) {
    const found = emptyReach();
    await reach(root, descriptor.digest, found);
    for (const part of [...found.blobs, ...found.chains]) use(part, descriptor.digest);
  }
  const total = { blobs: 0, layers: 0, shared: 0, reclaimable: 0 };
  const count = (part: string, kind: 'blobs' | 'layers', bytes: number) => {
    const users = uses.get(part)?.size ?? 0;
    total[kind] += bytes;
    if (users > 1) total.shared += bytes;
    if (users === 0) total.reclaimable += bytes;
  };
  for (const { path, digest } of await listBlobs(root)) count(digest, 'blobs', (await stat(path)).size);
  for (const name of await readdir(join(root, 'layers'))) {
    count(name.slice(0, 64), 'layers', (await readRecord(join(root, 'layers', name)))?.bytes ?? 0);
  }
  return total;
}
