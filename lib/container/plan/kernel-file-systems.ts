/** /proc and /sys: fresh instances that belong to the new namespaces, with what belongs to the host hidden (B4, B6, B8). */

import { existsSync, readdirSync } from 'node:fs';
import { mountAttribute, openFlag, resolveFlag, type Step } from '../../plan/step.js';
import { attach, kernelOnly, newFileSystem } from '../../primitives/mount/steps.js';

/** What tells about, or reaches, the host: Docker's list (moby, daemon/pkg/oci/defaults.go), and the host's pressure. */
const hiddenInProc = [
  'acpi',
  'asound',
  'interrupts',
  'kcore',
  'keys',
  'latency_stats',
  'pressure',
  'sched_debug',
  'scsi',
  'timer_list',
  'timer_stats',
];
const readOnlyInProc = ['bus', 'fs', 'irq', 'sys', 'sysrq-trigger'];
const hiddenInSys = ['firmware', 'devices/virtual/powercap', 'fs/selinux'];
const processors = '/sys/devices/system/cpu';

/** A procfs of the container's own, everything in it as the kernel made it: settings can still be written. */
export const newProc: readonly Step[] = Object.freeze([
  ...newFileSystem('proc', 'proc', kernelOnly),
  attach('proc', 'stage', 'proc'),
  // No user namespace in a user namespace, whatever a filter allows (security E8).
  { kind: 'writeKernelFile', under: 'proc', path: 'sys/user/max_user_namespaces', value: '0' },
]);

let steps: readonly Step[] | undefined;

/** The same for every container: masks name paths, and one that is not there needs none. */
export function kernelFileSystems(): readonly Step[] {
  steps ??= Object.freeze([
    ...newFileSystem('sys', 'sysfs', kernelOnly | mountAttribute.RDONLY),
    attach('sys', 'stage', 'sys'),
    ...newFileSystem('cgroup', 'cgroup2', kernelOnly | mountAttribute.RDONLY),
    attach('cgroup', 'sys', 'fs/cgroup'),
    { kind: 'open', to: 'empty', from: 'stage', path: 'empty', flags: openFlag.PATH, resolve: resolveFlag.BENEATH },
    ...hiddenInProc.map((path) => mask('proc', path, 'hide')),
    ...readOnlyInProc.map((path) => mask('proc', path, 'readOnly')),
    ...[...hiddenInSys, ...throttles()].map((path) => mask('sys', path, 'hide')),
  ]);
  return steps;
}

function mask(under: string, path: string, how: 'hide' | 'readOnly'): Step {
  return { kind: 'mask', under, path, how, file: 'null', directory: 'empty' };
}

/** Thermal throttling counters tell what other tenants of the machine do; of each processor that has them. */
function throttles(): string[] {
  const names = existsSync(processors) ? readdirSync(processors).filter((name) => /^cpu\d+$/.test(name)) : [];
  return names
    .filter((name) => existsSync(`${processors}/${name}/thermal_throttle`))
    .map((name) => `devices/system/cpu/${name}/thermal_throttle`);
}
