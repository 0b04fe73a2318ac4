/**
 * The mounts a caller asks for. What only the kernel knows (does the source exist, does the target pass through a link)
 * is checked later, by `sources.ts` and by descriptor in the launcher; here is what the text alone decides.
 */

import { OptionError } from '../../errors.js';
import { parseSize } from '../../units.js';
import { isAtOrBelow, readContainerPath, readHostPath, readSubPath } from './paths.js';
import { copyObject, defineSchema, expectKeys, optionName, readBoolean, readChoice, readList } from './schema.js';
import { defaultInodes, readInodes, tmpfsSize } from './storage.js';

interface Placed {
  /** The option it came from, such as `mounts[0]`: the order here is not the caller's. */
  readonly option: string;
  /** Absolute, without `.`, `..` and empty components. */
  readonly target: string;
}

export interface BindSettings extends Placed {
  readonly type: 'bind';
  /** Absolute. */
  readonly source: string;
  readonly subPath?: string;
  readonly readOnly: boolean;
  readonly exec: boolean;
  /** `'optional'`, where nobody has asked: a read-only mount does without where the file system cannot. */
  readonly idmap: boolean | 'optional';
  readonly unsafeSource: boolean;
}

export interface TmpfsSettings extends Placed {
  readonly type: 'tmpfs';
  readonly size: number;
  readonly inodes: number;
  readonly mode: number;
  readonly exec: boolean;
}

export interface OverlaySettings extends Placed {
  readonly type: 'overlay';
  /** Absolute, topmost first. */
  readonly lower: readonly string[];
  readonly size: number;
  readonly inodes: number;
}

export type MountSettings = BindSettings | TmpfsSettings | OverlaySettings;

const mostMounts = 200;
/** OVL_MAX_STACK for one overlay; and of all overlays together. */
const mostLowers = 500;
/** What a plan has slots for. */
const mostDescriptors = 700;
const defaultSize = 64 * 2 ** 20;

const bindSchema = defineSchema(['type', 'source', 'target', 'subPath', 'readOnly', 'exec', 'idmap', 'unsafeSource']);
const tmpfsSchema = defineSchema(['type', 'target', 'size', 'inodes', 'mode', 'exec']);
const overlaySchema = defineSchema(['type', 'lower', 'target', 'size', 'inodes']);

export const noMounts: readonly MountSettings[] = Object.freeze([]);

/** The mounts in the order they are made: what is mounted below another comes after it. */
export function readMounts(value: unknown, option: string): readonly MountSettings[] {
  if (value === undefined) return noMounts;
  const list = readList(value, option, 'an array of mounts', mostMounts);
  const mounts = list.map((element, index) => Object.freeze(readMount(element, `${option}[${index}]`)));
  const taken = new Map<string, string>();
  for (const mount of mounts) {
    const other = taken.get(mount.target);
    if (other !== undefined) {
      throw new OptionError(`${mount.option}.target`, `a target other than that of ${other}`, mount.target);
    }
    taken.set(mount.target, mount.option);
  }
  checkDescriptors(mounts, value, option);
  // Stable, and a parent always has fewer components than what is below it.
  return Object.freeze(mounts.sort((a, b) => depth(a.target) - depth(b.target)));
}

/** Each mount, layer and directory on the way is a descriptor while the container is made, with a slot of its own. */
function checkDescriptors(mounts: readonly MountSettings[], value: unknown, option: string): void {
  const layers = mounts.reduce((sum, mount) => sum + (mount.type === 'overlay' ? mount.lower.length : 0), 0);
  if (layers > mostLowers) {
    throw new OptionError(option, `at most ${mostLowers} lower directories in all overlays together`, value);
  }
  if (mounts.reduce((sum, mount) => sum + descriptorsOf(mount), 0) > mostDescriptors) {
    const hint = 'a bind takes 1, or 3 with subPath, a tmpfs 2, an overlay 3 and 1 for each lower directory';
    throw new OptionError(option, `mounts that take at most ${mostDescriptors} descriptors`, value, { hint });
  }
}

