/**
 * A container's limits, and the cgroup files that make them true: the same {@link Limits} become v2 or v1 writes, by the
 * controllers' own rules (`controllers/`), depending on where each is bound. Nothing is written here; the launcher does
 * that from the list.
 */

import { UnsupportedError } from '../../errors.js';
import type { Problem } from './base.js';
import type { FileValue } from './controllers/controller.js';
import { type CpuValues, cpuWrites } from './controllers/cpu.js';
import { type CpusetSettings, cpusetWrites } from './controllers/cpuset.js';
import { type IoValues, ioWrites } from './controllers/io.js';
import { type MemoryValues, memoryWrites } from './controllers/memory.js';
import { type PidsSettings, pidsWrites } from './controllers/pids.js';
import { missingProcessors } from './cpuset.js';
import type { CgroupLayout, Controller, Hierarchy } from './layout.js';
import { known } from './text.js';

/** What a container may use. Absent means no limit of its own. Numbers are checked by whoever makes this. */
export interface Limits {
  /** Bytes of memory, page cache included. When it is reached and nothing can be reclaimed, the whole group is killed. */
  readonly memory?: number;
  /** Bytes of swap on top of `memory`; 0 is none. */
  readonly swap?: number;
  /** Processes and threads. */
  readonly pids?: number;
  /** Processor time as a number of processors, such as 0.5; enforced in periods of 100 ms. */
  readonly cpus?: number;
  /** Share of contended processor time, 1 to 10000; 100 is what others have. */
  readonly cpuWeight?: number;
  /** The processors that may be used, as {@link parseCpuset} returns them. */
  readonly cpuset?: string;
  /** Bytes and operations per second of block devices. On v1 hierarchies only direct and synchronous I/O is counted. */
  readonly io?: readonly IoLimit[];
  /** Share of contended I/O, 1 to 10000; 100 is what others have. Needs iocost (v2) or BFQ as the device's scheduler. */
  readonly ioWeight?: number;
}

/** The rates of one block device. Absent means no limit. */
export interface IoLimit {
  /** `major:minor` of the whole disk, not of a partition. */
  readonly device: string;
  readonly readBps?: number;
  readonly writeBps?: number;
  readonly readIops?: number;
  readonly writeIops?: number;
}

/** One value to write into a file of a container's cgroup, in the order of the list. */
export interface CgroupWrite {
  /** Index into `layout.hierarchies`. */
  readonly hierarchy: number;
  readonly file: string;
  readonly value: string;
  /** Kernels may be built without this file; that it does not exist (ENOENT) is then no failure. Every other error is. */
  readonly optional: boolean;
}

/** A limit that this host cannot enforce. */
export interface Unenforceable extends Problem {
  readonly limit: keyof Limits;
}

const controllerOf: Readonly<Record<keyof Limits, Controller>> = {
  memory: 'memory',
  swap: 'memory',
  pids: 'pids',
  cpus: 'cpu',
  cpuWeight: 'cpu',
  cpuset: 'cpuset',
  io: 'io',
  ioWeight: 'io',
};
// The order in which limits are named in errors.
const limitNames = ['memory', 'swap', 'pids', 'cpus', 'cpuWeight', 'cpuset', 'io', 'ioWeight'] as const;

/**
 * The hierarchies a container with these limits is placed in, ascending: the v2 tree for its life cycle (kill, freeze,
 * cpu.stat), memory and pids for their statistics, and what the limits need. A legacy host has freezer and cpuacct for
 * the v2 tree. Leaving the others out keeps the start short: each is one more mkdir, move and rmdir.
 */
export function requiredHierarchies(layout: CgroupLayout, limits: Limits): number[] {
  const wanted = new Set<Controller>(['freezer', 'cpuacct', 'memory', 'pids']);
  for (const limit of limitNames) if (limits[limit] !== undefined) wanted.add(controllerOf[limit]);
  const indexes = new Set<number>();
  layout.hierarchies.forEach((hierarchy, index) => {
    if (hierarchy.version === 2 && hierarchy.writable) indexes.add(index);
  });
  const hasTree = indexes.size > 0;
  for (const controller of wanted) {
    // The v2 tree freezes and counts processor time by itself, also on a hybrid host.
    if (hasTree && (controller === 'freezer' || controller === 'cpuacct')) continue;
    if (!layout.availability[controller].usable) continue;
    const hierarchy = layout.of(controller);
    if (hierarchy) indexes.add(layout.hierarchies.indexOf(hierarchy));
  }
  return [...indexes].sort((a, b) => a - b);
}

