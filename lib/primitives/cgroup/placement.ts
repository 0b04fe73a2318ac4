/**
 * Where one cgroup is: a directory in the v2 tree and, where controllers are bound to v1, one in each of their
 * hierarchies. All are made, found and removed together.
 */

import { mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { TscontainError, UnsupportedError } from '../../errors.js';
import { baseSteps, commonControllers } from './base.js';
import { CgroupDirectory } from './directory.js';
import { cgroupFailure, errnoOf } from './failure.js';
import type { CgroupLayout, Controller, Hierarchy } from './layout.js';

/** How often, and how many milliseconds apart, removal is tried while the kernel still takes processes out. */
const removeTries = 50;
const removePause = 10;
/** How often a cgroup is made while what is above it comes and goes. */
const makeTries = 20;

/** A directory by its parent's path, its hierarchy's version and its name. */
interface OnTheWay {
  readonly path: string;
  readonly version: 1 | 2;
  readonly name: string;
}

/** The directories of one cgroup. */
export class Placement {
  readonly layout: CgroupLayout;
  /** By index into `layout.hierarchies`, ascending: the v2 tree is first. */
  readonly #directories: ReadonlyMap<number, CgroupDirectory>;

  /** Directories that were made on the way to cgroups, and for nothing else: they go with the last one in them. */
  static readonly #onTheWay = new Set<string>();
  /** The directories between the base and it, outermost first. */
  #above: readonly OnTheWay[] = [];

  private constructor(layout: CgroupLayout, directories: ReadonlyMap<number, CgroupDirectory>) {
    this.layout = layout;
    this.#directories = directories;
  }

  /** Makes a cgroup beneath the base, and what is missing above it. @throws TscontainError where it exists already */
  static async make(
    layout: CgroupLayout,
    components: readonly string[],
    needed: ReadonlySet<Controller>,
  ): Promise<Placement> {
    return Placement.#unlessRemoved(components, async () => {
      const base = await openBase(layout, needed);
      return Placement.#descend(base, components, needed);
    });
  }

  /** Once more, where a directory on the way was removed meanwhile, as it is with the last cgroup in it. */
  static async #unlessRemoved(components: readonly string[], make: () => Promise<Placement>): Promise<Placement> {
    for (let left = components.length > 1 ? makeTries : 1; ; left--) {
      try {
        return await make();
      } catch (error) {
        if (left <= 1 || !['ENOENT', 'ENODEV'].includes(errnoOf(error) ?? '')) throw error;
      }
    }
  }

  /** Makes a child of this cgroup. */
  makeChild(components: readonly string[], needed: ReadonlySet<Controller>): Promise<Placement> {
    return Placement.#unlessRemoved(components, () => this.#makeChild(components, needed));
  }

  async #makeChild(components: readonly string[], needed: ReadonlySet<Controller>): Promise<Placement> {
    const copies = [...this.#directories].map(
      ([index, { path, version }]) => [index, CgroupDirectory.open(path, version)] as const,
    );
    for (const [index, copy] of copies) {
      if (!this.#directories.get(index)?.isSame(copy)) throw cgroupFailure('open', copy.path, { code: 'ENODEV' });
    }
    return Placement.#descend(new Placement(this.layout, new Map(copies)), components, needed);
  }

  /** Goes down from `start`, which it closes, making directories. What it has made is removed when it fails. */
  static async #descend(
    start: Placement,
    components: readonly string[],
    needed: ReadonlySet<Controller>,
  ): Promise<Placement> {
    const made: { parent: CgroupDirectory; name: string }[] = [];
    const above: OnTheWay[] = [];
    const passed: Placement[] = [start];
    try {
      let current = start;
      for (const [depth, name] of components.entries()) {
        await current.#handDown(needed);
        const children = new Map<number, CgroupDirectory>();
        const next = new Placement(start.layout, children);
        passed.push(next);
        for (const [index, parent] of current.#directories) {
          const { path, version } = parent;
          const isLast = depth === components.length - 1;
          if (!isLast) above.push({ path, version, name });
          if (await parent.makeChild(name)) {
            made.push({ parent, name });
            if (!isLast) Placement.#onTheWay.add(`${path}/${name}`);
          } else if (isLast) {
            throw new TscontainError('ERR_EXISTS', `cannot make the cgroup ${parent.path}/${name}: it exists`, {
              path: `${parent.path}/${name}`,
              hint: 'open it, or remove it first',
            });
          }
          children.set(index, parent.openChild(name));
        }
        await next.#fillCpuset();
        current = next;
      }
      current.#above = above;
      await Promise.all(passed.slice(0, -1).map((placement) => placement.close()));
      return current;
    } catch (error) {
      for (const { parent, name } of made.reverse()) await parent.removeChild(name).catch(() => false);
      await Placement.#removeEmpty(above).catch(() => {});
      await Promise.all(passed.map((placement) => placement.close()));
      throw error;
    }
  }

  /** Finds a cgroup beneath the base. @throws TscontainError where there is none */
  static find(layout: CgroupLayout, components: readonly string[]): Placement {
    const path = components.join('/');
    const placement = Placement.#openEach(layout, (hierarchy) => `${hierarchy.base}/${path}`);
    placement.#above = components.slice(0, -1).flatMap((name, depth) =>
      [...placement.#directories.keys()].flatMap((index): OnTheWay[] => {
        const { base, version } = layout.hierarchies[index] ?? {};
        if (base === undefined || version === undefined) return [];
        return [{ path: [base, ...components.slice(0, depth)].join('/'), version, name }];
      }),
    );
    return placement;
  }

  /** The cgroup at an absolute path, in the one hierarchy that the path is in. */
  static openPath(layout: CgroupLayout, path: string): Placement {
    const within = ({ mount }: Hierarchy): boolean => path === mount || path.startsWith(`${mount}/`);
    const index = layout.hierarchies.findIndex(within);
    const hierarchy = layout.hierarchies[index];
    if (!hierarchy) {
      throw new TscontainError('ERR_CGROUP', `${path} is in none of the cgroup hierarchies of this process`, {
        path,
        hint: `they are at ${layout.hierarchies.map(({ mount }) => mount).join(', ')}`,
      });
    }
    return new Placement(layout, new Map([[index, CgroupDirectory.open(path, hierarchy.version)]]));
  }

  /** The cgroup of this process, in every hierarchy. */
  static own(layout: CgroupLayout): Placement {
    return Placement.#openEach(layout, ({ own }) => own);
  }

  /** The bases in these hierarchies. */
  static bases(layout: CgroupLayout, indexes: readonly number[]): Placement {
    return Placement.#openEach(layout, ({ base }) => base, indexes);
  }

  static #openEach(
    layout: CgroupLayout,
    pathIn: (hierarchy: Hierarchy) => string,
    indexes: readonly number[] = [...layout.hierarchies.keys()],
  ): Placement {
    const directories = new Map<number, CgroupDirectory>();
    let failure: unknown;
    for (const index of indexes) {
      const hierarchy = layout.hierarchies[index];
      if (!hierarchy) continue;
      try {
        directories.set(index, CgroupDirectory.open(pathIn(hierarchy), hierarchy.version));
      } catch (error) {
        failure ??= error;
        // What is missing in the v2 tree is missing; a v1 hierarchy may have been left out.
        if (hierarchy.version === 2) throw error;
      }
    }
    if (directories.size === 0) throw failure ?? noHierarchy();
    return new Placement(layout, directories);
  }

  get directories(): readonly CgroupDirectory[] {
    return [...this.#directories.values()];
  }

  /** The directory in a hierarchy, undefined where it has none there. */
  at(index: number): CgroupDirectory | undefined {
    return this.#directories.get(index);
  }

  /** The directory in the v2 tree. */
  get unified(): CgroupDirectory | undefined {
    return this.directories.find(({ version }) => version === 2);
  }

  /** The directory in the v2 tree, for what only that can do. */
  needUnified(what: string): CgroupDirectory {
    if (this.unified) return this.unified;
    throw new UnsupportedError(`cannot ${what} ${this.path}: it is not in the cgroup v2 tree`, {
      path: this.path,
      hint: 'mount cgroup2 (the hybrid layout is enough)',
    });
  }

  /** The first directory, which names the cgroup. */
  get path(): string {
    return this.directories[0]?.path ?? '';
  }

  /** Where a controller is, undefined where it is not in this cgroup. */
  find(controller: Controller): CgroupDirectory | undefined {
    const hierarchy = this.layout.of(controller);
    return hierarchy && this.#directories.get(this.layout.hierarchies.indexOf(hierarchy));
  }

  /** Where a controller is. @throws UnsupportedError where it is not in this cgroup */
  of(controller: Controller): CgroupDirectory {
    const directory = this.find(controller);
    if (directory) return directory;
    const hierarchy = this.layout.of(controller);
    const availability = this.layout.availability[controller];
    const reason = availability.usable
      ? `it was opened by a path that is not in ${hierarchy?.mount}, where the controller is`
      : availability.reason;
    throw new UnsupportedError(`cannot use the ${controller} controller in ${this.path}: ${reason}`, {
      path: this.path,
      hint: availability.usable ? 'open it by its name beneath the base' : availability.hint,
    });
  }

  /** Has the parent hand down a controller that is not in {@link commonControllers}, where it does not yet. */
  async enable(controller: Controller): Promise<void> {
    const directory = this.of(controller);
    if (directory.version === 1) return;
    if (words(await directory.read('cgroup.controllers')).includes(controller)) return;
    // From the top: a directory can hand down only what it has been handed.
    const { mount } = this.layout.hierarchies[0] ?? { mount: '' };
    const below = directory.path.slice(mount.length).split('/').slice(1, -1);
    let path = mount;
    for (const name of ['', ...below]) {
      path = name === '' ? path : `${path}/${name}`;
      const parent = CgroupDirectory.open(path, 2);
      try {
        const enabled = words(await parent.read('cgroup.subtree_control')).includes(controller);
        if (enabled) continue;
        if (await hasProcesses(parent)) throw internalProcesses(parent, controller);
        await parent.write('cgroup.subtree_control', `+${controller}`);
      } finally {
        await parent.close();
      }
    }
  }

  /**
   * Hands controllers down to the children: the common ones as far as possible, the needed ones or it is an error. A
   * cgroup that has processes cannot (cgroups(7), no internal processes).
   */
  async #handDown(needed: ReadonlySet<Controller>): Promise<void> {
    const tree = this.unified;
    if (!tree) return;
    const present = words(await tree.read('cgroup.controllers'));
    const enabled = new Set(words(await tree.read('cgroup.subtree_control')));
    const missing = [...new Set([...commonControllers, ...needed])].filter(
      (controller) => present.includes(controller) && !enabled.has(controller),
    );
    if (missing.length === 0) return;
    const first = missing.find((controller) => needed.has(controller));
    if (await hasProcesses(tree)) {
      if (first) throw internalProcesses(tree, first);
      return;
    }
    for (const controller of missing) {
      try {
        await tree.write('cgroup.subtree_control', `+${controller}`);
      } catch (error) {
        if (needed.has(controller)) throw error;
      }
    }
  }

  /** A v1 cpuset takes no process before it has processors and memory nodes: it gets its parent's. */
  async #fillCpuset(): Promise<void> {
    for (const [index, directory] of this.#directories) {
      const parent = this.layout.hierarchies[index]?.cpuset;
      if (directory.version === 2 || !parent) continue;
      if (((await directory.read('cpuset.mems')) ?? '').trim() === '')
        await directory.write('cpuset.mems', parent.mems);
      if (((await directory.read('cpuset.cpus')) ?? '').trim() === '')
        await directory.write('cpuset.cpus', parent.cpus);
    }
  }

  /** Removes the cgroup and its children everywhere. What is at its path but is another cgroup is left alone. */
  async remove(): Promise<void> {
    for (const directory of this.directories) {
      const at = directory.path.lastIndexOf('/');
      const [parentPath, name] = [directory.path.slice(0, at), directory.path.slice(at + 1)];
      let current: CgroupDirectory;
      try {
        current = CgroupDirectory.open(directory.path, directory.version);
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') continue;
        throw error;
      }
      const same = current.isSame(directory);
      await current.close();
      if (!same) continue;
      const parent = CgroupDirectory.open(parentPath, directory.version);
      try {
        await removeTree(parent, name);
      } finally {
        await parent.close();
      }
    }
    await Placement.#removeEmpty(this.#above);
  }

  /** What was made on the way goes with the last cgroup in it. */
  static async #removeEmpty(above: readonly OnTheWay[]): Promise<void> {
    for (const { path, version, name } of above.toReversed()) {
      const directory = `${path}/${name}`;
      if (!Placement.#onTheWay.has(directory)) continue;
      try {
        const parent = CgroupDirectory.open(path, version);
        await parent.removeChild(name).finally(() => parent.close());
      } catch (error) {
        if (errnoOf(error) === 'EBUSY') continue;
        if (errnoOf(error) !== 'ENOENT') throw error;
      }
      Placement.#onTheWay.delete(directory);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.directories.map((directory) => directory.close()));
  }
}

