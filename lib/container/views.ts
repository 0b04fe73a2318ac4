/**
 * The container's root file system, seen from outside: init hands out descriptors of it, and whatever reads the files is a
 * process that nothing in the container can reach, nor freeze. The kernel is asked through these descriptors only, so no path
 * of the host is ever looked up for the container's files.
 */

import { fstatSync } from 'node:fs';
import { UnsupportedError } from '../errors.js';
import { Agent } from '../launcher/agent.js';
import type { Descriptor } from '../launcher/native.js';
import { openFlag, type Slot, type Step } from '../plan/step.js';
import type { LayerViews } from '../primitives/mount/changes.js';
import type { Instance } from './instance.js';
import { isPaused } from './paused.js';
import type { ContainerSettings } from './settings.js';

/** What runs in the container now, without what is mounted in it. */
export interface RootView {
  readonly root: Descriptor;
  /** The container's user namespace: ids of files are what they are for the container. */
  readonly user: Descriptor;
  close(): void;
}

/** The same, with what it was made of. */
export interface ChangedView extends RootView {
  readonly layers: LayerViews;
}

/** A copy of the mount, not of what is mounted in it; and who init is. */
const steps: readonly Step[] = [
  { kind: 'openTree', to: 'merged', from: null, path: '/', recursive: false },
  { kind: 'open', to: 'own user', from: 'proc', path: 'self/ns/user', flags: openFlag.RDONLY, resolve: 0 },
];

/** @throws UnsupportedError where the root has no changes, or is none of the container's own */
export function expectOwnRoot({ image }: ContainerSettings, doing: string): void {
  if (image.kind !== 'host') return;
  throw new UnsupportedError(`a container of image: 'host' cannot ${doing}: its files are the host's own`, {
    hint: 'make it of an image, or of { rootfs } or { layers }',
  });
}

/** @throws TscontainError `ERR_CONTAINER_GONE`, or `ERR_PAUSED`, as init answers nothing then */
export async function viewRoot(instance: Instance): Promise<RootView> {
  const [root, user] = await take(instance, ['merged', 'own user']);
  if (!root || !user) throw new Error('init has handed out too little');
  return { root, user, close: () => closeAll([root, user]) };
}

export async function viewChanges(instance: Instance): Promise<ChangedView> {
  const { root: own } = instance.blueprint;
  const last = own ? (own.driver === 'vfs' ? ['copied at'] : []) : ['upper'];
  const [root, user, below, beside] = await take(instance, ['merged', 'own user', 'below', ...last]);
  if (!root || !user || !below || (last.length > 0 && !beside)) throw new Error('init has handed out too little');
  const upper = own || !beside ? madeAnew(beside) : beside;
  const layers: LayerViews = { upper, merged: root, below, prefix: 'user.overlay.', index: false };
  return { root, user, layers, close: () => closeAll(beside ? [root, user, below, beside] : [root, user, below]) };
}

/**
 * Whether a directory has taken another's place, as the overlay's note of an opaque one tells. A snapshot has the same inodes as
 * what it is of; in a copy they are others, but were made before the mark was. Where that is not known, what differs in the
 * directory is told of one by one, which comes to the same.
 * @param mark made right after a copy
 */
function madeAnew(mark: Descriptor | undefined): Exclude<LayerViews['upper'], Descriptor> {
  if (!mark) return ({ sameInode }) => !sameInode;
  const copied = Number(fstatSync(mark.number, { bigint: true }).ctimeNs / 1000n);
  return ({ born }) => born > copied;
}

/** The directory of what has been written. */
export async function viewUpper(instance: Instance): Promise<Descriptor> {
  const [upper] = await take(instance, ['upper'], []);
  if (!upper) throw new Error('init has handed out too little');
  return upper;
}

/** Reads the container's files with its root's eyes and rights, and is in none of its other namespaces. */
export async function startReader({ user }: RootView): Promise<Agent> {
  const agent = await Agent.start({ join: new Map([['user', user]]) });
  try {
    // Entering has given it every right there, over files whose owners are mapped; now it is one of those owners as well.
    await agent.run(
      [
        { kind: 'setGid', gid: 0 },
        { kind: 'setUid', uid: 0 },
      ],
      { doing: 'becoming root of the container' },
    );
    return agent;
  } catch (error) {
    await agent.close();
    throw error;
  }
}

async function take(
  instance: Instance,
  slots: readonly Slot[],
  by: readonly Step[] = steps,
): Promise<readonly Descriptor[]> {
  await instance.ready;
  // What we have paused ourselves goes on by itself, and init answers then.
  if (instance.frozen && !instance.held) throw isPaused();
  return instance.run(by, slots, "opening the container's files");
}

function closeAll(descriptors: readonly Descriptor[]): void {
  for (const descriptor of descriptors) if (descriptor.open) descriptor.close();
}
