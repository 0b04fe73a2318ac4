/** From a mount that was made to one that has its place, or to nothing. */

import type { Descriptor } from '../../launcher/native.js';
import { attachAt, type MadeMount } from './mount.js';
import type { MountSettings } from './options.js';
import type { Place } from './place.js';

/** Makes a mount and attaches it. Where that fails, all of it is gone. */
export async function attachOrClose(
  place: Place,
  { target, readOnly }: MountSettings,
  make: () => Promise<readonly Descriptor[]>,
  recursive = false,
): Promise<MadeMount> {
  let descriptor: Descriptor | undefined;
  try {
    [descriptor] = await make();
    if (!descriptor) throw new Error('no descriptor of the mount');
    const path = target === undefined ? undefined : await attachAt(target, descriptor, place);
    return { descriptor, target: path, place, readOnly, recursive };
  } catch (error) {
    if (descriptor?.open) descriptor.close();
    await place.close();
    throw error;
  }
}
