/** Mounts that are used alone: made, looked at, remounted, unmounted; what is refused leaves nothing. */

import { spawn, spawnSync } from 'node:child_process';
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { release } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BindMount, IdMap, OptionError, type OverlayChange, OverlayMount, TmpfsMount } from '../../lib/index.js';
import { Agent } from '../../lib/launcher/agent.js';
import { makeOverlays, openLayers } from '../../lib/primitives/mount/layers.js';
import { readOverlayOptions } from '../../lib/primitives/mount/overlay-options.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const isRoot = process.geteuid?.() === 0;
let directory = '';
let storage: TmpfsMount | undefined;
let cases = 0;

beforeAll(async () => {
  if (!isRoot) return;
  directory = mkdtempSync('/tmp/tscontain-mounts-');
  storage = await TmpfsMount.create({ target: directory, size: '64MiB', mode: 0o755 });
});
afterAll(async () => {
  await storage?.unmount();
  if (directory) rmSync(directory, { recursive: true });
});

/** Directories of a case of its own, some with a file that has the directory's name. */
function make(...names: string[]): (name: string) => string {
  const base = `${directory}/${cases++}`;
  mkdirSync(base);
  for (const name of names) {
    mkdirSync(`${base}/${name}`);
    if (name.startsWith('l')) writeFileSync(`${base}/${name}/of-${name}`, name);
  }
  return (name) => `${base}/${name}`;
}

const writable = (at: (name: string) => string) => ({ lower: [at('l')], upper: at('upper'), work: at('work') });
const lineOf = (target: string) =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.split(' ')[4] === target);

function kernelBefore(major: number, minor: number): boolean {
  const [ours = 0, oursMinor = 0] = release()
    .split('.')
    .map((part) => Number.parseInt(part, 10));
  return ours < major || (ours === major && oursMinor < minor);
}

const childrenOf = (pid: number | string) => `/proc/${pid}/task/${pid}/children`;

