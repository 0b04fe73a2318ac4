/** Group J of the catalogue, what concerns registries: hostile servers, and what may go to which of them. */

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { pullImage } from '../../lib/image/registry/pull.js';
import { pushImage } from '../../lib/image/registry/push.js';
import { Secret } from '../../lib/image/registry/secret.js';
import { readRegistryOptions } from '../../lib/image/registry/settings.js';
import { parseReference, type RegistryOptions } from '../../lib/index.js';
import { type Answer, MemoryStore, makeImage, serveImage, TestServer } from '../support/registry.js';
import { needsPrograms } from '../support/requirements.js';

const servers: TestServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function serve(answer: Answer): Promise<TestServer> {
  const server = await TestServer.start(answer);
  servers.push(server);
  return server;
}

function pull(host: string, store: MemoryStore, options: RegistryOptions = {}, name = 'a/b:1', signal?: AbortSignal) {
  const registry = readRegistryOptions({ configFile: false, proxy: false, insecure: [host], retries: 1, ...options });
  const platform = { os: 'linux', architecture: 'amd64' };
  return pullImage(parseReference(`${host}/${name}`), store, { platform, registry, signal, onProgress: undefined });
}

/** Sends the image of these tests. */
function push(host: string, options: RegistryOptions) {
  const store = new MemoryStore();
  for (const bytes of [...image.blobs.values(), image.manifest]) store.add(bytes);
  const registry = readRegistryOptions({ configFile: false, proxy: false, insecure: [host], retries: 0, ...options });
  const settings = { registry, signal: undefined, onProgress: undefined, chunkSize: undefined, mountFrom: [] };
  const descriptor = { digest: image.digest, mediaType: image.mediaType, size: image.manifest.length };
  return pushImage(descriptor, store, parseReference(`${host}/a/b:1`), settings);
}

const layer = Buffer.alloc(200_000, 'layer');
const image = makeImage([layer]);
const honest = serveImage(image);
const credentials = { username: 'me', password: 'hidden-word' };
const isBlob = (path: string | undefined) => path?.includes('/blobs/') === true;
const basic = `Basic ${Buffer.from('me:hidden-word').toString('base64')}`;

