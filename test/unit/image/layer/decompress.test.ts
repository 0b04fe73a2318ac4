/** Layers are decompressed whole and exactly, or refused. */

import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { compressLayer } from '../../../../lib/image/layer/compress.js';
import { decompressLayer } from '../../../../lib/image/layer/decompress.js';
import { nodeZstd } from '../../../../lib/image/layer/zstd.js';

const limits = { bytes: 2 ** 30, ratio: 1000 };

/** Text that compresses, noise that does not, and zeros, over several blocks. */
const sample = Buffer.concat([
  Buffer.from(Array.from({ length: 60_000 }, (_, i) => `line ${i} of ${i * 7919}\n`).join('')),
  randomBytes(300_000),
  Buffer.alloc(700_000),
]);

async function* pieces(bytes: Uint8Array, size = bytes.length): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of stream) all.push(piece);
  return Buffer.concat(all);
}

const open = (bytes: Uint8Array, size?: number, mediaType?: string) =>
  collect(decompressLayer(pieces(bytes, size), { limits, mediaType }));

/** One raw block: a frame that is made by hand. */
function frame(content: Uint8Array): Buffer {
  const block = Buffer.alloc(3);
  block.writeUIntLE((content.length << 3) | 1, 0, 3);
  return Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]), block, content]);
}

function skippable(size: number): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a53, 0);
  head.writeUInt32LE(size, 4);
  return Buffer.concat([head, Buffer.alloc(size, 7)]);
}

const hasZstd = spawnSync('zstd', ['--version']).status === 0;
function zstd(content: Uint8Array, ...options: string[]): Buffer {
  const { status, stdout } = spawnSync('zstd', ['-c', ...options], { input: content, maxBuffer: 2 ** 28 });
  expect(status).toBe(0);
  return stdout;
}

describe('gzip', () => {
  const compressed = gzipSync(sample);

  it.each([1, 7, 65_536, compressed.length])('comes in pieces of %i bytes', async (size) => {
    const content = size < 100 ? sample.subarray(0, 20_000) : sample;
    expect((await open(gzipSync(content), size)).equals(content)).toBe(true);
  });

  it('may have several members', async () => {
    const two = Buffer.concat([compressed, gzipSync('the end')]);
    for (const size of [two.length, compressed.length, 1000]) {
      expect((await open(two, size)).equals(Buffer.concat([sample, Buffer.from('the end')]))).toBe(true);
    }
  });

  it('ends with its last member', async () => {
    for (const garbage of [[0], [0, 0, 0, 0], [0x1f], [0x1f, 0x8b], [1, 2, 3, 4], Array(600_000).fill(0)]) {
      const bytes = Buffer.concat([compressed, Buffer.from(garbage)]);
      for (const size of [bytes.length, compressed.length, 4096]) {
        await expect(open(bytes, size), `${garbage.slice(0, 4)} in ${size}`).rejects.toMatchObject({
          name: 'ImageError',
          code: 'ERR_LAYER',
        });
      }
    }
  });

  it('is whole: cut anywhere, or with another checksum or length, it is refused', async () => {
    for (const length of [2, 4, 9, 10, 11, 1000, compressed.length - 8, compressed.length - 4, compressed.length - 1]) {
      await expect(open(compressed.subarray(0, length)), `${length}`).rejects.toMatchObject({ code: 'ERR_LAYER' });
    }
    for (const back of [1, 4, 5, 8]) {
      const other = Buffer.from(compressed);
      other[other.length - back] = (other.at(-back) ?? 0) ^ 1;
      await expect(open(other), `${back}`).rejects.toMatchObject({ code: 'ERR_LAYER' });
    }
  });
});

