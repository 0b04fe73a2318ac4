/**
 * A control group as an object: made or opened, limited, measured, watched, frozen, ended. What a controller can do is in
 * `controllers/`, where the cgroup is in `placement.ts`, what happens to it in `events.ts`.
 */

import { readFile } from 'node:fs/promises';
import {
  copyObject,
  defineSchema,
  expectKeys,
  readBoolean,
  readInteger,
  readObject,
} from '../../container/settings/schema.js';
import { PermissionError } from '../../errors.js';
import type { Descriptor } from '../../launcher/native.js';
import { type Duration, parseDuration } from '../../units.js';
import { CgroupController, MemoryController } from './controllers/access.js';
import type { ControllerKind } from './controllers/controller.js';
import { type CpuSettings, type CpuValues, cpu } from './controllers/cpu.js';
import { type CpusetSettings, type CpusetValues, cpuset } from './controllers/cpuset.js';
import { type HugetlbSettings, type HugetlbValues, hugetlb } from './controllers/hugetlb.js';
import { type IoSettings, type IoValues, io } from './controllers/io.js';
import { type MemorySettings, memory as memoryKind } from './controllers/memory.js';
import { type MiscSettings, misc } from './controllers/misc.js';
import { type PidsSettings, pids } from './controllers/pids.js';
import { type RdmaSettings, rdma } from './controllers/rdma.js';
import type { DeviceRule } from './device-program.js';
import { DeviceController, standardDevices } from './devices.js';
import { CgroupEvents } from './events.js';
import { errnoOf } from './failure.js';
import { type CgroupLayout, type Controller, cgroupLayout } from './layout.js';
import { absolutePath, cgroupPath } from './path.js';
import { Placement } from './placement.js';
import { settled } from './settle.js';
import { UnifiedFiles } from './unified.js';
import { type CgroupStats, Usage } from './usage.js';

/** What a cgroup is given, controller by controller. Sizes and durations as in `'64MiB'` and `'100ms'`. */
export interface CgroupSettings {
  readonly cpu?: CpuSettings;
  readonly cpuset?: CpusetSettings;
  readonly memory?: MemorySettings;
  readonly pids?: PidsSettings;
  readonly io?: IoSettings;
  readonly hugetlb?: HugetlbSettings;
  readonly rdma?: RdmaSettings;
  readonly misc?: MiscSettings;
  /** The devices that may be used, and no others. */
  readonly devices?: readonly DeviceRule[];
  /** Files of cgroup v2 and what to write into them as it is, for what is newer than this library. */
  readonly unified?: Readonly<Record<string, string>>;
}

/** How long to wait for the kernel to confirm; 10 s by default. */
export interface ConfirmOptions {
  readonly timeout?: Duration;
}

/** A descriptor for each way into a cgroup, for whoever starts a process there. The caller's; to be closed. */
export interface CgroupEntrance {
  /** The v2 directory, for `clone3` with `CLONE_INTO_CGROUP`. */
  readonly unified: Descriptor | undefined;
  /** `tasks` of each v1 hierarchy, into which the new process writes `0` before it does anything else. */
  readonly tasks: readonly Descriptor[];
}

const controllerKeys = ['cpu', 'cpuset', 'memory', 'pids', 'io', 'hugetlb', 'rdma', 'misc'] as const;
const schema = defineSchema([...controllerKeys, 'devices', 'unified']);
const ownSchema = defineSchema(['own']);
const processesSchema = defineSchema(['recursive']);
const userSchema = defineSchema(['uid', 'gid']);
const confirmSchema = defineSchema(['timeout']);
/** What a delegated user must be able to write, where /sys/kernel/cgroup/delegate cannot say (Linux 4.15). */
const delegated = ['cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control'] as const;
/** How often what arrives while it is being removed is killed too. */
const disposeTries = 20;
const mostIds = 2 ** 32 - 2;
const mostPids = 2 ** 22;

