/**
 * Subvolumes of btrfs, and directories that may have some in them. Made and removed by an agent with this process's own
 * privileges, beneath descriptors, since the calls for it are ioctls of the directory (btrfs-subvolume(8)).
 */

import { readdir } from 'node:fs/promises';
import { Agent } from '../../launcher/agent.js';
import { openFlag, type Step } from '../../plan/step.js';

const flags = openFlag.RDONLY | openFlag.DIRECTORY | openFlag.NOFOLLOW;

/** Runs steps in a directory, which is the slot `directory`. */
async function within(directory: string, steps: readonly Step[], doing: string): Promise<void> {
  await using agent = await Agent.start();
  const opened: Step = { kind: 'open', to: 'directory', from: null, path: directory, flags, resolve: 0 };
  await agent.run([opened, ...steps], { doing });
}

/** A new subvolume, empty. @throws TscontainError where `parent` is not on btrfs, or something has that name */
export function makeSubvolume(parent: string, name: string): Promise<void> {
  return within(parent, [{ kind: 'subvolume', under: 'directory', name }], 'making a subvolume');
}

/** Removes `name` in `parent` with all that is in it, subvolumes included; following no link, on this mount only. */
export function removeDirectory(parent: string, name: string): Promise<void> {
  return within(parent, [{ kind: 'removeTree', under: 'directory', name }], `removing ${name}`);
}

/** Removes what dead processes have left in `parent`: roots of containers, and what was not finished. Returns how many. */
export async function sweepRoots(parent: string): Promise<number> {
  const before = await readdir(parent);
  if (before.length === 0) return 0;
  await within(parent, [{ kind: 'reclaim', on: 'directory' }], 'removing what was left');
  const left = new Set(await readdir(parent));
  return before.filter((name) => !left.has(name)).length;
}