describe('J: registries', () => {
  it('J1: credentials go to the registry alone, and not along with a redirect', async () => {
    const other = await serve(honest);
    const first = await serve((request, response, body) => {
      if (request.headers.authorization !== basic) {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      } else if (isBlob(request.url)) {
        response.writeHead(307, { location: `http://${other.host}${request.url}` }).end();
      } else honest(request, response, body);
    });
    const store = new MemoryStore();
    await pull(first.host, store, { credentials, insecure: [first.host, other.host] });
    expect(store.blobs.size).toBe(3);
    expect(other.asked.length).toBe(2);
    for (const { headers } of other.asked) expect(headers.authorization).toBeUndefined();
    // The control: the first was sent them.
    expect(first.asked.some(({ headers }) => headers.authorization === basic)).toBe(true);
    expect(first.asked[0]?.headers.authorization).toBeUndefined();
  });

  it('J1: an upload that goes on elsewhere, or is redirected there, takes no credentials along', async () => {
    const other = await serve((_request, response) => response.writeHead(201).end());
    const answers = (location: (host: string) => string): Answer => {
      return (request, response) => {
        if (request.headers.authorization !== basic) {
          return response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
        }
        if (request.method === 'HEAD') return response.writeHead(404).end();
        if (request.method === 'POST') return response.writeHead(202, { location: location(other.host) }).end();
        response.writeHead(201).end();
      };
    };
    const first = await serve(answers((host) => `http://${host}/upload/1`));
    await push(first.host, { credentials, insecure: [first.host, other.host] });
    expect(other.paths.every((path) => path.startsWith('PUT /upload/1?digest='))).toBe(true);
    expect(other.asked.length).toBe(2);
    for (const { headers } of other.asked) expect(headers.authorization).toBeUndefined();
    // The control: what stays with the registry is sent them.
    expect(first.asked.at(-1)).toMatchObject({ method: 'PUT', headers: { authorization: basic } });
    // Where http is not listed, nothing is sent at all.
    other.asked.splice(0);
    await expect(push(first.host, { credentials })).rejects.toThrow(/insecure/);
    expect(other.asked).toEqual([]);
  });

  it('J2: a digest that is none leads to no request, and neither does a realm that may not have a password', async () => {
    const config = 'sha256:../../x';
    const bad = JSON.parse(image.manifest.toString());
    bad.config.digest = config;
    const bytes = Buffer.from(JSON.stringify(bad));
    const first = await serve((_request, response) =>
      response.writeHead(200, { 'content-type': image.mediaType }).end(bytes),
    );
    await expect(pull(first.host, new MemoryStore())).rejects.toMatchObject({ code: 'ERR_DIGEST' });
    expect(first.paths).toEqual(['GET /v2/a/b/manifests/1']);

    const realm = await serve((_request, response) => response.end('{"token":"t"}'));
    const second = await serve((request, response, body) => {
      if (request.headers.authorization === 'Bearer t') return honest(request, response, body);
      response.writeHead(401, { 'www-authenticate': `Bearer realm="http://${realm.host}/token",service="s"` }).end();
    });
    await expect(pull(second.host, new MemoryStore(), { credentials })).rejects.toThrow(/insecure/);
    expect(realm.asked).toEqual([]);
    // The control: where its host is listed, it is asked, with the password.
    await pull(second.host, new MemoryStore(), { credentials, insecure: [second.host, realm.host] });
    expect(realm.paths).toEqual(['GET /token?service=s&scope=repository%3Aa%2Fb%3Apull']);
    expect(realm.asked[0]?.headers.authorization).toBe(basic);
  });

  it.each(['manifest', 'config', 'layer'])(
    'J3: a byte that is flipped in the %s is noticed, and nothing is kept',
    async (what) => {
      const flipped = (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -1), Buffer.of((bytes.at(-1) ?? 0) ^ 1)]);
      const blobs = new Map(image.blobs);
      const [config = '', top = ''] = [...blobs.keys()];
      if (what === 'config') blobs.set(config, flipped(blobs.get(config) ?? layer));
      if (what === 'layer') blobs.set(top, flipped(layer));
      const manifest = what === 'manifest' ? flipped(image.manifest) : image.manifest;
      const server = await serve(serveImage({ ...image, manifest, blobs }));
      const store = new MemoryStore();
      await expect(pull(server.host, store)).rejects.toMatchObject({ code: 'ERR_DIGEST' });
      expect(store.blobs.has(image.digest)).toBe(false);
      for (const bytes of store.partial.values()) expect(Buffer.concat(bytes).equals(flipped(layer))).toBe(false);
      await expect(pull(server.host, store, {}, `a/b@${'sha256:'.padEnd(71, '0')}`)).rejects.toMatchObject({
        code: 'ERR_DIGEST',
      });
      // The control: without the flipped byte it is fetched, into the same store, by its digest.
      const right = await serve(honest);
      await pull(right.host, store, {}, `a/b@${image.digest}`);
      expect([...image.blobs.keys(), image.digest].every((digest) => store.blobs.has(digest as never))).toBe(true);
    },
  );

  it.each(['more', 'fewer'])('J3: %s bytes than the descriptor says are refused', async (what) => {
    const blobs = new Map(image.blobs);
    const [, top = ''] = [...blobs.keys()];
    blobs.set(top, what === 'more' ? Buffer.concat([layer, layer]) : layer.subarray(1));
    const chunked: Answer = (request, response, body) => {
      if (!request.url?.endsWith(top)) return serveImage({ ...image, blobs })(request, response, body);
      response.end(blobs.get(top));
    };
    for (const answer of [serveImage({ ...image, blobs }), chunked]) {
      const server = await serve(answer);
      await expect(pull(server.host, new MemoryStore())).rejects.toMatchObject({ code: 'ERR_DIGEST' });
    }
    // The control: as many as it says, their number announced or not.
    blobs.set(top, layer);
    const server = await serve(chunked);
    expect((await pull(server.host, new MemoryStore())).digest).toBe(image.digest);
  });

  it('J4: a document is what its type says, or refused', async () => {
    const fields = JSON.parse(image.manifest.toString());
    const send = (document: object, type: string | undefined): Answer => {
      const bytes = Buffer.from(JSON.stringify(document));
      return (_request, response) =>
        response.writeHead(200, type === undefined ? {} : { 'content-type': type }).end(bytes);
    };
    const index = 'application/vnd.oci.image.index.v1+json';
    for (const [document, type] of [
      [{ ...fields, manifests: [] }, image.mediaType],
      [fields, index],
      [{ ...fields, mediaType: index }, image.mediaType],
      [fields, 'text/html'],
      [fields, undefined],
    ] as const) {
      const server = await serve(send(document, type));
      await expect(pull(server.host, new MemoryStore()), String(type)).rejects.toMatchObject({ code: 'ERR_MANIFEST' });
    }
    // The control: the same document, written anew, under its own type.
    const written = send(fields, image.mediaType);
    const server = await serve((request, response, body) =>
      (isBlob(request.url) ? honest : written)(request, response, body),
    );
    expect((await pull(server.host, new MemoryStore())).mediaType).toBe(image.mediaType);
  });

  it.each([true, false])('J5: a manifest of 5 MiB is not read (length announced: %s)', async (announced) => {
    let sent = 0;
    const server = await serve((_request, response) => {
      response.writeHead(200, { 'content-type': image.mediaType, ...(announced && { 'content-length': 5 * 2 ** 20 }) });
      const chunk = Buffer.alloc(2 ** 16, ' ');
      while (sent < 5 * 2 ** 20) {
        response.write(chunk);
        sent += chunk.length;
      }
      response.end();
    });
    await expect(pull(server.host, new MemoryStore())).rejects.toMatchObject({ code: 'ERR_MANIFEST' });
  });

  it('J5: a manifest of 10,000 layers is refused before any is fetched, and one with much to say is not', async () => {
    const fields = JSON.parse(image.manifest.toString());
    const sent = (document: object) => {
      const bytes = Buffer.from(JSON.stringify(document));
      return serve((request, response, body) => {
        if (isBlob(request.url)) return honest(request, response, body);
        response.writeHead(200, { 'content-type': image.mediaType }).end(bytes);
      });
    };
    const many = await sent({ ...fields, layers: Array.from({ length: 10_000 }, () => fields.layers[0]) });
    await expect(pull(many.host, new MemoryStore())).rejects.toMatchObject({ code: 'ERR_MANIFEST' });
    expect(many.paths).toEqual(['GET /v2/a/b/manifests/1']);
    // The controls: a layer three times is fetched once, and 3 MiB are read.
    const layers = Array.from({ length: 3 }, () => fields.layers[0]);
    const large = await sent({ ...fields, layers, annotations: { text: 'x'.repeat(3 * 2 ** 20) } });
    await pull(large.host, new MemoryStore());
    expect(large.paths.length).toBe(3);
  });

  it('J6: what fails in TLS is not tried in plain http, nor is a redirect to it followed', async (context) => {
    needsPrograms(context, 'openssl');
    const plain = await serve(honest);
    const tls = await serveTls((url) => `http://${plain.host}${url}`);
    try {
      // A server without TLS where TLS should be: it sees the beginning of a handshake, never a request.
      const seen: Buffer[] = [];
      const listener = createServer((socket) => {
        socket.on('error', () => {});
        socket.once('data', (data) => {
          seen.push(data);
          socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
        });
      });
      listener.listen(0, '127.0.0.1');
      await once(listener, 'listening');
      const { port } = listener.address() as AddressInfo;
      await expect(pull(`127.0.0.1:${port}`, new MemoryStore(), { insecure: [] })).rejects.toMatchObject({
        code: 'ERR_REGISTRY',
      });
      listener.close();
      expect(seen.length).toBeGreaterThan(0);
      for (const data of seen) expect(data[0]).toBe(0x16);

      const unknown = pull(tls.host, new MemoryStore(), { insecure: [] });
      await expect(unknown).rejects.toMatchObject({ code: 'ERR_REGISTRY', hint: expect.stringMatching(/ca/) });
      const trusted = { insecure: [], tls: { [tls.host]: { ca: tls.ca } } };
      await expect(pull(tls.host, new MemoryStore(), trusted)).rejects.toThrow(/insecure/);
      expect(plain.asked).toEqual([]);
      // The control: a host that is listed is spoken to in http.
      await pull(tls.host, new MemoryStore(), { ...trusted, insecure: [plain.host] });
      expect(plain.asked.length).toBeGreaterThan(0);
    } finally {
      await tls.close();
    }
  });

  it('J10: a server that stalls, before it answers or in the middle, is a timeout', async () => {
    const silent = await serve(() => {});
    const stalling = await serve((request, response, body) => {
      if (!isBlob(request.url)) return honest(request, response, body);
      response.writeHead(200);
      response.write('l');
    });
    for (const server of [silent, stalling]) {
      const patience = { timeouts: { idle: 300 }, retries: 0 };
      await expect(pull(server.host, new MemoryStore(), patience)).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
      const total = { timeouts: { total: 300 } };
      await expect(pull(server.host, new MemoryStore(), total)).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
      const aborting = pull(server.host, new MemoryStore(), {}, 'a/b:1', AbortSignal.timeout(100));
      await expect(aborting).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    }
  });

  it('J10: a server that is slow but goes on is waited for, up to the time for all of it', async () => {
    const slow = await serve((request, response, body) => {
      if (!isBlob(request.url)) return honest(request, response, body);
      const bytes = image.blobs.get(request.url?.split('/').at(-1) ?? '') ?? layer;
      response.writeHead(200, { 'content-length': bytes.length });
      const part = Math.ceil(bytes.length / 8);
      let at = 0;
      const timer = setInterval(() => {
        response.write(bytes.subarray(at, at + part));
        at += part;
        if (at < bytes.length) return;
        clearInterval(timer);
        response.end();
      }, 200);
      response.on('close', () => clearInterval(timer));
    });
    const store = new MemoryStore();
    await pull(slow.host, store, { timeouts: { idle: '1s' }, retries: 0 });
    expect(store.blobs.size).toBe(3);
    const total = pull(slow.host, new MemoryStore(), { timeouts: { idle: '1s', total: 500 }, retries: 0 });
    await expect(total).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
  });

  it('J10: a loop of redirects ends', async () => {
    const server = await serve((request, response) => response.writeHead(302, { location: request.url }).end());
    await expect(pull(server.host, new MemoryStore())).rejects.toThrow(/redirects/);
    expect(server.asked.length).toBe(6);
    // The control: five are followed.
    const five = await serve((request, response, body) => {
      const hop = Number(new URL(request.url ?? '', 'http://x').searchParams.get('hop') ?? 0);
      const path = request.url?.split('?')[0] ?? '';
      if (hop < 5) return response.writeHead(307, { location: `${path}?hop=${hop + 1}` }).end();
      request.url = path;
      honest(request, response, body);
    });
    expect((await pull(five.host, new MemoryStore())).digest).toBe(image.digest);
  });
});

