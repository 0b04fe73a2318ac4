/** Which driver gives containers their root: found out by use on the file system that images are on, once for each. */

import { statfs } from 'node:fs/promises';
import { errnoName, TscontainError, UnsupportedError } from '../../errors.js';
import { isRoot } from '../../host/configuration.js';
import { OverlayMount } from '../../primitives/mount/index.js';
import { unfinishedName } from './name.js';
import { makeSubvolume, removeDirectory } from './subvolume.js';

/**
 * `overlay`: layers seen as one, and an upper directory over them. `btrfs`: a snapshot of a subvolume that the layers were
 * copied into. `vfs`: a copy for each container.
 */
export type Driver = 'overlay' | 'btrfs' | 'vfs';

export interface DriverChoice {
  readonly driver: Driver;
  /** Why it is that one. */
  readonly reason: string;
}

const btrfsMagic = 0x9123683e;
/** Any ids that are not ours: the mount is only looked at. */
const shifted = [{ inside: 0, outside: 0x70000000, count: 65536 }];

const chosen = new Map<string, Promise<DriverChoice>>();

/**
 * The driver for images on the file system of `directory`, which holds the roots of containers.
 * @param asked `'auto'` takes the first that works of overlay, btrfs, vfs
 * @throws UnsupportedError for a driver that was asked for and does not work there
 */
export async function chooseDriver(directory: string, asked: Driver | 'auto' = 'auto'): Promise<DriverChoice> {
  const key = `${asked} ${directory}`;
  let choice = chosen.get(key);
  if (!choice) {
    choice = choose(directory, asked);
    chosen.set(key, choice);
    choice.catch(() => chosen.delete(key));
  }
  return choice;
}

async function choose(directory: string, asked: Driver | 'auto'): Promise<DriverChoice> {
  if (asked !== 'auto') {
    const obstacle = await obstacles[asked](directory);
    if (obstacle === undefined) return { driver: asked, reason: 'it was asked for' };
    throw new UnsupportedError(`option storage.driver: ${asked} cannot be had in ${directory}: ${obstacle}`, {
      path: directory,
      hint: "leave it out, or use 'auto'",
    });
  }
  const reasons: string[] = [];
  for (const driver of ['overlay', 'btrfs', 'vfs'] as const) {
    const obstacle = await obstacles[driver](directory);
    if (obstacle === undefined) {
      const works = driver === 'overlay' ? 'an overlay can be mounted over images there' : 'it works there';
      return { driver, reason: [...reasons, works].join('; ') };
    }
    reasons.push(`no ${driver}: ${obstacle}`);
  }
  throw new UnsupportedError(`no driver works for images in ${directory}: ${reasons.join('; ')}`, { path: directory });
}

/** Why a driver does not work in a directory, or undefined. */
const obstacles: Readonly<Record<Driver, (directory: string) => Promise<string | undefined>>> = {
  async overlay(directory) {
    try {
      const mount = await OverlayMount.create({ lower: [directory], ...(isRoot() && { idMap: shifted }) });
      await mount[Symbol.asyncDispose]();
      return undefined;
    } catch (error) {
      return asObstacle(error);
    }
  },
  async btrfs(directory) {
    const { type } = await statfs(directory);
    if (type !== btrfsMagic) return 'it is not on btrfs';
    if (!isRoot()) return 'snapshots for containers take root, who may shift their ids';
    const name = await unfinishedName();
    try {
      await makeSubvolume(directory, name);
      await removeDirectory(directory, name);
      return undefined;
    } catch (error) {
      return asObstacle(error);
    }
  },
  async vfs() {
    return isRoot() ? undefined : 'copies for containers take root, who may shift their ids';
  },
};

function asObstacle(error: unknown): string {
  if (error instanceof TscontainError) return error.message;
  const { errno, message } = error as NodeJS.ErrnoException;
  return errno === undefined ? message : errnoName(Math.abs(errno));
}
