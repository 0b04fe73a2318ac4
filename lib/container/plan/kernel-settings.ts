/** The kernel's settings for the container's own namespaces, as steps of init: sysctl values. */

import type { Step } from '../../plan/step.js';
import { kernelOnly, newFileSystem } from '../../primitives/mount/steps.js';
import type { Sysctl } from '../../primitives/sysctl.js';

/**
 * Before Linux 6.10 settings of an ipc namespace are host root's to write, which init is until it changes its ids, without
 * any power over the host; from then on they are the container's root's. So they are tried here, where a refusal counts for
 * nothing, and set in {@link sysctls}.
 */
export function earlySysctls(settings: readonly Sysctl[]): readonly Step[] {
  const early = settings.filter(({ namespace }) => namespace === 'ipc');
  if (early.length === 0) return [];
  return [
    ...newFileSystem('early proc', 'proc', kernelOnly),
    ...early.map(({ key, value }): Step => ({ kind: 'sysctl', under: 'early proc', key, value, tolerant: true })),
    { kind: 'close', slot: 'early proc' },
  ];
}

/** Through the descriptor of the container's new procfs, before anything lies over /proc/sys; each is read back (B1). */
export function sysctls(settings: readonly Sysctl[]): readonly Step[] {
  return settings.flatMap(({ key, value, namespace }): Step[] => [
    // Its file is host root's on every kernel; the system call asks for the capability.
    ...(namespace === 'uts' ? [{ kind: 'setDomainName', name: value } as const] : []),
    { kind: 'sysctl', under: 'proc', key, value, tolerant: false },
  ]);
}
