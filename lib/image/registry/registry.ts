/** A registry by itself: what it has, without an image being fetched. */

import { ImageError } from '../../errors.js';
import type { Digest } from '../digest.js';
import { parseReference } from '../reference.js';
import { RepositoryClient } from './client.js';
import type { RegistryOptions } from './options.js';
import { endpointOf, type RegistrySettings, readHost, readRegistryOptions } from './settings.js';
import { type Response, readAll } from './transport.js';

const largestPage = 4 * 1024 * 1024;
const mostPages = 1000;

/**
 * A registry of images. It keeps nothing open between calls.
 *
 * ```ts
 * import { Registry } from 'tscontain';
 *
 * const registry = new Registry('localhost:5000', { insecure: ['localhost:5000'] });
 * for (const tag of await registry.tags('library/debian')) console.log(tag);
 * ```
 */
export class Registry {
  /** Such as `docker.io` or `localhost:5000`. */
  readonly host: string;
  readonly #settings: RegistrySettings;

  /** @throws OptionError */
  constructor(host: string, options: RegistryOptions = {}) {
    this.host = readHost(host, 'host');
    this.#settings = readRegistryOptions(options);
  }

  /**
   * All tags of a repository, in the registry's order (OCI distribution-spec, "Listing Tags").
   * @throws ImageError `ERR_NOT_FOUND`, `ERR_UNAUTHORIZED`, `ERR_REGISTRY`, `ERR_TIMEOUT`; AbortedError
   */
  tags(repository: string, options: { readonly signal?: AbortSignal } = {}): Promise<string[]> {
    return this.#with(repository, options.signal, async (client) => {
      const doing = `listing the tags of ${client.place}`;
      const tags: string[] = [];
      let url: URL | undefined = client.url('tags/list');
      for (let page = 0; url !== undefined; page++) {
        if (page === mostPages) throw new ImageError('ERR_REGISTRY', `${doing}: more than ${mostPages} pages`);
        const response: Response = await client.expect({ method: 'GET', url, doing }, client.pull, [200]);
        tags.push(...readTags(await readAll(response, largestPage, doing, client.signal), doing));
        url = nextPage(response);
      }
      return tags;
    });
  }

  /**
   * The digest that a tag has now; undefined if there is no such tag.
   * @throws ImageError `ERR_UNAUTHORIZED`, `ERR_REGISTRY`, `ERR_TIMEOUT`; AbortedError
   */
  async resolve(
    repository: string,
    tag: string,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<Digest | undefined> {
    parseReference(`${this.host}/${repository}:${tag}`, 'tag');
    return await this.#with(repository, options.signal, async (client) => {
      try {
        return (await client.resolve(tag)) ?? (await client.manifest(tag)).digest;
      } catch (error) {
        if (error instanceof ImageError && error.code === 'ERR_NOT_FOUND') return undefined;
        throw error;
      }
    });
  }

  async #with<T>(
    repository: string,
    signal: AbortSignal | undefined,
    action: (client: RepositoryClient) => Promise<T>,
  ): Promise<T> {
    const name = parseReference(`${this.host}/${repository}`, 'repository').repository;
    const endpoint = endpointOf(this.host, this.#settings);
    const client = new RepositoryClient(this.#settings, endpoint, name, signal);
    try {
      return await action(client);
    } finally {
      await client.close();
    }
  }
}

function readTags(bytes: Uint8Array, doing: string): string[] {
  let tags: unknown;
  try {
    // A repository without tags has null there.
    tags = (JSON.parse(Buffer.from(bytes).toString()) as { tags?: unknown } | null)?.tags ?? [];
  } catch {
    tags = undefined;
  }
  if (
    Array.isArray(tags) &&
    tags.every((tag): tag is string => typeof tag === 'string' && /^\w[\w.-]{0,127}$/.test(tag))
  ) {
    return tags;
  }
  throw new ImageError('ERR_REGISTRY', `${doing}: the answer is no list of tags`);
}

/** `Link: </v2/…?last=…>; rel="next"` (RFC 8288), on the same origin. */
function nextPage(response: Response): URL | undefined {
  const target = /^\s*<([^>]*)>\s*;\s*rel="?next"?\s*$/i.exec(response.header('link') ?? '')?.[1];
  if (target === undefined || !URL.canParse(target, response.url.href)) return undefined;
  const url = new URL(target, response.url);
  return url.origin === response.url.origin ? url : undefined;
}