describe('zstd', () => {
  it('takes frames one after the other, and leaves out skippable ones', async () => {
    const bytes = Buffer.concat([
      skippable(0),
      frame(Buffer.from('one ')),
      skippable(300_000),
      frame(Buffer.from('two')),
    ]);
    for (const size of [1, 5, bytes.length]) expect((await open(bytes, size)).toString()).toBe('one two');
  });

  it('refuses what is no frame, whole or in part', async () => {
    const good = frame(Buffer.from('content'));
    expect((await open(good)).toString()).toBe('content');
    const wrong = [
      [...good, 0],
      [...good, 1, 2, 3, 4],
      [...good, ...good.subarray(0, 5)],
      [...good, ...skippable(10).subarray(0, 12)],
      ...[4, 5, 6, 8, 9, good.length - 1].map((length) => [...good.subarray(0, length)]),
    ];
    for (const bytes of wrong) {
      await expect(open(Buffer.from(bytes)), `${bytes}`).rejects.toMatchObject({ code: 'ERR_LAYER' });
    }
  });

  it('refuses reserved bits and blocks, dictionaries, and windows without bound', async () => {
    const change = (at: number, value: number) => {
      const bytes = frame(Buffer.from('content'));
      bytes[at] = value;
      return open(bytes);
    };
    await expect(change(4, 0x08)).rejects.toThrow('reserved bit');
    await expect(change(6, (7 << 3) | 7)).rejects.toThrow('block of type 3');
    await expect(change(4, 0x01)).rejects.toThrow('dictionary');
    await expect(change(5, 0xff)).rejects.toMatchObject({ code: 'ERR_LAYER_LIMIT' });
  });

  it.skipIf(!hasZstd)('opens what the program zstd has made', async () => {
    const options = [
      ['-1'],
      ['-3'],
      ['-19'],
      ['-3', '--no-check'],
      ['-3', `--stream-size=${sample.length}`],
      ['-T2', '-B100KB'],
    ];
    for (const option of options) {
      const compressed = zstd(sample, ...option);
      for (const size of [1000, compressed.length]) {
        expect((await open(compressed, size)).equals(sample), option.join(' ')).toBe(true);
      }
    }
    expect((await open(zstd(Buffer.alloc(0)))).length).toBe(0);
    const compressed = zstd(sample);
    for (const length of [100, 70_000, compressed.length - 5, compressed.length - 1]) {
      await expect(open(compressed.subarray(0, length))).rejects.toMatchObject({ code: 'ERR_LAYER' });
    }
  });

  it('has the size and the checksum that it says', async () => {
    const content = Buffer.from('content');
    // One segment, its size in a byte, a checksum: the low four bytes of XXH64 (RFC 8878, 3.1.1).
    const checked = Buffer.concat([
      Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x24, content.length, (content.length << 3) | 1, 0, 0]),
      content,
      Buffer.from('fca9c531', 'hex'),
    ]);
    const change = (at: number, value: number) => {
      const bytes = Buffer.from(checked);
      bytes[at] = value;
      return open(bytes);
    };
    expect((await open(Buffer.concat([checked, frame(content)]))).toString()).toBe('contentcontent');
    await expect(change(5, content.length + 1)).rejects.toMatchObject({ code: 'ERR_LAYER' });
    await expect(change(10, 0x78)).rejects.toMatchObject({ code: 'ERR_LAYER' });
    await expect(change(checked.length - 1, 0)).rejects.toMatchObject({ code: 'ERR_LAYER' });
  });

  it('is held to the limits while it comes, and its source’s failure is its own', async () => {
    // A block of four bytes that stands for 128 KiB: 4 GiB of them.
    const block = Buffer.alloc(4);
    block.writeUIntLE(((2 ** 17) << 3) | 2, 0, 3);
    const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]);
    const bomb = Buffer.concat([head, ...Array(2 ** 15).fill(block), frame(Buffer.from('x')).subarray(6)]);
    let bytes = 0;
    const drain = async () => {
      for await (const piece of decompressLayer(pieces(bomb), { limits: { bytes: 2 ** 26, ratio: 2 ** 20 } })) {
        bytes += piece.length;
      }
    };
    await expect(drain()).rejects.toMatchObject({ code: 'ERR_LAYER_LIMIT' });
    expect(bytes).toBe(2 ** 26);
    const failure = new Error('the line was cut');
    async function* broken() {
      yield bomb.subarray(0, 1000);
      throw failure;
    }
    await expect(collect(decompressLayer(broken(), { limits }))).rejects.toBe(failure);
  });

  it.skipIf(!hasZstd)('may refer back as far as 128 MiB', async () => {
    const far = Buffer.concat([sample, Buffer.alloc(40 * 2 ** 20), sample]);
    const compressed = zstd(far, '--long=27', '-1', `--stream-size=${far.length}`);
    expect(compressed.length).toBeLessThan(1.5 * zstd(sample, '-1').length);
    expect((await open(compressed)).equals(far)).toBe(true);
  });

  it.skipIf(!hasZstd)('leaves the event loop its turns', async () => {
    const compressed = zstd(
      Buffer.from(
        randomBytes(2 ** 19)
          .toString('hex')
          .repeat(24),
      ),
    );
    let longest = 0;
    let turns = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
      turns++;
    }, 1);
    await open(compressed);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(3);
    // One piece takes milliseconds; all of it would take most of a second. Between them is a machine that does other work too.
    expect(longest).toBeLessThan(300);
  });
});

