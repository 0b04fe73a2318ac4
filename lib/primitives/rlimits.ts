/**
 * Resource limits of a process (getrlimit(2)): the sixteen resources by the kernel's names, and what this process has of
 * them, which is the most that it can hand on.
 */

import { readFileSync } from 'node:fs';

interface ResourceFacts {
  /** RLIMIT_… of `asm-generic/resource.h`, the same on x86-64 and arm64. */
  readonly number: number;
  /** The line of /proc/<pid>/limits, without its "Max ". */
  readonly title: string;
  /** `size` is bytes, written as a size; `count` is a whole number up to `most`. */
  readonly unit: 'size' | 'count';
  readonly most?: number;
  /** What the number counts, for messages. */
  readonly counts?: string;
}

/** By the name of RLIMIT_… in lower case, in the kernel's order. */
export const resources = {
  cpu: { number: 0, title: 'cpu time', unit: 'count', counts: 'seconds' },
  fsize: { number: 1, title: 'file size', unit: 'size' },
  data: { number: 2, title: 'data size', unit: 'size' },
  stack: { number: 3, title: 'stack size', unit: 'size' },
  core: { number: 4, title: 'core file size', unit: 'size' },
  rss: { number: 5, title: 'resident set', unit: 'size' },
  nproc: { number: 6, title: 'processes', unit: 'count' },
  nofile: { number: 7, title: 'open files', unit: 'count' },
  memlock: { number: 8, title: 'locked memory', unit: 'size' },
  as: { number: 9, title: 'address space', unit: 'size' },
  locks: { number: 10, title: 'file locks', unit: 'count' },
  sigpending: { number: 11, title: 'pending signals', unit: 'count' },
  msgqueue: { number: 12, title: 'msgqueue size', unit: 'size' },
  nice: { number: 13, title: 'nice priority', unit: 'count', most: 40 },
  rtprio: { number: 14, title: 'realtime priority', unit: 'count', most: 99 },
  rttime: { number: 15, title: 'realtime timeout', unit: 'count', counts: 'microseconds' },
} as const satisfies Record<string, ResourceFacts>;

/** A resource that has a limit, by the kernel's name: `nofile` is RLIMIT_NOFILE. */
export type Resource = keyof typeof resources;

export const resourceNames = Object.freeze(Object.keys(resources)) as readonly Resource[];

/** What is known of a resource. */
export function resourceFacts(name: Resource): ResourceFacts {
  return resources[name];
}

/** A limit of a resource; Infinity is RLIM_INFINITY. */
export interface Rlimit {
  readonly soft: number;
  readonly hard: number;
}

/** Limits by resource. */
export type Rlimits = { readonly [Name in Resource]?: Rlimit };

/** The limits of this process, or of another one, from /proc/<pid>/limits. One that the kernel does not list is missing. */
export function readRlimits(pid: number | 'self' = 'self'): Rlimits {
  return parseRlimits(readFileSync(`/proc/${pid}/limits`, 'utf8'));
}

/** The contents of /proc/<pid>/limits. */
export function parseRlimits(text: string): Rlimits {
  const byTitle = new Map<string, Rlimit>();
  for (const line of text.split('\n')) {
    const match = /^Max (.+?) +(\d+|unlimited) +(\d+|unlimited)/.exec(line);
    if (match) byTitle.set(match[1] ?? '', { soft: parseValue(match[2]), hard: parseValue(match[3]) });
  }
  const limits: { [Name in Resource]?: Rlimit } = {};
  for (const name of resourceNames) {
    const limit = byTitle.get(resources[name].title);
    if (limit) limits[name] = limit;
  }
  return limits;
}

/** The limits that there are, in the order they were put in. */
export function rlimitEntries(limits: Rlimits): readonly (readonly [Resource, Rlimit])[] {
  return Object.entries(limits) as [Resource, Rlimit][];
}

function parseValue(text: string | undefined): number {
  return text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text);
}
