/**
 * File systems and mounts as steps: tmpfs, the kernel's own file systems, copies of host mounts (bind mounts), overlays.
 * All of them are made detached, get their final attributes, and are attached last (mount_setattr(2), fsopen(2)).
 * Containers and the classes of this directory are made of the same steps.
 */

import { mountAttribute, type NodeType, openFlag, propagationPrivate, type Slot, type Step } from '../../plan/step.js';

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

/** What a file system in memory is told. */
export interface TmpfsSteps {
  readonly size: number;
  readonly inodes: number;
  readonly mode: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly attributes?: number;
}

/** A file system in memory, bounded in bytes and in files (tmpfs(5)). */
export function tmpfs(to: Slot, { size, inodes, mode, uid, gid, attributes = plain }: TmpfsSteps): Step[] {
  return newFileSystem(to, 'tmpfs', attributes, [
    ['size', String(size)],
    ['nr_inodes', String(inodes)],
    ['mode', mode.toString(8)],
    ...(uid === undefined ? [] : [['uid', String(uid)] as const]),
    ...(gid === undefined ? [] : [['gid', String(gid)] as const]),
  ]);
}

export interface HostTree {
  /** Where on the host, or empty for `from` itself. */
  readonly path: string;
  readonly from?: Slot;
  readonly readOnly: boolean;
  readonly exec?: boolean;
  /** What is mounted below it as well, and the attributes for all of it. Default true. */
  readonly recursive?: boolean;
  /** Attributes besides; default {@link plain}. */
  readonly attributes?: number;
  /** Shift the ids by the map of a user namespace; `'optional'` where a file system that cannot is no obstacle. */
  readonly idmap: boolean | 'optional';
  /** The user namespace; by default the container's. */
  readonly userns?: Slot;
}

/** A detached copy of a host directory or file and what is mounted below it. Runs on the host's side. */
export function hostTree(to: Slot, tree: HostTree): Step[] {
  const { path, from, readOnly, exec = true, recursive = true, attributes = plain, idmap, userns = 'userns' } = tree;
  return [
    { kind: 'openTree', to, from: from ?? null, path, recursive },
    {
      kind: 'mountSetattr',
      on: to,
      path: '',
      recursive,
      set: attributes | (readOnly ? RDONLY : 0) | (exec ? 0 : NOEXEC),
      clear: 0,
      propagation: propagationPrivate,
      ...(idmap !== false && { idmap: userns }),
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

/** A directory that an overlay is made of: a name relative to the current directory, or a descriptor. */
export type Layer = { readonly path: string } | { readonly slot: Slot };

/**
 * How layers that are descriptors reach the kernel: as such (since Linux 6.13), one by one as short paths (6.7), or all of
 * them in one string of digits, relative to the directory of the process's descriptors (any).
 */
export type LayerPassing = 'descriptor' | 'append' | 'joined';

export interface OverlaySteps {
  /** Topmost first. */
  readonly lower: readonly Layer[];
  readonly upper?: Layer;
  readonly work?: Layer;
  /** Options besides the layers, as the kernel names them. */
  readonly options: readonly (readonly [key: string, value?: string])[];
  readonly attributes?: number;
  readonly passing?: LayerPassing;
}

/** What fsconfig(2) takes as a string, without the NUL byte. */
const longestValue = 255;

/**
 * An overlay. Paths of a user's are never part of an option string: layers are descriptors, or have names that we chose and
 * are relative to where the last `fchdir` went.
 */
export function overlay(to: Slot, { lower, upper, work, options, attributes = plain, passing }: OverlaySteps): Step[] {
  const context = `${to} context`;
  const on = passing ?? 'descriptor';
  const layers = [...lower, ...(upper ? [upper] : []), ...(work ? [work] : [])];
  const digits = on === 'joined' && layers.some((layer) => 'slot' in layer);
  return [
    ...(digits ? toDescriptors : []),
    { kind: 'fsopen', to: context, type: 'overlay' },
    ...lowerLayers(context, lower, on),
    ...(upper ? [layer(context, 'upperdir', upper, on)] : []),
    ...(work ? [layer(context, 'workdir', work, on)] : []),
    ...options.map(
      ([key, value]): Step => ({ kind: 'fsconfig', on: context, key, ...(value !== undefined && { value }) }),
    ),
    { kind: 'fsconfigCreate', on: context },
    { kind: 'fsmount', to, from: context, attributes },
  ];
}

function lowerLayers(on: Slot, lower: readonly Layer[], passing: LayerPassing): Step[] {
  const names = lower.flatMap((layer) => ('path' in layer ? [layer.path] : []));
  const joined = names.join(':');
  if (names.length === lower.length && joined.length <= longestValue) {
    return [{ kind: 'fsconfig', on, key: 'lowerdir', value: joined }];
  }
  const slots = lower.flatMap((layer) => ('slot' in layer ? [layer.slot] : []));
  if (passing === 'joined' && slots.length === lower.length) {
    return [{ kind: 'fsconfigLayers', on, key: 'lowerdir', prefix: '', layers: slots }];
  }
  return lower.map((one) => layer(on, 'lowerdir+', one, passing));
}

function layer(on: Slot, key: string, layer: Layer, passing: LayerPassing): Step {
  if ('path' in layer) return { kind: 'fsconfig', on, key, value: layer.path };
  if (passing === 'descriptor') return { kind: 'fsconfig', on, key, file: layer.slot };
  const prefix = passing === 'joined' ? '' : '/proc/self/fd/';
  return { kind: 'fsconfigLayers', on, key, prefix, layers: [layer.slot] };
}

const toDescriptors: readonly Step[] = [
  { kind: 'open', to: 'descriptors', from: null, path: '/proc/self/fd', flags: openFlag.PATH, resolve: 0 },
  { kind: 'fchdir', to: 'descriptors' },
];
