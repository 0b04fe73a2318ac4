/** Work on a container that stands still. */

import type { Instance } from './instance.js';
import type { ContainerSettings } from './settings.js';

/** A container, for what reads all of its files. */
export interface Pausable {
  readonly instance: Instance;
  readonly settings: ContainerSettings;
  pause(): Promise<void>;
  resume(): Promise<void>;
}

/** It goes on however `use` ends. One that has ended meanwhile was read to its end all the same. */
export async function whilePaused<Value>(
  { instance, pause, resume }: Pausable,
  use: () => Promise<Value>,
): Promise<Value> {
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