describe('K: programs', () => {
  it('K2: a program that Docker’s configuration names is run only where that was asked for, and only a helper', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tscontain-test-'));
    const configFile = join(directory, 'config.json');
    const trace = join(directory, 'trace');
    const path = process.env.PATH;
    try {
      process.env.PATH = `${directory}:${path}`;
      const script = `#!/bin/sh\necho ran >> ${trace}\necho '{"Username":"me","Secret":"hidden-word"}'\n`;
      for (const name of ['docker-credential-test', 'other'])
        writeFileSync(join(directory, name), script, { mode: 0o755 });
      const server = await serve((request, response, body) => {
        if (request.headers.authorization === basic) return honest(request, response, body);
        response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      });
      const attempt = (helper: string, options: RegistryOptions) => {
        writeFileSync(configFile, JSON.stringify({ credsStore: helper }));
        return pull(server.host, new MemoryStore(), { configFile, ...options });
      };
      await expect(attempt('test', {})).rejects.toMatchObject({ code: 'ERR_UNAUTHORIZED' });
      for (const name of ['../other', 'test; other', `x/../../..${directory}/other`]) {
        await expect(attempt(name, { credentialHelpers: true })).rejects.toMatchObject({ code: 'ERR_CONFIG' });
      }
      expect(existsSync(trace)).toBe(false);
      // The control: one that was asked for has run.
      await attempt('test', { credentialHelpers: true });
      expect(readFileSync(trace, 'utf8')).toBe('ran\n');
    } finally {
      process.env.PATH = path;
      rmSync(directory, { recursive: true });
    }
  });
});

