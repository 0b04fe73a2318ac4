/** An overlay's layers as descriptors, and the overlay over them, in whichever way the kernel takes them. */

import { setTimeout as sleep } from 'node:timers/promises';
import { TscontainError, UnsupportedError } from '../../errors.js';
import type { Agent } from '../../launcher/agent.js';
import type { Descriptor } from '../../launcher/native.js';
import { mountAttribute, openFlag, resolveFlag, type Slot, type Step } from '../../plan/step.js';
import { shiftRefused } from './bind.js';
import { explained } from './mount.js';
import type { OverlaySettings } from './overlay-options.js';
import { userNamespace } from './place.js';
import { attach, hostTree, type Layer, type LayerPassing, overlay, plain, tmpfs } from './steps.js';

/** Layers in slots, and the steps that put them there. */
export interface OpenLayers {
  readonly steps: readonly Step[];
  /** Positions `'0'`… of the steps. */
  readonly descriptors: readonly Descriptor[];
  readonly lower: readonly Layer[];
  readonly upper: Layer | undefined;
  readonly work: Layer | undefined;
  /** An empty directory; only where the layers were opened aside. */
  readonly empty: Layer;
  close(): void;
}

const { PATH, NOFOLLOW, DIRECTORY } = openFlag;
const below = resolveFlag.BENEATH | resolveFlag.NO_SYMLINKS | resolveFlag.NO_MAGICLINKS;

/**
 * Opens the layers. `aside` is for an agent with mounts of its own: there they are also attached, below a file system in
 * memory, since before Linux 6.15 no mount can be a layer that is not (and idmapped ones begin their life detached).
 */
export async function openLayers(settings: OverlaySettings, aside: boolean): Promise<OpenLayers> {
  const { lower, writable, idMap } = settings;
  const descriptors: Descriptor[] = [];
  const shift = idMap && (await userNamespace(idMap));
  const userns = shift && String(descriptors.push(shift) - 1);
  const steps: Step[] = [];
  const places: Step[] = [];
  const layers = lower.map((layer, index): Layer => {
    const slot = `mount lower ${index}`;
    if ('mount' in layer) {
      const given = String(descriptors.push(layer.mount.descriptor) - 1);
      if (userns === undefined) return { slot: given };
      steps.push(...hostTree(slot, { path: '', from: given, readOnly: true, recursive: false, idmap: true, userns }));
    } else if (userns === undefined) {
      steps.push({ kind: 'open', to: slot, from: null, path: layer.path, flags: PATH | DIRECTORY, resolve: 0 });
      return { slot };
    } else {
      steps.push(...hostTree(slot, { path: layer.path, readOnly: true, recursive: false, idmap: true, userns }));
    }
    places.push(attach(slot, stage, `l${index}`));
    return { slot };
  });
  if (writable) {
    for (const key of ['upper', 'work'] as const) {
      const flags = PATH | NOFOLLOW | DIRECTORY;
      steps.push({ kind: 'open', to: `mount ${key}`, from: null, path: writable[key], flags, resolve: 0 });
    }
  }
  if (aside) {
    steps.push(...tmpfs(stage, { size: 2 ** 20, inodes: 4096, mode: 0o755 }), attach(stage, null, '/'), ...places);
    steps.push(
      { kind: 'makeDirectory', under: stage, path: 'empty', mode: 0o755 },
      { kind: 'open', to: 'mount empty', from: stage, path: 'empty', flags: PATH, resolve: below },
    );
  }
  return {
    steps,
    descriptors,
    lower: layers,
    upper: writable && { slot: 'mount upper' },
    work: writable && { slot: 'mount work' },
    empty: { slot: 'mount empty' },
    close: () => shift?.close(),
  };
}

const stage: Slot = 'mount stage';

/** An overlay to be made of layers that are open. */
export interface OverlayRequest {
  readonly to: Slot;
  readonly lower: readonly Layer[];
  readonly upper?: Layer | undefined;
  readonly work?: Layer | undefined;
  readonly options: readonly (readonly [key: string, value?: string])[];
  readonly attributes: number;
}

