import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseContainerOptions } from '../../../lib/container/settings.js';
import { kernelMountBelow } from '../../../lib/container/sources/kernel-file-systems.js';
import { decodeDevice, resolveSources } from '../../../lib/container/sources.js';
import { OptionError } from '../../../lib/errors.js';

let directory: string;
const server = createServer();

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'sources-'));
  mkdirSync(join(directory, 'data', 'in'), { recursive: true });
  writeFileSync(join(directory, 'file'), '');
  symlinkSync('/', join(directory, 'data', 'link'));
  symlinkSync('in', join(directory, 'data', 'inner'));
  symlinkSync('/', join(directory, 'root'));
  execFileSync('/usr/bin/mkfifo', [join(directory, 'fifo')]);
  await new Promise<void>((done) => server.listen(join(directory, 'socket'), done));
});

afterAll(async () => {
  await new Promise((done) => server.close(done));
  rmSync(directory, { recursive: true });
});

const resolve = (options: object) => resolveSources(parseContainerOptions(options));
const bind = (source: string, more: object = {}) => ({ type: 'bind', source, target: '/job', ...more });

async function refusal(options: object, option: string): Promise<OptionError> {
  const error = await resolve(options).then(
    () => expect.fail(`${option} was accepted`),
    (caught: unknown) => caught,
  );
  if (!(error instanceof OptionError)) throw error;
  expect(error.option).toBe(option);
  expect(error.message).toContain(error.received);
  return error;
}

describe('the sources of a container', () => {
  it('that names nothing of the host are known without waiting', async () => {
    const settings = parseContainerOptions({ mounts: [{ type: 'tmpfs', target: '/t' }] });
    let facts: unknown;
    resolveSources(settings).then((result) => {
      facts = result;
    });
    await Promise.resolve();
    expect(facts).toEqual({ kinds: new Map(), limits: settings.limits.values });
  });

  it('are known by the place of the mount in the settings', async () => {
    const mounts = [
      { type: 'bind', source: join(directory, 'file'), target: '/a/file' },
      { type: 'tmpfs', target: '/t' },
      { type: 'bind', source: join(directory, 'data'), target: '/a' },
      { type: 'bind', source: join(directory, 'data'), subPath: 'in', target: '/b/c/d' },
      { type: 'overlay', lower: [join(directory, 'data')], target: '/o' },
    ];
    const settings = parseContainerOptions({ mounts, image: { rootfs: directory } });
    const { kinds } = await resolveSources(settings);
    const named = settings.mounts.map((mount, index) => `${mount.target} ${kinds.get(index)}`);
    expect(named).toEqual(['/t undefined', '/a directory', '/o undefined', '/a/file file', '/b/c/d directory']);
  });

  it('that are missing say so, with the cause and what to do', async () => {
    const source = join(directory, 'missing');
    const error = await refusal({ mounts: [bind(source)] }, 'mounts[0].source');
    expect(error).toMatchObject({ errno: 'ENOENT', syscall: 'stat', path: source });
    expect(error.cause).toMatchObject({ code: 'ENOENT' });
    expect(error.hint).toContain('it does not exist');
    await refusal({ image: { rootfs: source } }, 'image.rootfs');
    await refusal({ mounts: [{ type: 'overlay', lower: [directory, source], target: '/o' }] }, 'mounts[0].lower[1]');
    await refusal({ mounts: [bind(source, { subPath: 'x' })] }, 'mounts[0].source');
    await refusal({ mounts: [bind(directory, { subPath: 'data/x' })] }, 'mounts[0].subPath');
    await refusal({ mounts: [bind(join(directory, 'file', 'x'))] }, 'mounts[0].source');
  });

  it('that fail together are reported in their order', async () => {
    const mounts = [bind('/missing/1', { target: '/z/z/z' }), bind('/missing/2', { target: '/a' })];
    for (let i = 0; i < 20; i++) await refusal({ mounts }, 'mounts[1].source');
    await refusal({ mounts, image: { rootfs: '/missing' } }, 'image.rootfs');
  });

  it('have to be directories where only those make sense', async () => {
    const file = join(directory, 'file');
    await refusal({ image: { rootfs: file } }, 'image.rootfs');
    await refusal({ mounts: [{ type: 'overlay', lower: [file], target: '/o' }] }, 'mounts[0].lower[0]');
  });
});

