/**
 * Archives of `docker save` and their like, unpacked to a directory: `manifest.json` lists images with their configuration and
 * plain layers as files (Docker image specification v1.2). Names in it are only looked up below the directory; what an image
 * and its content are called comes from the bytes.
 */

import { ImageError } from '../../errors.js';
import { digestOf } from '../digest.js';
import { type Descriptor, encodeManifest, largestDocument, mediaTypes, parseConfig } from '../document/index.js';
import { optionalList, parseObject, readFields, readText, type Source } from '../document/json.js';
import { addLayerAsItIs } from '../layer/add.js';
import type { DecompressLimits } from '../layer/decompress.js';
import { parseReference } from '../reference.js';
import type { ImageStore } from '../store/index.js';
import { openBeneath, readBeneath } from './beneath.js';
import { type Chosen, means } from './choose.js';
import { readAll } from './copy.js';

/** An image as `manifest.json` has it. */
interface Entry {
  /** Path of its configuration. */
  readonly config: string;
  readonly tags: readonly string[];
  /** Paths, bottom first. */
  readonly layers: readonly string[];
}

const most = 1000;

/** Stores the image that is meant: its configuration as it is, so that it keeps its id, under a manifest of OCI's. */
export async function copyDockerArchive(
  directory: string,
  reference: string | undefined,
  store: ImageStore,
  limits: DecompressLimits,
  signal: AbortSignal | undefined,
): Promise<Chosen> {
  const entries = await readEntries(directory);
  const { entry, tag } = chooseEntry(entries, reference);
  const bytes = await readBeneath(directory, entry.config, largestDocument);
  const name = `the configuration ${entry.config} of the archive`;
  const config = parseConfig(bytes, name);
  if (config.diffIds.length !== entry.layers.length || entry.layers.length === 0) {
    const problem = `tells of ${config.diffIds.length} layers, and manifest.json of ${entry.layers.length}`;
    throw new ImageError('ERR_CONFIG', `${name} ${problem}`);
  }
  const layers: Descriptor[] = [];
  for (const [index, expected] of config.diffIds.entries()) {
    const file = await openBeneath(directory, entry.layers[index] ?? '');
    try {
      layers.push((await addLayerAsItIs(store, readAll(file, signal), limits, { signal, expected })).descriptor);
    } finally {
      await file.close();
    }
  }
  const described = { mediaType: mediaTypes.ociConfig, digest: digestOf(bytes), size: bytes.length };
  const manifest = { config: described, layers };
  const encoded = encodeManifest(manifest);
  await store.putBlob(bytes, described);
  await store.putBlob(encoded.bytes, encoded.descriptor);
  return {
    descriptor: encoded.descriptor,
    manifest: { mediaType: mediaTypes.ociManifest, ...manifest },
    config,
    ...(tag !== undefined && { reference: tag }),
  };
}

async function readEntries(directory: string): Promise<readonly Entry[]> {
  const bytes = await readBeneath(directory, 'manifest.json', largestDocument);
  const source: Source = { name: 'manifest.json of the archive', code: 'ERR_MANIFEST' };
  // The document is a list; as the value of an object it goes through the reader that all documents do.
  const whole = Buffer.concat([Buffer.from('{"images":'), bytes, Buffer.from('}')]);
  const list = optionalList(parseObject(whole, source, ['images']), 'images', most) ?? [];
  return list.map((value, index) => {
    const fields = readFields(value, source, `[${index}]`, ['Config', 'RepoTags', 'Layers']);
    const texts = (name: string) =>
      (optionalList(fields, name, most) ?? []).map((text, at) => readText(text, source, `[${index}].${name}[${at}]`));
    const config = readText(fields.values.get('Config'), source, `[${index}].Config`);
    return { config, tags: texts('RepoTags'), layers: texts('Layers') };
  });
}

/** By one of its names; without one there has to be only one image. */
function chooseEntry(
  entries: readonly Entry[],
  reference: string | undefined,
): { readonly entry: Entry; readonly tag: string | undefined } {
  const matching = entries.filter(({ tags }) => reference === undefined || tags.some((tag) => means(tag, reference)));
  const [entry] = matching;
  if (!entry || matching.length > 1) {
    const names = entries.flatMap(({ tags }) => tags).slice(0, 20);
    const asked = reference === undefined ? '' : ` named '${reference}'`;
    const problem = entry ? `several images${asked}: say which` : `no image${asked}`;
    const hint = names.length > 0 ? `it has ${names.join(', ')}` : `it has ${entries.length} images without a name`;
    throw new ImageError('ERR_NOT_FOUND', `the archive has ${problem}`, { hint });
  }
  const tag = entry.tags.find((each) => reference === undefined || means(each, reference));
  // What is no name of an image is not given to one.
  return { entry, tag: tag !== undefined && isName(tag) ? tag : undefined };
}

function isName(tag: string): boolean {
  try {
    return parseReference(tag).tag !== undefined;
  } catch {
    return false;
  }
}
