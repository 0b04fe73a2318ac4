/** Options that several operations on images have, checked. */

import { OptionError } from '../errors.js';
import type { OnProgress } from './progress.js';
import { ImageStore } from './store/index.js';

/** The store that was given, or the default one. */
export async function readStore(value: unknown): Promise<ImageStore> {
  if (value === undefined) return await ImageStore.default();
  if (!(value instanceof ImageStore)) throw new OptionError('store', 'an ImageStore', value);
  return value;
}

export function readSignal(value: unknown, option = 'signal'): AbortSignal | undefined {
  if (value === undefined || value instanceof AbortSignal) return value;
  throw new OptionError(option, 'an AbortSignal', value);
}

export function readOnProgress(value: unknown, option = 'onProgress'): OnProgress | undefined {
  if (value !== undefined && typeof value !== 'function') throw new OptionError(option, 'a function', value);
  return value as OnProgress | undefined;
}
