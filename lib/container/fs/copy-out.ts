/**
 * A tree of the container, made again on the host. What the container made is not trusted: names are single components,
 * kept as the bytes they are, everything is made new and nothing is followed, and there is a bound on all of it together.
 */

import { type FileHandle, mkdir, open, symlink } from 'node:fs/promises';
import type { Descriptor } from '../../launcher/native.js';
import type { DirectoryEntry, FileStat } from './facts.js';
import { tooLarge } from './failure.js';
import { type FilePath, joinPath } from './paths.js';
import { readSome } from './transfer.js';

/** What a copy needs of the container. */
export interface CopySource {
  lstat(path: FilePath): Promise<FileStat>;
  readlink(path: FilePath): Promise<Buffer>;
  entries(path: FilePath): Promise<DirectoryEntry<Buffer>[]>;
  /** For reading; a link is not followed. */
  open(path: FilePath): Promise<Descriptor>;
}

const chunkSize = 256 * 1024;
const zeros = Buffer.alloc(chunkSize);

export class CopyOut {
  readonly #source: CopySource;
  readonly #maxBytes: number;
  #copied = 0;

  constructor(source: CopySource, maxBytes: number) {
    this.#source = source;
    this.#maxBytes = maxBytes;
  }

  async copy(path: FilePath, hostPath: Buffer): Promise<void> {
    const facts = await this.#source.lstat(path);
    if (facts.isSymbolicLink()) {
      await symlink(await this.#source.readlink(path), hostPath);
    } else if (facts.isDirectory()) {
      await mkdir(hostPath, { mode: facts.mode & 0o777 });
      for (const { name } of await this.#source.entries(path)) {
        await this.copy(joinPath(path, name), joinPath(hostPath, name));
      }
    } else if (facts.isFile()) {
      await this.#copyFile(path, hostPath, facts.mode & 0o777);
    }
  }

  async #copyFile(path: FilePath, hostPath: Buffer, mode: number): Promise<void> {
    const descriptor = await this.#source.open(path);
    try {
      const handle = await open(hostPath, 'wx', mode);
      try {
        await this.#copyContent(descriptor, path, handle);
      } finally {
        await handle.close();
      }
    } finally {
      descriptor.close();
    }
  }

  async #copyContent(descriptor: Descriptor, path: FilePath, handle: FileHandle): Promise<void> {
    const buffer = Buffer.allocUnsafe(chunkSize);
    let position = 0;
    let written = 0;
    for (;;) {
      const count = await readSome(descriptor, buffer, path);
      if (count === 0) break;
      this.#copied += count;
      if (this.#copied > this.#maxBytes) throw tooLarge('copying', path, this.#maxBytes, 'raise maxBytes');
      const chunk = buffer.subarray(0, count);
      // What is all zeros stays a hole: a sparse file must not take the host's disk.
      if (!chunk.equals(zeros.subarray(0, count))) {
        await writeAt(handle, chunk, position);
        written = position + count;
      }
      position += count;
    }
    if (written < position) await handle.truncate(position);
  }
}

async function writeAt(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let offset = 0; offset < bytes.length; ) {
    offset += (await handle.write(bytes, offset, bytes.length - offset, position + offset)).bytesWritten;
  }
}
