/** A container with the files of another one. */

import { TscontainError, UnsupportedError } from '../errors.js';
import { type Pausable, whilePaused } from './paused.js';
import { defineSchema, readBoolean, readObject } from './settings/schema.js';
import { expectOwnRoot, viewUpper } from './views.js';

/** How a container is forked. */
export interface ForkOptions {
  /** Whether everything in the container stops while what it has written is copied. Default true. */
  readonly pause?: boolean;
}

const schema = defineSchema(['pause']);

/**
 * @param make a container whose upper directory begins with a copy of the one behind this path, which leads there until it
 * settles
 */
export async function copyWritten<Value>(
  container: Pausable,
  options: ForkOptions,
  make: (path: string) => Promise<Value>,
): Promise<Value> {
  const pause = readBoolean(readObject(options, '', schema).pause, 'pause', true);
  const { settings, instance } = container;
  expectOwnRoot(settings, 'be forked');
  if (settings.storage.upper !== 'tmpfs') {
    throw new UnsupportedError(
      "a container whose storage is on disk cannot be forked: its files have the host's ids there",
      {
        hint: "use storage: { upper: 'tmpfs' }",
      },
    );
  }
  // Init of an ordinary user opens what it is given itself, and may not look into a process outside of its user namespace.
  if (instance.blueprint.ids === 'single') {
    throw new UnsupportedError('fork() takes root: an ordinary user has no way to hand a mount to a new container');
  }
  const upper = await viewUpper(instance).catch((error: unknown) => {
    if (!(error instanceof TscontainError && error.errno === 'EINVAL')) throw error;
    throw new UnsupportedError('this kernel cannot copy a mount that is nowhere attached: fork() takes Linux 6.15', {
      cause: error,
    });
  });
  try {
    // The launcher, or the new init before it has a root of its own, opens what this process has open.
    const work = () => make(`/proc/${process.pid}/fd/${upper.number}`);
    return await (pause ? whilePaused(container, work) : work());
  } finally {
    upper.close();
  }
}
