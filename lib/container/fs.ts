/**
 * Files of a running container, in the shape of node:fs/promises. Every path is resolved by init, inside the container's
 * own mount namespace and below its root; no host path is ever formed (security M1, N1). Done as the container's root, like
 * `docker cp`. Only regular files are read and written: a pipe or a device in their place is refused, not waited for.
 */

import { constants as bufferConstants } from 'node:buffer';
import { constants } from 'node:fs';
import { lstat, open, readdir, readlink } from 'node:fs/promises';
import { errnoName, OptionError, TscontainError } from '../errors.js';
import type { FileReply } from '../launcher/init.js';
import type { Descriptor } from '../launcher/native.js';
import { fileOperation } from '../launcher/protocol.js';
import { parseSize, type Size } from '../units.js';
import { CopyOut } from './fs/copy-out.js';
import { type DirectoryEntry, type FileStat, parseEntries, toStat, withText } from './fs/facts.js';
import { fileError, tooLarge, translated } from './fs/failure.js';
import { checkPath, checkTarget, type FilePath, joinPath, pathText } from './fs/paths.js';
import { readAll, writeAll } from './fs/transfer.js';
import { readChoice } from './settings/schema.js';

export type { DirectoryEntry, FilePath, FileStat };

/** How {@link ContainerFileSystem.readFile} reads. */
export interface ReadFileOptions {
  /** Text of this encoding; without one, a Buffer. */
  readonly encoding?: BufferEncoding | null | undefined;
  /** More is an error (`ERR_FILE_TOO_LARGE`), whatever size the file says it has. Default `'2GiB'`, as in Node. */
  readonly maxBytes?: Size;
}

/** Sends one file operation to init. */
export type FileTransport = (
  ints: readonly number[],
  paths: readonly (string | Uint8Array)[],
  listener: (reply: FileReply | undefined) => void,
) => void;

const mostRead = '2GiB';
const mostCopied = '10GiB';

export class ContainerFileSystem {
  readonly #send: FileTransport;

  constructor(send: FileTransport) {
    this.#send = send;
  }

  /**
   * The whole content of a file: a Buffer, or text with an encoding.
   * @throws TscontainError (`ERR_FILE_TOO_LARGE`) for more than `maxBytes`, or than fits a string
   */
  readFile(
    path: FilePath,
    options: BufferEncoding | (ReadFileOptions & { readonly encoding: BufferEncoding }),
  ): Promise<string>;
  readFile(path: FilePath, options?: ReadFileOptions & { readonly encoding?: null | undefined }): Promise<Buffer>;
  async readFile(path: FilePath, options: BufferEncoding | ReadFileOptions = {}): Promise<string | Buffer> {
    const { encoding, maxBytes } = readOptions(options);
    const { descriptor, values } = await this.#open(path, constants.O_RDONLY, 0);
    try {
      const content = await readAll(descriptor, path, values[0] ?? 0, maxBytes);
      return encoding ? decode(content, encoding, path) : content;
    } finally {
      descriptor.close();
    }
  }

  /** Write a file, made with `mode` (default 0644) if it is not there; `flag` `'w'` replaces, `'a'` appends, `'wx'` refuses an existing one. */
  async writeFile(
    path: FilePath,
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
    path: FilePath,
    { recursive = false, mode = 0o755 }: { recursive?: boolean; mode?: number } = {},
  ): Promise<void> {
    await this.#request('mkdir', path, fileOperation.MKDIR, [mode, recursive ? 1 : 0]);
  }

