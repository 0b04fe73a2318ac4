/** A container's root file system as a tar. */

import { AbortedError, OptionError } from '../errors.js';
import { packTree } from '../image/layer/pack.js';
import type { Instance } from './instance.js';
import { defineSchema, readObject } from './settings/schema.js';
import type { ContainerSettings } from './settings.js';
import { expectOwnRoot, startReader, viewRoot } from './views.js';

/** How a container's files become a tar. */
export interface ExportOptions {
  /** Ends it. */
  readonly signal?: AbortSignal;
}

const schema = defineSchema(['signal']);

/** Reading begins, and errors come, with the first part that is asked for; wrong options are told at once. */
export function exportRoot(
  instance: Instance,
  settings: ContainerSettings,
  options: ExportOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { signal } = readObject(options, '', schema);
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new OptionError('signal', 'an AbortSignal', signal);
  }
  expectOwnRoot(settings, 'be exported');
  return parts(instance, signal);
}

async function* parts(
  instance: Instance,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (signal?.aborted) throw new AbortedError('the export was ended by its signal', { cause: signal.reason });
  const view = await viewRoot(instance);
  try {
    await using reader = await startReader(view);
    yield* packTree({ by: reader, descriptors: [view.root] }, '0', { signal });
  } finally {
    view.close();
  }
}