/** The one child of this process that is ours. */
function launcherPid(): string {
  const children = readFileSync(childrenOf(process.pid), 'utf8').trim().split(' ');
  return children.find((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'tscontain') ?? '';
}

async function collect(overlay: OverlayMount): Promise<OverlayChange[]> {
  const list: OverlayChange[] = [];
  for await (const change of overlay.changes()) list.push(change);
  return list;
}

describe('an overlay', () => {
  it('is attached, written to, made read-only and writable, and unmounted', async (context) => {
    needsRoot(context);
    const at = make('l', 'upper', 'work', 'target');
    const target = at('target');
    const overlay = await OverlayMount.create({ ...writable(at), target });
    expect(overlay).toMatchObject({ target, path: target, isMounted: true, readOnly: false, upper: at('upper') });
    expect(lineOf(target)[0]).toMatch(/ rw,nosuid,nodev,relatime .*- overlay /);
    writeFileSync(`${target}/new`, 'x');
    expect(readdirSync(at('upper'))).toEqual(['new']);
    await overlay.remount({ readOnly: true });
    expect(overlay.readOnly).toBe(true);
    expect(() => writeFileSync(`${target}/new`, 'y')).toThrow(/EROFS/);
    await overlay.remount({ readOnly: false });
    writeFileSync(`${target}/new`, 'y');
    await overlay.unmount();
    expect(overlay.isMounted).toBe(false);
    expect(lineOf(target)).toEqual([]);
    expect(() => overlay.descriptor).toThrow(expect.objectContaining({ code: 'ERR_UNMOUNTED' }));
    await expect(overlay.remount({ readOnly: true })).rejects.toMatchObject({ code: 'ERR_UNMOUNTED' });
    await overlay.unmount();
  });

  it('is detached where no target is given: seen by whoever has its descriptor, and gone with it', async (context) => {
    needsRoot(context);
    const at = make('l', 'upper', 'work');
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
    let path = '';
    {
      await using overlay = await OverlayMount.create(writable(at));
      path = overlay.path;
      expect(readdirSync(path)).toEqual(['of-l']);
      writeFileSync(`${path}/new`, 'x');
      expect(spawnSync('cat', [`${path}/new`], { encoding: 'utf8' }).stdout).toBe('x');
      expect(readFileSync('/proc/self/mountinfo', 'utf8')).toBe(mounts);
    }
    expect(existsSync(`${path}/new`)).toBe(false);
    expect(readFileSync(`${at('upper')}/new`, 'utf8')).toBe('x');
  });

  it('takes paths of any characters, and they mean nothing', async (context) => {
    needsRoot(context);
    const odd = [',upperdir=', ':', '\\,', 'l\nm', ' é\t"\'', `${'n'.repeat(250)}`];
    const at = make(...odd.map((name) => `l${name}`.slice(0, 255)), 'up,per:\\ \n', 'wo,rk:\\ \n', 'tar,get:\\ \n');
    const lower = odd.map((name) => at(`l${name}`.slice(0, 255)));
    const target = at('tar,get:\\ \n');
    await using overlay = await OverlayMount.create({
      lower,
      upper: at('up,per:\\ \n'),
      work: at('wo,rk:\\ \n'),
      target,
    });
    expect(readdirSync(overlay.path)).toHaveLength(odd.length);
    writeFileSync(`${target}/new`, '');
    expect(readdirSync(at('up,per:\\ \n'))).toEqual(['new']);
    expect((await collect(overlay)).map(({ path }) => path)).toEqual(['/new']);
  });

  it('takes hundreds of layers, the topmost first', async (context) => {
    needsRoot(context);
    const names = Array.from({ length: 300 }, (_, index) => `l${String(index).padStart(3, '0')}`);
    const at = make(...names, 'upper', 'work');
    for (const name of names) writeFileSync(`${at(name)}/same`, name);
    const lower = names.map(at);
    await using overlay = await OverlayMount.create({ lower, upper: at('upper'), work: at('work') });
    expect(readdirSync(overlay.path)).toHaveLength(301);
    expect(readFileSync(`${overlay.path}/same`, 'utf8')).toBe('l000');
    rmSync(`${overlay.path}/of-l299`);
    writeFileSync(`${overlay.path}/same`, 'changed');
    expect((await collect(overlay)).map(({ kind, path }) => `${kind} ${path}`).sort()).toEqual([
      'deleted /of-l299',
      'modified /same',
    ]);
  });

  it.for(['descriptor', 'append', 'joined'] as const)(
    'is the same however layers are passed: %s',
    async (way, context) => {
      needsRoot(context);
      context.skip(way === 'descriptor' && kernelBefore(6, 13), 'layers by descriptor need Linux 6.13');
      context.skip(way === 'append' && kernelBefore(6, 7), 'layers one by one need Linux 6.7');
      const at = make('l0', 'l1', 'upper', 'work');
      const lower = [at('l0'), at('l1')];
      const settings = readOverlayOptions({ lower, upper: at('upper'), work: at('work') });
      const layers = await openLayers(settings, false);
      await using agent = await Agent.start();
      const request = { ...layers, to: 'mount made', options: settings.options, attributes: 6 };
      const [descriptor] = await makeOverlays(agent, layers, [request], [way]);
      const path = `/proc/self/fd/${descriptor?.number}`;
      expect(readdirSync(path).sort()).toEqual(['of-l0', 'of-l1']);
      writeFileSync(`${path}/new`, '');
      expect(readdirSync(at('upper'))).toEqual(['new']);
      descriptor?.close();
    },
  );

  it('says so where an older kernel’s one string has no room for all layers', async (context) => {
    needsRoot(context);
    const names = Array.from({ length: 100 }, (_, index) => `l${index}`);
    const at = make(...names);
    const layers = await openLayers(readOverlayOptions({ lower: names.map(at) }), false);
    await using agent = await Agent.start();
    const request = { lower: layers.lower, to: 'mount made', options: [], attributes: 6 };
    const failure = makeOverlays(agent, layers, [request], ['joined']);
    await expect(failure).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED', errno: 'E2BIG' });
  });

  it('is read-only without an upper directory, also over a single lower one', async (context) => {
    needsRoot(context);
    const at = make('l', 'l2');
    for (const lower of [[at('l')], [at('l'), at('l2')]]) {
      await using overlay = await OverlayMount.create({ lower });
      expect(overlay.readOnly).toBe(true);
      expect(() => writeFileSync(`${overlay.path}/new`, '')).toThrow(/EROFS/);
      await expect(overlay.remount({ readOnly: false })).rejects.toMatchObject({ code: 'ERR_OPTION' });
      expect(await collect(overlay)).toEqual([]);
    }
  });

  it('nests: an overlay is a lower layer of another, attached or not', async (context) => {
    needsRoot(context);
    const at = make('l', 'upper', 'work', 'target', 'upper2', 'work2', 'upper3', 'work3');
    await using first = await OverlayMount.create({ ...writable(at), target: at('target') });
    writeFileSync(`${first.path}/one`, '1');
    await using second = await OverlayMount.create({ lower: [first], upper: at('upper2'), work: at('work2') });
    rmSync(`${second.path}/of-l`);
    writeFileSync(`${second.path}/two`, '2');
    expect(readdirSync(second.path).sort()).toEqual(['one', 'two']);
    expect((await collect(second)).map(({ kind, path }) => `${kind} ${path}`).sort()).toEqual([
      'added /two',
      'deleted /of-l',
    ]);
    const third = OverlayMount.create({ lower: [second], upper: at('upper3'), work: at('work3') });
    await expect(third).rejects.toMatchObject({ code: 'ERR_STEP', hint: expect.stringContaining('two deep') });
  });

  it('has its changes discarded once it is unmounted, and not before', async (context) => {
    needsRoot(context);
    const at = make('l', 'upper', 'work');
    const overlay = await OverlayMount.create(writable(at));
    mkdirSync(`${overlay.path}/a/b`, { recursive: true });
    rmSync(`${overlay.path}/of-l`);
    await expect(overlay.discard()).rejects.toMatchObject({ code: 'ERR_MOUNTED' });
    expect(readdirSync(at('upper')).sort()).toEqual(['a', 'of-l']);
    await overlay.unmount();
    await overlay.discard();
    expect([readdirSync(at('upper')), readdirSync(at('work'))]).toEqual([[], []]);
    // Another directory in its place is not ours to empty.
    rmSync(at('upper'), { recursive: true });
    mkdirSync(at('upper'));
    writeFileSync(`${at('upper')}/kept`, '');
    await expect(overlay.discard()).rejects.toMatchObject({ code: 'ERR_LAYER_CHANGED' });
    expect(readdirSync(at('upper'))).toEqual(['kept']);
  });

  it('gives names that are not UTF-8 as bytes, and shows them safely', async (context) => {
    needsRoot(context);
    const at = make('l', 'upper', 'work');
    await using overlay = await OverlayMount.create(writable(at));
    const name = Buffer.from([0x61, 0xff, 0x62]);
    writeFileSync(Buffer.concat([Buffer.from(`${overlay.path}/`), name]), '');
    const [change] = await collect(overlay);
    expect(change?.path).toBe('/a\ufffdb');
    expect(change?.bytes.subarray(1)).toEqual(name);
  });

  it('is mounted in a user namespace of its own, with the ids that this has', async (context) => {
    needsRoot(context);
    const at = make('l', 'upper', 'work');
    const map = IdMap.of({ inside: 0, outside: 70_000, count: 1000 });
    for (const name of ['upper', 'work']) chownSync(at(name), 70_000, 70_000);
    await using overlay = await OverlayMount.create({ ...writable(at), userNamespace: map });
    expect(readdirSync(overlay.path)).toEqual(['of-l']);
    const program = `import os
os.setgid(70000); os.setuid(70000)
open('${overlay.path}/new', 'w').write('x')`;
    // Only root can look through the link in /proc, so the program is given the directory.
    const run = spawnSync('python3', ['-c', program.replaceAll(overlay.path, '.')], { cwd: overlay.path });
    expect(run.status, run.stderr.toString()).toBe(0);
    expect(statSync(`${at('upper')}/new`).uid).toBe(70_000);
    rmSync(`${overlay.path}/of-l`);
    expect((await collect(overlay)).map(({ kind, path }) => `${kind} ${path}`).sort()).toEqual([
      'added /new',
      'deleted /of-l',
    ]);
    await overlay.remount({ readOnly: true });
    expect(() => writeFileSync(`${overlay.path}/other`, '')).toThrow(/EROFS/);
  });

  it('is not read-only without having been asked: the kernel only notes in its log that it could not make it writable', async (context) => {
    needsRoot(context);
    const at = make('l', 'upper', 'work'); // they belong to root, whom the user namespace does not know
    await expect(OverlayMount.create({ ...writable(at), userNamespace: true })).rejects.toMatchObject({
      name: 'PermissionError',
      errno: 'EROFS',
      path: at('work'),
    });
    await using readOnly = await OverlayMount.create({ ...writable(at), userNamespace: true, readOnly: true });
    expect(readOnly.readOnly).toBe(true);
  });

  it('takes options of its methods that it knows, and no others', async (context) => {
    needsRoot(context);
    await using mount = await TmpfsMount.create();
    for (const options of [null, { laz: true }, { lazy: 1 }, true] as never[]) {
      await expect(mount.unmount(options)).rejects.toBeInstanceOf(OptionError);
    }
    for (const options of [undefined, null, {}, { readonly: true }, { readOnly: 1 }] as never[]) {
      await expect(mount.remount(options)).rejects.toBeInstanceOf(OptionError);
    }
    expect(mount.isMounted).toBe(true);
  });

  it('holds no process of ours once it is unmounted, unless its changes can be asked for', async (context) => {
    needsRoot(context);
    context.skip(!existsSync(childrenOf(process.pid)), 'this kernel does not list children (CONFIG_PROC_CHILDREN)');
    const mount = await TmpfsMount.create({ userNamespace: true });
    const processes = () => readFileSync(childrenOf(launcherPid()), 'utf8').trim();
    expect(processes()).not.toBe('');
    await mount.unmount();
    expect(processes()).toBe('');
    await mount[Symbol.asyncDispose]();
  });

  it('shifts the ids of its lower layers', async (context) => {
    needsRoot(context);
    const at = make('l', 'upper', 'work');
    const idMap = IdMap.of({ inside: 0, outside: 50_000, count: 1000 });
    await using overlay = await OverlayMount.create({ ...writable(at), idMap });
    expect(statSync(`${overlay.path}/of-l`).uid).toBe(50_000);
    expect(await collect(overlay)).toEqual([]);
    chownSync(`${overlay.path}/of-l`, 50_007, 50_000);
    expect(statSync(`${at('upper')}/of-l`)).toMatchObject({ uid: 50_007, gid: 50_000 });
    expect(await collect(overlay)).toMatchObject([{ kind: 'modified', path: '/of-l', metadataOnly: true }]);
  });

  it('leaves nothing where it cannot be made', async (context) => {
    needsRoot(context);
    const at = make('l', 'upper', 'work', 'target');
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
    writeFileSync(at('file'), '');
    const failing = OverlayMount.create({ ...writable(at), target: at('file') });
    await expect(failing).rejects.toMatchObject({ code: 'ERR_OPTION', option: 'target' });
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).toBe(mounts);
    await using overlay = await OverlayMount.create({ ...writable(at), index: true });
    const second = OverlayMount.create({ ...writable(at), index: true });
    await expect(second).rejects.toMatchObject({ errno: 'EBUSY', hint: expect.stringContaining('in use') });
    expect(overlay.isMounted).toBe(true);
  });
});

