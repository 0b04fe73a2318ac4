/** The image store: blobs, layers, references and what is cleared away. */

import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Digest, digestOf } from '../../../lib/image/digest.js';
import { ImageStore } from '../../../lib/index.js';
import { checkResidue } from '../../support/residue.js';

checkResidue();

let directory: string;
let store: ImageStore;
const entries = (name: string) => readdirSync(join(store.path, name));
const layer = (text: string): Digest => digestOf(Buffer.from(text));

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tscontain-store-'));
  store = await ImageStore.open({ path: join(directory, 'images') });
});
afterEach(async () => {
  await store.close();
  rmSync(directory, { recursive: true });
});

describe('blobs', () => {
  it('are found by the digest of their content, read-only', async () => {
    const { digest, size } = await store.putBlob(Buffer.from('content'));
    expect({ digest, size }).toEqual({ digest: digestOf(Buffer.from('content')), size: 7 });
    expect(statSync(store.blobPath(digest)).mode & 0o777).toBe(0o400);
    expect((await store.readBlob(digest, 100)).toString()).toBe('content');
    await expect(store.readBlob(digest, 3)).rejects.toMatchObject({ code: 'ERR_STORE' });
    const file = await store.openBlob(digest);
    expect(await file.readFile('utf8')).toBe('content');
    await file.close();
    await expect(store.openBlob(layer('none'))).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  });

  it('that a source fails to give leave nothing', async () => {
    async function* failing() {
      yield Buffer.from('half');
      throw new Error('the line is dead');
    }
    await expect(store.putBlob(failing())).rejects.toThrow('the line is dead');
    expect(entries('blobs/sha256')).toEqual([]);
    await store.close();
    expect(entries('tmp')).toEqual([]);
  });

  it('go on where a process has stopped', async () => {
    const content = randomBytes(300_000);
    const digest = digestOf(content);
    const first = await store.partialBlob(digest, content.length);
    await first?.write(content.subarray(0, 200_000));
    await first?.close();
    await using other = await ImageStore.open({ path: store.path });
    const second = await other.partialBlob(digest, content.length);
    expect(second?.size).toBe(200_000);
    await second?.write(content.subarray(200_000));
    await second?.finish();
    await second?.close();
    expect(await store.readBlob(digest, 1e6)).toEqual(content);
    expect(await store.partialBlob(digest)).toBeUndefined();
    expect(entries('partial')).toEqual([]);
  });

  it('are adopted from a temporary directory, and from nowhere else', async () => {
    await using temporary = await store.temporary();
    const path = join(temporary.path, 'blob');
    writeFileSync(path, 'adopted');
    await expect(store.adoptBlob(path, { digest: layer('other') })).rejects.toMatchObject({ code: 'ERR_DIGEST' });
    await store.adoptBlob(path, { digest: layer('adopted'), size: 7 });
    expect(await store.hasBlob(layer('adopted'))).toBe(true);
    await expect(store.adoptBlob('/etc/passwd', { digest: layer('x') })).rejects.toMatchObject({ code: 'ERR_STORE' });
  });

  it('of 1 GB take no memory', { timeout: 120_000 }, async () => {
    const piece = randomBytes(1 << 20);
    async function* content() {
      for (let index = 0; index < 1024; index++) yield piece;
    }
    const hash = createHash('sha256');
    const before = process.memoryUsage().rss;
    let highest = 0;
    const timer = setInterval(() => {
      highest = Math.max(highest, process.memoryUsage().rss);
    }, 20);
    const { digest, size } = await store.putBlob(content());
    clearInterval(timer);
    for (let index = 0; index < 1024; index++) hash.update(piece);
    expect({ digest, size }).toEqual({ digest: `sha256:${hash.digest('hex')}`, size: 2 ** 30 });
    expect(highest).toBeGreaterThan(0);
    expect(highest - before).toBeLessThan(64 << 20);
  });

  it('that are damaged so that it shows are not there, and are replaced', async () => {
    const bytes = Buffer.from('{"some":"document"}');
    const { digest, size } = await store.putBlob(bytes);
    for (const other of ['', '{"some":"documenT"}']) {
      chmodSync(store.blobPath(digest), 0o600);
      writeFileSync(store.blobPath(digest), other);
      expect(await store.hasBlob(digest, size)).toBe(other.length === size);
      await store.putBlob(bytes, { digest, size });
      expect(await store.readBlob(digest, 100)).toEqual(bytes);
    }
  });
});

