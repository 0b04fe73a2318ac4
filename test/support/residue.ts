/**
 * What a container could leave behind on the host, counted before and after: processes, mounts, cgroups, links, directories
 * on disk, descriptors of this process. Every integration test ends with the comparison.
 */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { afterAll, beforeAll, expect } from 'vitest';
import { cgroupLayout } from '../../lib/primitives/cgroup/index.js';

export interface Residue {
  /** Descendants of this process that are a launcher's (inits and what runs in containers), by name. */
  readonly processes: readonly string[];
  readonly mounts: readonly string[];
  readonly cgroups: readonly string[];
  readonly links: readonly string[];
  readonly stateDirectories: readonly string[];
  readonly descriptors: number;
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

interface HostProcess {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
}

function hostProcesses(): HostProcess[] {
  return list('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const stat = read(`/proc/${pid}/stat`);
      const end = stat.lastIndexOf(')');
      if (end < 0) return [];
      const parent = Number(stat.slice(end + 2).split(' ')[1]);
      return [{ pid: Number(pid), parent, name: stat.slice(stat.indexOf('(') + 1, end) }];
    });
}

/** Processes below this process's launcher: inits of containers and what runs in them. */
function containerProcesses(): string[] {
  const all = hostProcesses();
  const launchers = all.filter(({ parent, name }) => parent === process.pid && name === 'tscontain');
  const found: string[] = [];
  const visit = (parent: number): void => {
    for (const child of all.filter((candidate) => candidate.parent === parent)) {
      found.push(`${child.name} (${child.pid})`);
      visit(child.pid);
    }
  };
  for (const { pid } of launchers) visit(pid);
  return found;
}

/** Whether the name was given by a launcher that lives, and that another process started: other tests run beside these. */
function belongsToOther(name: string): boolean {
  const [, , pid, start] = name.split('-');
  const stat = read(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[19] === start && fields[1] !== String(process.pid);
}

/** What is there now. */
export function takeResidue(): Residue {
  return {
    processes: containerProcesses(),
    mounts: read('/proc/self/mountinfo')
      .split('\n')
      .map((line) => line.split(' ').slice(2).join(' ')),
    cgroups: cgroupLayout().hierarchies.flatMap(({ base }) =>
      list(base)
        .filter((name) => /^[0-9a-f]{8}-/.test(name) && !belongsToOther(name))
        .map((name) => `${base}/${name}`),
    ),
    links: list('/sys/class/net'),
    stateDirectories: list('/var/lib/tscontain/containers').filter((name) => !belongsToOther(name)),
    descriptors: list('/proc/self/fd').filter((fd) => {
      try {
        // The launcher's connection is made at the first container and stays.
        return !/^(socket|anon_inode):/.test(readlinkSync(`/proc/self/fd/${fd}`));
      } catch {
        return false;
      }
    }).length,
  };
}

/** Waits, up to two seconds, until nothing is left that was not there `before`. */
export async function expectNoResidue(before: Residue): Promise<void> {
  const deadline = Date.now() + 2000;
  const difference = () => {
    const now = takeResidue();
    const fresh = (key: 'processes' | 'mounts' | 'cgroups' | 'links' | 'stateDirectories') =>
      now[key].filter((entry) => !before[key].includes(entry));
    return {
      processes: fresh('processes'),
      mounts: fresh('mounts'),
      cgroups: fresh('cgroups'),
      links: fresh('links'),
      stateDirectories: fresh('stateDirectories'),
      descriptors: Math.max(0, now.descriptors - before.descriptors),
    };
  };
  const nothing = { processes: [], mounts: [], cgroups: [], links: [], stateDirectories: [], descriptors: 0 };
  while (Date.now() < deadline && JSON.stringify(difference()) !== JSON.stringify(nothing)) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(difference()).toEqual(nothing);
}

/** Compare at the end of a file what is there with what was there at its beginning. Call it once, at the top level. */
export function checkResidue(): void {
  let before: Residue;
  beforeAll(() => {
    before = takeResidue();
  });
  afterAll(async () => {
    await expectNoResidue(before);
  });
}
