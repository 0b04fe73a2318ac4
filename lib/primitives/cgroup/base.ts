/**
 * The base: the directory of a hierarchy under which our cgroups are made, always called `tscontain`.
 *
 * On v1 it is in this process's own cgroup, so that whatever limits the caller limits the container too.
 *
 * On v2 a cgroup that has processes cannot hand controllers to its children (the no-internal-processes rule of
 * cgroups(7); the root cgroup is exempt), and our own cgroup has this process in it. An ancestor *can host* our base when it
 * has no processes or is the root cgroup, is not threaded, and its directory, `cgroup.procs` and `cgroup.subtree_control`
 * are writable by us. (The base's parent is then the common ancestor of source and target, whose `cgroup.procs` the kernel
 * wants writable for a move or a `CLONE_INTO_CGROUP`.) In this order:
 *
 * 1. Below a systemd unit (`*.service`, `*.scope`) that is a strict ancestor of our cgroup: only `Delegate=` lets anyone
 *    make cgroups in a unit, so up to there the tree is ours. The nearest ancestor in it that can host; if a farther one has
 *    more of the controllers, that one. The unit's own limits stay in force.
 * 2. The top of the mount: on a plain host the root cgroup; in a cgroup namespace the top of the container, when whoever
 *    set it up moved its processes into a child. Without delegation the slices belong to systemd, and the limits of
 *    the caller's own unit do not bind what is started from here.
 * 3. Any other ancestor that can host: a subtree that was given to this user without systemd.
 * 4. Nothing can host: our own cgroup, for the life cycle only (kill, freeze, cpu.stat need no controller); every controller
 *    is reported as unusable, with the reason.
 *
 * Where no controller that we use is bound to v2 (hybrid), the rule has no object and the base is in our own cgroup.
 */

import type { CgroupLayout, Controller, LayoutSource } from './layout.js';

/** Why something cannot be used, and what would change that. */
export interface Problem {
  readonly reason: string;
  readonly hint: string;
}

/** The place chosen in one hierarchy. */
export interface BaseChoice {
  readonly base: string;
  /** Set when no cgroup can be made there at all. */
  readonly problem?: Problem;
  /** The controllers that are bound here but cannot be used below `base`. */
  readonly missing: ReadonlyMap<Controller, Problem>;
}

/** One thing to do, in order, before cgroups are made below the bases. */
export type BaseStep =
  /** Make a directory; that it exists already is success. */
  | { readonly kind: 'mkdir'; readonly hierarchy: number; readonly path: string }
  | { readonly kind: 'write'; readonly hierarchy: number; readonly path: string; readonly value: string };

interface Place {
  readonly version: 1 | 2;
  readonly mount: string;
  readonly own: string;
  readonly readOnly: boolean;
  readonly bound: readonly Controller[];
}

/** The base for a hierarchy of which `place` says where we are in it. */
export function chooseBase(source: LayoutSource, place: Place): BaseChoice {
  const { mount, own, bound } = place;
  const inOwn = `${own}/tscontain`;
  if (place.readOnly) return { base: inOwn, missing: new Map(), problem: mountedReadOnly(mount) };
  if (place.version === 1 || bound.length === 0) {
    return {
      base: inOwn,
      missing: new Map(),
      ...(!canLive(source, own, place.version) && { problem: notWritable(own) }),
    };
  }

  const ancestors = upwards(own, mount);
  const unit = ancestors.findLastIndex((path, index) => index > 0 && /\.(service|scope)$/.test(path));
  const host =
    mostControllers(source, ancestors.slice(1, unit + 1), mount, bound) ??
    mostControllers(source, [mount], mount, bound) ??
    mostControllers(source, ancestors.slice(1), mount, bound);
  if (host !== undefined) {
    const enabled = controllersOf(source, host);
    const missing = bound.filter((controller) => !enabled.includes(controller));
    return {
      base: `${host}/tscontain`,
      missing: new Map(missing.map((controller) => [controller, notEnabled(controller, host)])),
    };
  }
  if (!canLive(source, own, 2)) return { base: inOwn, missing: new Map(), problem: notWritable(own) };
  return { base: inOwn, missing: new Map(bound.map((controller) => [controller, occupied(controller, own)])) };
}

/**
 * The controllers that every cgroup of ours has. Each one more makes every cgroup cost more, so the others come with the
 * first cgroup that is given a limit of theirs.
 */
export const commonControllers: readonly Controller[] = ['cpu', 'cpuset', 'io', 'memory', 'pids'];

