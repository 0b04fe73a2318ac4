/** Bytes are taken in other pieces than they come in, and none is lost. */

import { expect, it } from 'vitest';
import { gather } from '../../../../lib/image/layer/incoming.js';

const failure = new Error('the line was cut');

async function* source(sizes: readonly number[], error?: Error): AsyncGenerator<Uint8Array> {
  for (const [index, size] of sizes.entries()) yield Buffer.alloc(size, index + 1);
  if (error) throw error;
}

async function taken(pieces: AsyncIterable<Uint8Array>): Promise<{ sizes: number[]; error?: unknown }> {
  const sizes: number[] = [];
  try {
    for await (const piece of pieces) sizes.push(piece.length);
    return { sizes };
  } catch (error) {
    return { sizes, error };
  }
}

it('gathers pieces until there are enough bytes, and hands on the rest at the end', async () => {
  expect(await taken(gather(source([3, 4, 1, 2, 9, 20, 1]), 8))).toEqual({ sizes: [8, 11, 20, 1] });
  expect(await taken(gather(source([]), 8))).toEqual({ sizes: [] });
});

it('hands on what has come before the source failed, and then fails as that did', async () => {
  expect(await taken(gather(source([3, 8, 2, 1], failure), 8))).toEqual({ sizes: [11, 3], error: failure });
  expect(await taken(gather(source([], failure), 8))).toEqual({ sizes: [], error: failure });
});