describe('a layer', () => {
  it('that is not compressed comes as it is', async () => {
    expect((await open(sample, 999)).equals(sample)).toBe(true);
    expect((await open(Buffer.alloc(0))).length).toBe(0);
  });

  it('is what its media type says', async () => {
    const oci = 'application/vnd.oci.image.layer.v1.tar';
    const docker = 'application/vnd.docker.image.rootfs.diff.tar';
    const gzip = gzipSync('x');
    const zst = frame(Buffer.from('x'));
    const plain = Buffer.from('xxxxx');
    for (const [bytes, type] of [
      [gzip, `${oci}+gzip`],
      [gzip, `${docker}.gzip`],
      [zst, `${oci}+zstd`],
      [plain, oci],
    ] as const) {
      expect((await open(bytes, undefined, type))[0]).toBe(0x78);
    }
    for (const [bytes, type] of [
      [gzip, `${oci}+zstd`],
      [gzip, oci],
      [zst, `${docker}.gzip`],
      [plain, `${oci}+gzip`],
      [gzip, 'text/plain'],
    ] as const) {
      await expect(open(bytes, undefined, type), type).rejects.toMatchObject({ code: 'ERR_LAYER' });
    }
  });

  it('whose source fails is that failure, and the source is closed when nobody wants more', async () => {
    const failure = new Error('the line was cut');
    async function* broken() {
      yield gzipSync(sample).subarray(0, 1000);
      throw failure;
    }
    await expect(collect(decompressLayer(broken(), { limits }))).rejects.toBe(failure);
    for (const bytes of [gzipSync(sample), sample, Buffer.concat(Array(50).fill(frame(Buffer.alloc(100_000))))]) {
      let closed = false;
      async function* source() {
        try {
          yield* pieces(bytes, 10_000);
        } finally {
          closed = true;
        }
      }
      for await (const piece of decompressLayer(source(), { limits })) {
        expect(piece.length).toBeGreaterThan(0);
        break;
      }
      expect(closed).toBe(true);
    }
  });
});

describe('compressing', () => {
  it('gives the same bytes each time, which others open', async () => {
    const compressed = await collect(compressLayer(pieces(sample, 10_000), 'gzip'));
    expect(gunzipSync(compressed).equals(sample)).toBe(true);
    expect((await collect(compressLayer(pieces(sample, 999), 'gzip'))).equals(compressed)).toBe(true);
    // Neither flags nor a time (RFC 1952).
    expect([...compressed.subarray(0, 8)]).toEqual([0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    const fast = await collect(compressLayer(pieces(sample), 'gzip', { level: 1 }));
    expect(fast.length).toBeGreaterThan(compressed.length);
    expect((await open(fast)).equals(sample)).toBe(true);
    expect((await collect(compressLayer(pieces(sample), 'none'))).equals(sample)).toBe(true);
  });

  it('refuses a level that is none', () => {
    expect(() => compressLayer(pieces(sample), 'gzip', { level: 10 })).toThrow('option level');
  });

  it('with zstd is Node’s, or unsupported', async () => {
    if (!nodeZstd.createZstdCompress) {
      expect(() => compressLayer(pieces(sample), 'zstd')).toThrow(/hint: Node 22.15/);
      return;
    }
    const compressed = await collect(compressLayer(pieces(sample, 10_000), 'zstd'));
    expect(compressed.length).toBeLessThan(sample.length);
    expect((await open(compressed)).equals(sample)).toBe(true);
  });
});
