/** The eight kinds of namespaces (namespaces(7)), by the names that /proc/<pid>/ns has for them. */

import { cloneFlag } from '../../plan/step.js';

/** A kind of namespace, as its file in `/proc/<pid>/ns` is called. */
export type NamespaceKind = 'cgroup' | 'ipc' | 'mnt' | 'net' | 'pid' | 'time' | 'user' | 'uts';

/** The flag of clone(2) for each kind. */
export const kindFlag: Readonly<Record<NamespaceKind, number>> = {
  cgroup: cloneFlag.NEWCGROUP,
  ipc: cloneFlag.NEWIPC,
  mnt: cloneFlag.NEWNS,
  net: cloneFlag.NEWNET,
  pid: cloneFlag.NEWPID,
  time: cloneFlag.NEWTIME,
  user: cloneFlag.NEWUSER,
  uts: cloneFlag.NEWUTS,
};

/** All kinds, in alphabetical order. */
export const namespaceKinds = Object.freeze(Object.keys(kindFlag) as NamespaceKind[]);

/** The flags of several kinds together. */
export function flagsOf(kinds: Iterable<NamespaceKind>): number {
  let flags = 0;
  for (const kind of kinds) flags |= kindFlag[kind];
  return flags;
}
