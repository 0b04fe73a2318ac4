/** What a test needs of the host. One that lacks it is skipped, and says why. */

import { existsSync, readFileSync, realpathSync, statfsSync } from 'node:fs';
import { release } from 'node:os';
import type { TestContext } from 'vitest';
import { knowsExt4 } from '../../lib/container/storage/bound.js';
import { AppArmor, Landlock } from '../../lib/index.js';
import { cgroupLayout } from '../../lib/primitives/cgroup/index.js';

/** Skip unless run as root. */
export function needsRoot(context: TestContext): void {
  context.skip(process.geteuid?.() !== 0, 'needs root');
}

/** Skip unless the controller can be used on this host. */
export function needsController(context: TestContext, controller: 'cpu' | 'cpuset' | 'io' | 'memory' | 'pids'): void {
  const availability = cgroupLayout().availability[controller];
  context.skip(
    !availability.usable,
    availability.usable ? undefined : `no ${controller} controller: ${availability.reason}`,
  );
}

const overlayfs = 0x794c7630;

/** Skip where the library's own directory is on an overlay, as in a container or a test machine: none can be its upper. */
export function needsUpperOnDisk(context: TestContext): void {
  const { type } = statfsSync('/var/lib');
  context.skip(type === overlayfs, '/var/lib is on an overlay, which cannot hold another overlay’s upper directory');
}

/** Skip where no file can be made a block device with an ext4 on it. */
export function needsLoopFiles(context: TestContext): void {
  needsRoot(context);
  context.skip(!existsSync('/dev/loop-control'), 'no loop devices (/dev/loop-control)');
  context.skip(!knowsExt4(), 'this kernel has no ext4');
}

/** Skip where Landlock of the kernel is older than this ABI. */
export function needsLandlock(context: TestContext, abi: number): void {
  context.skip(Landlock.abi() < abi, `needs Landlock ABI ${abi}, and this kernel has ${Landlock.abi()}`);
}

/** Skip where the kernel has no AppArmor, or its profiles may not be loaded. */
export function needsAppArmor(context: TestContext): void {
  context.skip(!AppArmor.enabled(), 'this kernel has no AppArmor');
  needsRoot(context);
}

/** Skip unless the programs are installed. */
export function needsPrograms(context: TestContext, ...names: string[]): void {
  const directories = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  const missing = names.filter((name) => !directories.some((directory) => existsSync(`${directory}/${name}`)));
  context.skip(missing.length > 0, `not installed: ${missing.join(', ')}`);
}

/** Skip where what is executed below the directory gets no capabilities from its file. */
export function needsSetuid(context: TestContext, directory: string): void {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .trim()
    .split('\n')
    .map((line) => ({ at: line.split(' ')[4] ?? '', options: (line.split(' ')[5] ?? '').split(',') }))
    .filter(({ at }) => at === '/' || `${realpathSync(directory)}/`.startsWith(`${at}/`));
  const mount = mounts.reduce((longest, next) => (next.at.length >= longest.at.length ? next : longest));
  context.skip(mount.options.includes('nosuid'), `${mount.at} is mounted nosuid`);
}

/** Skip before this version of Linux. */
export function kernelAtLeast(context: TestContext, major: number, minor: number): void {
  const [first = 0, second = 0] = release().split('.').map(Number.parseFloat);
  context.skip(first < major || (first === major && second < minor), `needs Linux ${major}.${minor}`);
}

/** Skip where no container can be frozen. */
export function needsFreezer(context: TestContext): void {
  context.skip(!needsFreezer.has(), 'no cgroup v2 that a container can be frozen in');
}
needsFreezer.has = () => cgroupLayout().hierarchies.some(({ version, writable }) => version === 2 && writable);
