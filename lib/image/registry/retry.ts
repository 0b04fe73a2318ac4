/** Another attempt at what may pass: waiting twice as long each time, at random, so that many clients do not come at once. */

import { setTimeout as sleep } from 'node:timers/promises';
import { connectionFailure, TransientError } from './failure.js';

const first = 200;
const longest = 20_000;

/** Milliseconds before attempt `number` (from 1): at least half of a span that doubles. */
export function backoff(number: number, random = Math.random()): number {
  const span = Math.min(first * 2 ** (number - 1), longest);
  return Math.round(span / 2 + (span / 2) * random);
}

/** The attempts of one operation. */
export class Attempts {
  #failed = 0;

  constructor(
    readonly most: number,
    readonly signal: AbortSignal,
  ) {}

  /** Something was gained since the last failure: what follows is counted anew. */
  progress(): void {
    this.#failed = 0;
  }

  /** Waits for the next attempt. @throws the error if it does not pass, or has come too often */
  async failed(error: unknown): Promise<void> {
    this.#failed++;
    if (!(error instanceof TransientError) || this.#failed > this.most || this.signal.aborted) throw error;
    try {
      await sleep(Math.max(error.retryAfter ?? 0, backoff(this.#failed)), undefined, { signal: this.signal });
    } catch (cause) {
      throw connectionFailure(cause, 'waiting for another attempt', this.signal);
    }
  }
}

/** Does something, and again if what it failed of may pass. */
export async function retrying<T>(most: number, signal: AbortSignal, action: () => Promise<T>): Promise<T> {
  const attempts = new Attempts(most, signal);
  for (;;) {
    try {
      return await action();
    } catch (error) {
      await attempts.failed(error);
    }
  }
}
