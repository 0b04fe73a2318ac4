/**
 * The image store: a directory that any number of processes use at the same time.
 *
 *     version              which layout this is
 *     blobs/sha256/<hex>   manifests, configs and compressed layers, by the digest of their content; never changed
 *     layers/<chain id>[.<variant>]/root         an unpacked layer, with the image's own ids
 *                                  /layer.json   what it is; `synced` beside it once a loss of power does not harm it
 *     references/<hash>    names of images, a file each
 *     partial/<hex>        blobs on their way, which outlive their writer
 *     roots/<container>    what containers have on disk that are made by a driver other than overlay
 *     tmp/<random>/        work of processes that live; `held` in it notes what gc is to leave for them
 *     locks/<name>         what is locked before it is there
 *
 * Everything comes to its place by one rename, when it is whole. Locks are flock(2) on the thing itself, where there is one,
 * and end with their owner; so after a crash nothing is locked, what is not locked in `tmp/` is nobody's, and the next open
 * removes it. Directories have mode 0700 (security A17): layers contain set-user-ID files.
 *
 * Plain files do for all of this: what a database would add, a change of several things at once, is never needed.
 */

import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve, sep } from 'node:path';
import { defineSchema, readBoolean, readList, readObject, readText } from '../../container/settings/schema.js';
import { ImageError, OptionError, TscontainError } from '../../errors.js';
import { isRoot } from '../../host/configuration.js';
import { type Duration, parseDuration } from '../../units.js';
import { type Digest, parseDigest } from '../digest.js';
import { sweepRoots } from '../driver/subvolume.js';
import { readSignal } from '../options.js';
import { parseReference } from '../reference.js';
import * as blobs from './blobs.js';
import { type Collected, collect } from './collect.js';
import { exists, prepareDirectories, verifyPrivate } from './directory.js';
import { type Hold, Session } from './hold.js';
import { type FillLayer, type LayerSpec, Layers, type Lease, layerName } from './layers.js';
import { inStore, type LockWait, throwIfAborted } from './lock.js';
import { PartialBlob } from './partial.js';
import { chains } from './reachable.js';
import {
  listReferences,
  type ReferenceEntry,
  readReference,
  removeReference,
  type StoredDescriptor,
  writeReference,
} from './references.js';
import { sweepTemporary, Temporary } from './temporary.js';
import { type DiskUsage, diskUsage, listImages, type StoredImage } from './usage.js';
import { type StoreProblem, type VerifyOptions, verifyStore } from './verify.js';

/** Options of {@link ImageStore.open}. */
export interface ImageStoreOptions {
  /**
   * The directory, made if missing with mode 0700. By default `/var/lib/tscontain/images` for root, else `tscontain/images`
   * below `$XDG_DATA_HOME` (`~/.local/share`).
   */
  readonly path?: string;
}

/** Options of {@link ImageStore.gc}. */
export interface CollectOptions {
  /** Digests of manifests that stay although they have no name. */
  readonly keep?: readonly Digest[];
  /** Only what was made before that time goes: `'1h'`, or milliseconds. */
  readonly olderThan?: Duration;
  readonly signal?: AbortSignal;
}

const schema = defineSchema(['path']);
const collectSchema = defineSchema(['keep', 'olderThan', 'signal']);
const verifySchema = defineSchema(['content', 'repair']);
const mostKept = 1_000_000;

/** Where images are kept: content-addressed, shared by all processes of a user, safe at every moment to be killed in. */
export class ImageStore implements AsyncDisposable {
  /** The directory, without links. */
  readonly path: string;
  readonly #session: Session;
  readonly #layers: Layers;
  #closed = false;
  static #default: Promise<ImageStore> | undefined;
  static readonly #opened = new Set<string>();

  private constructor(path: string) {
    this.path = path;
    this.#session = new Session(path);
    this.#layers = new Layers(path);
  }

  /**
   * Opens a store, which is made where there is none. What processes left that have died is removed.
   * @throws OptionError; ImageError `ERR_STORE` for a directory that others can reach or have prepared, or a file system that
   * takes different names for the same, or keeps no modes or attributes
   */
  static async open(options: ImageStoreOptions = {}): Promise<ImageStore> {
    const { path = defaultPath() } = readObject(options, '', schema);
    const given = readText(path, 'path', 'an absolute path');
    if (!isAbsolute(given)) throw new OptionError('path', 'an absolute path', given);
    const root = await prepareDirectories(resolve(given));
    await sweepTemporary(root);
    ImageStore.#opened.add(root);
    return new ImageStore(root);
  }

