/**
 * Where the root file system comes from: the host's own programs around a fresh system, an overlay over directories, or what
 * another driver makes of them.
 */

import { stateDirectory } from '../../host/configuration.js';
import { propagationPrivate, type Step } from '../../plan/step.js';
import { attach, hostTree, plain } from '../../primitives/mount/steps.js';
import type { ImageSettings } from '../settings/image.js';
import type { ContainerSettings, StorageSettings } from '../settings.js';
import { loopFile } from '../storage/bound.js';
import type { IdMode } from './compile.js';
import { copiedRoot, copyDirectory, type DirectoryRoot, lend, mergedTree, snapshotRoot } from './directory-root.js';
import { hostImage } from './host-image.js';
import { containerOverlay, type LowerLayers, lowerView } from './overlay.js';
import { textFile } from './system-files.js';
import { volumes } from './volumes.js';

/** Copies of host trees, and the steps that put the root together from them, in the slot `root`. */
export interface RootSteps {
  /** What only the launcher can do, whoever copies the trees. */
  readonly launcher?: readonly Step[];
  readonly hostTrees: readonly (readonly Step[])[];
  readonly steps: readonly (readonly Step[])[];
}

/**
 * @param own what a driver other than overlay has made ready, where one has
 * @param filled what is written begins with what is put there in the middle of the plan (`lend`)
 */
export function root(settings: ContainerSettings, ids: IdMode, own?: DirectoryRoot, filled = false): RootSteps {
  const { image } = settings;
  if (image.kind !== 'host') {
    const made = own ? ownRoot(own, settings.storage, filled) : overlayRoot(lowerOf(image, ids), settings, ids, filled);
    return image.kind === 'layers' && image.volumes?.length
      ? { ...made, steps: [...made.steps, volumes(image.volumes, 'stage')] }
      : made;
  }
  hostRoots[ids] ??= hostRoot(ids);
  return settings.storage.upper === 'disk' ? onDisk(hostRoots[ids], settings.storage, ids) : hostRoots[ids];
}

/** Where what is written goes: a private directory, or a file system of its own. Without a range init copies the mount. */
function disk({ disk }: StorageSettings, ids: IdMode): { readonly launcher: Step[]; readonly tree: Step[] } {
  if (disk) return { launcher: [], tree: loopFile('disk', disk) };
  if (ids === 'range') return { launcher: [], tree: [{ kind: 'stateDirectory', to: 'disk', detached: true }] };
  return {
    launcher: [{ kind: 'stateDirectory', to: 'disk made', detached: false }],
    tree: [{ kind: 'ownStateDirectory', to: 'disk', made: 'disk made', path: stateDirectory() }],
  };
}

/** The same root in a private directory on disk. It is a mount of the host's file system, so it gets its attributes here. */
function onDisk(
  { hostTrees, steps: [first = [], ...rest] }: RootSteps,
  storage: StorageSettings,
  ids: IdMode,
): RootSteps {
  const { launcher, tree } = disk(storage, ids);
  const attributes: Step = {
    kind: 'mountSetattr',
    on: 'root',
    path: '',
    recursive: false,
    set: plain,
    clear: 0,
    propagation: propagationPrivate, // a copy of a shared mount is shared, and cannot become the root (pivot_root(2))
  };
  const inDirectory = first.map(
    (step): Step => (step.kind === 'openTree' && step.to === 'root' ? { ...step, path: 'disk/upper' } : step),
  );
  return {
    launcher,
    hostTrees: [...hostTrees, tree],
    steps: [[attach('disk', 'stage', 'disk')], inDirectory.slice(0, 1), [attributes], inDirectory.slice(1), ...rest],
  };
}

/** The same for every container of `image: 'host'`. */
const hostRoots: Partial<Record<IdMode, RootSteps>> = {};