/**
 * A control group (cgroups(7)): a group of processes that share limits, are counted together, and can be frozen or ended
 * together. Where a controller is bound to cgroup v1 the same settings and statistics go to a directory there; what only
 * v2 has is an {@link UnsupportedError} then.
 *
 * ```ts
 * import { spawn } from 'node:child_process';
 * import { CgroupV2 } from 'tscontain';
 *
 * await using group = await CgroupV2.create('jobs/one', { memory: { max: '64MiB' }, pids: { max: 20 } });
 * const { pid } = spawn('sort', ['/etc/services']);
 * if (pid !== undefined) await group.attach(pid);
 * await group.cpu.set({ max: 0.5 });
 * (await group.stats()).memory.current; // bytes
 * ```
 *
 * An object **owns** the cgroup that it has made, and `await using` kills and removes that; an opened one only with
 * `{ own: true }`. Whether an object owns it or not, closing it leaves nothing open.
 *
 * To start a program in a cgroup, rather than to move it there: `spawn(argv, { cgroup: group })`.
 * Whoever starts processes by other means takes {@link CgroupV2.entrance}.
 */
export class CgroupV2 implements AsyncDisposable {
  /** Processor time. */
  readonly cpu: CgroupController<CpuSettings, CpuValues>;
  /** Processors and memory nodes. */
  readonly cpuset: CgroupController<CpusetSettings, CpusetValues>;
  readonly memory: MemoryController;
  /** Number of processes. */
  readonly pids: CgroupController<PidsSettings>;
  /** Block devices. */
  readonly io: CgroupController<IoSettings, IoValues>;
  /** Huge pages. */
  readonly hugetlb: CgroupController<HugetlbSettings, HugetlbValues>;
  readonly rdma: CgroupController<RdmaSettings>;
  readonly misc: CgroupController<MiscSettings>;
  /** Device nodes that may be used. */
  readonly devices: DeviceController;
  /** Any file of the v2 directory, as text. */
  readonly unified: UnifiedFiles;
  /** Whether {@link kill}, {@link freeze} and {@link remove} may be called. */
  readonly owned: boolean;
  readonly #placement: Placement;
  readonly #usage: Usage;
  #removed = false;
  #closed = false;

  private constructor(placement: Placement, owned: boolean) {
    this.#placement = placement;
    this.owned = owned;
    this.#usage = new Usage(placement);
    this.cpu = new CgroupController(placement, cpu);
    this.cpuset = new CgroupController(placement, cpuset);
    this.memory = new MemoryController(placement);
    this.pids = new CgroupController(placement, pids);
    this.io = new CgroupController(placement, io);
    this.hugetlb = new CgroupController(placement, hugetlb);
    this.rdma = new CgroupController(placement, rdma);
    this.misc = new CgroupController(placement, misc);
    this.devices = new DeviceController(placement);
    this.unified = new UnifiedFiles(placement);
  }

  /** The hierarchies of this host, which controller is in which, and which can be used. */
  static layout(): CgroupLayout {
    return cgroupLayout();
  }

  /** Rules for the device nodes that any program may have. */
  static readonly standardDevices: readonly DeviceRule[] = standardDevices;

  /**
   * Makes a cgroup beneath the library's base (`CgroupV2.layout()` says where that is), and what is missing above it.
   * When a setting is refused, nothing is left.
   * @param path names of letters, digits, `_`, `.` and `-`, separated by `/`
   * @throws OptionError for a wrong path or setting
   * @throws UnsupportedError where this host cannot make cgroups, or lacks a controller
   * @throws TscontainError `ERR_EXISTS` where it is there already
   */
  static async create(path: string, settings: CgroupSettings = {}): Promise<CgroupV2> {
    const components = cgroupPath(path, 'path');
    return CgroupV2.#finish((needed) => Placement.make(cgroupLayout(), components, needed), settings);
  }

  /**
   * Opens a cgroup that is there: beneath the library's base, or any by its absolute path. By a path it is in one hierarchy
   * only; by a name, in all where it is.
   */
  static async open(path: string, options: { readonly own?: boolean } = {}): Promise<CgroupV2> {
    const own = readBoolean(readObject(options, 'options', ownSchema).own, 'options.own', false);
    const layout = cgroupLayout();
    const placement =
      typeof path === 'string' && path.startsWith('/')
        ? Placement.openPath(layout, absolutePath(path, 'path'))
        : Placement.find(layout, cgroupPath(path, 'path'));
    return new CgroupV2(placement, own);
  }

  /** The cgroup of this process. Never owned. */
  static async self(): Promise<CgroupV2> {
    return new CgroupV2(Placement.own(cgroupLayout()), false);
  }

