/** What mounts of every kind have in common: they are made detached, may be attached, and end. */

import { fstatSync } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { defineSchema, readBoolean, readObject } from '../../container/settings/schema.js';
import { OptionError, PermissionError, TscontainError } from '../../errors.js';
import { addon, type Descriptor } from '../../launcher/native.js';
import { mountAttribute, openFlag, type Step } from '../../plan/step.js';
import type { Place } from './place.js';

const remountSchema = defineSchema(['readOnly']);
const unmountSchema = defineSchema(['lazy']);

/** How a mount is taken away. */
export interface UnmountOptions {
  /**
   * Take it and all that is mounted below it out of the tree now, though files in it may be in use; it ends with the last of
   * them. Default false: fails with `ERR_MOUNT_BUSY` where something is in use.
   */
  readonly lazy?: boolean;
}

/** A mount as its steps have made it. */
export interface MadeMount {
  /** Of the mount's root, a descriptor that only stands for it (O_PATH). */
  readonly descriptor: Descriptor;
  readonly target: string | undefined;
  readonly place: Place;
  readonly readOnly: boolean;
  /** Whether attributes are those of what is mounted below it as well. */
  readonly recursive: boolean;
}

/**
 * A mount that this process has made. Attached to a path (`target`), it stays until it is unmounted, also after this process
 * has ended without doing that; detached, it is reached through {@link Mount.descriptor} or {@link Mount.path} only and ends
 * with the last descriptor of it.
 *
 * `await using` takes it away at the end of a block, lazily.
 */
export abstract class Mount implements AsyncDisposable {
  /** Where it is attached, without links; undefined for a detached mount. */
  readonly target: string | undefined;
  /** @internal */
  protected readonly place: Place;
  readonly #recursive: boolean;
  readonly #id: number;
  #descriptor: Descriptor | undefined;
  #readOnly: boolean;
  #last: Promise<unknown> = Promise.resolve();

  /** @internal */
  protected constructor({ descriptor, target, place, readOnly, recursive }: MadeMount) {
    this.target = target;
    this.place = place;
    this.#recursive = recursive;
    this.#id = addon().mountId(descriptor);
    this.#descriptor = descriptor;
    this.#readOnly = readOnly;
  }

