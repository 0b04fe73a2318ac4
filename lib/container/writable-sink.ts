/** Output on its way to a Writable that is someone else's: listened to only meanwhile, never ended, its failures kept. */

import type { Writable } from 'node:stream';
import { listen } from './listeners.js';
import type { Sink } from './output.js';

/** How long what a Writable has taken may still be on its way, and fail, after the program has ended. */
const flushTime = 1000;

/** Copies into a Writable with its back-pressure. It is not ended: it may be this process's own stdout. */
export class WritableSink implements Sink {
  /** What the target failed with. A target that is closed without an error just gets no more. */
  failure: Error | undefined;
  /** Settles after the end, when what was written has arrived or failed, or a second has passed. */
  readonly flushed: Promise<void>;
  readonly #target: Writable;
  readonly #detach: () => void;
  #setFlushed: () => void = () => {};
  #timer: NodeJS.Timeout | undefined;
  /** Chunks that are on their way. */
  #pending = 0;
  #room: Promise<void> | undefined;
  #setRoom: () => void = () => {};
  #broken = false;
  #ended = false;

  constructor(target: Writable) {
    this.#target = target;
    this.flushed = new Promise((resolve) => {
      this.#setFlushed = resolve;
    });
    this.#detach = listen(target, {
      drain: () => this.#release(),
      error: (error) => this.#break(error),
      close: () => this.#break(undefined),
    });
  }

  write(chunk: Buffer): boolean | Promise<void> {
    if (this.#broken || this.#target.destroyed) return true;
    this.#pending++;
    if (this.#target.write(chunk, this.#onWritten)) return true;
    this.#room ??= new Promise((resolve) => {
      this.#setRoom = resolve;
    });
    return this.#room;
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#release();
    if (this.#pending === 0 || this.#broken) this.#settle();
    else this.#timer = setTimeout(() => this.#settle(), flushTime);
  }

  /** A chunk that failed is followed by 'error', for which the listener must still be there. */
  readonly #onWritten = (error?: Error | null) => {
    if (error) return;
    this.#pending--;
    if (this.#ended && this.#pending === 0) this.#settle();
  };

  #break(error: Error | undefined): void {
    if (!this.#broken) this.failure = error;
    this.#broken = true;
    this.#release();
    if (this.#ended) this.#settle();
  }

  #release(): void {
    this.#setRoom();
    this.#room = undefined;
  }

  #settle(): void {
    clearTimeout(this.#timer);
    this.#detach();
    this.#setFlushed();
  }
}
