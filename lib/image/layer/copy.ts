/**
 * Trees copied into a directory: one, or layers merged as an overlay would show them. Who does it sees both sides with its
 * own ids. There are two ways to it:
 *
 * - An agent without privileges: {@link copyTree}. For drivers that have no overlay, and to flatten an image.
 * - A container's init, as a step of its plan: {@link copyTreeStep}, before its overlay is mounted. For `fork()` the source is
 *   the upper directory of the container that is copied, with `keepMarks`, since the layers below are the same. It must be
 *   opened by the old container's init before that pivots, and kept in a slot. As that file system's ids are those of the old
 *   container's user namespace, the new init needs it through an idmapped mount, in its own user namespace
 *   (mount_setattr(2), MOUNT_ATTR_IDMAP; tmpfs: Linux 6.3): without it owners are not mapped, and the step fails with EINVAL
 *   or EOVERFLOW. For a volume that is filled from the image, the source is a directory of the new root before anything is
 *   mounted there, and the target the volume.
 */

import { AbortedError, OptionError } from '../../errors.js';
import { addon } from '../../launcher/native.js';
import type { Slot, Step } from '../../plan/step.js';
import { startConfined, treeSlot } from './confined.js';
import { lastReport } from './tree.js';

/** How trees are copied. */
export interface CopyTreeOptions {
  /**
   * Whiteouts, opaque directories and other notes of the overlay are copied as they are; there can be one source only. Without
   * it they are obeyed. Default false.
   */
  readonly keepMarks?: boolean;
  /** Default `'skip'`; making them takes the privileges of the host's root. Whiteouts are no devices. */
  readonly devices?: 'include' | 'skip';
  /** What the ids of the source are more than those that the copy gets, as the copying process sees both. Default 0. */
  readonly shift?: number;
}

/** Layers that can be merged at once (MOST_LAYERS in native/launcher/steps_copy.c). */
export const mostSources = 256;

/** What was copied. */
export interface CopyCounts {
  readonly entries: number;
  /** Of contents, copied. */
  readonly bytes: number;
  /** Of contents that both files have in common on disk now (ioctl_ficlone(2)). */
  readonly shared: number;
  /** Left out. */
  readonly devices: number;
  /** What was gone before it could be copied. */
  readonly gone: number;
}

/**
 * The step that copies, for a plan. Hard links, owners, modes, times, attributes and holes stay; contents are shared with the
 * source where the file system can do that.
 * @param sources slots of directories, topmost first; at most 256
 * @param target the slot of an empty directory, which gets owner, mode, time and attributes of the topmost source
 */
export function copyTreeStep(
  sources: readonly Slot[],
  target: Slot,
  { keepMarks = false, devices = 'skip', shift = 0 }: CopyTreeOptions = {},
): Step {
  if (sources.length < 1 || sources.length > mostSources || (keepMarks && sources.length > 1)) {
    throw new OptionError('sources', keepMarks ? 'one, to keep its marks' : `1 to ${mostSources}`, sources.length);
  }
  return { kind: 'copyTree', sources, target, keepMarks, devices: devices === 'include', shift };
}

/**
 * Copies layers, merged, into an empty directory; see {@link copyTreeStep}. An agent does it that reaches nothing else of the
 * host, see {@link startConfined}; ids stay, as root those below 65,536. What was copied before a failure stays.
 * @param sources absolute paths, topmost first
 * @throws TscontainError with the path, AbortedError
 */
export async function copyTree(
  sources: readonly string[],
  target: string,
  { signal, ...options }: CopyTreeOptions & { readonly signal?: AbortSignal | undefined } = {},
): Promise<CopyCounts> {
  const slots = sources.map((_, index) => treeSlot(index + 1));
  const step = copyTreeStep(slots, treeSlot(0), options);
  if (signal?.aborted) throw aborted(signal);
  await using confined = await startConfined([target, ...sources]);
  const [counted, report] = addon().pipe();
  const steps = [...confined.steps, { ...step, report: '0' } as Step];
  const running = confined.agent.run(steps, { descriptors: [report], doing: 'copying a tree' });
  report.close();
  const counting = lastReport(counted, 5, signal);
  const [done] = await Promise.allSettled([running, counting]);
  if (signal?.aborted) throw aborted(signal);
  if (done.status === 'rejected') throw done.reason;
  const [entries = 0, bytes = 0, shared = 0, devices = 0, gone = 0] = await counting;
  return { entries, bytes, shared, devices, gone };
}

function aborted(signal: AbortSignal): AbortedError {
  return new AbortedError('copying was ended by its signal', { cause: signal.reason });
}