describe('unmounting', () => {
  it('is refused while something is in use, unless it is lazy', async (context) => {
    needsRoot(context);
    const at = make('target', 'other');
    const mount = await TmpfsMount.create({ target: at('target'), size: '1MiB' });
    const open = openSync(`${at('target')}/file`, 'w');
    await expect(mount.unmount()).rejects.toMatchObject({ code: 'ERR_MOUNT_BUSY', errno: 'EBUSY' });
    expect(mount.isMounted).toBe(true);
    expect(mount.descriptor.open).toBe(true);
    await expect(mount.remount({ readOnly: true })).rejects.toMatchObject({ code: 'ERR_MOUNT_BUSY' });
    await mount.unmount({ lazy: true });
    expect(lineOf(at('target'))).toEqual([]);
    closeSync(open);
  });

  it('leaves alone what someone else has mounted over it', async (context) => {
    needsRoot(context);
    const at = make('target');
    const ours = await TmpfsMount.create({ target: at('target'), size: '1MiB' });
    const theirs = await TmpfsMount.create({ target: at('target'), size: '2MiB' });
    expect([ours.isMounted, theirs.isMounted]).toEqual([false, true]);
    await expect(ours.unmount()).rejects.toMatchObject({ code: 'ERR_MOUNT_COVERED' });
    expect(theirs.isMounted).toBe(true);
    await theirs.unmount();
    expect(ours.isMounted).toBe(true);
    await ours.unmount();
    expect(lineOf(at('target'))).toEqual([]);
  });

  it('does not mind that someone else was first', async (context) => {
    needsRoot(context);
    const at = make('target');
    const mount = await TmpfsMount.create({ target: at('target'), size: '1MiB' });
    expect(spawnSync('umount', ['-l', at('target')]).status).toBe(0);
    expect(mount.isMounted).toBe(false);
    await expect(mount.unmount()).rejects.toMatchObject({ code: 'ERR_MOUNT_COVERED' });
    await mount.unmount({ lazy: true });
  });

  it('goes by the path without links that the target had', async (context) => {
    needsRoot(context);
    const at = make('target', 'elsewhere');
    symlinkSync(at('target'), at('link'));
    const mount = await TmpfsMount.create({ target: at('link'), size: '1MiB' });
    expect(mount.target).toBe(at('target'));
    rmSync(at('link'));
    symlinkSync(at('elsewhere'), at('link'));
    await mount.unmount();
    expect(lineOf(at('target'))).toEqual([]);
  });
});

