/** Namespaces by themselves: made, opened, asked about, kept by a path, and entered by a function or by programs. */

import type { Argv } from '../../container/options.js';
import type { ContainerProcess } from '../../container/process.js';
import { readHostPath } from '../../container/settings/paths.js';
import { copyObject, defineSchema, readObject } from '../../container/settings/schema.js';
import { errnoName, OptionError, PermissionError, TscontainError, UnsupportedError } from '../../errors.js';
import { Agent } from '../../launcher/agent.js';
import { addon, type Descriptor } from '../../launcher/native.js';
import type { Step } from '../../plan/step.js';
import type { SpawnOptions } from '../../process/options.js';
import { spawn } from '../../process/spawn.js';
import { expectKernelKinds, kernelKinds } from './kernel.js';
import { kindFlag, kindOfFlag, type NamespaceKind, readKind } from './kind.js';
import { listNamespaces, type NamespaceEntry } from './list.js';
import { type NamespaceOptions, readKinds, readNamespaceSettings } from './settings.js';

const optionsSchema = defineSchema(['idMap', 'timeOffsets']);
const largestPid = 2 ** 22;

/** Why a thread of Node cannot enter one of these kinds. */
const refusals: Readonly<Partial<Record<NamespaceKind, string>>> = {
  user: 'the kernel lets no process of several threads into another user namespace, and Node has several',
  mnt: 'threads of Node share their root and working directory, and the kernel refuses while they do',
  pid: 'a process stays in the pid namespace that it began in; only what it starts can be in another',
  time: 'the kernel lets no process of several threads into another time namespace, and Node has several',
};

/**
 * One namespace, or several of different kinds together, held by descriptors: they exist at least as long as this object is
 * not closed.
 *
 * A new pid namespace has a first process, which is ours, collects what ends in it, and lives until this object is closed:
 * then the kernel ends everything in the namespace. One that is never closed ends with this process.
 *
 * @example
 * ```ts
 * await using net = await Namespace.create(['user', 'net']);
 * net.inode('net') === Namespace.current('net').inode(); // false
 * ```
 *
 * @see https://man7.org/linux/man-pages/man7/namespaces.7.html
 */
export class Namespace implements AsyncDisposable {
  readonly #descriptors: ReadonlyMap<NamespaceKind, Descriptor>;
  readonly #agent: Agent | undefined;

  private constructor(descriptors: ReadonlyMap<NamespaceKind, Descriptor>, agent?: Agent) {
    this.#descriptors = descriptors;
    this.#agent = agent;
  }

  /**
   * Make new namespaces, all in one. With `'user'` among them the others belong to it; without, they need CAP_SYS_ADMIN.
   * Mounts of a new mount namespace are private, so that nothing done in it reaches where it was copied from.
   * @throws OptionError; PermissionError, UnsupportedError where the host refuses; TscontainError for what failed inside
   */
  static async create(
    kinds: NamespaceKind | readonly NamespaceKind[],
    options: NamespaceOptions = {},
  ): Promise<Namespace> {
    const create = readKinds(kinds, 'kinds');
    const agent = await Agent.start(readNamespaceSettings(create, readObject(options, '', optionsSchema)));
    try {
      const taken = await agent.run(create.map(openOwn), { take: create.map(slotOf), doing: 'opening namespaces' });
      const descriptors = new Map(create.map((kind, index) => [kind, taken[index] as Descriptor]));
      // Descriptors hold every kind but one: a pid namespace without its first process takes no other.
      if (create.includes('pid')) return new Namespace(descriptors, agent);
      await agent.close();
      return new Namespace(descriptors);
    } catch (error) {
      await agent.close();
      throw error;
    }
  }

  /**
   * Open the namespace of a process, or one by its file (`/proc/<pid>/ns/net`, `/run/netns/blue`) or an open descriptor,
   * which stays the caller's. That it is one, and of this kind, is verified.
   * @throws OptionError for another kind; PermissionError; TscontainError (`ERR_NAMESPACE`) where there is none
   */
  static open(kind: NamespaceKind, from: number | string | { readonly fd: number }): Namespace {
    const wanted = readKind(kind, 'kind');
    expectKernelKinds([wanted]);
    const path = pathOf(wanted, from);
    const descriptor = attempt(() => addon().openNamespace(path), `opening the ${wanted} namespace ${path}`, path);
    const found = kindOfFlag(addon().namespaceFacts(descriptor)[0]);
    if (found === wanted) return new Namespace(new Map([[wanted, descriptor]]));
    descriptor.close();
    throw new OptionError('from', `a namespace of the kind ${wanted}`, from, {
      path,
      hint: `it is one of the kind ${found ?? 'of a newer kernel'}`,
    });
  }

