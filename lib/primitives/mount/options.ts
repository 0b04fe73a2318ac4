/** What the options of mounts have in common, and how they are read: copied once, strict, every error names the option. */

import {
  defineSchema,
  optionName,
  readBoolean,
  readInteger,
  readObject,
  readText,
} from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import { isRoot } from '../../host/configuration.js';
import { mountAttribute } from '../../plan/step.js';
import { IdMap, type IdMaps, type IdRange } from '../id-map.js';

/** Maps of users and groups: one for each, or the same for both. */
export type MountIdMap = IdMap | Iterable<IdRange> | { readonly uid: IdMap; readonly gid: IdMap };

/** Options of every kind of mount. */
export interface MountOptions {
  /**
   * Where to attach it: an absolute path that exists. Without one the mount is detached: reached through its descriptor only,
   * and gone with it.
   */
  readonly target?: string;
  /** Default false. */
  readonly readOnly?: boolean;
  /** Whether programs in it may be executed. Default true. */
  readonly exec?: boolean;
  /** Let set-user-ID and set-group-ID bits, and capabilities of files, mean something. Default false. */
  readonly unsafeSetuid?: boolean;
  /** Let device nodes in it be opened. Default false. */
  readonly unsafeDevices?: boolean;
}

/** Longest path that the kernel takes, without the NUL byte. */
const longestPath = 4095;
/** (uid_t) -1 is no id. */
const largestId = 2 ** 32 - 2;

export const mountKeys = ['target', 'readOnly', 'exec', 'unsafeSetuid', 'unsafeDevices'] as const;

export interface MountSettings {
  readonly target: string | undefined;
  readonly readOnly: boolean;
  /** For mount_setattr(2), without the one for read-only. */
  readonly attributes: number;
}

type MountFields = { readonly [Key in (typeof mountKeys)[number]]?: unknown };

/** The options that all mounts have. */
export function readMountOptions(fields: MountFields): MountSettings {
  const { NOSUID, NODEV, NOEXEC } = mountAttribute;
  return {
    target: fields.target === undefined ? undefined : readAbsolutePath(fields.target, 'target'),
    readOnly: readBoolean(fields.readOnly, 'readOnly', false),
    attributes:
      (readBoolean(fields.unsafeSetuid, 'unsafeSetuid', false) ? 0 : NOSUID) |
      (readBoolean(fields.unsafeDevices, 'unsafeDevices', false) ? 0 : NODEV) |
      (readBoolean(fields.exec, 'exec', true) ? 0 : NOEXEC),
  };
}

/**
 * A path of the host. Relative ones are refused: a mount outlives a change of the working directory, and is unmounted by the
 * path that it was mounted at.
 */
export function readAbsolutePath(value: unknown, option: string): string {
  const text = readText(value, option, 'an absolute path');
  if (!text.startsWith('/')) throw new OptionError(option, 'an absolute path', value, { hint: 'see path.resolve()' });
  if (Buffer.byteLength(text) > longestPath) {
    throw new OptionError(option, `a path of at most ${longestPath} bytes`, value);
  }
  return text;
}

export function readId(value: unknown, option: string): number | undefined {
  return value === undefined ? undefined : readInteger(value, option, 0, largestId);
}

const idMapSchema = defineSchema(['uid', 'gid']);

export function readIdMap(value: unknown, option: string): IdMaps | undefined {
  if (value === undefined) return undefined;
  const isList = typeof value === 'object' && value !== null && Symbol.iterator in value;
  if (isList) {
    const map = IdMap.from(value as Iterable<IdRange>, option);
    return { uid: map, gid: map };
  }
  const fields = readObject(value, option, idMapSchema);
  const read = (key: 'uid' | 'gid') => IdMap.from(fields[key] as Iterable<IdRange>, optionName(option, key));
  return { uid: read('uid'), gid: read('gid') };
}

/** Whether to mount in a user namespace of its own, and its maps where they are given. */
export function readUserNamespace(
  value: unknown,
  target: string | undefined,
): { readonly ids: IdMaps | undefined } | undefined {
  const wanted = value ?? !isRoot();
  if (wanted === false) return undefined;
  if (target !== undefined) {
    const hint = isRoot()
      ? 'leave userNamespace out'
      : 'an ordinary user can only mount in a user namespace, where no one else sees it: leave target out';
    throw new OptionError('target', 'none for a mount in a user namespace of its own', target, { hint });
  }
  return { ids: wanted === true ? undefined : readIdMap(wanted, 'userNamespace') };
}
