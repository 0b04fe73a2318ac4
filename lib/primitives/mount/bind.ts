/** A directory or file shown at a second place, by itself. */

import { stat } from 'node:fs/promises';
import { defineSchema, readBoolean, readObject } from '../../container/settings/schema.js';
import { OptionError, TscontainError, UnsupportedError } from '../../errors.js';
import { attachOrClose } from './attach.js';
import { explained, type MadeMount, Mount } from './mount.js';
import {
  type MountIdMap,
  type MountOptions,
  mountKeys,
  readAbsolutePath,
  readIdMap,
  readMountOptions,
} from './options.js';
import { Place, userNamespace } from './place.js';
import { hostTree } from './steps.js';

/** Options of a {@link BindMount}. */
export interface BindMountOptions extends MountOptions {
  /** The directory or file, an absolute path. Links in it are followed. */
  readonly source: string;
  /** Also what is mounted below the source; read-only and the other attributes hold for all of it. Default true. */
  readonly recursive?: boolean;
  /**
   * Shift ids: what `inside` owns in the file system is seen to be `outside`'s through the mount, and the other way when
   * something is made (mount_setattr(2), "ID-mapped mounts"; since Linux 5.12, on file systems that can). Needs root.
   */
  readonly idMap?: MountIdMap;
}

const schema = defineSchema([...mountKeys, 'source', 'recursive', 'idMap']);

/**
 * A directory or file shown at a second place, with attributes of its own: read-only to the bottom, without set-user-ID
 * programs and devices, with shifted ids. Mounts made later below the source do not show in it.
 *
 * @example
 * ```ts
 * await using view = await BindMount.create({ source: '/srv/data', target: '/mnt/view', readOnly: true });
 * ```
 *
 * @see https://man7.org/linux/man-pages/man2/open_tree.2.html
 */
export class BindMount extends Mount {
  /** What is shown. */
  readonly source: string;

  private constructor(made: MadeMount, source: string) {
    super(made);
    this.source = source;
  }

  /**
   * @throws OptionError for what the options cannot be, UnsupportedError where the file system cannot shift ids,
   *   PermissionError where this process may not mount
   */
  static async create(options: BindMountOptions): Promise<BindMount> {
    const fields = readObject(options, '', schema);
    const settings = readMountOptions(fields);
    const source = readAbsolutePath(fields.source, 'source');
    const recursive = readBoolean(fields.recursive, 'recursive', true);
    const idMap = readIdMap(fields.idMap, 'idMap');
    await stat(source).catch((cause: unknown) => {
      const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
      throw new OptionError('source', `a path that can be reached (${errno})`, source, { errno, path: source, cause });
    });
    const shift = idMap && (await userNamespace(idMap));
    try {
      const { attributes, readOnly } = settings;
      const tree = { path: source, readOnly, recursive, attributes, idmap: shift !== undefined, userns: '0' };
      const make = async () => {
        await using agent = await Place.here.start();
        const descriptors = shift ? [shift] : [];
        return await agent
          .run(hostTree('mount made', tree), { descriptors, take: ['mount made'], doing: `binding ${source}` })
          .catch((error: unknown) => {
            throw shiftRefused(error, source) ?? explained(error);
          });
      };
      return new BindMount(await attachOrClose(Place.here, settings, make, recursive), source);
    } finally {
      shift?.close();
    }
  }
}

/** A file system that cannot shift ids; undefined for any other error. */
export function shiftRefused(error: unknown, path: string): UnsupportedError | undefined {
  if (!(error instanceof TscontainError && error.step?.kind === 'mountSetattr' && error.errno === 'EINVAL'))
    return undefined;
  return new UnsupportedError(`the file system of ${path} cannot shift ids, or they are shifted already`, {
    syscall: 'mount_setattr',
    errno: error.errno,
    path,
    hint: 'ext4, xfs, btrfs, and since Linux 6.3 tmpfs, can; what is mounted below it must as well, or recursive: false',
    cause: error,
  });
}
