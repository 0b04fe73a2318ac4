/** Which kinds of namespaces this kernel has: each can be left out when it is built. */

import { existsSync } from 'node:fs';
import { UnsupportedError } from '../../errors.js';
import { type NamespaceKind, namespaceKinds } from './kind.js';

let found: readonly NamespaceKind[] | undefined;

/** The kinds that this kernel has. */
export function kernelKinds(): readonly NamespaceKind[] {
  found ??= namespaceKinds.filter((kind) => existsSync(`/proc/self/ns/${kind}`));
  return found;
}

/** @throws UnsupportedError naming the first kind that this kernel has not */
export function expectKernelKinds(kinds: readonly NamespaceKind[]): void {
  const missing = kinds.find((kind) => !kernelKinds().includes(kind));
  if (missing === undefined) return;
  const configuration =
    missing === 'cgroup' ? 'CONFIG_CGROUPS' : `CONFIG_${missing === 'mnt' ? 'PROC_FS' : `${missing.toUpperCase()}_NS`}`;
  throw new UnsupportedError(`this kernel has no ${missing} namespaces`, {
    path: `/proc/self/ns/${missing}`,
    hint: `it was built without ${configuration}`,
  });
}
