/** The overlays of a container. */

import { release } from 'node:os';
import { UnsupportedError } from '../../errors.js';
import { mountAttribute, openFlag, resolveFlag, type Slot, type Step } from '../../plan/step.js';
import { type Layer, type LayerPassing, overlay, plain } from '../../primitives/mount/steps.js';

/** Layers that have names of ours beneath the stage; or that have any names, beneath a slot. Topmost first. */
export type LowerLayers =
  | readonly { readonly path: string }[]
  | { readonly under: Slot; readonly names: readonly string[] };

export interface ContainerOverlay {
  readonly lower: LowerLayers;
  /** Beneath the stage. */
  readonly upper: string;
  readonly work: string;
  readonly onDisk?: boolean;
}

/**
 * An overlay over directories that are attached beneath the slot `stage`, which also holds the upper and work directories.
 * Layers have names of ours, relative to the stage, or are opened beneath their directory, following no link, and handed
 * over as descriptors: so that no path of a user's is ever part of an option string (security A16).
 * `userxattr`, as the mount belongs to a user namespace: trusted attributes cannot be written there, and with it
 * redirects and metadata-only copies are off (overlayfs.rst, "User xattr").
 *
 * With `onDisk` it is `volatile` too (Linux 5.10): what is written ends with the container, so nothing waits until it is safe
 * on the disk, neither a program's fsync(2) nor the end, when all of the host's file system would be synced.
 */
export function containerOverlay(
  to: Slot,
  stage: Slot,
  { lower, upper, work, onDisk = false }: ContainerOverlay,
  passing = passingOf(release()),
): Step[] {
  const options: readonly (readonly [string])[] = onDisk ? [['userxattr'], ['volatile']] : [['userxattr']];
  const enter: Step = { kind: 'fchdir', to: stage };
  if (!('under' in lower)) {
    return [enter, ...overlay(to, { lower, upper: { path: upper }, work: { path: work }, options })];
  }
  if (passing === 'joined') return joined(to, stage, lower, { upper, work, options });
  // One slot for all: the kernel has taken a layer before the next one is opened.
  const layers = lower.names.map((): Layer => ({ slot: 'layer' }));
  const steps = overlay(to, { lower: layers, upper: { path: upper }, work: { path: work }, options, passing });
  return [enter, ...opening(steps, lower)];
}

/**
 * The lower layers alone, read-only, in the slot `to`: what the container's changes are told from. One layer is seen through
 * a mount of itself, as an overlay that is only read needs two.
 */
export function lowerView(to: Slot, stage: Slot, lower: LowerLayers, passing = passingOf(release())): Step[] {
  const attributes = plain | mountAttribute.RDONLY | mountAttribute.NOEXEC;
  const alone = 'under' in lower ? lower.names : lower.map(({ path }) => path);
  const [first = ''] = alone;
  if (alone.length === 1) {
    return [
      openDirectory('layer', 'under' in lower ? lower.under : stage, first),
      { kind: 'openTree', to, from: 'layer', path: '', recursive: false },
    ];
  }
  const options: readonly (readonly [string])[] = [['userxattr']];
  const enter: Step = { kind: 'fchdir', to: stage };
  if (!('under' in lower)) return [enter, ...overlay(to, { lower, options, attributes })];
  if (passing === 'joined') {
    const slots = lower.names.map((_, index): Slot => `mount lower ${index}`);
    const layers = slots.map((slot) => ({ slot }));
    return [
      ...lower.names.map((name, index) => openDirectory(slots[index] ?? '', lower.under, name)),
      ...overlay(to, { lower: layers, options, attributes, passing }),
    ];
  }
  const layers = lower.names.map((): Layer => ({ slot: 'layer' }));
  return [enter, ...opening(overlay(to, { lower: layers, options, attributes, passing }), lower)];
}

/** Each layer is opened just before the step that takes it. */
function opening(steps: readonly Step[], { under, names }: { under: Slot; names: readonly string[] }): Step[] {
  const left = names.values();
  return steps.flatMap((step): Step[] => {
    const isLayer = 'key' in step && step.key === 'lowerdir+';
    return isLayer ? [openDirectory('layer', under, left.next().value ?? ''), step] : [step];
  });
}

/** All at once, as one string of numbers, and so what is written to as well. */
function joined(
  to: Slot,
  stage: Slot,
  { under, names }: { readonly under: Slot; readonly names: readonly string[] },
  { upper, work, options }: { upper: string; work: string; options: readonly (readonly [string])[] },
): Step[] {
  if (names.length > mostJoined) {
    throw new UnsupportedError(`this kernel does not take as many layers (${names.length})`, { hint: joinedHint });
  }
  const slots = names.map((_, index): Slot => `mount lower ${index}`);
  return [
    ...names.map((name, index) => openDirectory(slots[index] ?? '', under, name)),
    openDirectory('mount upper', stage, upper),
    openDirectory('mount work', stage, work),
    ...overlay(to, {
      lower: slots.map((slot) => ({ slot })),
      upper: { slot: 'mount upper' },
      work: { slot: 'mount work' },
      options,
      passing: 'joined',
    }),
  ];
}

/** What one string may hold at most, and slots for it. */
const mostJoined = 64;
export const joinedHint = 'before Linux 6.8 all layers are one string of at most 255 bytes, which is about 60 of them';

export function openDirectory(to: Slot, from: Slot, path: string): Step {
  const flags = openFlag.PATH | openFlag.DIRECTORY | openFlag.NOFOLLOW;
  return { kind: 'open', to, from, path, flags, resolve: below };
}

const below = resolveFlag.BENEATH | resolveFlag.NO_SYMLINKS | resolveFlag.NO_MAGICLINKS;

/** How a kernel of this release takes layers; one that can do more than its number says takes the older ways too. */
export function passingOf(kernel: string): LayerPassing {
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  const atLeast = (wanted: number) => major > 6 || (major === 6 && minor >= wanted);
  return atLeast(13) ? 'descriptor' : atLeast(8) ? 'append' : 'joined';
}
