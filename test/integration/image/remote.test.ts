/** Images between a registry and a store on disk: what they are called, and what stays where it fails. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestOf } from '../../../lib/image/digest.js';
import { Image, type ImageProgress, ImageStore } from '../../../lib/index.js';
import { DockerRegistry } from '../../support/docker-registry.js';
import { LayoutWriter, TemporaryDirectory } from '../../support/layout.js';
import { makeImage, serveImage, TestServer } from '../../support/registry.js';
import { needsPrograms } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';
import { file, tar } from '../../support/tar.js';

checkResidue();

let temporary: TemporaryDirectory;
let store: ImageStore;
let server: TestServer;
let served = makeImage([tar(file('a', '1'))]);
beforeEach(async () => {
  temporary = new TemporaryDirectory();
  store = await ImageStore.open({ path: temporary.at('store') });
  server = await TestServer.start((request, response, body) => serveImage(served)(request, response, body));
  served = makeImage([tar(file('a', '1'))]);
});
afterEach(async () => {
  await server.close();
  await store.close();
  temporary.dispose();
});

const code = (value: string) => expect.objectContaining({ code: value });
const offline = { configFile: false, proxy: false } as const;
const pull = (name: string, more: object = {}) =>
  Image.pull(`${server.host}/${name}`, {
    store,
    platform: 'linux/amd64',
    insecure: [server.host],
    ...offline,
    ...more,
  });

describe('an image that is pulled', () => {
  it('has the name that it was asked for by, and can be unpacked', async () => {
    const image = await pull('a/b');
    expect(image.reference).toBe(`${server.host}/a/b:latest`);
    expect(image.descriptor.digest).toBe(served.digest);
    using lease = await image.unpack();
    expect(readFileSync(join(lease.paths[0] ?? '', 'a'), 'utf8')).toBe('1');
  });

  it('takes the name from the one that had it, which stays until gc', async () => {
    const first = await pull('a/b:1');
    served = makeImage([tar(file('a', '2'))]);
    const second = await pull('a/b:1');
    expect((await store.resolve(`${server.host}/a/b:1`))?.digest).toBe(second.descriptor.digest);
    expect(await store.hasBlob(first.descriptor.digest)).toBe(true);
    await store.gc();
    expect(await store.hasBlob(first.descriptor.digest)).toBe(false);
    expect(await store.hasBlob(second.descriptor.digest)).toBe(true);
  });

  it('leaves the name as it was where it cannot be read', async () => {
    const first = await pull('a/b:1');
    const config = [...served.blobs.values()][0] ?? Buffer.alloc(0);
    served = makeImage([Buffer.from('a'), Buffer.from('b')]);
    served.blobs.set(digestOf(config), config);
    const manifest = JSON.parse(served.manifest.toString());
    manifest.config = { ...manifest.config, digest: digestOf(config), size: config.length };
    const bytes = Buffer.from(JSON.stringify(manifest));
    served = { ...served, manifest: bytes, digest: digestOf(bytes) };
    await expect(pull('a/b:1')).rejects.toThrow(code('ERR_CONFIG'));
    expect((await store.resolve(`${server.host}/a/b:1`))?.digest).toBe(first.descriptor.digest);
  });

  it('is not swept away by a gc before it has its name', async () => {
    const collecting: Promise<unknown>[] = [];
    const onProgress = ({ phase }: ImageProgress) => phase === 'downloaded' && collecting.push(store.gc());
    const image = await pull('a/b', { onProgress });
    await Promise.all(collecting);
    expect(collecting).toHaveLength(2);
    for (const digest of served.blobs.keys()) expect(await store.hasBlob(digest as never)).toBe(true);
    expect(image.manifest.layers).toHaveLength(1);
  });

  it('is found by name, id and digest, and where there is none, nothing', async () => {
    const image = await pull('a/b');
    for (const name of [`${server.host}/a/b`, image.id, image.descriptor.digest]) {
      const found = await Image.get(name, { store });
      expect([found?.id, found?.reference]).toEqual([image.id, `${server.host}/a/b:latest`]);
    }
    expect(await Image.get('debian:12', { store })).toBeUndefined();
    expect(await Image.get(digestOf(Buffer.alloc(0)), { store })).toBeUndefined();
    await expect(Image.get('sha256:x', { store })).rejects.toThrow(code('ERR_DIGEST'));
  });

  it.each([
    [{ platform: 'a/b/c/d' }, 'platform'],
    [{ store: {} }, 'store'],
    [{ signal: 1 }, 'signal'],
    [{ onProgress: 1 }, 'onProgress'],
    [{ retries: -1 }, 'retries'],
    [{ moveTags: true }, 'moveTags'],
  ])('refuses the options %j without a request', async (options, option) => {
    const failing = pull('a/b', options);
    await expect(failing).rejects.toThrow(expect.objectContaining({ code: 'ERR_OPTION', option }));
    expect(server.asked).toEqual([]);
  });

  it('ends when its signal says so', async () => {
    await expect(pull('a/b', { signal: AbortSignal.abort() })).rejects.toThrow(code('ERR_ABORTED'));
    expect(await store.references()).toEqual([]);
  });
});

describe('an image that is pushed', () => {
  async function made(as?: string): Promise<Image> {
    const layout = new LayoutWriter(temporary);
    layout.image();
    return await Image.open(layout.path, undefined, { store, platform: 'linux/amd64', ...(as && { as }) });
  }

  it('is the same when it is pulled by another, and its layers are taken from beside it', async (context) => {
    needsPrograms(context, 'docker-registry');
    const registry = await DockerRegistry.start();
    const options = { insecure: [registry.host], ...offline };
    try {
      const image = await made(`${registry.host}/a/b:1`);
      await image.push(undefined, options);
      const events: ImageProgress[] = [];
      await image.push(`${registry.host}/c:2`, { ...options, onProgress: (event) => void events.push(event) });
      expect(events.map(({ phase }) => phase)).toEqual(['mounted', 'mounted']);
      await using other = await ImageStore.open({ path: temporary.at('other') });
      const again = await Image.pull(`${registry.host}/c:2`, { ...options, store: other, platform: 'linux/amd64' });
      expect(again.inspect()).toEqual({ ...image.inspect(), reference: `${registry.host}/c:2` });
    } finally {
      await registry.stop();
    }
  });

  it('needs a name', async () => {
    const image = await made();
    await expect(image.push()).rejects.toThrow(expect.objectContaining({ code: 'ERR_OPTION', option: 'reference' }));
    const options = { mountFrom: ['a:b'], ...offline };
    await expect(image.push('127.0.0.1:1/a', options)).rejects.toThrow(/mountFrom\[0\]/);
  });
});