  /**
   * The namespaces of this thread; of these kinds, or of all that the kernel has.
   * @throws OptionError, UnsupportedError for a kind that this kernel was built without
   */
  static current(kinds?: NamespaceKind | readonly NamespaceKind[]): Namespace {
    const wanted = kinds === undefined ? kernelKinds() : readKinds(kinds, 'kinds');
    expectKernelKinds(wanted);
    const descriptors = new Map<NamespaceKind, Descriptor>();
    for (const kind of wanted) {
      const path = `/proc/thread-self/ns/${kind}`;
      descriptors.set(
        kind,
        attempt(() => addon().openNamespace(path), `opening ${path}`, path),
      );
    }
    return new Namespace(descriptors);
  }

  /**
   * Every namespace that a process is in that this one may look at, and those bound to paths, as lsns(8) shows them.
   */
  static list(): Promise<NamespaceEntry[]> {
    return listNamespaces();
  }

  /** What kinds it holds. */
  get kinds(): readonly NamespaceKind[] {
    return [...this.#descriptors.keys()];
  }

  /** The number that identifies a namespace while it exists, as `/proc/<pid>/ns/<kind>` shows it. */
  inode(kind?: NamespaceKind): number {
    return addon().namespaceFacts(this.descriptor(kind))[1];
  }

  /** The user namespace that owns it, and whose privileges count in it; undefined where it lies above this process's. */
  owner(kind?: NamespaceKind): Namespace | undefined {
    return this.#related(kind, 'user');
  }

  /**
   * The pid or user namespace above; undefined where there is none, or it lies above this process's.
   * @throws OptionError for other kinds, which have no parent
   */
  parent(kind?: NamespaceKind): Namespace | undefined {
    const own = this.#only(kind);
    if (own !== 'pid' && own !== 'user') throw new OptionError('kind', 'pid or user, which are nested', own);
    return this.#related(own, 'parent');
  }

  #related(kind: NamespaceKind | undefined, which: 'user' | 'parent'): Namespace | undefined {
    const descriptor = this.descriptor(kind);
    try {
      const related = addon().relatedNamespace(descriptor, which);
      return new Namespace(new Map([[which === 'user' ? 'user' : this.#only(kind), related]]));
    } catch (error) {
      if (errnoOf(error) === 'EPERM') return undefined;
      throw failure(error, 'asking for a related namespace');
    }
  }

  /** Whether both hold the same kinds, and the same namespace of each. */
  equals(other: Namespace): boolean {
    if (!(other instanceof Namespace)) throw new OptionError('other', 'a Namespace', other);
    const identity = (namespace: Namespace, kind: NamespaceKind) =>
      addon().namespaceFacts(namespace.descriptor(kind)).join();
    const { kinds } = this;
    return (
      kinds.length === other.kinds.length &&
      kinds.every((kind) => other.#descriptors.has(kind) && identity(this, kind) === identity(other, kind))
    );
  }

  /**
   * Keep a namespace by a path: it is bound to a file, which is made, and exists until {@link unpin}, whatever becomes of this
   * object. A pid namespace can be pinned, but takes no process once its first one has ended. A mount namespace is only
   * pinned on a mount that is private, of a namespace that is older.
   * @throws TscontainError (`ERR_NAMESPACE`), with `errno` EEXIST where something is at the path; PermissionError
   */
  pin(kind: NamespaceKind, path: string): void {
    const target = readHostPath(path, 'path');
    const descriptor = this.descriptor(readKind(kind, 'kind'));
    attempt(() => addon().pinNamespace(descriptor, target), `pinning the ${kind} namespace at ${target}`, target);
  }

  /**
   * Take a pin away, and the file under it.
   * @throws TscontainError (`ERR_NAMESPACE`) where no namespace is pinned at the path
   */
  static unpin(path: string): void {
    const target = readHostPath(path, 'path');
    attempt(() => addon().unpinNamespace(target), `unpinning ${target}`, target);
  }

  /**
   * Call a function while this thread is in the namespace, for the kinds that a thread may enter: net, uts, ipc, cgroup. It
   * must do all its work before it returns: sockets that it opens stay in the namespace, but what it starts for later runs
   * where this thread is then, and what other threads do for it, such as most of `node:fs`, never was in the namespace.
   * The thread is back when this returns or throws; where the kernel refuses that, the process is aborted.
   * @throws UnsupportedError with the reason for user, mnt, pid and time; PermissionError without CAP_SYS_ADMIN;
   *   OptionError for a function that is async or returns a promise; and what the function throws
   */
  runSync<T>(kind: NamespaceKind, call: () => T): T {
    const own = readKind(kind, 'kind');
    const refusal = refusals[own];
    if (refusal !== undefined) {
      throw new UnsupportedError(`this thread cannot enter a ${own} namespace: ${refusal}`, {
        syscall: 'setns',
        hint: 'start a program in it with spawn',
      });
    }
    const expected = 'a function that has done its work when it returns';
    const hint = 'what an async function does after its first await would run outside the namespace';
    if (typeof call !== 'function') throw new OptionError('call', expected, call);
    if (/^\[object Async/.test(Object.prototype.toString.call(call)))
      throw new OptionError('call', expected, call, { hint });
    const descriptor = this.descriptor(own);
    let called = false;
    const counted = () => {
      called = true;
      return call();
    };
    let result: T;
    try {
      result = addon().inNamespace(descriptor, kindFlag[own], own, counted);
    } catch (error) {
      throw called ? error : failure(error, `entering the ${own} namespace`);
    }
    if (isThenable(result)) {
      result.then(undefined, () => {}); // its failure is not what there is to tell
      throw new OptionError('call', expected, result, { hint });
    }
    return result;
  }

  /**
   * Start a program in these namespaces, as the function `spawn` does; `namespaces` are others beside these.
   * @throws OptionError at once, for options that are wrong
   */
  spawn(argv: Argv, options: SpawnOptions = {}): ContainerProcess {
    const { namespaces = [] } = copyObject(options, '') as SpawnOptions;
    const others = namespaces instanceof Namespace ? [namespaces] : namespaces;
    return spawn(argv, { ...options, namespaces: Array.isArray(others) ? [this, ...others] : others });
  }

  /** @internal The descriptor of a kind, which stays this object's. */
  descriptor(kind?: NamespaceKind): Descriptor {
    const own = this.#only(kind);
    const descriptor = this.#descriptors.get(own);
    if (!descriptor) throw new OptionError('kind', `one of those held: ${this.kinds.join(', ')}`, own);
    if (!descriptor.open) throw new TscontainError('ERR_CLOSED', 'the namespace has been closed');
    return descriptor;
  }

  #only(kind: NamespaceKind | undefined): NamespaceKind {
    if (kind !== undefined) return readKind(kind, 'kind');
    const [only, another] = this.kinds;
    if (only === undefined || another !== undefined) {
      throw new OptionError('kind', `which one of those held: ${this.kinds.join(', ')}`, kind);
    }
    return only;
  }

  /** Let go of it. What is in it, or bound to a path, stays; in a pid namespace made here everything ends. */
  async close(): Promise<void> {
    for (const descriptor of this.#descriptors.values()) if (descriptor.open) descriptor.close();
    await this.#agent?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function slotOf(kind: NamespaceKind): string {
  return `namespace ${kind}`;
}

function openOwn(kind: NamespaceKind): Step {
  return { kind: 'open', to: slotOf(kind), from: null, path: `/proc/self/ns/${kind}`, flags: 0, resolve: 0 };
}

function pathOf(kind: NamespaceKind, from: unknown): string {
  if (typeof from === 'string') return readHostPath(from, 'from');
  if (typeof from === 'number') {
    if (Number.isSafeInteger(from) && from > 0 && from <= largestPid) return `/proc/${from}/ns/${kind}`;
  } else if (typeof from === 'object' && from !== null && 'fd' in from) {
    const { fd } = from;
    if (typeof fd === 'number' && Number.isSafeInteger(fd) && fd >= 0) return `/proc/self/fd/${fd}`;
  }
  throw new OptionError('from', 'a process id, a path, or { fd }', from);
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    (typeof value === 'object' || typeof value === 'function') &&
    value !== null &&
    'then' in value &&
    typeof value.then === 'function'
  );
}

function errnoOf(error: unknown): string | undefined {
  const { errno } = error as { errno?: unknown };
  return typeof errno === 'number' ? errnoName(errno) : undefined;
}

function attempt<T>(call: () => T, doing: string, path?: string): T {
  try {
    return call();
  } catch (error) {
    throw failure(error, doing, path);
  }
}

/** An error of the addon, as one of ours. */
function failure(error: unknown, doing: string, path?: string): unknown {
  const errno = errnoOf(error);
  if (errno === undefined) return error;
  const details = { errno, path, syscall: (error as { syscall?: string }).syscall };
  const message = `${doing}: ${errno}`;
  switch (errno) {
    case 'EPERM':
    case 'EACCES':
      return new PermissionError(message, {
        ...details,
        hint: 'this needs CAP_SYS_ADMIN, and for namespaces of other users’ processes CAP_SYS_PTRACE',
      });
    case 'ENOTTY':
      return new TscontainError('ERR_NAMESPACE', `${doing}: the file is no namespace`, {
        ...details,
        hint: 'namespaces are files such as /proc/<pid>/ns/net, or those that one of them is bound to',
      });
    case 'EINVAL':
      return new TscontainError('ERR_NAMESPACE', message, {
        ...details,
        hint: 'a mount namespace is only pinned on a private mount, outside of itself',
      });
    case 'EEXIST':
      return new TscontainError('ERR_NAMESPACE', message, {
        ...details,
        hint: 'the file for a pin is made, and nothing that is there is replaced; unpin it where it is an old pin',
      });
    case 'ENOENT':
    case 'ESRCH':
      return new TscontainError('ERR_NAMESPACE', message, { ...details, hint: 'there is no such file or process' });
  }
  return new TscontainError('ERR_NAMESPACE', message, details);
}
