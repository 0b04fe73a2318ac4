/**
 * Directories in `tmp/`: private, and locked by whoever works there. One that is not locked is what a dead owner left.
 */

import { randomBytes } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { constants } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { isRoot } from '../../host/configuration.js';
import { Agent } from '../../launcher/agent.js';
import { addon, type Descriptor } from '../../launcher/native.js';
import { openFlag } from '../../plan/step.js';
import { isMissing, storeError, tryLock } from './lock.js';

/** A private directory in the store. It and what is in it are gone after `dispose`, or at the next open after a crash. */
export class Temporary implements AsyncDisposable {
  #held: Descriptor | undefined;

  private constructor(
    readonly path: string,
    held: Descriptor,
  ) {
    this.#held = held;
  }

  static async make(root: string): Promise<Temporary> {
    for (;;) {
      const path = join(root, 'tmp', randomBytes(12).toString('hex'));
      await mkdir(path, { mode: 0o700 }).catch((cause: unknown) => {
        throw storeError(`the directory ${path} could not be made`, path, cause);
      });
      const held = lockIfThere(path);
      if (held) return new Temporary(path, held);
      // Someone who clears away has found it before it was locked.
    }
  }

  /** Takes over a directory that this caller has locked and moved to `tmp/`. */
  static adopt(path: string, held: Descriptor): Temporary {
    return new Temporary(path, held);
  }

  /** Gives up the lock without removing anything: the directory has moved to its place. */
  leave(): void {
    this.#held?.close();
    this.#held = undefined;
  }

  async dispose(): Promise<void> {
    if (!this.#held) return;
    try {
      await removeTree(this.path);
    } finally {
      this.leave();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/** Removes everything in `tmp/` and `locks/` whose owner is dead. */
export async function sweepTemporary(root: string): Promise<void> {
  for (const name of await readdir(join(root, 'tmp'))) {
    const path = join(root, 'tmp', name);
    const held = lockIfThere(path);
    if (held) await Temporary.adopt(path, held).dispose();
  }
}

async function removeTree(path: string): Promise<void> {
  try {
    await addon()
      .removeTree(path)
      .catch((error: unknown) => {
        if (isRoot() || !isRefusal(error)) throw error;
        return removeAsOwner(path);
      });
  } catch (cause) {
    throw storeError(`${path} could not be removed`, path, cause, 'something may be mounted in it');
  }
}

function isRefusal(error: unknown): boolean {
  const { errno } = error as NodeJS.ErrnoException;
  return errno === constants.errno.EACCES || errno === constants.errno.EPERM;
}

/** Directories of an ordinary user's layers may be of a subordinate id, or closed by their mode: root of the map may all. */
async function removeAsOwner(path: string): Promise<void> {
  await using agent = await Agent.start({ create: ['user'], ids: 'container' });
  const flags = openFlag.RDONLY | openFlag.DIRECTORY | openFlag.NOFOLLOW;
  await agent.run(
    [
      { kind: 'open', to: 'directory', from: null, path: dirname(path), flags, resolve: 0 },
      { kind: 'removeTree', under: 'directory', name: basename(path) },
    ],
    { doing: 'removing a tree' },
  );
}

/** The exclusive lock of what is there; undefined where another holds it, or it is gone. */
export function lockIfThere(path: string, kind: 'directory' | 'file' = 'directory'): Descriptor | undefined {
  try {
    return tryLock(path, kind, 'exclusive');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
