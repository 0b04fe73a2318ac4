/** Containers whose root is a directory of their own, as the launcher and init make it: a snapshot, or a copy. */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeBlueprint } from '../../../lib/container/blueprint.js';
import { Instance } from '../../../lib/container/instance.js';
import type { DirectoryRoot } from '../../../lib/container/plan/directory-root.js';
import { readStorage } from '../../../lib/container/settings/storage.js';
import { parseContainerOptions, parseExecOptions } from '../../../lib/container/settings.js';
import { resolveSources } from '../../../lib/container/sources.js';
import { chooseDriver } from '../../../lib/image/driver/choose.js';
import { unfinishedName } from '../../../lib/image/driver/name.js';
import { makeSubvolume, removeDirectory, sweepRoots } from '../../../lib/image/driver/subvolume.js';
import { UnsupportedError } from '../../../lib/index.js';
import { type Btrfs, mountBtrfs, needsBtrfs, subvolumes } from '../../support/btrfs.js';
import { needsPrograms, needsRoot } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';

const mounts = ['/usr', '/bin', '/lib', '/lib64'].map(
  (path) => ({ type: 'bind', source: path, target: path }) as const,
);

async function start(root: DirectoryRoot, size?: number): Promise<Instance> {
  const parsed = parseContainerOptions({ mounts, image: { rootfs: root.merged } });
  const storage = readStorage({ driver: root.driver, size }, 'storage', parsed.limits.values.memory);
  const settings = { ...parsed, storage };
  const facts = { ...(await resolveSources(settings)), root };
  const events = { oom() {}, gone() {}, denied() {}, handlerFailed() {} };
  const instance = new Instance(makeBlueprint(settings, facts), events, false);
  await instance.ready;
  return instance;
}

async function run(instance: Instance, script: string) {
  const identity = { uid: 0, gid: 0, groups: [] };
  const { attributes } = instance.blueprint.profile;
  return instance.start(['/bin/sh', '-c', script], parseExecOptions({}), identity, { cwd: '/', env: [], attributes });
}

async function end(instance: Instance): Promise<void> {
  instance.kill('stopped');
  await instance.wait();
}

function fillSmall(directory: string): void {
  mkdirSync(join(directory, 'data'));
  writeFileSync(join(directory, 'data/file'), 'image');
  writeFileSync(join(directory, 'data/big'), Buffer.alloc(4 * 2 ** 20, 1));
}

async function makeMerged(parent: string, name = 'merged'): Promise<string> {
  await makeSubvolume(parent, name);
  fillSmall(join(parent, name));
  return join(parent, name);
}

checkResidue();

let directory: string;
let btrfs: Btrfs | undefined;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tscontain-driver-'));
  chmodSync(directory, 0o700);
});
afterAll(() => {
  btrfs?.remove();
  rmSync(directory, { recursive: true, force: true });
});

/** The file system of all tests here, made by the first that needs it; and a directory in it that holds roots. */
function onBtrfs(name: string): { fs: Btrfs; parent: string } {
  btrfs ??= mountBtrfs();
  const parent = join(btrfs.path, name);
  mkdirSync(parent, { mode: 0o700 });
  return { fs: btrfs, parent };
}

async function expectOnly(parent: string, names: readonly string[]): Promise<void> {
  await expect.poll(() => readdirSync(parent), { timeout: 5000 }).toEqual(names);
}

