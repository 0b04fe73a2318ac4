/** The eight kinds of namespaces (namespaces(7)), by the names that /proc/<pid>/ns has for them. */

import { OptionError } from '../../errors.js';
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

export function isNamespaceKind(value: unknown): value is NamespaceKind {
  return typeof value === 'string' && Object.hasOwn(kindFlag, value);
}

/** @throws OptionError for anything that is not the name of a kind */
export function readKind(value: unknown, option: string): NamespaceKind {
  if (isNamespaceKind(value)) return value;
  const hint = value === 'network' || value === 'mount' ? 'the kernel’s names are net and mnt' : undefined;
  throw new OptionError(option, namespaceKinds.join(', '), value, { hint });
}

/** The kind of a flag of clone(2), which NS_GET_NSTYPE gives (ioctl_nsfs(2)). */
export function kindOfFlag(flag: number): NamespaceKind | undefined {
  return namespaceKinds.find((kind) => kindFlag[kind] === flag);
}

/** The flags of several kinds together. */
export function flagsOf(kinds: Iterable<NamespaceKind>): number {
  let flags = 0;
  for (const kind of kinds) flags |= kindFlag[kind];
  return flags;
}
