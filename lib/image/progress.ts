/** What happens to an image while it is fetched, sent or unpacked: typed events, few enough to draw each. */

import type { Digest } from './digest.js';

/** One event. `digest` names the content: a blob, or with `unpacking` a layer by its diffID. Sizes are bytes. */
export type ImageProgress =
  | { readonly phase: 'resolving'; readonly reference: string }
  | { readonly phase: 'resolved'; readonly reference: string; readonly digest: Digest }
  /** The content is there already: in the store, or in the registry. */
  | { readonly phase: 'exists'; readonly digest: Digest; readonly total: number }
  | { readonly phase: 'downloading'; readonly digest: Digest; readonly bytes: number; readonly total: number }
  | { readonly phase: 'downloaded'; readonly digest: Digest; readonly total: number }
  | { readonly phase: 'unpacking'; readonly digest: Digest; readonly bytes: number }
  | { readonly phase: 'unpacked'; readonly digest: Digest; readonly bytes: number; readonly entries: number }
  | { readonly phase: 'uploading'; readonly digest: Digest; readonly bytes: number; readonly total: number }
  /** The registry took it from another repository of its own. */
  | { readonly phase: 'mounted'; readonly digest: Digest; readonly total: number }
  | { readonly phase: 'uploaded'; readonly digest: Digest; readonly total: number };

/** Is told of progress. What it throws ends the operation. */
export type OnProgress = (event: ImageProgress) => void;

const interval = 100;

/** Lets through one event in a tenth of a second; the first at once. For one blob or layer. */
export class ProgressMeter {
  #last = Number.NEGATIVE_INFINITY;

  constructor(readonly onProgress: OnProgress | undefined) {}

  /** @param event made only if it is told */
  report(event: () => ImageProgress): void {
    if (!this.onProgress) return;
    const now = performance.now();
    if (now - this.#last < interval) return;
    this.#last = now;
    this.onProgress(event());
  }
}
