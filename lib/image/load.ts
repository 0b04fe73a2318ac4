/** Archives of images, of OCI's form or Docker's: unpacked in the store's own directory by an agent, then read as a directory. */

import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { copyObject, defineSchema, expectKeys } from '../container/settings/schema.js';
import { canonical, giveName, type ImportOptions, readImportOptions } from './import.js';
import { decompressLayer } from './layer/decompress.js';
import { Incoming } from './layer/incoming.js';
import { unpackArchive } from './layer/unpack.js';
import { readSignal, readStore } from './options.js';
import type { Platform } from './platform.js';
import { readSource } from './source/bytes.js';
import { type Chosen, chooseImage } from './source/choose.js';
import { copyImage } from './source/copy.js';
import { copyDockerArchive } from './source/docker-archive.js';
import { LayoutDirectory } from './source/layout.js';
import { asRootFileSystem, beginning, expectTar } from './source/recognize.js';
import type { ImageStore } from './store/index.js';
import { type ImageLimits, readUnpackOptions, type UnpackSettings } from './unpack.js';

/** How an archive of images is read. */
export interface LoadOptions extends ImportOptions {
  /** How much the archive may be, and each layer in it. */
  readonly limits?: ImageLimits;
}

/** An image that was loaded, in its store. */
export interface Loaded {
  readonly store: ImageStore;
  readonly chosen: Chosen;
  readonly reference: string | undefined;
}

const schema = defineSchema(['store', 'as', 'moveTags', 'platform', 'signal', 'limits']);

/** @see Image.load */
export async function loadImage(source: unknown, reference: string | undefined, options: LoadOptions): Promise<Loaded> {
  const fields = expectKeys(copyObject(options, ''), '', schema);
  const { platform, as } = readImportOptions(options);
  const signal = readSignal(fields.signal);
  const limits = readUnpackOptions(fields.limits === undefined ? {} : { limits: fields.limits });
  const bytes = readSource(source, 'source', signal);
  const store = await readStore(fields.store);
  await using _hold = store.hold();
  await using temporary = await store.temporary();
  const directory = join(temporary.path, 'archive');
  await mkdir(directory, { mode: 0o700 });
  const unpacking = { ...(limits.layer.limits && { limits: limits.layer.limits }), ...(signal && { signal }) };
  let chosen: Chosen;
  try {
    await unpackArchive(expectArchive(decompressLayer(bytes, { limits: limits.tar })), directory, unpacking);
    chosen = await copy(directory, reference, platform, store, limits, signal);
  } catch (error) {
    throw asRootFileSystem(error, await readdir(directory));
  }
  const name = as ?? (chosen.reference === undefined ? undefined : canonical(chosen.reference));
  return { store, chosen, reference: name && (await giveName(store, options, chosen.descriptor, name)) };
}

/** The same bytes, once they begin as an archive does. */
async function* expectArchive(plain: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const incoming = new Incoming(plain);
  try {
    expectTar(await incoming.peek(beginning), 'the archive');
    yield* incoming.rest();
  } finally {
    await incoming.close();
  }
}

/** Newer archives of Docker are both, and the layout says more: it has the digests that a registry knows. */
async function copy(
  directory: string,
  reference: string | undefined,
  platform: Platform,
  store: ImageStore,
  { tar }: UnpackSettings,
  signal: AbortSignal | undefined,
): Promise<Chosen> {
  if (!(await LayoutDirectory.is(directory))) {
    return await copyDockerArchive(directory, reference, store, tar, signal);
  }
  const layout = await LayoutDirectory.open(directory);
  const chosen = await chooseImage(layout, layout.entries, reference, platform, 'the archive');
  await copyImage(layout, store, chosen, signal);
  return chosen;
}
