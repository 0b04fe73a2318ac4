/**
 * Files of a running container, in the shape of node:fs/promises. Every path is resolved by init, inside the container's
 * own mount namespace and below its root; no host path is ever formed (security M1, N1). Done as the container's root, like
 * `docker cp`. Only regular files are read and written: a pipe or a device in their place is refused, not waited for.
 */

import { constants, read, write } from 'node:fs';
import { lstat, mkdir, open, readdir, readlink, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errnoName, OptionError, TscontainError } from '../errors.js';
import type { FileReply } from '../launcher/init.js';
import type { Descriptor } from '../launcher/native.js';
import { fileOperation } from '../launcher/protocol.js';

/** Facts about a file (inode(7)). Sizes in bytes, times in milliseconds, ids as the container sees them. */
export interface FileStat {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeMs: number;
  readonly ino: number;
  readonly nlink: number;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

/** An entry of a directory. */
export interface DirectoryEntry {
  readonly name: string;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

/** Sends one file operation to init. */
export type FileTransport = (
  ints: readonly number[],
  paths: readonly (string | Uint8Array)[],
  listener: (reply: FileReply | undefined) => void,
) => void;

const S_IFMT = 0o170000;
const type = { DIRECTORY: 0o040000, FILE: 0o100000, LINK: 0o120000 } as const;
const entryType = { DIRECTORY: 4, FILE: 8, LINK: 10 } as const;
const chunkSize = 256 * 1024;
const longestPath = 4095;

const readDescriptor = promisify(read);
const writeDescriptor = promisify(write);

export class ContainerFileSystem {
  readonly #send: FileTransport;

  constructor(send: FileTransport) {
    this.#send = send;
  }

  /** The whole content of a file: a Buffer, or text with an encoding. */
  readFile(path: string, encoding: BufferEncoding): Promise<string>;
  readFile(path: string, encoding?: undefined): Promise<Buffer>;
  async readFile(path: string, encoding?: BufferEncoding): Promise<string | Buffer> {
    const { descriptor, values } = await this.#open(path, constants.O_RDONLY, 0);
    try {
      const content = await readAll(descriptor, values[0] ?? 0);
      return encoding ? content.toString(encoding) : content;
    } finally {
      descriptor.close();
    }
  }

  /** Write a file, made with `mode` (default 0644) if it is not there; `flag` `'w'` replaces, `'a'` appends, `'wx'` refuses an existing one. */
  async writeFile(
    path: string,
    data: string | Uint8Array | AsyncIterable<string | Uint8Array>,
    { mode = 0o644, flag = 'w' }: { mode?: number; flag?: 'w' | 'a' | 'wx' } = {},
  ): Promise<void> {
    const { O_WRONLY, O_CREAT, O_TRUNC, O_APPEND, O_EXCL } = constants;
    const flags = { w: O_TRUNC, a: O_APPEND, wx: O_EXCL }[flag];
    if (flags === undefined) throw new OptionError('flag', "'w', 'a' or 'wx'", flag);
    const { descriptor } = await this.#open(path, O_WRONLY | O_CREAT | flags, mode);
    try {
      const parts = typeof data === 'string' || data instanceof Uint8Array ? [data] : data;
      for await (const part of parts) {
        await writeAll(descriptor, typeof part === 'string' ? Buffer.from(part) : part, path);
      }
    } finally {
      descriptor.close();
    }
  }

  /** Make a directory; with `recursive`, its parents too, and one that exists is no error. */
  async mkdir(
    path: string,
    { recursive = false, mode = 0o755 }: { recursive?: boolean; mode?: number } = {},
  ): Promise<void> {
    await this.#request('mkdir', path, fileOperation.MKDIR, [mode, recursive ? 1 : 0]);
  }

  /** The names in a directory, or entries with `withFileTypes`. */
  readdir(path: string, options?: { withFileTypes?: false }): Promise<string[]>;
  readdir(path: string, options: { withFileTypes: true }): Promise<DirectoryEntry[]>;
  async readdir(path: string, { withFileTypes = false } = {}): Promise<string[] | DirectoryEntry[]> {
    const entries: DirectoryEntry[] = [];
    await this.#request('readdir', path, fileOperation.READDIR, [], '', (reply) => {
      if (reply.data) entries.push(...parseEntries(reply.data));
    });
    return withFileTypes ? entries : entries.map((entry) => entry.name);
  }