  /**
   * Of its root; stands for it without opening anything (open(2), `O_PATH`).
   * @throws TscontainError (`ERR_UNMOUNTED`) after it has been unmounted
   */
  get descriptor(): Descriptor {
    if (!this.#descriptor) throw new TscontainError('ERR_UNMOUNTED', `the mount${this.#where()} has been unmounted`);
    return this.#descriptor;
  }

  /**
   * A path to its root that processes of this user can use: the target, or a link below `/proc` for as long as it is mounted.
   * @throws TscontainError (`ERR_UNMOUNTED`) after it has been unmounted
   */
  get path(): string {
    const { number } = this.descriptor;
    return this.target ?? `/proc/${process.pid}/fd/${number}`;
  }

  /** Whether nothing can be written through it. */
  get readOnly(): boolean {
    return this.#readOnly;
  }

  /** Whether it is there; for one with a target, whether it is what is seen at that path. */
  get isMounted(): boolean {
    if (!this.#descriptor) return false;
    return this.target === undefined || mountIdAt(this.target) === this.#id;
  }

  /** Whether we still hold it, wherever it is. */
  protected get isOpen(): boolean {
    return this.#descriptor !== undefined;
  }

  /**
   * Makes it read-only, or writable again (mount_setattr(2)).
   * @throws TscontainError (`ERR_MOUNT_BUSY`) where a file in it is open for writing, or (`ERR_UNMOUNTED`)
   */
  remount(options: { readonly readOnly: boolean }): Promise<void> {
    return this.exclusively(async () => {
      const { readOnly } = readObject(options, '', remountSchema);
      if (typeof readOnly !== 'boolean') throw new OptionError('readOnly', 'true or false', readOnly);
      const step: Step = {
        kind: 'mountSetattr',
        on: '0',
        path: '',
        recursive: this.#recursive,
        set: readOnly ? mountAttribute.RDONLY : 0,
        clear: readOnly ? 0 : mountAttribute.RDONLY,
        propagation: 0,
      };
      await this.#run([step], [this.descriptor], 'remounting');
      this.#readOnly = readOnly;
    });
  }

  /**
   * Takes it away; does nothing where that has been done. What other mount may by now be at the same path is left alone.
   * @throws TscontainError with `code` `ERR_MOUNT_BUSY` where something in it is in use, and `ERR_MOUNT_COVERED` where what is
   *   seen at the target is not this mount; it is still mounted then
   */
  unmount(options: UnmountOptions = {}): Promise<void> {
    return this.exclusively(async () => {
      const lazy = readBoolean(readObject(options, '', unmountSchema).lazy, 'lazy', false);
      if (!this.#descriptor) return;
      if (this.target !== undefined)
        await (lazy ? this.#detach(this.#descriptor) : this.#unmount(this.#descriptor, this.target));
      if (this.#descriptor.open) this.#descriptor.close();
      this.#descriptor = undefined;
      if (!this.keepsPlace) await this.place.close();
    });
  }

  /** Whether the namespaces that it was mounted in are asked for something afterwards: till it is disposed of. */
  protected get keepsPlace(): boolean {
    return false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.unmount({ lazy: true });
    } finally {
      await this.place.close();
    }
  }

  /** One after the other: what changes the mount never overlaps. */
  protected exclusively<Result>(task: () => Promise<Result>): Promise<Result> {
    const result = this.#last.then(task);
    this.#last = result.catch(() => {});
    return result;
  }

  async #detach(descriptor: Descriptor): Promise<void> {
    try {
      await this.#run([{ kind: 'detach', mount: '0' }], [descriptor], 'unmounting');
    } catch (error) {
      // It is in no tree any more: someone has unmounted it already.
      if (!(error instanceof TscontainError && error.errno === 'EINVAL')) throw error;
    }
  }

  /** Our own descriptor would keep it busy, so that is closed; which mount it is is checked by its number instead. */
  async #unmount(descriptor: Descriptor, target: string): Promise<void> {
    if (mountIdAt(target) !== this.#id) throw this.#covered();
    descriptor.close();
    const steps: Step[] = [
      { kind: 'open', to: 'mount parent', from: null, path: dirname(target), flags: openFlag.PATH, resolve: 0 },
      { kind: 'unmount', under: 'mount parent', name: basename(target), mountId: this.#id },
    ];
    try {
      await this.#run(steps, [], 'unmounting');
    } catch (error) {
      this.#descriptor = this.#reopen(target);
      throw error instanceof TscontainError && error.errno === 'ESTALE' ? this.#covered(error) : error;
    }
  }

  #reopen(target: string): Descriptor | undefined {
    try {
      const descriptor = addon().openPath(Buffer.from(target), false);
      if (addon().mountId(descriptor) === this.#id) return descriptor;
      descriptor.close();
    } catch {
      // Not to be reached any more; there is nothing that could be unmounted safely then.
    }
    return undefined;
  }

  #covered(cause?: unknown): TscontainError {
    return new TscontainError('ERR_MOUNT_COVERED', `what is seen at ${this.target} is not this mount`, {
      path: this.target,
      hint: 'another mount lies over it, or it has been unmounted by someone else; { lazy: true } takes it away wherever it is',
      cause,
    });
  }

  async #run(steps: readonly Step[], descriptors: readonly Descriptor[], doing: string): Promise<void> {
    await using agent = await this.place.start();
    await agent.run(steps, { descriptors, doing: `${doing}${this.#where()}` }).catch((error: unknown) => {
      throw error instanceof TscontainError && error.errno === 'EBUSY' ? this.#busy(error) : explained(error);
    });
  }

  #busy(cause: TscontainError): TscontainError {
    return new TscontainError('ERR_MOUNT_BUSY', `the mount${this.#where()} is in use`, {
      syscall: cause.syscall,
      errno: cause.errno,
      path: this.target,
      hint: 'a file in it is open, a process works in it, or something is mounted below it; unmount({ lazy: true }) does not mind',
      cause,
    });
  }

  #where(): string {
    return this.target === undefined ? '' : ` at ${this.target}`;
  }
}

/** The number of the mount seen at a path; undefined where there is nothing. */
function mountIdAt(path: string): number | undefined {
  try {
    return addon().mountId(Buffer.from(path));
  } catch {
    return undefined;
  }
}

/** Attaches a detached mount. The directory, or the file for a file, must be there. Returns the path without links. */
export async function attachAt(target: string, descriptor: Descriptor, place: Place): Promise<string> {
  const path = await realpath(target).catch((cause: unknown) => {
    const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
    throw new OptionError('target', `a path that can be reached (${errno})`, target, {
      syscall: 'realpath',
      errno,
      path: target,
      hint: 'make the directory, or the file for a file, first',
      cause,
    });
  });
  if (path === '/') throw new OptionError('target', "a path below '/'", target, { path });
  const [isDirectory, onDirectory] = [fstatSync(descriptor.number).isDirectory(), (await stat(path)).isDirectory()];
  if (isDirectory !== onDirectory) {
    throw new OptionError('target', isDirectory ? 'a directory' : 'a file, as the source is one', target, { path });
  }
  const steps: Step[] = [
    { kind: 'open', to: 'mount target', from: null, path, flags: openFlag.PATH | openFlag.NOFOLLOW, resolve: 0 },
    { kind: 'moveMount', mount: '0', under: 'mount target', path: '', directory: true },
  ];
  await using agent = await place.start();
  await agent.run(steps, { descriptors: [descriptor], doing: `mounting at ${path}` }).catch((error: unknown) => {
    throw explained(error);
  });
  return path;
}

/** What the kernel says about mounts in one errno, in words. */
export function explained(error: unknown): unknown {
  if (!(error instanceof TscontainError)) return error;
  if (error.errno !== 'EPERM' && error.errno !== 'EACCES') return error;
  const { syscall, errno, path, step } = error;
  const hint =
    errno === 'EPERM'
      ? 'mounting needs CAP_SYS_ADMIN; an ordinary user has it in a user namespace only, see the option userNamespace'
      : 'the directories must be open to the user that mounts; in a user namespace, to the user that its root is outside';
  return new PermissionError(error.message, {
    syscall,
    errno,
    path,
    step,
    hint,
    cause: error,
  });
}
