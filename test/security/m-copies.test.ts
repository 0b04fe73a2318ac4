/** Groups A and M of the catalogue, for copies of a container's tree: `export()`, `commit()`, `fork()`, `copyIn()` and `copyOut()`. */

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as library from '../../lib/index.js';
import { Container, type ContainerOptions, type Image, ImageStore, TscontainError } from '../../lib/index.js';
import { needsPrograms, needsRoot, needsUpperOnDisk } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const secret = "the host's\n";
let directory = '';
let host = '';
let store: ImageStore;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tscontain-copies-'));
  chmodSync(directory, 0o755);
  host = join(directory, 'host');
  for (const name of ['root/usr', 'root/data', 'root/volume', 'host', 'out']) {
    mkdirSync(join(directory, name), { recursive: true });
  }
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(directory, 'root', name));
  writeFileSync(join(host, 'secret'), secret, { mode: 0o644 });
  writeFileSync(join(directory, 'brought'), 'brought in');
  store = await ImageStore.open({ path: join(directory, 'store') });
});
afterAll(async () => {
  await store.close();
  rmSync(directory, { recursive: true, force: true });
});

const usr = { type: 'bind', source: '/usr', target: '/usr' } as const;
const make = (options: ContainerOptions = {}) =>
  Container.create({
    image: { rootfs: join(directory, 'root') },
    ...options,
    mounts: [usr, ...(options.mounts ?? [])],
  });
const ofImage = (image: Image) => Container.create({ image, mounts: [usr] });
const python = (box: Container, text: string) => box.exec(['/usr/bin/python3', '-c', text]);
const sh = async (box: Container, text: string) => (await box.exec(['/bin/sh', '-ec', text], { check: true })).stdout;

/** Everything that would change if the tree were written to, or given to somebody else. */
const facts = (path: string) =>
  execFileSync('find', [path, '-printf', '%p %U:%G %m %n %C@ %l\n'], { encoding: 'utf8' }).split('\n').sort();

async function collect(tar: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of tar) parts.push(part);
  return Buffer.concat(parts);
}

/** In /data, `place` is a directory and a link to the host's in turn, and `file` a file and such a link. */
const swapping = () => `import os
os.chdir('/data'); os.mkdir('place'); open('place/secret', 'w').write("its own\\n"); os.symlink('${host}', 'link')
open('file', 'w').write("its own\\n"); os.symlink('${host}/secret', 'other')
open('begun', 'w').close()
while True:
    for a, b in (('place', 'link'), ('file', 'other')):
        os.rename(a, 'kept'); os.rename(b, a); os.rename(a, b); os.rename('kept', a)`;

/** Whatever a copy may say of a tree that moves, it says it with a typed error. */
async function tried(copy: () => Promise<unknown>): Promise<boolean> {
  try {
    await copy();
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(TscontainError);
    return false;
  }
}

