/** The end of an operation from outside: its caller's signal, or that it takes too long. One signal for both. */

import { setMaxListeners } from 'node:events';
import { AbortedError, ImageError } from '../../errors.js';

export class Deadline {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #parent: AbortSignal | undefined;
  readonly #abort: () => void;

  /**
   * @param milliseconds undefined for no limit
   * @param doing for the error: `pulling docker.io/library/debian:12`
   */
  constructor(parent: AbortSignal | undefined, milliseconds: number | undefined, doing: string) {
    // Each request of the operation listens, and there may be many at once.
    setMaxListeners(0, this.signal);
    this.#parent = parent;
    this.#abort = () => {
      const reason: unknown = parent?.reason;
      // A deadline within another one tells of that one's end.
      const ours = reason instanceof AbortedError || reason instanceof ImageError;
      this.#controller.abort(ours ? reason : new AbortedError(`aborted while ${doing}`, { cause: reason }));
    };
    if (parent?.aborted) this.#abort();
    else parent?.addEventListener('abort', this.#abort, { once: true });
    if (milliseconds === undefined) return;
    this.#timer = setTimeout(() => {
      this.#controller.abort(new ImageError('ERR_TIMEOUT', `${doing} took longer than ${milliseconds} ms`));
    }, milliseconds);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends what goes on under this deadline, when one part of it has failed. */
  cancel(reason: unknown): void {
    this.#controller.abort(reason);
  }

  /** To be called when the operation has ended, whichever way. */
  close(): void {
    clearTimeout(this.#timer);
    this.#parent?.removeEventListener('abort', this.#abort);
  }
}
