/**
 * A bound for what a container writes to disk: a file system of its own, in a file that has no name. The kernel is asked for
 * none that the host's file system would have to be prepared for, so this works on any; it takes root.
 */

import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { UnsupportedError } from '../../errors.js';
import { isRoot } from '../../host/configuration.js';
import type { Driver, DriverChoice } from '../../image/driver/choose.js';
import type { Step } from '../../plan/step.js';
import { plain } from '../../primitives/mount/steps.js';
import type { DiskBound, StorageSettings } from '../settings/storage.js';
import { makeExt4 } from './ext4.js';

/** Where what a container writes to its root goes, and what bounds it. */
export interface StorageInspection {
  /** How the root comes from an image, a directory or layers; `'none'` for the host's, which is put together of mounts. */
  readonly driver: Driver | 'none';
  /** Why it is that one. */
  readonly driverReason: string;
  readonly upper: 'tmpfs' | 'disk';
  /** Bytes; undefined where there is no bound. */
  readonly size: number | undefined;
  /** Files and directories; undefined where there is no bound. */
  readonly inodes: number | undefined;
  /** What enforces the two. */
  readonly bound: 'tmpfs' | 'loop file' | 'qgroup' | 'none';
  /** Why it is that one. */
  readonly reason: string;
}

/** Of a container that is of no image of a store: there is nothing to choose then. */
export function onlyDriver(
  image: 'host' | 'directories',
): Omit<DriverChoice, 'driver'> & { driver: 'overlay' | 'none' } {
  return image === 'host'
    ? { driver: 'none', reason: "image: 'host' has no layers" }
    : { driver: 'overlay', reason: "directories of the caller's stay untouched under it" };
}

/** @param chosen how the root was made */
export function inspectStorage(
  settings: StorageSettings,
  { driver, reason }: { readonly driver: Driver | 'none'; readonly reason: string },
): StorageInspection {
  return { driver, driverReason: reason, ...inspectBound(settings) };
}

function inspectBound({
  upper,
  size,
  inodes,
  disk,
  quota,
}: StorageSettings): Omit<StorageInspection, 'driver' | 'driverReason'> {
  if (upper === 'tmpfs') return { upper, size, inodes, bound: 'tmpfs', reason: 'what is written is kept in memory' };
  if (quota !== undefined) {
    const reason = 'what the snapshot does not share with the image is limited by the quotas of btrfs';
    return { upper, size: quota, inodes: undefined, bound: 'qgroup', reason };
  }
  if (!disk) return { upper, size: undefined, inodes: undefined, bound: 'none', reason: 'no storage.size was given' };
  const reason = 'a file system of its own in a sparse file bounds it wherever the file is';
  return { upper, ...disk, bound: 'loop file', reason };
}

const tmpfsIsBounded = "leave storage.size out, or use upper: 'tmpfs'";

/** @throws UnsupportedError where this process cannot have one */
export function expectLoopFiles(): void {
  if (!isRoot()) {
    throw new UnsupportedError("option storage.size: with upper: 'disk' it takes root, who may mount a file system", {
      hint: tmpfsIsBounded,
    });
  }
  if (!existsSync('/dev/loop-control')) {
    throw new UnsupportedError("option storage.size: with upper: 'disk' it takes loop devices", {
      path: '/dev/loop-control',
      hint: `load the module loop (modprobe loop); or ${tmpfsIsBounded}`,
    });
  }
}

/** Whether the kernel has ext4 now; it loads a module for it when it is asked for one, if there is one. */
export function knowsExt4(fileSystems = readFileSync('/proc/filesystems', 'utf8')): boolean {
  return fileSystems.split('\n').some((line) => line.trim() === 'ext4');
}

/** A mount of a new file system, with `upper` and `work` in it, as the slot `to`. Steps of the host. */
export function loopFile(to: string, { size, inodes }: DiskBound): Step[] {
  const { length, pieces } = makeExt4({ size, inodes, uuid: randomBytes(16) });
  return [
    { kind: 'sparseFile', to: 'loop file', size: length, pieces },
    { kind: 'loopDevice', to: 'loop device', file: 'loop file' },
    { kind: 'close', slot: 'loop file' },
    { kind: 'fsopen', to: 'loop context', type: 'ext4' },
    { kind: 'fsconfigDevice', on: 'loop context', key: 'source', device: 'loop device' },
    { kind: 'fsconfigCreate', on: 'loop context' },
    { kind: 'fsmount', to, from: 'loop context', attributes: plain },
    { kind: 'close', slot: 'loop device' },
    { kind: 'layerDirectories', on: to },
  ];
}
