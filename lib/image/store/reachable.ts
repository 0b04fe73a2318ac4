/**
 * What an image consists of, as its documents in the store tell: for gc and for accounts. Read with indulgence: what cannot be
 * understood keeps what can, as nothing here is ever started.
 */

import { ImageError } from '../../errors.js';
import { chainId, type Digest, hexOf, parseDigest } from '../digest.js';
import { readBlob } from './blobs.js';

/** One image for one platform. */
export interface FoundImage {
  /** Its manifest. */
  readonly manifest: Digest;
  /** Its config; what Docker calls the id. */
  readonly id: Digest;
  readonly created: string | undefined;
  /** Compressed layers, bottom first. */
  readonly layers: readonly Digest[];
  /** Plain layers, bottom first. */
  readonly diffIds: readonly Digest[];
}

export interface Reach {
  readonly blobs: Set<Digest>;
  /** Hex of the chain ids of all layers, and of those below them. */
  readonly chains: Set<string>;
  readonly images: FoundImage[];
  /** Sizes that documents tell. */
  readonly sizes: Map<Digest, number>;
  /** Documents that are damaged, or that an image cannot do without and that are missing. */
  readonly broken: { readonly digest: Digest; readonly problem: string }[];
}

const documentLimit = 4 << 20;

export function emptyReach(): Reach {
  return { blobs: new Set(), chains: new Set(), images: [], sizes: new Map(), broken: [] };
}

/** Adds what a manifest or an index reaches. @throws ImageError `ERR_STORE` where the disk fails */
export async function reach(root: string, digest: Digest, found: Reach, depth = 0): Promise<void> {
  if (found.blobs.has(digest) || depth > 4) return;
  const document = await readDocument(root, digest, found, depth > 0);
  if (document === undefined) return;
  found.blobs.add(digest);
  for (const { digest: child } of descriptors(document.manifests, found)) await reach(root, child, found, depth + 1);
  const [config] = descriptors([document.config], found);
  if (!config) return;
  const layers = descriptors(document.layers, found).map((layer) => layer.digest);
  for (const part of [config.digest, ...layers]) found.blobs.add(part);
  const facts = await readDocument(root, config.digest, found, false);
  if (facts === undefined) return;
  const rootfs = isObject(facts.rootfs) ? facts.rootfs : {};
  const diffIds = Array.isArray(rootfs.diff_ids) ? rootfs.diff_ids.flatMap(asDigest) : [];
  const created = typeof facts.created === 'string' ? facts.created : undefined;
  found.images.push({ manifest: digest, id: config.digest, created, layers, diffIds });
  for (const chain of chains(diffIds)) found.chains.add(chain);
}

/** Hex of the chain id of each layer, bottom first. */
export function chains(diffIds: readonly Digest[]): string[] {
  const hexes: string[] = [];
  let below: Digest | undefined;
  for (const diffId of diffIds) {
    below = below === undefined ? diffId : chainId([below, diffId]);
    hexes.push(hexOf(below));
  }
  return hexes;
}

/** An index may name images for other platforms, which nobody has fetched: these are missing without anything being wrong. */
async function readDocument(
  root: string,
  digest: Digest,
  found: Reach,
  optional: boolean,
): Promise<Record<string, unknown> | undefined> {
  try {
    const document: unknown = JSON.parse((await readBlob(root, digest, documentLimit)).toString());
    if (!isObject(document)) throw new Error('it is no JSON object');
    return document;
  } catch (error) {
    // What the disk does not give now may be all right: whoever takes it for damaged would remove what it names.
    if (error instanceof ImageError && error.errno !== undefined && error.code !== 'ERR_NOT_FOUND') throw error;
    const missing = error instanceof ImageError && error.code === 'ERR_NOT_FOUND';
    if (!missing || !optional) found.broken.push({ digest, problem: (error as Error).message });
    return undefined;
  }
}

function descriptors(value: unknown, found: Reach): { readonly digest: Digest }[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((entry: unknown) => {
    if (!isObject(entry)) return [];
    const [digest] = asDigest(entry.digest);
    if (digest === undefined) return [];
    if (typeof entry.size === 'number') found.sizes.set(digest, entry.size);
    return [{ digest }];
  });
}

function asDigest(value: unknown): Digest[] {
  try {
    return [parseDigest(value, 'a digest')];
  } catch {
    return [];
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
