/** What one cgroup uses: the statistics of containers, and what more a cgroup by itself has to say. */

import { hugetlbStats } from './controllers/hugetlb.js';
import { miscStats } from './controllers/misc.js';
import { rdmaStats } from './controllers/rdma.js';
import type { CgroupDirectory } from './directory.js';
import type { Placement } from './placement.js';
import { type Pressure, type PressureResource, parsePressure, pressureResources } from './pressure.js';
import { type ContainerStats, statFiles, statsOf } from './stats.js';
import { tableOf } from './text.js';

/** What a cgroup has used and uses. Fields that this host has no source for are absent, or 0 where they are required. */
export interface CgroupStats extends ContainerStats {
  /** Bytes in huge pages, by size of page. */
  readonly hugetlb?: Readonly<Record<string, number>>;
  /** Handles and objects in use, by RDMA device. */
  readonly rdma?: Readonly<Record<string, { readonly handles: number; readonly objects: number }>>;
  readonly misc?: Readonly<Record<string, number>>;
  /** By resource; v2 only, and absent where the kernel was booted without (psi=0). */
  readonly pressure?: Readonly<Partial<Record<PressureResource, Pressure>>>;
  /** Every counter of the files of `key value` lines, by file and by the kernel's name, known to us or not. */
  readonly raw: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

const tables = [
  'cpu.stat',
  'memory.stat',
  'memory.events',
  'memory.oom_control',
  'pids.events',
  'cgroup.stat',
] as const;

/** Reads the statistics of one cgroup, its files held open from the second time on. */
export class Usage {
  readonly #placement: Placement;
  #files: readonly (readonly [directory: CgroupDirectory, file: string])[] | undefined;

  constructor(placement: Placement) {
    this.#placement = placement;
  }

  async read(): Promise<CgroupStats> {
    this.#files ??= await this.#find();
    const texts = { 1: new Map<string, string>(), 2: new Map<string, string>() };
    await Promise.all(
      this.#files.map(async ([directory, file]) => {
        const text = await directory.readHeld(file, file === 'memory.peak');
        if (text !== undefined) texts[directory.version].set(file, text);
      }),
    );
    return statsFrom(texts[2], texts[1]);
  }

  /** The files that are there. Asked once: what a controller has comes and goes with it only. */
  async #find(): Promise<(readonly [CgroupDirectory, string])[]> {
    const { layout } = this.#placement;
    const indexes = layout.hierarchies.flatMap((_, index) => (this.#placement.at(index) ? [index] : []));
    const wanted = statFiles(layout, indexes);
    const found: (readonly [CgroupDirectory, string])[] = [];
    for (const index of indexes) {
      const directory = this.#placement.at(index);
      if (!directory) continue;
      const files = new Set(wanted.flatMap((one) => (one.hierarchy === index ? [one.file] : [])));
      const present = await directory.list('files');
      const more =
        directory.version === 2
          ? present.filter(isExtra)
          : present.filter((file) => /^hugetlb\.[^.]+\.usage_in_bytes$/.test(file));
      for (const file of present) if (files.has(file) || more.includes(file)) found.push([directory, file]);
    }
    return found;
  }
}

function isExtra(file: string): boolean {
  return (
    pressureResources.some((resource) => file === `${resource}.pressure`) ||
    ['rdma.current', 'misc.current', 'cgroup.stat'].includes(file) ||
    /^hugetlb\.[^.]+\.current$/.test(file)
  );
}

/** The statistics in the files of the v2 tree, and of v1 hierarchies. */
export function statsFrom(unified: ReadonlyMap<string, string>, v1: ReadonlyMap<string, string>): CgroupStats {
  const hugetlb = hugetlbStats(unified, v1);
  const pressure = pressureResources.flatMap((resource) => {
    const text = unified.get(`${resource}.pressure`);
    return text === undefined ? [] : [[resource, parsePressure(text)] as const];
  });
  const raw = tables.flatMap((file) => {
    const text = unified.get(file) ?? v1.get(file);
    return text === undefined ? [] : [[file, Object.fromEntries(tableOf(text))] as const];
  });
  const rdma = unified.get('rdma.current') ?? v1.get('rdma.current');
  const misc = unified.get('misc.current') ?? v1.get('misc.current');
  return {
    ...statsOf(unified, v1),
    ...(Object.keys(hugetlb).length > 0 && { hugetlb }),
    ...(rdma !== undefined && { rdma: rdmaStats(rdma) }),
    ...(misc !== undefined && { misc: miscStats(misc) }),
    ...(pressure.length > 0 && { pressure: Object.fromEntries(pressure) }),
    raw: Object.fromEntries(raw),
  };
}
