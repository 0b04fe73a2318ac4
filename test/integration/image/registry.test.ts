/** Fetching and sending: a server in this process that fails as servers do, and the registry that others use. */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import type { Descriptor } from '../../../lib/image/document/index.js';
import { pullImage } from '../../../lib/image/registry/pull.js';
import { pushImage } from '../../../lib/image/registry/push.js';
import { readRegistryOptions } from '../../../lib/image/registry/settings.js';
import { type ImageProgress, parseReference, Registry, type RegistryOptions } from '../../../lib/index.js';
import { DockerRegistry, type DockerRegistryOptions } from '../../support/docker-registry.js';
import { type Answer, MemoryStore, makeImage, serveImage, TestServer } from '../../support/registry.js';
import { needsPrograms } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';

checkResidue();

const toStop: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of toStop.splice(0)) await each.stop();
});

async function serve(answer: Answer): Promise<TestServer> {
  const server = await TestServer.start(answer);
  toStop.push({ stop: () => server.close() });
  return server;
}

async function startRegistry(options?: DockerRegistryOptions): Promise<DockerRegistry> {
  const registry = await DockerRegistry.start(options);
  toStop.push(registry);
  return registry;
}

const read = (options: RegistryOptions) => readRegistryOptions({ configFile: false, proxy: false, ...options });

function pull(name: string, store: MemoryStore, options: RegistryOptions, events: ImageProgress[] = []) {
  return pullImage(parseReference(name), store, {
    platform: { os: 'linux', architecture: 'amd64' },
    registry: read(options),
    signal: undefined,
    onProgress: (event) => events.push(event),
  });
}

interface PushTestOptions extends RegistryOptions {
  readonly mountFrom?: readonly string[];
  readonly chunkSize?: number;
}

async function push(image: Descriptor, store: MemoryStore, name: string, options: PushTestOptions) {
  const { mountFrom = [], chunkSize, ...registry } = options;
  const events: ImageProgress[] = [];
  const onProgress = (event: ImageProgress) => void events.push(event);
  const settings = { mountFrom, chunkSize, registry: read(registry), signal: undefined, onProgress };
  await pushImage(image, store, parseReference(name), settings);
  return events;
}

/** An image of two layers, in a store. */
function stored(sizes: readonly number[] = [300_000, 3_000_000]) {
  const image = makeImage(sizes.map((size) => randomBytes(size)));
  const store = new MemoryStore();
  for (const bytes of [...image.blobs.values(), image.manifest]) store.add(bytes);
  const { digest, mediaType, manifest } = image;
  return { image, store, descriptor: { digest, mediaType, size: manifest.length } };
}

const isBlob = (path: string | undefined) => path?.includes('/blobs/') === true;

