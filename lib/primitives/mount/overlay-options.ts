/** The options of an overlay, as they are given and as the kernel takes them. */

import { realpath, stat } from 'node:fs/promises';
import { defineSchema, readBoolean, readChoice, readList, readObject } from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import type { IdMaps } from '../id-map.js';
import { Mount } from './mount.js';
import {
  type MountIdMap,
  type MountOptions,
  type MountSettings,
  mountKeys,
  readAbsolutePath,
  readIdMap,
  readMountOptions,
  readUserNamespace,
} from './options.js';

/** Options of an {@link OverlayMount}. Paths are absolute, and may have any characters. */
export interface OverlayMountOptions extends MountOptions {
  /** Directories that are seen and never written to, the topmost first: paths, or mounts of this library. At most 500. */
  readonly lower: readonly (string | Mount)[];
  /** Where what is written goes: a directory on a file system that can hold it (not an overlay). Without it, read-only. */
  readonly upper?: string;
  /** An empty directory for the kernel, on the same mount as `upper` and not in it. With `upper`, and only with it. */
  readonly work?: string;
  /** Do not wait for the disk when it is synced or unmounted: after a crash `upper` cannot be used again. Default false. */
  readonly volatile?: boolean;
  /**
   * Keep the overlay's notes in `user.overlay.*` attributes instead of `trusted.overlay.*`, which only root of the host can
   * write. Default true in a user namespace, else false.
   */
  readonly userxattr?: boolean;
  /**
   * Whether a renamed directory of a lower layer is noted (`'on'`) or refused with EXDEV, which programs answer by copying
   * (`'off'`); whether such notes in layers are believed (`'on'`, `'off'`, `'follow'`) or not (`'nofollow'`). Default
   * `'nofollow'`, or `'on'` with `metacopy`: who can write to a layer could point a note anywhere in the layers below.
   */
  readonly redirectDir?: 'on' | 'off' | 'follow' | 'nofollow';
  /** Copy no content up when only owner, permissions or times change. Default false. */
  readonly metacopy?: boolean;
  /** Keep hard links of lower files linked when they are copied up; refuses layers in use by another overlay. Default false. {@link OverlayMount.changes} looks into every
   * directory then, since a file of several names is noted under one only. */
  readonly index?: boolean;
  /** Make inode numbers unique over all layers. Default: the kernel's, `'auto'` as a rule. */
  readonly xino?: 'on' | 'off' | 'auto';
  /**
   * Shift the ids of the lower layers (since Linux 5.19), as for {@link BindMount}. What is written to `upper` has the ids that
   * are seen. Needs root.
   */
  readonly idMap?: MountIdMap;
  /**
   * Mount it in a user namespace of its own, detached: what an ordinary user can do. The maps are the range that this user may
   * use, or are given. Default false as root, true for an ordinary user.
   */
  readonly userNamespace?: boolean | MountIdMap;
}

/** A layer on the way to the kernel. */
export type LowerLayer = { readonly path: string } | { readonly mount: Mount };

export interface OverlaySettings extends MountSettings {
  readonly lower: readonly LowerLayer[];
  readonly writable: { readonly upper: string; readonly work: string } | undefined;
  /** As the kernel names them. */
  readonly options: readonly (readonly [key: string, value?: string])[];
  /** The same for a view of layers alone, to which nothing is written. */
  readonly viewOptions: readonly (readonly [key: string, value?: string])[];
  /** Where the overlay notes things about the layers' files. */
  readonly prefix: 'trusted.overlay.' | 'user.overlay.';
  readonly index: boolean;
  readonly idMap: IdMaps | undefined;
  readonly own: { readonly ids: IdMaps | undefined } | undefined;
}

/** OVL_MAX_STACK. */
const mostLowers = 500;
/** Detached mounts travel as descriptors, of which a request carries eight, one of them for the id map. */
const mostDetached = 7;

const schema = defineSchema([
  ...mountKeys,
  'lower',
  'upper',
  'work',
  'volatile',
  'userxattr',
  'redirectDir',
  'metacopy',
  'index',
  'xino',
  'idMap',
  'userNamespace',
]);

/** What the options' text alone decides. */
export function readOverlayOptions(options: unknown): OverlaySettings {
  const fields = readObject(options, '', schema);
  const settings = readMountOptions(fields);
  const lower = readLower(fields.lower);
  const writable = readWritable(fields.upper, fields.work);
  const own = readUserNamespace(fields.userNamespace, settings.target);
  const userxattr = readBoolean(fields.userxattr, 'userxattr', own !== undefined);
  const metacopy = readBoolean(fields.metacopy, 'metacopy', false);
  const redirect =
    fields.redirectDir === undefined
      ? metacopy
        ? 'on'
        : 'nofollow'
      : readChoice(fields.redirectDir, 'redirectDir', ['on', 'off', 'follow', 'nofollow']);
  const volatile = readBoolean(fields.volatile, 'volatile', false);
  const index = readBoolean(fields.index, 'index', false);
  const idMap = readIdMap(fields.idMap, 'idMap');
  if (userxattr) refuseWithUserxattr(metacopy, redirect);
  if (metacopy && redirect !== 'on' && redirect !== 'follow') {
    const hint = 'copied metadata finds its content by a redirect';
    throw new OptionError('redirectDir', "'on' or 'follow' with metacopy", redirect, { hint });
  }
  if (!writable) {
    const asked = { volatile, index };
    for (const key of ['volatile', 'index'] as const) {
      if (asked[key]) throw new OptionError(key, 'false without an upper directory', true);
    }
    if (fields.readOnly === false) throw new OptionError('readOnly', 'true without an upper directory', false);
    if (redirect === 'on' && fields.redirectDir !== undefined)
      throw new OptionError('redirectDir', "'follow' or 'nofollow' without an upper directory", redirect);
  }
  if (idMap && own) throw new OptionError('idMap', 'none in a user namespace, which has its own map', fields.idMap);
  const common: (readonly [string, string?])[] = userxattr ? [['userxattr']] : [];
  const follows = redirect === 'nofollow' ? 'nofollow' : 'follow';
  return {
    ...settings,
    readOnly: settings.readOnly || !writable,
    lower,
    writable,
    options: [
      ...common,
      ['redirect_dir', writable ? redirect : follows],
      ['metacopy', metacopy ? 'on' : 'off'],
      ...(writable ? [['index', index ? 'on' : 'off'] as const] : []),
      ...(fields.xino === undefined ? [] : [['xino', readChoice(fields.xino, 'xino', ['on', 'off', 'auto'])] as const]),
      ...(volatile ? [['volatile'] as const] : []),
    ],
    viewOptions: [...common, ['redirect_dir', follows], ['metacopy', metacopy ? 'on' : 'off']],
    prefix: userxattr ? 'user.overlay.' : 'trusted.overlay.',
    index,
    idMap,
    own,
  };
}

