/** Containers of images by each driver: the same files, the same changes, bounds that hold, and nothing left behind. */

import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, statfsSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import {
  Container,
  type ContainerOptions,
  Image,
  ImageStore,
  OptionError,
  UnsupportedError,
} from '../../../lib/index.js';
import { type Btrfs, mountBtrfs, needsBtrfs, subvolumes } from '../../support/btrfs.js';
import { LayoutWriter, named, TemporaryDirectory } from '../../support/layout.js';
import { needsRoot } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';
import { directory, file, hardLink, symlink, tar } from '../../support/tar.js';

checkResidue();

const drivers = ['overlay', 'btrfs', 'vfs'] as const;
type Driver = (typeof drivers)[number];

let btrfs: Btrfs | undefined;
let temporary: TemporaryDirectory;
let layout: LayoutWriter;
let made = 0;

beforeAll(() => {
  temporary = new TemporaryDirectory();
  layout = new LayoutWriter(temporary);
});
afterAll(async () => {
  btrfs?.remove();
  temporary.dispose();
});

/** A store on a btrfs, which is where all drivers work. */
async function openStore(name: string): Promise<ImageStore> {
  btrfs ??= mountBtrfs();
  return await ImageStore.open({ path: join(btrfs.path, name) });
}

function needsDrivers(context: TestContext): void {
  needsRoot(context);
  needsBtrfs(context);
}

/** The programs are the host's. */
const mounts = ['/usr', '/bin', '/lib', '/lib64'].map(
  (path) => ({ type: 'bind', source: path, target: path }) as const,
);
const sh = (script: string): [string, ...string[]] => ['/bin/sh', '-ec', script];

const mebibyte = 2 ** 20;
const base = tar(
  directory('etc/'),
  file('etc/passwd', 'root:x:0:0::/root:/bin/sh\n'),
  directory('data/'),
  file('data/kept', 'kept'),
  file('data/gone', 'never seen'),
  file('data/changed', 'old'),
  file('data/set-id', 'x', { mode: 0o4755, uid: 7, gid: 8 }),
  file('data/big', randomBytes(4 * mebibyte)),
  directory('data/sub/'),
  file('data/sub/a', 'a'),
  directory('data/sub/deep/'),
  file('data/sub/deep/b', 'b'),
  directory('hidden/'),
  file('hidden/below', 'never seen'),
  directory('moved/'),
  file('moved/file', 'm'),
  symlink('data/link', 'kept'),
  hardLink('data/other', 'data/kept'),
);
const top = tar(
  directory('data/'),
  file('data/.wh.gone', ''),
  file('data/changed', 'new'),
  directory('hidden/'),
  file('hidden/.wh..wh..opq', ''),
  file('hidden/above', 'above'),
);

async function makeImage(store: ImageStore, layers = [base, top]): Promise<Image> {
  const name = `layers:${made++}`;
  layout.image({ layers, annotations: named(name), config: { Volumes: { '/made/volume': {} } } });
  return await Image.open(layout.path, name, { store, as: name, platform: 'linux/amd64' });
}

const options = (image: Image, driver: Driver, storage: ContainerOptions['storage'] = {}): ContainerOptions => ({
  image,
  mounts,
  storage: { driver, ...storage },
});

const listing = `cd / && for f in $(find . -xdev \\( -path ./proc -o -path ./sys -o -path ./dev -o -path ./usr -o -path ./bin -o -path ./lib -o -path ./lib64 \\) -prune -o -print | sort)
do [ -d "$f" ] && stat -c '%n %A %u:%g %F' "$f" || stat -c '%n %A %u:%g %s %h %Y %F' "$f"; done | grep -v '^./etc/\\(host\\|resolv\\|group\\)'; cat data/changed hidden/* data/other`;