/**
 * What to write, in order, into the cgroups of a container in its {@link requiredHierarchies}. Limits that this host
 * cannot enforce are left out; ask {@link explicitUnsupported} first. `update` is for a container that has limits already:
 * `limits` are then all that shall hold, and v1 memory limits get the extra write that lets them go up as well as down.
 */
export function limitWrites(
  layout: CgroupLayout,
  limits: Limits,
  { update = false }: { readonly update?: boolean } = {},
): CgroupWrite[] {
  const refused = new Set(unenforceable(layout, limits).map(({ limit }) => limit));
  const enforced: Limits = Object.fromEntries(
    Object.entries(limits).filter(([name]) => !refused.has(name as keyof Limits)),
  );
  const writes: CgroupWrite[] = [];
  for (const index of requiredHierarchies(layout, enforced)) {
    const hierarchy = layout.hierarchies[index];
    if (!hierarchy) continue;
    for (const { controller, file, value, optional = false } of filesOf(hierarchy, enforced, update)) {
      const usable = hierarchy.controllers.includes(controller) && layout.availability[controller].usable;
      if (usable) writes.push({ hierarchy: index, file, value, optional });
    }
  }
  return writes;
}

/** The limits among these that this host cannot enforce, and why: for defaults, which are best effort. */
export function unenforceable(layout: CgroupLayout, limits: Limits): Unenforceable[] {
  return limitNames.flatMap((limit): Unenforceable[] => {
    if (limits[limit] === undefined) return [];
    const controller = controllerOf[limit];
    const available = layout.availability[controller];
    if (!available.usable) return [{ limit, reason: available.reason, hint: available.hint }];
    const hierarchy = layout.of(controller);
    const problem = hierarchy && problemOf(hierarchy, limits, limit);
    return problem ? [{ limit, ...problem }] : [];
  });
}

/** The error for the first of these limits that this host cannot enforce; undefined when it can enforce all. */
export function explicitUnsupported(layout: CgroupLayout, limits: Limits): UnsupportedError | undefined {
  const first = unenforceable(layout, limits)[0];
  return first && new UnsupportedError(`cannot enforce limits.${first.limit}: ${first.reason}`, { hint: first.hint });
}

function problemOf(hierarchy: Hierarchy, limits: Limits, limit: keyof Limits): Problem | undefined {
  if (limit === 'swap' && hierarchy.version === 1 && limits.memory === undefined) {
    return {
      reason: 'the memory controller is bound to cgroup v1, which limits memory and swap as one sum',
      hint: 'set limits.memory too',
    };
  }
  if (limit === 'cpuset' && limits.cpuset !== undefined) {
    if (!hierarchy.cpuset) {
      // v2 inherits what is not set; a v1 cpuset without processors and memory nodes takes no task.
      if (hierarchy.version === 2) return undefined;
      return {
        reason: `cannot read cpuset.cpus and cpuset.mems in ${hierarchy.own}`,
        hint: 'give this process read access to its own cpuset cgroup',
      };
    }
    // v2 accepts processors that are not there, and then quietly uses others.
    const missing = missingProcessors(limits.cpuset, hierarchy.cpuset.cpus);
    if (missing) {
      return {
        reason: `processors ${missing} are not available to this process`,
        hint: `choose among ${hierarchy.cpuset.cpus}`,
      };
    }
  }
  return undefined;
}

/** The limits in terms of the controllers, whose writes they become. */
function filesOf(hierarchy: Hierarchy, limits: Limits, update: boolean): FileValue[] {
  const { version } = hierarchy;
  const { memory, swap, pids, cpus, cpuWeight, cpuset, io, ioWeight } = limits;
  const context = { update, cpuset: hierarchy.cpuset };
  return [
    // First, as a v1 cpuset takes no task before it is filled.
    ...cpusetWrites(known<CpusetSettings>({ cpus: cpuset }), version, context),
    ...memoryWrites(
      known<MemoryValues>({
        // Half a container is of no use to anybody: an out-of-memory kill takes all of it (4.19).
        oomGroup: memory === undefined ? undefined : true,
        max: memory,
        swapMax: swap,
      }),
      version,
      context,
    ),
    ...pidsWrites(known<PidsSettings>({ max: pids })),
    ...cpuWrites(known<CpuValues>({ max: cpus, weight: cpuWeight }), version),
    ...ioWrites(known<IoValues>({ max: io, weight: ioWeight }), version),
  ];
}
