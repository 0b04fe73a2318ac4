/** Options of containers that are about their image: which one, how it is unpacked, what is heard of it, and when that ends. */

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  AbortedError,
  Container,
  type ContainerOptions,
  Image,
  type ImageProgress,
  ImageStore,
} from '../../../lib/index.js';
import { TemporaryDirectory } from '../../support/layout.js';
import { type Answer, makeImage, serveImage, serveIndex, TestServer } from '../../support/registry.js';
import { checkResidue } from '../../support/residue.js';
import { systemLayer } from '../../support/system.js';
import { file, type TarMember, tar } from '../../support/tar.js';

checkResidue();

let system: Buffer;
let temporary: TemporaryDirectory;
let store: ImageStore;
let server: TestServer;
let answer: Answer;
beforeAll(() => {
  system = systemLayer();
});
beforeEach(async () => {
  temporary = new TemporaryDirectory();
  store = await ImageStore.open({ path: temporary.at('store') });
  server = await TestServer.start((request, response, body) => answer(request, response, body));
});
afterEach(async () => {
  await server.close();
  await store.close();
  temporary.dispose();
});

const image = (architecture: string, ...members: TarMember[]) =>
  makeImage([system, tar(file('name', architecture), ...members)], architecture);

/** A container of what the server has. */
function options(more: ContainerOptions = {}): ContainerOptions {
  const registry = { insecure: [server.host], configFile: false, proxy: false } as const;
  return { image: `${server.host}/a/b:1`, store, registry, ...more };
}

const name = ['cat', '/name'] as const;
const run = async (more: ContainerOptions = {}) => (await Container.run(name, options(more))).stdout;
const code = (value: string) => expect.objectContaining({ code: value });

describe('platform', () => {
  const other = process.arch === 'arm64' ? 'amd64' : 'arm64';
  const own = process.arch === 'arm64' ? 'arm64' : 'amd64';

  it('says which image a name stands for, and an image for another is not taken from the store', async () => {
    // The programs in it are this host's, so that they run.
    answer = serveIndex({ amd64: image('amd64'), arm64: image('arm64') });
    expect(await run()).toBe(own);
    await expect(run({ platform: `linux/${other}`, pull: 'never' })).rejects.toMatchObject({
      code: 'ERR_NOT_FOUND',
      message: expect.stringMatching(`is for linux/${own}, and not for linux/${other}`),
    });
    await using box = await Container.create(options({ platform: `linux/${other}` }));
    expect((await box.exec(name)).stdout).toBe(other);
    expect(box.inspect().image).toMatchObject({ platform: `linux/${other}` });
    const asked = server.asked.length;
    expect(await run({ platform: other })).toBe(other);
    // What is meant is what the store has by that name, where nothing else is asked for.
    expect(await run()).toBe(other);
    expect(server.asked.length).toBe(asked);
    expect(await run({ platform: own })).toBe(own);
    await expect(run({ platform: 'linux/s390x' })).rejects.toThrow(code('ERR_NOT_FOUND'));
    expect(await run({ pull: 'never' })).toBe(own);
  });

  it('that this host has not is told of by a program that cannot be executed', async (context) => {
    const machine = { arm64: 183, amd64: 62 }[other];
    const elf = Buffer.alloc(120);
    Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]).copy(elf);
    elf.writeUInt16LE(2, 16);
    elf.writeUInt16LE(machine, 18);
    const handlers = '/proc/sys/fs/binfmt_misc';
    const emulated = existsSync(handlers) && readdirSync(handlers).some((entry) => entry.startsWith('qemu'));
    context.skip(emulated, 'an emulator would run it');
    const program = file('program', elf, { mode: 0o755 });
    answer = serveIndex({ amd64: image('amd64', program), arm64: image('arm64', program) });
    const hint = (platform: string) =>
      Container.run(['/program'], options({ platform })).then(
        () => undefined,
        (error) => [error.code, error.hint],
      );
    const foreign = `the image is for linux/${other}`;
    expect(await hint(other)).toEqual(['ERR_COMMAND_NOT_EXECUTABLE', expect.stringContaining(foreign)]);
    expect(await hint(own)).toEqual(['ERR_COMMAND_NOT_EXECUTABLE', expect.not.stringContaining(foreign)]);
  });
});

