/** Progress of an image as bars, one for each content; on a terminal only. */

import { MultiBar, Presets, type SingleBar } from 'cli-progress';
import type { Digest, ImageProgress } from 'tscontain';

export class ProgressBars {
  readonly #bars = new Map<string, SingleBar>();
  readonly #all = new MultiBar(
    { format: '{what} {bar} {percentage}% of {total} KiB', clearOnComplete: true, hideCursor: true },
    Presets.shades_classic,
  );

  /** To be given as `onProgress`. */
  readonly show = (event: ImageProgress): void => {
    if (event.phase === 'downloading') this.#bar(event.digest, event.total).update(kib(event.bytes));
    else if (event.phase === 'downloaded') this.#bar(event.digest, event.total).update(kib(event.total));
  };

  /** Takes them away. */
  stop(): void {
    this.#all.stop();
  }

  #bar(digest: Digest, total: number): SingleBar {
    const known = this.#bars.get(digest);
    if (known) return known;
    const bar = this.#all.create(kib(total), 0, { what: digest.slice(7, 19) });
    this.#bars.set(digest, bar);
    return bar;
  }
}

function kib(bytes: number): number {
  return Math.ceil(bytes / 1024);
}
