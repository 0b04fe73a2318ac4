import { describe, expect, it } from 'vitest';
import { OptionError } from '../../../lib/errors.js';
import {
  type Candidate,
  formatPlatform,
  hostPlatform,
  parsePlatform,
  selectPlatform,
} from '../../../lib/image/platform.js';

const parse = (text: string) => formatPlatform(parsePlatform(text));

describe('a platform', () => {
  it.each([
    ['linux/amd64', 'linux/amd64'],
    ['linux/x86_64', 'linux/amd64'],
    ['Linux/AMD64/v1', 'linux/amd64'],
    ['linux/amd64/v3', 'linux/amd64/v3'],
    ['arm64', 'linux/arm64'],
    ['linux/aarch64/8', 'linux/arm64'],
    ['linux/arm64/v9', 'linux/arm64/v9'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/arm/6', 'linux/arm/v6'],
    ['armhf', 'linux/arm/v7'],
    ['linux/armel', 'linux/arm/v6'],
    ['i386', 'linux/386'],
    ['macos/arm64', 'darwin/arm64'],
  ])('%s is %s', (text, meant) => {
    expect(parse(text)).toBe(meant);
    expect(parse(meant)).toBe(meant);
  });

  it.each(['', '/', 'linux/', 'linux/amd64/v1/x', 'linux/a b', '../x', 7, null])('is not %j', (value) => {
    expect(() => parsePlatform(value)).toThrow(OptionError);
  });

  it('of this host is one of Linux', () => {
    expect(hostPlatform().os).toBe('linux');
    if (process.arch === 'x64') expect(hostPlatform()).toEqual({ os: 'linux', architecture: 'amd64' });
  });
});

/** An entry of an index, as far as choosing goes, with a name to know it by. */
interface Entry extends Candidate {
  readonly name: string;
}

describe('the choice from an index', () => {
  const entry = (platform: string, name = platform) => ({ platform: parsePlatform(platform), name });
  const choose = (wanted: string, ...entries: Entry[]) =>
    selectPlatform(entries, parsePlatform(wanted), 'the index').name;

  it('is the platform itself', () => {
    expect(choose('linux/amd64', entry('linux/arm64'), entry('linux/amd64'), entry('linux/386'))).toBe('linux/amd64');
    expect(choose('linux/arm64', entry('linux/arm64/v8'), entry('linux/amd64'))).toBe('linux/arm64/v8');
  });

  it('is the next older generation', () => {
    const all = ['v5', 'v6', 'v7'].map((variant) => entry(`linux/arm/${variant}`));
    expect(choose('linux/arm/v8', ...all)).toBe('linux/arm/v7');
    expect(choose('linux/arm', ...all)).toBe('linux/arm/v7');
    expect(choose('linux/arm/v6', ...all)).toBe('linux/arm/v6');
    expect(choose('linux/amd64/v3', entry('linux/amd64'), entry('linux/amd64/v2'), entry('linux/amd64/v4'))).toBe(
      'linux/amd64/v2',
    );
  });

  it('is never a newer generation, nor another architecture', () => {
    const missing = expect.objectContaining({ code: 'ERR_NOT_FOUND' });
    expect(() => choose('linux/arm/v6', entry('linux/arm/v7'))).toThrow(missing);
    expect(() => choose('linux/amd64', entry('linux/amd64/v2'))).toThrow(missing);
    expect(() => choose('linux/amd64', entry('linux/386'), entry('windows/amd64'))).toThrow(
      /the index has no image for linux\/amd64 .*it has linux\/386, windows\/amd64/,
    );
  });

  it('is the first of equals', () => {
    expect(choose('linux/amd64', entry('linux/amd64', 'a'), entry('linux/amd64', 'b'))).toBe('a');
  });

  it('is never an attestation', () => {
    const unknown = entry('unknown/unknown');
    const named = { ...entry('linux/amd64'), annotations: { 'vnd.docker.reference.type': 'attestation-manifest' } };
    expect(() => choose('linux/amd64', unknown, named)).toThrow(/it has no images at all/);
    expect(() => choose('unknown/unknown', unknown)).toThrow(/it has no images at all/);
    expect(choose('linux/amd64', named, entry('linux/amd64', 'real'))).toBe('real');
  });

  it('is one that does not say only if there is no other', () => {
    expect(choose('linux/amd64', { name: 'silent' })).toBe('silent');
    expect(choose('linux/amd64', { name: 'silent' }, entry('unknown/unknown'))).toBe('silent');
    expect(() => choose('linux/amd64', { name: 'silent' }, entry('linux/arm64'))).toThrow(/one that does not say/);
  });
});
