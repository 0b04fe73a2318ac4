/**
 * One blob from a registry into a store: hashed and counted as it streams past, and resumed where it broke off, also by a later
 * process, since what has come is in a file of the store.
 */

import { ImageError } from '../../errors.js';
import type { Digest } from '../digest.js';
import { gather } from '../layer/incoming.js';
import { type OnProgress, ProgressMeter } from '../progress.js';
import type { RepositoryClient } from './client.js';
import { connectionFailure } from './failure.js';
import { Attempts } from './retry.js';
import { discard, type Response } from './transport.js';

/** Bytes that are written at once: a connection gives a quarter of that at a time. */
const together = 256 * 1024;

/** What is fetched, as a descriptor has it. */
export interface Content {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

/** A blob on its way, in a file that nobody else writes to meanwhile; it verifies what it is given. */
export interface GrowingBlob {
  /** Bytes that are there. */
  readonly size: number;
  /** Appends. @throws ImageError `ERR_DIGEST` for more bytes than there should be */
  write(bytes: Uint8Array): Promise<void>;
  /** Forgets what is there. */
  reset(): Promise<void>;
  /** Makes it a blob of the store. @throws ImageError `ERR_DIGEST` */
  finish(): Promise<void>;
  /** Lets go of it; what is there stays for a later attempt. */
  close(): Promise<void>;
}

/** What a download needs of a store. */
export interface BlobSink {
  /** Waits while another writes it; undefined where the store has it. */
  partialBlob(digest: Digest, size: number, wait: { readonly signal: AbortSignal }): Promise<GrowingBlob | undefined>;
}

/** Bytes after which a broken connection counts as one that got somewhere. */
const gain = 1024 * 1024;

/**
 * Fetches a blob, unless the store has it.
 * @throws ImageError `ERR_DIGEST` for other bytes than the descriptor's, of which nothing is kept
 */
export async function downloadBlob(
  client: RepositoryClient,
  content: Content,
  store: BlobSink,
  onProgress?: OnProgress,
): Promise<void> {
  const { digest, size } = content;
  for (let again = false; ; again = true) {
    const partial = await store.partialBlob(digest, size, { signal: client.signal });
    if (partial === undefined) return onProgress?.({ phase: 'exists', digest, total: size });
    const inherited = partial.size > 0;
    try {
      await new Download(client, content, partial, onProgress).run();
      return onProgress?.({ phase: 'downloaded', digest, total: size });
    } catch (error) {
      // What an earlier process has left may have been damaged; what has all come now is wrong.
      if (!(inherited && !again && isWrong(error))) throw error;
    } finally {
      await partial.close();
    }
  }
}

function isWrong(error: unknown): boolean {
  return error instanceof ImageError && error.code === 'ERR_DIGEST';
}

class Download {
  readonly #doing: string;
  readonly #meter: ProgressMeter;

  constructor(
    readonly client: RepositoryClient,
    readonly content: Content,
    readonly partial: GrowingBlob,
    onProgress: OnProgress | undefined,
  ) {
    this.#doing = `fetching ${content.digest} from ${client.place}`;
    this.#meter = new ProgressMeter(onProgress);
  }

  async run(): Promise<void> {
    const attempts = new Attempts(this.client.settings.retries, this.client.signal);
    for (;;) {
      const before = this.partial.size;
      try {
        await this.#fetch();
        return await this.partial.finish();
      } catch (error) {
        // Nothing of it is for a later attempt.
        if (isWrong(error)) await this.partial.reset();
        if (this.partial.size - before >= gain) attempts.progress();
        await attempts.failed(error);
      }
    }
  }

  async #fetch(): Promise<void> {
    const { client, content, partial } = this;
    if (partial.size === content.size) return;
    const url = client.url(`blobs/${content.digest}`);
    const headers = partial.size > 0 ? { range: `bytes=${partial.size}-` } : {};
    const response = await client.send({ method: 'GET', url, headers, doing: this.#doing }, client.pull);
    if (response.status === 416 && partial.size > 0) {
      discard(response);
      await this.partial.reset();
      return await this.#fetch();
    }
    if (response.status !== 200 && response.status !== 206) return await client.fail(response, this.#doing);
    try {
      await this.#begin(response);
      for await (const piece of gather(response.body as AsyncIterable<Buffer>, together)) {
        await partial.write(piece);
        this.#meter.report(() => ({
          phase: 'downloading',
          digest: content.digest,
          bytes: partial.size,
          total: content.size,
        }));
      }
    } catch (error) {
      throw connectionFailure(error, this.#doing, client.signal);
    } finally {
      discard(response);
    }
  }

  /** Checks that what comes is what was asked for, and goes back to the start where a server knows no ranges. */
  async #begin(response: Response): Promise<void> {
    const { partial, content } = this;
    const encoding = response.header('content-encoding');
    if (encoding !== undefined && encoding !== 'identity') {
      throw new ImageError('ERR_REGISTRY', `${this.#doing}: it came encoded as ${encoding}, which was not asked for`);
    }
    if (response.status === 200) {
      if (partial.size > 0) await this.partial.reset();
    } else {
      const range = /^bytes (\d+)-\d+\/(?:\d+|\*)$/.exec(response.header('content-range') ?? '');
      if (Number(range?.[1] ?? -1) !== partial.size) {
        throw new ImageError('ERR_REGISTRY', `${this.#doing}: another range came than was asked for`);
      }
    }
    const length = response.header('content-length');
    if (length !== undefined && Number(length) !== content.size - partial.size) {
      const problem = `${length} bytes come, and ${content.size - partial.size} should`;
      throw new ImageError('ERR_DIGEST', `${this.#doing}: ${problem}`);
    }
  }
}