describe('M: secrets', () => {
  it('M9: a password is in no error and in nothing that is printed', async () => {
    const secret = new Secret('hidden-word');
    for (const text of [
      String(secret),
      `${inspect(secret, { depth: 9, showHidden: true })}`,
      JSON.stringify({ secret }),
    ]) {
      expect(text).not.toContain('hidden-word');
      expect(text).toContain('redacted');
    }
    expect(secret.reveal()).toBe('hidden-word');
    const server = await serve((_request, response) =>
      response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end(),
    );
    const failure: unknown = await pull(server.host, new MemoryStore(), { credentials }).catch((error) => error);
    expect(failure).toMatchObject({ code: 'ERR_UNAUTHORIZED' });
    const wrong: unknown[] = [failure];
    for (const options of [
      { credentials: { username: 'a:b', password: 'hidden-word' } },
      { credentials: { username: 'a', pasword: 'hidden-word' } },
      { proxy: 'ftp://a:hidden-word@x' },
      { mirrors: { x: ['http://a:hidden-word@x'] } },
    ]) {
      try {
        readRegistryOptions(options);
      } catch (error) {
        wrong.push(error);
      }
    }
    expect(wrong.length).toBe(5);
    for (const error of wrong) {
      const printed = `${inspect(error, { depth: 9, showHidden: true })} ${JSON.stringify(error)}`;
      expect(printed).not.toMatch(/hidden-word|aGlkZGVu|bWU6/);
    }
    // The control: it was sent.
    expect(server.asked.at(-1)?.headers.authorization).toBe(basic);
  });
});

/** A server with a certificate of its own that redirects everything. */
async function serveTls(location: (url: string) => string) {
  const directory = mkdtempSync(join(tmpdir(), 'tscontain-test-'));
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const subject = ['-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'];
  execFileSync('openssl', [...request, ...subject, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  const ca = readFileSync(cert, 'utf8');
  const server = createTlsServer({ key: readFileSync(key), cert: ca }, (request, response) =>
    response.writeHead(307, { location: location(request.url ?? '') }).end(),
  );
  rmSync(directory, { recursive: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    ca,
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
