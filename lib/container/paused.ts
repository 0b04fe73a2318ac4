/** Work on a container that stands still. */

import { TscontainError } from '../errors.js';
import { CgroupDirectory } from '../primitives/cgroup/directory.js';
import { settled } from '../primitives/cgroup/settle.js';
import type { Instance } from './instance.js';
import type { ContainerSettings } from './settings.js';

/** A container, for what reads all of its files. */
export interface Pausable {
  readonly instance: Instance;
  readonly settings: ContainerSettings;
  /** At once, whoever's turn it is. */
  pause(): Promise<void>;
  resume(): Promise<void>;
}

const turns = new WeakMap<Instance, Promise<unknown>>();

/** One after the other: what stops a container, or lets it go on, must not come in the middle of another's work on it. */
export function inTurn<Value>(instance: Instance, work: () => Promise<Value>): Promise<Value> {
  const turn = (turns.get(instance) ?? Promise.resolve()).then(work);
  turns.set(
    instance,
    turn.catch(() => {}),
  );
  return turn;
}

/**
 * It goes on however `use` ends. One that has ended meanwhile was read to its end all the same.
 * @throws TscontainError `ERR_PAUSED` where somebody else has paused it
 */
export function whilePaused<Value>(container: Pausable, use: () => Promise<Value>): Promise<Value> {
  const { instance } = container;
  return inTurn(instance, async () => {
    if (instance.frozen) throw isPaused();
    instance.held = true;
    try {
      return await pausedFor(container, use);
    } finally {
      instance.held = false;
    }
  });
}

async function pausedFor<Value>({ instance, pause, resume }: Pausable, use: () => Promise<Value>): Promise<Value> {
  await pause();
  let value: Value;
  try {
    value = await use();
  } catch (error) {
    await resume().catch(() => {});
    throw error;
  }
  await resume().catch((error: unknown) => {
    if (!instance.isGone) throw error;
  });
  return value;
}

export function isPaused(): TscontainError {
  return new TscontainError('ERR_PAUSED', 'the container is paused, and its init with it', {
    hint: 'resume() it first',
  });
}

/** Milliseconds for what is in the kernel to come back from there. */
const patience = 5000;

/**
 * Waits until the kernel says that all of it stands still: what was in a system call goes on to its end first, such as the
 * writing of a file.
 */
export async function standsStill(base: string, { cgroup }: Instance): Promise<void> {
  if (cgroup === undefined) return;
  const directory = CgroupDirectory.open(`${base}/${cgroup}`, 2);
  try {
    await settled(directory, 'frozen', 1, patience);
  } finally {
    await directory.close();
  }
}