  /** Facts about a file, links followed (below the container's root). */
  async stat(path: string): Promise<FileStat> {
    return toStat((await this.#request('stat', path, fileOperation.STAT, [1])).values);
  }

  /** Facts about a file or about a link itself. */
  async lstat(path: string): Promise<FileStat> {
    return toStat((await this.#request('lstat', path, fileOperation.STAT, [0])).values);
  }

  /** Remove a file or link; with `recursive`, a directory and all in it; with `force`, one that is not there is no error. */
  async rm(
    path: string,
    { recursive = false, force = false }: { recursive?: boolean; force?: boolean } = {},
  ): Promise<void> {
    try {
      await this.#request('rm', path, fileOperation.REMOVE, [recursive ? 1 : 0]);
    } catch (error) {
      if (!(force && error instanceof TscontainError && error.errno === 'ENOENT')) throw error;
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#request('rename', from, fileOperation.RENAME, [], checkPath(to));
  }

  async symlink(target: string, path: string): Promise<void> {
    await this.#request('symlink', path, fileOperation.SYMLINK, [], target);
  }

  async readlink(path: string): Promise<string> {
    return (await this.#request('readlink', path, fileOperation.READLINK, [])).data?.toString() ?? '';
  }

  async chmod(path: string, mode: number): Promise<void> {
    await this.#request('chmod', path, fileOperation.CHMOD, [mode]);
  }

  /** Give a file to ids of the container. */
  async chown(path: string, uid: number, gid: number): Promise<void> {
    await this.#request('chown', path, fileOperation.CHOWN, [uid, gid]);
  }

  /** Copy a file, link or directory of the host into the container, to exactly `path`. Links are copied as links. */
  copyIn(hostPath: string, path: string): Promise<void> {
    return translated('copyIn', hostPath, this.#copyIn(hostPath, path));
  }

  async #copyIn(hostPath: string, path: string): Promise<void> {
    const facts = await lstat(hostPath);
    if (facts.isSymbolicLink()) {
      await this.symlink(await readlink(hostPath), path);
    } else if (facts.isDirectory()) {
      await this.mkdir(path, { recursive: true, mode: facts.mode & 0o777 });
      for (const name of await readdir(hostPath)) await this.#copyIn(join(hostPath, name), join(path, name));
    } else if (facts.isFile()) {
      const handle = await open(hostPath, constants.O_RDONLY | constants.O_NOFOLLOW);
      try {
        await this.writeFile(path, handle.createReadStream({ autoClose: false }), { mode: facts.mode & 0o777 });
      } finally {
        await handle.close();
      }
    } else {
      throw new TscontainError('ERR_FILE_TYPE', `${hostPath} is no file, directory or link, and cannot be copied`, {
        path: hostPath,
      });
    }
  }

  /**
   * Copy a file or directory of the container to a host path that does not exist yet. What the container made is not
   * trusted: names are single components, everything is made new and nothing is followed; other kinds of files are left out.
   */
  copyOut(path: string, hostPath: string): Promise<void> {
    return translated('copyOut', hostPath, this.#copyOut(path, hostPath));
  }

  async #copyOut(path: string, hostPath: string): Promise<void> {
    const facts = await this.lstat(path);
    if (facts.isSymbolicLink()) {
      await symlink(await this.readlink(path), hostPath);
    } else if (facts.isDirectory()) {
      await mkdir(hostPath, { mode: facts.mode & 0o777 });
      for (const { name } of await this.readdir(path, { withFileTypes: true })) {
        await this.#copyOut(join(path, name), join(hostPath, name));
      }
    } else if (facts.isFile()) {
      await this.#copyFileOut(path, hostPath, facts.mode & 0o777);
    }
  }

  async #copyFileOut(path: string, hostPath: string, mode: number): Promise<void> {
    const { descriptor } = await this.#open(path, constants.O_RDONLY | constants.O_NOFOLLOW, 0);
    try {
      const handle = await open(hostPath, 'wx', mode);
      try {
        const buffer = Buffer.allocUnsafe(chunkSize);
        for (;;) {
          const { bytesRead } = await readDescriptor(descriptor.number, buffer, 0, buffer.length, null);
          if (bytesRead === 0) return;
          await handle.write(buffer, 0, bytesRead);
        }
      } finally {
        await handle.close();
      }
    } finally {
      descriptor.close();
    }
  }

  async #open(
    path: string,
    flags: number,
    mode: number,
  ): Promise<{ descriptor: Descriptor; values: readonly number[] }> {
    const reply = await this.#request('open', path, fileOperation.OPEN, [flags, mode]);
    if (!reply.descriptor) throw fileError('open', path, 'EPROTO');
    return { descriptor: reply.descriptor, values: reply.values };
  }

  #request(
    call: string,
    path: string,
    operation: number,
    [a = 0, b = 0]: readonly number[],
    second = '',
    onPart: (reply: FileReply) => void = () => {},
  ): Promise<FileReply> {
    return new Promise((resolve, reject) => {
      this.#send([operation, a, b, 0], [checkPath(path), second], (reply) => {
        if (!reply) reject(fileError(call, path, 'EPIPE', 'the container has ended'));
        else if (reply.errno !== 0) reject(fileError(call, path, errnoName(reply.errno)));
        else if (reply.more) onPart(reply);
        else resolve(reply);
      });
    });
  }
}

/** @throws OptionError for what cannot be a path in the container */
function checkPath(path: string): string {
  const good = typeof path === 'string' && path.startsWith('/') && !path.includes('\0');
  if (!good || Buffer.byteLength(path) > longestPath)
    throw new OptionError('path', 'an absolute path in the container', path);
  return path;
}

function fileError(call: string, path: string, errno: string, hint?: string): TscontainError {
  const reasons: Record<string, string> = {
    EINVAL: 'only regular files and directories can be used this way',
    ENOSPC: "the container's storage is full: raise storage.size",
    EROFS: 'that part of the container is read-only',
  };
  return new TscontainError('ERR_FILE', `${call} ${path} in the container: ${errno}`, {
    syscall: call,
    errno,
    path,
    hint: hint ?? reasons[errno],
  });
}

/** What the host's side of a copy answers, in the library's own family of errors. */
async function translated(call: string, hostPath: string, copying: Promise<void>): Promise<void> {
  try {
    await copying;
  } catch (cause) {
    if (cause instanceof TscontainError) throw cause;
    const { code, syscall, path = hostPath } = cause as NodeJS.ErrnoException;
    throw new TscontainError(
      'ERR_FILE',
      `${call}: ${syscall ?? 'using'} ${path} on the host gave ${code ?? 'an error'}`,
      {
        syscall,
        errno: code,
        path,
        hint: code === 'EEXIST' ? 'copyOut makes everything new: give a path that does not exist' : undefined,
        cause,
      },
    );
  }
}

async function readAll(descriptor: Descriptor, size: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (;;) {
    const buffer = Buffer.allocUnsafe(Math.min(Math.max(size + 1, 4096), 16 * 2 ** 20));
    const { bytesRead } = await readDescriptor(descriptor.number, buffer, 0, buffer.length, null);
    if (bytesRead === 0) break;
    parts.push(buffer.subarray(0, bytesRead));
  }
  return parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts);
}

