/** An image from a store to a registry: its blobs, and its manifest last, so that whoever finds it finds all of it. */

import { ImageError } from '../../errors.js';
import type { Digest } from '../digest.js';
import { type Descriptor, isIndexType, parseIndex, parseManifest } from '../document/index.js';
import type { Reference } from '../reference.js';
import { largestManifest, RepositoryClient } from './client.js';
import { Deadline } from './deadline.js';
import { inParallel } from './parallel.js';
import { contents } from './pull.js';
import { endpointOf, type RegistrySettings } from './settings.js';
import { type ReadBlob, type UploadOptions, uploadBlob, uploadManifest } from './upload.js';

/** What pushing needs of a store. */
export interface PushStore {
  readBlob(digest: Digest, limit: number): Promise<Uint8Array>;
  /** The bytes of a blob, from a position up to another one. */
  streamBlob(digest: Digest, start: number, end: number): ReturnType<ReadBlob>;
}

export interface PushSettings extends UploadOptions {
  readonly registry: RegistrySettings;
  readonly signal: AbortSignal | undefined;
}

/**
 * Sends an image, or an index with all of its images.
 * @param reference its name there; without tag and digest it is `latest`
 */
export async function pushImage(
  image: Descriptor,
  store: PushStore,
  reference: Reference,
  settings: PushSettings,
): Promise<void> {
  const { registry, repository, tag, digest } = reference.withDefaultTag();
  if (digest !== undefined && digest !== image.digest) {
    throw new ImageError('ERR_DIGEST', `pushing to ${reference}: the image is ${image.digest}`);
  }
  const deadline = new Deadline(settings.signal, settings.registry.total, `pushing to ${reference}`);
  const endpoint = endpointOf(registry, settings.registry);
  const client = new RepositoryClient(settings.registry, endpoint, repository, deadline.signal);
  try {
    await pushDocument(client, image, store, tag ?? image.digest, settings, 0);
  } finally {
    deadline.close();
    await client.close();
  }
}

async function pushDocument(
  client: RepositoryClient,
  { digest, mediaType }: Descriptor,
  store: PushStore,
  name: string,
  settings: PushSettings,
  depth: number,
): Promise<void> {
  const bytes = await store.readBlob(digest, largestManifest);
  if (isIndexType(mediaType)) {
    if (depth > 3) throw new ImageError('ERR_MANIFEST', `the index ${digest}: it is nested deeper than 3 times`);
    for (const inner of parseIndex(bytes, mediaType, `the index ${digest}`).manifests) {
      await pushDocument(client, inner, store, inner.digest, settings, depth + 1);
    }
  } else {
    const manifest = parseManifest(bytes, mediaType, `the manifest ${digest}`);
    await inParallel(
      contents(manifest),
      settings.registry.parallel,
      (content) => uploadBlob(client, content, (start, end) => store.streamBlob(content.digest, start, end), settings),
      (reason) => client.cancel(reason),
    );
  }
  await uploadManifest(client, name, { bytes, mediaType, digest });
}
