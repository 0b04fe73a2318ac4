/** Unpacked layers: made once, in `tmp/`, and moved to their place when they are whole; held by shared locks while used. */

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError, OptionError } from '../../errors.js';
import { addon, type Descriptor } from '../../launcher/native.js';
import { chainId, type Digest, hexOf, parseDigest } from '../digest.js';
import { exists } from './directory.js';
import { inStore, isMissing, type LockWait, lock, storeError } from './lock.js';
import { lockIfThere, Temporary } from './temporary.js';

/** Which unpacked layer. */
export interface LayerSpec {
  /** Digests of the plain tars, bottom first, up to and with this layer. */
  readonly diffIds: readonly Digest[];
  /** Unpacked in another way than by default, or by another driver: letters, digits and `-`. */
  readonly variant?: string | undefined;
  /** It holds what all of these layers make together, so those below it are not needed as directories. */
  readonly whole?: boolean | undefined;
}

export interface LayerFacts {
  /** Bytes of content. */
  readonly bytes: number;
  readonly entries: number;
}

/** What is noted beside a layer. */
interface LayerRecord extends LayerFacts {
  readonly chainId: Digest;
  readonly created: string;
  /** The boot of the machine in which it was made; what is not `synced` may be incomplete in another. */
  readonly boot: string;
}

/** Layers that nobody removes until `release`, or until this process ends. */
export interface Lease extends Disposable {
  /** Directories of the layers, topmost first. */
  readonly paths: readonly string[];
  release(): void;
}

/** Fills the directory of a new layer. `parents` are the directories of the layers below, topmost first. */
export type FillLayer = (directory: string, parents: readonly string[]) => Promise<LayerFacts>;

/** Names of directories in `layers/`. */
export const layerGrammar = /^[0-9a-f]{64}(\.[a-z0-9-]+)?$/;

/** The name of a layer's directory. */
export function layerName({ diffIds, variant }: LayerSpec): string {
  const [first, ...rest] = diffIds.map((digest) => parseDigest(digest, 'a layer of the store'));
  if (first === undefined) throw new OptionError('diffIds', 'at least one digest', diffIds);
  if (variant !== undefined && !/^[a-z0-9][a-z0-9-]{0,63}$/.test(variant)) {
    throw new OptionError('variant', 'at most 64 small letters, digits and -', variant);
  }
  const hex = hexOf(chainId([first, ...rest]));
  return variant === undefined ? hex : `${hex}.${variant}`;
}

/** Layers of one store, as one process uses them. */
export class Layers {
  /** Locks that leases of this process share: one descriptor for each layer. */
  readonly #held = new Map<string, { readonly descriptor: Descriptor; users: number }>();
  readonly #unsynced = new Set<string>();
  #syncing: Promise<void> | undefined;

  constructor(readonly root: string) {}

  path(name: string): string {
    return join(this.root, 'layers', name);
  }

  /** Whether the layer is there, whole. */
  async has(spec: LayerSpec): Promise<boolean> {
    return (await readRecord(this.path(layerName(spec)))) !== undefined;
  }

  async ensure(spec: LayerSpec, fill: FillLayer, wait: LockWait): Promise<void> {
    if (await this.has(spec)) return;
    const name = layerName(spec);
    const held = await lock(join(this.root, 'locks', name), 'create', 'exclusive', wait);
    try {
      if (!(await this.has(spec))) await this.#make(spec, name, fill);
    } finally {
      held.close();
    }
  }

