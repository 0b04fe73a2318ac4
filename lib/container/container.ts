/** The public face: a container made from options, and what one does with it. */

import { EventEmitter } from 'node:events';
import type TypedEmitter from 'typed-emitter';
import { AbortedError, OptionError, TscontainError, UnsupportedError } from '../errors.js';
import { launcherConfiguration } from '../host/configuration.js';
import type { Image } from '../image/image.js';
import { ImageStore } from '../image/store/index.js';
import { launcher } from '../launcher/launcher.js';
import type { Descriptor } from '../launcher/native.js';
import type { ContainerNetwork } from '../network/bridge/container-network.js';
import { ContainerEgress } from '../network/egress/egress.js';
import type { DeniedEgress } from '../network/egress/options.js';
import { describeStep } from '../plan/describe.js';
import { Plan } from '../plan/plan.js';
import { type ContainerStats, cgroupLayout } from '../primitives/cgroup/index.js';
import type { OverlayChange } from '../primitives/mount/changes.js';
import type { DeniedCall, SystemCallFacts } from '../primitives/seccomp/index.js';
import { expectCapabilitiesWithin } from '../process/attributes/capabilities.js';
import { expectPermitted, overlayAttributes } from '../process/attributes/settings.js';
import { parseDuration } from '../units.js';
import { type Blueprint, describeProcess, makeBlueprint } from './blueprint.js';
import { containerChanges } from './changes.js';
import { type CommitOptions, commitContainer } from './commit.js';
import { type ExportOptions, exportRoot } from './export.js';
import { copyWritten, type ForkOptions, parseForkOptions } from './fork.js';
import { forkSnapshot } from './fork-snapshot.js';
import { ContainerFileSystem } from './fs.js';
import { type ContainerIdsInspection, idRelaxations, inspectIds } from './ids.js';
import { Instance, type InstanceEnd } from './instance.js';
import type { Argv, ContainerOptions, ExecOptions, RunOptions } from './options.js';
import { inTurn, isPaused, type Pausable, standsStill } from './paused.js';
import { flatten } from './plan/compile.js';
import type { DirectoryRoot } from './plan/directory-root.js';
import type { ProcessIdentity } from './plan/process.js';
import { group, passwd } from './plan/system-files.js';
import type { ContainerProcess } from './process.js';
import type { ExitReason, Result } from './result.js';
import {
  type ContainerSettings,
  type ExecSettings,
  parseArgv,
  parseContainerOptions,
  parseExecOptions,
  parseRunOptions,
} from './settings.js';
import { resolveSources, type SourceFacts } from './sources.js';
import { inspectStorage, onlyDriver, type StorageInspection } from './storage/bound.js';
import { sweepStateDirectory } from './storage/sweep.js';
import { type ContainerImage, type ImageUse, planImage, takeImage } from './stored-image.js';
import { readUserFiles } from './user-files.js';
import { imageUser, namedUser, numericUser, type ResolvedUser, type UserFiles } from './users.js';
import { expectOwnRoot, viewChanges } from './views.js';

/** How a container ended. */
export interface ContainerEnd {
  readonly reason: ExitReason | undefined;
  /** What it had used in the end; undefined if the launcher was killed. */
  readonly stats: ContainerStats | undefined;
}

/** What a container tells of. A type, not an interface: typed-emitter asks for an index signature. */
export type ContainerEvents = {
  /** The kernel ran out of the container's memory and killed; everything that ran in it has been ended. */
  oom: () => void;
  /** The container has ended, and nothing of it is left. */
  exit: (end: ContainerEnd) => void;
  /**
   * Something was refused. A system call of `process`, or of what it has started, only with `seccomp: { audit: true }`; or, with a
   * `kind`, a name or an outgoing connection, with `network: { egress }`.
   */
  denied: (refusal: DeniedCall | DeniedEgress, process: ContainerProcess | undefined) => void;
  /**
   * A handler of `seccomp.notify` failed, or answered what cannot be done; the call has failed with EPERM. Where nobody
   * listens, it is a warning of the process.
   */
  handlerError: (error: TscontainError, call: SystemCallFacts) => void;
};

