/** Containers whose root is a directory of their own: a snapshot, or what was prepared for them. */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
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
import { parseContainerOptions, parseExecOptions } from '../../../lib/container/settings.js';
import { resolveSources } from '../../../lib/container/sources.js';
import { chooseDriver } from '../../../lib/image/driver/choose.js';
import { discardRoot, mergedName, prepareRoot } from '../../../lib/image/driver/root.js';
import { ensureSubvolume, removeDirectory, sweepRoots } from '../../../lib/image/driver/subvolume.js';
import { UnsupportedError } from '../../../lib/index.js';
import { type Btrfs, mountBtrfs, needsBtrfs, subvolumes } from '../../support/btrfs.js';
import { needsPrograms, needsRoot } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';

const mounts = ['/usr', '/bin', '/lib', '/lib64'].map(
  (path) => ({ type: 'bind', source: path, target: path }) as const,
);

async function start(root: DirectoryRoot): Promise<Instance> {
  const settings = parseContainerOptions({ mounts });
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
    const snapshot = await ensureSubvolume(parent, 'merged', async (path) => fillSmall(path));
    const [one, two] = await Promise.all([
      start({ parent, from: { snapshot } }),
      start({ parent, from: { snapshot } }),
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
    const snapshot = await ensureSubvolume(parent, 'merged', async (path) => fillSmall(path));
    const box = await start({ parent, from: { snapshot } });
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
    const snapshot = await ensureSubvolume(parent, 'merged', async (path) => fillSmall(path));
    const root = { parent, from: { snapshot }, size: 8 * 2 ** 20 };
    await expect(start(root)).rejects.toThrow('btrfs quota enable');
    await expectOnly(parent, ['merged']);
    execFileSync('btrfs', ['quota', 'enable', fs.path]);
    try {
      const box = await start(root);
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
    const snapshot = await ensureSubvolume(parent, 'merged', async (path) => fillSmall(path));
    const dist = new URL('../../../dist/', import.meta.url).href;
    const program = `
      import { makeBlueprint } from '${dist}container/blueprint.js';
      import { Instance } from '${dist}container/instance.js';
      import { parseContainerOptions } from '${dist}container/settings.js';
      import { resolveSources } from '${dist}container/sources.js';
      const settings = parseContainerOptions({});
      const root = { parent: '${parent}', from: { snapshot: '${snapshot}' } };
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
    await expect(start({ parent, from: { snapshot: join(parent, 'plain') } })).rejects.toMatchObject({
      step: { kind: 'rootDirectory' },
    });
    await expect(start({ parent: directory, from: { snapshot: join(parent, 'plain') } })).rejects.toMatchObject({
      step: { kind: 'rootDirectory' },
    });
    expect(readdirSync(parent)).toEqual(['plain']);
    expect(readdirSync(directory)).toEqual([]);
  });
});

describe('a root that was prepared', () => {
  it('is the container’s as it is, shifted and without set-user-ID, and is gone with it', async (ctx) => {
    needsRoot(ctx);
    const parent = join(directory, 'roots');
    mkdirSync(join(parent, 'ready'), { recursive: true, mode: 0o700 });
    chmodSync(join(parent, 'ready'), 0o755);
    fillSmall(join(parent, 'ready'));
    const sentinel = join(directory, 'sentinel');
    mkdirSync(sentinel);
    writeFileSync(join(sentinel, 'file'), 'kept');
    symlinkSync(sentinel, join(parent, 'ready/link'));
    const box = await start({ parent, from: { prepared: 'ready' } });
    expect(existsSync(join(parent, 'ready'))).toBe(false);
    const script =
      'cat /data/file; stat -c "%u" /data; echo x > /data/file; grep " / rw,nosuid,nodev" /proc/self/mountinfo | wc -l';
    expect((await run(box, script)).stdout).toBe('image0\n1\n');
    await end(box);
    await expectOnly(parent, []);
    expect(readFileSync(join(sentinel, 'file'), 'utf8')).toBe('kept');
    rmSync(parent, { recursive: true });
    rmSync(sentinel, { recursive: true });
  });

  it('is nowhere that others can reach', async (ctx) => {
    needsRoot(ctx);
    const parent = join(directory, 'open');
    mkdirSync(join(parent, 'ready'), { recursive: true });
    chmodSync(parent, 0o755);
    const made = start({ parent, from: { prepared: 'ready' } });
    await expect(made).rejects.toThrow("it must be this user's, with mode 0700");
    expect(readdirSync(parent)).toEqual(['ready']);
    rmSync(parent, { recursive: true });
  });

  it('that is not there is an error', async (ctx) => {
    needsRoot(ctx);
    await expect(start({ parent: directory, from: { prepared: 'missing' } })).rejects.toMatchObject({
      errno: 'ENOENT',
      step: { kind: 'rootDirectory' },
    });
  });
});

describe('subvolumes', () => {
  it('are filled once, also when many want the same one', async (ctx) => {
    needsBtrfs(ctx);
    const { parent } = onBtrfs('once');
    const fill = async (path: string) => fillSmall(path);
    const paths = await Promise.all(Array.from({ length: 3 }, () => ensureSubvolume(parent, 'merged', fill)));
    expect(new Set(paths).size).toBe(1);
    expect(readdirSync(parent)).toEqual(['merged']);
    const failing = ensureSubvolume(parent, 'bad', async (path) => {
      fillSmall(path);
      throw new Error('no more');
    });
    await expect(failing).rejects.toThrow('no more');
    expect(readdirSync(parent)).toEqual(['merged']);
    await removeDirectory(parent, 'merged');
    await removeDirectory(parent, 'never-there');
    expect(readdirSync(parent)).toEqual([]);
  });

  it('of dead processes are swept, and others stay', async (ctx) => {
    needsBtrfs(ctx);
    const { parent } = onBtrfs('sweep');
    const fill = async (path: string) => fillSmall(path);
    await ensureSubvolume(parent, '00000000-1-1-1-1', fill);
    const snapshot = await ensureSubvolume(parent, 'merged', fill);
    const box = await start({ parent, from: { snapshot } });
    expect(readdirSync(parent)).toHaveLength(3);
    await sweepRoots(parent);
    expect(readdirSync(parent)).toHaveLength(2);
    expect((await run(box, 'cat /data/file')).stdout).toBe('image');
    await end(box);
    await expectOnly(parent, ['merged']);
  });
});

describe('a root by a driver', () => {
  const chain = `sha256:${'ab'.repeat(32)}` as const;
  const copy = async (path: string) => fillSmall(path);

  it('of vfs is a copy for each container', async (ctx) => {
    needsRoot(ctx);
    const parent = join(directory, 'copies');
    mkdirSync(parent, { mode: 0o700 });
    const request = { driver: 'vfs', parent, chain, copy } as const;
    const [one, two] = await Promise.all([prepareRoot(request), prepareRoot(request)]);
    const box = await start(one);
    expect((await run(box, 'cat /data/file; echo x > /data/file')).stdout).toBe('image');
    await end(box);
    const name = 'prepared' in two.from ? two.from.prepared : '';
    await expectOnly(parent, [name]);
    await sweepRoots(parent);
    expect(readFileSync(join(parent, name, 'data/file'), 'utf8')).toBe('image');
    await discardRoot(two);
    expect(readdirSync(parent)).toEqual([]);
    await expect(prepareRoot({ ...request, size: 2 ** 20 })).rejects.toBeInstanceOf(UnsupportedError);
    const failing = async () => {
      throw new Error('no more');
    };
    await expect(prepareRoot({ ...request, copy: failing })).rejects.toThrow('no more');
    expect(readdirSync(parent)).toEqual([]);
    rmSync(parent, { recursive: true });
  });

  it('of btrfs is copied once, and can be gone on from while its container runs', async (ctx) => {
    needsBtrfs(ctx);
    const { parent } = onBtrfs('prepare');
    let copies = 0;
    const counted = async (path: string) => {
      copies++;
      fillSmall(path);
    };
    const request = { driver: 'btrfs', parent, chain, copy: counted } as const;
    const box = await start(await prepareRoot(request));
    const other = await start(await prepareRoot(request));
    expect(copies).toBe(1);
    await run(box, 'echo changed > /data/file');
    const fork = await start({ parent, from: { snapshot: join(parent, box.cgroup ?? '') } });
    await run(box, 'echo later > /data/file');
    expect((await run(fork, 'cat /data/file')).stdout).toBe('changed\n');
    expect((await run(other, 'cat /data/file')).stdout).toBe('image');
    await Promise.all([end(box), end(other), end(fork)]);
    await expectOnly(parent, [mergedName(chain)]);
  });

  it('that a dead process has not finished is swept', async (ctx) => {
    needsRoot(ctx);
    const parent = join(directory, 'dead');
    mkdirSync(parent, { mode: 0o700 });
    const dist = new URL('../../../dist/', import.meta.url).href;
    const program = `
      import { prepareRoot } from '${dist}image/driver/root.js';
      await prepareRoot({ driver: 'vfs', parent: '${parent}', chain: '${chain}', copy: () => {
        console.log('ready');
        return new Promise((resolve) => setTimeout(resolve, 60_000));
      } });`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    await sweepRoots(parent);
    expect(readdirSync(parent)).toHaveLength(1);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await sweepRoots(parent);
    expect(readdirSync(parent)).toEqual([]);
    rmSync(parent, { recursive: true });
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
