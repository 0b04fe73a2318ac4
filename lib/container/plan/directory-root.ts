/**
 * A root on disk that is no overlay: a tree into which an image's layers were merged, as a snapshot or as a copy. It gets the
 * container's name, so that it is known whose it is, and ends with it; the directory that holds such roots is this user's
 * alone, mode 0700, and the launcher refuses another one.
 *
 * - A snapshot (btrfs) is made by the launcher. On disk it has the image's ids, as what it is of; the container sees them
 *   shifted, so files that its root makes there are host root's on disk. That is no way out: nobody else can reach them, and
 *   the container's own mount is nosuid and nodev.
 * - A copy (vfs) is made by init, with no more rights than the container's root has, to where an upper directory would be:
 *   bounded as that is. Its ids on disk are the container's.
 */

import { copyTreeStep } from '../../image/layer/copy.js';
import { openFlag, propagationPrivate, type Slot, type Step } from '../../plan/step.js';
import { attach, hostTree, plain } from '../../primitives/mount/steps.js';
import { openDirectory } from './overlay.js';

/** What a driver has made ready for the root of one container. Paths are absolute. */
export interface DirectoryRoot {
  readonly driver: 'btrfs' | 'vfs';
  /** The directory that holds the roots of containers, on the file system of `merged`. */
  readonly parent: string;
  /** The image's layers as one tree; with btrfs a subvolume. It is only read. */
  readonly merged: string;
  /** With btrfs: a subvolume to take the snapshot of instead, the root of the container that this one is forked from. */
  readonly source?: string;
}

const flags = openFlag.RDONLY | openFlag.DIRECTORY | openFlag.NOFOLLOW;
const open = (to: Slot, path: string): Step => ({ kind: 'open', to, from: null, path, flags, resolve: 0 });

/** What the container's changes are told from: the merged tree, shifted, as the slot `to`. Steps of the host. */
export function mergedTree(to: Slot, { merged }: DirectoryRoot): Step[] {
  return hostTree(to, { path: merged, readOnly: true, recursive: false, idmap: true });
}

/**
 * A snapshot as the slot `to`, a mount with the container's ids. Steps of the host.
 * @param quota bytes that it may have to itself
 */
export function snapshotRoot(to: Slot, { parent, merged, source = merged }: DirectoryRoot, quota?: number): Step[] {
  const limit: readonly Step[] =
    quota === undefined
      ? []
      : [
          { kind: 'open', to: 'root limited', from: to, path: '.', flags, resolve: 0 },
          { kind: 'subvolumeLimit', on: 'root limited', bytes: quota },
          { kind: 'close', slot: 'root limited' },
        ];
  return [
    open('root parent', parent),
    open('root source', source),
    { kind: 'rootDirectory', to, under: 'root parent', source: 'root source' },
    { kind: 'close', slot: 'root source' },
    { kind: 'close', slot: 'root parent' },
    ...limit,
    { ...privately(to), idmap: 'userns' },
  ];
}

/** A directory for a copy, as a mount in the slot `to`, where nothing bounds it. Steps of the host. */
export function copyDirectory(to: Slot, { parent }: DirectoryRoot): Step[] {
  return [
    open('root parent', parent),
    { kind: 'stateDirectory', to, detached: true, under: 'root parent' },
    { kind: 'close', slot: 'root parent' },
  ];
}

/**
 * A copy of the tree in the slot `from` becomes the root, in the slot `root`. Steps of the container.
 * @param path the directory beneath the stage that it is copied to
 * @param filled it is not copied there, but put there by someone else: what the container has that this one is forked from
 */
export function copiedRoot(from: Slot, path: string, filled: boolean): Step[] {
  return [
    ...(filled ? lend(path) : [openDirectory('copy', 'stage', path), copyTreeStep([from], 'copy')]),
    // Kept by init, as the next: what was made later than this was made by the container.
    { kind: 'makeDirectory', under: 'stage', path: 'copied', mode: 0o555 },
    openDirectory('copied at', 'stage', 'copied'),
    { kind: 'openTree', to: 'root', from: 'stage', path, recursive: false },
    privately('root'),
    // `fork()` copies it.
    { kind: 'openTree', to: 'upper', from: 'stage', path, recursive: false },
    attach('root', 'stage', 'root'),
  ];
}

/** Someone else puts into an empty directory beneath the stage what is to be in it, and the plan waits for that. */
export function lend(path: string): Step[] {
  return [openDirectory('unfilled', 'stage', path), { kind: 'lend', slot: 'unfilled' }];
}

/** Where the host's mounts are shared, as systemd makes them, a copy is too, and pivot_root(2) refuses it. */
function privately(on: Slot): Extract<Step, { kind: 'mountSetattr' }> {
  const propagation = propagationPrivate;
  return { kind: 'mountSetattr', on, path: '', recursive: false, set: plain, clear: 0, propagation };
}
