/** Fetching and sending where it goes wrong halfway, and ways to a registry: proxies, certificates, tokens. What is left open. */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { createServer as createProxy, type IncomingMessage } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { digestOf } from '../../../lib/image/digest.js';
import { pullImage } from '../../../lib/image/registry/pull.js';
import { pushImage } from '../../../lib/image/registry/push.js';
import { readRegistryOptions } from '../../../lib/image/registry/settings.js';
import { parseReference, Registry, type RegistryOptions } from '../../../lib/index.js';
import { type Answer, MemoryStore, makeImage, serveImage, TestServer } from '../../support/registry.js';
import { needsPrograms } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';

checkResidue();

const toClose: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of toClose.splice(0)) await close();
});

async function serve(answer: Answer): Promise<TestServer> {
  const server = await TestServer.start(answer);
  toClose.push(() => server.close());
  return server;
}

const read = (options: RegistryOptions) => readRegistryOptions({ configFile: false, proxy: false, ...options });
const platform = { os: 'linux', architecture: 'amd64' };

function pull(name: string, options: RegistryOptions, store = new MemoryStore(), signal?: AbortSignal) {
  const settings = { platform, registry: read(options), signal, onProgress: undefined };
  return pullImage(parseReference(name), store, settings);
}

const layer = randomBytes(3_000_000);
const image = makeImage([layer]);
const honest = serveImage(image);

/** The image in a store, to be sent. */
function push(name: string, options: RegistryOptions, more: { chunkSize?: number; mountFrom?: string[] } = {}) {
  const store = new MemoryStore();
  for (const bytes of [...image.blobs.values(), image.manifest]) store.add(bytes);
  const { digest, mediaType, manifest } = image;
  const { chunkSize, mountFrom = [] } = more;
  const settings = { registry: read(options), signal: undefined, onProgress: undefined, chunkSize, mountFrom };
  return pushImage({ digest, mediaType, size: manifest.length }, store, parseReference(name), settings);
}

/** A registry that takes uploads, in parts too, and says how far they are (OCI distribution-spec, "Pushing a blob in chunks"). */
class Receiver {
  readonly blobs = new Map<string, Buffer>();
  readonly sessions = new Map<string, Buffer>();
  readonly statesAsked: string[] = [];
  #last = 0;

