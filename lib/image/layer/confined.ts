/**
 * Who works on trees of files that others have made: an agent that has no privilege on the host. As root it has a user namespace
 * of its own, with ids that nobody else has, and of the host's files it can change one directory only, through a mount that
 * shows it with the image's ids (security I, M4). An ordinary user's has that user's id.
 */

import { isRoot } from '../../host/configuration.js';
import { Agent } from '../../launcher/agent.js';
import { openFlag, type Slot, type Step } from '../../plan/step.js';
import { hostTree } from '../../primitives/mount/steps.js';

/** An agent with directories: {@link treeSlot} 0 is the one that it may write to, the others it may read. */
export interface ConfinedAgent extends AsyncDisposable {
  readonly agent: Agent;
  /** What comes before the first steps that it is asked for, and fills the slots where the start could not. */
  readonly steps: readonly Step[];
}

/** The slot of the directory with that index. */
export const treeSlot = (index: number): Slot => `layer ${index}`;

/**
 * Starts one. The directories are in their slots for the first steps that are asked of it, and only for those.
 * @param paths absolute; what is mounted below them is not seen
 * @throws TscontainError (EINVAL, step `mountSetattr`) where a file system cannot show other ids
 */
export async function startConfined(paths: readonly string[]): Promise<ConfinedAgent> {
  const shifted = isRoot();
  const host = shifted
    ? paths.flatMap((path, index) => hostTree(treeSlot(index), { path, readOnly: index > 0, idmap: true, ...plain }))
    : [];
  const flags = openFlag.PATH | openFlag.DIRECTORY | openFlag.NOFOLLOW;
  const opened = paths.map((path, index): Step => {
    return { kind: 'open', to: treeSlot(index), from: null, path, flags, resolve: 0 };
  });
  const agent = await Agent.start({ create: ['user', 'mnt', 'pid', 'net', 'ipc'], host });
  return { agent, steps: shifted ? [] : opened, [Symbol.asyncDispose]: () => agent.close() };
}

const plain = { recursive: false, exec: false } as const;
