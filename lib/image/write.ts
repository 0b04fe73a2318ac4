/** Making of an image: layers that are in a store already, and a configuration, become a manifest there. */

import { ImageError } from '../errors.js';
import type { BlobStore } from './blobs.js';
import type { Digest } from './digest.js';
import type { Descriptor, HistoryEntry, ImageConfig, Manifest } from './document/index.js';
import { encodeConfig, encodeManifest, layerCompression, mediaTypes, parseConfig } from './document/index.js';
import { hostPlatform, type Platform } from './platform.js';

/** A layer that is in the store. */
export interface NewLayer {
  readonly descriptor: Descriptor;
  /** Of the tar archive in it, uncompressed. */
  readonly diffId: Digest;
}

/** The fields of a configuration that may be changed. */
export type ConfigChanges = Partial<
  Pick<
    ImageConfig,
    'entrypoint' | 'cmd' | 'env' | 'workingDir' | 'user' | 'exposedPorts' | 'volumes' | 'stopSignal' | 'labels'
  >
>;

/** What an image is to be made of. */
export interface NewImage {
  /** What it goes on from: its layers, configuration and history come first. */
  readonly base?: { readonly manifest: Manifest; readonly config: ImageConfig };
  /** Bottom first, on top of those of `base`. */
  readonly layers: readonly NewLayer[];
  /** Each field that is given replaces that of `base`. */
  readonly config?: ConfigChanges;
  readonly author?: string;
  /** For the history. */
  readonly createdBy?: string;
  readonly comment?: string;
  /** Default: `SOURCE_DATE_EPOCH` of the environment, in seconds, else now. */
  readonly created?: Date;
  /** Default: that of `base`, else this host's. */
  readonly platform?: Platform;
}

/** The image that was made. */
export interface WrittenImage {
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
}

/**
 * Writes configuration and manifest. They are OCI's, whatever those of `base` were.
 * @throws ImageError `ERR_CONFIG` for a configuration that would not be read again
 */
export async function writeImage(blobs: BlobStore, image: NewImage): Promise<WrittenImage> {
  const created = timestamp(image.created);
  const { base } = image;
  const { os, architecture, variant } = image.platform ?? base?.config ?? hostPlatform();
  const config = encodeConfig({
    ...(base?.config ?? emptyConfig),
    ...image.config,
    os,
    architecture,
    ...(variant !== undefined && { variant }),
    created,
    ...(image.author !== undefined && { author: image.author }),
    diffIds: [...(base?.config.diffIds ?? []), ...image.layers.map(({ diffId }) => diffId)],
    history: [...pastOf(base?.config), ...newHistory(image, created)],
  });
  // What is written is what will be read: one reader decides what a good configuration is.
  const read = parseConfig(config.bytes, 'the configuration of the new image');
  const layers = [...(base?.manifest.layers ?? []), ...image.layers.map(({ descriptor }) => descriptor)].map(ofOci);
  if (layers.length === 0) throw new ImageError('ERR_MANIFEST', 'the new image has no layers');
  const manifest = { config: config.descriptor, layers };
  const encoded = encodeManifest(manifest);
  await blobs.putBlob(config.bytes, config.descriptor);
  await blobs.putBlob(encoded.bytes, encoded.descriptor);
  return { descriptor: encoded.descriptor, manifest: { mediaType: mediaTypes.ociManifest, ...manifest }, config: read };
}

const emptyConfig = {
  entrypoint: [],
  cmd: [],
  env: {},
  exposedPorts: [],
  volumes: [],
  labels: {},
} as const;

/** RFC 3339 in whole seconds. */
function timestamp(created: Date | undefined): string {
  const epoch = process.env.SOURCE_DATE_EPOCH;
  const date =
    created ?? (epoch !== undefined && /^\d{1,11}$/.test(epoch) ? new Date(Number(epoch) * 1000) : new Date());
  return date.toISOString().replace(/\.\d+Z$/, 'Z');
}

/** The history of a base; where it tells of fewer layers than there are, entries that say nothing come first. */
function pastOf(config: ImageConfig | undefined): readonly HistoryEntry[] {
  if (!config) return [];
  const told = config.history.filter(({ emptyLayer }) => !emptyLayer).length;
  return [...Array.from({ length: config.diffIds.length - told }, () => ({})), ...config.history];
}

function newHistory(image: NewImage, created: string): readonly HistoryEntry[] {
  const entry: HistoryEntry = {
    created,
    ...(image.createdBy !== undefined && { createdBy: image.createdBy }),
    ...(image.author !== undefined && { author: image.author }),
    ...(image.comment !== undefined && { comment: image.comment }),
  };
  return image.layers.length === 0 ? [{ ...entry, emptyLayer: true }] : image.layers.map(() => entry);
}

/** The same bytes under OCI's name for them. */
function ofOci({ mediaType, digest, size }: Descriptor): Descriptor {
  const names = { none: mediaTypes.ociLayer, gzip: mediaTypes.ociLayerGzip, zstd: mediaTypes.ociLayerZstd };
  const compression = layerCompression(mediaType);
  if (compression === undefined) throw new ImageError('ERR_MANIFEST', `${mediaType} is no layer of a file system`);
  return { mediaType: names[compression], digest, size };
}