describe('a pull', () => {
  const image = makeImage([randomBytes(500_000), randomBytes(400_000)]);
  const honest = serveImage(image);

  it('fetches what the store lacks, and tells of it', async () => {
    const server = await serve(honest);
    const options = { insecure: [server.host] };
    const store = new MemoryStore();
    const events: ImageProgress[] = [];
    const found = await pull(`${server.host}/a/b:1`, store, options, events);
    expect(found).toEqual({ mediaType: image.mediaType, digest: image.digest, size: image.manifest.length });
    for (const [digest, bytes] of image.blobs) expect(store.blobs.get(digest as never)?.equals(bytes)).toBe(true);
    expect(events[0]).toEqual({ phase: 'resolving', reference: `${server.host}/a/b:1` });
    expect(events.filter(({ phase }) => phase === 'downloaded').length).toBe(3);
    server.asked.splice(0);
    events.splice(0);
    await pull(`${server.host}/a/b:1`, store, options, events);
    expect(server.paths).toEqual(['GET /v2/a/b/manifests/1']);
    expect(events.filter(({ phase }) => phase === 'exists').length).toBe(3);
  });

  it.each([true, false])('goes on where a connection broke (server with ranges: %s)', async (ranges) => {
    const broken = new Set<string>();
    const server = await serve((request, response, body) => {
      const path = request.url ?? '';
      const blob = image.blobs.get(path.slice(path.lastIndexOf('/') + 1));
      if (!ranges) delete request.headers.range;
      if (!blob || blob.length < 1000 || broken.has(path)) return honest(request, response, body);
      broken.add(path);
      response.writeHead(200, { 'content-length': blob.length });
      response.write(blob.subarray(0, blob.length / 2), () => setTimeout(() => response.destroy(), 50));
    });
    const store = new MemoryStore();
    await pull(`${server.host}/a/b:1`, store, { insecure: [server.host] });
    expect(store.blobs.size).toBe(4);
    const again = server.asked.filter(({ headers }) => headers.range !== undefined);
    if (ranges) expect(again.map(({ headers }) => headers.range).sort()).toEqual(['bytes=200000-', 'bytes=250000-']);
    expect(broken.size).toBe(2);
  });

  it('goes on with what an earlier one has left, and starts anew where that is damaged', async () => {
    const server = await serve(honest);
    const [, [digest, bytes] = ['', Buffer.alloc(0)]] = [...image.blobs];
    for (const beginning of [bytes.subarray(0, 1000), randomBytes(1000), randomBytes(bytes.length + 1)]) {
      const store = new MemoryStore();
      store.partial.set(digest as never, [beginning]);
      await pull(`${server.host}/a/b:1`, store, { insecure: [server.host] });
      expect(store.blobs.size).toBe(4);
    }
    expect(server.asked.filter(({ headers }) => headers.range === 'bytes=1000-').length).toBe(2);
  });

  it('waits as long as it is told to', async () => {
    let refused = 0;
    const server = await serve((request, response, body) => {
      if (refused++ < 1) return response.writeHead(429, { 'retry-after': '1' }).end();
      honest(request, response, body);
    });
    const before = performance.now();
    await pull(`${server.host}/a/b:1`, new MemoryStore(), { insecure: [server.host] });
    expect(performance.now() - before).toBeGreaterThan(950);
  });

  it('gets a new token when one runs out in the middle', async () => {
    let given = 0;
    let used = 0;
    const server = await serve((request, response, body) => {
      if (request.url?.startsWith('/token')) {
        return response.end(JSON.stringify({ token: `t${++given}`, expires_in: 3600 }));
      }
      // A token is good for two requests.
      if (request.headers.authorization !== `Bearer t${given}` || used++ % 3 === 2) {
        const realm = `Bearer realm="http://${server.host}/token",service="s",scope="repository:a/b:pull"`;
        return response.writeHead(401, { 'www-authenticate': realm }).end();
      }
      honest(request, response, body);
    });
    const store = new MemoryStore();
    await pull(`${server.host}/a/b:1`, store, { insecure: [server.host], parallel: 1 });
    expect(store.blobs.size).toBe(4);
    expect(given).toBe(2);
  });

  it('asks mirrors first, and the registry where they fail', async () => {
    const server = await serve(honest);
    const other = await serve((_request, response) => response.writeHead(404).end());
    const wrong = await serve((request, response, body) =>
      isBlob(request.url) ? response.end('wrong') : honest(request, response, body),
    );
    const mirrors = { 'docker.io': [`http://${other.host}/cache`, `http://${wrong.host}`, `http://${server.host}`] };
    const store = new MemoryStore();
    await pull('debian', store, { mirrors, retries: 0 });
    expect(store.blobs.size).toBe(4);
    expect(other.paths).toEqual(['GET /v2/cache/library/debian/manifests/latest']);
    expect(server.paths[0]).toBe('GET /v2/library/debian/manifests/latest');
    const failing = pull(`${other.host}/a`, new MemoryStore(), {
      mirrors: { [other.host]: [`http://${wrong.host}`] },
      insecure: [other.host],
      retries: 0,
    });
    await expect(failing).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: expect.stringMatching(/before that/),
    });
    const locked = await serve((_request, response) => response.writeHead(401).end());
    await expect(
      pull(`${locked.host}/a`, new MemoryStore(), {
        mirrors: { [locked.host]: [`http://${other.host}`] },
        insecure: [locked.host],
        retries: 0,
      }),
    ).rejects.toMatchObject({
      code: 'ERR_UNAUTHORIZED',
      message: expect.stringMatching(/before that: .*404 \(hint: are there credentials/),
    });
  });

  it('chooses from an index by platform', async () => {
    const index = 'application/vnd.oci.image.index.v1+json';
    const entry = { mediaType: image.mediaType, digest: image.digest, size: image.manifest.length };
    const manifests = [
      { ...entry, digest: `sha256:${'1'.repeat(64)}`, platform: { os: 'linux', architecture: 'arm64' } },
      { ...entry, platform: { os: 'linux', architecture: 'amd64' } },
    ];
    const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: index, manifests }));
    const server = await serve((request, response, body) => {
      if (!request.url?.endsWith('/manifests/1')) return honest(request, response, body);
      response.writeHead(200, { 'content-type': index }).end(bytes);
    });
    const found = await pull(`${server.host}/a/b:1`, new MemoryStore(), { insecure: [server.host] });
    expect(found.digest).toBe(image.digest);
  });

  it('goes through a proxy, which sees credentials for itself', async () => {
    const server = await serve(honest);
    const seen: (string | undefined)[] = [];
    const proxy = await serve((request, response, body) => {
      seen.push(request.headers['proxy-authorization']);
      expect(request.url).toMatch(/^http:\/\/registry\.invalid\/v2\//);
      honest(request, response, body);
    });
    const store = new MemoryStore();
    await pull('registry.invalid/a/b:1', store, {
      insecure: ['registry.invalid'],
      proxy: `http://me:pw@${proxy.host}`,
    });
    expect(store.blobs.size).toBe(4);
    expect(server.asked).toEqual([]);
    expect(new Set(seen)).toEqual(new Set([`Basic ${Buffer.from('me:pw').toString('base64')}`]));
  });
});

