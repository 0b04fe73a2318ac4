/** A file system in memory, by itself. */

import { defineSchema, readInteger, readObject } from '../../container/settings/schema.js';
import { defaultInodes, readInodes, tmpfsSize } from '../../container/settings/storage.js';
import { mountAttribute } from '../../plan/step.js';
import { parseSize, type Size } from '../../units.js';
import { attachOrClose } from './attach.js';
import { explained, type MadeMount, Mount } from './mount.js';
import {
  type MountIdMap,
  type MountOptions,
  mountKeys,
  readId,
  readMountOptions,
  readUserNamespace,
} from './options.js';
import { Place } from './place.js';
import { tmpfs } from './steps.js';

/** Options of a {@link TmpfsMount}. */
export interface TmpfsMountOptions extends MountOptions {
  /** Most bytes of its files. Default 64 MiB. */
  readonly size?: Size;
  /** Most files, directories and links. Default one for each 4 KiB of `size`, at least 1024, at most 1,048,576. */
  readonly inodes?: number;
  /** Permissions of its root. Default `0o1777`. */
  readonly mode?: number;
  /** Owner of its root. Default the user that this process is. */
  readonly uid?: number;
  readonly gid?: number;
  /** Mount it in a user namespace of its own, detached. Default false as root, true for an ordinary user. */
  readonly userNamespace?: boolean | MountIdMap;
}

const defaultSize = 64 * 2 ** 20;
const schema = defineSchema([...mountKeys, 'size', 'inodes', 'mode', 'uid', 'gid', 'userNamespace']);

/**
 * A file system in memory, bounded in bytes and in files. What is in it is gone when it is unmounted.
 *
 * @example
 * ```ts
 * await using scratch = await TmpfsMount.create({ size: '16MiB', target: '/mnt/scratch' });
 * ```
 *
 * @see https://man7.org/linux/man-pages/man5/tmpfs.5.html
 */
export class TmpfsMount extends Mount {
  private constructor(made: MadeMount) {
    super(made);
  }

  /** @throws OptionError for what the options cannot be, PermissionError where this process may not mount */
  static async create(options: TmpfsMountOptions = {}): Promise<TmpfsMount> {
    const fields = readObject(options, '', schema);
    const settings = readMountOptions(fields);
    const size = fields.size === undefined ? defaultSize : parseSize(fields.size, 'size', tmpfsSize);
    const inodes = fields.inodes === undefined ? defaultInodes(size) : readInodes(fields.inodes, 'inodes');
    const mode = fields.mode === undefined ? 0o1777 : readInteger(fields.mode, 'mode', 0, 0o1777);
    const [uid, gid] = [readId(fields.uid, 'uid'), readId(fields.gid, 'gid')];
    const own = readUserNamespace(fields.userNamespace, settings.target);
    const attributes = settings.attributes | (settings.readOnly ? mountAttribute.RDONLY : 0);
    const owner = { ...(uid !== undefined && { uid }), ...(gid !== undefined && { gid }) };
    const place = own ? await Place.make(own.ids) : Place.here;
    const steps = tmpfs('mount made', { size, inodes, mode, ...owner, attributes });
    return new TmpfsMount(
      await attachOrClose(place, settings, async () => {
        await using agent = await place.start();
        return await agent.run(steps, { take: ['mount made'], doing: 'making a tmpfs' }).catch((error: unknown) => {
          throw explained(error);
        });
      }),
    );
  }
}
