/** Directories laid over one another, by themselves: what a container's root file system is made of. */

import { accessSync, constants, fstatSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { OptionError, PermissionError, TscontainError } from '../../errors.js';
import type { Agent } from '../../launcher/agent.js';
import type { Descriptor } from '../../launcher/native.js';
import { mountAttribute, openFlag, type Step } from '../../plan/step.js';
import { listXattr, removeXattr } from '../xattr.js';
import { attachOrClose } from './attach.js';
import { type LayerViews, layerChanges, type OverlayChange } from './changes.js';
import { makeOverlays, type OpenLayers, type OverlayRequest, openLayers, viewAttributes } from './layers.js';
import { type MadeMount, Mount } from './mount.js';
import {
  type OverlayMountOptions,
  type OverlaySettings,
  readOverlayOptions,
  resolveLayers,
} from './overlay-options.js';
import { Place } from './place.js';

/** What identifies a directory, whatever path leads there. */
interface Identity {
  readonly dev: bigint;
  readonly ino: bigint;
}

/**
 * An overlay: the directories of `lower` seen as one, the topmost first, and what is written kept in `upper`. Always
 * `nosuid` and `nodev` unless asked otherwise. Layers reach the kernel as descriptors, key by key, so that no character of a
 * path means anything.
 *
 * @example
 * ```ts
 * import { writeFile } from 'node:fs/promises';
 *
 * await using view = await OverlayMount.create({ lower: ['/srv/base'], upper: '/srv/upper', work: '/srv/work' });
 * await writeFile(`${view.path}/note`, 'hello');
 * for await (const { kind, path } of view.changes()) console.log(kind, path); // added /note
 * ```
 *
 * @see https://docs.kernel.org/filesystems/overlayfs.html
 */
export class OverlayMount extends Mount {
  readonly #settings: OverlaySettings;
  readonly #upper: Identity | undefined;

  private constructor(made: MadeMount, settings: OverlaySettings, upper: Identity | undefined) {
    super(made);
    this.#settings = settings;
    this.#upper = upper;
  }

  /**
   * Makes one.
   * @throws OptionError for what the options cannot be; UnsupportedError where the kernel, or a layer's file system, cannot;
   *   PermissionError where this process may not mount; TscontainError (`ERR_STEP`) where the kernel refuses otherwise
   */
  static async create(options: OverlayMountOptions): Promise<OverlayMount> {
    const settings = await resolveLayers(readOverlayOptions(options));
    const { writable, idMap, own, readOnly, attributes } = settings;
    const aside = idMap !== undefined || (!writable && settings.lower.length === 1);
    const upper = writable && identityOf(await stat(writable.upper, { bigint: true }));
    const place = own ? await Place.make(own.ids) : Place.here;
    const make = async () => {
      const layers = await openLayers(settings, aside);
      try {
        await using agent = await place.start({ aside });
        const asked = attributes | (readOnly ? mountAttribute.RDONLY : 0);
        const request = { ...layers, to: 'mount made', options: settings.options, attributes: asked };
        const lower = enough(request, layers.empty, aside);
        const made = await makeOverlays(agent, layers, [{ ...request, lower }]);
        if (writable && !readOnly) expectWritable(made, writable);
        return made;
      } finally {
        layers.close();
      }
    };
    return new OverlayMount(await attachOrClose(place, settings, make), settings, upper);
  }

  /** The directory that what is written goes to; undefined for one that is only read. */
  get upper(): string | undefined {
    return this.#settings.writable?.upper;
  }

  /** What has been changed can still be asked for. */
  protected override get keepsPlace(): boolean {
    return this.upper !== undefined;
  }

  /** @throws OptionError for `readOnly: false` where there is no upper directory */
  override remount(options: { readonly readOnly: boolean }): Promise<void> {
    if (options?.readOnly === false && this.upper === undefined) {
      return Promise.reject(new OptionError('readOnly', 'true without an upper directory', false));
    }
    return super.remount(options);
  }

  /**
   * What was changed, compared with the lower layers: found out while it is iterated over, and without waiting for files on
   * the event loop. Before and after the overlay is unmounted; what changes meanwhile may or may not be seen. The root itself
   * is not compared.
   * @throws TscontainError where a layer cannot be read, or (`ERR_LAYER_CHANGED`) is not the directory that it was
   */
  async *changes(): AsyncGenerator<OverlayChange, void, undefined> {
    if (!this.#settings.writable) return;
    const { views, close } = await this.#views();
    try {
      yield* layerChanges(views);
    } finally {
      close();
    }
  }

  /**
   * Empties the upper directory and the work directory, so that the lower layers are seen again. What is in them is first
   * moved aside, then removed; after a failure call it again.
   * @throws TscontainError (`ERR_MOUNTED`) while it is mounted: the kernel would go on with files that are not there, or
   *   (`ERR_LAYER_CHANGED`) where the path leads to another directory than it did
   */
  discard(): Promise<void> {
    return this.exclusively(async () => {
      const { writable, prefix } = this.#settings;
      if (!writable) return;
      if (this.isOpen) {
        throw new TscontainError('ERR_MOUNTED', 'the changes of an overlay cannot be discarded while it is mounted', {
          path: writable.upper,
          hint: 'unmount it first, not lazily',
        });
      }
      await using agent = await this.place.start();
      const flags = openFlag.DIRECTORY | openFlag.NOFOLLOW;
      const open = (to: string, path: string): Step => ({ kind: 'open', to, from: null, path, flags, resolve: 0 });
      const steps = [open('mount upper', writable.upper), open('mount work', writable.work)];
      const descriptors = await agent.run(steps, { take: ['mount upper', 'mount work'], doing: 'opening the layers' });
      try {
        this.#verify(descriptors[0]);
        await agent.run([{ kind: 'discard', upper: '0', work: '1' }], { descriptors, doing: 'discarding changes' });
        const [upper] = descriptors;
        if (upper) for (const name of listXattr(upper)) if (name.startsWith(prefix)) removeXattr(upper, name);
      } finally {
        for (const descriptor of descriptors) descriptor.close();
      }
    });
  }

  async #views(): Promise<{ readonly views: LayerViews; readonly close: () => void }> {
    const settings = this.#settings;
    const opened: Descriptor[] = [];
    const close = () => {
      for (const descriptor of opened) if (descriptor.open) descriptor.close();
    };
    const layers = await openLayers(settings, true);
    try {
      await using agent = await this.place.start({ aside: true });
      const view = { options: settings.viewOptions, attributes: viewAttributes };
      const lower = enough({ lower: layers.lower }, layers.empty, true);
      const requests: OverlayRequest[] = [{ ...view, to: 'mount below', lower }];
      // While it is mounted, its upper directory belongs to the kernel: what is seen is seen through the mount only.
      const mounted = this.isOpen;
      if (!mounted) requests.push(this.#mergedView(layers, lower));
      opened.push(...(await makeOverlays(agent, layers, requests)));
      const [upper] = await this.#openUpper(agent);
      if (upper) opened.push(upper);
      const [below, second] = opened;
      const merged = mounted ? this.descriptor : second;
      if (!upper || !below || !merged) throw new Error('no descriptors of the layers');
      this.#verify(upper);
      return { views: { upper, merged, below, prefix: settings.prefix, index: settings.index }, close };
    } catch (error) {
      close();
      throw error;
    } finally {
      layers.close();
    }
  }

  /** The overlay once more, only to be read. An index is not believed unless the upper directory is one in earnest. */
  #mergedView(layers: OpenLayers, lower: OverlayRequest['lower']): OverlayRequest {
    const { index, options, viewOptions } = this.#settings;
    const view = { to: 'mount merged', attributes: viewAttributes };
    if (index) {
      const lasting = options.filter(([key]) => key !== 'volatile');
      return { ...view, lower: layers.lower, upper: layers.upper, work: layers.work, options: lasting };
    }
    return { ...view, lower: [...(layers.upper ? [layers.upper] : []), ...lower], options: viewOptions };
  }

  #openUpper(agent: Agent): Promise<Descriptor[]> {
    const path = this.#settings.writable?.upper ?? '';
    const flags = openFlag.PATH | openFlag.DIRECTORY | openFlag.NOFOLLOW;
    const step: Step = { kind: 'open', to: 'mount upper', from: null, path, flags, resolve: 0 };
    return agent.run([step], { take: ['mount upper'], doing: 'opening the upper layer' });
  }

  /** Whoever can rename in the directory that it is in could have put another there. */
  #verify(descriptor: Descriptor | undefined): void {
    const now = descriptor && identityOf(fstatSync(descriptor.number, { bigint: true }));
    if (now && now.dev === this.#upper?.dev && now.ino === this.#upper.ino) return;
    throw new TscontainError('ERR_LAYER_CHANGED', `${this.upper} is not the directory that it was`, {
      path: this.upper,
    });
  }
}

