/**
 * An image's layers as directories: each is decompressed, compared with its diffID on the way, unpacked by an agent, and in the
 * store once for all images that have it on the same layers.
 */

import { createHash } from 'node:crypto';
import { defineSchema, readBoolean, readChoice, readInteger, readObject } from '../container/settings/schema.js';
import { ImageError } from '../errors.js';
import { containerIds } from '../host/ids.js';
import type { IdMaps } from '../primitives/id-map.js';
import { type Digest, DigestCheck } from './digest.js';
import type { Descriptor, ImageConfig, Manifest } from './document/index.js';
import { type DecompressLimits, decompressLayer } from './layer/decompress.js';
import { unpackLayer } from './layer/unpack.js';
import { type LayerLimits, readLayerLimits, type UnpackOptions } from './layer/unpack-options.js';
import { readOnProgress, readSignal } from './options.js';
import { type OnProgress, ProgressMeter } from './progress.js';
import { readAll } from './source/copy.js';
import type { ImageStore, LayerFacts, Lease } from './store/index.js';

/** How much a layer of an image may be. */
export interface ImageLimits extends LayerLimits {
  /** Bytes of the plain tar for each compressed one, the first MiB not counted. Default 250. */
  readonly ratio?: number;
}

/** How the layers of an image are unpacked. */
export interface ImageUnpackOptions extends Pick<UnpackOptions, 'devices' | 'fileCapabilities' | 'signal'> {
  /** For each layer by itself. They are not asked again of what is unpacked already. */
  readonly limits?: ImageLimits;
  /** Hears `unpacking` and `unpacked` of each layer that was not there yet. */
  readonly onProgress?: OnProgress;
}

/** Options of {@link unpackImage}, checked. */
export interface UnpackSettings {
  readonly layer: Pick<UnpackOptions, 'devices' | 'fileCapabilities' | 'limits'>;
  readonly tar: DecompressLimits;
  /** What layers that were unpacked in this way are called in the store; undefined for the usual one. */
  readonly variant: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: OnProgress | undefined;
}

const schema = defineSchema(['limits', 'devices', 'fileCapabilities', 'signal', 'onProgress']);
const limitSchema = defineSchema(['bytes', 'entries', 'depth', 'header', 'ratio']);

/** @throws OptionError naming what is wrong, below `option` */
export function readUnpackOptions(options: unknown, option = ''): UnpackSettings {
  const at = option === '' ? '' : `${option}.`;
  const fields = readObject(options, option, schema);
  const limits = readObject(fields.limits ?? {}, `${at}limits`, limitSchema);
  const layerLimits = readLayerLimits(limits, `${at}limits`);
  const { bytes, entries } = layerLimits;
  const ratio = limits.ratio === undefined ? 250 : readInteger(limits.ratio, `${at}limits.ratio`, 1, 2 ** 31);
  const devices =
    fields.devices === undefined ? 'refuse' : readChoice(fields.devices, `${at}devices`, ['refuse', 'skip']);
  const fileCapabilities = readBoolean(fields.fileCapabilities, `${at}fileCapabilities`, false);
  return {
    layer: { devices, fileCapabilities, limits: layerLimits },
    // An archive is more than its files: two KiB for what tells of each member do, and what is more is bound by `entries`.
    tar: { bytes: bytes + entries * 2048, ratio },
    variant: layerVariant({ devices, fileCapabilities }),
    signal: readSignal(fields.signal, `${at}signal`),
    onProgress: readOnProgress(fields.onProgress, `${at}onProgress`),
  };
}

const ownKeys = defineSchema(['limits', 'devices', 'fileCapabilities']);

/** The same as an option of something that has a signal and tells of progress itself. */
export function readOwnUnpackOptions(options: unknown, option: string, onProgress?: unknown): UnpackSettings {
  const { limits, devices, fileCapabilities } = readObject(options, option, ownKeys);
  const settings = readUnpackOptions({ limits, devices, fileCapabilities }, option);
  return { ...settings, onProgress: readOnProgress(onProgress) };
}

