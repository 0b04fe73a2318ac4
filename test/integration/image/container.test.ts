/** Containers of images: what their configuration says, what they share, and how long their layers are kept. */

import { existsSync, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { Container, type ContainerOptions, Image, ImageError, ImageStore, OptionError } from '../../../lib/index.js';
import { DockerRegistry } from '../../support/docker-registry.js';
import { LayoutWriter, named, TemporaryDirectory } from '../../support/layout.js';
import { needsPrograms } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';
import { systemLayer } from '../../support/system.js';
import { file, tar } from '../../support/tar.js';

checkResidue();

let temporary: TemporaryDirectory;
let layout: LayoutWriter;
let store: ImageStore;
let system: Buffer;

beforeAll(async () => {
  temporary = new TemporaryDirectory();
  layout = new LayoutWriter(temporary);
  store = await ImageStore.open({ path: temporary.at('store') });
  system = systemLayer();
});
afterAll(async () => {
  await store.close();
  temporary.dispose();
});

/** An image in the store of the system and one more layer, with this configuration. */
async function make(name: string, config: object = {}, into = store): Promise<Image> {
  layout.image({ layers: [system, tar(file('name', name))], config, annotations: named(name) });
  return Image.open(layout.path, name, { store: into, as: name, platform: 'linux/amd64' });
}

/** A store of its own, for what looks at everything in it. */
async function withStore(action: (own: ImageStore) => Promise<void>): Promise<void> {
  const directory = new TemporaryDirectory();
  const own = await ImageStore.open({ path: directory.at('store') });
  try {
    await action(own);
  } finally {
    await own.close();
    directory.dispose();
  }
}

/** Everything in a directory; links are not followed. */
function contents(path: string): { files: number; bytes: number } {
  const all = { files: 0, bytes: 0 };
  const visit = (at: string): void => {
    for (const entry of readdirSync(at, { withFileTypes: true })) {
      all.files++;
      all.bytes += lstatSync(join(at, entry.name)).blocks * 512;
      if (entry.isDirectory()) visit(join(at, entry.name));
    }
  };
  visit(path);
  return all;
}

const sh = (script: string): [string, ...string[]] => ['sh', '-c', script];
const code = (value: string) => expect.objectContaining({ code: value });

describe('a container of an image', () => {
  it('is made of the image, or of its name, and has its layers in order', async () => {
    const image = await make('plain:1');
    for (const option of ['plain:1', 'docker.io/library/plain:1', image]) {
      const more = option === image ? {} : { store };
      const { stdout } = await Container.run(['cat', '/name'], { image: option, ...more });
      expect(stdout).toBe('plain:1');
    }
    const { stdout } = await Container.run(sh('echo more >> /name; cat /name'), { image });
    expect(stdout).toBe('plain:1more\n');
    expect((await Container.run(['cat', '/name'], { image })).stdout).toBe('plain:1');
  });

  it('is what its configuration says, unless the options say it', async () => {
    const image = await make('configured:1', {
      Env: ['COLOUR=red', 'SIZE=1', 'EMPTY='],
      WorkingDir: '/made/here/',
      Entrypoint: ['/bin/sh', '-c', 'echo "$COLOUR $SIZE [$EMPTY] $PWD $0 $1"; cat /proc/self/cwd/../../name'],
      Cmd: ['a', 'b c'],
    });
    const own = await Container.run(undefined, { image });
    expect(own).toMatchObject({ exitCode: 0, stdout: 'red 1 [] /made/here a b c\nconfigured:1', stderr: '' });
    const options: ContainerOptions = { image, env: { COLOUR: 'blue' }, cwd: '/tmp' };
    const script = 'echo $COLOUR $SIZE $PWD';
    expect((await Container.run(sh(script), options)).stdout).toBe('blue 1 /tmp\n');
    await using box = await Container.create(options);
    expect((await box.exec(sh(script), { env: { SIZE: '2' } })).stdout).toBe('blue 2 /tmp\n');
    expect((await box.exec()).stdout).toContain('blue 1 [] /tmp a b c\n');
  });

  it('runs as the user that its configuration names', async (context) => {
    context.skip(process.geteuid?.() !== 0, 'an ordinary user has one id to give');
    let made = 0;
    const who = async (User: string, options: ContainerOptions = {}) => {
      const image = await make(`user:${made++}`, { User });
      return (await Container.run(sh('echo $(id -u):$(id -g):$HOME'), { image, ...options })).stdout.trim();
    };
    expect(await who('worker')).toBe('500:501:/home/worker');
    expect(await who('worker:7')).toBe('500:7:/home/worker');
    expect(await who('12:13')).toBe('12:13:/');
    expect(await who('')).toBe('0:0:/root');
    expect(await who('worker', { user: 0 })).toBe('0:0:/root');
    await expect(who('nobody-there')).rejects.toThrow(code('ERR_CONFIG'));
  });

  it('has its volumes, and tells of them and of its ports', async () => {
    const image = await make('volumes:1', { Volumes: { '/data/deep': {} }, ExposedPorts: { '80/tcp': {} } });
    await using box = await Container.create({ image });
    expect((await box.exec(sh('echo x > /data/deep/file && cat /data/deep/file'))).stdout).toBe('x\n');
    expect(box.inspect().storage).toMatchObject({ driver: 'overlay', upper: 'tmpfs' });
    expect(box.inspect().image).toEqual({
      id: image.id,
      reference: 'docker.io/library/volumes:1',
      digest: image.descriptor.digest,
      platform: 'linux/amd64',
      layers: image.config.diffIds,
      exposedPorts: ['80/tcp'],
      volumes: ['/data/deep'],
    });
  });

  it.each([
    ['SIGUSR1', 'USR1'],
    ['10', 'USR1'],
    ['SIGRTMIN+3', '37'],
  ])('is stopped with %s', async (StopSignal, trapped) => {
    const image = await make(`stop-${trapped.toLowerCase()}-${StopSignal.length}:1`, { StopSignal });
    await using box = await Container.create({ image });
    const script = `trap "echo stopped; exit 3" ${trapped}; echo ready; while :; do sleep 0.05; done`;
    const running = box.exec(sh(script), { stdout: 'pipe' });
    const output: string[] = [];
    for await (const piece of running.stdout ?? []) {
      output.push(String(piece));
      if (output.join('') === 'ready\n') void box.stop();
    }
    expect(output.join('')).toBe('ready\nstopped\n');
    await box.wait();
  });

  it('has no program where the image has none', async () => {
    const image = await make('silent:1');
    await expect(Container.run(undefined, { image })).rejects.toThrow(OptionError);
    await expect(Container.run(undefined, {})).rejects.toThrow(OptionError);
    await using box = await Container.create({ image });
    expect(() => box.exec()).toThrow(OptionError);
  });

  it('is planned from what the store has, and nothing is unpacked', async () => {
    await withStore(async (own) => {
      await make('planned:1', { WorkingDir: '/w' }, own);
      const before = contents(own.path);
      const text = String(await Container.plan({ image: 'planned:1', store: own }));
      expect(text).toContain('/w');
      expect(contents(own.path)).toEqual(before);
      await expect(Container.plan({ image: 'other:1', store: own })).rejects.toThrow(code('ERR_NOT_FOUND'));
    });
  });
});

describe('an image that is not there', () => {
  it('is an error which tells of the host, where that may have been meant', async () => {
    const missing = Container.run(['true'], { image: 'hots', store, pull: 'never' });
    await expect(missing).rejects.toMatchObject({ code: 'ERR_NOT_FOUND', hint: expect.stringContaining("'host'") });
    const elsewhere = await Container.create({ image: 'ghcr.io/a/b', store, pull: 'never' }).catch((error) => error);
    expect(elsewhere).toBeInstanceOf(ImageError);
    expect(elsewhere.hint).toBeUndefined();
  });
});

describe('an image of a registry', () => {
  it('is fetched when the store has none, each time, or never', async (context) => {
    needsPrograms(context, 'docker-registry');
    const registry = await DockerRegistry.start();
    try {
      const name = `${registry.host}/team/app:1`;
      const reach = { insecure: [registry.host] };
      await (await make('pushed:1')).push(name, reach);
      await withStore(async (own) => {
        const run = async (pull?: 'missing' | 'always' | 'never') => {
          const options = { image: name, store: own, registry: reach, ...(pull && { pull }) };
          return (await Container.run(['cat', '/name'], options)).stdout;
        };
        await expect(run('never')).rejects.toThrow(code('ERR_NOT_FOUND'));
        expect(await run()).toBe('pushed:1');
        await (await make('pushed:2')).push(name, reach);
        expect(await run('never')).toBe('pushed:1');
        expect(await run('missing')).toBe('pushed:1');
        expect(await run('always')).toBe('pushed:2');
        expect(await run('never')).toBe('pushed:2');
        const absent = Container.run(['true'], { image: `${registry.host}/team/other`, store: own, registry: reach });
        await expect(absent).rejects.toThrow(code('ERR_NOT_FOUND'));
      });
    } finally {
      await registry.stop();
    }
  });
});

describe('the layers of an image', () => {
  it('are kept while a container runs, and no longer', async () => {
    await withStore(async (own) => {
      const image = await make('leased:1', {}, own);
      const box = await Container.create({ image });
      const layers = () => readdirSync(join(own.path, 'layers')).length;
      await own.untag('leased:1');
      await own.gc();
      expect(layers()).toBe(2);
      expect((await box.exec(['cat', '/name'])).stdout).toBe('leased:1');
      await box.kill();
      await own.gc();
      expect(layers()).toBe(0);
    });
  });

  it('are let go when a container cannot be made', async () => {
    await withStore(async (own) => {
      // A file where the directory should be: found only when the steps run.
      const image = await make('failing:1', { WorkingDir: '/name/deep' }, own);
      const bad = await make('bad:1', { User: '1000x' }, own);
      await expect(Container.create({ image })).rejects.toThrow(code('ERR_CONFIG'));
      await expect(Container.create({ image: bad })).rejects.toThrow(code('ERR_CONFIG'));
      // What the blueprint refuses, after the layers have been taken.
      const refused = { image, limits: { io: [{ device: '250:250', readBps: 1 }] }, cwd: '/' };
      await Container.create(refused).catch(() => {});
      const aborted = AbortSignal.timeout(1);
      await Container.create({ image, signal: aborted, cwd: '/' }).then(
        (box) => box.kill(),
        () => {},
      );
      for (const name of ['failing:1', 'bad:1']) await own.untag(name);
      await own.gc();
      expect(readdirSync(join(own.path, 'layers'))).toEqual([]);
    });
  });

  it('are the same for a hundred containers, which add nothing to the store', async () => {
    await withStore(async (own) => {
      const image = await make('shared:1', {}, own);
      await Container.run(['cat', '/name'], { image });
      // Each layer is marked, by an empty file, once it is safe on the disk.
      const safe = (layer: string) => existsSync(join(own.path, 'layers', layer, 'synced'));
      await vi.waitFor(() => expect(readdirSync(join(own.path, 'layers')).every(safe)).toBe(true), 10_000);
      const before = contents(own.path);
      const boxes = await Promise.all(Array.from({ length: 100 }, () => Container.create({ image })));
      try {
        const wrote = await boxes[99]?.exec(sh('echo own > /name; cat /name'));
        expect(wrote?.stdout).toBe('own\n');
        expect((await boxes[0]?.exec(['cat', '/name']))?.stdout).toBe('shared:1');
        expect(contents(own.path)).toEqual(before);
      } finally {
        await Promise.all(boxes.map((box) => box.kill()));
      }
      expect(contents(own.path)).toEqual(before);
    });
  });
});
