/** An image in a store, unpacked: which layers, when, and what is left where it fails. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestOf } from '../../../lib/image/digest.js';
import { mediaTypes } from '../../../lib/image/document/index.js';
import { Image } from '../../../lib/image/image.js';
import type { ImageProgress } from '../../../lib/image/progress.js';
import { ImageStore } from '../../../lib/image/store/index.js';
import { writeImage } from '../../../lib/image/write.js';
import { TemporaryDirectory } from '../../support/layout.js';
import { checkResidue } from '../../support/residue.js';
import { directory, file, type TarMember, tar } from '../../support/tar.js';

checkResidue();

let temporary: TemporaryDirectory;
let store: ImageStore;
beforeEach(async () => {
  temporary = new TemporaryDirectory();
  store = await ImageStore.open({ path: temporary.at('store') });
});
afterEach(async () => {
  await store.close();
  temporary.dispose();
});

/** An image of these archives, whose configuration may tell of other ones. */
async function image(...archives: readonly (readonly TarMember[])[]): Promise<Image> {
  return await imageOf(archives.map((members) => tar(...members)));
}

async function imageOf(tars: readonly Buffer[], diffIds = tars.map((bytes) => digestOf(bytes))): Promise<Image> {
  const layers = [];
  for (const [index, bytes] of tars.entries()) {
    const stored = await store.putBlob(gzipSync(bytes));
    const diffId = diffIds[index];
    if (diffId) layers.push({ descriptor: { mediaType: mediaTypes.ociLayerGzip, ...stored }, diffId });
  }
  return await Image.read(store, (await writeImage(store, { layers })).descriptor);
}

const unpacked = () => readdirSync(join(store.path, 'layers')).length;
const inProgress = () =>
  readdirSync(join(store.path, 'tmp')).flatMap((name) => readdirSync(join(store.path, 'tmp', name)));
const code = (value: string) => expect.objectContaining({ code: value });

describe('an image that is unpacked', () => {
  it('has a directory for each layer, topmost first, with that layer’s own content', async () => {
    const made = await image([directory('etc/'), file('etc/a', 'below')], [file('etc/a', 'above'), file('b')]);
    using lease = await made.unpack();
    const [top = '', bottom = ''] = lease.paths;
    expect(lease.paths).toHaveLength(2);
    expect(readFileSync(join(top, 'etc/a'), 'utf8')).toBe('above');
    expect(readFileSync(join(bottom, 'etc/a'), 'utf8')).toBe('below');
    expect(existsSync(join(bottom, 'b'))).toBe(false);
  });

  it('tells of each layer by its diffID, and of none that was there', async () => {
    const made = await image([file('a', 'x'.repeat(300_000))], [file('b')]);
    const events: ImageProgress[] = [];
    const onProgress = (event: ImageProgress) => void events.push(event);
    (await made.unpack({ onProgress })).release();
    expect(events.filter(({ phase }) => phase === 'unpacked')).toEqual([
      { phase: 'unpacked', digest: made.config.diffIds[0], bytes: 300_000, entries: 1 },
      { phase: 'unpacked', digest: made.config.diffIds[1], bytes: 0, entries: 1 },
    ]);
    expect(events[0]).toMatchObject({ phase: 'unpacking', digest: made.config.diffIds[0] });
    events.length = 0;
    (await made.unpack({ onProgress })).release();
    expect(events).toEqual([]);
  });

  it('is kept from gc by its lease, and not longer', async () => {
    const made = await image([file('a')]);
    const lease = await made.unpack();
    await store.gc();
    expect(existsSync(lease.paths[0] ?? '')).toBe(true);
    lease.release();
    await store.gc();
    expect(unpacked()).toBe(0);
  });

  it('is unpacked once, however many ask', async () => {
    const made = await image([file('a')], [file('b')]);
    const done: ImageProgress[] = [];
    const onProgress = (event: ImageProgress) => event.phase === 'unpacked' && done.push(event);
    const leases = await Promise.all([1, 2, 3, 4].map(() => made.unpack({ onProgress })));
    expect(done).toHaveLength(2);
    for (const lease of leases) lease.release();
  });

  it('is another tree where devices are left out, which does not count where they are refused', async () => {
    const made = await image([file('a'), { name: 'sda', type: '4', major: 8 }]);
    using lease = await made.unpack({ devices: 'skip' });
    expect(readdirSync(lease.paths[0] ?? '')).toEqual(['a']);
    await expect(made.unpack()).rejects.toThrow(code('ERR_LAYER'));
  });

  it('ends when its signal says so, and what was not whole is not there', async () => {
    const made = await image([file('a')], [file('b', Buffer.alloc(4 << 20))]);
    const controller = new AbortController();
    const onProgress = ({ phase, digest }: ImageProgress & { digest?: string }) => {
      if (phase === 'unpacking' && digest === made.config.diffIds[1]) controller.abort();
    };
    const running = made.unpack({ signal: controller.signal, onProgress, limits: { ratio: 2000 } });
    await expect(running).rejects.toThrow(code('ERR_ABORTED'));
    expect([unpacked(), inProgress()]).toEqual([1, []]);
    await expect(made.unpack({ signal: AbortSignal.abort() })).rejects.toThrow(code('ERR_ABORTED'));
    (await made.unpack({ limits: { ratio: 2000 } })).release();
  });

  it.each([
    [{ limits: { bytes: 0 } }, 'limits.bytes'],
    [{ limits: { depth: 257 } }, 'limits.depth'],
    [{ limits: { size: 1 } }, 'limits.size'],
    [{ devices: 'make' }, 'devices'],
    [{ fileCapabilities: 1 }, 'fileCapabilities'],
    [{ signal: {} }, 'signal'],
    [{ onProgress: true }, 'onProgress'],
    [{ progress: true }, 'progress'],
  ])('refuses the options %j', async (options, option) => {
    const made = await image([file('a')]);
    await expect(made.unpack(options as never)).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_OPTION', option }),
    );
  });
});

describe('an image whose layers are not what it tells', () => {
  it('is refused whole for one byte after decompression', async () => {
    const good = tar(file('a', 'good'));
    const made = await imageOf([tar(file('b')), tar(file('a', 'evil'))], [digestOf(tar(file('b'))), digestOf(good)]);
    await expect(made.unpack()).rejects.toThrow(code('ERR_DIGEST'));
    expect([unpacked(), inProgress()]).toEqual([1, []]);
  });

  it.each([
    ['zeros', Buffer.alloc(1 << 20), 'ERR_DIGEST'],
    ['others', Buffer.alloc(1 << 20, 'x'), 'ERR_LAYER'],
  ])('is refused for bytes that follow the archive and are not in its digest: %s', async (_, more, expected) => {
    const good = tar(file('a', 'good'));
    const made = await imageOf([Buffer.concat([good, more])], [digestOf(good)]);
    await expect(made.unpack()).rejects.toThrow(code(expected));
    expect([unpacked(), inProgress()]).toEqual([0, []]);
  });
});
