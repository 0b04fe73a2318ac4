/**
 * Requests to registries over undici: one pool of connections for each origin, through a proxy where one is chosen. Redirects
 * are followed here and not there, since what is sent on, and where to, is decided at each hop (rows J1, J6, J10).
 */

import type { Readable } from 'node:stream';
import { type Dispatcher, Pool, ProxyAgent } from 'undici';
import { ImageError } from '../../errors.js';
import { connectionFailure } from './failure.js';
import { type Endpoint, mayBePlain, type RegistrySettings, tlsOf } from './settings.js';

export interface Request {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** For this origin alone. */
  readonly authorization?: string | undefined;
  readonly body?: Uint8Array | Readable | undefined;
  /** What is being done, for errors: `fetching sha256:…`. */
  readonly doing: string;
  readonly signal: AbortSignal;
  /** Milliseconds until an answer begins, where that is more than the others: a registry that verifies a whole blob. */
  readonly patience?: number;
}

export interface Response {
  readonly status: number;
  readonly url: URL;
  header(name: string): string | undefined;
  /** All values of a header that may come several times. */
  headers(name: string): readonly string[];
  readonly body: Readable;
}

const mostRedirects = 5;
const redirects = new Set([301, 302, 303, 307, 308]);

export class Transport {
  readonly #pools = new Map<string, Dispatcher>();

  constructor(
    readonly settings: RegistrySettings,
    readonly endpoint: Endpoint,
  ) {}

  /** Sends a request; those that only read follow redirects. The body of the answer must be read or destroyed. */
  async send(request: Request): Promise<Response> {
    let { url, authorization } = request;
    const follows = request.method === 'GET' || request.method === 'HEAD';
    for (let hop = 0; ; hop++) {
      this.check(url, request.doing);
      const response = await this.#once(request, url, authorization);
      if (!follows || !redirects.has(response.status)) return response;
      discard(response);
      const next = this.resolve(response, request.doing);
      if (hop === mostRedirects) {
        throw new ImageError('ERR_REGISTRY', `${request.doing}: more than ${mostRedirects} redirects`, {
          status: response.status,
        });
      }
      // Once away from the origin that it is for, it is gone, also if a later hop leads back.
      if (next.origin !== url.origin) authorization = undefined;
      url = next;
    }
  }

  /** Where an answer's `Location` leads. */
  resolve(response: Response, doing: string): URL {
    const location = response.header('location');
    if (location === undefined || !URL.canParse(location, response.url.href)) {
      throw new ImageError(
        'ERR_REGISTRY',
        `${doing}: the registry answered ${response.status} without a valid Location`,
        {
          status: response.status,
        },
      );
    }
    const url = new URL(location, response.url);
    this.check(url, doing);
    return url;
  }

  /** @throws ImageError `ERR_REGISTRY` for an address that nothing is sent to */
  check(url: URL, doing: string): void {
    const plain = url.protocol === 'http:' && mayBePlain(url, this.endpoint, this.settings);
    if (url.username === '' && url.password === '' && (url.protocol === 'https:' || plain)) return;
    throw new ImageError('ERR_REGISTRY', `${doing}: ${url.protocol}//${url.host} is not asked`, {
      hint:
        url.protocol === 'http:'
          ? `http is only spoken to hosts that are listed in \`insecure\``
          : 'only https without credentials in the address is followed',
    });
  }

  async #once(request: Request, url: URL, authorization: string | undefined): Promise<Response> {
    const { method, headers, body = null, signal, doing, patience } = request;
    try {
      const response = await this.#pool(url).request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: {
          'user-agent': 'tscontain',
          'accept-encoding': 'identity',
          ...headers,
          ...(authorization !== undefined && { authorization }),
        },
        body,
        signal,
        ...(patience !== undefined && { headersTimeout: patience }),
      });
      const all = (name: string): readonly string[] => [response.headers[name] ?? []].flat();
      return {
        status: response.statusCode,
        url,
        headers: all,
        // Of a header that should come once and comes twice, no value is meant.
        header: (name) => (all(name).length === 1 ? all(name)[0] : undefined),
        body: response.body,
      };
    } catch (error) {
      throw connectionFailure(error, doing, signal);
    }
  }

  #pool(url: URL): Dispatcher {
    const known = this.#pools.get(url.origin);
    if (known) return known;
    const { settings } = this;
    const { connect: timeout, idle } = settings;
    const { ca, cert, key, passphrase } = tlsOf(url, settings) ?? {};
    const pem = (content: string | Uint8Array): string => Buffer.from(content as Uint8Array).toString();
    const connect = {
      timeout,
      ...(ca !== undefined && { ca: pem(ca) }),
      ...(cert !== undefined && { cert: pem(cert) }),
      ...(key !== undefined && { key: pem(key) }),
      ...(passphrase !== undefined && { passphrase }),
    };
    const common = { connections: settings.parallel + 2, headersTimeout: idle, bodyTimeout: idle };
    const proxy = settings.proxy(url);
    const pool =
      proxy === undefined
        ? new Pool(url.origin, { ...common, connect })
        : new ProxyAgent({
            ...common,
            uri: proxy.href,
            requestTls: connect,
            proxyTls: { timeout },
            proxyTunnel: url.protocol === 'https:',
          });
    this.#pools.set(url.origin, pool);
    return pool;
  }

  /** Closes all connections; what still runs on them fails. */
  async close(): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }
}

/** Leaves the rest of an answer unread. */
export function discard({ body }: Response): void {
  body.on('error', () => {});
  body.destroy();
}

/** A small answer as a whole. @throws ImageError `code` if it has more bytes */
export async function readAll(
  response: Response,
  most: number,
  doing: string,
  signal: AbortSignal,
  code: `ERR_${string}` = 'ERR_REGISTRY',
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > most) throw new ImageError(code, `${doing}: more than ${most} bytes came`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw connectionFailure(error, doing, signal);
  }
  return Buffer.concat(chunks);
}