  /**
   * The names in a directory, or entries with `withFileTypes`. In text, what is not UTF-8 is replaced by U+FFFD; with
   * `encoding: 'buffer'` names are the bytes they are, and a path made of them is taken everywhere here.
   */
  readdir(path: FilePath, options?: { withFileTypes?: false; encoding?: 'utf8' }): Promise<string[]>;
  readdir(path: FilePath, options: { withFileTypes: true; encoding?: 'utf8' }): Promise<DirectoryEntry[]>;
  readdir(path: FilePath, options: { withFileTypes?: false; encoding: 'buffer' }): Promise<Buffer[]>;
  readdir(path: FilePath, options: { withFileTypes: true; encoding: 'buffer' }): Promise<DirectoryEntry<Buffer>[]>;
  async readdir(
    path: FilePath,
    { withFileTypes = false, encoding = 'utf8' }: { withFileTypes?: boolean; encoding?: 'utf8' | 'buffer' } = {},
  ): Promise<string[] | Buffer[] | DirectoryEntry[] | DirectoryEntry<Buffer>[]> {
    const asBytes = readChoice(encoding, 'encoding', ['utf8', 'buffer']) === 'buffer';
    const entries = await this.#entries(path);
    if (asBytes) return withFileTypes ? entries : entries.map(({ name }) => name);
    return withFileTypes ? entries.map(withText) : entries.map(({ name }) => name.toString());
  }

