/** Images made of containers: `commit()`. */

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  AbortedError,
  Container,
  type ContainerOptions,
  type Image,
  ImageStore,
  OptionError,
  UnsupportedError,
} from '../../lib/index.js';
import { needsFreezer, needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

let directory = '';

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tscontain-commit-'));
  chmodSync(directory, 0o755);
  for (const name of ['usr', 'etc', 'data/gone/in', 'data/replaced']) {
    mkdirSync(join(directory, 'root', name), { recursive: true });
  }
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(directory, 'root', name));
  for (const name of ['modified', 'deleted', 'replaced/old']) writeFileSync(join(directory, 'root/data', name), 'old');
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const usr = { type: 'bind', source: '/usr', target: '/usr' } as const;
const rootfs = (): ContainerOptions => ({ image: { rootfs: join(directory, 'root') }, mounts: [usr] });
const created = new Date('2020-01-02T03:04:05Z');
const script = `cd /data && echo new > modified && rm deleted && rm -r gone replaced && mkdir replaced && echo b > replaced/new &&
  echo a > added && ln added again && chmod 640 added && ln -s /etc/passwd link && mkfifo fifo`;
const freezes = needsFreezer.has();

async function sh(box: Container, text: string): Promise<string> {
  return (await box.exec(['/bin/sh', '-c', text], { check: true })).stdout;
}

const shown =
  'cd / && find data work -printf "%p %y %m %U %G %n %l\\n" 2>/dev/null | sed "s/ d \\(.*\\) [0-9]* $/ d \\1/" | sort';

async function openStore(): Promise<ImageStore> {
  return await ImageStore.open({ path: mkdtempSync(join(directory, 'store-')) });
}

async function layerOf(image: Image, index: number): Promise<Buffer> {
  const { digest, size } = image.manifest.layers[index] ?? expect.fail('no such layer');
  return gunzipSync(await image.store.readBlob(digest, size));
}

/** A container of an image, by its unpacked layers. */
async function withImage<Value>(image: Image, use: (box: Container) => Promise<Value>): Promise<Value> {
  const lease = await image.unpack();
  try {
    const layers = { directory: image.store.path, names: lease.paths.map((path) => relative(image.store.path, path)) };
    await using box = await Container.create({ image: { layers }, mounts: [usr] });
    return await use(box);
  } finally {
    await lease.release();
  }
}