function hostRoot(ids: IdMode): RootSteps {
  const image = hostImage();
  const directory = (path: string, mode: number): Step => ({ kind: 'makeDirectory', under: 'root', path, mode });
  const mounted = [...image.directories.map((path) => ({ path, directory: true })), ...image.etc];
  const links = image.localtime ? [...image.links, ['etc/localtime', image.localtime] as const] : image.links;
  return {
    hostTrees: [
      // Seeing the owner as `nobody` harms nothing here, so a file system that cannot shift ids is no obstacle.
      Object.freeze(
        mounted.flatMap(({ path }) => hostTree(path, { path, readOnly: true, idmap: ids === 'range' && 'optional' })),
      ),
    ],
    steps: [
      Object.freeze<Step[]>([
        { kind: 'openTree', to: 'root', from: 'stage', path: 'root', recursive: false },
        attach('root', 'stage', 'root'),
        ...['etc', 'home', 'opt', 'run', 'srv', 'var'].map((path) => directory(path, 0o755)),
        directory('root', 0o700),
        directory('tmp', 0o1777),
        directory('var/tmp', 0o1777),
        ...mounted.map((tree) => attach(tree.path, 'root', tree.path, tree.directory)),
        ...links.map(([path, target]): Step => ({ kind: 'symlink', under: 'root', path, target, keep: true })),
        ...image.files.map(({ path, content }) => textFile(path, content, 'keep')),
      ]),
    ],
  };
}

/** A directory of its own, which a driver makes; only root has such, whose containers' ids are shifted. */
function ownRoot(own: DirectoryRoot, storage: StorageSettings, filled: boolean): RootSteps {
  if (own.driver === 'btrfs') {
    const trees = [mergedTree('below', own), snapshotRoot('root', own, storage.quota)];
    return { hostTrees: trees, steps: [[attach('root', 'stage', 'root'), ...mountPoints]] };
  }
  const onDisk = storage.upper === 'disk';
  const place = storage.disk ? loopFile('disk', storage.disk) : copyDirectory('disk', own);
  return {
    hostTrees: [mergedTree('below', own), onDisk ? place : []],
    steps: [
      onDisk ? [attach('disk', 'stage', 'disk')] : [makeDirectory('stage', 'disk/upper')],
      [...copiedRoot('below', 'disk/upper', filled), ...mountPoints],
    ],
  };
}

function makeDirectory(under: string, path: string): Step {
  return { kind: 'makeDirectory', under, path, mode: 0o755 };
}

/** Directories that an image need not have. */
const mountPoints: readonly Step[] = [
  ...['proc', 'sys', 'dev', 'etc'].map((path) => makeDirectory('root', path)),
  { kind: 'makeDirectory', under: 'root', path: 'tmp', mode: 0o1777 },
];

/** What an overlay is laid over: a host tree in the slot `lower`, and how it is named there. */
interface Lower {
  readonly tree: readonly Step[];
  readonly layers: LowerLayers;
}

/**
 * Layers are shifted all at once, as one mount of the directory that they are in: however many there are, there is one
 * mount to make. What is mounted below it is left out, and the host's.
 */
function lowerOf(image: Exclude<ImageSettings, { kind: 'host' }>, ids: IdMode): Lower {
  const tree = { readOnly: true, idmap: ids === 'range' };
  if (image.kind === 'rootfs') {
    return { tree: hostTree('lower', { ...tree, path: image.path }), layers: [{ path: 'lower' }] };
  }
  if (image.kind === 'stored') throw new TypeError('an image is made layers before a container is made of it');
  return {
    tree: hostTree('lower', { ...tree, path: image.directory, recursive: false }),
    layers: { under: 'lower', names: image.names },
  };
}

/** An overlay; what is written goes to the stage, or to a private directory on disk. */
function overlayRoot(
  { tree, layers: lower }: Lower,
  { storage }: ContainerSettings,
  ids: IdMode,
  filled: boolean,
): RootSteps {
  const own = storage.upper === 'disk' ? disk(storage, ids) : undefined;
  const upper: Step[] = own
    ? [attach('disk', 'stage', 'disk')]
    : [makeDirectory('stage', 'disk/upper'), makeDirectory('stage', 'disk/work')];
  // Before the overlay is mounted, which would not expect its upper directory to change.
  const fill = filled ? lend('disk/upper') : [];
  return {
    ...(own && { launcher: own.launcher }),
    hostTrees: [tree, own?.tree ?? []],
    steps: [
      [
        attach('lower', 'stage', 'lower'),
        ...upper,
        ...fill,
        ...containerOverlay('root', 'stage', {
          lower,
          upper: 'disk/upper',
          work: 'disk/work',
          onDisk: own !== undefined,
        }),
        // Kept by init: `changes()` and the like look at them.
        { kind: 'openTree', to: 'upper', from: 'stage', path: 'disk/upper', recursive: false },
        ...lowerView('below', 'stage', lower),
        attach('root', 'stage', 'root'),
        ...mountPoints,
      ],
    ],
  };
}