/** What a container is, for a reader. */
export interface ContainerInspection {
  readonly id: string;
  readonly name: string | undefined;
  readonly hostname: string;
  /** Where its root comes from an image of a store. */
  readonly image: ContainerImage | undefined;
  readonly state: 'running' | 'ended';
  /** Process id of its init on the host. */
  readonly pid: number | undefined;
  /** Host ids of the container. */
  readonly ids: ContainerIdsInspection;
  readonly cgroup: string | undefined;
  readonly seccomp: 'default' | 'docker' | 'custom';
  readonly capabilities: readonly string[];
  readonly storage: StorageInspection;
  /** Every protection that was asked to be weaker, or that this host cannot give. Empty is what one wants to see. */
  readonly relaxations: readonly string[];
}

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const defaultGrace = 10_000;
const SIGTERM = 15;

const TypedEvents = EventEmitter as new () => TypedEmitter.default<ContainerEvents>;

/**
 * A container: namespaces, mounts, limits and filters around the programs that run in it.
 *
 * ```ts
 * await using box = await Container.create({ limits: { memory: '256MiB' } });
 * const { stdout } = await box.exec(['python3', '-c', 'print(6*7)']);
 * ```
 */
export class Container extends TypedEvents implements AsyncDisposable {
  /** Twelve hexadecimal digits. */
  readonly id: string;
  /** Files of the container, in the shape of node:fs/promises. */
  readonly fs: ContainerFileSystem;
  /** Its outgoing connections; undefined without `network: { egress }`. */
  readonly egress: ContainerEgress | undefined;

  readonly #settings: ContainerSettings;
  readonly #instance: Instance;
  readonly #image: ImageUse | undefined;
  /** Settles when its network is as it was asked for; nothing runs in it before. */
  readonly #connected: Promise<void>;
  #userFiles: Promise<UserFiles> | undefined;

