/** Groups A and M of the catalogue, for roots that are no overlays: what is copied, and what is removed. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { Container, Image, ImageStore } from '../../lib/index.js';
import { type Btrfs, mountBtrfs, needsBtrfs } from '../support/btrfs.js';
import { LayoutWriter, named, TemporaryDirectory } from '../support/layout.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { directory, file, symlink, tar } from '../support/tar.js';
import { snapshot } from '../support/tree.js';

checkResidue();

const drivers = ['btrfs', 'vfs'] as const;
const mounts = ['/usr', '/bin', '/lib', '/lib64'].map(
  (path) => ({ type: 'bind', source: path, target: path }) as const,
);

let temporary: TemporaryDirectory;
let btrfs: Btrfs | undefined;
let store: ImageStore | undefined;
let image: Image | undefined;
let sentinel = '';
beforeAll(() => {
  temporary = new TemporaryDirectory();
  sentinel = temporary.at('sentinel');
  mkdirSync(sentinel);
  writeFileSync(join(sentinel, 'kept'), 'kept', { mode: 0o640 });
});
afterAll(async () => {
  await store?.close();
  btrfs?.remove();
  temporary.dispose();
});

/** Of two layers, with links to the host's sentinel in both, also in the place of a directory of the lower one. */
async function ready(context: TestContext): Promise<{ store: ImageStore; image: Image }> {
  needsRoot(context);
  needsBtrfs(context);
  btrfs ??= mountBtrfs();
  store ??= await ImageStore.open({ path: join(btrfs.path, 'store') });
  if (!image) {
    const layout = new LayoutWriter(temporary);
    const lower = tar(
      directory('data/'),
      file('data/kept', 'theirs'),
      file('set-id', 'x', { mode: 0o6755 }),
      symlink('absolute', sentinel),
      symlink('climbing', `../../../../../../../../../..${sentinel}`),
    );
    const upper = tar(symlink('data', sentinel), symlink('loop', 'loop'), file('top', ''));
    layout.image({ layers: [lower, upper], annotations: named('links:1') });
    image = await Image.open(layout.path, 'links:1', { store, as: 'links:1' });
  }
  return { store, image };
}

const sh = (script: string): [string, ...string[]] => ['/bin/sh', '-ec', script];
const ctimes = (path: string) =>
  execFileSync('find', [path, '-printf', '%p %U:%G %m %C@\n'], { encoding: 'utf8' }).split('\n').sort();

describe('A and M: roots by drivers that copy', () => {
  it('A18: neither a snapshot nor a copy carries set-user-ID or devices', async (context) => {
    const { image } = await ready(context);
    for (const driver of drivers) {
      await using box = await Container.create({ image, mounts, storage: { driver } });
      const { stdout } = await box.exec(
        sh('grep " / rw" /proc/self/mountinfo; stat -c %a /set-id; mknod /disk b 8 0 || echo refused'),
      );
      expect(stdout, driver).toMatch(/^\d+ \d+ \S+ \S+ \/ rw,nosuid,nodev\S* /);
      expect(stdout, driver).toMatch(/\n6755\nrefused\n$/);
      // Nobody else of the host can get at the file, whose bits would count there.
      expect(execFileSync('stat', ['-c', '%a', store?.roots ?? ''], { encoding: 'utf8' })).toBe('700\n');
    }
  });

  it('M4: removing a root that is a snapshot or a copy leaves alone what it links to', async (context) => {
    const { store, image } = await ready(context);
    const before = ctimes(sentinel);
    for (const driver of drivers) {
      const box = await Container.create({ image, mounts, storage: { driver } });
      await box.exec(sh(`ln -s ${sentinel} /more; mkdir /own; ln -s ${sentinel}/kept /own/file; echo x > /own/x`), {
        check: true,
      });
      expect(readdirSync(store.roots), driver).toHaveLength(1);
      await box.kill();
      await expect.poll(() => readdirSync(store.roots), { timeout: 5000 }).toEqual([]);
      expect(ctimes(sentinel), driver).toEqual(before);
    }
    await store.remove(image.id, { force: true });
    await store.gc();
    expect(readdirSync(join(store.path, 'layers'))).toEqual([]);
    expect(ctimes(sentinel)).toEqual(before);
    expect(readFileSync(join(sentinel, 'kept'), 'utf8')).toBe('kept');
  });
});

describe('M: merging', () => {
  it('M8: merging and copying layers changes no owner and no mode, of theirs or of what they link to', async (context) => {
    image = undefined; // what the test before has removed
    const { store, image: made } = await ready(context);
    using layers = await made.unpack();
    const [sentinelBefore, layersBefore] = [ctimes(sentinel), layers.paths.map(ctimes)];
    for (const driver of drivers) {
      await Container.run(sh('chown -R 5:6 /set-id /top; chmod 700 /top'), {
        image: made,
        mounts,
        storage: { driver },
        check: true,
      });
    }
    expect(ctimes(sentinel)).toEqual(sentinelBefore);
    expect(layers.paths.map(ctimes)).toEqual(layersBefore);
    // The merged trees are what the layers show, links as links; and the control: such a change is seen.
    for (const name of readdirSync(join(store.path, 'layers')).filter((entry) => entry.includes('.'))) {
      const tree = snapshot(join(store.path, 'layers', name, 'root')).map((line) => line.split(' ')[0]);
      expect(tree).toEqual(['.', './absolute', './climbing', './data', './loop', './set-id', './top']);
    }
    execFileSync('chmod', ['641', join(sentinel, 'kept')]);
    expect(ctimes(sentinel)).not.toEqual(sentinelBefore);
  });
});
