/** The overlays of a container. */

import type { Slot, Step } from '../../plan/step.js';
import { overlay } from '../../primitives/mount/steps.js';

/**
 * An overlay over directories that are attached beneath the slot `stage`, which also holds the upper and work directories.
 * The layers are named by us and relative to the stage, so that no path of a user's is ever part of an option string.
 * `userxattr`, as the mount belongs to a user namespace: trusted attributes cannot be written there, and with it
 * redirects and metadata-only copies are off (overlayfs.rst, "User xattr").
 */
export function containerOverlay(
  to: Slot,
  stage: Slot,
  { lower, upper, work }: { lower: readonly string[]; upper: string; work: string },
): Step[] {
  return [
    { kind: 'fchdir', to: stage },
    ...overlay(to, {
      lower: lower.map((path) => ({ path })),
      upper: { path: upper },
      work: { path: work },
      options: [['userxattr']],
    }),
  ];
}
