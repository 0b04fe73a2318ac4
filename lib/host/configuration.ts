/** What the launcher is told about this host: where cgroups are made, which ids are used, which directories are ours. */

import { lstatSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { PermissionError } from '../errors.js';
import type { LauncherConfiguration } from '../launcher/launcher.js';
import { baseSteps, type CgroupLayout, cgroupLayout, statFiles } from '../primitives/cgroup/index.js';

/**
 * Host ids for containers: above everything that distributions, systemd and subordinate id files use, below the ids that
 * systemd sets aside for foreign images (systemd, UIDS-GIDS: 1879048192 to 2147352575 is unused).
 */
const idRanges = { first: 0x70000000, count: 2046, size: 65536 } as const;

/** Whether this process may act for the whole host, or only for its own user. */
export function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

/** Which statistics files the launcher reads, in the order it numbers them. */
export function hostStatFiles(layout: CgroupLayout = cgroupLayout()): readonly { hierarchy: number; file: string }[] {
  return statFiles(
    layout,
    layout.hierarchies.map((_, index) => index),
  );
}

export function launcherConfiguration(): LauncherConfiguration {
  const layout = cgroupLayout();
  const all = layout.hierarchies.map((_, index) => index);
  return {
    ranges: { ...idRanges, lockFile: isRoot() ? join(privateDirectory('/run/tscontain'), 'ids.lock') : '' },
    prepare: baseSteps(layout, all).map((step) =>
      step.kind === 'mkdir' ? { directory: step.path } : { file: step.path, value: step.value },
    ),
    hierarchies: layout.hierarchies.map((hierarchy, index) => ({
      base: hierarchy.writable ? hierarchy.base : '',
      version: hierarchy.version,
      memory: layout.availability.memory.usable && layout.hierarchies[index] === layout.of('memory'),
      // A v1 cpuset takes no process before it has processors and memory nodes.
      late: hierarchy.version === 1 && hierarchy.controllers.includes('cpuset'),
    })),
    statFiles: hostStatFiles(),
    stateDirectory: stateDirectory(),
  };
}

let state: string | undefined;

/**
 * Where `storage: { upper: 'disk' }` is kept, made if missing; found once, as the launcher holds it open. Empty for a user
 * without a home, who can do without until a container asks for it.
 */
export function stateDirectory(): string {
  state ??= isRoot() ? privateDirectory(join(privateDirectory('/var/lib/tscontain'), 'containers')) : ofUser();
  return state;
}

function ofUser(): string {
  try {
    const data = process.env.XDG_DATA_HOME;
    // The specification ignores a relative one. homedir() throws for a user without an entry in passwd(5) and without HOME.
    const home = data && isAbsolute(data) ? data : join(homedir(), '.local', 'share');
    return privateDirectory(join(privateDirectory(join(home, 'tscontain')), 'containers'));
  } catch {
    return '';
  }
}

/** A directory that only we can reach, made if missing; one that someone else prepared is refused (security M5, A17). */
function privateDirectory(path: string): string {
  makeDirectory(path);
  const facts = lstatSync(path);
  const mine = facts.isDirectory() && facts.uid === process.geteuid?.() && (facts.mode & 0o077) === 0;
  if (!mine) {
    throw new PermissionError(`${path} must be a directory of this user's with mode 0700`, {
      path,
      hint: 'remove it, or give it to this user and run chmod 700 on it',
    });
  }
  return path;
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new PermissionError(`the directory ${path} could not be made: ${code}`, {
      path,
      syscall: 'mkdir',
      errno: code,
      hint: isRoot()
        ? 'it must be on a writable file system'
        : 'set XDG_RUNTIME_DIR and XDG_DATA_HOME to directories that this user can write',
      cause,
    });
  }
}
