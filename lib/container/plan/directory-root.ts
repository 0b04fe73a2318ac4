/**
 * A root that is a plain directory on disk and nobody else's: a snapshot, or a copy that was made before. It gets the
 * container's name and ends with it. What is in it has the image's ids; the container sees them shifted, so files that its
 * root makes there are host root's on disk. That is no way out: the directory that holds these roots is root's, mode 0700, and
 * the container's own mount of it is nosuid and nodev.
 */

import { openFlag, propagationPrivate, type Step } from '../../plan/step.js';
import { plain } from '../../primitives/mount/steps.js';

export interface DirectoryRoot {
  /** Absolute path of the directory that holds the roots of containers. */
  readonly parent: string;
  /** Where it comes from: a subvolume's absolute path, on the same btrfs; or the name in `parent` of what is prepared. */
  readonly from: { readonly snapshot: string } | { readonly prepared: string };
  /** Bytes that it may take beside what it shares with the subvolume; only for a snapshot. */
  readonly size?: number;
}

/** The root as the slot `to`, a mount with the container's ids. Steps of the host. */
export function directoryRoot(to: string, { parent, from, size }: DirectoryRoot): Step[] {
  const flags = openFlag.RDONLY | openFlag.DIRECTORY | openFlag.NOFOLLOW;
  const open = (slot: string, path: string): Step => ({ kind: 'open', to: slot, from: null, path, flags, resolve: 0 });
  const limit: readonly Step[] =
    size === undefined
      ? []
      : [
          { kind: 'open', to: 'root limited', from: to, path: '.', flags, resolve: 0 },
          { kind: 'subvolumeLimit', on: 'root limited', bytes: size },
          { kind: 'close', slot: 'root limited' },
        ];
  const made: readonly Step[] =
    'snapshot' in from
      ? [
          open('root source', from.snapshot),
          { kind: 'rootDirectory', to, under: 'root parent', source: 'root source' },
          { kind: 'close', slot: 'root source' },
        ]
      : [{ kind: 'rootDirectory', to, under: 'root parent', prepared: from.prepared }];
  return [
    open('root parent', parent),
    ...made,
    { kind: 'close', slot: 'root parent' },
    ...limit,
    {
      kind: 'mountSetattr',
      on: to,
      path: '',
      recursive: false,
      set: plain,
      clear: 0,
      // Where the host's mounts are shared, as systemd makes them, the copy is too, and pivot_root(2) refuses it.
      propagation: propagationPrivate,
      idmap: 'userns',
    },
  ];
}