  async #entries(path: FilePath): Promise<DirectoryEntry<Buffer>[]> {
    const entries: DirectoryEntry<Buffer>[] = [];
    await this.#request('readdir', path, fileOperation.READDIR, [], '', (reply) => {
      if (reply.data) entries.push(...parseEntries(reply.data));
    });
    return entries;
  }

  /** Facts about a file, links followed (below the container's root). */
  async stat(path: FilePath): Promise<FileStat> {
    return toStat((await this.#request('stat', path, fileOperation.STAT, [1])).values);
  }

  /** Facts about a file or about a link itself. */
  async lstat(path: FilePath): Promise<FileStat> {
    return toStat((await this.#request('lstat', path, fileOperation.STAT, [0])).values);
  }

  /** Remove a file or link; with `recursive`, a directory and all in it; with `force`, one that is not there is no error. */
  async rm(
    path: FilePath,
    { recursive = false, force = false }: { recursive?: boolean; force?: boolean } = {},
  ): Promise<void> {
    try {
      await this.#request('rm', path, fileOperation.REMOVE, [recursive ? 1 : 0]);
    } catch (error) {
      if (!(force && error instanceof TscontainError && error.errno === 'ENOENT')) throw error;
    }
  }

  async rename(from: FilePath, to: FilePath): Promise<void> {
    await this.#request('rename', from, fileOperation.RENAME, [], checkPath(to, 'to'));
  }

  /**
   * Make a link at `path`, with any text as its target: it is resolved below the container's root by whoever follows it.
   * @throws OptionError for a target with a NUL byte, or of more than 4095 bytes
   */
  async symlink(target: FilePath, path: FilePath): Promise<void> {
    await this.#request('symlink', path, fileOperation.SYMLINK, [], checkTarget(target));
  }

  /** Where a link points to; a Buffer with `encoding: 'buffer'`. */
  readlink(path: FilePath, options?: { encoding?: 'utf8' }): Promise<string>;
  readlink(path: FilePath, options: { encoding: 'buffer' }): Promise<Buffer>;
  async readlink(
    path: FilePath,
    { encoding = 'utf8' }: { encoding?: 'utf8' | 'buffer' } = {},
  ): Promise<string | Buffer> {
    const asBytes = readChoice(encoding, 'encoding', ['utf8', 'buffer']) === 'buffer';
    const target = (await this.#request('readlink', path, fileOperation.READLINK, [])).data ?? Buffer.alloc(0);
    return asBytes ? target : target.toString();
  }

  async chmod(path: FilePath, mode: number): Promise<void> {
    await this.#request('chmod', path, fileOperation.CHMOD, [mode]);
  }

  /** Give a file to ids of the container. */
  async chown(path: FilePath, uid: number, gid: number): Promise<void> {
    await this.#request('chown', path, fileOperation.CHOWN, [uid, gid]);
  }

  /** Copy a file, link or directory of the host into the container, to exactly `path`. Links are copied as links. */
  copyIn(hostPath: string, path: FilePath): Promise<void> {
    return translated('copyIn', hostPath, this.#copyIn(hostPath, path));
  }

  async #copyIn(hostPath: string | Buffer, path: FilePath): Promise<void> {
    const facts = await lstat(hostPath);
    if (facts.isSymbolicLink()) {
      await this.symlink(await readlink(hostPath, { encoding: 'buffer' }), path);
    } else if (facts.isDirectory()) {
      await this.mkdir(path, { recursive: true, mode: facts.mode & 0o777 });
      for (const name of await readdir(hostPath, { encoding: 'buffer' })) {
        await this.#copyIn(joinPath(hostPath, name), joinPath(path, name));
      }
    } else if (facts.isFile()) {
      const handle = await open(hostPath, constants.O_RDONLY | constants.O_NOFOLLOW);
      try {
        await this.writeFile(path, handle.createReadStream({ autoClose: false }), { mode: facts.mode & 0o777 });
      } finally {
        await handle.close();
      }
    } else {
      const name = pathText(hostPath);
      throw new TscontainError('ERR_FILE_TYPE', `${name} is no file, directory or link, and cannot be copied`, {
        path: name,
      });
    }
  }

  /**
   * Copy a file or directory of the container to a host path that does not exist yet. What the container made is not
   * trusted: names are single components, everything is made new and nothing is followed; other kinds of files are left
   * out. What is zeros is left as holes. Where it fails, what was copied until then stays.
   * @param options `maxBytes` (default `'10GiB'`) bounds the contents of all files together, holes counted: reading them
   *   takes time too. More is an error (`ERR_FILE_TOO_LARGE`)
   */
  copyOut(path: FilePath, hostPath: string, { maxBytes = mostCopied }: { maxBytes?: Size } = {}): Promise<void> {
    return translated('copyOut', hostPath, this.#copyOut(path, hostPath, maxBytes));
  }

  async #copyOut(path: FilePath, hostPath: string, maxBytes: Size): Promise<void> {
    const copy = new CopyOut(
      {
        lstat: (file) => this.lstat(file),
        readlink: (file) => this.readlink(file, { encoding: 'buffer' }),
        entries: (file) => this.#entries(file),
        open: async (file) => (await this.#open(file, constants.O_RDONLY | constants.O_NOFOLLOW, 0)).descriptor,
      },
      parseSize(maxBytes, 'maxBytes'),
    );
    await copy.copy(path, Buffer.from(hostPath));
  }

  async #open(
    path: FilePath,
    flags: number,
    mode: number,
  ): Promise<{ descriptor: Descriptor; values: readonly number[] }> {
    const reply = await this.#request('open', path, fileOperation.OPEN, [flags, mode]);
    if (!reply.descriptor) throw fileError('open', path, 'EPROTO');
    return { descriptor: reply.descriptor, values: reply.values };
  }

  #request(
    call: string,
    path: FilePath,
    operation: number,
    [a = 0, b = 0]: readonly number[],
    second: FilePath = '',
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

function readOptions(options: BufferEncoding | ReadFileOptions): {
  readonly encoding: BufferEncoding | undefined;
  readonly maxBytes: number;
} {
  const { encoding, maxBytes = mostRead } = typeof options === 'string' ? { encoding: options } : options;
  if (encoding !== undefined && encoding !== null && !Buffer.isEncoding(encoding)) {
    throw new OptionError('encoding', "an encoding of Buffers, such as 'utf8'", encoding);
  }
  const max = bufferConstants.MAX_LENGTH;
  return { encoding: encoding ?? undefined, maxBytes: parseSize(maxBytes, 'maxBytes', { max }) };
}

function decode(content: Buffer, encoding: BufferEncoding, path: FilePath): string {
  try {
    return content.toString(encoding);
  } catch {
    const hint = 'read it without an encoding';
    throw tooLarge('reading', path, bufferConstants.MAX_STRING_LENGTH, hint);
  }
}
