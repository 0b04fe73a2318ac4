/**
 * The one gate to the files of a cgroup. A directory is opened once, without following a link, and must be in a cgroup
 * file system; its files are then reached through that descriptor, so that what was checked is what is read and written,
 * also when the path has become another directory's. There are no symbolic links in a cgroup file system.
 */

import { constants, type FSWatcher, fstatSync, watch } from 'node:fs';
import { chown, type FileHandle, mkdir, open, readdir, rmdir } from 'node:fs/promises';
import { OptionError, TscontainError } from '../../errors.js';
import { addon, type Descriptor } from '../../launcher/native.js';
import { cgroupFailure, errnoOf } from './failure.js';

const { O_RDONLY, O_RDWR, O_WRONLY, O_NOFOLLOW, O_TRUNC } = constants;
/** A buffer for whole files: memory.stat has 2 KiB, io.stat 100 bytes a device. */
const initialBuffer = 8 * 1024;
const maxFile = 16 * 2 ** 20;
const interruptedTries = 100;

type HeldFiles = Map<string, Promise<FileHandle | undefined>>;

/** Closes the files of a directory that was let go of without having been closed; Node would, and warn of each. */
const forgotten = new FinalizationRegistry<HeldFiles>((files) => void closeAll(files));

/** A directory of a cgroup file system, held by a descriptor. */
export class CgroupDirectory {
  readonly path: string;
  readonly version: 1 | 2;
  readonly #descriptor: Descriptor;
  /** Files that are read again and again, each with its own descriptor. */
  readonly #held: HeldFiles = new Map();
  #uses = 0;
  #closing: (() => void) | undefined;