describe('layers', () => {
  const fill = async (path: string) => {
    writeFileSync(join(path, 'file'), 'x');
    return { bytes: 1, entries: 1 };
  };

  it('are made once and leased, topmost first, with those below as parents', async () => {
    const [bottom, top] = [layer('1'), layer('2')];
    const parents: (readonly string[])[] = [];
    const noting = async (path: string, below: readonly string[]) => {
      parents.push(below);
      return fill(path);
    };
    await expect(store.ensureLayer({ diffIds: [bottom, top] }, fill)).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
    await store.ensureLayer({ diffIds: [bottom] }, noting);
    await store.ensureLayer({ diffIds: [bottom, top] }, noting);
    await store.ensureLayer({ diffIds: [bottom, top] }, () => Promise.reject(new Error('made twice')));
    using lease = await store.leaseLayers([bottom, top]);
    expect(lease.paths).toHaveLength(2);
    expect(parents).toEqual([[], [lease.paths[1]]]);
    expect(lease.paths.every((path) => existsSync(join(path, 'file')))).toBe(true);
    await expect(store.leaseLayers([bottom], 'other')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  });

  it('that fail leave nothing, and the next one tries', async () => {
    const spec = { diffIds: [layer('1')] };
    await expect(store.ensureLayer(spec, () => Promise.reject(new Error('bad archive')))).rejects.toThrow(
      'bad archive',
    );
    expect([entries('layers'), entries('tmp')]).toEqual([[], []]);
    await store.ensureLayer(spec, fill);
    expect(entries('layers')).toHaveLength(1);
  });

  it('are waited for, and who gives up waiting spoils nothing', async () => {
    const spec = { diffIds: [layer('1')] };
    const controller = new AbortController();
    let finish = () => {};
    const first = store.ensureLayer(spec, async (path) => {
      await new Promise<void>((done) => {
        finish = done;
      });
      return fill(path);
    });
    let waits = 0;
    const onWait = () => void waits++;
    const impatient = store.ensureLayer(spec, fill, { signal: controller.signal, onWait });
    const patient = store.ensureLayer(spec, () => Promise.reject(new Error('made twice')), { onWait });
    await expect.poll(() => waits).toBe(2);
    controller.abort(new Error('enough'));
    await expect(impatient).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    finish();
    await Promise.all([first, patient]);
    expect(await store.hasLayer(spec)).toBe(true);
  });
});

describe('a temporary directory', () => {
  it('is removed with what denies to be listed, what lies deep and what is a link', async () => {
    const temporary = await store.temporary();
    let path = temporary.path;
    for (let depth = 0; depth < 200; depth++) {
      path = join(path, 'd');
      mkdirSync(path);
    }
    writeFileSync(join(path, 'file'), '');
    mkdirSync(join(temporary.path, 'closed'));
    writeFileSync(join(temporary.path, 'closed', 'file'), '');
    chmodSync(join(temporary.path, 'closed'), 0);
    await temporary.dispose();
    expect(entries('tmp')).toEqual([]);
  });

  it('of an owner that lives is left alone by others, and what nobody owns is removed', async () => {
    await using temporary = await store.temporary();
    mkdirSync(join(store.path, 'tmp', 'left'));
    await using _other = await ImageStore.open({ path: store.path });
    expect(entries('tmp')).toEqual([temporary.path.split('/').at(-1)]);
  });
});

describe('references', () => {
  it('are moved only where that is asked for', async () => {
    const put = async (text: string) => ({
      mediaType: 'application/json',
      ...(await store.putBlob(Buffer.from(text))),
    });
    const [one, two] = [await put('{"a":1}'), await put('{"a":2}')];
    await store.setReference('docker.io/library/x:latest', one, { move: false });
    await store.setReference('docker.io/library/x:latest', one, { move: false });
    await expect(store.setReference('docker.io/library/x:latest', two, { move: false })).rejects.toMatchObject({
      code: 'ERR_REFERENCE',
    });
    expect(await store.resolve('docker.io/library/x:latest')).toEqual(one);
    await store.setReference('docker.io/library/x:latest', two, { move: true });
    expect(await store.references()).toEqual([{ reference: 'docker.io/library/x:latest', descriptor: two }]);
    expect([await store.untag('docker.io/library/x:latest'), await store.untag('y')]).toEqual([true, false]);
    const missing = { ...one, digest: layer('none') };
    await expect(store.setReference('z', missing, { move: false })).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
  });
});

describe('gc', () => {
  const fill = async (path: string) => {
    writeFileSync(join(path, 'file'), 'x');
    return { bytes: 1, entries: 1 };
  };
  /** An image of layers that are named by their content. */
  async function image(reference: string, ...texts: string[]) {
    const diffIds = texts.map(layer);
    const layers = await Promise.all(texts.map((text) => store.putBlob(Buffer.from(text))));
    const config = await store.putBlob(Buffer.from(JSON.stringify({ rootfs: { type: 'layers', diff_ids: diffIds } })));
    const manifest = await store.putBlob(Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers })));
    for (const index of diffIds.keys()) await store.ensureLayer({ diffIds: diffIds.slice(0, index + 1) }, fill);
    await store.setReference(reference, { mediaType: 'application/json', ...manifest }, { move: false });
    return { diffIds, id: config.digest, digest: manifest.digest };
  }

  it('removes what no image needs, and nothing that one does', async () => {
    const one = await image('one', 'base', 'a');
    const two = await image('two', 'base', 'b');
    expect(await store.gc()).toEqual({ blobs: 0, layers: 0, partial: 0, bytes: 0 });
    expect((await store.list()).map(({ id, references }) => [id, references])).toEqual([
      [one.id, ['docker.io/library/one:latest']],
      [two.id, ['docker.io/library/two:latest']],
    ]);
    expect((await store.diskUsage()).shared).toBe(5);
    expect(await store.remove('one')).toMatchObject({ blobs: 3, layers: 1 });
    expect(await store.hasBlob(layer('base'))).toBe(true);
    expect(await store.hasBlob(layer('a'))).toBe(false);
    expect(entries('layers')).toHaveLength(2);
    expect(await store.verify({ content: true })).toEqual([]);
    await store.tag('two', 'again');
    await expect(store.remove(two.id)).rejects.toMatchObject({ code: 'ERR_STORE' });
    expect(await store.remove(two.id, { force: true })).toMatchObject({ blobs: 4, layers: 2 });
    expect([entries('blobs/sha256'), entries('layers'), entries('references')]).toEqual([[], [], []]);
  });

  it('removes the lock files of layers that are gone, and not one that is held', async () => {
    const { diffIds } = await image('one', 'base');
    await store.untag('one');
    let filling = () => {};
    const inside = new Promise<void>((resolve) => {
      filling = resolve;
    });
    let finish = () => {};
    const making = store.ensureLayer({ diffIds: [layer('slow')] }, async (path) => {
      filling();
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      return fill(path);
    });
    await inside;
    await store.gc();
    const locks = () => entries('locks').filter((name) => name.length === 64);
    expect(locks()).toEqual([layer('slow').slice(7)]);
    finish();
    await making;
    await store.ensureLayer({ diffIds }, fill);
    expect(locks()).toHaveLength(2);
  });

  it('has its turn although others take and give back the lock all the time', async () => {
    let ended = false;
    const busy = Array.from({ length: 8 }, async () => {
      await using other = await ImageStore.open({ path: store.path });
      await using _hold = other.hold();
      while (!ended) await other.hasBlob(layer('x'));
    });
    await expect(store.gc()).resolves.toMatchObject({ blobs: 0 });
    ended = true;
    await Promise.all(busy);
  });

  it('keeps what an image needs whose manifest cannot be read at the moment', async () => {
    const { digest, diffIds } = await image('one', 'base');
    const path = store.blobPath(digest);
    renameSync(path, `${path}.aside`);
    mkdirSync(path); // EISDIR, as a disk may say EIO
    await expect(store.gc()).rejects.toMatchObject({ code: 'ERR_STORE' });
    rmdirSync(path);
    renameSync(`${path}.aside`, path);
    await store.gc();
    (await store.leaseLayers(diffIds)).release();
    expect(await store.verify({ content: true })).toEqual([]);
  });

  it('leaves what another process, or another store, holds or uses', async () => {
    await using other = await ImageStore.open({ path: store.path });
    const { diffIds, id } = await image('one', 'base');
    using lease = await store.leaseLayers(diffIds);
    await expect(other.remove(id)).rejects.toMatchObject({ code: 'ERR_STORE' });
    await other.untag('one');
    expect(await other.gc()).toMatchObject({ blobs: 3, layers: 0 });
    expect(existsSync(lease.paths[0] ?? '')).toBe(true);
    lease.release();
    expect(await other.gc()).toMatchObject({ layers: 1 });
    const hold = store.hold();
    const { digest } = await store.putBlob(Buffer.from('new'));
    await store.ensureLayer({ diffIds: [digest] }, fill);
    expect(await other.gc()).toMatchObject({ blobs: 0, layers: 0 });
    await hold.release();
    expect(await other.gc()).toMatchObject({ blobs: 1, layers: 1 });
  });
});

