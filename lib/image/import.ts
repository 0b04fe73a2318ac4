/** What all ways of bringing an image into a store have in common: options, and a name that is nobody else's. */

import { OptionError } from '../errors.js';
import type { Descriptor } from './document/index.js';
import { hostPlatform, type Platform, parsePlatform } from './platform.js';
import { parseReference } from './reference.js';
import type { ImageStore } from './store/index.js';

/** How an image is brought into a store. */
export interface ImportOptions {
  /** Default: the one of {@link ImageStore.default}. */
  readonly store?: ImageStore;
  /** What it is to be called there. Default: the whole name that it has where it comes from, if it has one. */
  readonly as?: string;
  /** Give it its name also where another image has it. Default false: that one keeps it. */
  readonly moveTags?: boolean;
  /** Which image of several: text such as `'linux/arm64'`. Default: this host's. */
  readonly platform?: string;
  readonly signal?: AbortSignal;
}

/** @throws OptionError, ImageError `ERR_REFERENCE` */
export function readImportOptions(options: Pick<ImportOptions, 'platform' | 'as'>): {
  platform: Platform;
  as: string | undefined;
} {
  const platform = options.platform === undefined ? hostPlatform() : parsePlatform(options.platform);
  const as = options.as === undefined ? undefined : canonical(options.as, 'as');
  return { platform, as };
}

export function canonical(name: string, option = 'image'): string {
  return parseReference(name, option).withDefaultTag().toString();
}

/** Names an image in the store, unless the name is another's. @returns the name, if the image has it now */
export async function giveName(
  store: ImageStore,
  { as, moveTags = false }: Pick<ImportOptions, 'as' | 'moveTags'>,
  descriptor: Descriptor,
  name: string,
): Promise<string | undefined> {
  const known = await store.resolve(name);
  if (known?.digest === descriptor.digest) return name;
  if (known && !moveTags) {
    if (as === undefined) return undefined;
    const hint = 'moveTags: true gives it to the new one';
    throw new OptionError('as', 'a name that no other image of the store has', as, { hint });
  }
  await store.setReference(name, descriptor, { move: moveTags });
  return name;
}
