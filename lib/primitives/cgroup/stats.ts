/**
 * What a cgroup uses, read from the files of whichever hierarchies it is in: of a container by the launcher, of a
 * `CgroupV2` by itself ({@link statFiles} says which). {@link parseStats} turns the texts into one shape for every host.
 */

import { type CpuStats, cpuStatFiles, cpuStats } from './controllers/cpu.js';
import { type IoStats, ioStatFiles, ioStats } from './controllers/io.js';
import { type MemoryStats, memoryStatFiles, memoryStats } from './controllers/memory.js';
import { type PidsStats, pidsStatFiles, pidsStats } from './controllers/pids.js';
import type { CgroupLayout, Controller } from './layout.js';

/**
 * What a container has used and uses. Numbers are never NaN, negative or beyond `Number.MAX_SAFE_INTEGER`. A required
 * field is 0 where the host has no source for it; an optional field is then absent.
 */
export interface ContainerStats {
  readonly cpu: CpuStats;
  readonly memory: MemoryStats;
  readonly pids: PidsStats;
  readonly io: IoStats;
}

/** A file to read in a container's cgroup. One that does not exist is left out of the answer. */
export interface StatFile {
  /** Index into `layout.hierarchies`. */
  readonly hierarchy: number;
  readonly file: string;
}

const unifiedFiles: Readonly<Partial<Record<Controller, readonly string[]>>> = {
  memory: memoryStatFiles.v2,
  pids: pidsStatFiles,
  io: ioStatFiles.v2,
};

const v1Files: Readonly<Partial<Record<Controller, readonly string[]>>> = {
  cpu: cpuStatFiles.v1,
  cpuacct: cpuStatFiles.cpuacct,
  memory: memoryStatFiles.v1,
  pids: pidsStatFiles,
  io: ioStatFiles.v1,
};

/** The files that {@link parseStats} wants from a container placed in these hierarchies. */
export function statFiles(layout: CgroupLayout, hierarchies: readonly number[]): StatFile[] {
  const inTree = hierarchies.some((index) => layout.hierarchies[index]?.version === 2);
  return hierarchies.flatMap((index): StatFile[] => {
    const hierarchy = layout.hierarchies[index];
    if (!hierarchy) return [];
    // Every v2 cgroup counts processor time, whether or not the cpu controller is bound there.
    const always = hierarchy.version === 2 ? cpuStatFiles.always : [];
    const table = hierarchy.version === 2 ? unifiedFiles : v1Files;
    const files = hierarchy.controllers.flatMap((controller) => {
      if (!layout.availability[controller].usable || (controller === 'cpuacct' && inTree)) return [];
      return table[controller] ?? [];
    });
    return [...always, ...files].map((file) => ({ hierarchy: index, file }));
  });
}

/**
 * The statistics in these texts, keyed `${hierarchy}/${file}`. Missing files, unknown keys and malformed lines count for
 * nothing.
 */
export function parseStats(layout: CgroupLayout, contents: ReadonlyMap<string, string>): ContainerStats {
  // By version and name of the file: a controller is in one hierarchy only, so that is unambiguous.
  const texts = { 1: new Map<string, string>(), 2: new Map<string, string>() };
  for (const [key, text] of contents) {
    const [, index, file] = /^(\d+)\/(.+)$/s.exec(key) ?? [];
    const hierarchy = index === undefined ? undefined : layout.hierarchies[Number(index)];
    if (hierarchy && file) texts[hierarchy.version].set(file, text);
  }
  return statsOf(texts[2], texts[1]);
}

/** The statistics in the files of the v2 tree, and of v1 hierarchies. */
export function statsOf(unified: ReadonlyMap<string, string>, v1: ReadonlyMap<string, string>): ContainerStats {
  return {
    cpu: cpuStats(unified, v1),
    memory: memoryStats(unified, v1),
    pids: pidsStats(unified, v1),
    io: ioStats(unified, v1),
  };
}