describe('an image of a container', () => {
  it('has one layer, of the whole root, where the root is of no image', async () => {
    await using store = await openStore();
    await using box = await Container.create(rootfs());
    await sh(box, script);
    const options = { store, created, pause: freezes, reference: 'whole', message: 'all of it', author: 'me' };
    const image = await box.commit({ ...options, config: { cmd: ['/bin/sh'], env: { A: 'b' } } });
    expect(image.reference).toBe('docker.io/library/whole:latest');
    expect((await store.resolve('whole'))?.digest).toBe(image.descriptor.digest);
    expect(image.config).toMatchObject({ cmd: ['/bin/sh'], env: { A: 'b' }, author: 'me' });
    expect(image.history()).toMatchObject([{ created: '2020-01-02T03:04:05Z', comment: 'all of it', author: 'me' }]);
    const out = mkdtempSync(join(directory, 'out-'));
    execFileSync('tar', ['xf', '-', '-C', out], { input: await layerOf(image, 0) });
    expect(readdirSync(join(out, 'data')).sort()).toEqual(
      ['added', 'again', 'fifo', 'link', 'modified', 'replaced'].sort(),
    );
    expect(readdirSync(join(out, 'etc')).sort()).toEqual(['group', 'passwd']);
    const again = await box.commit({
      store,
      created,
      pause: freezes,
      author: 'me',
      message: 'all of it',
      config: { cmd: ['/bin/sh'], env: { A: 'b' } },
    });
    expect(again.descriptor).toEqual(image.descriptor);
    expect(await sh(box, 'echo goes on')).toBe('goes on\n');
  });

  it('is that of its layers with one more, which makes the tree of the container of them', async (context) => {
    needsRoot(context);
    await using store = await openStore();
    await using first = await Container.create(rootfs());
    const base = await first.commit({ store, created, pause: freezes, config: { env: { A: 'b' } } });
    const { image, tree } = await withImage(base, async (box) => {
      const same = await box.commit({ base, created, pause: freezes });
      expect(same.manifest.layers).toEqual(base.manifest.layers);
      await sh(box, `${script}; mkdir /work; chown 5:6 /work; echo x > /etc/hosts`);
      const made = await box.commit({
        base,
        created,
        pause: freezes,
        reference: 'two:1',
        config: { workingDir: '/work' },
      });
      expect((await box.commit({ base, created, pause: freezes })).config.diffIds).toEqual(made.config.diffIds);
      const shownNow = await sh(box, shown);
      // No layer can have a file of this name: it fails while it is paused, and goes on.
      await sh(box, 'echo > /data/.wh.name');
      await expect(box.commit({ base, pause: freezes })).rejects.toMatchObject({ errno: 'EINVAL' });
      await sh(box, 'echo goes on');
      return { image: made, tree: shownNow };
    });
    expect(image.manifest.layers.slice(0, 1)).toEqual(base.manifest.layers);
    expect(image.config).toMatchObject({ env: { A: 'b' }, workingDir: '/work' });
    const listing = execFileSync('tar', ['tf', '-'], { input: await layerOf(image, 1), encoding: 'utf8' });
    expect(
      listing
        .trim()
        .split('\n')
        .map((line) => line.replace(/^\.\//, '')),
    ).toEqual(
      expect.arrayContaining([
        'data/.wh.deleted',
        'data/.wh.gone',
        'data/replaced/.wh..wh..opq',
        'data/replaced/new',
        'work/',
      ]),
    );
    expect(listing).not.toContain('hosts');
    expect(await withImage(image, (box) => sh(box, shown))).toBe(tree);
    expect(tree).toContain('data/again');
  });

  it('is of a tree that stands still, and a container under load goes on whatever becomes of it', async (context) => {
    needsFreezer(context);
    await using store = await openStore();
    await using box = await Container.create(rootfs());
    await sh(box, script);
    const busy = box.exec(['/bin/sh', '-c', 'i=0; while :; do i=$((i+1)); echo $i > /data/a; echo $i > /data/b; done']);
    try {
      await sh(box, 'until [ -s /data/b ]; do :; done');
      for (let round = 0; round < 5; round++) {
        const image = await box.commit({ store });
        const input = await layerOf(image, 0);
        const read = (path: string) => execFileSync('tar', ['xOf', '-', path], { input, encoding: 'utf8' }).trim();
        const [a, b] = [read('data/a'), read('data/b')].map(Number);
        // Between opening a file and writing to it, it is empty.
        if (a && b) expect((a ?? 0) - (b ?? 0)).toBeLessThanOrEqual(1);
      }
      const controller = new AbortController();
      const commit = box.commit({ store, signal: controller.signal });
      setTimeout(() => controller.abort(), 5);
      await commit.then(
        () => {},
        (error) => expect(error).toBeInstanceOf(AbortedError),
      );
      expect(await sh(box, 'echo goes on')).toBe('goes on\n');
    } finally {
      busy.kill('SIGKILL');
      await busy.catch(() => {});
    }
  });

  it('refuses what it cannot be made of', async () => {
    await using store = await openStore();
    await using host = await Container.create();
    await expect(host.commit({ store })).rejects.toThrow(UnsupportedError);
    await using box = await Container.create(rootfs());
    const bad = (options: object) => expect(box.commit(options)).rejects.toThrow(OptionError);
    await bad({ store: {} });
    await bad({ store, base: {} });
    await bad({ store, created: new Date(Number.NaN) });
    await bad({ store, compression: 'xz' });
    await bad({ store, pauze: true });
    await expect(box.commit({ store, reference: 'A b' })).rejects.toMatchObject({ code: 'ERR_REFERENCE' });
    await bad({ store, config: { cmd: 'sh' } });
    await bad({ store, config: { env: { A: 1 } } });
    await bad({ store, signal: 1 });
    const image = await box.commit({ store, pause: false, reference: 'mine' });
    await bad({ base: image });
    await sh(box, 'echo > /data/other');
    await expect(box.commit({ store, pause: false, reference: 'mine' })).rejects.toMatchObject({
      code: 'ERR_REFERENCE',
    });
    await box.commit({ store, pause: false, reference: 'mine', moveTags: true });
    await box.kill();
    await expect(box.commit({ store })).rejects.toMatchObject({ code: 'ERR_CONTAINER_GONE' });
  });
});