describe('a root that is a snapshot', () => {
  it('has what the subvolume has, keeps its own changes, and is gone with the container', async (ctx) => {
    needsBtrfs(ctx);
    const { fs, parent } = onBtrfs('changes');
    const snapshot = await makeMerged(parent);
    const [one, two] = await Promise.all([
      start({ driver: 'btrfs', parent, merged: snapshot }),
      start({ driver: 'btrfs', parent, merged: snapshot }),
    ]);
    const script =
      'cat /data/file; echo new > /data/file; touch /made; stat -c "%u %g" / /data /made; grep " / / \\| / rw" /proc/self/mountinfo | grep btrfs';
    const first = await run(one, script);
    expect(first.stdout).toMatch(/^image0 0\n0 0\n0 0\n.* \/ rw,nosuid,nodev\S* .*btrfs/);
    expect((await run(two, 'cat /data/file; ls /')).stdout).toMatch(/^imagebin\n(?!.*made)/);
    expect(subvolumes(fs).filter((path) => path.startsWith('changes/'))).toHaveLength(3);
    // On disk there are the ids that it has inside.
    const names = readdirSync(parent).filter((name) => name !== 'merged');
    expect(names.map((name) => statSync(join(parent, name, 'data')).uid)).toEqual([0, 0]);
    await Promise.all([end(one), end(two)]);
    await expectOnly(parent, ['merged']);
    expect(readFileSync(join(snapshot, 'data/file'), 'utf8')).toBe('image');
    expect(subvolumes(fs).filter((path) => path.startsWith('changes/'))).toEqual(['changes/merged']);
  });

  it('is removed with the subvolumes that its programs have made in it', async (ctx) => {
    needsBtrfs(ctx);
    needsPrograms(ctx, 'python3');
    const { fs, parent } = onBtrfs('nested');
    const snapshot = await makeMerged(parent);
    const box = await start({ driver: 'btrfs', parent, merged: snapshot });
    // BTRFS_IOC_SUBVOL_CREATE takes no privilege, and nor does making one read-only that is one's own.
    const make = `python3 -c "
import fcntl, os, struct
d = os.open('/data', os.O_RDONLY)
fcntl.ioctl(d, 0x5000940e, bytearray(struct.pack('=q4088s', 0, b'inner')))
open('/data/inner/file', 'w').write('x')
i = os.open('/data/inner', os.O_RDONLY)
fcntl.ioctl(i, 0x5000940e, bytearray(struct.pack('=q4088s', 0, b'deeper')))
fcntl.ioctl(i, 0x4008941a, struct.pack('=Q', 2))
print('made')"`;
    const { stdout, stderr } = await run(box, make);
    expect([stdout, stderr]).toEqual(['made\n', '']);
    expect(subvolumes(fs).filter((path) => path.startsWith('nested/'))).toHaveLength(4);
    await end(box);
    await expectOnly(parent, ['merged']);
    expect(subvolumes(fs).filter((path) => path.startsWith('nested/'))).toEqual(['nested/merged']);
  });

  it('is bounded where quotas are enabled, and refused else', async (ctx) => {
    needsBtrfs(ctx);
    const { fs, parent } = onBtrfs('quota');
    const snapshot = await makeMerged(parent);
    const root = { driver: 'btrfs', parent, merged: snapshot } as const;
    const size = 8 * 2 ** 20;
    await expect(start(root, size)).rejects.toThrow('btrfs quota enable');
    await expectOnly(parent, ['merged']);
    execFileSync('btrfs', ['quota', 'enable', fs.path]);
    try {
      const box = await start(root, size);
      const { stdout, stderr } = await run(box, 'head -c 64M /dev/zero > /file; sync; stat -c %s /file');
      expect(stderr).toMatch(/quota exceeded|No space left/i);
      expect(Number(stdout)).toBeLessThanOrEqual(8 * 2 ** 20);
      expect((await run(box, 'cat /data/file')).stdout).toBe('image');
      await end(box);
      await expectOnly(parent, ['merged']);
    } finally {
      execFileSync('btrfs', ['quota', 'disable', fs.path]);
    }
  });

  it('leaves nothing when this process is killed', async (ctx) => {
    needsBtrfs(ctx);
    const { parent } = onBtrfs('killed');
    const snapshot = await makeMerged(parent);
    const dist = new URL('../../../dist/', import.meta.url).href;
    const program = `
      import { makeBlueprint } from '${dist}container/blueprint.js';
      import { Instance } from '${dist}container/instance.js';
      import { parseContainerOptions } from '${dist}container/settings.js';
      import { resolveSources } from '${dist}container/sources.js';
      const settings = parseContainerOptions({ image: { rootfs: '${snapshot}' } });
      const root = { driver: 'btrfs', parent: '${parent}', merged: '${snapshot}' };
      const instance = new Instance(makeBlueprint(settings, { ...(await resolveSources(settings)), root }), {}, false);
      await instance.ready;
      console.log('ready');
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    expect(readdirSync(parent)).toHaveLength(2);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await expectOnly(parent, ['merged']);
  });

  it('is of a subvolume on the same btrfs, or an error that leaves nothing', async (ctx) => {
    needsBtrfs(ctx);
    const { parent } = onBtrfs('other');
    mkdirSync(join(parent, 'plain'));
    await expect(start({ driver: 'btrfs', parent, merged: join(parent, 'plain') })).rejects.toMatchObject({
      step: { kind: 'rootDirectory' },
    });
    await expect(start({ driver: 'btrfs', parent: directory, merged: join(parent, 'plain') })).rejects.toMatchObject({
      step: { kind: 'rootDirectory' },
    });
    expect(readdirSync(parent)).toEqual(['plain']);
    expect(readdirSync(directory)).toEqual([]);
  });
});

describe('a root that is a copy', () => {
  it('has the container’s ids on disk, is without set-user-ID, and is gone with it', async (ctx) => {
    needsRoot(ctx);
    const [parent, merged] = [join(directory, 'roots'), join(directory, 'tree')];
    mkdirSync(parent, { mode: 0o700 });
    mkdirSync(merged);
    fillSmall(merged);
    const sentinel = join(directory, 'sentinel');
    mkdirSync(sentinel);
    writeFileSync(join(sentinel, 'file'), 'kept');
    symlinkSync(sentinel, join(merged, 'link'));
    const box = await start({ driver: 'vfs', parent, merged });
    const script =
      'cat /data/file; stat -c "%u" /data; echo x > /data/file; grep " / rw,nosuid,nodev\\| /[^ ]* / rw,nosuid,nodev" /proc/self/mountinfo | wc -l';
    expect((await run(box, script)).stdout).toBe('image0\n1\n');
    const [name = ''] = readdirSync(parent);
    expect(statSync(join(parent, name, 'upper/data')).uid).toBe(box.firstId);
    await end(box);
    await expectOnly(parent, []);
    expect(readFileSync(join(merged, 'data/file'), 'utf8')).toBe('image');
    expect(readFileSync(join(sentinel, 'file'), 'utf8')).toBe('kept');
    for (const path of [parent, merged, sentinel]) rmSync(path, { recursive: true });
  });

  it('is nowhere that others can reach', async (ctx) => {
    needsRoot(ctx);
    const [parent, merged] = [join(directory, 'open'), join(directory, 'tree')];
    mkdirSync(parent);
    mkdirSync(merged);
    chmodSync(parent, 0o755);
    const made = start({ driver: 'vfs', parent, merged });
    await expect(made).rejects.toThrow("it must be this user's, with mode 0700");
    expect(readdirSync(parent)).toEqual([]);
    for (const path of [parent, merged]) rmSync(path, { recursive: true });
  });

  it('of what cannot be copied is an error that leaves nothing', async (ctx) => {
    needsRoot(ctx);
    const [parent, merged] = [join(directory, 'full'), join(directory, 'tree')];
    mkdirSync(parent, { mode: 0o700 });
    mkdirSync(merged);
    fillSmall(merged);
    await expect(start({ driver: 'vfs', parent, merged }, 2 ** 20)).rejects.toMatchObject({
      errno: 'ENOSPC',
      step: { kind: 'copyTree' },
    });
    expect(readdirSync(parent)).toEqual([]);
    const box = await start({ driver: 'vfs', parent, merged }, 16 * 2 ** 20);
    expect((await run(box, 'cat /data/file')).stdout).toBe('image');
    await end(box);
    for (const path of [parent, merged]) rmSync(path, { recursive: true });
  });
});

describe('roots', () => {
  it('of dead processes are swept, and others stay', async (ctx) => {
    needsBtrfs(ctx);
    const { parent } = onBtrfs('sweep');
    await makeMerged(parent, '00000000-1-1-1-1');
    mkdirSync(join(parent, '00000000-1-1-1-2'));
    const snapshot = await makeMerged(parent);
    const own = await unfinishedName();
    await makeMerged(parent, own);
    const box = await start({ driver: 'btrfs', parent, merged: snapshot });
    expect(readdirSync(parent)).toHaveLength(5);
    expect(await sweepRoots(parent)).toBe(2);
    expect(readdirSync(parent)).toHaveLength(3);
    expect((await run(box, 'cat /data/file')).stdout).toBe('image');
    await end(box);
    await expectOnly(parent, [own, 'merged'].sort());
    await removeDirectory(parent, 'merged');
    await removeDirectory(parent, own);
    await removeDirectory(parent, 'never-there');
    expect(readdirSync(parent)).toEqual([]);
    expect(await sweepRoots(parent)).toBe(0);
  });

  it('can be gone on from while their containers run', async (ctx) => {
    needsBtrfs(ctx);
    const { parent } = onBtrfs('prepare');
    const root = { driver: 'btrfs', parent, merged: await makeMerged(parent) } as const;
    const [box, other] = [await start(root), await start(root)];
    await run(box, 'echo changed > /data/file');
    const fork = await start({ ...root, source: join(parent, box.cgroup ?? '') });
    await run(box, 'echo later > /data/file');
    expect((await run(fork, 'cat /data/file')).stdout).toBe('changed\n');
    expect((await run(other, 'cat /data/file')).stdout).toBe('image');
    await Promise.all([end(box), end(other), end(fork)]);
    await expectOnly(parent, ['merged']);
  });
});

describe('the driver', () => {
  it('is overlay where that can be mounted', async (ctx) => {
    needsRoot(ctx);
    const choice = await chooseDriver(directory);
    expect(['overlay', 'vfs']).toContain(choice.driver);
    expect(choice.reason.length).toBeGreaterThan(10);
  });

  it('that was asked for and cannot be had is an error', async (ctx) => {
    needsRoot(ctx);
    await expect(chooseDriver(directory, 'btrfs')).rejects.toBeInstanceOf(UnsupportedError);
    await expect(chooseDriver(directory, 'btrfs')).rejects.toThrow('it is not on btrfs');
    expect(await chooseDriver(directory, 'vfs')).toMatchObject({ driver: 'vfs' });
  });

  it('is btrfs on one, and leaves nothing there', async (ctx) => {
    needsBtrfs(ctx);
    const { parent } = onBtrfs('choose');
    expect(await chooseDriver(parent, 'btrfs')).toMatchObject({ driver: 'btrfs' });
    expect(readdirSync(parent)).toEqual([]);
  });

  it('is vfs where the file system shifts no ids', async (ctx) => {
    needsRoot(ctx);
    expect(await chooseDriver('/proc/self')).toMatchObject({
      driver: 'vfs',
      reason: expect.stringContaining('no overlay'),
    });
  });
});