  readonly answer: Answer = (request, response, body) => {
    const url = new URL(request.url ?? '', 'http://x');
    const id = url.pathname.split('/').at(-1) ?? '';
    const session = this.sessions.get(id);
    const state = (status: number, held: Buffer) => {
      const range = { range: `0-${Math.max(held.length - 1, 0)}`, location: `/v2/a/blobs/uploads/${id}` };
      response.writeHead(status, range).end();
    };
    if (request.method === 'HEAD') return response.writeHead(this.blobs.has(id) ? 200 : 404).end();
    if (request.method === 'POST') {
      const next = String(++this.#last);
      this.sessions.set(next, Buffer.alloc(0));
      return response.writeHead(202, { location: `/v2/a/blobs/uploads/${next}?state=x` }).end();
    }
    if (url.pathname.includes('/manifests/')) return response.writeHead(201).end();
    if (request.method === 'GET') this.statesAsked.push(id);
    if (!session) return response.writeHead(404).end();
    if (request.method === 'GET') return state(204, session);
    if (request.method === 'PATCH') {
      const start = Number(request.headers['content-range']?.split('-')[0] ?? session.length);
      if (start !== session.length) return state(416, session);
      const held = Buffer.concat([session, body]);
      this.sessions.set(id, held);
      return state(202, held);
    }
    const whole = Buffer.concat([session, body]);
    const digest = url.searchParams.get('digest') ?? '';
    if (digestOf(whole) !== digest) return response.writeHead(400).end('{"errors":[{"code":"DIGEST_INVALID"}]}');
    this.blobs.set(digest, whole);
    response.writeHead(201, { location: `/v2/a/blobs/${digest}` }).end();
  };

  expectAll(): void {
    for (const [digest, bytes] of image.blobs) expect(this.blobs.get(digest)?.equals(bytes), digest).toBe(true);
  }
}

describe('an upload', () => {
  it('goes on where a connection was lost, after asking how far it is', async () => {
    const registry = new Receiver();
    let broken = false;
    const server = await serve((request, response, body) => {
      // The third part arrives, but its answer does not.
      if (request.method === 'PATCH' && request.headers['content-range']?.startsWith('2000000-') && !broken) {
        broken = true;
        const id = request.url?.split('/').at(-1)?.split('?')[0] ?? '';
        registry.sessions.set(id, Buffer.concat([registry.sessions.get(id) ?? body, body.subarray(0, 500_000)]));
        return request.socket.destroy();
      }
      registry.answer(request, response, body);
    });
    await push(`${server.host}/a:1`, { insecure: [server.host] }, { chunkSize: 1_000_000 });
    registry.expectAll();
    expect(broken).toBe(true);
    expect(registry.statesAsked.length).toBe(1);
    const parts = server.asked
      .filter(({ method }) => method === 'PATCH')
      .map(({ headers }) => headers['content-range']);
    expect(parts).toContain('2500000-2999999');
    expect(parts.filter((range) => range?.startsWith('0-9')).length).toBe(1);
  });

  it('of one request begins again where nothing of it has arrived, and in a new session where the old one is gone', async () => {
    for (const forget of [false, true]) {
      const registry = new Receiver();
      let broken = false;
      const server = await serve((request, response, body) => {
        if (request.method === 'PUT' && body.length > 1_000_000 && !broken) {
          broken = true;
          if (forget) registry.sessions.clear();
          return request.socket.destroy();
        }
        registry.answer(request, response, body);
      });
      await push(`${server.host}/a:1`, { insecure: [server.host] });
      registry.expectAll();
      expect(registry.statesAsked.length).toBe(1);
    }
  });

  it('of which a registry takes less than it was sent goes on with the rest', async () => {
    const registry = new Receiver();
    const server = await serve((request, response, body) => {
      const less = request.method === 'PATCH' ? body.subarray(0, Math.ceil(body.length / 2)) : body;
      registry.answer(request, response, less);
    });
    await push(`${server.host}/a:1`, { insecure: [server.host] }, { chunkSize: 2_000_000 });
    registry.expectAll();
  });

  it('that nobody takes ends as a timeout, long before the patience that a whole one gets', async () => {
    const registry = new Receiver();
    const server = await TestServer.start(registry.answer);
    toClose.push(() => server.close());
    server.server.removeAllListeners('request');
    server.server.on('request', async (request: IncomingMessage, response) => {
      // Nothing of a large body is read.
      if (Number(request.headers['content-length']) > 1_000_000) return request.pause();
      registry.answer(request, response, Buffer.concat(await request.toArray()));
    });
    // More than sockets hold.
    const large = makeImage([Buffer.alloc(32 * 2 ** 20, 'x')]);
    const store = new MemoryStore();
    for (const bytes of [...large.blobs.values(), large.manifest]) store.add(bytes);
    const descriptor = { digest: large.digest, mediaType: large.mediaType, size: large.manifest.length };
    const options = read({ insecure: [server.host], timeouts: { idle: 500 }, retries: 0 });
    const settings = {
      registry: options,
      signal: undefined,
      onProgress: undefined,
      chunkSize: undefined,
      mountFrom: [],
    };
    const before = performance.now();
    const failing = pushImage(descriptor, store, parseReference(`${server.host}/a:1`), settings);
    await expect(failing).rejects.toMatchObject({
      code: 'ERR_TIMEOUT',
      message: expect.stringMatching(/nothing was taken for 500 ms/),
    });
    expect(performance.now() - before).toBeLessThan(10_000);
  });

  it.each([401, 403, 404, 405])('is sent where a mount from another repository is answered with %i', async (status) => {
    const registry = new Receiver();
    const server = await serve((request, response, body) => {
      if (request.url?.includes('mount=')) return response.writeHead(status).end();
      registry.answer(request, response, body);
    });
    await push(`${server.host}/a:1`, { insecure: [server.host] }, { mountFrom: ['b'] });
    registry.expectAll();
    expect(server.paths.filter((path) => path.includes('mount=')).length).toBeGreaterThan(1);
  });

  it('asks for a token that allows to read where it mounts from', async () => {
    const registry = new Receiver();
    const scopes: string[] = [];
    const server = await serve((request, response, body) => {
      const url = new URL(request.url ?? '', 'http://x');
      if (url.pathname === '/token') {
        scopes.push(url.searchParams.getAll('scope').join(' '));
        return response.end('{"token":"t"}');
      }
      if (request.headers.authorization === undefined) {
        const realm = `Bearer realm="http://${server.host}/token",service="s"`;
        return response.writeHead(401, { 'www-authenticate': realm }).end();
      }
      if (url.searchParams.has('mount')) {
        registry.blobs.set(url.searchParams.get('mount') ?? '', layer);
        return response.writeHead(201, { location: '/v2/a/blobs/x' }).end();
      }
      registry.answer(request, response, body);
    });
    await push(`${server.host}/a:1`, { insecure: [server.host] }, { mountFrom: ['other/b'] });
    expect(scopes).toContain('repository:a:pull,push repository:other/b:pull');
    expect(server.asked.some(({ method }) => method === 'PATCH' || method === 'PUT')).toBe(true);
    expect(server.paths.filter((path) => path.includes('mount=')).length).toBe(2);
  });
});

describe('tags of a repository', () => {
  it('are read page by page, as far as the links lead on the same host', async () => {
    const server = await serve((request, response) => {
      const last = new URL(request.url ?? '', 'http://x').searchParams.get('last');
      const page = last === null ? 0 : Number(last);
      if (page < 2) response.setHeader('link', `</v2/a/b/tags/list?last=${page + 1}&n=2>; rel="next"`);
      else response.setHeader('link', '<http://127.0.0.1:1/v2/a/b/tags/list?last=4>; rel="next"');
      response.end(JSON.stringify({ name: 'a/b', tags: [`t${page}`, `u${page}`] }));
    });
    const api = new Registry(server.host, { configFile: false, proxy: false, insecure: [server.host] });
    expect(await api.tags('a/b')).toEqual(['t0', 'u0', 't1', 'u1', 't2', 'u2']);
    expect(server.paths).toEqual([
      'GET /v2/a/b/tags/list',
      'GET /v2/a/b/tags/list?last=1&n=2',
      'GET /v2/a/b/tags/list?last=2&n=2',
    ]);
  });
});

describe('what is not fetched', () => {
  it('is a layer that only its urls have: it is named, and they are not followed', async () => {
    const elsewhere = await serve((_request, response) => response.end(layer));
    const bad = JSON.parse(image.manifest.toString());
    bad.layers[0].mediaType = 'application/vnd.docker.image.rootfs.foreign.diff.tar';
    bad.layers[0].urls = [`http://${elsewhere.host}/layer`];
    const manifest = Buffer.from(JSON.stringify(bad));
    const blobs = new Map([...image.blobs].slice(0, 1));
    const server = await serve(serveImage({ ...image, manifest, blobs, digest: digestOf(manifest) }));
    await expect(pull(`${server.host}/a:1`, { insecure: [server.host, elsewhere.host] })).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
      hint: expect.stringMatching(/foreign.*never followed/),
    });
    expect(elsewhere.asked).toEqual([]);
  });