  /**
   * Removes roots of containers that processes have left that are dead, in stores that this thread has opened and the default
   * one. Returns how many.
   */
  static async sweepContainers(): Promise<number> {
    let swept = 0;
    for (const path of new Set([...ImageStore.#opened, ...defaultPathIfAny()])) {
      const roots = join(path, 'roots');
      if (!(await exists(roots))) continue;
      await verifyPrivate(roots);
      swept += await sweepRoots(roots);
    }
    return swept;
  }

  /** The store that is used where none is given: opened at the first call, one for this thread, and never closed. */
  static default(): Promise<ImageStore> {
    ImageStore.#default ??= ImageStore.open().catch((error: unknown) => {
      ImageStore.#default = undefined;
      throw error;
    });
    return ImageStore.#default;
  }

  /** The directory of what containers have on disk, where a driver copies: this user's alone. */
  get roots(): string {
    return join(this.path, 'roots');
  }

  /** Ends the use of the store: leases and holds of this object are given back. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#layers.close();
    await this.#session.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * While it is held, `gc` of every process leaves what is put into this store, or found in it, through this object. Whatever
   * puts several blobs and then a reference holds one all the time.
   */
  hold(): Hold {
    this.#expectOpen();
    return this.#session.hold();
  }

  /** Whether the blob is there, with that size if one is given; then it stays while a {@link hold} is held. */
  hasBlob(digest: Digest, size?: number): Promise<boolean> {
    this.#expectOpen();
    return this.#session.noting(digest, () => blobs.hasBlob(this.path, digest, size));
  }

  /** Opens a blob for reading; the caller closes it. @throws ImageError `ERR_NOT_FOUND` */
  openBlob(digest: Digest): Promise<FileHandle> {
    return blobs.openBlob(this.path, digest);
  }

  /** A small blob as a whole, verified. @throws ImageError `ERR_NOT_FOUND`, `ERR_DIGEST`, `ERR_STORE` over the limit (bytes) */
  readBlob(digest: Digest, limit: number): Promise<Buffer> {
    return blobs.readBlob(this.path, digest, limit);
  }

  /** Where the blob is, or would be. */
  blobPath(digest: Digest): string {
    return blobs.blobPath(this.path, digest);
  }

