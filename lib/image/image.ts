/** The image: a manifest in a store, with what it says read and checked. It never changes; another content is another image. */

import { OptionError } from '../errors.js';
import { type Digest, parseDigest } from './digest.js';
import type { Descriptor, HistoryEntry, ImageConfig, Manifest } from './document/index.js';
import { canonical, giveName, type ImportOptions, readImportOptions } from './import.js';
import { type LoadOptions, loadImage } from './load.js';
import { type FromDirectoryOptions, type FromTarOptions, imageFromDirectory, imageFromTar } from './make.js';
import { readStore } from './options.js';
import { formatPlatform, hostPlatform } from './platform.js';
import { parseReference, type Reference } from './reference.js';
import type { PullSettings } from './registry/pull.js';
import { fetchImage, type PullOptions, type PushOptions, pull, push } from './remote.js';
import { saveDockerArchive } from './save/docker.js';
import { saveLayout, saveLayoutArchive } from './save/layout.js';
import type { ArchiveSource } from './source/bytes.js';
import { type Chosen, chooseImage, readImage } from './source/choose.js';
import { copyImage } from './source/copy.js';
import { LayoutDirectory } from './source/layout.js';
import type { ImageStore, Lease } from './store/index.js';
import { type ImageUnpackOptions, readUnpackOptions, unpackImage } from './unpack.js';

/** How an image is saved. */
export interface SaveOptions {
  /** A directory or an archive in OCI's form, or an archive for `docker load`. Default `'oci-archive'`. */
  readonly format?: 'oci-layout' | 'oci-archive' | 'docker-archive';
  /** What it is to be called there, such as `debian:12`. Default: its own name, if it has one. */
  readonly reference?: string;
  readonly signal?: AbortSignal;
}

/** What is to be known of an image, in Docker's words. */
export interface ImageInspection {
  /** Digest of its configuration: the same content has the same id, however it is compressed. */
  readonly id: Digest;
  /** Digest of its manifest: what a registry knows it by. */
  readonly digest: Digest;
  readonly reference?: string;
  readonly platform: string;
  /** RFC 3339. */
  readonly created?: string;
  readonly author?: string;
  /** Bytes of its layers as they are stored, compressed as they came. */
  readonly size: number;
  readonly layers: readonly LayerInspection[];
  readonly config: ImageConfig;
}

export interface LayerInspection {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Digest of the tar archive in it. */
  readonly diffId: Digest;
  /** Bytes, compressed. */
  readonly size: number;
}

/** An entry of an image's history, with the layer that it made. */
export interface ImageHistory extends HistoryEntry {
  readonly layer?: LayerInspection;
}

/**
 * An image in a store.
 *
 * ```ts
 * import { Image } from 'tscontain';
 *
 * const image = await Image.open('./layout', 'latest', { as: 'debian:12' });
 * console.log(image.inspect().size, image.config.cmd);
 * await image.save('./debian.tar', { format: 'oci-archive' });
 * ```
 */
export class Image {
  readonly store: ImageStore;
  /** Digest of its configuration. */
  readonly id: Digest;
  /** What its manifest is: type, digest, size, platform. */
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
  /** The name under which it is in the store, canonical. */
  readonly reference: string | undefined;

  private constructor(store: ImageStore, { descriptor, manifest, config }: Chosen, reference: string | undefined) {
    const { os, architecture, variant } = config;
    const { mediaType, digest, size } = descriptor;
    this.store = store;
    this.id = manifest.config.digest;
    this.descriptor = {
      mediaType,
      digest,
      size,
      platform: { os, architecture, ...(variant !== undefined && { variant }) },
    };
    this.manifest = manifest;
    this.config = config;
    this.reference = reference;
  }

  /** @internal One that is fetched as `pull` does, by settings that have been read. */
  static async fetch(store: ImageStore, reference: Reference, settings: PullSettings): Promise<Image> {
    return new Image(store, await fetchImage(store, reference, settings), String(reference));
  }

  /** @internal An image that is in the store. */
  static async read(store: ImageStore, descriptor: Descriptor, reference?: string): Promise<Image> {
    return new Image(store, await readImage(store, descriptor, reference ?? descriptor.digest), reference);
  }

