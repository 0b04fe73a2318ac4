/** What containers of dead programs have left in the directory for `storage: { upper: 'disk' }`, of an ordinary user. */

import { readdir } from 'node:fs/promises';
import { isRoot, stateDirectory } from '../../host/configuration.js';
import { Agent } from '../../launcher/agent.js';
import { openFlag } from '../../plan/step.js';

/**
 * Removes it, and returns how many directories that were. What a container has left may be closed to its owner by its mode,
 * so it takes the root of a user namespace. Root's own launcher needs no help.
 * @throws TscontainError where the host gives this user no user namespaces
 */
export async function sweepStateDirectory(path = stateDirectory()): Promise<number> {
  if (isRoot() || path === '') return 0;
  const before = await readdir(path);
  if (before.length === 0) return 0;
  await using agent = await Agent.start({ create: ['user'], ids: 'container' });
  const flags = openFlag.RDONLY | openFlag.DIRECTORY | openFlag.NOFOLLOW;
  await agent.run(
    [
      { kind: 'open', to: 'directory', from: null, path, flags, resolve: 0 },
      { kind: 'reclaim', on: 'directory' },
    ],
    { doing: 'removing what containers have left' },
  );
  const after = new Set(await readdir(path));
  return before.filter((name) => !after.has(name)).length;
}
