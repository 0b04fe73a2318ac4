/** Requests about one repository of one endpoint (OCI distribution-spec 1.1), each authorized, and checked in what comes back. */

import type { Readable } from 'node:stream';
import { ImageError } from '../../errors.js';
import { type Digest, digestOf, parseDigest } from '../digest.js';
import { schema1 } from '../document/manifest.js';
import { isSchema1Type } from '../document/media-types.js';
import { Authorization, authorized, type Scope } from './authorization.js';
import { Deadline } from './deadline.js';
import { statusFailure } from './failure.js';
import { retrying } from './retry.js';
import type { Endpoint, RegistrySettings } from './settings.js';
import { discard, type Request, type Response, readAll, Transport } from './transport.js';

/** Bytes of a manifest, as registries bound it too ("Pushing Manifests"). */
export const largestManifest = 4 * 1024 * 1024;

/** Media types that are asked for; a registry converts to older ones otherwise. */
const accepted = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
].join(', ');

/** A manifest or an index as it came, its digest computed. */
export interface Document {
  readonly bytes: Buffer;
  readonly digest: Digest;
  /** Of `Content-Type`, without parameters. */
  readonly mediaType: string | undefined;
}

type Asked = Pick<Request, 'method' | 'url' | 'doing'> & Partial<Pick<Request, 'headers' | 'patience'>>;

export class RepositoryClient {
  readonly transport: Transport;
  readonly #deadline: Deadline;
  readonly #authorization: Authorization;

  constructor(
    readonly settings: RegistrySettings,
    readonly endpoint: Endpoint,
    readonly repository: string,
    signal: AbortSignal | undefined,
  ) {
    this.#deadline = new Deadline(signal, undefined, `asking ${endpoint.host}`);
    this.transport = new Transport(settings, endpoint);
    this.#authorization = new Authorization(this.transport, repository);
  }

  /** Ends every request of this client. */
  get signal(): AbortSignal {
    return this.#deadline.signal;
  }

  /** Ends what runs, since a part of it has failed. */
  cancel(reason: unknown): void {
    this.#deadline.cancel(reason);
  }

  /** The repository's name as this endpoint has it. */
  get name(): string {
    return `${this.endpoint.prefix}${this.repository}`;
  }

  get pull(): Scope {
    return `repository:${this.name}:pull`;
  }

  get push(): Scope {
    return `repository:${this.name}:pull,push`;
  }

  /** `path` below the repository. Its parts are tags, digests or fixed words, all of which stand for themselves in a URL. */
  url(path: string): URL {
    return new URL(`/v2/${this.name}/${path}`, this.endpoint.origin);
  }

  /** Where this is, for errors: `registry.example/name`. */
  get place(): string {
    return `${this.endpoint.host}/${this.name}`;
  }

  /** One request with authorization. @param body made anew if it has to be sent again */
  send(asked: Asked, scope: Scope, body?: () => Uint8Array | Readable): Promise<Response> {
    const { signal, transport } = this;
    return authorized(this.#authorization, scope, signal, (authorization) => {
      // What a Location leads to may be another origin, which gets no credentials.
      const own = asked.url.origin === this.endpoint.origin;
      return transport.send({ ...asked, signal, body: body?.(), authorization: own ? authorization : undefined });
    });
  }

  /** Sends until the answer has one of these statuses, again if it may pass. @throws ImageError for any other */
  expect(asked: Asked, scope: Scope, statuses: readonly number[], body?: () => Uint8Array): Promise<Response> {
    return retrying(this.settings.retries, this.signal, async () => {
      const response = await this.send(asked, scope, body);
      return statuses.includes(response.status) ? response : await this.fail(response, asked.doing);
    });
  }

  /** Reads why a request was refused. @throws ImageError always */
  async fail(response: Response, doing: string): Promise<never> {
    const bytes = await readAll(response, 64 * 1024, doing, this.signal).catch(() => Buffer.alloc(0));
    throw statusFailure(response.status, doing, bytes, response.header('retry-after'));
  }

  /** The digest that the registry has for a tag; undefined if it does not say. */
  async resolve(reference: string): Promise<Digest | undefined> {
    const doing = `resolving ${reference} of ${this.place}`;
    const request = { method: 'HEAD', url: this.url(`manifests/${reference}`), headers: { accept: accepted } } as const;
    const response = await this.expect({ ...request, doing }, this.pull, [200]);
    discard(response);
    const said = response.header('docker-content-digest');
    return said === undefined ? undefined : parseDigest(said, doing);
  }

  /**
   * A manifest or index by tag or digest, verified against the digest that was asked for and the one that the registry says.
   * @throws ImageError `ERR_DIGEST`, `ERR_MANIFEST` if it is too large
   */
  manifest(reference: string, digest?: Digest): Promise<Document> {
    const doing = `fetching the manifest ${reference} of ${this.place}`;
    const url = this.url(`manifests/${reference}`);
    return retrying(this.settings.retries, this.signal, async () => {
      const response = await this.send({ method: 'GET', url, headers: { accept: accepted }, doing }, this.pull);
      if (response.status !== 200) return await this.fail(response, doing);
      const length = Number(response.header('content-length') ?? 0);
      if (length > largestManifest) {
        discard(response);
        throw new ImageError(
          'ERR_MANIFEST',
          `${doing}: it has ${length} bytes, and at most ${largestManifest} are read`,
        );
      }
      const mediaType = response.header('content-type')?.split(';')[0]?.trim();
      // The digest of a signed document is not that of its bytes; what is wrong with it is its age.
      if (mediaType !== undefined && isSchema1Type(mediaType)) {
        discard(response);
        throw schema1({ name: `the manifest ${reference} of ${this.place}`, code: 'ERR_MANIFEST' });
      }
      const bytes = await readAll(response, largestManifest, doing, this.signal, 'ERR_MANIFEST');
      const said = response.header('docker-content-digest');
      const expected = [digest, said === undefined ? undefined : parseDigest(said, doing)];
      return { bytes, digest: verified(bytes, expected, doing), mediaType };
    });
  }

  /** Whether the repository has the blob. */
  async hasBlob(digest: Digest): Promise<boolean> {
    const doing = `looking for ${digest} in ${this.place}`;
    const response = await this.expect(
      { method: 'HEAD', url: this.url(`blobs/${digest}`), doing },
      this.push,
      [200, 404],
    );
    discard(response);
    return response.status === 200;
  }

  close(): Promise<void> {
    this.#deadline.close();
    return this.transport.close();
  }
}

/** The digest of the bytes, which must be each one that was expected. */
function verified(bytes: Buffer, expected: readonly (Digest | undefined)[], doing: string): Digest {
  for (const wanted of expected) {
    if (wanted === undefined) continue;
    const found = digestOf(bytes, wanted.startsWith('sha512:') ? 'sha512' : 'sha256');
    if (found === wanted) continue;
    throw new ImageError('ERR_DIGEST', `${doing}: its digest is ${found} and should be ${wanted}`);
  }
  return expected[0] ?? digestOf(bytes);
}
