/** Decompression of zstd where Node has none: asks a thread for it, piece by piece (zstd-worker.mjs). */

import { on } from 'node:events';
import { Worker } from 'node:worker_threads';
import { ImageError } from '../../errors.js';

/** What the thread is told: more bytes, that there are no more, or to go on with what it has. */
interface Question {
  readonly piece?: Uint8Array;
  readonly last?: boolean;
}

type Answer = { readonly pieces: readonly Uint8Array[]; readonly more: boolean } | { readonly reason: string };

/**
 * What comes of the pieces. The thread has its next question before its last answer is used, so that both work at once; there
 * is never more than a few MiB on the way.
 * @param source pieces of frames; one that belongs to two frames is taken for damaged
 * @throws ImageError `ERR_LAYER`; what `source` throws
 */
export async function* inThread(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  // Options that Node was started with are for the program, and may be such as a thread refuses.
  const worker = new Worker(new URL('./zstd-worker.mjs', import.meta.url), { execArgv: [], env: {} });
  const answers = on(worker, 'message', { close: ['exit'] }) as AsyncIterableIterator<[Answer]>;
  const questions = questionsOf(source);
  try {
    await ask(worker, questions);
    for (let going = true; going; ) {
      const { pieces, more } = await nextOf(answers);
      going = more ? goOn(worker) : await ask(worker, questions);
      yield* pieces;
    }
  } finally {
    await questions.return();
    await worker.terminate();
  }
}

async function* questionsOf(source: AsyncIterable<Uint8Array>): AsyncGenerator<Question, void, undefined> {
  // A buffer of its own can be handed over; a piece may be a part of one that others use.
  for await (const piece of source) yield { piece: Uint8Array.from(piece) };
  yield { last: true };
}

/** Whether there was something left to ask. */
async function ask(worker: Worker, questions: AsyncIterator<Question, void>): Promise<boolean> {
  const { done, value } = await questions.next();
  if (done) return false;
  worker.postMessage(value, value.piece ? [value.piece.buffer as ArrayBuffer] : []);
  return true;
}

function goOn(worker: Worker): true {
  worker.postMessage({});
  return true;
}

async function nextOf(answers: AsyncIterator<[Answer]>): Promise<Extract<Answer, { more: boolean }>> {
  const { done, value } = await answers.next().catch((cause: unknown) => {
    throw new ImageError('ERR_LAYER', 'layer: the thread that decompresses zstd has failed', { cause });
  });
  const answer = done ? { reason: 'its thread has ended' } : value[0];
  if ('more' in answer) return answer;
  throw new ImageError('ERR_LAYER', `layer: its zstd stream is damaged: ${answer.reason}`);
}
