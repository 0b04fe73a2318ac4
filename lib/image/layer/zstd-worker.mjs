// @ts-check
/**
 * Decompression of zstd on a thread of its own, for versions of Node that have none: libzstd as WebAssembly, which is as fast
 * as Node's gzip, but does not return before its work is done. Its memory ends with the thread. The other side is zstd-thread.ts.
 *
 * Plain JavaScript, as a thread begins with a file that Node itself can run.
 */

import { parentPort } from 'node:worker_threads';
import { ZSTDDecoder } from 'zstddec/stream';

/** Bytes of an answer, after which the rest waits to be asked for: a few compressed bytes may become any number. */
const MOST = 2 ** 20;

/** @type {Uint8Array[]} */
const waiting = [];
let ended = false;
let taken = false;

/** Asked for the next piece once the last one is used up: nothing runs while there is none. */
function* input() {
  for (let piece = waiting.shift(); piece; piece = waiting.shift()) {
    taken = true;
    yield piece;
  }
}

/**
 * What can be made of what is here, at most MOST bytes and a block.
 * @param {Generator<Uint8Array>} output
 */
function work(output) {
  /** @type {Uint8Array[]} */
  const pieces = [];
  for (let size = 0; size < MOST && (ended || waiting.length > 0); ) {
    taken = false;
    const { done, value } = output.next();
    if (done) return { pieces, more: false };
    // Where libzstd fails, the decoder does not look at it, and tries the same bytes forever.
    if (value.length === 0 && !taken) throw new Error('it is not what zstd makes, or its checksum is wrong');
    if (value.length > 0) pieces.push(value);
    size += value.length;
  }
  return { pieces, more: ended || waiting.length > 0 };
}

const decoder = new ZSTDDecoder();
const ready = decoder.init().then(() => decoder.decodeStreaming(input()));

parentPort?.on('message', async (/** @type {{ piece?: Uint8Array, last?: boolean }} */ { piece, last }) => {
  const output = await ready;
  if (piece) waiting.push(piece);
  if (last) ended = true;
  try {
    const answer = work(output);
    const buffers = answer.pieces.map(({ buffer }) => /** @type {ArrayBuffer} */ (buffer));
    parentPort?.postMessage(answer, buffers);
  } catch (error) {
    parentPort?.postMessage({ reason: error instanceof Error ? error.message : String(error) });
  }
});
