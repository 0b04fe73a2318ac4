/** The image store against those who can reach it, races and content that is not what it should be (groups A, I, J, M). */

import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestOf } from '../../lib/image/digest.js';
import { ImageStore } from '../../lib/index.js';
import { buildOnce, fixture } from '../support/build.js';
import { needsPrograms, needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const run = promisify(execFile);
let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tscontain-store-'));
  path = join(directory, 'images');
});
afterEach(() => rmSync(directory, { recursive: true }));

/** Whether another user can list a directory. */
async function otherLists(target: string): Promise<boolean> {
  const program = 'require("fs").readdirSync(process.argv[1])';
  return run(process.execPath, ['-e', program, target], { uid: 65534, gid: 65534, cwd: '/' }).then(
    () => true,
    (error: { stderr: string }) => {
      if (!error.stderr.includes('EACCES')) throw error;
      return false;
    },
  );
}

describe('the image store', () => {
  it('A17: nobody else gets into the directories of the image store', async (context) => {
    needsRoot(context);
    await using store = await ImageStore.open({ path });
    await store.ensureLayer({ diffIds: [digestOf(Buffer.from('x'))] }, async (root) => {
      chmodSync(root, 0o755);
      return { bytes: 0, entries: 0 };
    });
    chmodSync(directory, 0o755);
    expect(await otherLists(directory)).toBe(true);
    const inside = readdirSync(path, { recursive: true, encoding: 'utf8' }).map((name) => join(path, name));
    for (const name of [path, ...inside].filter((name) => statSync(name).isDirectory())) {
      if (!name.endsWith('/root')) expect(statSync(name).mode & 0o777, name).toBe(0o700);
      expect(await otherLists(name), name).toBe(false);
    }
  });

  it('M5: a directory that someone else has prepared is no image store', async (context) => {
    needsRoot(context);
    const refused = { code: 'ERR_STORE' };
    mkdirSync(path, { mode: 0o700 });
    chownSync(path, 65534, 65534);
    await expect(ImageStore.open({ path })).rejects.toMatchObject(refused);
    chownSync(path, 0, 0);
    chmodSync(path, 0o755);
    await expect(ImageStore.open({ path })).rejects.toMatchObject(refused);
    rmSync(path, { recursive: true });
    mkdirSync(join(directory, 'elsewhere'), { mode: 0o700 });
    symlinkSync('elsewhere', path);
    await expect(ImageStore.open({ path })).rejects.toMatchObject(refused);
    expect(readdirSync(join(directory, 'elsewhere'))).toEqual([]);
    rmSync(path);
    mkdirSync(path, { mode: 0o700 });
    symlinkSync('../elsewhere', join(path, 'layers'));
    await expect(ImageStore.open({ path })).rejects.toMatchObject(refused);
    rmSync(path, { recursive: true });
    chmodSync(directory, 0o777);
    await expect(ImageStore.open({ path })).rejects.toMatchObject(refused);
    chmodSync(directory, 0o700);
    await (await ImageStore.open({ path })).close();
  });

  it('I5: a file system that takes names that differ for the same holds no images', async (context) => {
    needsRoot(context);
    needsPrograms(context, 'python3', 'umount');
    context.skip(!existsSync('/dev/fuse'), 'this host has no FUSE (/dev/fuse)');
    for (const kind of ['fold', 'exact'] as const) {
      const mount = join(directory, kind);
      mkdirSync(mount, { mode: 0o700 });
      const server = spawn('python3', [join(import.meta.dirname, '../fixtures/folding.py'), mount, kind]);
      try {
        const started = await new Promise((resolve) => server.stdout.once('data', resolve));
        expect(String(started).trim()).toBe('mounted');
        const opened = ImageStore.open({ path: join(mount, 'images') });
        if (kind === 'fold') {
          await expect(opened).rejects.toMatchObject({
            code: 'ERR_STORE',
            message: expect.stringContaining('it takes names that differ for the same'),
          });
          expect(await readdir(join(mount, 'images/tmp'))).toEqual([]);
        } else {
          await (await opened).close(); // the control: the same file system, but for this
        }
      } finally {
        await run('umount', ['-l', mount]);
        server.kill('SIGKILL');
      }
    }
  });

  it('I18: of twenty processes that unpack one layer, one does, and all have the same tree', async () => {
    buildOnce();
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, number) =>
        run(process.execPath, [fixture('store-worker.mjs'), path, String(number), 'once']),
      ),
    );
    const told = results.map(({ stdout }) => JSON.parse(stdout) as { filled: number; paths: string[] });
    expect(told.reduce((sum, { filled }) => sum + filled, 0)).toBe(1);
    expect(new Set(told.map(({ paths }) => paths[0])).size).toBe(1);
    expect(readdirSync(told[0]?.paths[0] ?? '')).toHaveLength(20);
    expect([readdirSync(join(path, 'layers')).length, readdirSync(join(path, 'tmp'))]).toEqual([1, []]);
  }, 60_000);

  it('I20, J7: other content under the same name is another image, and a name moves only when asked', async () => {
    await using store = await ImageStore.open({ path });
    const put = async (text: string) => ({
      mediaType: 'application/json',
      ...(await store.putBlob(Buffer.from(text))),
    });
    const [good, evil] = [await put('{"good":1}'), await put('{"evil":1}')];
    await store.setReference('x', good, { move: false });
    await expect(store.setReference('x', evil, { move: false })).rejects.toMatchObject({ code: 'ERR_REFERENCE' });
    expect(await store.resolve('x')).toEqual(good);
    await store.setReference('x', evil, { move: true });
    expect(await store.resolve('x')).toEqual(evil);
    expect((await store.readBlob(good.digest, 100)).toString()).toBe('{"good":1}');
  });

  it('J3: content that is not what its digest says never gets into the image store', async () => {
    await using store = await ImageStore.open({ path });
    const digest = `sha256:${createHash('sha256').update('right').digest('hex')}` as const;
    const wrong = { code: 'ERR_DIGEST' };
    await expect(store.putBlob(Buffer.from('wrong'), { digest })).rejects.toMatchObject(wrong);
    await expect(store.putBlob(Buffer.from('right'), { digest, size: 4 })).rejects.toMatchObject(wrong);
    await expect(store.putBlob(Buffer.from('right'), { digest, size: 6 })).rejects.toMatchObject(wrong);
    const partial = await store.partialBlob(digest);
    await partial?.write(Buffer.from('wronG'));
    await expect(partial?.finish()).rejects.toMatchObject(wrong);
    await partial?.close();
    expect([await store.hasBlob(digest), readdirSync(join(path, 'partial'))]).toEqual([false, []]);
    await store.putBlob(Buffer.from('right'), { digest, size: 5 });
    expect(await store.hasBlob(digest)).toBe(true);
  });

  it('M4, M10: removing leaves alone what a layer links to, and no digest or variant leads out of the image store', async () => {
    await using store = await ImageStore.open({ path });
    const sentinel = join(directory, 'sentinel');
    mkdirSync(sentinel);
    writeFileSync(join(sentinel, 'file'), 'x');
    const spec = { diffIds: [digestOf(Buffer.from('x'))] };
    await store.ensureLayer(spec, async (root) => {
      symlinkSync(sentinel, join(root, 'link'));
      return { bytes: 0, entries: 1 };
    });
    expect(await store.gc()).toMatchObject({ layers: 1 });
    expect([readdirSync(join(path, 'layers')), readdirSync(sentinel)]).toEqual([[], ['file']]);
    const fill = () => Promise.reject(new Error('called'));
    await expect(store.ensureLayer({ ...spec, variant: '../x' }, fill)).rejects.toMatchObject({ code: 'ERR_OPTION' });
    const climbing = 'sha256:../../../../etc/passwd' as const;
    await expect(store.ensureLayer({ diffIds: [climbing] }, fill)).rejects.toMatchObject({ code: 'ERR_DIGEST' });
    await expect(store.openBlob(climbing)).rejects.toMatchObject({ code: 'ERR_DIGEST' });
    expect(() => store.blobPath(climbing)).toThrow('digest');
  });
});