  async #make(spec: LayerSpec, name: string, fill: FillLayer): Promise<void> {
    using below =
      spec.whole || spec.diffIds.length < 2
        ? undefined
        : await this.lease(spec.diffIds.slice(0, -1), spec.variant === undefined ? {} : { variant: spec.variant });
    await inStore(`the layer ${name} could not be looked at`, this.path(name), () => this.removeBroken(name));
    await using temporary = await Temporary.make(this.root);
    const directory = join(temporary.path, 'root');
    const making = `the layer ${name} could not be made`;
    await inStore(making, directory, () => mkdir(directory, { mode: 0o755 }));
    const { bytes, entries } = await fill(directory, below?.paths ?? []);
    const record: LayerRecord = {
      chainId: `sha256:${name.slice(0, 64)}`,
      bytes,
      entries,
      created: new Date().toISOString(),
      boot: bootId(),
    };
    await inStore(making, this.path(name), async () => {
      await writeFile(join(temporary.path, 'layer.json'), JSON.stringify(record), { mode: 0o600 });
      await rename(temporary.path, this.path(name));
    });
    temporary.leave();
    this.#unsynced.add(name);
    this.#sync();
  }

  /**
   * Notes beside new layers that a loss of power does not harm them any more. It takes as long as the disk needs and nobody
   * waits for it; a layer without the note is unpacked again after the next boot.
   */
  #sync(): void {
    if (this.#syncing || this.#unsynced.size === 0) return;
    const names = [...this.#unsynced];
    this.#unsynced.clear();
    const run = async () => {
      await addon().syncFileSystem(this.root);
      for (const name of names) await writeFile(join(this.path(name), 'synced'), '', { mode: 0o600 });
    };
    // A layer may be removed meanwhile, and a note that is missing costs time and nothing else.
    this.#syncing = run()
      .catch(() => {})
      .then(() => {
        this.#syncing = undefined;
        this.#sync();
      });
  }

  /** @throws ImageError `ERR_NOT_FOUND` for a layer that is not unpacked */
  async lease(diffIds: readonly Digest[], { variant, whole }: Omit<LayerSpec, 'diffIds'> = {}): Promise<Lease> {
    const names: string[] = [];
    const release = () => {
      for (const name of names.splice(0)) this.#release(name);
    };
    try {
      const stacks = whole ? [diffIds] : diffIds.map((_, index) => diffIds.slice(0, diffIds.length - index));
      for (const stack of stacks) {
        const name = layerName({ diffIds: stack, variant });
        await this.#hold(name);
        names.push(name);
      }
    } catch (error) {
      release();
      throw error;
    }
    return { paths: names.map((name) => join(this.path(name), 'root')), release, [Symbol.dispose]: release };
  }

  /** Whether a lease of any process keeps one of the layers, in any variant. */
  async inUse(chains: readonly string[]): Promise<boolean> {
    for (const name of await readdir(join(this.root, 'layers'))) {
      if (!chains.includes(name.slice(0, 64))) continue;
      const held = lockIfThere(this.path(name));
      if (!held && (await exists(this.path(name)))) return true;
      held?.close();
    }
    return false;
  }

  /** Takes a layer from its place unless it is in use; what is returned is to be disposed of. */
  async moveAside(name: string): Promise<Temporary | undefined> {
    const held = lockIfThere(this.path(name));
    if (!held) return undefined;
    const aside = join(this.root, 'tmp', randomBytes(12).toString('hex'));
    try {
      await rename(this.path(name), aside);
    } catch (cause) {
      held.close();
      throw storeError(`the layer ${name} could not be moved away`, this.path(name), cause);
    }
    return Temporary.adopt(aside, held);
  }

  /** What is in a layer's place without being one, as after a loss of power. */
  async removeBroken(name: string): Promise<void> {
    if (!(await exists(this.path(name))) || (await readRecord(this.path(name)))) return;
    const aside = await this.moveAside(name);
    await aside?.dispose();
    if (!aside && (await exists(this.path(name)))) {
      throw new ImageError('ERR_STORE', `the layer ${name} is damaged and in use`, { path: this.path(name) });
    }
  }

  /** Gives back everything that leases hold. */
  async close(): Promise<void> {
    await this.#syncing;
    for (const { descriptor } of this.#held.values()) descriptor.close();
    this.#held.clear();
  }

  async #hold(name: string): Promise<void> {
    const path = this.path(name);
    const missing = (cause?: unknown) =>
      new ImageError('ERR_NOT_FOUND', `the layer ${name} is not unpacked`, { path, cause, hint: 'unpack the image' });
    if (!this.#held.has(name)) {
      const descriptor = await lock(path, 'directory', 'shared').catch((error: unknown) => {
        throw isMissing(error) ? missing(error) : error;
      });
      // Another call of this process may have been faster.
      if (this.#held.has(name)) descriptor.close();
      else this.#held.set(name, { descriptor, users: 0 });
    }
    const entry = this.#held.get(name);
    if (!entry) throw missing();
    entry.users++;
    if (await readRecord(path)) return;
    this.#release(name);
    throw missing();
  }

  #release(name: string): void {
    const entry = this.#held.get(name);
    if (!entry || --entry.users > 0) return;
    this.#held.delete(name);
    entry.descriptor.close();
  }
}

/** What is noted beside a layer; undefined where there is none, or one that a loss of power may have left incomplete. */
export async function readRecord(path: string): Promise<LayerRecord | undefined> {
  const text = await readFile(join(path, 'layer.json'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw storeError(`${path} could not be read`, path, error);
  });
  const record = text === undefined ? undefined : parseRecord(text);
  if (!record || record.boot === bootId()) return record;
  return (await exists(join(path, 'synced'))) ? record : undefined;
}

function parseRecord(text: string): LayerRecord | undefined {
  try {
    const record: unknown = JSON.parse(text);
    const whole = typeof record === 'object' && record !== null && 'boot' in record && 'bytes' in record;
    return whole ? (record as LayerRecord) : undefined;
  } catch {
    return undefined;
  }
}

let boot: string | undefined;

function bootId(): string {
  boot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return boot;
}
