/**
 * What a program writes, on its way to whoever wants it: a bounded buffer, a Readable, a Writable, an iteration. Bytes are
 * read only as fast as they are taken, so a slow reader slows the program down and nothing piles up here.
 */

import { Readable } from 'node:stream';
import { addon, type Descriptor, type NativeStream } from '../launcher/native.js';
import type { WriteEnd } from './input.js';

/** Chunks of 64 KiB that are handled before the event loop gets its turn. */
const burst = 16;
/** What may still be taken after the program has ended, while someone else holds the pipe: more than any pipe holds. */
const afterEnd = 2 * 2 ** 20;

/** Takes chunks; false, or a promise, means: not now. */
export interface Sink {
  write(chunk: Buffer): boolean | Promise<void>;
  end(): void;
}

/** One output stream of one process. */
export class Output {
  /** Bytes seen so far. */
  bytes = 0;
  /** Settles when everything that will come has been taken. */
  readonly done: Promise<void>;
  #native: NativeStream | undefined;
  readonly #sinks: Sink[] = [];
  readonly #onBytes: (count: number) => void;
  #finish: () => void = () => {};
  #left: number | undefined;
  #paused = false;
  #wantRoom = false;
  #ended = false;
  #grace = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(onBytes: (count: number) => void) {
    this.#onBytes = onBytes;
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  /** Where it is read from: a pipe's end at once, a terminal when the program has started. */
  open(descriptor: Descriptor): void {
    if (this.#ended) {
      descriptor.close();
      return;
    }
    this.#native = new (addon().Stream)(
      descriptor,
      () => this.#pull(),
      () => this.onRoom(),
    );
    this.#watch();
  }

  /** From now on `sink` gets every chunk too. The slowest sink sets the pace. */
  add(sink: Sink): void {
    if (this.#ended) sink.end();
    else this.#sinks.push(sink);
  }

  /**
   * The program has ended: what it wrote is in the pipe by now, so the stream ends at the first moment it is empty. That
   * little is taken whatever the reader's pace, so that a result never waits for a reader. A terminal hands on what was
   * written to it a little later, and then says that its other side is closed (pty(7)); unless someone else holds that,
   * for whom `grace` milliseconds must do.
   */
  programEnded(grace = 0): void {
    this.#left ??= afterEnd;
    this.#grace = grace;
    if (this.#paused) {
      this.#paused = false;
      this.#watch();
    }
    this.#pull();
  }

  /** Stop at once; what is not read yet is lost. */
  destroy(): void {
    this.#end();
  }

  #pull(): void {
    if (this.#ended || (this.#paused && this.#left === undefined)) return;
    for (let i = 0; i < burst; i++) {
      const chunk = this.#native ? this.#native.read() : undefined;
      if (chunk === undefined && this.#left !== undefined && this.#grace > 0) {
        this.#waitForEnd();
        return;
      }
      if (chunk === null || (chunk === undefined && this.#left !== undefined)) {
        this.#end();
        return;
      }
      if (chunk === undefined) return;
      this.bytes += chunk.length;
      const waits = this.#sinks.map((sink) => sink.write(chunk)).filter((taken) => taken instanceof Promise);
      this.#onBytes(chunk.length);
      if (this.#ended) return;
      if (this.#left !== undefined) {
        this.#left -= chunk.length;
        if (this.#left <= 0) {
          this.#end();
          return;
        }
      } else if (waits.length > 0) {
        this.#pause(Promise.all(waits));
        return;
      }
    }
    // More may be there; with the program gone no event would say so.
    if (this.#left !== undefined) setImmediate(() => this.#pull());
  }

  #waitForEnd(): void {
    this.#timer ??= setTimeout(() => {
      this.#grace = 0;
      this.#pull();
    }, this.#grace);
  }

  #pause(until: Promise<unknown>): void {
    this.#paused = true;
    this.#watch();
    const resume = () => {
      if (!this.#paused) return;
      this.#paused = false;
      this.#watch();
      this.#pull();
    };
    until.then(resume, resume);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#native?.close();
    for (const sink of this.#sinks) sink.end();
    this.#finish();
  }

  /** Called when {@link terminalInput} has room. */
  onRoom: () => void = () => {};

  /** A terminal's other direction goes through the same descriptor, which stays open for reading. */
  terminalInput(): WriteEnd {
    return {
      write: (bytes, offset) => (this.#ended ? -1 : (this.#native?.write(bytes, offset) ?? 0)),
      wantRoom: (on) => {
        this.#wantRoom = on;
        this.#watch();
      },
      close: () => {},
    };
  }

  resize(columns: number, rows: number): boolean {
    return !this.#ended && (this.#native?.resize(columns, rows) ?? false);
  }

  #watch(): void {
    if (!this.#ended) this.#native?.watch(!this.#paused, this.#wantRoom);
  }
}

/** Keeps the first and the last bytes of a stream, and says whether the middle was dropped. */
export class BoundedBuffer implements Sink {
  truncated = false;
  readonly #limit: number;
  readonly #head: Buffer[] = [];
  #headSize = 0;
  #tail: Buffer[] = [];
  #tailSize = 0;

  /** @param limit bytes kept, half of them from each end once there are more */
  constructor(limit: number) {
    this.#limit = limit;
  }

  write(chunk: Buffer): boolean {
    const headLimit = Math.ceil(this.#limit / 2);
    const room = headLimit - this.#headSize;
    if (room > 0) {
      this.#head.push(chunk.subarray(0, room));
      this.#headSize += Math.min(room, chunk.length);
    }
    if (chunk.length > room) this.#append(room > 0 ? chunk.subarray(room) : chunk, this.#limit - headLimit);
    return true;
  }

  end(): void {}

  content(): Buffer {
    return Buffer.concat([...this.#head, ...this.#tail]);
  }

  #append(chunk: Buffer, limit: number): void {
    this.#tail.push(chunk);
    this.#tailSize += chunk.length;
    while (this.#tailSize > limit) {
      this.truncated = true;
      const first = this.#tail[0];
      if (!first) return;
      const excess = this.#tailSize - limit;
      if (first.length > excess) {
        this.#tail[0] = first.subarray(excess);
        this.#tailSize -= excess;
      } else {
        this.#tail.shift();
        this.#tailSize -= first.length;
      }
    }
    // Many small slices would each keep a chunk alive.
    if (this.#tail.length > 4096) this.#tail = [Buffer.concat(this.#tail)];
  }
}

/** A Readable of an output; nothing is read from the program before someone reads here. */
export function readableOf(output: Output): Readable {
  let more: (() => void) | undefined;
  const readable = new Readable({
    read() {
      more?.();
      more = undefined;
    },
    destroy(error, callback) {
      output.destroy();
      more?.();
      callback(error);
    },
  });
  output.add({
    write(chunk) {
      if (readable.push(chunk)) return true;
      return new Promise((resolve) => {
        more = resolve;
      });
    },
    end() {
      readable.push(null);
    },
  });
  return readable;
}

/** Chunks waiting for an iteration: what is being iterated is read only as fast as the loop takes it. */
export class ChunkQueue<T> {
  readonly #items: T[] = [];
  #wake: (() => void) | undefined;
  #room: (() => void)[] = [];
  #open = 0;
  #abandoned = false;

  /** A sink whose chunks come out of the queue as `wrap` makes them. */
  sink(wrap: (chunk: Buffer) => T): Sink {
    this.#open++;
    return {
      write: (chunk) => {
        if (this.#abandoned) return true;
        this.#items.push(wrap(chunk));
        this.#notify();
        return new Promise((resolve) => this.#room.push(resolve));
      },
      end: () => {
        this.#open--;
        this.#notify();
      },
    };
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    try {
      for (;;) {
        while (this.#items.length > 0) {
          yield this.#items.shift() as T;
          // Asked for the next: the last one has been dealt with.
          if (this.#items.length === 0) this.#release();
        }
        if (this.#open === 0) return;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      // Left early: what comes later is dropped, not waited for.
      this.#abandoned = true;
      this.#items.length = 0;
      this.#release();
    }
  }

  #notify(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  #release(): void {
    const waiting = this.#room;
    this.#room = [];
    for (const resolve of waiting) resolve();
  }
}