/** The bases, made where they are not there, in every hierarchy that a cgroup of ours is in. */
async function openBase(layout: CgroupLayout, needed: ReadonlySet<Controller>): Promise<Placement> {
  const inTree = layout.hierarchies.some(({ version, writable }) => version === 2 && writable);
  const indexes = layout.hierarchies.flatMap(({ writable, version, controllers }, index) => {
    const wanted = version === 2 || controllers.some((name) => !inTree || (name !== 'cpuacct' && name !== 'freezer'));
    return writable && wanted ? [index] : [];
  });
  if (indexes.length === 0) throw noHierarchy(layout.hierarchies[0]);
  for (const step of baseSteps(layout, indexes)) {
    if (step.kind === 'mkdir') {
      await mkdir(step.path).catch((cause) => {
        if (errnoOf(cause) !== 'EEXIST') throw cgroupFailure('mkdir', step.path, cause);
      });
      continue;
    }
    const at = step.path.lastIndexOf('/');
    const [path, file] = [step.path.slice(0, at), step.path.slice(at + 1)];
    const directory = CgroupDirectory.open(path, layout.hierarchies[step.hierarchy]?.version ?? 2);
    try {
      const there = words(await directory.read(file)).includes(step.value.replace(/^\+/, ''));
      if (!there) await directory.write(file, step.value);
    } catch (error) {
      // A controller that cannot be handed down is missed when it is needed.
      if (needed.has(step.value.slice(1) as Controller)) throw error;
    } finally {
      await directory.close();
    }
  }
  return Placement.bases(layout, indexes);
}

