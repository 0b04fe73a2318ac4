/** What work costs the process that it runs in: memory, and turns of the event loop. */

import { monitorEventLoopDelay } from 'node:perf_hooks';

/** How far memory went beyond what it was before, and how late timers of one millisecond were. */
export class Watch {
  readonly #before = process.memoryUsage.rss();
  readonly #delay = monitorEventLoopDelay({ resolution: 1 });
  #grown = 0;

  async during<T>(action: () => Promise<T>): Promise<T> {
    const timer = setInterval(() => {
      this.#grown = Math.max(this.#grown, process.memoryUsage.rss() - this.#before);
    }, 10);
    this.#delay.enable();
    try {
      return await action();
    } finally {
      this.#delay.disable();
      clearInterval(timer);
    }
  }

  report(): string {
    const [p99, most] = [this.#delay.percentile(99), this.#delay.max].map((ns) => (ns / 1e6).toFixed(1));
    const grown = Math.round(this.#grown / 1e6);
    return `this process meanwhile: ${grown} MB more memory at most; its loop was ${p99} ms late in 1 of 100 turns, ${most} ms at most`;
  }
}
