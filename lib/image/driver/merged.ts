/**
 * What the drivers that copy have of an image: its layers merged into one tree, once, and kept in the store as a layer that is
 * whole. For `btrfs` it is a subvolume, of which containers get snapshots; for `vfs` a directory, which is copied for each.
 */

import { rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { UnsupportedError } from '../../errors.js';
import { copyTree, mostSources } from '../layer/copy.js';
import type { LayerFacts, LayerSpec, Lease } from '../store/index.js';
import { layerName } from '../store/layers.js';
import { type Unpackable, type UnpackSettings, unpackImage } from '../unpack.js';
import type { Driver } from './choose.js';
import { makeSubvolume } from './subvolume.js';

export type CopyingDriver = Exclude<Driver, 'overlay'>;

/** Where the merged tree of an image is, or will be. */
export function mergedPath({ store, config }: Unpackable, driver: CopyingDriver): string {
  return join(store.path, 'layers', layerName(mergedLayer(config, driver)), 'root');
}

function mergedLayer({ diffIds }: Unpackable['config'], driver: CopyingDriver): LayerSpec {
  // A directory can be copied from the only layer as well as from a copy of it.
  if (driver === 'vfs' && diffIds.length === 1) return { diffIds };
  return { diffIds, variant: driver === 'btrfs' ? 'btrfs' : 'merged', whole: true };
}

/**
 * Makes the merged tree where there is none, and keeps it until the lease is released. Of all that want it at the same time, in
 * any process, one makes it; it is there only when it is whole. The layers are unpacked for it, and not needed after.
 * @throws UnsupportedError for more layers than can be merged; what {@link unpackImage} throws; TscontainError with the path for
 * what cannot be copied
 */
export async function leaseMerged(image: Unpackable, driver: CopyingDriver, settings: UnpackSettings): Promise<Lease> {
  const { store, config } = image;
  const layer = mergedLayer(config, driver);
  const { length } = config.diffIds;
  if (length > mostSources) {
    throw new UnsupportedError(`option storage.driver: ${driver} merges at most ${mostSources} layers, not ${length}`, {
      hint: 'use overlay',
    });
  }
  if (!layer.whole) return await unpackImage(image, settings);
  await using _hold = store.hold();
  if (!(await store.hasLayer(layer))) {
    using layers = await unpackImage(image, settings);
    const merge = (directory: string) => fill(layers.paths, directory, driver, settings.signal);
    await store.ensureLayer(layer, merge, settings.signal);
  }
  return await store.leaseLayers(config.diffIds, layer.variant, { whole: true });
}

/** @param directory empty, in a directory of this process's own */
async function fill(
  layers: readonly string[],
  directory: string,
  driver: CopyingDriver,
  signal: AbortSignal | undefined,
): Promise<LayerFacts> {
  if (driver === 'btrfs') {
    await rmdir(directory);
    await makeSubvolume(dirname(directory), basename(directory));
  }
  const { entries, bytes, shared } = await copyTree(layers, directory, { signal });
  return { entries, bytes: bytes + shared };
}
