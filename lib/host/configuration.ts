/** What the launcher is told about this host: where cgroups are made, which ids are used, which directories are ours. */

import { lstatSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
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
  const runtime = privateDirectory(isRoot() ? '/run/tscontain' : join(runtimeHome(), 'tscontain'));
  const state = privateDirectory(isRoot() ? '/var/lib/tscontain' : join(dataHome(), 'tscontain'));
  return {
    ranges: { ...idRanges, lockFile: join(runtime, 'ids.lock') },
    prepare: baseSteps(layout, all).map((step) =>
      step.kind === 'mkdir' ? { directory: step.path } : { file: step.path, value: step.value },
    ),
    hierarchies: layout.hierarchies.map((hierarchy, index) => ({
      base: hierarchy.writable ? hierarchy.base : '',
      version: hierarchy.version,
      memory: layout.availability.memory.usable && layout.hierarchies[index] === layout.of('memory'),
    })),
    statFiles: hostStatFiles(layout),
    stateDirectory: privateDirectory(join(state, 'containers')),
  };
}

/** A directory that only we can reach, made if missing; one that someone else prepared is refused (security M5, A17). */
function privateDirectory(path: string): string {
  mkdirSync(path, { recursive: true, mode: 0o700 });
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

function runtimeHome(): string {
  return process.env.XDG_RUNTIME_DIR ?? join(dataHome(), 'run');
}

function dataHome(): string {
  return process.env.XDG_DATA_HOME ?? join(homedir(), '.local', 'share');
}
