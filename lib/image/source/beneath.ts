/**
 * Files of a directory that others have filled: an OCI layout, an archive that was unpacked. Only regular files that lie in
 * it are read, whatever its links say. What they hold is believed for its digest, never for its name.
 */

import { constants } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { ImageError } from '../../errors.js';

const component = /^(?!\.\.?$)[\w.:+-]{1,255}$/;

/** @throws ImageError `code` for a name that leads out of the directory, or to what is no regular file */
export async function openBeneath(
  directory: string,
  name: string,
  code: 'ERR_MANIFEST' | 'ERR_NOT_FOUND' = 'ERR_NOT_FOUND',
): Promise<FileHandle> {
  const path = join(directory, name);
  if (!name.split('/').every((part) => component.test(part)) || name.length > 1024) {
    throw new ImageError('ERR_MANIFEST', `${directory}: '${name.slice(0, 100)}' is no name of a file in an image`);
  }
  const root = await realpath(directory);
  const real = await realpath(path).catch((cause) => {
    throw new ImageError(code, `${directory} has no ${name}`, { path, cause, errno: cause.code });
  });
  if (!real.startsWith(root === sep ? sep : `${root}${sep}`)) {
    throw new ImageError('ERR_MANIFEST', `${path} leads out of its directory`, { path });
  }
  // The link was followed above, once; a FIFO opens without waiting for a writer and is refused.
  const file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) throw new ImageError('ERR_MANIFEST', `${path} is no regular file`, { path });
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** All of a small file. @throws ImageError `ERR_MANIFEST` for a larger one */
export async function readBeneath(directory: string, name: string, limit: number): Promise<Buffer> {
  const file = await openBeneath(directory, name);
  try {
    return await readLimited(file, limit, join(directory, name));
  } finally {
    await file.close();
  }
}

/** Reads to the end, and one byte more than the limit at the most, whatever the size was said to be. */
export async function readLimited(file: FileHandle, limit: number, what: string): Promise<Buffer> {
  const { size } = await file.stat();
  if (size > limit) throw new ImageError('ERR_MANIFEST', `${what} has ${size} bytes, and at most ${limit} are allowed`);
  const buffer = Buffer.alloc(size);
  let filled = 0;
  while (filled < size) {
    const { bytesRead } = await file.read(buffer, filled, size - filled, filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}