/**
 * What makes the bases of these hierarchies ready: their directories, the v2 controllers handed down through them, the
 * v1 cpuset filled. Doing it again is harmless. Controllers are enabled one by one, as one write of several fails whole.
 */
export function baseSteps(layout: CgroupLayout, hierarchies: readonly number[]): BaseStep[] {
  return hierarchies.flatMap((index): BaseStep[] => {
    const hierarchy = layout.hierarchies[index];
    if (!hierarchy?.writable) return [];
    const { base } = hierarchy;
    const write = (path: string, value: string): BaseStep => ({ kind: 'write', hierarchy: index, path, value });
    const steps: BaseStep[] = [{ kind: 'mkdir', hierarchy: index, path: base }];
    if (hierarchy.version === 2) {
      const parent = base.slice(0, base.lastIndexOf('/'));
      const usable = hierarchy.controllers.filter(
        (controller) => commonControllers.includes(controller) && layout.availability[controller].usable,
      );
      // Once the base hands a controller on, its parent cannot lose it: the kernel answers EBUSY to whoever tries.
      for (const directory of [parent, base]) {
        steps.push(...usable.map((controller) => write(`${directory}/cgroup.subtree_control`, `+${controller}`)));
      }
    } else if (hierarchy.cpuset) {
      // A v1 cpuset starts empty, and no task may enter it or a child of it before both are set.
      steps.push(
        write(`${base}/cpuset.cpus`, hierarchy.cpuset.cpus),
        write(`${base}/cpuset.mems`, hierarchy.cpuset.mems),
      );
    }
    return steps;
  });
}

/** The nearest of the directories that can host with the most of the wanted controllers. */
function mostControllers(
  source: LayoutSource,
  directories: readonly string[],
  mount: string,
  wanted: readonly Controller[],
): string | undefined {
  let best: { directory: string; count: number } | undefined;
  for (const directory of directories) {
    if (!canHost(source, directory, mount)) continue;
    const enabled = controllersOf(source, directory);
    const count = wanted.filter((controller) => enabled.includes(controller)).length;
    if (count > (best?.count ?? 0)) best = { directory, count };
  }
  return best?.directory;
}

function canHost(source: LayoutSource, directory: string, mount: string): boolean {
  const files = ['', '/cgroup.procs', '/cgroup.subtree_control'];
  if (!files.every((file) => source.writable(`${directory}${file}`))) return false;
  const type = source.read(`${directory}/cgroup.type`)?.trim();
  // Every v2 cgroup but the root one has cgroup.type (4.14).
  if (type === undefined) return directory === mount;
  return type === 'domain' && source.read(`${directory}/cgroup.procs`)?.trim() === '';
}

/** Whether cgroups without controllers can be made in our own cgroup, and processes moved there from it. */
function canLive(source: LayoutSource, own: string, version: 1 | 2): boolean {
  if (!source.writable(own) || !source.writable(`${own}/cgroup.procs`)) return false;
  const type = version === 2 ? source.read(`${own}/cgroup.type`)?.trim() : undefined;
  // A child made in any other type would be 'domain invalid' and take no process.
  return type === undefined || type === 'domain';
}

function controllersOf(source: LayoutSource, directory: string): string[] {
  return (source.read(`${directory}/cgroup.controllers`) ?? '').split(/\s+/);
}

/** `own` and every directory above it, up to and with the mount point. */
function upwards(own: string, mount: string): string[] {
  const paths = [own];
  for (let path = own; path.length > mount.length; ) {
    path = path.slice(0, path.lastIndexOf('/'));
    paths.push(path);
  }
  return paths;
}

function mountedReadOnly(mount: string): Problem {
  return {
    reason: `${mount} is mounted read-only`,
    hint: 'mount it read-write; in a container, give it a writable cgroup file system',
  };
}

function notWritable(own: string): Problem {
  return {
    reason: `cgroups cannot be made in ${own}: it is not writable by this process, or it is threaded`,
    hint: "run as root, or in a delegated subtree: 'systemd-run --user --scope -p Delegate=yes COMMAND'",
  };
}

function notEnabled(controller: Controller, host: string): Problem {
  return {
    reason: `the ${controller} controller is not in ${host}/cgroup.controllers`,
    hint: `enable it in the cgroup.subtree_control of the cgroups above, or name it in the unit's Delegate= setting`,
  };
}

function occupied(controller: Controller, own: string): Problem {
  return {
    reason: `the ${controller} controller cannot be handed down: ${own} holds processes, and no cgroup above it is free of them and writable`,
    hint: `before the start, move every process of ${own} into a child cgroup of it, or use the unit setting DelegateSubgroup=`,
  };
}
