import { describe, expect, it } from 'vitest';
import { entryHeader, tarArchive } from '../../../../lib/image/save/tar.js';

async function collect(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of content) parts.push(part);
  return Buffer.concat(parts);
}

describe('an archive of an image', () => {
  it('says how large a file of 8 GiB is in a pax header', () => {
    const header = entryHeader('blobs/sha256/x', 8 ** 11);
    expect(header.length).toBe(3 * 512);
    expect(header.subarray(512, 1024).toString().replace(/\0+$/, '')).toBe('19 size=8589934592\n');
    expect(entryHeader('blobs/sha256/x', 8 ** 11 - 1).length).toBe(512);
  });

  it('has exactly as many bytes of a file as were announced', async () => {
    const write = (size: number) => collect(tarArchive([{ name: 'a', size, content: Buffer.from('abc') }]));
    await expect(write(4)).rejects.toThrow(/3 bytes where 4/);
    await expect(write(2)).rejects.toThrow(/3 bytes where 2/);
    expect((await write(3)).length % 512).toBe(0);
  });

  it('has only names that every reader takes for the same', async () => {
    for (const name of ['', 'a'.repeat(101), 'a b', 'ü', 'a\n']) expect(() => entryHeader(name, 0)).toThrow(/no name/);
    expect(entryHeader('a'.repeat(100), 0).length).toBe(512);
  });
});
