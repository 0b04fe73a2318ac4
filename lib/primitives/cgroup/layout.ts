/**
 * Which cgroup hierarchies this host has, which controller is bound to which, where this process is in each, and where
 * we may make cgroups of our own. A controller lives in exactly one hierarchy, so this is asked once and everything else
 * (limits, statistics, placement) is computed from the answer.
 */

import { accessSync, constants, readFileSync } from 'node:fs';
import { type BaseChoice, chooseBase, type Problem } from './base.js';
import { type CgroupMount, locate, type Membership, parseCgroupMounts, parseSelfCgroup } from './mounts.js';

/** A resource controller, by its v2 name (v1's `blkio` is `io`). `cpuacct` and `freezer` are part of every v2 cgroup. */
export type Controller =
  | 'cpu'
  | 'cpuacct'
  | 'cpuset'
  | 'freezer'
  | 'hugetlb'
  | 'io'
  | 'memory'
  | 'misc'
  | 'pids'
  | 'rdma';

/** Whether a controller can be used in the cgroups we make, and if not, why. */
export type Availability = { readonly usable: true } | ({ readonly usable: false } & Problem);

/** One mounted hierarchy that has a controller we use, or is the v2 tree. All paths are absolute file system paths. */
export interface Hierarchy {
  readonly version: 1 | 2;
  readonly mount: string;
  /** The cgroup of this process. */
  readonly own: string;
  /** The directory under which our cgroups are made. It need not exist yet. */
  readonly base: string;
  /** The controllers bound here, usable or not. */
  readonly controllers: readonly Controller[];
  /** Whether cgroups can be made below `base`, and processes placed in them. */
  readonly writable: boolean;
  /** Why not, when `writable` is false. */
  readonly problem?: Problem;
  /** What the cgroups below `base` can be given, where the cpuset controller is bound here and its files are readable. */
  readonly cpuset?: { readonly cpus: string; readonly mems: string };
}

/** The cgroup hierarchies of this host. */
export interface CgroupLayout {
  /**
   * `unified`: only v2. `hybrid`: v2, and v1 hierarchies that hold controllers. `legacy`: only v1. `none`: no cgroup
   * file system is mounted.
   */
  readonly kind: 'unified' | 'hybrid' | 'legacy' | 'none';
  /** The v2 tree comes first, if there is one. */
  readonly hierarchies: readonly Hierarchy[];
  readonly availability: Readonly<Record<Controller, Availability>>;
  /** The hierarchy that a controller is bound to. */
  of(controller: Controller): Hierarchy | undefined;
}

/** What {@link parseLayout} looks at; the host's own files, or a fixture. */
export interface LayoutSource {
  /** The text of `/proc/self/mountinfo`. */
  readonly mountinfo: string;
  /** The text of `/proc/self/cgroup`. */
  readonly selfCgroup: string;
  /** The text of a cgroup file, undefined when it cannot be read. */
  read(path: string): string | undefined;
  /** Whether this process may write to a file, or make entries in a directory. */
  writable(path: string): boolean;
}

const controllers: readonly Controller[] = [
  'cpu',
  'cpuacct',
  'cpuset',
  'freezer',
  'hugetlb',
  'io',
  'memory',
  'misc',
  'pids',
  'rdma',
];

let cached: CgroupLayout | undefined;

/** The layout of this host, read once: hierarchies do not change while a host is up, short of unmounting them. */
export function cgroupLayout(): CgroupLayout {
  cached ??= parseLayout({
    mountinfo: readText('/proc/self/mountinfo') ?? '',
    selfCgroup: readText('/proc/self/cgroup') ?? '',
    read: readText,
    writable: isWritable,
  });
  return cached;
}

/** The layout that a source describes. */
export function parseLayout(source: LayoutSource): CgroupLayout {
  const mounts = parseCgroupMounts(source.mountinfo);
  const memberships = parseSelfCgroup(source.selfCgroup);
  const choices = [...unifiedTree(source, mounts, memberships), ...v1Hierarchies(source, mounts, memberships)];
  const hierarchies = choices.map((choice) => choice.hierarchy);

  const tree = hierarchies.find((hierarchy) => hierarchy.version === 2);
  const boundTo = (controller: Controller): Hierarchy | undefined =>
    hierarchies.find((hierarchy) => hierarchy.controllers.includes(controller)) ??
    (isBuiltIn(controller) ? tree : undefined);

  const availabilityOf = (controller: Controller): Availability => {
    const hierarchy = boundTo(controller);
    const choice = choices.find((candidate) => candidate.hierarchy === hierarchy);
    if (!hierarchy || !choice) return { usable: false, ...unbound(controller, tree) };
    const missing = isBuiltIn(controller) ? hierarchy.problem : choice.missing(controller);
    return missing ? { usable: false, ...missing } : { usable: true };
  };

  const kind = !tree ? (hierarchies.length > 0 ? 'legacy' : 'none') : hierarchies.length > 1 ? 'hybrid' : 'unified';
  return {
    kind,
    hierarchies,
    availability: Object.fromEntries(
      controllers.map((controller) => [controller, availabilityOf(controller)]),
    ) as Record<Controller, Availability>,
    of: boundTo,
  };
}

