/** Files and directories that appear whole, under their name, or not at all. */

import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Writes beside the path, and takes the name over at the end; what was there before is replaced. */
export async function replaceFile(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const temporary = beside(path);
  const file = await open(temporary, 'wx', 0o644);
  try {
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** The same for a directory, whose name must not be taken by one that is not empty. */
export async function createDirectory(path: string, fill: (directory: string) => Promise<void>): Promise<void> {
  const temporary = beside(path);
  await mkdir(temporary);
  try {
    await fill(temporary);
    await syncDirectory(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Writes all of the content, however little the kernel takes at once. */
export async function writeAll(file: FileHandle, content: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const part of content) {
    for (let offset = 0; offset < part.length; ) {
      offset += (await file.write(part, offset, part.length - offset)).bytesWritten;
    }
  }
}

function beside(path: string): string {
  return join(dirname(path), `.${basename(path).slice(0, 200)}.${randomBytes(6).toString('hex')}`);
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
