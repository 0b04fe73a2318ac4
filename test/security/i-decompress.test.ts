/** Rows I9 and J9 of the catalogue as far as compression goes: bombs, and bytes behind the end. */

import { spawnSync } from 'node:child_process';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { decompressLayer } from '../../lib/image/layer/decompress.js';

const MiB = 2 ** 20;

/** 64 MiB of zeros as a gzip member, and 10 GiB of them as a stream of members: 10 MB. */
const member = gzipSync(Buffer.alloc(64 * MiB));
const gzipBomb = Array.from({ length: 160 }, () => member);

/** The same by hand as a frame of zstd: blocks that say "this byte, 131,072 times" (RFC 8878, 3.1.1.2.2). */
function zstdZeros(blocks: number): Buffer {
  const bytes = Buffer.alloc(6 + blocks * 4);
  bytes.set([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]);
  for (let i = 0; i < blocks; i++) {
    bytes.writeUIntLE((131_072 << 3) | (1 << 1) | (i === blocks - 1 ? 1 : 0), 6 + i * 4, 3);
  }
  return bytes;
}

/** What came out before the end or the error, and how much was taken in. */
async function measure(parts: readonly Uint8Array[], limits: { bytes: number; ratio: number }) {
  let taken = 0;
  let given = 0;
  async function* source() {
    for (const part of parts) {
      for (let at = 0; at < part.length; at += 65_536) {
        const piece = part.subarray(at, at + 65_536);
        taken += piece.length;
        yield piece;
      }
    }
  }
  let error: unknown;
  try {
    for await (const piece of decompressLayer(source(), { limits })) given += piece.length;
  } catch (thrown) {
    error = thrown;
  }
  return { taken, given, error };
}

describe('I and J: compressed layers', () => {
  it('I9: a decompression bomb is stopped at its limit, having come in only so far', async () => {
    for (const bomb of [gzipBomb, [zstdZeros(10 * 8192)]]) {
      const whole = bomb.reduce((sum, { length }) => sum + length, 0);
      const bySize = await measure(bomb, { bytes: 100 * MiB, ratio: Number.POSITIVE_INFINITY });
      expect(bySize.error).toMatchObject({ code: 'ERR_LAYER_LIMIT' });
      expect(bySize.given).toBeLessThanOrEqual(100 * MiB);
      expect(bySize.given).toBeGreaterThan(99 * MiB);
      expect(bySize.taken).toBeLessThan(Math.max(2 * MiB, whole / 2));

      const byRatio = await measure(bomb, { bytes: Number.MAX_SAFE_INTEGER, ratio: 20 });
      expect(byRatio.error).toMatchObject({ code: 'ERR_LAYER_LIMIT' });
      expect(byRatio.given).toBeLessThan(50 * MiB);
    }
    // What stays below its limits is not stopped, however well it was compressed.
    const roomy = { bytes: 64 * MiB, ratio: 100_000 };
    expect(await measure([member], roomy)).toMatchObject({ given: 64 * MiB, error: undefined });
    expect(await measure([zstdZeros(512)], roomy)).toMatchObject({ given: 64 * MiB, error: undefined });
  }, 60_000);

  it('J9: bytes after the end of a compressed layer are refused, which other programs leave out', async () => {
    const limits = { bytes: 100 * MiB, ratio: 100_000 };
    const gzip = gzipSync('content');
    const zstd = zstdZeros(1);
    const garbage = [Buffer.alloc(1), Buffer.alloc(1024), Buffer.from('garbage'), Buffer.from([0x1f])];
    for (const good of [gzip, zstd]) {
      expect((await measure([good], limits)).error).toBeUndefined();
      for (const more of garbage) {
        for (const parts of [[Buffer.concat([good, more])], [good, more]]) {
          expect((await measure(parts, limits)).error, `${parts}`).toMatchObject({ code: 'ERR_LAYER' });
        }
      }
    }
    // The same is content to Node's own call, and to the program.
    expect(gunzipSync(Buffer.concat([gzip, Buffer.alloc(1024)])).toString()).toBe('content');
    const { stdout } = spawnSync('gzip', ['-dc'], { input: Buffer.concat([gzip, Buffer.from('garbage')]) });
    expect(stdout.toString()).toBe('content');
    // Members and frames that follow are no garbage: they are content.
    expect(await measure([gzip, gzip], limits)).toMatchObject({ given: 14, error: undefined });
    expect(await measure([zstd, zstd], limits)).toMatchObject({ given: 262_144, error: undefined });
  });
});