describe.for(drivers)('a container by the driver %s', (driver) => {
  it('has the files of its image, and its own changes only', async (context) => {
    needsDrivers(context);
    await using store = await openStore(`files-${driver}`);
    const image = await makeImage(store);
    await using one = await Container.create(options(image, driver));
    await using two = await Container.create(options(image, driver));
    const { stdout } = await one.exec(
      sh(
        'ls /data /hidden; cat /data/changed; stat -c "%u:%g %a" /data/set-id; stat -c %h /data/kept; ls -d /made/volume',
      ),
      { check: true },
    );
    expect(stdout).toBe(
      '/data:\nbig\nchanged\nkept\nlink\nother\nset-id\nsub\n\n/hidden:\nabove\nnew7:8 4755\n2\n/made/volume\n',
    );
    await one.exec(sh('echo mine > /data/changed; rm /data/big; mkdir /new'), { check: true });
    expect((await two.exec(sh('cat /data/changed; ls /'))).stdout).toMatch(/^newbin\n(?!.*new)/);
    expect((await two.exec(sh('stat -c %s /data/big'))).stdout).toBe(`${4 * mebibyte}\n`);
    const { storage } = one.inspect();
    expect(storage).toMatchObject({
      driver,
      driverReason: 'it was asked for',
      upper: driver === 'overlay' ? 'tmpfs' : 'disk',
    });
    await one.kill();
    expect((await Container.run(sh('cat /data/changed'), options(image, driver))).stdout).toBe('new');
    await two.kill();
    await expect.poll(() => readdirSync(store.roots), { timeout: 5000 }).toEqual([]);
    expect(await store.verify({ content: true })).toEqual([]);
  });
});

it('all drivers show the same files', async (context) => {
  needsDrivers(context);
  await using store = await openStore('same');
  const image = await makeImage(store);
  const seen = await Promise.all(
    drivers.map(async (driver) => (await Container.run(sh(listing), options(image, driver))).stdout),
  );
  expect(seen[0]?.split('\n').length).toBeGreaterThan(20);
  expect(seen[1]).toBe(seen[0]);
  expect(seen[2]).toBe(seen[0]);
});

/** All that changes() tells, in an order that does not depend on the directory's. */
async function changesOf(box: Container): Promise<string[]> {
  const list: string[] = [];
  for await (const { kind, type, path, metadataOnly } of box.changes()) {
    list.push(`${path} ${kind} ${type}${metadataOnly ? ' metadata' : ''}`);
  }
  return list.sort();
}

/** Ends with the same times everywhere, as what a layer has of them is when the commands ran. */
const settle =
  "find /data /new /hidden /moved /again /etc / -xdev -maxdepth 0 -exec touch -h -d @1000000000 '{}' + 2>/dev/null || true; " +
  "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /usr -o -path /bin -o -path /lib -o -path /lib64 \\) -prune -o -newermt '2020-01-01' -exec touch -h -d @1000000000 '{}' + 2>/dev/null || true";

/** A tar's members but for their times, and what is each container's own. */
async function listTar(parts: AsyncIterable<Uint8Array>): Promise<string[]> {
  const bytes: Uint8Array[] = [];
  for await (const part of parts) bytes.push(part);
  const text = execFileSync('tar', ['-tv', '--numeric-owner'], { input: Buffer.concat(bytes), encoding: 'utf8' });
  const lines = text.split('\n').map((line) => line.replace(/ +/g, ' ').replace(/ \d{4}-\d\d-\d\d \d\d:\d\d /, ' '));
  return lines.filter((line) => !/ etc\/(hosts|hostname|resolv\.conf)$/.test(line)).sort();
}

const actions: Readonly<Record<string, string>> = {
  nothing: 'true',
  'files that are made, changed and deleted': `
    echo more >> /data/changed; rm /data/big; echo x > /new; mkdir -p /some/where/deep; echo y > /some/where/deep/f
    ln /new /some/name; ln -s to /some/link; mkfifo /some/pipe`,
  'what is known about files': `
    chmod 700 /data/sub; chown 12:13 /data/sub/a; chmod u-s /data/set-id; touch -d @500000000 /data/sub/deep/b`,
  'what is put back as it was':
    'mv /data/changed /data/c; mv /data/c /data/changed; chmod 600 /data/set-id; chmod 4755 /data/set-id',
  'a directory in the place of a file, and the other way': `
    rm /data/changed; mkdir /data/changed; echo z > /data/changed/in; rm -r /hidden; echo file > /hidden`,
  'a directory in the place of another': `
    rm -r /data/sub; mkdir /data/sub; echo other > /data/sub/a; rm -r /moved; mkdir /moved`,
  'a directory that is renamed': 'mv /moved /again; mv /data/sub/deep /data/deeper',
  'a link in the place of a file, and what lies deep': `
    rm /data/changed; ln -s kept /data/changed; echo b2 > /data/sub/deep/b; rm -r /hidden; mkdir -p /hidden/below/it`,
};

