/** The mounts that the caller asks for, as steps. */

import { mountAttribute, openFlag, resolveFlag, type Step } from '../../plan/step.js';
import { attach, hostTree, plain, tmpfs } from '../../primitives/mount/steps.js';
import type { BindSettings, MountSettings, OverlaySettings } from '../settings.js';
import type { IdMode } from './compile.js';
import { containerOverlay } from './overlay.js';

export interface MountSteps {
  /** Copies of host trees. */
  readonly hostTrees: readonly Step[];
  readonly steps: readonly Step[];
}

export function userMount(
  mount: MountSettings,
  index: number,
  ids: IdMode,
  kind: 'directory' | 'file' | undefined,
): MountSteps {
  const slot = `mount ${index}`;
  switch (mount.type) {
    case 'bind':
      return {
        hostTrees: bind(mount, slot, ids),
        steps: [attach(slot, 'root', mount.target, kind !== 'file')],
      };
    case 'tmpfs':
      return {
        hostTrees: [],
        steps: [
          ...tmpfs(slot, { ...mount, attributes: plain | (mount.exec ? 0 : mountAttribute.NOEXEC) }),
          attach(slot, 'root', mount.target),
        ],
      };
    case 'overlay':
      return overlayMount(mount, slot, index, ids);
  }
}

function bind(mount: BindSettings, slot: string, ids: IdMode): Step[] {
  const tree = { readOnly: mount.readOnly, exec: mount.exec, idmap: ids === 'range' && mount.idmap };
  if (mount.subPath === undefined) return hostTree(slot, { ...tree, path: mount.source });
  // Resolved from a descriptor of the source, following nothing (A8).
  const below = resolveFlag.BENEATH | resolveFlag.NO_SYMLINKS | resolveFlag.NO_MAGICLINKS;
  const { PATH } = openFlag;
  return [
    { kind: 'open', to: `${slot} source`, from: null, path: mount.source, flags: PATH, resolve: 0 },
    { kind: 'open', to: `${slot} part`, from: `${slot} source`, path: mount.subPath, flags: PATH, resolve: below },
    ...hostTree(slot, { ...tree, path: '', from: `${slot} part` }),
    { kind: 'close', slot: `${slot} source` },
    { kind: 'close', slot: `${slot} part` },
  ];
}

/** A stage of its own beneath the stage: the lower directories, the bounded upper, and the overlay over them. */
function overlayMount(mount: OverlaySettings, slot: string, index: number, ids: IdMode): MountSteps {
  const own = `${slot} stage`;
  const layers = mount.lower.map((path, layer) => ({ path, name: `l${layer}`, slot: `${slot} layer ${layer}` }));
  return {
    hostTrees: layers.flatMap((layer) =>
      hostTree(layer.slot, { path: layer.path, readOnly: true, idmap: ids === 'range' }),
    ),
    steps: [
      ...tmpfs(own, { size: mount.size, inodes: mount.inodes, mode: 0o755 }),
      attach(own, 'stage', `mount${index}`),
      ...layers.map((layer) => attach(layer.slot, own, layer.name)),
      { kind: 'makeDirectory', under: own, path: 'upper', mode: 0o755 },
      { kind: 'makeDirectory', under: own, path: 'work', mode: 0o755 },
      ...containerOverlay(slot, own, {
        lower: layers.map(({ name }) => ({ path: name })),
        upper: 'upper',
        work: 'work',
      }),
      attach(slot, 'root', mount.target),
    ],
  };
}
