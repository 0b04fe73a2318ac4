/**
 * zstd (RFC 8878): frames are walked here, block by block, so that what a decompressor is given is exactly one frame and
 * nothing can hide behind it; blocks become bytes in Node's own zstd, or where it has none (before 22.15) on a thread of ours.
 * Both are libzstd, which verifies the size and the checksum that a frame has.
 */

import * as zlib from 'node:zlib';
import { ImageError } from '../../errors.js';
import { PIECE, through } from './codec.js';
import { gather, type Incoming } from './incoming.js';
import { inThread } from './zstd-thread.js';

const MAGIC = 0xfd2fb528;
const BLOCK = 128 * 1024;

/** What newer versions of Node have, and the types of the oldest supported one lack. */
export const nodeZstd: {
  createZstdDecompress?(options: { chunkSize: number; params: Record<number, number> }): zlib.Gunzip;
  createZstdCompress?(options: { chunkSize: number; params: Record<number, number> }): zlib.Gzip;
} = zlib as object;
const { ZSTD_d_windowLogMax = 100, ZSTD_c_compressionLevel = 100 } = zlib.constants as Record<string, number>;

export { ZSTD_c_compressionLevel };

/**
 * How far back a frame may refer, which is memory: what libzstd allows unless it is told otherwise, and `zstd --long` uses. Levels
 * up to 19 keep to 8 MiB.
 */
const WINDOW = 2 ** 27;

interface FrameHeader {
  readonly bytes: Uint8Array;
  readonly window: number;
  readonly checksum: boolean;
}

/** Whether these four bytes begin a frame, or a skippable one. */
export function isZstd(first: Uint8Array): boolean {
  return first.length >= 4 && (word(first, 0) === MAGIC || isSkippable(first));
}

function isSkippable(first: Uint8Array): boolean {
  return word(first, 0) >>> 4 === 0x184d2a5;
}

function word(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true);
}

/** All frames, one after the other. @throws ImageError `ERR_LAYER`, `ERR_LAYER_LIMIT` for a window that is too large */
export async function* unzstd(incoming: Incoming): AsyncGenerator<Uint8Array, void, undefined> {
  if (!nodeZstd.createZstdDecompress) return yield* inThread(wholeFrames(incoming));
  for await (const blocks of frames(incoming)) yield* inNode(blocks);
}

async function* wholeFrames(incoming: Incoming): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const blocks of frames(incoming)) yield* gather(blocks, PIECE);
}

/** The blocks of each frame, which are to be used up before the next one. */
async function* frames(incoming: Incoming): AsyncGenerator<AsyncIterable<Uint8Array>, void, undefined> {
  for (;;) {
    const first = await incoming.peek(4);
    if (first.length === 0) return;
    if (!isZstd(first)) {
      throw new ImageError('ERR_LAYER', `layer: bytes follow the end of its zstd frames, at ${incoming.bytes}`);
    }
    if (isSkippable(first)) await skip(incoming);
    else yield readBlocks(incoming, await readHeader(incoming));
  }
}

async function exactly(incoming: Incoming, length: number): Promise<Uint8Array> {
  const taken = await incoming.take(length);
  if (taken.length === length) return taken;
  throw new ImageError('ERR_LAYER', `layer: its zstd stream ends in the middle of a frame, at ${incoming.bytes}`);
}

async function skip(incoming: Incoming): Promise<void> {
  let left = word(await exactly(incoming, 8), 4);
  for (; left > 0; left -= Math.min(left, BLOCK)) await exactly(incoming, Math.min(left, BLOCK));
}

/** RFC 8878, 3.1.1.1. */
async function readHeader(incoming: Incoming): Promise<FrameHeader> {
  const descriptor = (await incoming.peek(5))[4] ?? 0;
  const single = (descriptor & 0x20) !== 0;
  const sizeBytes = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  const idBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const length = 5 + (single ? 0 : 1) + idBytes + sizeBytes;
  const bytes = await exactly(incoming, length);
  if ((descriptor & 8) !== 0) throw new ImageError('ERR_LAYER', 'layer: a zstd frame has a reserved bit set');
  if (bytes.subarray(length - sizeBytes - idBytes, length - sizeBytes).some((byte) => byte !== 0)) {
    throw new ImageError('ERR_LAYER', 'layer: its zstd stream needs a dictionary');
  }
  const contentSize = sizeBytes === 0 ? undefined : readSize(bytes.subarray(length - sizeBytes));
  const exponent = bytes[5] ?? 0;
  const window = single ? (contentSize ?? 0) : 2 ** (10 + (exponent >> 3)) * (1 + (exponent & 7) / 8);
  if (window > WINDOW) {
    throw new ImageError('ERR_LAYER_LIMIT', `layer: a zstd window of ${window} bytes; at most ${WINDOW} are allowed`);
  }
  return { bytes, window, checksum: (descriptor & 4) !== 0 };
}

function readSize(bytes: Uint8Array): number {
  const value = Buffer.from(bytes);
  if (bytes.length === 8) return Number(value.readBigUInt64LE());
  return value.readUIntLE(0, bytes.length) + (bytes.length === 2 ? 256 : 0);
}

/** The whole frame in pieces: its header, each block, the last one together with the checksum. RFC 8878, 3.1.1.2. */
async function* readBlocks(incoming: Incoming, header: FrameHeader): AsyncGenerator<Uint8Array, void, undefined> {
  yield header.bytes;
  const limit = Math.min(header.window, BLOCK);
  for (let last = false; !last; ) {
    const peeked = await incoming.peek(3);
    if (peeked.length < 3) await exactly(incoming, 3);
    const value = (peeked[0] ?? 0) | ((peeked[1] ?? 0) << 8) | ((peeked[2] ?? 0) << 16);
    last = (value & 1) !== 0;
    const type = (value >> 1) & 3;
    const size = value >> 3;
    if (type === 3 || size > limit) {
      throw new ImageError('ERR_LAYER', `layer: a zstd block of type ${type} with ${size} bytes, at ${incoming.bytes}`);
    }
    yield await exactly(incoming, 3 + (type === 1 ? 1 : size) + (last && header.checksum ? 4 : 0));
  }
}

function inNode(blocks: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  const options = { chunkSize: PIECE, params: { [ZSTD_d_windowLogMax]: Math.log2(WINDOW) } };
  return through(blocks, nodeZstd.createZstdDecompress?.(options) as zlib.Gunzip, 'zstd');
}