describe.for(Object.keys(actions))('%s', (name) => {
  it('is told of, and is the same layer, by whichever driver', async (context) => {
    needsDrivers(context);
    await using store = await openStore('changes');
    const image = await makeImage(store);
    const results = await Promise.all(
      drivers.map(async (driver) => {
        await using box = await Container.create(options(image, driver));
        await box.exec(sh(`${actions[name]}\n${settle}`), { check: true });
        const changes = await changesOf(box);
        const committed = await box.commit({ created: new Date(0), compression: 'none', pause: false });
        const layers = committed.config.diffIds;
        const exported = await listTar(box.export());
        return { changes, layers, exported };
      }),
    );
    const [overlay, ...others] = results;
    const unchanged = ['nothing', 'what is put back as it was'].includes(name);
    expect(overlay?.layers).toHaveLength(unchanged ? 2 : 3);
    expect(overlay?.changes.length).toBeGreaterThanOrEqual(unchanged ? 0 : 3);
    expect(overlay?.exported).toContain('-rw-r--r-- 0/0 4 data/kept');
    for (const [index, other] of others.entries()) expect(other, drivers[index + 1]).toEqual(overlay);
  });
});

describe.for(drivers)('with the driver %s', (driver) => {
  it('a fork has the files of its container at that moment', async (context) => {
    needsDrivers(context);
    await using store = await openStore('fork');
    const image = await makeImage(store);
    await using box = await Container.create(options(image, driver));
    await box.exec(sh('echo before > /data/changed; rm /data/big; chown 5:6 /data/sub/a; mkdir /new'), { check: true });
    const before = await changesOf(box);
    await using fork = await box.fork();
    await box.exec(sh('echo after > /data/changed'), { check: true });
    expect((await fork.exec(sh('cat /data/changed; stat -c %u:%g /data/sub/a; ls -d /new'))).stdout).toBe(
      'before\n5:6\n/new\n',
    );
    expect(await changesOf(fork)).toEqual(before);
    await box.kill();
    await using second = await fork.fork({ pause: false });
    await fork.kill();
    expect((await second.exec(sh('cat /data/changed'))).stdout).toBe('before\n');
    expect(second.inspect().storage).toMatchObject({ driver });
    await second.kill();
    await expect.poll(() => readdirSync(store.roots), { timeout: 5000 }).toEqual([]);
  });

  it('what is written is bounded, and below the bound it is written', async (context) => {
    needsDrivers(context);
    await using store = await openStore('bound');
    const image = await makeImage(store);
    const write = (count: number) => sh(`dd if=/dev/zero of=/file bs=1M count=${count} 2>&1 && sync /file 2>&1`);
    const check = async (storage: ContainerOptions['storage'], bound: string) => {
      await using box = await Container.create(options(image, driver, storage));
      expect(box.inspect().storage).toMatchObject({ driver, bound, size: 24 * mebibyte });
      expect(await box.exec(write(16))).toMatchObject({ exitCode: 0 });
      const { exitCode, stdout } = await box.exec(write(40));
      expect({ exitCode, stdout }).toEqual({
        exitCode: 1,
        stdout: expect.stringMatching(/No space left|quota exceeded/i),
      });
      expect((await box.exec(sh('cat /data/changed'))).stdout).toBe('new');
    };
    if (driver === 'btrfs') {
      await expect(Container.create(options(image, driver, { size: '24MiB' }))).rejects.toThrow('btrfs quota enable');
      execFileSync('btrfs', ['quota', 'enable', btrfs?.path ?? '']);
      try {
        await check({ size: '24MiB' }, 'qgroup');
      } finally {
        execFileSync('btrfs', ['quota', 'disable', btrfs?.path ?? '']);
      }
    } else {
      await check({ size: '24MiB', upper: 'disk' }, 'loop file');
      await check({ size: '24MiB', upper: 'tmpfs' }, 'tmpfs');
    }
    await expect.poll(() => readdirSync(store.roots), { timeout: 5000 }).toEqual([]);
  });

  it('many containers of an image add no contents to the disk', async (context) => {
    needsDrivers(context);
    await using store = await openStore('many');
    const image = await makeImage(store);
    await using first = await Container.create(options(image, driver));
    const used = () => {
      execFileSync('sync', ['-f', store.path]);
      const facts = statfsSync(store.path);
      return (facts.blocks - facts.bfree) * facts.bsize;
    };
    const before = used();
    const boxes: Container[] = [];
    try {
      for (let i = 0; i < 10; i++) {
        boxes.push(...(await Promise.all(Array.from({ length: 10 }, () => Container.create(options(image, driver))))));
      }
      // Each of them has the 4 MiB of the image; a copy shares them where the file system can do that, as it can here.
      expect(used() - before).toBeLessThan((driver === 'vfs' ? 24 : 16) * mebibyte);
      expect((await boxes[99]?.exec(sh('stat -c %s /data/big')))?.stdout).toBe(`${4 * mebibyte}\n`);
    } finally {
      await Promise.all(boxes.map((box) => box.kill()));
    }
    await first.kill();
    await expect.poll(() => readdirSync(store.roots), { timeout: 20_000 }).toEqual([]);
  }, 120_000);

  it('nothing is left when this process is killed', async (context) => {
    needsDrivers(context);
    await using store = await openStore(`killed-${driver}`);
    await makeImage(store);
    const [{ references } = { references: [] }] = await store.list();
    const child = startScript(
      `
      const box = await Container.create({
        image: '${references[0]}', store, mounts: ${JSON.stringify(mounts)}, storage: { driver: '${driver}', upper: 'disk' },
      });
      await box.exec(['/bin/sh', '-c', 'mkdir -p /deep/deeper; echo x > /deep/deeper/x'], { check: true });
      console.log('ready');
      setInterval(() => {}, 1000);`,
      store,
    );
    expect(await once(child.stdout, 'data').then(String)).toBe('ready\n');
    expect(readdirSync(store.roots)).toHaveLength(driver === 'overlay' ? 0 : 1);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await expect.poll(() => readdirSync(store.roots), { timeout: 5000 }).toEqual([]);
  });
});

