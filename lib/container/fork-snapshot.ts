/** Forking a container whose root is a snapshot: the new one has a snapshot of that. */

import { join } from 'node:path';
import { TscontainError } from '../errors.js';
import type { ForkOptions } from './fork.js';
import { isPaused, type Pausable, whilePaused } from './paused.js';
import type { DirectoryRoot } from './plan/directory-root.js';

/**
 * @param make a container with the root that it is given
 * @throws TscontainError `ERR_CONTAINER_GONE`, `ERR_PAUSED`
 */
export async function forkSnapshot<Value>(
  container: Pausable,
  { pause }: Required<ForkOptions>,
  root: DirectoryRoot,
  make: (root: DirectoryRoot) => Promise<Value>,
): Promise<Value> {
  const { instance } = container;
  await instance.ready;
  if (instance.isGone) throw new TscontainError('ERR_CONTAINER_GONE', 'the container has ended');
  // What the launcher has called it, in a directory that nobody else can reach.
  const work = () => make({ ...root, source: join(root.parent, instance.cgroup ?? '') });
  if (instance.frozen && !instance.held) throw isPaused();
  return await (pause ? whilePaused(container, work) : work());
}