describe('a bind', () => {
  it('is read-only to the bottom, without set-user-ID programs and devices, or as asked', async (context) => {
    needsRoot(context);
    const at = make('l', 'target');
    mkdirSync(`${at('l')}/below`);
    await using inner = await TmpfsMount.create({ target: `${at('l')}/below`, size: '1MiB' });
    await using view = await BindMount.create({ source: at('l'), target: at('target'), readOnly: true });
    expect(view).toMatchObject({ source: at('l'), isMounted: true, readOnly: true });
    expect(lineOf(at('target'))[0]).toMatch(/ ro,nosuid,nodev,/);
    for (const place of ['', '/below']) expect(() => writeFileSync(`${at('target')}${place}/x`, '')).toThrow(/EROFS/);
    await view.remount({ readOnly: false });
    writeFileSync(`${at('target')}/below/x`, '');
    expect(readdirSync(inner.path)).toEqual(['x']);
    await using bare = await BindMount.create({ source: at('l'), recursive: false, unsafeSetuid: true, exec: false });
    expect(readdirSync(`${bare.path}/below`)).toEqual([]);
  });

  it('of a file goes on a file, and on nothing else', async (context) => {
    needsRoot(context);
    const at = make('l', 'target');
    writeFileSync(at('file'), '');
    const source = `${at('l')}/of-l`;
    await using view = await BindMount.create({ source, target: at('file') });
    expect(readFileSync(at('file'), 'utf8')).toBe('l');
    await view.unmount();
    expect(readFileSync(at('file'), 'utf8')).toBe('');
    const failure = BindMount.create({ source, target: at('target') });
    await expect(failure).rejects.toMatchObject({ code: 'ERR_OPTION', option: 'target' });
  });

  it('shifts ids, and says where that cannot be done', async (context) => {
    needsRoot(context);
    const at = make('l');
    const idMap = [{ inside: 0, outside: 40_000, count: 10 }];
    await using view = await BindMount.create({ source: at('l'), idMap });
    expect(statSync(`${view.path}/of-l`)).toMatchObject({ uid: 40_000, gid: 40_000 });
    const failure = BindMount.create({ source: '/proc/sys', idMap, recursive: false });
    await expect(failure).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED', syscall: 'mount_setattr' });
  });
});

