/**
 * The volumes of an image: directories beside the upper directory, bounded with it, that are mounted where the image names
 * them. Each begins with what the image has there. As mounts they are no part of the container's layer.
 */

import { copyTreeStep } from '../../image/layer/copy.js';
import { propagationPrivate, type Slot, type Step } from '../../plan/step.js';
import { attach, plain } from '../../primitives/mount/steps.js';
import { openDirectory } from './overlay.js';

/** Beneath the stage, where the upper directory is too. */
const place = 'disk/volumes';

/**
 * @param paths those above before those below, which lie in them then
 * @param stage what the places are beneath; the root is in the slot `root`, attached, and no program runs in it
 */
export function volumes(paths: readonly string[], stage: Slot): Step[] {
  return [
    { kind: 'makeDirectory', under: stage, path: place, mode: 0o700 },
    ...paths.flatMap((path, index) => volume(path, stage, `${place}/${index}`)),
    ...['volume', 'volume target', 'volume mount'].map((slot): Step => ({ kind: 'close', slot })),
  ];
}

function volume(path: string, stage: Slot, own: string): Step[] {
  return [
    { kind: 'directoryInside', to: 'volume target', root: 'root', path, mode: 0o755, setting: 'Volumes' },
    { kind: 'makeDirectory', under: stage, path: own, mode: 0o755 },
    openDirectory('volume', stage, own),
    copyTreeStep(['volume target'], 'volume'),
    { kind: 'openTree', to: 'volume mount', from: 'volume', path: '', recursive: false },
    {
      kind: 'mountSetattr',
      on: 'volume mount',
      path: '',
      recursive: false,
      set: plain,
      clear: 0,
      propagation: propagationPrivate,
    },
    attach('volume mount', 'volume target', ''),
  ];
}