interface Choice {
  readonly hierarchy: Hierarchy;
  /** What keeps a controller that is bound here from being used, undefined when nothing does. */
  missing(controller: Controller): Problem | undefined;
}

function unifiedTree(
  source: LayoutSource,
  mounts: readonly CgroupMount[],
  memberships: readonly Membership[],
): Choice[] {
  const membership = memberships.find((candidate) => candidate.controllers.length === 0);
  const mount = bestMount(
    mounts.filter((candidate) => candidate.version === 2),
    membership,
  );
  if (!mount || !membership) return [];
  const bound = words(source.read(`${mount.point}/cgroup.controllers`)).flatMap((name) => controllerNamed(name) ?? []);
  return [describe(source, mount, membership, bound)];
}

function v1Hierarchies(
  source: LayoutSource,
  mounts: readonly CgroupMount[],
  memberships: readonly Membership[],
): Choice[] {
  return memberships.flatMap((membership) => {
    const bound = membership.controllers.flatMap((name) => controllerNamed(name) ?? []);
    const first = membership.controllers[0];
    const mount = bestMount(
      mounts.filter((candidate) => first !== undefined && candidate.controllers.includes(first)),
      membership,
    );
    return mount && bound.length > 0 ? [describe(source, mount, membership, bound)] : [];
  });
}

function describe(
  source: LayoutSource,
  mount: CgroupMount,
  membership: Membership,
  bound: readonly Controller[],
): Choice {
  const own = locate(mount, membership.path);
  const choice: BaseChoice = own
    ? chooseBase(source, { version: mount.version, mount: mount.point, own, readOnly: mount.readOnly, bound })
    : outside(mount, membership);
  const cpuset = bound.includes('cpuset') ? readCpuset(source, mount.version, parentOf(choice.base)) : undefined;
  return {
    hierarchy: {
      version: mount.version,
      mount: mount.point,
      own: own ?? mount.point,
      base: choice.base,
      controllers: bound,
      writable: choice.problem === undefined,
      ...(choice.problem && { problem: choice.problem }),
      ...(cpuset && { cpuset }),
    },
    missing: (controller) => choice.problem ?? choice.missing.get(controller),
  };
}

/** The same hierarchy may be mounted in several places: take one that shows our cgroup, is writable, and is whole. */
function bestMount(mounts: readonly CgroupMount[], membership: Membership | undefined): CgroupMount | undefined {
  const score = (mount: CgroupMount): number =>
    (membership && locate(mount, membership.path) ? 4 : 0) + (mount.readOnly ? 0 : 2) + (mount.root === '/' ? 1 : 0);
  return mounts.reduce<CgroupMount | undefined>(
    (best, mount) => (best && score(best) >= score(mount) ? best : mount),
    undefined,
  );
}

function outside(mount: CgroupMount, membership: Membership): BaseChoice {
  return {
    base: `${mount.point}/tscontain`,
    missing: new Map(),
    problem: {
      reason: `the cgroup of this process, ${membership.path}, is not inside what is mounted at ${mount.point} (${mount.root})`,
      hint: `mount the hierarchy from inside this process's cgroup namespace`,
    },
  };
}

function unbound(controller: Controller, tree: Hierarchy | undefined): Problem {
  if (tree) {
    return {
      reason: `the ${controller} controller is not in ${tree.mount}/cgroup.controllers and no v1 hierarchy has it`,
      hint: `build or boot the kernel with it (memory: cgroup_enable=memory), or enable it in the cgroup.subtree_control files above ${tree.mount}`,
    };
  }
  return {
    reason: `no mounted cgroup hierarchy has the ${controller} controller`,
    hint: 'mount the cgroup2 file system at /sys/fs/cgroup',
  };
}

/** The processors and memory nodes that cgroups made in `parent` can be given. */
function readCpuset(source: LayoutSource, version: 1 | 2, parent: string): { cpus: string; mems: string } | undefined {
  const [cpusFile, memsFile] =
    version === 2 ? ['cpuset.cpus.effective', 'cpuset.mems.effective'] : ['cpuset.cpus', 'cpuset.mems'];
  const cpus = source.read(`${parent}/${cpusFile}`)?.trim();
  const mems = source.read(`${parent}/${memsFile}`)?.trim();
  return cpus && mems ? { cpus, mems } : undefined;
}

function isBuiltIn(controller: Controller): boolean {
  return controller === 'cpuacct' || controller === 'freezer';
}

function controllerNamed(name: string): Controller | undefined {
  return name === 'blkio' ? 'io' : controllers.find((controller) => controller === name);
}

function words(text: string | undefined): string[] {
  return (text ?? '').split(/\s+/).filter((word) => word !== '');
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
