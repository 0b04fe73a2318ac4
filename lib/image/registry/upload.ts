/**
 * Blobs and manifests to a registry (OCI distribution-spec, "Push"): what it has is not sent, what another of its repositories
 * has is mounted, and an upload that broke off goes on where the registry says that it is.
 */

import { Readable } from 'node:stream';
import { ImageError } from '../../errors.js';
import type { Digest } from '../digest.js';
import { type OnProgress, ProgressMeter } from '../progress.js';
import type { RepositoryClient } from './client.js';
import type { Content } from './download.js';
import { TransientError } from './failure.js';
import { Attempts } from './retry.js';
import { discard, type Response } from './transport.js';

/** The bytes of a blob, from a position up to another one. */
export type ReadBlob = (start: number, end: number) => AsyncIterable<Uint8Array>;

export interface UploadOptions {
  /** Repositories of the same registry that may have the blob. */
  readonly mountFrom: readonly string[];
  /** Bytes of one request; undefined: all in one. */
  readonly chunkSize: number | undefined;
  readonly onProgress: OnProgress | undefined;
}

/** Until a registry has verified and moved what was sent. */
const patience = 600_000;

/** Sends a blob, unless the repository has it or can take it from another one. */
export async function uploadBlob(
  client: RepositoryClient,
  content: Content,
  read: ReadBlob,
  options: UploadOptions,
): Promise<void> {
  const { digest, size: total } = content;
  if (await client.hasBlob(digest)) return options.onProgress?.({ phase: 'exists', digest, total });
  let session: URL | undefined;
  for (const from of options.mountFrom) {
    const answer = await mount(client, digest, from);
    if (answer === 'mounted') return options.onProgress?.({ phase: 'mounted', digest, total });
    session = answer ?? session;
  }
  await new Upload(client, content, read, options).run(session);
  options.onProgress?.({ phase: 'uploaded', digest, total });
}

/**
 * Takes a blob over from another repository. That is a favour: whoever may not read there, or asks a registry that knows no mounts,
 * sends the blob.
 * @returns the session of an upload that the registry has begun instead; undefined if it has refused
 */
async function mount(client: RepositoryClient, digest: Digest, from: string): Promise<'mounted' | URL | undefined> {
  const doing = `mounting ${digest} from ${from} in ${client.place}`;
  const url = client.url('blobs/uploads/');
  url.searchParams.set('mount', digest);
  url.searchParams.set('from', from);
  const scope = `${client.push} repository:${from}:pull`;
  try {
    const response = await client.expect({ method: 'POST', url, doing }, scope, [201, 202]);
    discard(response);
    return response.status === 201 ? 'mounted' : client.transport.resolve(response, doing);
  } catch (error) {
    if (error instanceof ImageError && error.status !== undefined && error.status < 500) return undefined;
    throw error;
  }
}

class Upload {
  readonly #doing: string;
  readonly #meter: ProgressMeter;
  /** Bytes that the registry has. */
  #offset = 0;
  #least = 0;

  constructor(
    readonly client: RepositoryClient,
    readonly content: Content,
    readonly read: ReadBlob,
    readonly options: UploadOptions,
  ) {
    this.#doing = `sending ${content.digest} to ${client.place}`;
    this.#meter = new ProgressMeter(options.onProgress);
  }