describe('verify', () => {
  it('tells of everything that is wrong, and changes nothing', async () => {
    const { digest } = await store.putBlob(Buffer.from('{}'));
    const { digest: gone, size } = await store.putBlob(Buffer.from('{"a":1}'));
    await store.setReference('x', { mediaType: 'application/json', digest: gone, size }, { move: false });
    expect(await store.verify({ content: true })).toEqual([]);
    rmSync(store.blobPath(gone));
    chmodSync(store.blobPath(digest), 0o600);
    writeFileSync(store.blobPath(digest), 'ha');
    writeFileSync(join(store.path, 'blobs', 'sha256', 'stray'), '');
    mkdirSync(join(store.path, 'layers', '0'.repeat(64)));
    chmodSync(join(store.path, 'layers'), 0o755);
    writeFileSync(join(store.path, 'references', 'what'), '{');
    const kinds = (await store.verify({ content: true })).map(({ kind }) => kind);
    const expected = [
      'blob-damaged',
      'blob-missing',
      'directory',
      'layer-incomplete',
      'reference-damaged',
      'stray-file',
    ];
    expect(kinds.sort()).toEqual(expected);
    expect(await store.verify()).toHaveLength(5);
  });

  it('says which images a damaged blob is of, and removes it where that is asked for', async () => {
    const good = await store.putBlob(Buffer.from('a layer'));
    const config = await store.putBlob(Buffer.from('{"rootfs":{"type":"layers","diff_ids":[]}}'));
    const document = JSON.stringify({ schemaVersion: 2, config, layers: [good] });
    const manifest = await store.putBlob(Buffer.from(document));
    for (const name of ['b', 'a']) {
      await store.setReference(name, { mediaType: 'application/json', ...manifest }, { move: false });
    }
    chmodSync(store.blobPath(good.digest), 0o600);
    writeFileSync(store.blobPath(good.digest), 'a loser');
    const damaged = [
      {
        kind: 'blob-damaged',
        path: store.blobPath(good.digest),
        references: ['docker.io/library/a:latest', 'docker.io/library/b:latest'],
      },
    ];
    expect(await store.verify({ content: true })).toMatchObject(damaged);
    await expect(store.verify({ repair: true })).rejects.toMatchObject({ option: 'repair' });
    for (const [wrong, option] of [
      [{ repiar: true, content: true }, 'repiar'],
      [{ content: 1 }, 'content'],
      [{ content: true, repair: 'yes' }, 'repair'],
    ] as const) {
      await expect(store.verify(wrong as object)).rejects.toMatchObject({ code: 'ERR_OPTION', option });
    }
    expect(await store.verify({ content: true, repair: true })).toMatchObject(damaged);
    expect(await store.hasBlob(good.digest)).toBe(false);
    await store.putBlob(Buffer.from('a layer'), good);
    expect(await store.verify({ content: true })).toEqual([]);
  });

  it('collects nothing for options that are wrong: what was to stay would be gone', async () => {
    const { digest } = await store.putBlob(Buffer.from('{"schemaVersion":2}'));
    for (const [wrong, option] of [
      [{ kept: [digest] }, 'kept'],
      [{ keep: digest }, 'keep'],
      [{ keep: [digest, 'debian:12'] }, 'keep[1]'],
      [{ olderThan: 'soon' }, 'olderThan'],
      [{ signal: 'SIGTERM' }, 'signal'],
    ] as const) {
      await expect(store.gc(wrong as object)).rejects.toMatchObject({ code: 'ERR_OPTION', option });
    }
    expect(await store.hasBlob(digest)).toBe(true);
    expect(await store.gc({ keep: [digest] })).toMatchObject({ blobs: 0 });
    expect(await store.gc()).toMatchObject({ blobs: 1 });
  });
});