  private constructor(settings: ContainerSettings, blueprint: Blueprint, single: boolean, image?: ImageUse) {
    super();
    this.#image = image;
    this.#settings = settings;
    this.id = blueprint.id;
    this.#instance = new Instance(
      blueprint,
      {
        oom: () => this.emit('oom'),
        gone: (end) => this.#onGone(end),
        denied: (call, process) => {
          settings.supervision?.onDenied?.(call);
          this.emit('denied', call, process);
        },
        handlerFailed: (error, call) => {
          if (!this.emit('handlerError', error, call)) process.emitWarning(error);
        },
      },
      single,
    );
    this.fs = new ContainerFileSystem((ints, paths, listener) => this.#instance.file(ints, paths, listener));
    const { network } = settings;
    this.egress = network.kind === 'egress' ? new ContainerEgress(network.egress) : undefined;
    this.egress?.on('denied', (refusal) => this.emit('denied', refusal, undefined));
    this.#connected = this.#connect();
    this.#connected.catch(() => {});
    settings.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  async #connect(): Promise<void> {
    await this.egress?.start((steps, take, doing) => this.#instance.run(steps, take, doing));
  }

  /**
   * Make a container and leave it running, with nothing in it.
   * @throws OptionError, UnsupportedError, PermissionError; AbortedError when `signal` aborts first; ImageError for an image
   *   that cannot be found, fetched or unpacked
   */
  static async create(options: ContainerOptions = {}): Promise<Container> {
    const settings = parseContainerOptions(options);
    throwIfAborted(settings.signal);
    const container = await Container.#make(settings, { single: false });
    try {
      await Promise.all([container.#instance.ready, container.#connected]);
      throwIfAborted(settings.signal);
    } catch (error) {
      await container.kill();
      throwIfAborted(settings.signal);
      throw error;
    }
    return container;
  }

  /** Takes the image, where it is one of a store, and gives it back when the container has ended, or comes to nothing. */
  static async #make(
    asked: ContainerSettings,
    { single, needsProgram = false }: { readonly single: boolean; readonly needsProgram?: boolean },
  ): Promise<Container> {
    const facts = await resolveSources(asked);
    checkUser(asked);
    if (asked.image.kind !== 'stored') return Container.#placed(asked, facts, single);
    const { settings, use } = await takeImage(asked, asked.image, { needsProgram });
    try {
      throwIfAborted(settings.signal);
      return Container.#placed(settings, onRoot(facts, use.root), single, use);
    } catch (error) {
      use.release();
      throw error;
    }
  }

  /** With its place in a network, where it is to have one: given back when it ends, or comes to nothing. */
  static #placed(settings: ContainerSettings, facts: SourceFacts, single: boolean, use?: ImageUse): Container {
    if (settings.network.kind !== 'bridge') return new Container(settings, makeBlueprint(settings, facts), single, use);
    const { network, address, publish } = settings.network;
    const place = network.reserve({ address, publish });
    try {
      const container = new Container(settings, makeBlueprint(settings, { ...facts, network: place }), single, use);
      network.named(place, container.id);
      return container;
    } catch (error) {
      place.abandon();
      throw error;
    }
  }

  /**
   * Run one program in a container of its own, and wait for it. The container ends with the program.
   * @param argv may be undefined for the program of an image (`Entrypoint` and `Cmd`)
   * @throws OptionError, UnsupportedError, PermissionError; TscontainError when it cannot be started; ExitError with `check`
   */
  static run(argv: Argv | undefined, options: RunOptions & { encoding: 'buffer' }): Promise<Result<Buffer>>;
  static run(argv: Argv | undefined, options?: RunOptions): Promise<Result>;
  static async run(argv: Argv | undefined, options: RunOptions = {}): Promise<Result | Result<Buffer>> {
    const program = argv === undefined ? undefined : parseArgv(argv);
    const settings = parseRunOptions(options);
    if (settings.container.image.kind !== 'stored') expectNoEntrypoint(settings.exec);
    const ofCaller = program !== undefined || Array.isArray(settings.exec.entrypoint);
    if (settings.container.image.kind !== 'stored' && !ofCaller) parseArgv(argv);
    throwIfAborted(settings.container.signal);
    if (settings.container.supervision?.audit && !settings.container.supervision.onDenied) {
      throw new OptionError('seccomp.audit', 'a function, as there is no container to listen to', true);
    }
    const container = await Container.#make(settings.container, { single: true, needsProgram: !ofCaller });
    try {
      if (container.egress) await container.#connected;
      return await container.#start(container.#program(program, settings.exec), settings.exec);
    } finally {
      await container.kill();
    }
  }

  /** What {@link create} (and then `argv`) would do, step by step; nothing is started, fetched or unpacked. */
  static async plan(options: ContainerOptions = {}, argv: Argv = ['/bin/true']): Promise<Plan> {
    const settings = parseContainerOptions(options);
    const program = parseArgv(argv);
    const facts = withPlace(settings, await resolveSources(settings));
    if (settings.image.kind !== 'stored') return makePlan(settings, makeBlueprint(settings, facts), program);
    const planned = await planImage(settings, settings.image);
    return makePlan(planned.settings, makeBlueprint(planned.settings, onRoot(facts, planned.root)), program);
  }

  /**
   * Remove what was left on the host by programs that are dead: cgroups, and directories of containers on disk, also in the
   * image stores that this process has opened, and the default one. Running containers, of this process or of others, are not
   * touched. Returns how many things were removed.
   */
  static async sweep(): Promise<number> {
    const reclaimed = await launcher(launcherConfiguration).reclaim();
    return reclaimed + (await sweepStateDirectory()) + (await ImageStore.sweepContainers());
  }

  /** What is given, after the entrypoint that was asked for; else the image's own. */
  #program(given: readonly string[] | undefined, { entrypoint }: ExecSettings): readonly string[] {
    if (!this.#image) expectNoEntrypoint({ entrypoint });
    if (Array.isArray(entrypoint)) return parseArgv([...entrypoint, ...(given ?? [])]);
    if (given !== undefined) {
      return entrypoint === 'image' ? parseArgv([...(this.#image?.entrypoint ?? []), ...given]) : given;
    }
    const argv = this.#image?.argv ?? [];
    if (argv.length === 0) throw new OptionError('argv', 'a program, as the image has none of its own', undefined);
    return argv;
  }

  /**
   * Start a program, by default that of the image. The handle is awaited for the result, iterated for output, disposed of to end it. A program that cannot
   * be started rejects the handle.
   * @throws OptionError at once, for options that are wrong
   */
  exec(argv?: Argv, options: ExecOptions = {}): ContainerProcess {
    const given = argv === undefined ? undefined : parseArgv(argv);
    const settings = parseExecOptions(options);
    return this.#start(this.#program(given, settings), settings);
  }

  #start(argv: readonly string[], settings: ExecSettings): ContainerProcess {
    const spec = settings.user ?? this.#settings.user;
    const cwd = settings.cwd ?? this.#settings.cwd;
    const { profile } = this.#instance.blueprint;
    const attributes = overlayAttributes(profile.attributes, settings.attributes);
    if (attributes !== profile.attributes) expectPermitted(attributes);
    expectCapabilitiesWithin(settings.capabilities, profile.capabilities, 'capabilities');
    const environment = (user: ResolvedUser) => ({ cwd, env: this.#environment(user, settings), attributes });
    if (spec.kind === 'ids') {
      const user = numericUser(spec);
      return this.#instance.start(argv, settings, user, environment(user));
    }
    if (this.#settings.image.kind === 'host' && spec.kind === 'name') {
      const user = namedUser(spec, { passwd, group });
      return this.#instance.start(argv, settings, user, environment(user));
    }
    // It must first be looked up in the image's own files.
    return this.#instance.startLater(argv, settings, async () => {
      const user = await this.#findUser(spec);
      return { identity: user as ProcessIdentity, environment: environment(user) };
    });
  }

  /** What a program has changed since the files were read counts where a name was not in them. */
  async #findUser(spec: Exclude<ContainerSettings['user'], { kind: 'ids' }>): Promise<ResolvedUser> {
    const look = (files: UserFiles) => (spec.kind === 'image' ? imageUser(spec, files) : namedUser(spec, files));
    const known = this.#userFiles;
    this.#userFiles ??= readUserFiles(this.fs);
    try {
      return look(await this.#userFiles);
    } catch (error) {
      this.#userFiles = undefined;
      if (known === undefined) throw error;
      return this.#findUser(spec);
    }
  }

  #environment(user: ResolvedUser, settings: ExecSettings): readonly (readonly [string, string])[] {
    const env = new Map<string, string>([
      ['PATH', defaultPath],
      ['HOME', user.home],
    ]);
    if (this.#image) env.set('HOSTNAME', this.#instance.blueprint.hostname);
    if (settings.tty) env.set('TERM', 'xterm');
    for (const [name, value] of this.#settings.env) env.set(name, value);
    for (const [name, value] of settings.env) env.set(name, value);
    return [...env];
  }

  /** Its place in a network, where it has one. */
  get network(): ContainerNetwork | undefined {
    return this.#instance.blueprint.network;
  }

  /** What it uses now, and has used. */
  async stats(): Promise<ContainerStats> {
    const stats = await this.#instance.stats();
    if (!stats) throw gone();
    return stats;
  }

  /**
   * Stop every process where it is, until {@link resume} (cgroup.freeze). Init stops too: results, and answers of `fs`,
   * come after it goes on. Settles when the kernel says that nothing moves any more.
   * @throws UnsupportedError where no cgroup v2 can do it; TscontainError `ERR_CONTAINER_GONE`, or `ERR_TIMEOUT` where a process has
   *   not stopped after five seconds, as in a wait that nothing interrupts: then all go on
   */
  pause(): Promise<void> {
    return inTurn(this.#instance, () => this.#freeze(true));
  }

  resume(): Promise<void> {
    return inTurn(this.#instance, () => this.#freeze(false));
  }

  async #freeze(on: boolean): Promise<void> {
    const unified = cgroupLayout().hierarchies.findIndex(({ version, writable }) => version === 2 && writable);
    if (unified < 0) {
      throw new UnsupportedError('this host has no cgroup v2 tree to freeze a container in', {
        hint: 'mount cgroup2 (hybrid layout is enough)',
      });
    }
    const write = async (value: '0' | '1') => {
      const errno = await this.#instance.write(unified, 'cgroup.freeze', value);
      if (errno === undefined) throw gone();
      if (errno !== 0) throw new TscontainError('ERR_FREEZE', 'the container could not be frozen or thawed', { errno });
    };
    await write(on ? '1' : '0');
    this.#instance.frozen = on;
    if (!on) return;
    try {
      await standsStill(cgroupLayout().hierarchies[unified]?.base ?? '', this.#instance);
    } catch (error) {
      await write('0').catch(() => {});
      this.#instance.frozen = false;
      throw error;
    }
  }

  /**
   * What has changed since it was made, found out while it is iterated over: a directory comes before what is in it. Our own
   * set-up is no change: `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, and what is there only to mount on. What is
   * mounted in the container is not looked into. What changes meanwhile may or may not be seen; {@link pause} helps only
   * after the first of it was asked for.
   * @throws UnsupportedError for `image: 'host'`; TscontainError `ERR_CONTAINER_GONE`, or `ERR_PAUSED` where it is paused
   * when the first is asked for
   */
  async *changes(): AsyncGenerator<OverlayChange, void, undefined> {
    expectOwnRoot(this.#settings, 'tell what has changed');
    const view = await viewChanges(this.#instance);
    try {
      yield* containerChanges(view, flatten(this.#instance.blueprint.steps.container));
    } finally {
      view.close();
    }
  }

  /**
   * Its whole root file system as a tar, read as fast as it is taken: `docker export`. What is mounted in it is left out, with
   * a directory or file to mount on in its place; devices and sockets are too. Owners are the container's ids.
   * @throws OptionError; UnsupportedError for `image: 'host'`; AbortedError; TscontainError `ERR_CONTAINER_GONE`, `ERR_PAUSED`
   */
  export(options: ExportOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    return exportRoot(this.#instance, this.#settings, options);
  }

  /**
   * Makes an image of it, in a store: `docker commit`. What {@link changes} tells of is one more layer of its image, or of
   * `base`; where it is of none, the whole root is the only one. Its files are read while everything in it stops, and it goes on
   * whatever comes of it. The same files give the same layer.
   * @throws OptionError; UnsupportedError for `image: 'host'`, or where no cgroup v2 can pause it; ImageError for a name that
   * is another image's, or a configuration that is none; AbortedError; TscontainError `ERR_CONTAINER_GONE`, `ERR_PAUSED`
   */
  commit(options: CommitOptions = {}): Promise<Image> {
    return commitContainer(this.#pausable(), this.#image?.image, options);
  }

  /**
   * Another container with the same options and the same files: what was written here is copied, while everything here stops,
   * and then this one goes on, whatever comes of it. Processes are not copied.
   * @throws OptionError; UnsupportedError for `image: 'host'`, or where no cgroup v2 can pause it; TscontainError with the path
   *   where copying failed, `ERR_CONTAINER_GONE`, `ERR_PAUSED`
   */
  async fork(options: ForkOptions = {}): Promise<Container> {
    const parsed = parseForkOptions(options);
    const settings = this.#settings;
    expectOwnRoot(settings, 'be forked');
    const facts = await resolveSources(settings);
    const use = await this.#image?.again();
    const source = this.#pausable();
    const begin = (more: Pick<SourceFacts, 'root' | 'filled'>): Container => {
      try {
        return Container.#placed(settings, { ...facts, ...more }, false, use);
      } catch (error) {
        use?.release();
        throw error;
      }
    };
    const root = use?.root;
    if (root?.driver === 'btrfs') {
      try {
        return await forkSnapshot(source, parsed, root, (from) => Container.#started(begin({ root: from })));
      } catch (error) {
        use?.release();
        throw error;
      }
    }
    const fork = begin({ filled: true, ...(root && { root }) });
    return await Container.#started(fork, copyWritten(source, fork.#instance, parsed));
  }

  /** A container that is ready, once what its plan waits for is done; or nothing of it. */
  static async #started(container: Container, filling?: Promise<void>): Promise<Container> {
    try {
      await Promise.all([filling, container.#instance.ready, container.#connected]);
      return container;
    } catch (error) {
      await container.kill();
      throw error;
    }
  }

  #pausable(): Pausable {
    const pause = () => this.#freeze(true);
    return { instance: this.#instance, settings: this.#settings, pause, resume: () => this.#freeze(false) };
  }

  /** The steps that made it, and that start `argv` in it. */
  plan(argv: Argv = ['/bin/true']): Plan {
    return makePlan(this.#settings, this.#instance.blueprint, parseArgv(argv));
  }

  /** @internal Its network namespace, as init opens its own: that needs no right over a process that is not to be looked into. */
  async networkNamespace(): Promise<Descriptor> {
    await this.#instance.ready;
    if (this.#instance.frozen) throw isPaused();
    const from = { kind: 'open', to: 'network', from: 'proc', path: 'self/ns/net', flags: 0, resolve: 0 } as const;
    const [network] = await this.#instance.run([from], ['network'], "opening the container's network");
    if (network === undefined) throw new Error('init has handed out too little');
    return network;
  }

  inspect(): ContainerInspection {
    const { blueprint, pid, firstId, cgroup, isGone } = this.#instance;
    const lost = blueprint.relaxed.map(({ limit, reason }) => `limits.${limit} is not enforced: ${reason}`);
    return {
      id: this.id,
      name: this.#settings.name,
      hostname: blueprint.hostname,
      image: this.#image?.inspection,
      state: isGone ? 'ended' : 'running',
      pid,
      ids: inspectIds(firstId),
      cgroup,
      seccomp: this.#settings.seccompName,
      capabilities: blueprint.profile.capabilities.toArray(),
      storage: inspectStorage(
        this.#settings.storage,
        this.#image?.driver ?? onlyDriver(this.#settings.image.kind === 'host' ? 'host' : 'directories'),
      ),
      relaxations: [...this.#settings.relaxations, ...lost, ...idRelaxations()],
    };
  }

  /** Settles when the container has ended, however it does. */
  async wait(): Promise<ContainerEnd> {
    const { stats } = await this.#instance.wait();
    return { reason: this.#instance.ending, stats };
  }

  /**
   * SIGTERM, or the signal that the image names, to every program started by `exec`; what is still there after `grace` (default 10 s) is killed, and with it
   * everything else in the container.
   */
  async stop({ grace = defaultGrace }: { grace?: number | string } = {}): Promise<ContainerEnd> {
    const patience = parseDuration(grace, 'grace');
    if (this.#instance.frozen) await this.resume().catch(() => {});
    const { processes } = this.#instance;
    if (processes.length > 0 && patience > 0) {
      this.#instance.ending ??= 'stopped';
      this.#instance.signalAll(this.#image?.stopSignal ?? SIGTERM);
      let timer: NodeJS.Timeout | undefined;
      const expired = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, patience);
      });
      await Promise.race([Promise.allSettled(processes), this.#instance.gone, expired]);
      clearTimeout(timer);
    }
    return this.kill();
  }

  /** End everything at once, and wait until nothing is left. */
  kill(): Promise<ContainerEnd> {
    this.#instance.kill('stopped');
    return this.wait();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  readonly #onAbort = () => this.#instance.kill('aborted');

  #onGone(end: InstanceEnd): void {
    this.#settings.signal?.removeEventListener('abort', this.#onAbort);
    this.#image?.release();
    this.egress?.close();
    const { network } = this.#settings;
    if (network.kind === 'bridge' && this.network) network.network.release(this.network);
    this.emit('exit', { reason: this.#instance.ending, stats: end.stats });
  }
}

/** For a plan that is only shown: with an address that the container could have. */
function withPlace({ network }: ContainerSettings, facts: SourceFacts): SourceFacts {
  if (network.kind !== 'bridge') return facts;
  const place = network.network.reserve({ address: network.address, publish: [] });
  place.abandon();
  return { ...facts, network: place };
}

/** A name that the container will not have is an error before anything starts, where its accounts are known already. */
function checkUser({ image, user }: ContainerSettings): void {
  if (image.kind === 'host' && user.kind === 'name') namedUser(user, { passwd, group });
}

/** That of an image is asked for in vain where there is none. */
function expectNoEntrypoint({ entrypoint }: { readonly entrypoint?: ExecSettings['entrypoint'] | undefined }): void {
  if (entrypoint !== 'image') return;
  throw new OptionError('entrypoint', 'a program, as the container is of no image that has one', entrypoint);
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortedError('aborted before the container was ready', { cause: signal.reason });
}

function onRoot(facts: SourceFacts, root: DirectoryRoot | undefined): SourceFacts {
  return root ? { ...facts, root } : facts;
}

function gone(): TscontainError {
  return new TscontainError('ERR_CONTAINER_GONE', 'the container has ended');
}

function makePlan(settings: ContainerSettings, blueprint: Blueprint, argv: readonly string[]): Plan {
  const identity = settings.user.kind === 'ids' ? numericUser(settings.user) : foundUserOrRoot(settings.user);
  return new Plan({
    launcher: flatten(blueprint.steps.host).map((step) => ({ where: 'launcher', step, ...describeStep(step) })),
    init: flatten(blueprint.steps.container),
    process: describeProcess(blueprint, argv, identity, settings.cwd),
  });
}

/** For a plan only: what is known without the files of a container that runs. */
function foundUserOrRoot(spec: Exclude<ContainerSettings['user'], { kind: 'ids' }>): ResolvedUser {
  try {
    return spec.kind === 'image' ? imageUser(spec, { passwd: '', group: '' }) : namedUser(spec, { passwd, group });
  } catch {
    return numericUser({ kind: 'ids', uid: 0, gid: 0 });
  }
}