/**
 * The kernel makes an overlay read-only, and says so in its log alone, where it cannot make a directory in `work`
 * (ovl_make_workdir): what was asked for is something else.
 */
function expectWritable(made: readonly Descriptor[], { upper, work }: { upper: string; work: string }): void {
  try {
    for (const { number } of made) accessSync(`/proc/self/fd/${number}`, constants.W_OK);
  } catch (cause) {
    // Whether this user may write is another question than whether anyone can.
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'EROFS')) return;
    for (const descriptor of made) descriptor.close();
    throw new PermissionError(`the overlay over ${upper} would be read-only: nothing can be made in ${work}`, {
      errno: 'EROFS',
      path: work,
      hint: 'work and upper must be writable by the user that mounts; in a user namespace, by the user that its root is outside',
      cause,
    });
  }
}

/** An overlay that is only read needs two layers (overlayfs.rst); an empty one changes nothing. */
function enough(
  { lower, upper }: Pick<OverlayRequest, 'lower' | 'upper'>,
  empty: OverlayRequest['lower'][number],
  aside: boolean,
): OverlayRequest['lower'] {
  return !upper && lower.length === 1 && aside ? [...lower, empty] : lower;
}

function identityOf({ dev, ino }: Identity): Identity {
  return { dev, ino };
}
