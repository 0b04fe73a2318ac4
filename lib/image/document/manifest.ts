/**
 * Manifests and indexes: an image's list of content, and a list of images (OCI image-spec, manifest.md and image-index.md;
 * Docker's schema 2). Which of the two a document is says the media type that it came with, and never a guess: one that
 * could be read as the other is refused (GHSA-mc8v-mgrf-8f4m).
 */

import { type Descriptor, optionalMediaType, readDescriptor } from './descriptor.js';
import { type Fields, optionalList, optionalTexts, parseObject, place, refuse, type Source } from './json.js';
import {
  isConfigType,
  isIndexType,
  isManifestType,
  isSchema1Type,
  layerCompression,
  mediaTypes,
} from './media-types.js';

/** What an image is made of. */
export interface Manifest {
  readonly mediaType: string;
  readonly config: Descriptor;
  /** Bottom first. */
  readonly layers: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>>;
}

/** A list of images, mostly the same one for several platforms. */
export interface Index {
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Layers of one image: an overlay of Linux takes 500, and no builder makes more than 127. */
const mostLayers = 500;
const mostManifests = 1000;
const names = ['schemaVersion', 'mediaType', 'config', 'layers', 'manifests', 'annotations', 'fsLayers'];

/**
 * @param mediaType what whoever sent it says that it is: the descriptor that led to it, or `Content-Type`
 * @param name for errors, such as `the manifest of busybox`
 * @throws ImageError `ERR_MANIFEST`, or `ERR_DIGEST` for a digest in it that is none
 */
export function parseManifest(bytes: Uint8Array, mediaType: string | undefined, name = 'the manifest'): Manifest {
  const { fields, type } = parse(bytes, mediaType, name);
  const { source } = fields;
  if (!isManifestType(type)) throw refuse(source, `${type} is not the manifest of an image`);
  if (fields.values.has('manifests')) throw refuse(source, 'it has `manifests`, as only an index does');
  const config = readDescriptor(fields.values.get('config'), source, 'config');
  if (!isConfigType(config.mediaType)) {
    throw refuse(source, `it is no image: what it describes is ${config.mediaType}`);
  }
  const layers = requiredList(fields, 'layers', mostLayers);
  for (const [index, layer] of layers.entries()) {
    if (layerCompression(layer.mediaType) !== undefined) continue;
    throw refuse(source, `layers[${index}] is ${layer.mediaType}, which is no layer of a file system`);
  }
  if (layers.length === 0) throw refuse(source, 'it has no layers');
  const annotations = optionalTexts(fields, 'annotations');
  return { mediaType: type, config, layers, ...(annotations && { annotations }) };
}

/** The same for an index. */
export function parseIndex(bytes: Uint8Array, mediaType: string | undefined, name = 'the index'): Index {
  const { fields, type } = parse(bytes, mediaType, name);
  const { source } = fields;
  if (!isIndexType(type)) throw refuse(source, `${type} is not an index of images`);
  for (const other of ['layers', 'config']) {
    if (fields.values.has(other)) throw refuse(source, `it has \`${other}\`, as only a manifest does`);
  }
  const annotations = optionalTexts(fields, 'annotations');
  return {
    mediaType: type,
    manifests: requiredList(fields, 'manifests', mostManifests),
    ...(annotations && { annotations }),
  };
}

function parse(bytes: Uint8Array, said: string | undefined, name: string): { fields: Fields; type: string } {
  const source: Source = { name, code: 'ERR_MANIFEST' };
  if (said !== undefined && isSchema1Type(said)) throw schema1(source);
  const fields = parseObject(bytes, source, names);
  const version = fields.values.get('schemaVersion');
  if (version === 1 || fields.values.has('fsLayers')) throw schema1(source);
  if (version !== 2) throw refuse(source, 'schemaVersion should be 2');
  const own = optionalMediaType(fields);
  if (own !== undefined && said !== undefined && own !== said) {
    throw refuse(source, `it says that it is ${own}, and came as ${said}`);
  }
  const type = own ?? said;
  // OCI lets the document be silent, as its descriptor never is; Docker's never are.
  if (type === undefined || (own === undefined && !isOci(type))) throw refuse(source, 'it has no mediaType');
  return { fields, type };
}

function isOci(type: string): boolean {
  return type === mediaTypes.ociManifest || type === mediaTypes.ociIndex;
}

/** The error for a document of Docker's first format. */
export function schema1(source: Source): Error {
  const hint = 'have it pushed again by a present-day builder, or convert it with skopeo copy --format oci';
  return refuse(source, 'it is of Docker’s schema 1, which is not supported', { hint });
}

function requiredList(fields: Fields, name: string, most: number): readonly Descriptor[] {
  const list = optionalList(fields, name, most);
  if (!list) throw refuse(fields.source, `\`${name}\` is missing`);
  return list.map((entry, index) => readDescriptor(entry, fields.source, place(name, index)));
}