/** Children first. Each rmdir is tried for a while: the kernel may not be done with processes that have ended. */
async function removeTree(parent: CgroupDirectory, name: string): Promise<void> {
  let directory: CgroupDirectory;
  try {
    directory = parent.openChild(name);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  try {
    for (const child of await directory.list('children')) await removeTree(directory, child);
    const tries = (await isPopulated(directory)) ? 1 : removeTries;
    for (let left = tries; ; left--) {
      try {
        await parent.removeChild(name);
        return;
      } catch (error) {
        if (errnoOf(error) !== 'EBUSY' || left <= 1) throw error;
        await sleep(removePause);
      }
    }
  } finally {
    await directory.close();
  }
}

async function isPopulated(directory: CgroupDirectory): Promise<boolean> {
  return ((await directory.read('cgroup.procs').catch(() => undefined)) ?? '').trim() !== '';
}

/**
 * Whether a cgroup other than the root one, which is exempt, has processes. The kernel itself would let it hand down the
 * controllers that know threads (cpu, pids), but turn its children into invalid domains, which take no process.
 */
async function hasProcesses(directory: CgroupDirectory): Promise<boolean> {
  return (await directory.read('cgroup.type')) !== undefined && (await isPopulated(directory));
}

function internalProcesses(directory: CgroupDirectory, controller: Controller): TscontainError {
  return cgroupFailure('write', `${directory.path}/cgroup.subtree_control`, { code: 'EBUSY' }, `+${controller}`);
}

function noHierarchy(first?: Hierarchy): UnsupportedError {
  return new UnsupportedError(`cannot make cgroups: ${first?.problem?.reason ?? 'no cgroup file system is mounted'}`, {
    hint: first?.problem?.hint ?? 'mount cgroup2 at /sys/fs/cgroup',
  });
}

function words(text: string | undefined): string[] {
  return (text ?? '').split(/\s+/).filter((word) => word !== '');
}