describe('C13: what the container could act on the host with', () => {
  it.each(['socket', 'fifo', 'root'])('a %s is a source only when unsafeSource says so', async (name) => {
    const source = join(directory, name);
    const error = await refusal({ mounts: [bind(source)] }, 'mounts[0].source');
    expect(error.hint).toBe('if that is meant, set mounts[0].unsafeSource: true');
    const { kinds } = await resolve({ mounts: [bind(source, { unsafeSource: true })] });
    expect(kinds.get(0)).toBe(name === 'root' ? 'directory' : 'file');
  });

  it.each(['/', '/..', '/dev/null', '/proc/self/root'])('%s is not a source without it', async (source) => {
    await refusal({ mounts: [bind(source)] }, 'mounts[0].source');
  });

  it('the root is never a lower directory or an image', async () => {
    const root = join(directory, 'root');
    expect((await refusal({ image: { rootfs: root } }, 'image.rootfs')).hint).toContain("image: 'host'");
    await refusal({ mounts: [{ type: 'overlay', lower: [root], target: '/o' }] }, 'mounts[0].lower[0]');
  });
});

describe('A8: a sub-path', () => {
  it.each(['link', 'inner', 'link/etc'])('%s passes through a link and is refused', async (subPath) => {
    const source = join(directory, 'data');
    await refusal({ mounts: [bind(source, { subPath, unsafeSource: true })] }, 'mounts[0].subPath');
  });
});

describe('A19: a file system of the kernel', () => {
  const places = [
    '/proc',
    '/proc/self',
    '/proc/self/status',
    '/proc/self/ns/net',
    '/sys',
    '/sys/kernel',
    '/sys/fs/cgroup',
    '/dev/pts',
    '/dev',
  ];
  for (const source of places) {
    it.skipIf(!existsSync(source))(`${source} is never a source, unsafe or not`, async () => {
      // A /dev that is an ordinary tmpfs, as in a container, is refused all the same: it is known by its place.
      const error = await refusal({ mounts: [bind(source, { unsafeSource: true })] }, 'mounts[0].source');
      expect(error.expected).toContain('not on a file system of the kernel');
    });
  }

  it('is never a lower directory or an image', async () => {
    await refusal({ image: { rootfs: '/proc' } }, 'image.rootfs');
    await refusal({ mounts: [{ type: 'overlay', lower: ['/sys'], target: '/o' }] }, 'mounts[0].lower[0]');
    await refusal({ mounts: [bind('/', { subPath: 'proc', unsafeSource: true })] }, 'mounts[0].source');
  });
});

describe('A19: what is mounted below a source', () => {
  const mountinfo = [
    '21 26 0:20 / /proc rw,relatime - proc proc rw',
    '26 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
    '40 26 0:40 / /srv/chroot\\040one/proc rw,relatime master:2 propagate_from:1 - proc none rw',
    '41 26 0:41 / /srv/data rw - tmpfs proc rw',
    '42 26 0:42 / /srv/x - sysfs sysfs rw',
    '',
  ].join('\n');
  it.each<[string, string | undefined]>([
    ['/', 'proc on /proc'],
    ['/srv', 'proc on /srv/chroot one/proc'],
    ['/srv/chroot one', 'proc on /srv/chroot one/proc'],
    ['/srv/chroot', undefined],
    ['/srv/data', undefined],
    ['/home', undefined],
    ['/pro', undefined],
  ])('%s brings along %s', (directory, found) => {
    expect(kernelMountBelow(mountinfo, directory)).toBe(found);
  });

  it('comes along where unsafeSource says so', async () => {
    const parent = { mounts: [bind('/', { unsafeSource: true })] };
    expect((await resolve(parent)).kinds.get(0)).toBe('directory');
  });
});

describe('io devices', () => {
  it('keep their numbers, and lose their paths', async () => {
    const io = [{ device: '4095:1048575', readBps: 1 }];
    expect((await resolve({ limits: { io } })).limits).toMatchObject({ memory: 2 ** 30, io });
  });

  it.each(['/dev/null', '/dev/missing-disk', '/dev/pts'])('are not %s', async (device) => {
    await refusal({ limits: { io: [{ device, readBps: 1 }] } }, 'limits.io[0].device');
  });

  it('are limited once each', async () => {
    const one = { device: '4095:0', readBps: 1 };
    await refusal({ limits: { io: [one, { ...one, device: '4095:1' }, one] } }, 'limits.io[2].device');
  });

  it.each([
    [0x0800n, '8:0'],
    [0xfe11n, '254:17'],
    [0x10300n, '259:0'],
    [(0xfffn << 8n) | 0xffn | (0xfffn << 20n), '4095:1048575'],
  ])('have the numbers that makedev(3) put together: %s is %s', (rdev, text) => {
    expect(decodeDevice(rdev)).toBe(text);
  });
});