/** A process with the package and a store. */
function startScript(script: string, store: ImageStore) {
  const dist = new URL('../../../dist/index.js', import.meta.url).href;
  const program = `
    import { Container, ImageStore } from '${dist}';
    const store = await ImageStore.open({ path: '${store.path}' });
    ${script}`;
  return spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
}

describe('the merged tree of an image', () => {
  const mergedOf = (store: ImageStore) => readdirSync(join(store.path, 'layers')).filter((name) => name.includes('.'));

  it.for(['btrfs', 'vfs'] as const)('is made once, by whichever of several processes (%s)', async (driver, context) => {
    needsDrivers(context);
    await using store = await openStore(`once-${driver}`);
    await makeImage(store);
    const [{ references } = { references: [] }] = await store.list();
    const run = `
      const { stdout } = await Container.run(['/bin/cat', '/data/changed'], {
        image: '${references[0]}', store, mounts: ${JSON.stringify(mounts)}, storage: { driver: '${driver}' },
      });
      console.log(stdout);`;
    const children = [startScript(run, store), startScript(run, store)];
    const outputs = await Promise.all(
      children.map(async (child) => {
        const [data] = await Promise.all([once(child.stdout, 'data'), once(child, 'exit')]);
        return String(data);
      }),
    );
    expect(outputs).toEqual(['new\n', 'new\n']);
    expect(mergedOf(store)).toEqual([expect.stringMatching(driver === 'btrfs' ? /\.btrfs$/ : /\.merged$/)]);
    const working = readdirSync(join(store.path, 'tmp'));
    expect(working.filter((name) => existsSync(join(store.path, 'tmp', name, 'root')))).toEqual([]);
    if (driver === 'btrfs' && btrfs) {
      const own = subvolumes(btrfs).filter((path) => path.startsWith('once-btrfs/'));
      expect(own).toEqual([`once-btrfs/layers/${mergedOf(store)[0]}/root`]);
    }
    expect(await store.verify()).toEqual([]);
  });

  it.for(['btrfs', 'vfs'] as const)(
    'that a killed process has begun is no layer, and is made again (%s)',
    async (driver, context) => {
      needsDrivers(context);
      await using store = await openStore(`half-${driver}`);
      const many = tar(directory('many/'), ...Array.from({ length: 4000 }, (_, i) => file(`many/${i}`, `${i}`)));
      const image = await makeImage(store, [base, many, top]);
      // Unpacked already, so what takes the time is merging.
      (await image.unpack()).release();
      const [{ references } = { references: [] }] = await store.list();
      const child = startScript(
        `
      console.log('begun');
      await Container.run(['/bin/true'], {
        image: '${references[0]}', store, mounts: ${JSON.stringify(mounts)}, storage: { driver: '${driver}' },
      });`,
        store,
      );
      await once(child.stdout, 'data');
      const begun = () =>
        readdirSync(join(store.path, 'tmp')).some((name) => existsSync(join(store.path, 'tmp', name, 'root/many')));
      await expect.poll(begun, { timeout: 10_000, interval: 1 }).toBe(true);
      child.kill('SIGKILL');
      await once(child, 'exit');
      expect(mergedOf(store)).toEqual([]);
      const { stdout } = await Container.run(sh('ls /many | wc -l; cat /data/changed'), options(image, driver));
      expect(stdout).toBe('4000\nnew');
      // Who opens the store next clears away what was half done, subvolume or not.
      await (await ImageStore.open({ path: store.path })).close();
      expect(begun()).toBe(false);
      expect(mergedOf(store)).toHaveLength(1);
    },
  );

  it.for(['btrfs', 'vfs'] as const)('goes with its image, but not under a container (%s)', async (driver, context) => {
    needsDrivers(context);
    await using store = await openStore(`gc-${driver}`);
    const image = await makeImage(store);
    await using box = await Container.create(options(image, driver));
    await store.gc();
    expect(mergedOf(store)).toHaveLength(1);
    const [{ references } = { references: [] }] = await store.list();
    await expect(store.remove(image.id)).rejects.toThrow('in use');
    await store.remove(references[0] ?? '');
    expect(mergedOf(store)).toHaveLength(1);
    await box.exec(sh('echo mine > /data/changed; cat /data/sub/a'), { check: true });
    const changed = [];
    for await (const { path } of box.changes()) changed.push(path);
    expect(changed).toEqual(['/data/changed']);
    await box.kill();
    await expect.poll(() => readdirSync(store.roots), { timeout: 5000 }).toEqual([]);
    await store.gc();
    expect(readdirSync(join(store.path, 'layers'))).toEqual([]);
    if (btrfs) expect(subvolumes(btrfs).filter((path) => path.startsWith(`gc-${driver}/`))).toEqual([]);
  });

  it('is made by nobody who could do harm, and with the ids of the image', async (context) => {
    needsDrivers(context);
    await using store = await openStore('confined');
    const image = await makeImage(store);
    await Container.run(['/bin/true'], options(image, 'btrfs'));
    const [name = ''] = mergedOf(store);
    const facts = statSync(join(store.path, 'layers', name, 'root/data/set-id'));
    expect([facts.uid, facts.gid, facts.mode & 0o7777]).toEqual([7, 8, 0o4755]);
    expect(statSync(join(store.path, 'layers', name)).mode & 0o777).toBe(0o700);
  });
});

