/** The overlays of a container. */

import type { Slot, Step } from '../../plan/step.js';
import { overlay } from '../../primitives/mount/steps.js';

/**
 * An overlay over directories that are attached beneath the slot `stage`, which also holds the upper and work directories.
 * The layers are named by us and relative to the stage, so that no path of a user's is ever part of an option string.
 * `userxattr`, as the mount belongs to a user namespace: trusted attributes cannot be written there, and with it
 * redirects and metadata-only copies are off (overlayfs.rst, "User xattr").
 *
 * With `onDisk` it is `volatile` too (Linux 5.10): what is written ends with the container, so nothing waits until it is safe
 * on the disk, neither a program's fsync(2) nor the end, when all of the host's file system would be synced.
 */
export function containerOverlay(
  to: Slot,
  stage: Slot,
  { lower, upper, work, onDisk = false }: { lower: readonly string[]; upper: string; work: string; onDisk?: boolean },
): Step[] {
  return [
    { kind: 'fchdir', to: stage },
    ...overlay(to, {
      lower: lower.map((path) => ({ path })),
      upper: { path: upper },
      work: { path: work },
      options: onDisk ? [['userxattr'], ['volatile']] : [['userxattr']],
    }),
  ];
}
