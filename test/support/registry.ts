/** Registries for tests: a server in this process that answers as it is told, and a store in memory. */

import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ImageError } from '../../lib/errors.js';
import { type Digest, digestOf } from '../../lib/image/digest.js';
import type { GrowingBlob } from '../../lib/image/registry/download.js';
import type { PullStore } from '../../lib/image/registry/pull.js';
import type { PushStore } from '../../lib/image/registry/push.js';

export type Answer = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;

/** What was asked of a server. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
}

export class TestServer {
  readonly asked: Asked[] = [];

  private constructor(readonly server: Server) {}

  static async start(answer: Answer): Promise<TestServer> {
    const started = new TestServer(
      createServer(async (request, response) => {
        started.asked.push({ method: request.method ?? '', path: request.url ?? '', headers: request.headers });
        const chunks: Buffer[] = [];
        try {
          for await (const chunk of request) chunks.push(chunk);
          answer(request, response, Buffer.concat(chunks));
        } catch {
          response.destroy();
        }
      }),
    );
    started.server.listen(0, '127.0.0.1');
    await once(started.server, 'listening');
    return started;
  }

  get host(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  get paths(): string[] {
    return this.asked.map(({ method, path }) => `${method} ${path}`);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }
}

/** Blobs in memory, with what a store on disk does with beginnings. */
export class MemoryStore implements PullStore, PushStore {
  readonly blobs = new Map<Digest, Buffer>();
  readonly partial = new Map<Digest, Buffer[]>();

  add(bytes: Uint8Array): { digest: Digest; size: number } {
    const digest = digestOf(bytes);
    this.blobs.set(digest, Buffer.from(bytes));
    return { digest, size: bytes.length };
  }

  async hasBlob(digest: Digest): Promise<boolean> {
    return this.blobs.has(digest);
  }

  async putBlob(content: Uint8Array): Promise<unknown> {
    return this.add(content);
  }

  async readBlob(digest: Digest): Promise<Buffer> {
    const bytes = this.blobs.get(digest);
    if (!bytes) throw new Error(`no ${digest}`);
    return bytes;
  }

  async *streamBlob(digest: Digest, start: number, end: number): AsyncGenerator<Buffer> {
    const bytes = await this.readBlob(digest);
    for (let at = start; at < end; at += 65_536) yield bytes.subarray(at, Math.min(end, at + 65_536));
  }

  async partialBlob(digest: Digest, size: number): Promise<GrowingBlob | undefined> {
    const { blobs, partial } = this;
    if (blobs.has(digest)) return undefined;
    const chunks = partial.get(digest) ?? [];
    partial.set(digest, chunks);
    const content = () => Buffer.concat(chunks);
    if (content().length > size) chunks.splice(0);
    return {
      get size() {
        return content().length;
      },
      write: async (bytes) => {
        chunks.push(Buffer.from(bytes));
        if (content().length > size) throw new ImageError('ERR_DIGEST', 'more bytes than there should be');
      },
      reset: async () => void chunks.splice(0),
      finish: async () => {
        partial.delete(digest);
        if (digestOf(content()) !== digest) throw new ImageError('ERR_DIGEST', 'other bytes');
        blobs.set(digest, content());
      },
      close: async () => {},
    };
  }
}

const oci = 'application/vnd.oci.image';

/** A small image, as documents and blobs; its layers need be none to be fetched. */
export function makeImage(
  layers: readonly Buffer[],
  architecture = 'amd64',
): {
  manifest: Buffer;
  mediaType: string;
  digest: Digest;
  blobs: Map<string, Buffer>;
} {
  const config = Buffer.from(
    JSON.stringify({
      architecture,
      os: 'linux',
      rootfs: { type: 'layers', diff_ids: layers.map((layer) => digestOf(layer)) },
    }),
  );
  const describe = (mediaType: string, bytes: Buffer) => ({ mediaType, digest: digestOf(bytes), size: bytes.length });
  const mediaType = `${oci}.manifest.v1+json`;
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: describe(`${oci}.config.v1+json`, config),
      layers: layers.map((layer) => describe(`${oci}.layer.v1.tar`, layer)),
    }),
  );
  const blobs = new Map([config, ...layers].map((bytes) => [digestOf(bytes) as string, bytes]));
  return { manifest, mediaType, digest: digestOf(manifest), blobs };
}

/** Serves an image under every tag, as a registry does that does nothing wrong. */
export function serveImage(image: ReturnType<typeof makeImage>): Answer {
  return (request, response) => {
    const path = request.url ?? '';
    const blob = image.blobs.get(path.slice(path.lastIndexOf('/') + 1));
    if (path.includes('/manifests/')) {
      response.writeHead(200, { 'content-type': image.mediaType, 'docker-content-digest': image.digest });
      response.end(image.manifest);
    } else if (blob) {
      const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
      const range = { 'content-range': `bytes ${start}-${blob.length - 1}/${blob.length}` };
      response.writeHead(start > 0 ? 206 : 200, { 'content-length': blob.length - start, ...(start > 0 && range) });
      response.end(blob.subarray(start));
    } else response.writeHead(404).end();
  };
}

/** Serves an index of images, each for its architecture, under every tag. */
export function serveIndex(images: Readonly<Record<string, ReturnType<typeof makeImage>>>): Answer {
  const mediaType = `${oci}.index.v1+json`;
  const manifests = Object.entries(images).map(([architecture, { manifest, mediaType, digest }]) => ({
    mediaType,
    digest,
    size: manifest.length,
    platform: { os: 'linux', architecture },
  }));
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests }));
  return (request, response, body) => {
    const path = request.url ?? '';
    const asked = path.slice(path.lastIndexOf('/') + 1);
    const all = Object.values(images);
    const image = all.find(
      ({ digest, blobs }) => digest === asked || (!path.includes('/manifests/') && blobs.has(asked)),
    );
    if (image) return serveImage(image)(request, response, body);
    if (!path.includes('/manifests/')) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': mediaType, 'docker-content-digest': digestOf(index) }).end(index);
  };
}
