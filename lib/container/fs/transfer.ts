/** Bytes through the descriptor of a file in the container. Sizes are counted as they come: a file may grow meanwhile. */

import { read, write } from 'node:fs';
import { promisify } from 'node:util';
import type { Descriptor } from '../../launcher/native.js';
import { fileError, tooLarge } from './failure.js';
import type { FilePath } from './paths.js';

const largestChunk = 16 * 2 ** 20;

const readDescriptor = promisify(read);
const writeDescriptor = promisify(write);

/** Bytes from where the descriptor stands; 0 at the end. */
export async function readSome(descriptor: Descriptor, buffer: Buffer, path: FilePath): Promise<number> {
  try {
    return (await readDescriptor(descriptor.number, buffer, 0, buffer.length, null)).bytesRead;
  } catch (error) {
    throw fileError('read', path, (error as NodeJS.ErrnoException).code ?? 'EIO');
  }
}

/**
 * Everything that is left. `size` is what stat(2) says, which is 0 for files of the kernel, and for others only a guess.
 * @throws TscontainError (`ERR_FILE_TOO_LARGE`) where that is more than `maxBytes`
 */
export async function readAll(descriptor: Descriptor, path: FilePath, size: number, maxBytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (let total = 0; ; ) {
    const wanted = Math.min(Math.max(size + 1, 4096), largestChunk, maxBytes - total + 1);
    const buffer = Buffer.allocUnsafe(wanted);
    const count = await readSome(descriptor, buffer, path);
    if (count === 0) break;
    parts.push(buffer.subarray(0, count));
    total += count;
    // After one full chunk the size is believed too: no need to read 2 GiB of a file that is to be refused.
    if (count === wanted && Math.max(total, size) > maxBytes) {
      throw tooLarge('reading', path, maxBytes, 'raise maxBytes, or copyOut the file');
    }
  }
  return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts);
}

export async function writeAll(descriptor: Descriptor, bytes: Uint8Array, path: FilePath): Promise<void> {
  for (let offset = 0; offset < bytes.length; ) {
    try {
      const { bytesWritten } = await writeDescriptor(descriptor.number, bytes, offset, bytes.length - offset, null);
      offset += bytesWritten;
    } catch (error) {
      throw fileError('write', path, (error as NodeJS.ErrnoException).code ?? 'EIO');
    }
  }
}
