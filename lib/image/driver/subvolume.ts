/**
 * Directories that containers get snapshots of: subvolumes of btrfs, each filled once. Made and removed by an agent with this
 * process's own privileges, beneath descriptors, since the calls for it are ioctls of the directory (btrfs-subvolume(8)).
 */

import { rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent } from '../../launcher/agent.js';
import { openFlag, type Step } from '../../plan/step.js';
import { unfinishedName } from './name.js';

const flags = openFlag.RDONLY | openFlag.DIRECTORY | openFlag.NOFOLLOW;

/** Runs steps in a directory, which is the slot `directory`. */
async function within(directory: string, steps: readonly Step[], doing: string): Promise<void> {
  await using agent = await Agent.start();
  const opened: Step = { kind: 'open', to: 'directory', from: null, path: directory, flags, resolve: 0 };
  await agent.run([opened, ...steps], { doing });
}

/**
 * The path of the subvolume `name` in `parent`, which `fill` fills if it is not there yet. It appears when it is complete, so
 * that one that is there can be used; of several that make it at the same time the first one's stays.
 * @throws TscontainError where `parent` is not on btrfs; what `fill` throws
 */
export async function ensureSubvolume(
  parent: string,
  name: string,
  fill: (directory: string) => Promise<void>,
): Promise<string> {
  const path = join(parent, name);
  if (await exists(path)) return path;
  const fresh = await unfinishedName();
  await within(parent, [{ kind: 'subvolume', under: 'directory', name: fresh }], 'making a subvolume');
  try {
    await fill(join(parent, fresh));
    // A directory that is empty would be replaced, but a subvolume that is there has been filled.
    await rename(join(parent, fresh), path);
  } catch (error) {
    await removeDirectory(parent, fresh);
    if (await exists(path)) return path;
    throw error;
  }
  return path;
}

/** Removes `name` in `parent` with all that is in it, subvolumes included; following no link, on this mount only. */
export function removeDirectory(parent: string, name: string): Promise<void> {
  return within(parent, [{ kind: 'removeTree', under: 'directory', name }], `removing ${name}`);
}

/** Removes what dead processes have left in `parent`: roots of containers, and what was not finished. */
export function sweepRoots(parent: string): Promise<void> {
  return within(parent, [{ kind: 'reclaim', on: 'directory' }], 'removing what was left');
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