  /** Makes the cgroup and gives it the settings; what fails leaves nothing. */
  static async #finish(
    place: (needed: ReadonlySet<Controller>) => Promise<Placement>,
    settings: CgroupSettings,
  ): Promise<CgroupV2> {
    // Values are checked before anything is made; whether the host has the keys, before anything is written.
    const checked = checkSettings(settings);
    const group = new CgroupV2(await place(new Set(checked.controllers)), true);
    try {
      await group.#update(settings, false);
      return group;
    } catch (error) {
      await group.remove().finally(() => group.close());
      throw error;
    }
  }

  /** The directory that names it: in the v2 tree, if there is one. */
  get path(): string {
    return this.#placement.path;
  }

  /** Its directory in every hierarchy that it is in. */
  get paths(): readonly string[] {
    return this.#placement.directories.map(({ path }) => path);
  }

  /** Makes a cgroup below this one. */
  async child(path: string, settings: CgroupSettings = {}): Promise<CgroupV2> {
    const components = cgroupPath(path, 'path');
    return CgroupV2.#finish((needed) => this.#placement.makeChild(components, needed), settings);
  }

  /** Names of the cgroups directly below. */
  async children(): Promise<string[]> {
    const names = await Promise.all(this.#placement.directories.map((directory) => directory.list('children')));
    return [...new Set(names.flat())].sort();
  }

  /**
   * Writes what is given and leaves the rest, in the order of the controllers; all is checked first.
   * The same as `set` of each controller.
   */
  async update(settings: CgroupSettings): Promise<void> {
    await this.#update(settings, true);
  }

  async #update(settings: CgroupSettings, update: boolean): Promise<void> {
    const fields = checkSettings(settings).settings;
    const writes: (() => Promise<void>)[] = [];
    const queue = <Settings extends object, Values extends object>(
      controller: CgroupController<Settings, Values>,
      given: Settings | undefined,
    ): void => {
      if (given === undefined) return;
      const values = controller.check(given);
      writes.push(() => controller.apply(values, update));
    };
    for (const key of controllerKeys) queue(this[key] as CgroupController<object>, fields[key]);
    const { devices, unified } = fields;
    if (devices !== undefined) this.#placement.needUnified('set device rules of');
    if (unified !== undefined) this.#placement.needUnified('write files of');
    for (const write of writes) await write();
    if (unified !== undefined) await this.unified.set(unified);
    if (devices !== undefined) await this.devices.set(devices);
  }

  /** What it has used and uses, children included. Its files stay open from the first call on. */
  stats(): Promise<CgroupStats> {
    return this.#usage.read();
  }

  /** Events of it, from now on. Close what is returned. */
  watch(): Promise<CgroupEvents> {
    return CgroupEvents.open(this.#placement);
  }

  /** Processes in it, without those of children unless `recursive`. */
  async processes(options: { readonly recursive?: boolean } = {}): Promise<number[]> {
    const recursive = readBoolean(
      readObject(options, 'options', processesSchema).recursive,
      'options.recursive',
      false,
    );
    const [directory] = this.#placement.directories;
    if (!directory) return [];
    return [...new Set(await directory.processes(recursive))];
  }

  /**
   * Moves a process here with all its threads, in every hierarchy. Children that it has already stay where they are.
   * @throws TscontainError `EBUSY` where this cgroup hands controllers to children (no internal processes)
   */
  async attach(pid: number): Promise<void> {
    readInteger(pid, 'pid', 1, mostPids);
    for (const directory of this.#placement.directories) await directory.write('cgroup.procs', `${pid}`);
  }

  /** Descriptors by which a process can be started in here: see {@link CgroupEntrance}. */
  entrance(): CgroupEntrance {
    const tasks: Descriptor[] = [];
    let unified: Descriptor | undefined;
    try {
      for (const directory of this.#placement.directories) {
        if (directory.version === 2) unified = directory.duplicate();
        else tasks.push(directory.openFile('tasks', 'write'));
      }
    } catch (error) {
      for (const descriptor of [...tasks, unified]) descriptor?.close();
      throw error;
    }
    return { unified, tasks };
  }

  /**
   * Gives the subtree to a user, who can then make cgroups in it and move processes within it: the v2 directory, and of its
   * files those that /sys/kernel/cgroup/delegate names. Limits stay the caller's. v1 hierarchies are not safe to delegate
   * and stay as they are. The files that were given.
   */
  async delegate(user: { readonly uid: number; readonly gid: number }): Promise<string[]> {
    this.#needOwned('delegate');
    const { uid, gid } = readObject(user, 'user', userSchema);
    const ids = [readInteger(uid, 'user.uid', 0, mostIds), readInteger(gid, 'user.gid', 0, mostIds)] as const;
    const listed = await readFile('/sys/kernel/cgroup/delegate', 'utf8').catch(() => '');
    const files = new Set([...delegated, ...listed.split(/\s+/).filter((file) => /^[a-z][a-z.]*$/.test(file))]);
    return this.#placement.needUnified('delegate').chown([...files], ...ids);
  }

  /** Stops every process in it and below, and resolves when the kernel says that they have. */
  async freeze(options: ConfirmOptions = {}): Promise<void> {
    await this.#setFrozen(1, options);
  }

  /** Lets them go on. */
  async thaw(options: ConfirmOptions = {}): Promise<void> {
    await this.#setFrozen(0, options);
  }

  async #setFrozen(state: 0 | 1, options: ConfirmOptions): Promise<void> {
    this.#needOwned(state === 1 ? 'freeze' : 'thaw');
    const timeout = readTimeout(options);
    const tree = this.#placement.needUnified('freeze');
    await tree.write('cgroup.freeze', `${state}`);
    await settled(tree, 'frozen', state, timeout);
  }

  /** Ends every process in it and below (cgroup.kill, Linux 5.14), and resolves when none is left. */
  async kill(options: ConfirmOptions = {}): Promise<void> {
    this.#needOwned('kill');
    const timeout = readTimeout(options);
    const tree = this.#placement.needUnified('kill');
    const end = async () => {
      try {
        await tree.write('cgroup.kill', '1');
        return true;
      } catch (error) {
        if (await tree.isGone()) return false;
        throw error;
      }
    };
    // A program on its way into it may come after the first time.
    if (await end()) await settled(tree, 'populated', 0, timeout, end);
  }

  /**
   * Removes it and its children. Another cgroup that has come to its path meanwhile is left alone.
   * @throws TscontainError `EBUSY` while processes are in it
   */
  async remove(): Promise<void> {
    this.#needOwned('remove');
    if (this.#removed) return;
    await this.#placement.remove();
    this.#removed = true;
  }

  /** Closes its descriptors. The cgroup stays. */
  async close(): Promise<void> {
    this.#closed = true;
    this.devices.release();
    await this.#placement.close();
  }

  /** Kills and removes it where it is owned, and closes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (!this.owned || this.#removed || this.#closed) return;
      for (let left = disposeTries; !this.#removed; left--) await this.#end(left <= 1);
    } finally {
      await this.close();
    }
  }

  /** A program on its way into it may come between the two. */
  async #end(isLast: boolean): Promise<void> {
    if (this.#placement.unified) await this.kill();
    try {
      await this.remove();
    } catch (error) {
      if (isLast || errnoOf(error) !== 'EBUSY') throw error;
    }
  }

  #needOwned(verb: string): void {
    if (this.owned) return;
    throw new PermissionError(`cannot ${verb} ${this.path}: this object did not make it`, {
      path: this.path,
      hint: 'open it with { own: true } if it is yours to end',
    });
  }
}

/** The settings with every value checked, and the controllers they need. */
function checkSettings(settings: CgroupSettings): { settings: CgroupSettings; controllers: Controller[] } {
  const fields = expectKeys(copyObject(settings, 'settings'), '', schema) as CgroupSettings;
  const kinds = { cpu, cpuset, memory: memoryKind, pids, io, hugetlb, rdma, misc };
  const controllers = controllerKeys.filter((key) => fields[key] !== undefined);
  for (const key of controllers) (kinds[key] as ControllerKind<object, object>).parse(fields[key] ?? {}, key);
  if (fields.devices !== undefined) DeviceController.check(fields.devices, 'devices');
  if (fields.unified !== undefined) UnifiedFiles.check(fields.unified);
  return { settings: fields, controllers };
}

function readTimeout(options: ConfirmOptions): number {
  const { timeout = '10s' } = readObject(options, 'options', confirmSchema);
  return parseDuration(timeout, 'options.timeout', { min: 1 });
}
