/** passwd(5) and group(5) of a running container: someone else's files, which any program in it may have changed. */

import { TscontainError } from '../errors.js';
import type { ContainerFileSystem } from './fs.js';
import type { UserFiles } from './users.js';

/** Bytes of a user file that are read at most. */
const maxUserFile = 2 ** 20;

/**
 * Both of them; one that is not there has no entries. A link is followed as any program in the container would follow it.
 * @throws TscontainError `ERR_USER_FILE` for what is no regular file, or too large
 */
export async function readUserFiles(fs: ContainerFileSystem): Promise<UserFiles> {
  const [passwd, group] = await Promise.all([read(fs, '/etc/passwd'), read(fs, '/etc/group')]);
  return { passwd, group };
}

async function read(fs: ContainerFileSystem, path: string): Promise<string> {
  const refusal = (cause?: unknown) =>
    new TscontainError('ERR_USER_FILE', `${path} of the image is no regular file of at most 1 MiB`, {
      path,
      hint: 'give the user as numbers',
      cause,
    });
  try {
    const facts = await fs.stat(path);
    if (!facts.isFile() || facts.size > maxUserFile) throw refusal();
    return await fs.readFile(path, { encoding: 'utf8', maxBytes: maxUserFile });
  } catch (cause) {
    if (!(cause instanceof TscontainError)) throw cause;
    if (cause.errno === 'ENOENT') return '';
    if (cause.code === 'ERR_FILE_TOO_LARGE' || cause.errno === 'ELOOP') throw refusal(cause);
    throw cause;
  }
}
