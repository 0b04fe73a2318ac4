/**
 * Holds: what a pull, a load or a commit has put into the store, or found there, before a reference keeps it. It is noted in
 * the temporary directory of this store, which is locked as long as its owner lives, and gc leaves alone what is noted there.
 */

import { appendFile, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Descriptor } from '../../launcher/native.js';
import { inStore, type LockWait, lock, storeError } from './lock.js';
import { Temporary } from './temporary.js';

/** Until it is released, gc leaves blobs and layers that were put into this store, or found in it. */
export interface Hold extends AsyncDisposable {
  release(): Promise<void>;
}

const noteFile = 'held';

/** The temporary directory of one open store, and what is held in it. */
export class Session {
  #temporary: Promise<Temporary> | undefined;
  #holds = 0;

  constructor(readonly root: string) {}

  /** A private directory that lasts as long as this store is open. */
  async directory(): Promise<string> {
    // One that could not be made is tried again: the disk may have had no room.
    this.#temporary ??= Temporary.make(this.root).catch((error: unknown) => {
      this.#temporary = undefined;
      throw error;
    });
    return (await this.#temporary).path;
  }

  hold(): Hold {
    this.#holds++;
    let held = true;
    const release = async () => {
      if (!held) return;
      held = false;
      if (--this.#holds > 0 || !this.#temporary) return;
      const file = join(await this.directory(), noteFile);
      await inStore(`${file} could not be removed`, file, () => rm(file, { force: true }));
    };
    return { release, [Symbol.asyncDispose]: release };
  }

  /**
   * Does something with a blob or layer that gc must see either before or after both this and the note of it.
   * @param name what to note: a digest, or `layer:` and the name of its directory
   */
  async noting<T>(name: string, run: () => Promise<T>): Promise<T> {
    if (this.#holds === 0) return run();
    const file = join(await this.directory(), noteFile);
    return this.excludingCollection(async () => {
      await inStore(`what is held could not be noted in ${file}`, file, () => {
        return appendFile(file, `${name}\n`, { mode: 0o600 });
      });
      return run();
    });
  }

  /** Does something that lasts for a moment, while no gc decides what goes. */
  async excludingCollection<T>(run: () => Promise<T>): Promise<T> {
    // A collector that waits holds the gate, so that those who come later do not keep it waiting without end.
    const gate = await lock(collectionGate(this.root), 'create', 'shared');
    const held = await lock(collectionLock(this.root), 'create', 'shared').finally(() => gate.close());
    try {
      return await run();
    } finally {
      held.close();
    }
  }

  async close(): Promise<void> {
    await (await this.#temporary)?.dispose();
    this.#temporary = undefined;
  }
}

/** Held shared for moments by whoever names things, exclusively by gc while it decides what goes. */
function collectionLock(root: string): string {
  return join(root, 'locks', 'collection');
}

/** Held exclusively by a gc that waits for {@link collectionLock}. */
function collectionGate(root: string): string {
  return join(root, 'locks', 'gate');
}

/** The right to decide what goes: nobody names anything until it is closed. */
export async function lockCollection(root: string, wait: LockWait = {}): Promise<Descriptor> {
  const gate = await lock(collectionGate(root), 'create', 'exclusive', wait);
  return lock(collectionLock(root), 'create', 'exclusive', wait).finally(() => gate.close());
}

/** Everything that is held by processes that live. Directories of dead ones are cleared away before. */
export async function readHeld(root: string): Promise<Set<string>> {
  const held = new Set<string>();
  for (const name of await readdir(join(root, 'tmp'))) {
    const text = await readFile(join(root, 'tmp', name, noteFile), 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '';
      throw storeError(`what ${name} holds could not be read`, join(root, 'tmp', name), error);
    });
    for (const line of text.split('\n')) if (line !== '') held.add(line);
  }
  return held;
}
