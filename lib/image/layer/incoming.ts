/** Bytes that come in pieces of any size, and are taken in others: as many as a header has, or all the rest. */

/** The front of a stream of bytes. It counts what has come, and holds at most what was asked for and one piece more. */
export class Incoming {
  /** Bytes that were handed on. */
  bytes = 0;
  readonly #source: AsyncIterator<Uint8Array>;
  #held: Uint8Array = new Uint8Array();
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The next bytes without taking them; fewer at the end. */
  async peek(length: number): Promise<Uint8Array> {
    if (this.#held.length < length && !this.#ended) {
      const parts = [this.#held];
      for (let have = this.#held.length; have < length; ) {
        const next = await this.#next();
        if (!next) break;
        parts.push(next);
        have += next.length;
      }
      this.#held = Buffer.concat(parts);
    }
    return this.#held.subarray(0, length);
  }

  /** The next bytes; fewer at the end. */
  async take(length: number): Promise<Uint8Array> {
    const taken = await this.peek(length);
    this.#held = this.#held.subarray(taken.length);
    this.bytes += taken.length;
    return taken;
  }

  /** All that is left, as it comes. */
  async *rest(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const piece = this.#held.length > 0 ? this.#held : await this.#next();
      if (piece === undefined) return;
      this.#held = new Uint8Array();
      this.bytes += piece.length;
      if (piece.length > 0) yield piece;
    }
  }

  /** Ends the source, also where it has not come to its end. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#source.return?.();
  }

  async #next(): Promise<Uint8Array | undefined> {
    if (this.#ended) return undefined;
    const { done, value } = await this.#source.next();
    if (!done) return value;
    this.#ended = true;
    return undefined;
  }
}

/**
 * The same bytes in pieces that have at least `size`, but for the last one: a piece costs a turn of a thread.
 * Where the source fails, what has come before is handed on first.
 */
export async function* gather(pieces: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Uint8Array> {
  let held: Uint8Array[] = [];
  let length = 0;
  let failure: { readonly error: unknown } | undefined;
  try {
    for await (const piece of pieces) {
      held.push(piece);
      length += piece.length;
      if (length < size) continue;
      yield held.length === 1 ? piece : Buffer.concat(held);
      held = [];
      length = 0;
    }
  } catch (error) {
    failure = { error };
  }
  if (length > 0) yield Buffer.concat(held);
  if (failure) throw failure.error;
}