  async run(begun: URL | undefined): Promise<void> {
    const attempts = new Attempts(this.client.settings.retries, this.client.signal);
    let session = begun;
    for (;;) {
      const before = this.#offset;
      try {
        session ??= await this.#begin();
        await this.#send(session);
        return;
      } catch (error) {
        if (this.#offset > before) attempts.progress();
        await attempts.failed(error);
        session = session && (await this.#state(session));
      }
    }
  }

  async #begin(): Promise<URL> {
    const { client } = this;
    const url = client.url('blobs/uploads/');
    const response = await client.expect({ method: 'POST', url, doing: this.#doing }, client.push, [202]);
    discard(response);
    this.#offset = 0;
    this.#least = Number(response.header('oci-chunk-min-length') ?? 0) || 0;
    return client.transport.resolve(response, this.#doing);
  }

  /** Asks what has arrived. @returns where it goes on; undefined if it has to begin again */
  async #state(session: URL): Promise<URL | undefined> {
    const { client } = this;
    this.#offset = 0;
    try {
      const response = await client.send({ method: 'GET', url: session, doing: this.#doing }, client.push);
      discard(response);
      const arrived = arrivedBytes(response);
      if (response.status !== 204 || arrived === undefined || arrived > this.content.size) return undefined;
      const next = client.transport.resolve(response, this.#doing);
      this.#offset = arrived;
      return next;
    } catch (error) {
      if (client.signal.aborted) throw error;
      return undefined;
    }
  }

  async #send(session: URL): Promise<void> {
    const { content, options, client } = this;
    let location = session;
    const chunk = options.chunkSize === undefined ? undefined : Math.max(options.chunkSize, this.#least);
    // The last request may carry all that is left, unless that is one of several parts.
    while (this.#offset > 0 || chunk !== undefined) {
      if (this.#offset === content.size) break;
      const end = Math.min(content.size, this.#offset + (chunk ?? content.size));
      const headers = {
        'content-type': 'application/octet-stream',
        'content-range': `${this.#offset}-${end - 1}`,
      };
      const response = await this.#transfer('PATCH', location, this.#offset, end, headers);
      if (response.status !== 202) return await this.#failed(response);
      discard(response);
      location = client.transport.resolve(response, this.#doing);
      // A registry may have taken less than it was sent, and says so.
      this.#offset = Math.min(arrivedBytes(response) ?? end, end);
    }
    location.searchParams.set('digest', content.digest);
    const headers = { 'content-type': 'application/octet-stream' };
    const response = await this.#transfer('PUT', location, this.#offset, content.size, headers);
    if (response.status !== 201) return await this.#failed(response);
    discard(response);
  }

  #transfer(
    method: 'PATCH' | 'PUT',
    url: URL,
    start: number,
    end: number,
    headers: Readonly<Record<string, string>>,
  ): Promise<Response> {
    const sized = { ...headers, 'content-length': String(end - start) };
    const asked = { method, url, headers: sized, doing: this.#doing, patience };
    return this.client.send(asked, this.client.push, () => (end === start ? new Uint8Array() : this.#body(start, end)));
  }

  /** The bytes, as long as somebody takes them: `patience` is for a registry that has got all of them. */
  #body(start: number, end: number): Readable {
    const { idle } = this.client.settings;
    const stalled = new TransientError('ERR_TIMEOUT', `${this.#doing}: nothing was taken for ${idle} ms`, {});
    const timer = setTimeout(() => body.destroy(stalled), idle);
    const body = Readable.from(this.#counted(start, end, timer), { objectMode: false });
    body.once('close', () => clearTimeout(timer)).on('error', () => {});
    return body;
  }

  async *#counted(start: number, end: number, timer: NodeJS.Timeout): AsyncGenerator<Uint8Array> {
    const { digest, size: total } = this.content;
    let bytes = start;
    for await (const chunk of this.read(start, end)) {
      bytes += chunk.length;
      timer.refresh();
      this.#meter.report(() => ({ phase: 'uploading', digest, bytes, total }));
      yield chunk;
    }
  }

  async #failed(response: Response): Promise<never> {
    // Sessions end, and a chunk that does not fit what has arrived is refused: its state is asked for, and it goes on.
    if (response.status === 404 || response.status === 416) {
      discard(response);
      const message = `${this.#doing}: the registry answered ${response.status} in the middle of it`;
      throw new TransientError('ERR_REGISTRY', message, { status: response.status });
    }
    return await this.client.fail(response, this.#doing);
  }
}

/** How much a registry has of an upload: `Range: 0-<last>`. One that has nothing may say 0-0, as for one byte. */
function arrivedBytes(response: Response): number | undefined {
  const last = /^(?:bytes=)?0-(\d+)$/.exec(response.header('range') ?? '')?.[1];
  return last === undefined || last === '0' ? undefined : Number(last) + 1;
}

/** Puts a manifest or index under a tag or its digest; what it refers to must be there. */
export async function uploadManifest(
  client: RepositoryClient,
  reference: string,
  document: { readonly bytes: Uint8Array; readonly mediaType: string; readonly digest: Digest },
): Promise<void> {
  const doing = `sending the manifest ${reference} to ${client.place}`;
  const url = client.url(`manifests/${reference}`);
  const headers = { 'content-type': document.mediaType };
  const response = await client.expect(
    { method: 'PUT', url, headers, doing },
    client.push,
    [201],
    () => document.bytes,
  );
  discard(response);
  const said = response.header('docker-content-digest');
  if (said !== undefined && said !== document.digest) {
    throw new ImageError(
      'ERR_DIGEST',
      `${doing}: the registry has ${said.slice(0, 80)} and was sent ${document.digest}`,
    );
  }
}
