/**
 * File systems and mounts as steps: tmpfs, the kernel's own file systems, copies of host mounts (bind mounts), overlays.
 * All of them are made detached, get their final attributes, and are attached last (mount_setattr(2), fsopen(2)).
 */

import { mountAttribute, type NodeType, type Slot, type Step } from '../plan/step.js';

const { NOSUID, NODEV, NOEXEC, RDONLY } = mountAttribute;

/** Attributes of what programs may write to: set-user-ID bits and device nodes in it mean nothing. */
export const plain = NOSUID | NODEV;
/** Attributes of the kernel's own file systems: nothing in them is a program either. */
export const kernelOnly = NOSUID | NODEV | NOEXEC;

/** A new, detached file system in the slot `to`. An option without a value is a flag. */
export function newFileSystem(
  to: Slot,
  type: string,
  attributes: number,
  options: readonly (readonly [string, string?])[] = [],
): Step[] {
  const context = `${to} context`;
  return [
    { kind: 'fsopen', to: context, type },
    ...options.map(
      ([key, value]): Step => ({ kind: 'fsconfig', on: context, key, ...(value !== undefined && { value }) }),
    ),
    { kind: 'fsconfigCreate', on: context },
    { kind: 'fsmount', to, from: context, attributes },
  ];
}

/** A file system in memory, bounded in bytes and in files (tmpfs(5)). */
export function tmpfs(
  to: Slot,
  { size, inodes, mode, attributes = plain }: { size: number; inodes: number; mode: number; attributes?: number },
): Step[] {
  return newFileSystem(to, 'tmpfs', attributes, [
    ['size', String(size)],
    ['nr_inodes', String(inodes)],
    ['mode', mode.toString(8)],
  ]);
}

export interface HostTree {
  /** Where on the host, or empty for `from` itself. */
  readonly path: string;
  readonly from?: Slot;
  readonly readOnly: boolean;
  readonly exec?: boolean;
  /** Shift the ids into the container's; `'optional'` where a file system that cannot is no obstacle. */
  readonly idmap: boolean | 'optional';
}

/** A detached copy of a host directory or file and what is mounted below it. Runs on the host's side. */
export function hostTree(to: Slot, { path, from, readOnly, exec = true, idmap }: HostTree): Step[] {
  return [
    { kind: 'openTree', to, from: from ?? null, path, recursive: true },
    {
      kind: 'mountSetattr',
      on: to,
      path: '',
      recursive: true,
      set: plain | (readOnly ? RDONLY : 0) | (exec ? 0 : NOEXEC),
      clear: 0,
      propagation: 0x40000,
      ...(idmap !== false && { idmap: 'userns' }),
      ...(idmap === 'optional' && { idmapOptional: true }),
    },
  ];
}

/** A device node of the host, verified to be that device. Runs on the host's side. */
export function deviceNode(to: Slot, path: string, node: NodeType): Step[] {
  return [{ kind: 'openTree', to, from: null, path, recursive: false, expect: node }];
}

/** Attach a mount at a path beneath a slot. */
export function attach(mount: Slot, under: Slot | null, path: string, directory = true): Step {
  return { kind: 'moveMount', mount, under, path, directory };
}

/**
 * An overlay over directories that are attached beneath the slot `stage`, which also holds the upper and work directories.
 * The layers are named by us and relative to the stage, so that no path of a user's is ever part of an option string.
 * `userxattr`, as the mount belongs to a user namespace: trusted attributes cannot be written there, and with it
 * redirects and metadata-only copies are off (overlayfs.rst, "User xattr").
 */
export function overlay(
  to: Slot,
  { stage, lower, upper, work }: { stage: Slot; lower: readonly string[]; upper: string; work: string },
): Step[] {
  return [
    { kind: 'fchdir', to: stage },
    ...newFileSystem(to, 'overlay', plain, [
      ['lowerdir', lower.join(':')],
      ['upperdir', upper],
      ['workdir', work],
      ['userxattr'],
    ]),
  ];
}