  private constructor(path: string, version: 1 | 2, descriptor: Descriptor) {
    this.path = path;
    this.version = version;
    this.#descriptor = descriptor;
    forgotten.register(this, this.#held);
  }

  /** @throws TscontainError where there is none, or it is not in a cgroup file system */
  static open(path: string, version: 1 | 2): CgroupDirectory {
    try {
      return new CgroupDirectory(path, version, addon().openCgroup(path, 'directory'));
    } catch (cause) {
      throw cgroupFailure('open', path, cause);
    }
  }

  /** The descriptor, still owned by this object. @throws TscontainError when closed */
  get descriptor(): Descriptor {
    if (this.#closing || !this.#descriptor.open) {
      throw new TscontainError('ERR_CLOSED', `the cgroup ${this.path} has been closed`, { path: this.path });
    }
    return this.#descriptor;
  }

  /** The path of a file through the descriptor: for use at once, or inside {@link use}. */
  fileThrough(file: string): string {
    return `/proc/self/fd/${this.descriptor.number}/${fileName(file)}`;
  }

  /** Whether the cgroup has been removed: a directory that is held stays, but has no files. */
  async isGone(): Promise<boolean> {
    return (await this.read('cgroup.procs').catch(() => '')) === undefined;
  }

  /** Another descriptor of the directory, the caller's. */
  duplicate(): Descriptor {
    try {
      return addon().openCgroup(`/proc/self/fd/${this.descriptor.number}/.`, 'directory');
    } catch (cause) {
      throw cgroupFailure('open', this.path, cause);
    }
  }

  /** Processes in it, and in its children. One that is removed meanwhile has none. */
  async processes(recursive: boolean): Promise<number[]> {
    const text = await this.read('cgroup.procs');
    // 0 is a process of another pid namespace.
    const found = (text ?? '').split('\n').flatMap((line) => (/^[1-9]\d*$/.test(line) ? [Number(line)] : []));
    if (!recursive) return found;
    for (const name of await this.list('children')) {
      let child: CgroupDirectory | undefined;
      try {
        child = this.openChild(name);
        found.push(...(await child.processes(true)));
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ENODEV') throw error;
      } finally {
        await child?.close();
      }
    }
    return found;
  }

  /** A descriptor of a file, the caller's. */
  openFile(file: string, as: 'read' | 'write'): Descriptor {
    try {
      return addon().openCgroup(this.fileThrough(file), as);
    } catch (cause) {
      throw cgroupFailure('open', `${this.path}/${file}`, cause);
    }
  }

  /** What the file says, undefined where there is none. */
  read(file: string): Promise<string | undefined> {
    return this.use(async () => {
      let handle: FileHandle;
      try {
        handle = await open(this.fileThrough(file), O_RDONLY | O_NOFOLLOW);
      } catch (cause) {
        if (errnoOf(cause) === 'ENOENT') return undefined;
        throw cgroupFailure('open', `${this.path}/${file}`, cause);
      }
      try {
        return await readWhole(handle);
      } catch (cause) {
        throw cgroupFailure('read', `${this.path}/${file}`, cause);
      } finally {
        await handle.close();
      }
    });
  }

  /** The same for a file that is read often: it stays open. `writable` opens it for {@link writeHeld} too. */
  readHeld(file: string, writable = false): Promise<string | undefined> {
    return this.use(async () => {
      const handle = await this.#hold(file, writable);
      if (!handle) return undefined;
      try {
        return await readWhole(handle);
      } catch (cause) {
        // Some files are there and cannot be read: pressure where it is switched off (EOPNOTSUPP).
        if (errnoOf(cause) === 'EOPNOTSUPP') return undefined;
        throw cgroupFailure('read', `${this.path}/${file}`, cause);
      }
    });
  }

  /** Writes through the descriptor that {@link readHeld} reads: what memory.peak takes for its own beginning. */
  writeHeld(file: string, value: string): Promise<void> {
    return this.use(async () => {
      const handle = await this.#hold(file, true);
      if (!handle) throw cgroupFailure('open', `${this.path}/${file}`, { code: 'ENOENT' });
      try {
        await handle.write(value, 0);
      } catch (cause) {
        throw cgroupFailure('write', `${this.path}/${file}`, cause, value);
      }
    });
  }

  /** @throws TscontainError with file, value, the kernel's reason and a hint */
  write(file: string, value: string): Promise<void> {
    return this.use(async () => {
      let handle: FileHandle | undefined;
      try {
        // Shells truncate too; kernfs takes no notice.
        handle = await open(this.fileThrough(file), O_WRONLY | O_NOFOLLOW | O_TRUNC);
        await writeWhole(handle, value);
      } catch (cause) {
        throw cgroupFailure(handle ? 'write' : 'open', `${this.path}/${file}`, cause, value);
      } finally {
        await handle?.close();
      }
    });
  }

  /** Calls back when the kernel says that the file has changed (kernfs tells inotify of `*.events`). */
  watch(file: string, changed: () => void, persistent: boolean): FSWatcher {
    try {
      return watch(this.fileThrough(file), { persistent }, changed);
    } catch (cause) {
      throw cgroupFailure('inotify_add_watch', `${this.path}/${file}`, cause);
    }
  }

  /** Names of the files, or of the children. */
  list(kind: 'files' | 'children'): Promise<string[]> {
    return this.use(async () => {
      const entries = await readdir(`/proc/self/fd/${this.descriptor.number}`, { withFileTypes: true });
      return entries.flatMap((entry) => (entry.isDirectory() === (kind === 'children') ? [entry.name] : []));
    });
  }

  /** Makes a child. Whether it was not there. */
  makeChild(name: string): Promise<boolean> {
    return this.use(async () => {
      try {
        await mkdir(`/proc/self/fd/${this.descriptor.number}/${childName(name)}`, 0o755);
        return true;
      } catch (cause) {
        if (errnoOf(cause) === 'EEXIST') return false;
        throw cgroupFailure('mkdir', `${this.path}/${name}`, cause);
      }
    });
  }

  /** @throws TscontainError where there is none */
  openChild(name: string): CgroupDirectory {
    try {
      const descriptor = addon().openCgroup(`/proc/self/fd/${this.descriptor.number}/${childName(name)}`, 'directory');
      return new CgroupDirectory(`${this.path}/${name}`, this.version, descriptor);
    } catch (cause) {
      throw cgroupFailure('open', `${this.path}/${name}`, cause);
    }
  }

  /** Whether both are the same directory: a path may have become that of another cgroup. */
  isSame(other: CgroupDirectory): boolean {
    const [one, two] = [this, other].map(({ descriptor }) => fstatSync(descriptor.number, { bigint: true }));
    return one?.dev === two?.dev && one?.ino === two?.ino;
  }

  /** Gives the directory and some of its files to a user; files that are not there are left out. The files given. */
  chown(files: readonly string[], uid: number, gid: number): Promise<string[]> {
    return this.use(async () => {
      const given: string[] = [];
      const paths = files.map((file) => [file, this.fileThrough(file)] as const);
      for (const [file, path] of [...paths, ['.', `/proc/self/fd/${this.descriptor.number}`] as const]) {
        try {
          await chown(path, uid, gid);
          given.push(file);
        } catch (cause) {
          if (errnoOf(cause) !== 'ENOENT') throw cgroupFailure('chown', `${this.path}/${file}`, cause);
        }
      }
      return given;
    });
  }

  /** Removes a child, which must have neither children nor processes. Whether it was there. */
  removeChild(name: string): Promise<boolean> {
    return this.use(async () => {
      try {
        await rmdir(`/proc/self/fd/${this.descriptor.number}/${childName(name)}`);
        return true;
      } catch (cause) {
        if (errnoOf(cause) === 'ENOENT') return false;
        throw cgroupFailure('rmdir', `${this.path}/${name}`, cause);
      }
    });
  }

  /** Runs something that needs the descriptor to stay as it is. */
  async use<T>(action: () => Promise<T>): Promise<T> {
    void this.descriptor;
    this.#uses++;
    try {
      return await action();
    } finally {
      this.#uses--;
      if (this.#uses === 0) this.#closing?.();
    }
  }

  /** Closes every descriptor, once nothing uses them. */
  async close(): Promise<void> {
    if (this.#closing || !this.#descriptor.open) return;
    await new Promise<void>((resolve) => {
      this.#closing = resolve;
      if (this.#uses === 0) resolve();
    });
    await closeAll(this.#held);
    this.#descriptor.close();
  }

  #hold(file: string, writable: boolean): Promise<FileHandle | undefined> {
    let held = this.#held.get(file);
    if (!held) {
      const path = this.fileThrough(file);
      held = open(path, (writable ? O_RDWR : O_RDONLY) | O_NOFOLLOW).catch((cause) => {
        // Older kernels have memory.peak for reading only (before 6.12).
        if (writable && errnoOf(cause) === 'EACCES') return open(path, O_RDONLY | O_NOFOLLOW);
        if (errnoOf(cause) === 'ENOENT') return undefined;
        throw cgroupFailure('open', `${this.path}/${file}`, cause);
      });
      this.#held.set(file, held);
      // A file may come later, with its controller.
      void held.then(
        (handle) => handle ?? this.#held.delete(file),
        () => this.#held.delete(file),
      );
    }
    return held;
  }
}

async function readWhole(handle: FileHandle): Promise<string> {
  let buffer = Buffer.allocUnsafe(initialBuffer);
  for (let length = 0, tries = 0; ; ) {
    try {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length, length);
      length += bytesRead;
      // The kernel fills the buffer as far as it has lines, so less than its half can only be the end.
      if (bytesRead === 0 || (length === bytesRead && bytesRead < 2048)) return buffer.toString('utf8', 0, length);
      if (length === buffer.length) {
        if (length >= maxFile) throw Object.assign(new Error('too long'), { code: 'EFBIG' });
        buffer = Buffer.concat([buffer], buffer.length * 2);
      }
    } catch (cause) {
      if (errnoOf(cause) !== 'EINTR' || ++tries >= interruptedTries) throw cause;
    }
  }
}

async function closeAll(files: HeldFiles): Promise<void> {
  for (const held of files.values()) await (await held.catch(() => undefined))?.close();
}

/** One write is one value: the kernel takes all of it or nothing. */
async function writeWhole(handle: FileHandle, value: string): Promise<void> {
  for (let tries = 0; ; ) {
    try {
      await handle.write(value, 0);
      return;
    } catch (cause) {
      if (errnoOf(cause) !== 'EINTR' || ++tries >= interruptedTries) throw cause;
    }
  }
}

/** A name of a file as the kernel has them: no separator, no `..`. */
function fileName(file: string): string {
  if (/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(file) && !file.includes('..')) return file;
  throw new OptionError('file', "the name of a file of a cgroup, such as 'memory.max'", file);
}

/** A name that a directory listing gave us, which the kernel has already taken for one component. */
function childName(name: string): string {
  if (name !== '' && name !== '.' && name !== '..' && !name.includes('/')) return name;
  throw new OptionError('name', 'the name of a child', name);
}