  it('is an image of Docker’s schema 1, whatever digest is said to be its', async () => {
    const type = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
    const headers = { 'content-type': type, 'docker-content-digest': `sha256:${'1'.repeat(64)}` };
    const server = await serve((_request, response) => response.writeHead(200, headers).end('{"schemaVersion":1}'));
    await expect(pull(`${server.host}/a:1`, { insecure: [server.host] })).rejects.toMatchObject({
      code: 'ERR_MANIFEST',
      message: expect.stringMatching(/schema 1/),
      hint: expect.stringMatching(/skopeo/),
    });
  });
});

/** An authority, and certificates of it for a server and a client. */
interface Certificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly clientCert: string;
  readonly clientKey: string;
}

function makeCertificates(): Certificates {
  const directory = mkdtempSync(join(tmpdir(), 'tscontain-test-'));
  const at = (name: string) => join(directory, name);
  const openssl = (...argv: string[]) => execFileSync('openssl', argv, { cwd: directory, stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...key, '-subj', '/CN=authority', '-days', '2', '-keyout', 'ca.key', '-out', 'ca.pem');
  for (const [name, extension] of [
    ['server', 'subjectAltName=IP:127.0.0.1,DNS:registry.test'],
    ['client', 'extendedKeyUsage=clientAuth'],
  ] as const) {
    const files = ['-keyout', `${name}.key`, '-out', `${name}.csr`];
    openssl('req', ...key, '-subj', `/CN=${name}`, '-addext', extension, ...files);
    const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-copy_extensions', 'copy'];
    openssl('x509', '-req', '-in', `${name}.csr`, ...signed, '-out', `${name}.pem`);
  }
  const text = (name: string) => readFileSync(at(name), 'utf8');
  const made = {
    ca: text('ca.pem'),
    cert: text('server.pem'),
    key: text('server.key'),
    clientCert: text('client.pem'),
    clientKey: text('client.key'),
  };
  rmSync(directory, { recursive: true });
  return made;
}

/** A registry with TLS; with `clients` it takes only those that have a certificate of the authority. */
async function serveTls({ ca, cert, key }: Certificates, { clients = false } = {}) {
  const clientNames: (string | undefined)[] = [];
  const options = { cert, key, ...(clients && { ca, requestCert: true, rejectUnauthorized: true }) };
  const server = createTlsServer(options, (request, response) => {
    clientNames.push((request.socket as TLSSocket).getPeerCertificate()?.subject?.CN as string | undefined);
    honest(request, response, Buffer.alloc(0));
  });
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  toClose.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  return { clientNames, port: (server.address() as AddressInfo).port };
}

/** A proxy that makes tunnels (CONNECT, RFC 9110 section 9.3.6) to this machine, whatever host is named. */
async function serveTunnels({ password = '', status = 200 } = {}) {
  const asked: { target: string; authorization: string | undefined }[] = [];
  const plain: string[] = [];
  const sockets = new Set<Socket>();
  const proxy = createProxy((request, response) => {
    plain.push(request.url ?? '');
    response.writeHead(500).end();
  });
  proxy.on('connect', (request: IncomingMessage, socket: Socket) => {
    const authorization = request.headers['proxy-authorization'];
    asked.push({ target: request.url ?? '', authorization });
    sockets.add(socket);
    socket.on('error', () => {});
    const wanted = password === '' ? undefined : `Basic ${Buffer.from(`me:${password}`).toString('base64')}`;
    if (status !== 200 || authorization !== wanted) {
      socket.end(`HTTP/1.1 ${status === 200 ? 407 : status} Refused\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    const through = connect(Number(request.url?.split(':').at(-1)), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      through.pipe(socket).pipe(through);
    });
    sockets.add(through);
    through.on('error', () => socket.destroy());
    socket.on('close', () => through.destroy());
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  toClose.push(async () => {
    for (const socket of sockets) socket.destroy();
    proxy.closeAllConnections();
    proxy.close();
    await once(proxy, 'close');
  });
  return { asked, plain, host: `127.0.0.1:${(proxy.address() as AddressInfo).port}` };
}

describe('a registry with TLS', () => {
  let made: Certificates;
  beforeAll(() => {
    try {
      made = makeCertificates();
    } catch {
      // Each test says that openssl is missing.
    }
  });

  it('that asks for a client’s certificate gets that of the options, and no other one does', async (context) => {
    needsPrograms(context, 'openssl');
    const { port, clientNames } = await serveTls(made, { clients: true });
    const host = `127.0.0.1:${port}`;
    const tls = (more: object) => ({ tls: { [host]: { ca: made.ca, ...more } }, retries: 0 });
    const store = new MemoryStore();
    await pull(`${host}/a:1`, tls({ cert: made.clientCert, key: Buffer.from(made.clientKey) }), store);
    expect(store.blobs.size).toBe(3);
    expect(new Set(clientNames)).toEqual(new Set(['client']));
    await expect(pull(`${host}/a:1`, tls({}))).rejects.toMatchObject({ code: 'ERR_REGISTRY' });
    const others = {
      tls: { 'other.example': { ca: made.ca, cert: made.clientCert, key: made.clientKey } },
      retries: 0,
    };
    await expect(pull(`${host}/a:1`, others)).rejects.toMatchObject({ code: 'ERR_REGISTRY' });
  });

  it('is reached through a proxy by a tunnel: it sees nothing of what passes, and TLS is with the registry', async (context) => {
    needsPrograms(context, 'openssl');
    const { port } = await serveTls(made, { clients: true });
    const proxy = await serveTunnels({ password: 'hidden-word' });
    const host = `registry.test:${port}`;
    const tls = { [host]: { ca: made.ca, cert: made.clientCert, key: made.clientKey } };
    const store = new MemoryStore();
    await pull(`${host}/a:1`, { tls, proxy: `http://me:hidden-word@${proxy.host}` }, store);
    expect(store.blobs.size).toBe(3);
    expect(new Set(proxy.asked.map(({ target }) => target))).toEqual(new Set([host]));
    expect(proxy.plain).toEqual([]);
    // The name in the certificate is that of the registry: one that has another is refused through a tunnel too.
    const wrong = `other.test:${port}`;
    const failing = pull(`${wrong}/a:1`, {
      tls: { [wrong]: { ca: made.ca, cert: made.clientCert, key: made.clientKey } },
      proxy: `http://me:hidden-word@${proxy.host}`,
      retries: 0,
    });
    await expect(failing).rejects.toMatchObject({ code: 'ERR_REGISTRY' });
  });

  it('that its proxy refuses to reach is an error that says so, without the password', async (context) => {
    needsPrograms(context, 'openssl');
    for (const [status, said] of [
      [403, /403/],
      [200, /407/],
    ] as const) {
      const proxy = await serveTunnels({ password: 'right', status });
      const options = { proxy: `http://me:hidden-word@${proxy.host}`, retries: 0 };
      const failure: unknown = await pull('registry.test/a:1', options).catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: 'ERR_REGISTRY', message: expect.stringMatching(said) });
      expect(JSON.stringify(failure)).not.toContain('hidden-word');
    }
  });

  it('is reached as the environment says: HTTPS_PROXY, but for NO_PROXY', async (context) => {
    needsPrograms(context, 'openssl');
    const { port } = await serveTls(made);
    const proxy = await serveTunnels();
    const host = `127.0.0.1:${port}`;
    const saved = { ...process.env };
    const environment = { HTTPS_PROXY: `http://${proxy.host}`, https_proxy: '', no_proxy: '', NO_PROXY: '' };
    try {
      Object.assign(process.env, environment);
      const options = () => readRegistryOptions({ configFile: false, tls: { [host]: { ca: made.ca } } });
      const through = async () => {
        const settings = { platform, registry: options(), signal: undefined, onProgress: undefined };
        await pullImage(parseReference(`${host}/a:1`), new MemoryStore(), settings);
        return proxy.asked.splice(0).length;
      };
      expect(await through()).toBeGreaterThan(0);
      process.env.NO_PROXY = '127.0.0.1';
      expect(await through()).toBe(0);
    } finally {
      for (const name of Object.keys(environment)) delete process.env[name];
      Object.assign(process.env, saved);
    }
  });
});