describe('a tmpfs', () => {
  it('has the bounds and the owner that were asked for', async (context) => {
    needsRoot(context);
    const at = make('target');
    const options = { target: at('target'), size: '64KiB', inodes: 16, mode: 0o750, uid: 3, gid: 4 } as const;
    await using mount = await TmpfsMount.create(options);
    expect(statSync(mount.path)).toMatchObject({ mode: 0o40750, uid: 3, gid: 4 });
    expect(() => writeFileSync(`${mount.path}/big`, Buffer.alloc(128 * 1024))).toThrow(/ENOSPC/);
    expect(() => {
      for (let i = 0; i < 20; i++) writeFileSync(`${mount.path}/${i}`, '');
    }).toThrow(/ENOSPC/);
  });

  it('ends with the process where it is detached, and stays where it has a target', async (context) => {
    needsRoot(context);
    const at = make('target');
    await using mount = await TmpfsMount.create({ size: '1MiB' });
    writeFileSync(`${mount.path}/kept`, '');
    const sleeper = spawn('sleep', ['60'], { cwd: mount.path });
    expect(readdirSync(`/proc/${sleeper.pid}/cwd`)).toEqual(['kept']);
    sleeper.kill('SIGKILL');
    expect(lineOf(at('target'))).toEqual([]);
  });
});