  /**
   * Brings an image of an OCI image layout into the store.
   * @param directory with `oci-layout`, `index.json` and `blobs`
   * @param reference as the layout calls it, such as `latest`, or in full; may be left out if there is only one image
   * @throws ImageError `ERR_NOT_FOUND` listing what there is; `ERR_MANIFEST`, `ERR_CONFIG`, `ERR_DIGEST` for bad content
   */
  static async open(directory: string, reference?: string, options: ImportOptions = {}): Promise<Image> {
    const { platform, as } = readImportOptions(options);
    if (typeof directory !== 'string' || directory === '' || directory.includes('\0')) {
      throw new OptionError('directory', 'the path of an OCI image layout', directory);
    }
    const layout = await LayoutDirectory.open(directory);
    const chosen = await chooseImage(layout, layout.entries, reference, platform, directory);
    const store = await readStore(options.store);
    // Until it has its name, nothing but this keeps what was copied.
    await using _hold = store.hold();
    await copyImage(layout, store, chosen, options.signal);
    const name = as ?? (chosen.reference === undefined ? undefined : canonical(chosen.reference));
    return new Image(store, chosen, name && (await giveName(store, options, chosen.descriptor, name)));
  }

  /**
   * Brings an image of an archive into the store: one in OCI's form, or one that `docker save` or `podman save` made.
   * @param source plain, or compressed with gzip or zstd: the path of a file, or a stream of bytes, which is read once
   * @param reference as the archive calls it; may be left out if there is only one image
   * @throws OptionError; ImageError `ERR_NOT_FOUND` listing what there is; `ERR_LAYER`, `ERR_LAYER_LIMIT` for an archive that is
   * malformed or too much; `ERR_MANIFEST`, `ERR_CONFIG`, `ERR_DIGEST` for bad content; AbortedError
   */
  static async load(source: ArchiveSource, reference?: string, options: LoadOptions = {}): Promise<Image> {
    const loaded = await loadImage(source, reference, options);
    return new Image(loaded.store, loaded.chosen, loaded.reference);
  }

  /**
   * Makes an image of an archive of files, which becomes its only layer.
   *
   * ```ts
   * import { Image } from 'tscontain';
   *
   * const image = await Image.fromTar('./rootfs.tar.zst', { as: 'own/rootfs', config: { cmd: ['/bin/sh'] } });
   * ```
   * @param source a tar, plain or compressed with gzip or zstd: the path of a file, or a stream of bytes, which is read once. One that
   *   does not end with two blocks of zeros is taken for cut off
   * @throws OptionError; ImageError `ERR_NOT_FOUND`, `ERR_LAYER` for what is no such archive, `ERR_LAYER_LIMIT`, `ERR_CONFIG`;
   * AbortedError. Members of the archive are looked at when the image is unpacked
   */
  static async fromTar(source: ArchiveSource, options: FromTarOptions = {}): Promise<Image> {
    const { store, chosen, reference } = await imageFromTar(source, options);
    return new Image(store, chosen, reference);
  }

  /**
   * Makes an image of a directory as this process's user sees it, which becomes its only layer: owners, modes, times, links and
   * `user.*` attributes, but no devices and sockets. The same tree makes the same layer.
   * @param directory followed where it is a link
   * @throws OptionError; ImageError `ERR_CONFIG`; TscontainError with the path of what could not be read; AbortedError
   */
  static async fromDirectory(directory: string, options: FromDirectoryOptions = {}): Promise<Image> {
    const { store, chosen, reference } = await imageFromDirectory(directory, options);
    return new Image(store, chosen, reference);
  }

  /**
   * Fetches an image from its registry into the store: only what is not there yet, and what had been fetched when an earlier
   * attempt broke off is not fetched again. It then has that name in the store, also where another image had it.
   *
   * ```ts
   * import { Image } from 'tscontain';
   *
   * const image = await Image.pull('debian:12', { onProgress: (event) => console.log(event.phase) });
   * ```
   * @param reference such as `debian:12`, `ghcr.io/owner/name:tag` or `name@sha256:…`; without a tag it is `latest`
   * @throws OptionError; ImageError `ERR_REFERENCE`, `ERR_NOT_FOUND`, `ERR_UNAUTHORIZED`, `ERR_REGISTRY` (with `status`),
   * `ERR_TIMEOUT`, `ERR_DIGEST`, `ERR_MANIFEST`, `ERR_CONFIG`; AbortedError. The name is then as it was
   */
  static async pull(reference: string, options: PullOptions = {}): Promise<Image> {
    const pulled = await pull(reference, options);
    return new Image(pulled.store, pulled.chosen, pulled.reference);
  }

