/** An image from a registry into a store: the name resolved to verified bytes, and all that these refer to (OCI "Pull"). */

import { AbortedError, ImageError } from '../../errors.js';
import type { Digest } from '../digest.js';
import {
  type Descriptor,
  isForeignLayer,
  isIndexType,
  type Manifest,
  parseIndex,
  parseManifest,
} from '../document/index.js';
import { type Platform, selectPlatform } from '../platform.js';
import type { OnProgress } from '../progress.js';
import type { Reference } from '../reference.js';
import { type Document, RepositoryClient } from './client.js';
import { Deadline } from './deadline.js';
import { type BlobSink, downloadBlob } from './download.js';
import { inParallel } from './parallel.js';
import { endpointsOf, type RegistrySettings } from './settings.js';

/** What pulling needs of a store. */
export interface PullStore extends BlobSink {
  putBlob(content: Uint8Array, expected?: { digest: Digest; size?: number }): Promise<unknown>;
}

export interface PullSettings {
  readonly platform: Platform;
  readonly registry: RegistrySettings;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: OnProgress | undefined;
}

/**
 * Fetches the image that is meant, and all of its content. The store has it when this settles, under no name yet.
 * @returns the descriptor of its manifest
 */
export async function pullImage(reference: Reference, store: PullStore, settings: PullSettings): Promise<Descriptor> {
  const named = reference.withDefaultTag();
  const doing = `pulling ${named}`;
  const deadline = new Deadline(settings.signal, settings.registry.total, doing);
  try {
    settings.onProgress?.({ phase: 'resolving', reference: String(named) });
    return await firstEndpoint(named, settings, deadline, (client) => new Pull(named, client, store, settings).run());
  } finally {
    deadline.close();
  }
}

/** Asks mirrors, then the registry itself, whose failure is the one that counts. Its connections end with it. */
async function firstEndpoint<T>(
  reference: Reference,
  settings: PullSettings,
  deadline: Deadline,
  action: (client: RepositoryClient) => Promise<T>,
): Promise<T> {
  const { signal } = deadline;
  const failures: Error[] = [];
  for (const endpoint of endpointsOf(reference.registry, settings.registry)) {
    const client = new RepositoryClient(settings.registry, endpoint, reference.repository, signal);
    try {
      return await action(client);
    } catch (error) {
      if (signal.aborted || error instanceof AbortedError || !(error instanceof ImageError)) throw error;
      failures.push(error);
    } finally {
      await client.close();
    }
  }
  const last = failures.pop();
  if (last instanceof ImageError && failures.length > 0) {
    const before = failures.map(({ message }) => message).join('; ');
    const { status, cause, hint } = last;
    // Its message ends with its hint, which is to stay the end.
    const message = hint === undefined ? last.message : last.message.slice(0, -` (hint: ${hint})`.length);
    throw new ImageError(last.code as `ERR_${string}`, `${message}; before that: ${before}`, { status, cause, hint });
  }
  throw last;
}

class Pull {
  constructor(
    readonly reference: Reference,
    readonly client: RepositoryClient,
    readonly store: PullStore,
    readonly settings: PullSettings,
  ) {}

  async run(): Promise<Descriptor> {
    const { client, store, settings } = this;
    const document = await this.#choose();
    const { digest, bytes } = document;
    const name = `the manifest ${digest} of ${client.place}`;
    const manifest = parseManifest(bytes, document.mediaType, name);
    settings.onProgress?.({ phase: 'resolved', reference: String(this.reference), digest });
    await inParallel(
      contents(manifest),
      settings.registry.parallel,
      (content) => downloadContent(client, content, store, settings.onProgress),
      (reason) => client.cancel(reason),
    );
    // What is in the store has all that it refers to.
    await store.putBlob(bytes, { digest, size: bytes.length });
    return { mediaType: manifest.mediaType, digest, size: bytes.length };
  }

  /** The manifest that is meant: what the name leads to, or the one for the platform of an index. */
  async #choose(): Promise<Document> {
    const { tag, digest } = this.reference;
    const document = await this.client.manifest(digest ?? tag ?? 'latest', digest);
    if (document.mediaType === undefined) {
      throw new ImageError(
        'ERR_MANIFEST',
        `the manifest of ${this.reference}: the registry does not say of what type it is`,
      );
    }
    if (!isIndexType(document.mediaType)) return document;
    const name = `the index of ${this.reference}`;
    const index = parseIndex(document.bytes, document.mediaType, name);
    const chosen = selectPlatform(index.manifests, this.settings.platform, name);
    const found = await this.client.manifest(chosen.digest, chosen.digest);
    if (found.bytes.length !== chosen.size) {
      throw new ImageError(
        'ERR_DIGEST',
        `${name}: ${chosen.digest} has ${found.bytes.length} bytes, not ${chosen.size}`,
      );
    }
    if (found.mediaType !== chosen.mediaType) {
      const problem = `${chosen.digest} came as ${found.mediaType}, and should be ${chosen.mediaType}`;
      throw new ImageError('ERR_MANIFEST', `${name}: ${problem}`);
    }
    return found;
  }
}

async function downloadContent(
  client: RepositoryClient,
  content: Descriptor,
  store: PullStore,
  onProgress: OnProgress | undefined,
): Promise<void> {
  try {
    await downloadBlob(client, content, store, onProgress);
  } catch (error) {
    if (!(error instanceof ImageError && error.code === 'ERR_NOT_FOUND' && isForeignLayer(content.mediaType)))
      throw error;
    const { message, status } = error;
    const hint = `it is ${content.mediaType}, which registries need not have; addresses in \`urls\` are never followed`;
    throw new ImageError('ERR_NOT_FOUND', message, { status, hint, cause: error });
  }
}

/** Each content of an image once. */
export function contents({ config, layers }: Manifest): readonly Descriptor[] {
  return [...new Map([config, ...layers].map((content) => [content.digest, content])).values()];
}