describe('unpack', () => {
  it('bounds a layer, and says what becomes of devices in it', async () => {
    answer = serveImage(image('amd64', { name: 'device', type: '3', major: 1, minor: 3 }));
    await expect(run()).rejects.toThrow(code('ERR_LAYER'));
    const skip = { devices: 'skip' } as const;
    await expect(run({ unpack: { ...skip, limits: { entries: 5 } } })).rejects.toThrow(code('ERR_LAYER_LIMIT'));
    expect(await run({ unpack: skip })).toBe('amd64');
    await expect(run()).rejects.toThrow(code('ERR_LAYER'));
    const taken = await Image.get(String(options().image), { store });
    expect(taken && (await Container.run(name, { image: taken, unpack: skip })).stdout).toBe('amd64');
    await using box = await Container.create(options({ unpack: skip }));
    await using twin = await box.fork({ pause: false });
    expect((await twin.exec(['ls', '/device'])).exitCode).not.toBe(0);
  });
});

describe('onProgress', () => {
  it('hears of what is fetched and unpacked, once', async () => {
    const served = image('amd64');
    answer = serveImage(served);
    const events: ImageProgress[] = [];
    const onProgress = (event: ImageProgress) => void events.push(event);
    expect(await run({ onProgress })).toBe('amd64');
    const phases = (phase: string) => events.filter((event) => event.phase === phase).length;
    expect(events[0]).toEqual({ phase: 'resolving', reference: options().image });
    expect(events[1]).toEqual({ phase: 'resolved', reference: options().image, digest: served.digest });
    // A configuration and two layers; each layer becomes a directory.
    expect([phases('downloaded'), phases('unpacked')]).toEqual([3, 2]);
    expect(events.findIndex(({ phase }) => phase === 'unpacking')).toBeGreaterThan(
      events.findLastIndex(({ phase }) => phase === 'downloaded'),
    );
    events.length = 0;
    expect(await run({ onProgress })).toBe('amd64');
    expect(events).toEqual([]);
  });

  it('ends the creation by what it throws', async () => {
    answer = serveImage(image('amd64'));
    for (const phase of ['resolved', 'downloading', 'unpacking', 'unpacked']) {
      const stop = new RangeError(`enough of ${phase}`);
      const onProgress = (event: ImageProgress) => {
        if (event.phase === phase) throw stop;
      };
      await expect(Container.create(options({ onProgress, pull: 'always' })), phase).rejects.toThrow(stop.message);
    }
  });
});

describe('a signal', () => {
  it.each(['resolving', 'downloading', 'unpacking'])('that aborts while %s ends the creation', async (phase) => {
    answer = serveImage(image('amd64'));
    // Without an end, a request would wait until it is aborted.
    if (phase === 'resolving') answer = () => {};
    const controller = new AbortController();
    const reason = new Error('enough');
    const onProgress = (event: ImageProgress) => {
      if (event.phase === phase) controller.abort(reason);
    };
    const creating = Container.create(options({ onProgress, signal: controller.signal }));
    await expect(creating).rejects.toBeInstanceOf(AbortedError);
    await expect(creating).rejects.toMatchObject({ code: 'ERR_ABORTED', cause: reason });
    expect(await store.resolve(String(options().image)).then(Boolean)).toBe(phase === 'unpacking');
    expect(readdirSync(join(store.path, 'layers'))).toEqual([]);
    answer = serveImage(image('amd64'));
    expect(await run()).toBe('amd64');
  });

  it('of another realm does too', async () => {
    answer = () => {};
    const target = new EventTarget();
    const signal = Object.assign(target, { aborted: false, reason: undefined as unknown }) as unknown as AbortSignal;
    const creating = Container.create(options({ signal }));
    setTimeout(() => {
      Object.assign(signal, { aborted: true, reason: 'enough' });
      target.dispatchEvent(new Event('abort'));
    }, 20);
    await expect(creating).rejects.toMatchObject({ code: 'ERR_ABORTED', cause: 'enough' });
  });
});