/** overlayfs.rst, "User xattr": a redirect that anyone can write would lead around permissions. */
function refuseWithUserxattr(metacopy: boolean, redirect: string): void {
  const hint = 'with userxattr the kernel has neither redirects nor metadata-only copies';
  if (metacopy) throw new OptionError('metacopy', 'false with userxattr', true, { hint });
  if (redirect === 'on' || redirect === 'follow') {
    throw new OptionError('redirectDir', "'off' or 'nofollow' with userxattr", redirect, { hint });
  }
}

function readLower(value: unknown): readonly LowerLayer[] {
  const list = readList(value, 'lower', 'an array of directories, topmost first', mostLowers);
  if (list.length === 0) throw new OptionError('lower', 'at least one directory', value);
  const layers = list.map((element, index): LowerLayer => {
    const option = `lower[${index}]`;
    if (!(element instanceof Mount)) return { path: readAbsolutePath(element, option) };
    if (!element.isMounted) throw new OptionError(option, 'a mount that is mounted', element);
    return element.target === undefined ? { mount: element } : { path: element.target };
  });
  const detached = layers.filter((layer) => 'mount' in layer);
  if (new Set(detached.map(({ mount }) => mount)).size !== detached.length) {
    throw new OptionError('lower', 'each mount once', value);
  }
  if (detached.length > mostDetached) {
    throw new OptionError('lower', `at most ${mostDetached} detached mounts`, value, {
      hint: 'give the others a target',
    });
  }
  return layers;
}

function readWritable(upper: unknown, work: unknown): OverlaySettings['writable'] {
  if (upper === undefined && work === undefined) return undefined;
  if (work === undefined) throw new OptionError('work', 'a directory beside upper', work);
  return { upper: readAbsolutePath(upper, 'upper'), work: readAbsolutePath(work, 'work') };
}

/** The same settings with every path free of links. */
export async function resolveLayers(settings: OverlaySettings): Promise<OverlaySettings> {
  const { lower, writable } = settings;
  const resolved = await Promise.all(
    lower.map(async (layer, index) =>
      'path' in layer ? { path: await directory(layer.path, `lower[${index}]`) } : layer,
    ),
  );
  const upper = writable && (await directory(writable.upper, 'upper'));
  const work = writable && (await directory(writable.work, 'work'));
  const paths = resolved.flatMap((layer, index) => ('path' in layer ? [[`lower[${index}]`, layer.path] as const] : []));
  refuseTwice(paths);
  if (upper === undefined || work === undefined) return { ...settings, lower: resolved };
  // The kernel answers ELOOP or EINVAL, without a word on which.
  refuseWithin('work', work, 'upper', upper);
  for (const [option, path] of paths) {
    refuseWithin('upper', upper, option, path);
    refuseWithin('work', work, option, path);
  }
  return { ...settings, lower: resolved, writable: { upper, work } };
}

function refuseTwice(paths: readonly (readonly [option: string, path: string])[]): void {
  const seen = new Map<string, string>();
  for (const [option, path] of paths) {
    const other = seen.get(path);
    if (other !== undefined) throw new OptionError(option, `a directory other than that of ${other}`, path, { path });
    seen.set(path, option);
  }
}

/** Neither may be the other, or lie in it. */
function refuseWithin(option: string, path: string, other: string, otherPath: string): void {
  const inside = (below: string, above: string) =>
    below === above || below.startsWith(above === '/' ? '/' : `${above}/`);
  if (inside(path, otherPath) || inside(otherPath, path)) {
    throw new OptionError(option, `a directory that does not overlap with ${other} (${otherPath})`, path, { path });
  }
}

async function directory(path: string, option: string): Promise<string> {
  const unreachable = (cause: unknown): never => {
    const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
    throw new OptionError(option, `a directory that can be reached (${errno})`, path, {
      syscall: 'stat',
      errno,
      path,
      hint: errno === 'ENOENT' ? 'it does not exist; make it first' : undefined,
      cause,
    });
  };
  const real = await realpath(path).catch(unreachable);
  const facts = await stat(real).catch(unreachable);
  if (!facts.isDirectory()) throw new OptionError(option, 'a directory', path, { path });
  return real;
}
