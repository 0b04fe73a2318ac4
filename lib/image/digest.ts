/**
 * Digests: how everything in an image is named (OCI image-spec, descriptor.md, "Digests"). One that came from outside goes
 * through {@link parseDigest} before it is part of a path, a URL or a comparison.
 */

import { createHash, type Hash } from 'node:crypto';
import { ImageError } from '../errors.js';

/** The name of some bytes: an algorithm and the hash in lower-case hex. */
export type Digest = `sha256:${string}` | `sha512:${string}`;

const grammar = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/**
 * Takes a digest from outside.
 * @param what whose it is, for the error: `'the manifest of busybox'`
 * @throws ImageError `ERR_DIGEST` for anything but a registered algorithm with a hash of its length
 */
export function parseDigest(value: unknown, what: string): Digest {
  if (typeof value === 'string' && grammar.test(value)) return value as Digest;
  const shown = typeof value === 'string' ? `'${value.slice(0, 80)}'` : `a ${typeof value}`;
  throw new ImageError('ERR_DIGEST', `${what}: expected a digest such as sha256:<64 hex digits>, got ${shown}`);
}

/** The digest of bytes. */
export function digestOf(bytes: Uint8Array, algorithm: 'sha256' | 'sha512' = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}

/** The hash without its algorithm; a name that is safe as one component of a path. */
export function hexOf(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/**
 * The chain id of a stack of layers: what names an unpacked layer, as that depends on the layers below it
 * (OCI image-spec, config.md, "Layer ChainID").
 * @param diffIds bottom first; at least one
 */
export function chainId(diffIds: readonly [Digest, ...Digest[]]): Digest {
  const [first, ...rest] = diffIds;
  return rest.reduce((below, diffId) => digestOf(Buffer.from(`${below} ${diffId}`)), first);
}

/** Compares bytes that stream past with the digest, and the size, that they should have. */
export class DigestCheck {
  /** Bytes so far. */
  size = 0;
  readonly #hash: Hash;

  constructor(
    readonly expected: Digest,
    readonly expectedSize: number | undefined,
    /** What the bytes are, for the error. */
    readonly what: string,
  ) {
    this.#hash = createHash(expected.startsWith('sha512:') ? 'sha512' : 'sha256');
  }

  /** @throws ImageError `ERR_DIGEST` as soon as there are more bytes than there should be */
  update(chunk: Uint8Array): void {
    this.size += chunk.length;
    if (this.expectedSize !== undefined && this.size > this.expectedSize) {
      throw new ImageError('ERR_DIGEST', `${this.what}: more than the ${this.expectedSize} bytes that it should have`);
    }
    this.#hash.update(chunk);
  }

  /** To be called at the end. @throws ImageError `ERR_DIGEST` for bytes that are missing, or others */
  finish(): void {
    if (this.expectedSize !== undefined && this.size !== this.expectedSize) {
      throw new ImageError('ERR_DIGEST', `${this.what}: ended after ${this.size} of ${this.expectedSize} bytes`);
    }
    const found = this.digest();
    if (found !== this.expected) {
      throw new ImageError('ERR_DIGEST', `${this.what}: its digest is ${found} and should be ${this.expected}`, {
        hint: 'the bytes were changed or damaged on the way; fetch or copy it again',
      });
    }
  }

  /** What the bytes so far have as their digest, of the expected one's algorithm. To be called once, at the end. */
  digest(): Digest {
    return `${this.expected.startsWith('sha512:') ? 'sha512' : 'sha256'}:${this.#hash.digest('hex')}`;
  }
}
