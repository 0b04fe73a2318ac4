/** What work costs the process that it runs in: memory, and turns of the event loop. */

import { monitorEventLoopDelay } from 'node:perf_hooks';

/**
 * How far memory went beyond what it was, and how late timers of one millisecond were. The first time does not count, as it loads
 * and compiles what is there afterwards.
 */
export class Watch {
  #before: number | undefined;
  #grown = 0;
  #late = { p99: 0, most: 0 };

  async during<T>(action: () => Promise<T>): Promise<T> {
    const before = this.#before;
    const timer = setInterval(() => {
      this.#grown = Math.max(this.#grown, process.memoryUsage.rss() - (before ?? Number.POSITIVE_INFINITY));
    }, 10);
    // A new one each time: one that goes on counts what was between.
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    try {
      return await action();
    } finally {
      delay.disable();
      clearInterval(timer);
      this.#before ??= process.memoryUsage.rss();
      if (before !== undefined) {
        const { p99, most } = this.#late;
        this.#late = { p99: Math.max(p99, delay.percentile(99) / 1e6), most: Math.max(most, delay.max / 1e6) };
      }
    }
  }

  report(): string {
    const [p99, most] = [this.#late.p99, this.#late.most].map((ms) => ms.toFixed(1));
    const grown = Math.round(this.#grown / 1e6);
    return `this process meanwhile: ${grown} MB more memory at most; its loop was ${p99} ms late in 1 of 100 turns, ${most} ms at most`;
  }
}
