/** What a program reads: text and bytes, streams, or a Writable, into a pipe or a terminal, never blocking. */

import { Readable, Writable } from 'node:stream';
import { addon, type Descriptor } from '../launcher/native.js';
import { listen } from './listeners.js';
import type { StdinSettings } from './settings.js';

/** Where a {@link NativeWritable} writes: a pipe, or a terminal that is also read from. */
export interface WriteEnd {
  write(bytes: Uint8Array, offset: number): number;
  /** Whether to be told, through {@link NativeWritable.ready}, when there is room. */
  wantRoom(on: boolean): void;
  close(): void;
}

/** A Writable over a descriptor, with back-pressure. A reader that has gone is no error: programs may stop reading early. */
export class NativeWritable extends Writable {
  readonly #end: WriteEnd;
  #pending: { chunk: Uint8Array; offset: number; callback: (error?: Error | null) => void } | undefined;

  constructor(end: WriteEnd) {
    super();
    this.#end = end;
  }

  /** There may be room now, or the reader may be gone. */
  ready(): void {
    const pending = this.#pending;
    if (!pending) return;
    const wrote = this.#end.write(pending.chunk, pending.offset);
    if (wrote < 0) {
      // A source that has no end, and never waits, would keep the event loop to itself: it must hear of this.
      this.destroy();
      return;
    }
    pending.offset += wrote;
    const settled = pending.offset === pending.chunk.length;
    this.#end.wantRoom(!settled);
    if (!settled) return;
    this.#pending = undefined;
    pending.callback();
  }

  override _write(chunk: Buffer, _encoding: string, callback: (error?: Error | null) => void): void {
    this.#pending = { chunk, offset: 0, callback };
    this.ready();
  }

  override _final(callback: () => void): void {
    this.#end.close();
    callback();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#end.close();
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.callback();
    callback(error);
  }
}

/** A Writable into the write end of a pipe; none is made for bytes that fit into the pipe at once, as most input does. */
export function openInput(
  settings: StdinSettings,
  descriptor: Descriptor,
  onFailure: (error: Error) => void,
): NativeWritable | undefined {
  let open = true;
  const ready = () => writable.ready();
  const native = new (addon().Stream)(descriptor, ready, ready);
  const close = () => {
    if (open) native.close();
    open = false;
  };
  let rest: StdinSettings = settings;
  if (settings.kind === 'bytes') {
    const wrote = Math.max(native.write(settings.bytes, 0), 0);
    if (wrote === settings.bytes.length) {
      close();
      return undefined;
    }
    rest = { kind: 'bytes', bytes: settings.bytes.subarray(wrote) };
  }
  const writable = new NativeWritable({
    write: (bytes, offset) => (open ? native.write(bytes, offset) : -1),
    wantRoom: (on) => open && native.watch(false, on),
    close,
  });
  feed(rest, writable, onFailure);
  return writable;
}

/** Connects what the caller gave to the writable; a source that fails ends the input, and `onFailure` hears of it. */
export function feed(settings: StdinSettings, writable: Writable, onFailure: (error: Error) => void): void {
  writable.on('error', () => {});
  if (settings.kind === 'bytes') writable.end(settings.bytes);
  else if (settings.kind === 'inherit') feedFrom(process.stdin, writable, () => {});
  else if (settings.kind === 'stream') {
    const { stream } = settings;
    if (stream instanceof Readable) feedFrom(stream, writable, onFailure);
    else feedFrom(readableFrom(stream, writable), writable, onFailure);
  }
}

/** The stream is someone else's: in the end it is let go of, as it was. */
function feedFrom(readable: Readable, writable: Writable, onFailure: (error: Error) => void): void {
  const fail = (error: Error) => {
    // What ended because the program did is no failure of its source.
    if (!writable.destroyed) onFailure(error);
    writable.destroy();
  };
  // Of a stream that is closed, or has ended already, pipe() hears no more: the program would wait for ever.
  const closed = () => {
    if (readable.readableEnded) writable.end();
    else fail(readable.errored ?? new Error('it was closed before its end'));
  };
  const detach = listen(readable, { error: fail, close: closed });
  writable.once('close', () => {
    readable.unpipe(writable);
    detach();
  });
  if (readable.readableEnded || readable.destroyed) closed();
  else readable.pipe(writable);
}

/** This one is ours: a program that ends early ends the iteration too, so that a generator's `finally` runs. */
function readableFrom(source: AsyncIterable<string | Uint8Array>, writable: Writable): Readable {
  const readable = Readable.from(source, { objectMode: false });
  // What the iteration throws while it is ended is nobody's any more.
  readable.on('error', () => {});
  writable.once('close', () => readable.destroy());
  return readable;
}
