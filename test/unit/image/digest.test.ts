import { describe, expect, it } from 'vitest';
import { ImageError } from '../../../lib/errors.js';
import { chainId, type Digest, DigestCheck, digestOf, hexOf, parseDigest } from '../../../lib/image/digest.js';

const empty: Digest = 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

describe('a digest', () => {
  it('is an algorithm and as many lower-case hex digits as it has', () => {
    expect(parseDigest(empty, 'it')).toBe(empty);
    expect(parseDigest(`sha512:${'a'.repeat(128)}`, 'it')).toBe(`sha512:${'a'.repeat(128)}`);
  });

  it.each([
    'sha256:../x',
    `sha256:${'A'.repeat(64)}`,
    `sha256:${'a'.repeat(63)}`,
    `sha256:${'a'.repeat(64)}\n`,
    `md5:${'a'.repeat(32)}`,
    'a'.repeat(64),
    7,
    null,
  ])('that is %j is refused', (value) => {
    expect(() => parseDigest(value, 'the manifest')).toThrow(
      expect.objectContaining({
        code: 'ERR_DIGEST',
        message: expect.stringMatching(/^the manifest: expected a digest/),
      }),
    );
  });

  it('of nothing is the one that everybody knows', () => {
    expect(digestOf(new Uint8Array(0))).toBe(empty);
    expect(hexOf(empty)).toMatch(/^e3b0c4/);
  });

  it('of one layer is its own chain id; of more it names what is below too', () => {
    expect(chainId([empty])).toBe(empty);
    const other = digestOf(Buffer.from('b'));
    expect(chainId([empty, other])).toBe(digestOf(Buffer.from(`${empty} ${other}`)));
    expect(chainId([empty, other])).not.toBe(chainId([other, empty]));
  });

  it('is compared while the bytes stream past', () => {
    const text = Buffer.from('some bytes');
    const good = new DigestCheck(digestOf(text), text.length, 'it');
    good.update(text.subarray(0, 4));
    good.update(text.subarray(4));
    good.finish();
    const bad = new DigestCheck(empty, undefined, 'it');
    bad.update(text);
    expect(() => bad.finish()).toThrow(ImageError);
    const short = new DigestCheck(digestOf(text), text.length + 1, 'it');
    short.update(text);
    expect(() => short.finish()).toThrow(/ended after 10 of 11 bytes/);
    expect(() => new DigestCheck(empty, 3, 'it').update(text)).toThrow(/more than the 3 bytes/);
  });
});
