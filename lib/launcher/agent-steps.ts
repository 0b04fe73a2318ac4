/** How an agent gets into its namespaces: the steps, and the order that their rules ask for. */

import { isRoot } from '../host/configuration.js';
import { containerIds, mapHelpers } from '../host/ids.js';
import { propagationPrivate, type Step } from '../plan/step.js';
import type { IdMap, IdMaps } from '../primitives/id-map.js';
import { flagsOf, kindFlag, type NamespaceKind } from '../primitives/namespace/kind.js';
import { nanoseconds, newClocks, openOwnProcess } from '../primitives/time-namespace.js';
import type { Between, IdMapping } from './launcher.js';
import type { Descriptor } from './native.js';

/** Offsets of the clocks of a new time namespace, in milliseconds (time_namespaces(7)). */
export interface TimeOffsets {
  readonly monotonic?: number;
  readonly boottime?: number;
}

export interface AgentOptions {
  /** Kinds of namespaces that it gets new ones of. */
  readonly create?: readonly NamespaceKind[];
  /**
   * Ids of a new user namespace: `'range'`, 65,536 of the host that no one else has; `'single'`, this process's own as 0; or
   * maps; `'container'`, those that a container has. Default `'range'` as root, else `'single'`.
   */
  readonly ids?: 'range' | 'single' | 'both' | 'container' | IdMaps;
  /** Namespaces that it enters. A new user namespace cannot be made beside them. */
  readonly join?: ReadonlyMap<NamespaceKind, Descriptor>;
  /**
   * Steps that run on the host's side, with the privileges of this process, when its user namespace is there (slot `userns`):
   * mounts that are shifted by its ids. What they leave in slots is there for the first steps that are asked of the agent.
   */
  readonly host?: readonly Step[];
  /** Clocks of a new time namespace. */
  readonly timeOffsets?: TimeOffsets;
  /**
   * It copies files from a container to another one: what it writes counts as that one's, in whose cgroups it is. The ids
   * `'both'` are those of the two, where each has a range: those of `into` begin at 0, those of `from` at 65,536.
   */
  readonly between?: Between;
}

/** What the launcher is asked for. */
export function idMapping(created: readonly NamespaceKind[], { ids }: AgentOptions): IdMapping {
  if (!created.includes('user')) return 'none';
  if (ids === undefined) return isRoot() ? 'range' : 'single';
  if (ids === 'container') return containerMapping();
  if (typeof ids === 'string') return ids;
  const helpers = isOwnAlone(ids) ? undefined : mapHelpers();
  return { uid: String(ids.uid), gid: String(ids.gid), denySetgroups: !isRoot() && !helpers, helpers };
}

/** What a container is asked for with. */
export function containerMapping(): IdMapping {
  const ids = containerIds();
  if (ids.kind !== 'subordinate') return ids.kind;
  const { maps, helpers } = ids;
  return { uid: String(maps.uid), gid: String(maps.gid), denySetgroups: false, helpers };
}

/** Maps that this process may write itself: root any, others those of their own ids. */
function isOwnAlone({ uid, gid }: IdMaps): boolean {
  const own = ({ ranges: [range, ...others] }: IdMap, id: number | undefined) =>
    others.length === 0 && range?.count === 1 && range.outside === id;
  return isRoot() || (own(uid, process.geteuid?.()) && own(gid, process.getegid?.()));
}

/** Steps of an agent whose namespaces were made with it. */
export function firstSteps(created: readonly NamespaceKind[], options: AgentOptions): Step[] {
  const steps: Step[] = [];
  if (created.includes('time')) steps.push(...openOwnProcess, ...agentClocks(options.timeOffsets));
  if (created.includes('mnt')) steps.push(privateMounts);
  if (created.includes('user')) steps.push(...becomeMapped(options));
  return steps;
}

/**
 * Steps of an agent that enters namespaces, and makes others there. Root may enter any that its own user namespace is above
 * of, and keeps that right only until it enters a user namespace itself: so that comes last. Whoever has no rights gets them
 * by entering a user namespace: so it comes first.
 */
export function enteringSteps(
  join: ReadonlyMap<NamespaceKind, Descriptor>,
  created: readonly NamespaceKind[],
  options: AgentOptions,
): { readonly steps: Step[]; readonly descriptors: Descriptor[] } {
  const others = [...join.keys()].filter((kind) => kind !== 'user');
  const user: NamespaceKind[] = join.has('user') ? ['user'] : [];
  const order = isRoot() ? [...others, ...user] : [...user, ...others];
  // Held open, since the procfs of a mount namespace that is entered may be none, or another.
  const steps: Step[] = [...openOwnProcess];
  const descriptors: Descriptor[] = [];
  for (const kind of order) {
    const descriptor = join.get(kind);
    if (!descriptor) continue;
    const position = descriptors.push(descriptor) - 1;
    // They are the host's, and a user namespace may forbid to give them up (user_namespaces(7), /proc/<pid>/setgroups).
    if (kind === 'user' && isRoot()) steps.push({ kind: 'setGroups', groups: [] });
    steps.push({ kind: 'setns', namespace: String(position), flags: kindFlag[kind] });
  }
  if (created.includes('time')) steps.push(...agentClocks(options.timeOffsets));
  const rest = created.filter((kind) => kind !== 'time');
  if (rest.length > 0) steps.push({ kind: 'unshare', flags: flagsOf(rest) });
  if (rest.includes('mnt')) steps.push(privateMounts);
  if (rest.includes('pid')) steps.push({ kind: 'fork' });
  return { steps, descriptors };
}

/** The clocks are set before anything is in the namespace; then the agent enters it, and what it starts is there too. */
function agentClocks({ monotonic = 0, boottime = 0 }: TimeOffsets = {}): readonly Step[] {
  return newClocks({ monotonic: nanoseconds(monotonic), boottime: nanoseconds(boottime) });
}

/** A copy of the mounts would pass on what happens in it to where it was copied from (mount_namespaces(7)). */
const privateMounts: Step = {
  kind: 'mountSetattr',
  on: null,
  path: '/',
  recursive: true,
  set: 0,
  clear: 0,
  propagation: propagationPrivate,
};

/** Until here the process is the host's user, whom a range, or maps, need not contain. */
function becomeMapped(options: AgentOptions): Step[] {
  const { ids = 'range' } = options;
  const first = (kind: 'uid' | 'gid') => (typeof ids === 'string' ? 0 : (ids[kind].ranges[0]?.inside ?? 0));
  const mapping = idMapping(['user'], options);
  const groups = typeof mapping === 'string' ? mapping !== 'single' : !mapping.denySetgroups;
  return [
    ...(groups ? [{ kind: 'setGroups', groups: [] } as const] : []),
    { kind: 'setGid', gid: first('gid') },
    { kind: 'setUid', uid: first('uid') },
  ];
}