function descriptorsOf(mount: MountSettings): number {
  if (mount.type === 'bind') return mount.subPath === undefined ? 1 : 3;
  return mount.type === 'tmpfs' ? 2 : 3 + mount.lower.length;
}

function readMount(value: unknown, option: string): MountSettings {
  const copied = copyObject(value, option);
  const type = readChoice(copied.type, optionName(option, 'type'), ['bind', 'tmpfs', 'overlay']);
  if (type === 'bind') {
    const fields = expectKeys(copied, option, bindSchema);
    const readOnly = readBoolean(fields.readOnly, `${option}.readOnly`, true);
    return {
      type,
      option,
      source: readHostPath(fields.source, `${option}.source`),
      target: readTarget(fields.target, `${option}.target`, type),
      ...(fields.subPath === undefined ? {} : { subPath: readSubPath(fields.subPath, `${option}.subPath`) }),
      readOnly,
      exec: readBoolean(fields.exec, `${option}.exec`, true),
      idmap: fields.idmap === undefined && readOnly ? 'optional' : readBoolean(fields.idmap, `${option}.idmap`, true),
      unsafeSource: readBoolean(fields.unsafeSource, `${option}.unsafeSource`, false),
    };
  }
  if (type === 'tmpfs') {
    const fields = expectKeys(copied, option, tmpfsSchema);
    return {
      type,
      option,
      target: readTarget(fields.target, `${option}.target`, type),
      ...readBounds(fields, option),
      mode: fields.mode === undefined ? 0o1777 : readMode(fields.mode, `${option}.mode`),
      exec: readBoolean(fields.exec, `${option}.exec`, true),
    };
  }
  const fields = expectKeys(copied, option, overlaySchema);
  return {
    type,
    option,
    lower: readLower(fields.lower, `${option}.lower`),
    target: readTarget(fields.target, `${option}.target`, type),
    ...readBounds(fields, option),
  };
}

function readTarget(value: unknown, option: string, type: MountSettings['type']): string {
  const target = readContainerPath(value, option);
  if (target === '/')
    throw new OptionError(option, "a path below '/'", value, { hint: 'image: { rootfs } sets the root' });
  // What lands there would hide or replace the masks and read-only mounts (CVE-2015-3631). /dev/shm holds nothing of ours.
  if (type === 'tmpfs' && target === '/dev/shm') return target;
  for (const kept of ['/proc', '/sys', '/dev']) {
    if (!isAtOrBelow(target, kept)) continue;
    const hint = kept === '/dev' ? 'a tmpfs may be mounted on /dev/shm' : undefined;
    throw new OptionError(option, 'a path not in /proc, /sys or /dev, which are part of the isolation', value, {
      hint,
    });
  }
  return target;
}

function readLower(value: unknown, option: string): readonly string[] {
  const list = readList(value, option, 'an array of directories of the host, topmost first', mostLowers);
  if (list.length === 0) throw new OptionError(option, 'at least one directory', value);
  const lower = list.map((element, index) => readHostPath(element, `${option}[${index}]`));
  for (const [index, path] of lower.entries()) {
    // The kernel answers ELOOP, without a word on which.
    if (lower.indexOf(path) !== index) throw new OptionError(`${option}[${index}]`, 'each directory once', path);
  }
  return Object.freeze(lower);
}

function readBounds(
  fields: { readonly size?: unknown; readonly inodes?: unknown },
  option: string,
): { readonly size: number; readonly inodes: number } {
  const size = fields.size === undefined ? defaultSize : parseSize(fields.size, `${option}.size`, tmpfsSize);
  const inodes = fields.inodes === undefined ? defaultInodes(size) : readInodes(fields.inodes, `${option}.inodes`);
  return { size, inodes };
}

function readMode(value: unknown, option: string): number {
  // The sticky bit is as far as it goes: set-id bits have no meaning on a nosuid mount.
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > 0o1777) {
    throw new OptionError(option, 'permissions as a number from 0 to 0o1777, such as 0o755', value);
  }
  return value;
}

function depth(path: string): number {
  return path.split('/').length;
}