async function writeAll(descriptor: Descriptor, bytes: Uint8Array, path: string): Promise<void> {
  for (let offset = 0; offset < bytes.length; ) {
    try {
      const { bytesWritten } = await writeDescriptor(descriptor.number, bytes, offset, bytes.length - offset, null);
      offset += bytesWritten;
    } catch (error) {
      throw fileError('write', path, (error as NodeJS.ErrnoException).code ?? 'EIO');
    }
  }
}

/** The records of getdents64(2). Names come from the container: anything that is not one plain component is left out. */
function parseEntries(data: Buffer): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  for (let at = 0; at + 19 <= data.length; ) {
    const length = data.readUInt16LE(at + 16);
    if (length < 19 || at + length > data.length) break;
    const kind = data[at + 18];
    const end = data.indexOf(0, at + 19);
    const name = data.toString('utf8', at + 19, end < 0 ? at + length : Math.min(end, at + length));
    if (name !== '.' && name !== '..' && name !== '' && !name.includes('/')) {
      entries.push({
        name,
        isFile: () => kind === entryType.FILE,
        isDirectory: () => kind === entryType.DIRECTORY,
        isSymbolicLink: () => kind === entryType.LINK,
      });
    }
    at += length;
  }
  return entries;
}

function toStat(values: readonly number[]): FileStat {
  const [mode = 0, uid = 0, gid = 0, size = 0, mtime = 0, ino = 0, nlink = 0] = values;
  const is = (kind: number) => () => (mode & S_IFMT) === kind;
  return {
    mode,
    uid,
    gid,
    size,
    mtimeMs: mtime / 1e6,
    ino,
    nlink,
    isFile: is(type.FILE),
    isDirectory: is(type.DIRECTORY),
    isSymbolicLink: is(type.LINK),
  };
}
