/** Roots of containers by the drivers that copy: a snapshot of what was copied once, or a copy for each. */

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DirectoryRoot } from '../../container/plan/directory-root.js';
import { UnsupportedError } from '../../errors.js';
import { type Digest, hexOf } from '../digest.js';
import type { Driver } from './choose.js';
import { unfinishedName } from './name.js';
import { ensureSubvolume, removeDirectory } from './subvolume.js';

export interface RootRequest {
  readonly driver: Exclude<Driver, 'overlay'>;
  /** Absolute path of a directory of this user's with mode 0700, on the file system that images are on. */
  readonly parent: string;
  /** The chain id of the image's layers. */
  readonly chain: Digest;
  /** Bound of what the container writes, in bytes. */
  readonly size?: number;
  /** Puts the image's merged tree into an empty directory, the attributes of its root too. */
  readonly copy: (directory: string) => Promise<void>;
}

/**
 * A root for one container, ready to be given to it. What becomes of it then is the launcher's; if nothing does, it is
 * removed by {@link discardRoot}, or swept when this process is dead.
 * @throws UnsupportedError for a bound with `vfs`; what `copy` throws
 */
export async function prepareRoot({ driver, parent, chain, size, copy }: RootRequest): Promise<DirectoryRoot> {
  if (driver === 'btrfs') {
    const snapshot = await ensureSubvolume(parent, mergedName(chain), copy);
    return { parent, from: { snapshot }, ...(size !== undefined && { size }) };
  }
  if (size !== undefined) {
    throw new UnsupportedError('option storage.size: nothing bounds what is written to a copy (storage.driver vfs)', {
      hint: 'use overlay or btrfs, or leave it out',
    });
  }
  const prepared = await unfinishedName();
  await mkdir(join(parent, prepared), { mode: 0o755 });
  try {
    await copy(join(parent, prepared));
  } catch (error) {
    await removeDirectory(parent, prepared);
    throw error;
  }
  return { parent, from: { prepared } };
}

/** Removes a root that no container was made of. */
export async function discardRoot({ parent, from }: DirectoryRoot): Promise<void> {
  if ('prepared' in from) await removeDirectory(parent, from.prepared);
}

/** What the subvolume of an image's merged layers is called. */
export function mergedName(chain: Digest): string {
  return `merged-${hexOf(chain)}`;
}
