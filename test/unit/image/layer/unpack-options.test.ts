/** Options of unpacking: whatever cannot be meant is refused by name, before anything starts. */

import { describe, expect, it } from 'vitest';
import { unpackArchive, unpackLayer } from '../../../../lib/image/layer/unpack.js';
import { readDirectories, readUnpackSettings } from '../../../../lib/image/layer/unpack-options.js';
import { OptionError } from '../../../../lib/index.js';

async function* nothing(): AsyncGenerator<Uint8Array> {}

const untyped = unpackLayer as (...args: unknown[]) => Promise<unknown>;

async function refused(options: unknown, option: string, expected: string | RegExp): Promise<void> {
  const error: unknown = await untyped(nothing(), '/nonexistent', [], options).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(OptionError);
  expect(error).toMatchObject({ code: 'ERR_OPTION', option, expected: expect.stringMatching(expected) });
  expect(String(error)).toContain(`option ${option}: expected`);
}

describe('options of unpackLayer', () => {
  it('have defaults', () => {
    expect(readUnpackSettings('layer', undefined)).toEqual({
      mode: 'layer',
      limits: { bytes: 64 * 2 ** 30, entries: 2 ** 20, depth: 256, header: 2 ** 20 },
      devices: 'refuse',
      fileCapabilities: false,
      signal: undefined,
      onProgress: undefined,
    });
  });

  it('are taken as they are given', () => {
    const { signal } = new AbortController();
    const onProgress = () => {};
    const given = {
      limits: { bytes: 1, entries: 2 ** 31 - 1, depth: 1, header: 2 ** 20 },
      devices: 'skip',
      fileCapabilities: true,
      signal,
      onProgress,
    };
    expect(readUnpackSettings('layer', given)).toEqual({ mode: 'layer', ...given });
  });

  it('K5: limits are whole numbers of their range', async () => {
    const most = { bytes: 2 ** 50, entries: 2 ** 31 - 1, depth: 256, header: 2 ** 20 };
    for (const [name, max] of Object.entries(most)) {
      const wrong = [Number.NaN, Infinity, -Infinity, -1, 0, -0, 0.5, max + 1, '1', 1n, true, null, [], {}];
      for (const value of wrong) {
        await refused({ limits: { [name]: value } }, `limits.${name}`, `from 1 to ${max}`);
      }
    }
  });

  it('are plain objects with known keys', async () => {
    for (const options of [null, 1, 'x', [], new Map(), () => {}]) await refused(options, 'options', 'a plain object');
    for (const limits of [null, 1, 'x', []]) await refused({ limits }, 'limits', 'a plain object');
    await refused({ limit: {} }, 'limit', 'a known option');
    await refused({ limits: { byte: 1 } }, 'limits.byte', 'a known option');
    await refused({ limits: { ratio: 1 } }, 'limits.ratio', 'a known option');
    await refused(JSON.parse('{"__proto__": 1}'), '__proto__', 'a known option');
  });

  it('have words, functions and signals of their kinds', async () => {
    for (const devices of ['Skip', 'allow', true, null]) await refused({ devices }, 'devices', "'refuse' or 'skip'");
    for (const fileCapabilities of [0, 1, 'true', null])
      await refused({ fileCapabilities }, 'fileCapabilities', 'true or false');
    for (const signal of [{}, null, new AbortController()]) await refused({ signal }, 'signal', 'an AbortSignal');
    for (const onProgress of [{}, null, 'log']) await refused({ onProgress }, 'onProgress', 'a function');
  });

  it('are read once', () => {
    let reads = 0;
    const limits = {
      get bytes() {
        return reads++ === 0 ? 5 : Number.NaN;
      },
    };
    expect(readUnpackSettings('layer', { limits }).limits.bytes).toBe(5);
  });
});

describe('what is unpacked, and where', () => {
  it('is an async iterable', async () => {
    for (const tar of [undefined, null, 'x', new Uint8Array(1024), [], { [Symbol.iterator]: () => [] }])
      await expect(untyped(tar, '/nonexistent', [])).rejects.toMatchObject({ code: 'ERR_OPTION', option: 'tar' });
  });

  it('has a directory, and those of the layers below', async () => {
    for (const directory of [undefined, null, '', 5, 'a\0b', Buffer.from('/x')])
      expect(() => readDirectories(directory, []), String(directory)).toThrow(OptionError);
    for (const parents of [undefined, null, '/x', new Set()])
      expect(() => readDirectories('/x', parents)).toThrow(expect.objectContaining({ option: 'parents' }));
    expect(() => readDirectories('/x', ['/a', ''])).toThrow(expect.objectContaining({ option: 'parents[1]' }));
    expect(readDirectories('/x', ['/a', '/b'])).toEqual(['/x', '/a', '/b']);
  });

  it('is refused with more layers below than an overlay can have', () => {
    const parents = (count: number) => Array.from({ length: count }, (_, index) => `/${index}`);
    expect(readDirectories('/x', parents(499))).toHaveLength(500);
    expect(() => readDirectories('/x', parents(500))).toThrow(expect.objectContaining({ code: 'ERR_LAYER' }));
  });
});

describe('options of unpackArchive', () => {
  it('are those of any archive', async () => {
    const archive = unpackArchive as (...args: unknown[]) => Promise<unknown>;
    for (const options of [{ devices: 'skip' }, { fileCapabilities: true }, { limits: { entries: Number.NaN } }])
      await expect(archive(nothing(), '/nonexistent', options)).rejects.toBeInstanceOf(OptionError);
    expect(readUnpackSettings('archive', { limits: { entries: 3 } }).limits.entries).toBe(3);
  });
});