describe('the registry of others', () => {
  const login = { username: 'me', password: 'secret' };
  it.for<DockerRegistryOptions>([{}, { tls: true }, { login }, { tls: true, login }])(
    'takes an image and gives it back: %j',
    async (kind, context) => {
      needsPrograms(context, 'docker-registry', 'openssl', 'htpasswd');
      const registry = await startRegistry(kind);
      const options: RegistryOptions = {
        insecure: kind.tls ? [] : [registry.host],
        ...(registry.ca !== undefined && { tls: { [registry.host]: { ca: registry.ca } } }),
        ...(kind.login && { credentials: kind.login }),
      };
      const { store, descriptor } = stored();
      await push(descriptor, store, `${registry.host}/a/b:1`, options);
      const other = new MemoryStore();
      expect(await pull(`${registry.host}/a/b:1`, other, options)).toEqual(descriptor);
      expect([...other.blobs.keys()].sort()).toEqual([...store.blobs.keys()].sort());
      const api = new Registry(registry.host, { configFile: false, proxy: false, ...options });
      expect(await api.tags('a/b')).toEqual(['1']);
      expect(await api.resolve('a/b', '1')).toBe(descriptor.digest);
      expect(await api.resolve('a/b', '2')).toBeUndefined();
      if (!kind.login) return;
      const anonymous = pull(`${registry.host}/a/b:1`, new MemoryStore(), { ...options, credentials: () => undefined });
      await expect(anonymous).rejects.toMatchObject({ code: 'ERR_UNAUTHORIZED' });
    },
  );

  it('takes a blob in parts, or from another of its repositories, or not at all', async (context) => {
    needsPrograms(context, 'docker-registry');
    const registry = await startRegistry();
    const options = { insecure: [registry.host] };
    const { store, descriptor } = stored();
    const phases = (events: readonly ImageProgress[]) =>
      events.map(({ phase }) => phase).filter((phase) => phase !== 'uploading');
    const first = await push(descriptor, store, `${registry.host}/a:1`, { ...options, chunkSize: 1_000_000 });
    expect(phases(first)).toEqual(['uploaded', 'uploaded', 'uploaded']);
    const second = await push(descriptor, store, `${registry.host}/b`, { ...options, mountFrom: ['a'] });
    expect(phases(second)).toEqual(['mounted', 'mounted', 'mounted']);
    // To the registry too: nothing was sent to this repository but the manifest.
    const sent = registry.log.filter((line) => line.includes(' /v2/b/') && !line.startsWith('HEAD'));
    expect(sent.length).toBe(4);
    expect(sent.slice(0, 3).every((line) => /^POST \S+\?mount=sha256%3A[0-9a-f]{64}&from=a 201$/.test(line))).toBe(
      true,
    );
    expect(sent[3]).toBe('PUT /v2/b/manifests/latest 201');
    expect(registry.log.filter((line) => /^PATCH .*202$/.test(line)).length).toBeGreaterThan(3);
    const third = await push(descriptor, store, `${registry.host}/b@${descriptor.digest}`, options);
    expect(phases(third)).toEqual(['exists', 'exists', 'exists']);
    expect(await pull(`${registry.host}/b`, new MemoryStore(), options)).toEqual(descriptor);
  });

  it.for<DockerRegistryOptions>([{}, { tls: true, login }])(
    'exchanges images with skopeo, digests and all: %j',
    async (kind, context) => {
      needsPrograms(context, 'docker-registry', 'skopeo', 'openssl', 'htpasswd');
      const registry = await startRegistry(kind);
      const options: RegistryOptions = {
        insecure: kind.tls ? [] : [registry.host],
        ...(registry.ca !== undefined && { tls: { [registry.host]: { ca: registry.ca } } }),
        ...(kind.login && { credentials: kind.login }),
      };
      const { image, store, descriptor } = stored();
      await push(descriptor, store, `${registry.host}/a:1`, options);
      const directory = mkdtempSync(join(tmpdir(), 'tscontain-test-'));
      try {
        if (registry.ca !== undefined) writeFileSync(join(directory, 'ca.crt'), registry.ca);
        const reach = (side: string) => [
          ...(kind.tls ? [`--${side}-cert-dir=${directory}`] : [`--${side}-tls-verify=false`]),
          ...(kind.login ? [`--${side}-creds=${login.username}:${login.password}`] : []),
        ];
        const [from, to] = [`docker://${registry.host}/a:1`, `docker://${registry.host}/b:2`];
        const run = (...args: string[]) => execFileSync('skopeo', ['--insecure-policy', ...args], { stdio: 'pipe' });
        run('copy', ...reach('src'), '--preserve-digests', from, `dir:${directory}/a`);
        expect(readFileSync(`${directory}/a/manifest.json`).equals(image.manifest)).toBe(true);
        run('copy', ...reach('dest'), '--preserve-digests', `dir:${directory}/a`, to);
        expect(await pull(`${registry.host}/b:2`, new MemoryStore(), options)).toEqual(descriptor);
      } finally {
        rmSync(directory, { recursive: true });
      }
    },
  );
});
