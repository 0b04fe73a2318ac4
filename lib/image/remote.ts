/** Images between a store and a registry: what was pulled gets its name when all of it is there. */

import { copyObject, readInteger, readList, readText } from '../container/settings/schema.js';
import { OptionError } from '../errors.js';
import type { Digest } from './digest.js';
import { readOnProgress, readSignal, readStore } from './options.js';
import { hostPlatform, type Platform, parsePlatform } from './platform.js';
import type { OnProgress } from './progress.js';
import { parseReference, type Reference } from './reference.js';
import type { RegistryOptions } from './registry/index.js';
import { type PullSettings, pullImage } from './registry/pull.js';
import { type PushSettings, type PushStore, pushImage } from './registry/push.js';
import { readRegistryOptions } from './registry/settings.js';
import { type Chosen, readImage } from './source/choose.js';
import { readAll } from './source/copy.js';
import type { ImageStore, StoredDescriptor } from './store/index.js';

/** How an image is fetched. */
export interface PullOptions extends RegistryOptions {
  /** Default: the one of {@link ImageStore.default}. */
  readonly store?: ImageStore;
  /** Which image of several: text such as `'linux/arm64'`. Default: this host's. */
  readonly platform?: string;
  readonly signal?: AbortSignal;
  /** Hears `resolving`, `resolved`, and of each content `exists`, or `downloading` and `downloaded`. */
  readonly onProgress?: OnProgress;
}

/** How an image is sent. */
export interface PushOptions extends RegistryOptions {
  /** Repositories of the same registry that may have layers already. Its own name's is looked in always. */
  readonly mountFrom?: readonly string[];
  /** Bytes of one request. Default: each blob in one. */
  readonly chunkSize?: number;
  readonly signal?: AbortSignal;
  /** Hears of each content `exists`, `mounted`, or `uploading` and `uploaded`. */
  readonly onProgress?: OnProgress;
}

/** An image of a store, and what it is called there. */
export interface Pulled {
  readonly store: ImageStore;
  readonly chosen: Chosen;
  readonly reference: string;
}

/** Fetches an image into the store, and gives it the name that it was asked for by, whoever had it before. */
export async function pull(name: string, options: unknown): Promise<Pulled> {
  const { store: given, platform: text, signal, onProgress, ...registry } = copyObject(options, '');
  const reference = parseReference(name, 'reference').withDefaultTag();
  const platform: Platform = text === undefined ? hostPlatform() : parsePlatform(text);
  const settings = {
    platform,
    registry: readRegistryOptions(registry),
    signal: readSignal(signal),
    onProgress: readOnProgress(onProgress),
  };
  const store = await readStore(given);
  return { store, chosen: await fetchImage(store, reference, settings), reference: String(reference) };
}

/** The same for settings that have been read. */
export async function fetchImage(store: ImageStore, reference: Reference, settings: PullSettings): Promise<Chosen> {
  await using _hold = store.hold();
  const descriptor = await pullImage(reference, store, settings);
  // An image that cannot be read does not take a name from one that can.
  const chosen = await readImage(store, descriptor, String(reference));
  await store.setReference(String(reference), descriptor, { move: true });
  return chosen;
}

/** Sends an image under a name; `own` is the one that it has here. */
export async function push(
  store: ImageStore,
  descriptor: StoredDescriptor,
  own: string | undefined,
  name: unknown,
  options: unknown,
): Promise<void> {
  const { mountFrom, chunkSize, signal, onProgress, ...registry } = copyObject(options, '');
  if (name === undefined && own === undefined) {
    const hint = 'this image has no name of its own';
    throw new OptionError('reference', 'the name that it is to have in the registry', name, { hint });
  }
  const reference = parseReference(name ?? own, 'reference').withDefaultTag();
  const settings: PushSettings = {
    registry: readRegistryOptions(registry),
    mountFrom: [...new Set([...repositoryBeside(own, reference), ...readRepositories(mountFrom)])],
    chunkSize: chunkSize === undefined ? undefined : readInteger(chunkSize, 'chunkSize', 1024, 2 ** 40),
    signal: readSignal(signal),
    onProgress: readOnProgress(onProgress),
  };
  await pushImage(descriptor, reading(store), reference, settings);
}

/** Where in the same registry an image of that name would have its layers. */
function repositoryBeside(own: string | undefined, { registry, repository }: Reference): string[] {
  if (own === undefined) return [];
  const from = parseReference(own);
  return from.registry === registry && from.repository !== repository ? [from.repository] : [];
}

function readRepositories(value: unknown): string[] {
  if (value === undefined) return [];
  return readList(value, 'mountFrom', 'an array of repositories', 100).map((each, index) => {
    const option = `mountFrom[${index}]`;
    const text = readText(each, option, 'a repository such as library/debian');
    // With a registry before it, what is left is the repository, whatever it looks like.
    const { repository, tag, digest } = parseReference(`localhost/${text}`, option);
    if (tag !== undefined || digest !== undefined) throw new OptionError(option, 'a repository without a tag', each);
    return repository;
  });
}

function reading(store: ImageStore): PushStore {
  return {
    readBlob: (digest, limit) => store.readBlob(digest, limit),
    streamBlob: (digest, start, end) => slice(store, digest, start, end),
  };
}

async function* slice(
  store: ImageStore,
  digest: Digest,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const file = await store.openBlob(digest);
  try {
    yield* readAll(file, undefined, start, end);
  } finally {
    await file.close();
  }
}