/** Sockets of this process, by inode. */
function sockets(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith('socket:') ? [target] : [];
    } catch {
      return [];
    }
  });
}

describe('connections', () => {
  it.each(['a pull', 'a push', 'a pull that fails', 'one that is aborted', 'a timeout', 'a list of tags'])(
    'are closed when %s has ended',
    async (what) => {
      const receiver = new Receiver();
      const server = await serve((request, response, body) => {
        const blob = request.url?.includes('/blobs/sha256') === true && request.method === 'GET';
        if (what === 'a push') return receiver.answer(request, response, body);
        if (what === 'a list of tags') return response.end('{"tags":[]}');
        if (what === 'a pull that fails' && blob) return response.writeHead(403).end();
        if ((what === 'one that is aborted' || what === 'a timeout') && blob) {
          response.writeHead(200, { 'content-length': layer.length });
          return response.write(layer.subarray(0, 1000));
        }
        honest(request, response, body);
      });
      const options = { insecure: [server.host], retries: 0, timeouts: { idle: 1000 } };
      const name = `${server.host}/a:1`;
      const accepted: Socket[] = [];
      server.server.on('connection', (socket) => accepted.push(socket));
      const before = new Set(sockets());
      const signal = what === 'one that is aborted' ? AbortSignal.timeout(300) : undefined;
      if (what === 'a push') await push(name, options);
      else if (what === 'a list of tags') {
        await new Registry(server.host, { ...options, configFile: false, proxy: false }).tags('a');
      } else if (what === 'a pull') await pull(name, options);
      else await expect(pull(name, options, new MemoryStore(), signal)).rejects.toThrow();
      // The control: there were connections. Those of the server are in this process too, and end with ours.
      expect(accepted.length).toBeGreaterThan(0);
      await expect
        .poll(() => [accepted.filter((socket) => !socket.destroyed).length, sockets().filter((s) => !before.has(s))], {
          timeout: 3000,
        })
        .toEqual([0, []]);
    },
  );
});
