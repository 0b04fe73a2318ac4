/** Pipes between this process and an agent, on the event loop: bytes go in as there is room, and come out as they are there. */

import { addon, type Descriptor, type NativeStream } from '../../launcher/native.js';

/** Writes chunks into a pipe, and waits for room where it is full. */
export class PipeWriter {
  readonly #stream: NativeStream;
  #open = true;
  #wake: () => void = () => {};
  /** Ends the wait for the next chunk. */
  #stop: () => void = () => {};

  constructor(descriptor: Descriptor) {
    const ready = () => this.#wake();
    this.#stream = new (addon().Stream)(descriptor, ready, ready);
  }

  /**
   * Writes all chunks and closes the pipe; stops, without an error, where nobody reads any more, and when it is closed.
   * @throws what the source throws
   */
  async writeAll(source: AsyncIterable<Uint8Array>, onProgress?: (bytes: number) => void): Promise<void> {
    const iterator = source[Symbol.asyncIterator]();
    let total = 0;
    let ended = false;
    try {
      while (this.#open) {
        const next = await this.#next(iterator);
        ended = next.done === true && this.#open;
        if (next.done || !(await this.#write(next.value))) return;
        total += next.value.length;
        onProgress?.(total);
      }
    } finally {
      // The source may be in the middle of something that never comes; it is told, and not waited for.
      if (!ended) void Promise.resolve(iterator.return?.()).catch(() => {});
      this.close();
    }
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#stream.close();
    this.#stop();
    this.#wake();
  }

  /** Not Promise.race with one that is told of the end: that would keep every chunk that it has raced with. */
  #next(iterator: AsyncIterator<Uint8Array>): Promise<IteratorResult<Uint8Array, undefined>> {
    return new Promise((resolve, reject) => {
      this.#stop = () => resolve({ done: true, value: undefined });
      iterator.next().then(resolve, reject);
    });
  }

  async #write(chunk: Uint8Array): Promise<boolean> {
    for (let offset = 0; offset < chunk.length; ) {
      const wrote = this.#open ? this.#stream.write(chunk, offset) : -1;
      if (wrote < 0) return false;
      offset += wrote;
      if (wrote === 0) await this.#room();
    }
    return true;
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = () => {};
        if (this.#open) this.#stream.watch(false, false);
        resolve();
      };
      this.#stream.watch(false, true);
    });
  }
}

/** Everything that comes out of a pipe until its end. */
export function readAll(descriptor: Descriptor): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const read = () => {
      let chunk = stream.read();
      for (; chunk; chunk = stream.read()) chunks.push(chunk);
      if (chunk === undefined) return;
      stream.close();
      resolve(Buffer.concat(chunks));
    };
    const stream = new (addon().Stream)(descriptor, read, () => {});
    stream.watch(true, false);
  });
}
