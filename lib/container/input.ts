/** What a program reads: text and bytes, streams, or a Writable, into a pipe or a terminal, never blocking. */

import { Readable, Writable } from 'node:stream';
import { addon, type Descriptor } from '../launcher/native.js';
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
export function openInput(settings: StdinSettings, descriptor: Descriptor): NativeWritable | undefined {
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
  feed(rest, writable);
  return writable;
}

/** Connects what the caller gave to the writable; a source that fails ends the input. */
export function feed(settings: StdinSettings, writable: Writable): void {
  writable.on('error', () => {});
  if (settings.kind === 'bytes') {
    writable.end(settings.bytes);
    return;
  }
  if (settings.kind === 'ignore' || settings.kind === 'pipe') return;
  const source = settings.kind === 'stream' ? settings.stream : process.stdin;
  const readable = source instanceof Readable ? source : Readable.from(source, { objectMode: false });
  readable.on('error', (error) => writable.destroy(error));
  writable.once('close', () => {
    readable.unpipe(writable);
    if (settings.kind === 'inherit') process.stdin.pause();
  });
  readable.pipe(writable);
}