  /**
   * An image that is in the store, for this host's platform where a name stands for several.
   * @param name a reference such as `debian:12`, or the id or manifest digest of an image that has a name
   * @returns undefined if there is none
   * @throws OptionError; ImageError `ERR_REFERENCE`, `ERR_DIGEST`, `ERR_STORE`
   */
  static async get(name: string, options: { readonly store?: ImageStore } = {}): Promise<Image | undefined> {
    const store = await readStore(options.store);
    const reference = await referenceOf(store, name);
    const descriptor = reference && (await store.resolve(reference));
    if (!descriptor) return undefined;
    return new Image(store, await chooseImage(store, [descriptor], undefined, hostPlatform(), reference), reference);
  }

  /**
   * Sends the image to a registry: what is there already is not sent.
   * @param reference what it is to be called there, with the registry. Default: its own name
   * @throws OptionError; ImageError `ERR_UNAUTHORIZED`, `ERR_REGISTRY` (with `status`), `ERR_TIMEOUT`, `ERR_NOT_FOUND` for content
   * that is no longer in the store; AbortedError
   */
  async push(reference: string | undefined = this.reference, options: PushOptions = {}): Promise<void> {
    await push(this.store, this.descriptor, this.reference, reference, options);
  }

  /**
   * Unpacks the layers of the image, each into a directory of the store, as overlay (with `userxattr`) takes them: whiteouts are
   * character devices 0:0, opaque directories have `user.overlay.opaque`. What is unpacked already is not read again.
   *
   * Each layer is compared with the digest of its plain tar (diffID) as it streams, and is there only when all of it is right.
   * @returns the directories, topmost first; they stay until it is released, or this process ends
   * @throws OptionError; ImageError `ERR_DIGEST` for other bytes than the configuration tells of, `ERR_LAYER` for an archive that
   * is malformed or refused, `ERR_LAYER_LIMIT` for one that is too much, `ERR_NOT_FOUND` for a layer that is not in the store;
   * AbortedError. Layers that were whole by then stay for the next time; of one that was not, nothing does
   */
  async unpack(options: ImageUnpackOptions = {}): Promise<Lease> {
    return await unpackImage(this, readUnpackOptions(options));
  }

  /** Oldest first, each entry with the layer that it made. An image without a history has one entry for each layer. */
  history(): readonly ImageHistory[] {
    const layers = this.#layers();
    if (this.config.history.length === 0) return layers.map((layer) => ({ layer }));
    let next = 0;
    return this.config.history.map((entry) => {
      const layer = entry.emptyLayer ? undefined : layers[next++];
      return layer ? { ...entry, layer } : entry;
    });
  }

  inspect(): ImageInspection {
    const { created, author } = this.config;
    const layers = this.#layers();
    return {
      id: this.id,
      digest: this.descriptor.digest,
      ...(this.reference !== undefined && { reference: this.reference }),
      platform: formatPlatform(this.config),
      ...(created !== undefined && { created }),
      ...(author !== undefined && { author }),
      size: layers.reduce((total, { size }) => total + size, 0),
      layers,
      config: this.config,
    };
  }

  /**
   * Writes the image to a directory or a file, which appears whole or not at all. The same image makes the same bytes.
   * @param path a new file (one that exists is replaced); for `'oci-layout'` a new directory, or a layout, to which is added
   */
  async save(path: string, options: SaveOptions = {}): Promise<void> {
    const { format = 'oci-archive', reference = this.reference, signal } = options;
    if (typeof path !== 'string' || path === '' || path.includes('\0')) throw new OptionError('path', 'a path', path);
    if (reference !== undefined) parseReference(reference, 'reference');
    const image = {
      blobs: this.store,
      descriptor: this.descriptor,
      manifest: this.manifest,
      ...(reference !== undefined && { reference }),
    };
    if (format === 'oci-layout') await saveLayout(path, image, signal);
    else if (format === 'oci-archive') await saveLayoutArchive(path, image, signal);
    else if (format === 'docker-archive') await saveDockerArchive(path, image, signal);
    else throw new OptionError('format', "'oci-layout', 'oci-archive' or 'docker-archive'", format);
  }

  #layers(): readonly LayerInspection[] {
    return this.manifest.layers.map(({ mediaType, digest, size }, index) => {
      const diffId = this.config.diffIds[index];
      // Both lists are of one length, or the image was not read.
      if (diffId === undefined) throw new RangeError(`layer ${index} has no diffId`);
      return { mediaType, digest, diffId, size };
    });
  }
}

/** A name of the store for an image that is told by any of its names, its id or its digest. */
async function referenceOf(store: ImageStore, name: string): Promise<string | undefined> {
  if (typeof name !== 'string' || !/^sha(256|512):/.test(name)) {
    return canonical(name, 'name');
  }
  const wanted = parseDigest(name, 'name');
  return (await store.list()).find(({ id, digest }) => id === wanted || digest === wanted)?.references[0];
}