  /**
   * Streams a blob into the store. It is there only when all of it was verified and is on disk.
   * @throws ImageError `ERR_DIGEST` for other bytes than expected, and nothing is kept
   */
  async putBlob(
    content: AsyncIterable<Uint8Array> | Uint8Array,
    expected?: blobs.Expected,
  ): Promise<{ digest: Digest; size: number }> {
    this.#expectOpen();
    const fresh = join(await this.#session.directory(), randomBytes(8).toString('hex'));
    try {
      const found = await blobs.writeVerified(fresh, content, expected);
      await this.#name(fresh, found.digest);
      return found;
    } finally {
      await rm(fresh, { force: true }).catch(() => {}); // it goes with the directory
    }
  }

  /**
   * A blob to be written in pieces, which may be continued by another process after this one has died; undefined where the
   * store has it by now. Waits while another process writes it.
   */
  async partialBlob(digest: Digest, size?: number, wait: LockWait = {}): Promise<PartialBlob | undefined> {
    this.#expectOpen();
    if (await this.hasBlob(digest, size)) return undefined;
    const partial = await inStore(`the blob ${digest} could not be begun`, this.path, () => {
      return PartialBlob.open(this.path, digest, size, wait);
    });
    let wanted = false;
    try {
      wanted = !(await this.hasBlob(digest, size));
      if (!wanted) await rm(partial.path, { force: true });
    } finally {
      if (!wanted) await partial.close();
    }
    return wanted ? partial : undefined;
  }

  /** Makes a file in a {@link temporary} directory of this store a blob, once it is verified. @throws ImageError `ERR_DIGEST` */
  async adoptBlob(path: string, expected: blobs.Expected): Promise<void> {
    this.#expectOpen();
    if (!resolve(path).startsWith(join(this.path, 'tmp') + sep)) {
      throw new ImageError('ERR_STORE', `${path} is not in a temporary directory of the store`, { path });
    }
    await inStore(`${path} could not be made a blob`, path, async () => {
      const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
      try {
        await blobs.verifyFile(file, expected);
        await blobs.sealFile(file);
      } finally {
        await file.close();
      }
    });
    await this.#name(path, expected.digest);
  }

  /** A private directory on the store's file system, for this process; removed by `dispose`, or after its death. */
  temporary(): Promise<Temporary> {
    this.#expectOpen();
    return Temporary.make(this.path);
  }

  /** Whether the layer is unpacked. */
  hasLayer(spec: LayerSpec): Promise<boolean> {
    return this.#session.noting(`layer:${layerName(spec)}`, () => this.#layers.has(spec));
  }

  /**
   * Makes an unpacked layer where there is none: of all that ask for it at the same time, in any process, one fills it, and the
   * others wait. Nothing stays of one that failed or was aborted, and the next one tries.
   * @param fill gets an empty directory, and those of the layers below, which are held meanwhile
   * @throws AbortedError while waiting; ImageError `ERR_NOT_FOUND` where a layer below is not unpacked; what `fill` throws
   */
  async ensureLayer(spec: LayerSpec, fill: FillLayer, wait: AbortSignal | LockWait = {}): Promise<void> {
    this.#expectOpen();
    const settings = wait instanceof AbortSignal ? { signal: wait } : wait;
    throwIfAborted(settings.signal, 'a layer');
    if (await this.hasLayer(spec)) return;
    await this.#layers.ensure(spec, fill, settings);
  }

  /**
   * Keeps all layers of a stack from being removed, until the lease is released or this process ends.
   * @param diffIds bottom first
   * @throws ImageError `ERR_NOT_FOUND` where one is not unpacked
   */
  leaseLayers(
    diffIds: readonly Digest[],
    variant?: string,
    { whole }: { readonly whole?: boolean } = {},
  ): Promise<Lease> {
    this.#expectOpen();
    return this.#layers.lease(diffIds, { variant, whole });
  }

  /**
   * Gives an image a name. With `move` it may be taken from another image (security J7).
   * @throws ImageError `ERR_REFERENCE` where it is another's and may not be moved; `ERR_NOT_FOUND` without that blob
   */
  async setReference(
    reference: string,
    descriptor: StoredDescriptor,
    { move }: { readonly move: boolean },
  ): Promise<void> {
    this.#expectOpen();
    const name = nameOf(reference);
    const directory = await this.#session.directory();
    // gc must not decide between the look at the blob and the reference that keeps it.
    await this.#session.excludingCollection(async () => {
      if (!(await blobs.hasBlob(this.path, descriptor.digest))) {
        throw new ImageError('ERR_NOT_FOUND', `the store has no manifest ${descriptor.digest} for ${reference}`);
      }
      await writeReference(this.path, { reference: name, descriptor }, { move, directory });
    });
  }

  /** What a reference stands for. */
  async resolve(reference: string): Promise<StoredDescriptor | undefined> {
    return readReference(this.path, nameOf(reference));
  }

  /** All names of images, sorted. @throws ImageError `ERR_STORE` for a file that is damaged */
  references(): Promise<ReferenceEntry[]> {
    return listReferences(this.path);
  }

  /** Takes a name away; the image stays until `gc`. Whether there was one. */
  async untag(reference: string): Promise<boolean> {
    this.#expectOpen();
    return removeReference(this.path, nameOf(reference));
  }

  /** Images that have a name. */
  list(): Promise<StoredImage[]> {
    return inStore(`${this.path} could not be listed`, this.path, () => listImages(this.path));
  }

  /** Gives an image that is named by a reference, an id (of a config) or a digest (of a manifest) one more name. */
  async tag(image: string, reference: string, { move = false }: { readonly move?: boolean } = {}): Promise<void> {
    const descriptor = isDigest(image) ? (await this.#find(image))?.descriptor : await this.resolve(image);
    if (!descriptor) throw new ImageError('ERR_NOT_FOUND', `the store has no image ${image}`);
    await this.setReference(reference, descriptor, { move });
  }

  /**
   * Takes a name away, or with an id or digest all names of that image, and frees what nothing needs any more. With `force` an
   * image that has several names, or is in use, loses them all the same; what is in use stays until it is not.
   * @throws ImageError `ERR_NOT_FOUND`; `ERR_STORE` for what `force` is needed for
   */
  async remove(image: string, { force = false }: { readonly force?: boolean } = {}): Promise<Collected> {
    this.#expectOpen();
    if (isDigest(image) || !(await this.untag(image))) {
      const found = await this.#find(image);
      if (!found) throw new ImageError('ERR_NOT_FOUND', `the store has no image ${image}`);
      if (found.references.length > 1 && !force) {
        throw new ImageError('ERR_STORE', `${image} has the names ${found.references.join(', ')}`, {
          hint: 'remove each name, or give force',
        });
      }
      if (!force && (await this.#layers.inUse(found.chains))) {
        throw new ImageError('ERR_STORE', `${image} is in use`, { hint: 'end what uses it, or give force' });
      }
      for (const reference of found.references) await this.untag(reference);
    }
    return this.gc();
  }

  /**
   * Removes blobs and layers that no reference reaches. What a lease or a {@link hold} of any process keeps stays, and so do
   * downloads of the last day that were interrupted. Roots of containers are removed whose processes are dead.
   * @throws OptionError; ImageError `ERR_STORE` for a reference that is damaged: what it kept is not known, so nothing is
   * removed
   */
  async gc(options: CollectOptions = {}): Promise<Collected> {
    this.#expectOpen();
    const { keep, age, signal } = readCollect(options);
    return await inStore(`${this.path} could not be collected`, this.path, async () => {
      await sweepRoots(this.roots);
      return await collect(this.#layers, keep, age, { signal });
    });
  }

  /** Bytes of blobs and layers. */
  diskUsage(): Promise<DiskUsage> {
    return inStore(`${this.path} could not be measured`, this.path, () => diskUsage(this.path));
  }

  /**
   * What is wrong with the store, and which images need it. With `content` every blob is read; with `repair` too, those that are
   * damaged are removed, and the next pull or load of an image brings them again.
   * @throws OptionError, also for `repair` without `content`
   */
  async verify(options: VerifyOptions = {}): Promise<StoreProblem[]> {
    const fields = readObject(options, '', verifySchema);
    const content = readBoolean(fields.content, 'content', false);
    const repair = readBoolean(fields.repair, 'repair', false);
    if (repair && !content) {
      throw new OptionError('repair', 'to go with content: true, as nothing is found to be damaged without', true);
    }
    return inStore(`${this.path} could not be verified`, this.path, () => verifyStore(this.path, { content, repair }));
  }

  async #find(
    image: string,
  ): Promise<{ descriptor: StoredDescriptor; references: string[]; chains: string[] } | undefined> {
    const references: string[] = [];
    const tops: string[] = [];
    let descriptor: StoredDescriptor | undefined;
    const images = await this.list();
    for (const entry of await this.references()) {
      const named = images.filter(({ references }) => references.includes(entry.reference));
      const fits = named.some(({ id, digest }) => id === image || digest === image);
      if (!fits && entry.descriptor.digest !== image) continue;
      references.push(entry.reference);
      descriptor = entry.descriptor;
      // Layers below are shared with others; who uses the image uses its topmost one.
      tops.push(...named.flatMap(({ diffIds }) => chains(diffIds).slice(-1)));
    }
    return descriptor && { descriptor, references, chains: tops };
  }

  #name(path: string, digest: Digest): Promise<void> {
    return this.#session.noting(digest, () => blobs.nameBlob(this.path, path, digest));
  }

  #expectOpen(): void {
    if (this.#closed) throw new TscontainError('ERR_CLOSED', `the image store ${this.path} is closed`);
  }
}