const ways: readonly LayerPassing[] = ['descriptor', 'append', 'joined'];
/** The way that has worked; the kernel does not change. */
let known: LayerPassing | undefined;

/** Makes overlays, and hands back their descriptors. */
export async function makeOverlays(
  agent: Agent,
  layers: OpenLayers,
  requests: readonly OverlayRequest[],
  passing: readonly LayerPassing[] = known ? [known] : ways,
): Promise<Descriptor[]> {
  let failure: unknown;
  for (const way of passing) {
    const steps = [
      ...layers.steps,
      ...requests.flatMap(({ to, lower, upper, work, options, attributes }) =>
        overlay(to, { lower, ...(upper && { upper }), ...(work && { work }), options, attributes, passing: way }),
      ),
    ];
    try {
      const take = requests.map(({ to }) => to);
      const made = await patiently(() =>
        agent.run(steps, { descriptors: layers.descriptors, take, doing: 'making an overlay' }),
      );
      if (passing === ways) known = way;
      return made;
    } catch (error) {
      failure ??= error;
      if (!isUnknownWay(error)) throw overlayError(error);
      if (way === 'joined' && error instanceof TscontainError && error.errno === 'E2BIG') throw tooMany(error);
    }
  }
  throw overlayError(failure);
}

/**
 * An overlay that has ended may still hold its upper directory: the kernel takes it apart in the background, and copies of it
 * in mount namespaces that end at the same time. Only with an index does it refuse the directory meanwhile.
 */
async function patiently<Result>(make: () => Promise<Result>): Promise<Result> {
  for (const milliseconds of [5, 10, 20, 40, 80, 160]) {
    try {
      return await make();
    } catch (error) {
      if (!(error instanceof TscontainError && error.errno === 'EBUSY')) throw error;
    }
    await sleep(milliseconds);
  }
  return make();
}

/** A layer that is refused where it is named, and not when the overlay is made. */
function isUnknownWay(error: unknown): boolean {
  if (!(error instanceof TscontainError)) return false;
  const kind = error.step?.kind;
  return (kind === 'fsconfig' || kind === 'fsconfigLayers') && ['EINVAL', 'EBADF', 'E2BIG'].includes(error.errno ?? '');
}

function tooMany(cause: TscontainError): UnsupportedError {
  return new UnsupportedError('this kernel does not take as many layers', {
    syscall: 'fsconfig',
    errno: cause.errno,
    hint: 'before Linux 6.7 all layers are one string of at most 255 bytes, which is about 60 of them',
    cause,
  });
}

function overlayError(error: unknown): unknown {
  if (!(error instanceof TscontainError)) return error;
  const shift = shiftRefused(error, 'a layer');
  if (shift) return shift;
  const hint = hints[error.errno ?? ''];
  if (hint === undefined || error.hint !== undefined) return explained(error);
  const { syscall, errno, path, step, code } = error;
  return new TscontainError(code, error.message, { syscall, errno, path, step, hint, cause: error });
}

/** What the kernel means; it says more in its log only. */
const hints: Readonly<Record<string, string>> = {
  EBUSY: 'upper or work is in use by another overlay',
  ELOOP: 'layers overlap',
  ESTALE: 'upper was used with other lower directories before, which index does not allow',
  EINVAL:
    'overlays nest two deep at most; upper must be on a file system that has extended attributes and whiteouts, such as ext4, xfs, btrfs or (since Linux 6.6) tmpfs, and not on an overlay; work must be on the same mount',
  EXDEV: 'upper and work must be on the same mount',
  EROFS: 'upper and work must be writable',
};

/** Attributes of a view that nothing can be written, executed or opened as a device through. */
export const viewAttributes = plain | mountAttribute.RDONLY | mountAttribute.NOEXEC;