/** Those of the limits that a compressed archive can be held to while it is not unpacked. */
export function readTarLimits(limits: unknown): DecompressLimits {
  return readUnpackOptions(limits === undefined ? {} : { limits }).tar;
}

/**
 * Trees that differ are different layers: one that was made with its devices left out is not what refusing them finds, and one
 * with the ids of a user's map has others on disk than one with another map, or with a single id.
 */
function layerVariant(
  { devices, fileCapabilities }: Pick<UnpackOptions, 'devices' | 'fileCapabilities'>,
  ids = containerIds(),
): string | undefined {
  const parts = [
    ...(fileCapabilities ? ['capabilities'] : []),
    ...(devices === 'skip' ? ['no-devices'] : []),
    ...(ids.kind === 'subordinate' ? [`ids-${nameOfMaps(ids.maps)}`] : []),
  ];
  return parts.length === 0 ? undefined : parts.join('-');
}

function nameOfMaps({ uid, gid }: IdMaps): string {
  return createHash('sha256').update(`${uid}\n${gid}`).digest('hex').slice(0, 16);
}

/** The parts of an image that are unpacked. */
export interface Unpackable {
  readonly store: ImageStore;
  readonly manifest: Manifest;
  readonly config: Pick<ImageConfig, 'diffIds'>;
}

/**
 * Unpacks what is not unpacked yet, from the bottom, and keeps all of it until the lease is released.
 * @throws ImageError `ERR_DIGEST`, `ERR_LAYER`, `ERR_LAYER_LIMIT`; AbortedError. Layers that are whole by then stay for the next
 * time, until `gc`; of the others there is nothing.
 */
export async function unpackImage({ store, manifest, config }: Unpackable, settings: UnpackSettings): Promise<Lease> {
  const { variant, signal } = settings;
  // What was unpacked a moment ago is nobody's until the lease.
  await using _hold = store.hold();
  for (const [index, descriptor] of manifest.layers.entries()) {
    const diffIds = config.diffIds.slice(0, index + 1);
    const fill = (directory: string, parents: readonly string[]) =>
      fillLayer(store, descriptor, diffIds, directory, parents, settings);
    await store.ensureLayer({ diffIds, variant }, fill, signal);
  }
  return await store.leaseLayers(config.diffIds, variant);
}

async function fillLayer(
  store: ImageStore,
  { digest, mediaType }: Descriptor,
  diffIds: readonly Digest[],
  directory: string,
  parents: readonly string[],
  { layer, tar: limits, signal, onProgress }: UnpackSettings,
): Promise<LayerFacts> {
  const diffId = diffIds.at(-1) as Digest;
  const meter = new ProgressMeter(onProgress);
  const blob = await store.openBlob(digest);
  try {
    const plain = new Verified(decompressLayer(readAll(blob, signal), { limits, mediaType }), diffId);
    const made = await unpackLayer(plain, directory, parents, {
      ...layer,
      ...(signal && { signal }),
      onProgress: (bytes) => meter.report(() => ({ phase: 'unpacking', digest: diffId, bytes })),
    });
    plain.expectWhole();
    onProgress?.({ phase: 'unpacked', digest: diffId, bytes: made.bytes, entries: made.entries });
    return made;
  } finally {
    await blob.close();
  }
}

/** Bytes that end in an error unless they are those of the digest. */
class Verified implements AsyncIterable<Uint8Array> {
  #whole = false;

  constructor(
    readonly bytes: AsyncIterable<Uint8Array>,
    readonly digest: Digest,
  ) {}

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const check = new DigestCheck(this.digest, undefined, `the layer ${this.digest}`);
    for await (const piece of this.bytes) {
      check.update(piece);
      yield piece;
    }
    check.finish();
    this.#whole = true;
  }

  /** @throws ImageError `ERR_LAYER` if whoever took the bytes was content before their end */
  expectWhole(): void {
    if (this.#whole) return;
    throw new ImageError('ERR_LAYER', `the layer ${this.digest}: bytes follow the end of its archive`);
  }
}