describe('sweeping', () => {
  it('removes roots of dead launchers from the stores of this process, by Container.sweep and gc', async (context) => {
    needsDrivers(context);
    await using store = await openStore('swept');
    const image = await makeImage(store);
    await using box = await Container.create(options(image, 'vfs'));
    const dead = ['00000000-1-1-1-1', '00000000-1-1-1-2'].map((name) => join(store.roots, name));
    for (const path of dead) mkdirSync(join(path, 'upper/deep'), { recursive: true });
    symlinkSync(temporary.path, join(dead[0] ?? '', 'upper/link'));
    mkdirSync(join(store.roots, 'not-ours'));
    expect(await Container.sweep()).toBeGreaterThanOrEqual(2);
    expect(dead.map((path) => existsSync(path))).toEqual([false, false]);
    expect(existsSync(temporary.path)).toBe(true);
    mkdirSync(dead[1] ?? '');
    await store.gc();
    expect(readdirSync(store.roots).filter((name) => name !== box.inspect().cgroup)).toEqual(['not-ours']);
    expect((await box.exec(sh('cat /data/changed'))).stdout).toBe('new');
  });
});

describe('storage.driver', () => {
  const refusal = (option: ContainerOptions, message: RegExp) =>
    expect(Container.create(option)).rejects.toThrow(
      expect.objectContaining({ message: expect.stringMatching(message) }),
    );

  it('is an option of images only', async () => {
    const box = { rootfs: temporary.path };
    await expect(Container.create({ storage: { driver: 'overlay' } })).rejects.toBeInstanceOf(OptionError);
    await refusal({ storage: { driver: 'vfs' } }, /storage\.driver.*image: 'host'/);
    for (const driver of ['btrfs', 'vfs'] as const) {
      await refusal({ image: box, storage: { driver } }, /storage\.driver.*directories of the caller's/);
    }
    await refusal({ storage: { driver: 'aufs' as 'vfs' } }, /storage\.driver/);
    await using host = await Container.create({ storage: { driver: 'auto' } });
    expect(host.inspect().storage).toMatchObject({ driver: 'none', driverReason: "image: 'host' has no layers" });
    await using over = await Container.create({ image: box, storage: { driver: 'overlay' } });
    expect(over.inspect().storage).toMatchObject({ driver: 'overlay', bound: 'tmpfs' });
  });

  it('has what the driver can have', async (context) => {
    needsDrivers(context);
    await using store = await openStore('options');
    const image = await makeImage(store);
    const plan = await Container.plan(options(image, 'btrfs'));
    expect(plan.toString()).toContain('a snapshot of');
    expect(readdirSync(join(store.path, 'layers'))).toEqual([]);
    await refusal(options(image, 'btrfs', { upper: 'tmpfs' }), /storage\.upper.*'disk'/);
    await refusal(options(image, 'btrfs', { inodes: 100 }), /storage\.inodes/);
    await refusal(options(image, 'vfs', { inodes: 100 }), /storage\.inodes/);
    // Too little for the image.
    await expect(Container.create(options(image, 'vfs', { size: '1MiB' }))).rejects.toMatchObject({ errno: 'ENOSPC' });
    await expect.poll(() => readdirSync(store.roots), { timeout: 5000 }).toEqual([]);
  });

  it('is an overlay where it is left to us and that works, and says why', async (context) => {
    needsDrivers(context);
    await using store = await openStore('auto');
    const image = await makeImage(store);
    await using box = await Container.create({ image, mounts });
    expect(box.inspect().storage).toMatchObject({
      driver: 'overlay',
      driverReason: 'an overlay can be mounted over images there',
    });
  });

  it('of another kind takes btrfs', async (context) => {
    needsRoot(context);
    await using store = await ImageStore.open({ path: temporary.at('plain') });
    const image = await makeImage(store);
    await expect(Container.create(options(image, 'btrfs'))).rejects.toBeInstanceOf(UnsupportedError);
    await refusal(options(image, 'btrfs'), /storage\.driver.*it is not on btrfs/);
    await using box = await Container.create(options(image, 'vfs'));
    expect((await box.exec(sh('cat /data/changed'))).stdout).toBe('new');
  });

  it('of another kind merges so many layers and no more, which is told of before any is unpacked', async (context) => {
    needsDrivers(context);
    await using store = await openStore('stack');
    const stack = [base, ...Array.from({ length: 256 }, (_, i) => tar(file(`f${i}`, `${i}`)))];
    const image = await makeImage(store, stack);
    await expect(Container.create(options(image, 'btrfs'))).rejects.toBeInstanceOf(UnsupportedError);
    await refusal(options(image, 'vfs'), /merges at most 256 layers, not 257/);
    expect(readdirSync(join(store.path, 'layers'))).toEqual([]);
  });

  it('takes root, but for overlay', async (context) => {
    context.skip(process.geteuid?.() === 0, 'root has all drivers');
    await using store = await ImageStore.open({ path: temporary.at('own') });
    const image = await makeImage(store, [tar(directory('data/'), file('data/changed', 'new'))]);
    for (const driver of ['btrfs', 'vfs'] as const) {
      await expect(Container.create(options(image, driver))).rejects.toBeInstanceOf(UnsupportedError);
    }
    expect((await Container.run(sh('cat /data/changed'), options(image, 'overlay'))).stdout).toBe('new');
  });
});
