/** Which image of a list is meant: by the name that the list has for it, then by platform, through indexes in indexes. */

import { ImageError } from '../../errors.js';
import type { BlobSource } from '../blobs.js';
import {
  type Descriptor,
  type ImageConfig,
  isIndexType,
  isManifestType,
  largestDocument,
  type Manifest,
  parseConfig,
  parseIndex,
  parseManifest,
} from '../document/index.js';
import { formatPlatform, type Platform, selectPlatform } from '../platform.js';
import { parseReference } from '../reference.js';

/** An image, its documents read. */
export interface Chosen {
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  /** The name that the list has for it, if that is a whole one. */
  readonly reference?: string;
}

const deepestIndex = 4;

/**
 * @param reference as the list names it, such as `latest`, or as people do, such as `debian:12`; without it there has to be
 * only one image
 * @throws ImageError `ERR_NOT_FOUND` listing what there is
 */
export async function chooseImage(
  source: BlobSource,
  entries: readonly Descriptor[],
  reference: string | undefined,
  platform: Platform,
  what: string,
): Promise<Chosen> {
  const named = entries.filter(
    (entry) => reference === undefined || namesOf(entry).some((name) => means(name, reference)),
  );
  const different = new Set(named.map((entry) => namesOf(entry).join()));
  if (named.length === 0 || different.size > 1) throw notOne(entries, named.length, reference, what);
  const [first] = named;
  let entry = named.length === 1 && first ? first : selectPlatform(named, platform, what);
  const reached = wholeName(entry);
  for (let depth = 0; isIndexType(entry.mediaType); depth++) {
    if (depth === deepestIndex) throw new ImageError('ERR_MANIFEST', `${what}: indexes within ${deepestIndex} others`);
    const name = `the index ${entry.digest} of ${what}`;
    const { manifests } = parseIndex(await readDocument(source, entry, name), entry.mediaType, name);
    entry = selectPlatform(manifests, platform, name);
  }
  return { ...(await readImage(source, entry, what)), ...(reached !== undefined && { reference: reached }) };
}

/** Reads the documents of an image. @throws ImageError if they do not belong together */
export async function readImage(source: BlobSource, descriptor: Descriptor, what: string): Promise<Chosen> {
  const name = `the manifest ${descriptor.digest} of ${what}`;
  if (!isManifestType(descriptor.mediaType)) {
    throw new ImageError('ERR_MANIFEST', `${name} is ${descriptor.mediaType}, which is no manifest of an image`);
  }
  const manifest = parseManifest(await readDocument(source, descriptor, name), descriptor.mediaType, name);
  const ofConfig = `the configuration ${manifest.config.digest} of ${what}`;
  const config = parseConfig(await readDocument(source, manifest.config, ofConfig), ofConfig);
  if (config.diffIds.length !== manifest.layers.length) {
    const problem = `tells of ${config.diffIds.length} layers, and its manifest has ${manifest.layers.length}`;
    throw new ImageError('ERR_CONFIG', `${ofConfig} ${problem}`);
  }
  return { descriptor, manifest, config };
}

/** A document under the size that was said, which is checked before anything is read. */
async function readDocument(source: BlobSource, descriptor: Descriptor, name: string): Promise<Buffer> {
  if (descriptor.size > largestDocument) {
    throw new ImageError(
      'ERR_MANIFEST',
      `${name} has ${descriptor.size} bytes, and at most ${largestDocument} are allowed`,
    );
  }
  const bytes = await source.readBlob(descriptor.digest, largestDocument);
  if (bytes.length === descriptor.size) return bytes;
  throw new ImageError('ERR_DIGEST', `${name} has ${bytes.length} bytes and should have ${descriptor.size}`);
}

/** What containerd and Docker call an image, and what a layout does. */
function namesOf({ annotations }: Descriptor): readonly string[] {
  const names = [annotations?.['io.containerd.image.name'], annotations?.['org.opencontainers.image.ref.name']];
  return names.filter((name) => name !== undefined);
}

/** A name that says repository and tag. `latest` alone is a tag to some and a repository to others: it is neither. */
function wholeName(entry: Descriptor): string | undefined {
  return namesOf(entry).find((name) => /[/:]/.test(name) && canonical(name) !== undefined);
}

/** Whether two names of an image are the same one, written in one way or in two. */
export function means(name: string, wanted: string): boolean {
  return name === wanted || (canonical(name) !== undefined && canonical(name) === canonical(wanted));
}

function canonical(name: string): string | undefined {
  try {
    return parseReference(name).withDefaultTag().toString();
  } catch {
    return undefined;
  }
}

function notOne(
  entries: readonly Descriptor[],
  found: number,
  reference: string | undefined,
  what: string,
): ImageError {
  const list = entries
    .slice(0, 20)
    .map((entry) => namesOf(entry)[0] ?? (entry.platform ? formatPlatform(entry.platform) : entry.digest));
  const hint = entries.length === 0 ? 'it has no images' : `it has ${[...new Set(list)].join(', ')}`;
  const asked = reference === undefined ? '' : ` named '${reference}'`;
  const problem = found === 0 ? `has no image${asked}` : `has several images${asked}: say which`;
  return new ImageError('ERR_NOT_FOUND', `${what} ${problem}`, { hint });
}