/** What whoever reads by a path finds, as the control: the host's file, through the container's link. */
async function followed(path: string): Promise<boolean> {
  for (let tries = 0; tries < 200_000; tries++) {
    try {
      if (readFileSync(path, 'utf8') === secret) return true;
    } catch {}
    if (tries % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return false;
}

describe('copies of a hostile tree', () => {
  it('M1: no copy, in or out, follows a link, whatever is swapped for one meanwhile', async (context) => {
    needsRoot(context);
    needsPrograms(context, 'python3');
    await using box = await make();
    const before = facts(host);
    const swapper = python(box, swapping());
    const out = join(directory, 'out');
    const done = { export: 0, commit: 0, out: 0, in: 0 };
    try {
      while (!(await box.fs.lstat('/data/begun').catch(() => undefined))) {}
      for (let round = 0; round < 60; round++) {
        const tar = await collect(box.export());
        expect(tar.includes(secret)).toBe(false);
        done.export++;
        if (round % 10 === 0) {
          done.commit += Number(
            await tried(async () => {
              const image = await box.commit({ store, pause: false, compression: 'none' });
              for (const { digest, size } of image.manifest.layers) {
                expect((await store.readBlob(digest, size)).includes(secret)).toBe(false);
              }
            }),
          );
        }
        const to = join(out, String(round));
        done.out += Number(await tried(() => box.fs.copyOut('/data', to)));
        const files = execFileSync('find', [to, '-type', 'f', '-exec', 'cat', '{}', '+'], { encoding: 'utf8' });
        expect(files).not.toContain(secret);
        for (const path of ['/data/place/new', '/data/file']) {
          done.in += Number(await tried(() => box.fs.copyIn(join(directory, 'brought'), path)));
          await box.fs.rm('/data/place/new', { force: true }).catch(() => {});
        }
        await tried(() => box.fs.writeFile('/data/file', 'its own\n'));
      }
      // The control: the links are there, and lead out for whoever takes them.
      expect(await followed(`/proc/${box.inspect().pid}/root/data/place/secret`)).toBe(true);
    } finally {
      swapper.kill('SIGKILL');
      await swapper.catch(() => {});
    }
    expect(Math.min(...Object.values(done)), JSON.stringify(done)).toBeGreaterThan(0);
    expect(facts(host)).toEqual(before);
    expect(readFileSync(join(host, 'secret'), 'utf8')).toBe(secret);
  }, 60_000);

  it('M2: what the host writes into a root or a volume is written through no link that leads out', async (context) => {
    needsRoot(context);
    const [root, volume] = [join(directory, 'written'), join(directory, 'volume')];
    for (const path of [root, volume, join(root, 'etc'), join(root, 'usr'), join(root, 'volume')]) mkdirSync(path);
    for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(root, name));
    const [file, climbing] = [join(host, 'secret'), `../../../../../../../../..${join(host, 'secret')}`];
    // All that we make ourselves, and what a user of ours would write.
    const ours = ['hosts', 'hostname', 'resolv.conf', 'passwd', 'group'];
    for (const name of ours) symlinkSync(file, join(root, 'etc', name));
    for (const [name, target] of [
      ['absolute', file],
      ['climbing', climbing],
      ['directory', host],
    ] as const) {
      symlinkSync(target, join(volume, name));
    }
    const before = [facts(host), facts(root)];
    const mounts = [usr, { type: 'bind', source: volume, target: '/volume', readOnly: false }] as const;
    const box = await Container.create({ image: { rootfs: root }, mounts, hostname: 'ours' });
    try {
      for (const name of ['absolute', 'climbing', 'directory/secret']) {
        await tried(() => box.fs.writeFile(`/volume/${name}`, 'overwritten'));
        await tried(() => box.fs.copyIn(join(directory, 'brought'), `/volume/${name}`));
        await tried(() => box.fs.chmod(`/volume/${name}`, 0o777));
        await tried(() => box.fs.chown(`/volume/${name}`, 5, 5));
      }
      await tried(() => box.fs.mkdir('/volume/directory/made', { recursive: true }));
      await tried(() => box.fs.rm('/volume/directory', { recursive: true }));
      // The control: what leads nowhere else is written, to the same volume, and a name is what it should be.
      await box.fs.writeFile('/volume/plain', 'written');
      expect(readFileSync(join(volume, 'plain'), 'utf8')).toBe('written');
      expect(await sh(box, 'cat /etc/hostname')).toBe('ours\n');
    } finally {
      await box.kill();
    }
    expect([facts(host), facts(root)]).toEqual(before);
    expect(readFileSync(file, 'utf8')).toBe(secret);
    // Whoever writes by the path does reach it: the links are what they should be.
    expect(readFileSync(join(volume, 'absolute'), 'utf8')).toBe(secret);
    expect(readFileSync(join(root, 'etc/hosts'), 'utf8')).toBe(secret);
  });

  it('A18: what is copied has no note for the overlay that a program has made up, and a new image no capability', async (context) => {
    needsRoot(context);
    needsPrograms(context, 'python3');
    await using box = await make();
    const made = await python(
      box,
      `import os
os.chdir('/data'); os.mkdir('trap'); open('empty', 'w').close(); open('program', 'w').write('x'); os.chmod('program', 0o6755)
os.mkdir('/other'); open('/other/hidden', 'w').write('HIDDEN')
refused = []
for path, name, value in (
    ('trap', 'user.overlay.redirect', b'/other'), ('trap', 'user.overlay.opaque', b'y'), ('empty', 'user.overlay.metacopy', b''),
    ('empty', 'user.overlay.redirect', b'/other/hidden'), ('trap', 'trusted.overlay.redirect', b'/other'),
    ('program', 'security.capability', b'\\x01\\0\\0\\2' + b'\\xff' * 4 + b'\\0' * 12), ('program', 'user.kept', b'kept')):
    try: os.setxattr(path, name, value)
    except OSError: refused.append(name)
try: os.mknod('disk', 0o60666, os.makedev(8, 0))
except OSError: refused.append('mknod')
print(*refused)`,
    );
    expect(made.stderr).toBe('');
    expect(made.stdout).toBe('trusted.overlay.redirect mknod\n');
    const listing = `cd /data; ls trap; cat empty; stat -c '%s %a' program; grep ' / rw' /proc/self/mountinfo`;
    const attribute = `import os; print(os.getxattr('/data/program', 'user.kept'))`;
    const image = await box.commit({ store, pause: false, compression: 'none' });
    const layer = image.manifest.layers[0] ?? expect.fail('no layer');
    for (const tar of [await collect(box.export()), await store.readBlob(layer.digest, layer.size)]) {
      expect(tar.includes('HIDDEN')).toBe(true);
      expect(tar.includes('user.kept')).toBe(true); // the control: attributes do travel
      for (const word of ['user.overlay', 'trusted.']) expect(tar.includes(word), word).toBe(false);
    }
    const capable = `import os; print('security.capability' in os.listxattr('/data/program'))`;
    await using fork = await box.fork({ pause: false });
    await using again = await ofImage(image);
    // An image's capabilities count only where that was asked for; the container itself has what its root has given.
    expect((await python(box, capable)).stdout).toBe('True\n');
    expect((await python(again, capable)).stdout).toBe('False\n');
    for (const copy of [fork, again]) {
      const [size = '', mount = ''] = (await sh(copy, listing)).split('\n');
      expect(size).toBe('1 6755');
      expect(mount).toMatch(/^\d+ \d+ \S+ \S+ \/ rw,nosuid,nodev/);
      expect((await python(copy, attribute)).stdout).toBe("b'kept'\n");
    }
  });

  it('M4, M8: neither copying nor what becomes of the copies changes anything of what is linked to or mounted', async (context) => {
    needsRoot(context);
    needsUpperOnDisk(context);
    const bound = join(directory, 'bound');
    mkdirSync(join(bound, 'sub'), { recursive: true });
    writeFileSync(join(bound, 'sub/file'), 'kept', { mode: 0o640 });
    symlinkSync(host, join(bound, 'link'));
    const onDisk = '/var/lib/tscontain/containers';
    const there = existsSync(onDisk) ? readdirSync(onDisk) : [];
    const watched = () => [host, bound, join(directory, 'root')].map(facts);
    const before = watched();
    const mounts = [{ type: 'bind', source: bound, target: '/volume', readOnly: false }] as const;
    const box = await make({ mounts, storage: { upper: 'disk' } });
    await sh(box, `ln -s ${host} /data/link; ln -s ${bound}/sub/file /data/file; mkdir -m 700 /own; chown 5:6 /own`);
    const copies = [await box.fork({ pause: false }), await box.fork({ pause: false })];
    const image = await box.commit({ store, pause: false, reference: 'copied' });
    copies.push(await ofImage(image));
    await collect(box.export());
    for (const copy of copies)
      expect(await sh(copy, 'stat -c "%u:%g %a" /own; readlink /data/link')).toBe(`5:6 700\n${host}\n`);
    expect(watched()).toEqual(before);
    const made = readdirSync(onDisk).filter((name) => !there.includes(name));
    expect(made.length).toBeGreaterThanOrEqual(3);
    for (const copy of [box, ...copies]) await copy.kill();
    await store.remove(image.id, { force: true });
    await store.gc();
    await expect.poll(() => readdirSync(onDisk).filter((name) => made.includes(name)), { timeout: 10_000 }).toEqual([]);
    expect(watched()).toEqual(before);
    // The controls: each of the changes would have been seen.
    chmodSync(join(bound, 'sub/file'), 0o600);
    expect(watched()).not.toEqual(before);
    expect(lstatSync(join(bound, 'link')).isSymbolicLink()).toBe(true);
  });

  it('M3: there is no checkpoint, to be made or to be restored', () => {
    const offered = [Container, Container.prototype, library].flatMap((object) => Object.getOwnPropertyNames(object));
    expect(offered.filter((name) => /checkpoint|restore|criu|dump/i.test(name))).toEqual([]);
    expect(offered).toEqual(expect.arrayContaining(['create', 'fork', 'commit', 'Container'])); // the control
  });
});