function defaultPath(): string {
  if (isRoot()) return '/var/lib/tscontain/images';
  try {
    const data = process.env.XDG_DATA_HOME;
    // The specification ignores a relative one.
    return join(data && isAbsolute(data) ? data : join(homedir(), '.local', 'share'), 'tscontain', 'images');
  } catch (cause) {
    // homedir() throws for a user without an entry in passwd(5) and without HOME.
    throw new ImageError('ERR_STORE', 'this user has no home for images', {
      cause,
      hint: 'set XDG_DATA_HOME, or give a path to ImageStore.open',
    });
  }
}

function defaultPathIfAny(): readonly string[] {
  try {
    return [defaultPath()];
  } catch {
    return []; // nothing was kept there, then
  }
}

function readCollect(options: CollectOptions) {
  const { keep = [], olderThan, signal } = readObject(options, '', collectSchema);
  const kept = readList(keep, 'keep', 'an array of digests', mostKept).map((digest, index): Digest => {
    // A name would keep nothing, and what it should have kept would be gone.
    if (typeof digest === 'string' && isDigest(digest)) return parseDigest(digest, `keep[${index}]`);
    throw new OptionError(`keep[${index}]`, 'the digest of a manifest, such as image.descriptor.digest', digest);
  });
  return { keep: kept, age: readAge(olderThan), signal: readSignal(signal, 'signal') };
}

function readAge(olderThan: unknown): number | undefined {
  return olderThan === undefined ? undefined : parseDuration(olderThan, 'olderThan', { max: Number.MAX_SAFE_INTEGER });
}

/** The one form of a reference: what `busybox` and `docker.io/library/busybox:latest` both mean. */
function nameOf(reference: string): string {
  return parseReference(reference, 'reference').withDefaultTag().toString();
}

function isDigest(image: string): boolean {
  return /^sha(256|512):/.test(image);
}
