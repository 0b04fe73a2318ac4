/** Containers of images by each driver: the same files, the same changes, bounds that hold, and nothing left behind. */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { Container, type ContainerOptions, Image, ImageStore } from '../../../lib/index.js';
import { type Btrfs, mountBtrfs, needsBtrfs } from '../../support/btrfs.js';
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
