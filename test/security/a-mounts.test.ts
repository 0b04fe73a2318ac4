/** Group A of the catalogue, for mounts that are used alone. */

import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BindMount, OptionError, OverlayMount, TmpfsMount } from '../../lib/index.js';
import { setXattr } from '../../lib/primitives/xattr.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { scratch } from './probe.js';

checkResidue();

const isRoot = process.geteuid?.() === 0;
let storage: TmpfsMount | undefined;
let cases = 0;
beforeAll(async () => {
  // An upper directory needs a file system that can be one, whatever the machine has.
  if (isRoot) storage = await TmpfsMount.create({ target: scratch(), size: '32MiB', mode: 0o755 });
});
afterAll(() => storage?.unmount());

function make(...names: string[]): (name: string) => string {
  const base = `${storage?.path}/${cases++}`;
  for (const name of names) mkdirSync(`${base}/${name}`, { recursive: true });
  return (name) => `${base}/${name}`;
}

const mountinfo = () => readFileSync('/proc/self/mountinfo', 'utf8');
function succeed(program: string, ...argv: string[]): void {
  const { status, stderr } = spawnSync(program, argv, { encoding: 'utf8' });
  expect(status, `${program} ${argv.join(' ')}: ${stderr}`).toBe(0);
}
const mount = (...argv: string[]) => succeed('mount', ...argv);
const umount = (target: string) => succeed('umount', '-R', target);

describe('A: mounts that are used alone', () => {
  it('A10: options of mounts are a closed set, and no text of theirs becomes several', async (context) => {
    needsRoot(context);
    const at = make('l', 'target', 'control');
    const before = mountinfo();
    const wrong: readonly (() => Promise<unknown>)[] = [
      () => TmpfsMount.create({ size: '1MiB,mode=777' }),
      () => TmpfsMount.create({ options: 'mode=777' } as never),
      () => OverlayMount.create({ lower: [at('l')], redirectDir: 'off,metacopy=on' as never }),
      () => OverlayMount.create({ lower: [at('l')], data: 'metacopy=on' } as never),
      () => BindMount.create({ source: at('l'), flags: 'suid' } as never),
    ];
    for (const create of wrong) await expect(create()).rejects.toThrow(OptionError);
    expect(mountinfo()).toBe(before);
    // What such a text does where it is one.
    mount('-t', 'tmpfs', '-o', 'size=1048576,mode=777', 'none', at('control'));
    expect(
      mountinfo()
        .split('\n')
        .find((line) => line.includes(` ${at('control')} `)),
    ).toContain('mode=777');
    umount(at('control'));
  });

  it('A13: a read-only bind that is used alone is read-only to the bottom', async (context) => {
    needsRoot(context);
    const at = make('source/below', 'target', 'control');
    await using inner = await TmpfsMount.create({ target: at('source/below'), size: '1MiB' });
    await using view = await BindMount.create({ source: at('source'), target: at('target'), readOnly: true });
    for (const place of ['x', 'below/x']) expect(() => writeFileSync(`${view.path}/${place}`, '')).toThrow(/EROFS/);
    // mount(8) as it has always been: the flag is for the topmost only.
    mount('--rbind', at('source'), at('control'));
    mount('--make-rprivate', at('control')); // where mounts are shared, unmounting it would reach the source
    mount('-o', 'remount,bind,ro', at('control'));
    expect(() => writeFileSync(`${at('control')}/x`, '')).toThrow(/EROFS/);
    writeFileSync(`${at('control')}/below/x`, '');
    expect(readdirSync(inner.path)).toEqual(['x']);
    umount(at('control'));
  });

  it('A14: a detached mount is in no mount namespace, and an attached one where it was put', async (context) => {
    needsRoot(context);
    const at = make('l', 'target');
    const before = mountinfo();
    {
      await using hidden = await TmpfsMount.create({ size: '1MiB' });
      writeFileSync(`${hidden.path}/x`, '');
      await using shown = await OverlayMount.create({ lower: [at('l')] });
      expect(readdirSync(shown.path)).toEqual([]);
      expect(mountinfo()).toBe(before);
    }
    await using control = await TmpfsMount.create({ size: '1MiB', target: at('target') });
    const added = mountinfo()
      .split('\n')
      .filter((line) => !before.includes(line));
    expect(added.map((line) => line.split(' ')[4])).toEqual([control.target]);
  });

  it('A16: a layer’s name is never part of an option string', async (context) => {
    needsRoot(context);
    const at = make('secret', 'upper', 'work', 'control');
    writeFileSync(at('secret/key'), 'secret');
    const name = `l:${at('secret')}`;
    mkdirSync(at(name), { recursive: true });
    const lower = [at(name), at('upper')];
    await using overlay = await OverlayMount.create({ lower });
    expect(readdirSync(overlay.path)).toEqual([]);
    // The same name in a string is two layers.
    mkdirSync(at('l'));
    const options = `lowerdir=${at(name)}`;
    mount('-t', 'overlay', '-o', options, 'none', at('control'));
    expect(readdirSync(at('control'))).toEqual(['key']);
    umount(at('control'));
  });

  it('A18: an overlay that is used alone carries neither set-user-ID nor devices, and believes no redirect', async (context) => {
    needsRoot(context);
    const at = make('l/hidden', 'l2/door', 'bin', 'upper', 'work');
    writeFileSync(at('l/hidden/key'), 'secret');
    // Whoever writes to a layer points a directory of it at another one of the layers below.
    setXattr(at('l2/door'), 'trusted.overlay.redirect', Buffer.from('/hidden'));
    copyFileSync('/usr/bin/id', at('bin/id'));
    chmodSync(at('bin/id'), 0o4755);
    succeed('mknod', at('bin/null'), 'c', '1', '3');
    const lower = [at('l2'), at('bin'), at('l')];
    const writable = { lower, upper: at('upper'), work: at('work') };
    const effective = (path: string) =>
      spawnSync(`${path}/id`, ['-u'], { uid: 65534, gid: 65534, encoding: 'utf8' }).stdout.trim();
    const open = (path: string) => readFileSync(`${path}/null`, 'utf8');
    const target = at('target');
    mkdirSync(target);
    {
      await using safe = await OverlayMount.create({ ...writable, target });
      expect(() => readdirSync(`${safe.path}/door`)).toThrow();
      expect(effective(safe.path)).toBe('65534');
      expect(() => open(safe.path)).toThrow(/EACCES/);
    }
    await using control = await OverlayMount.create({
      ...writable,
      target,
      redirectDir: 'follow',
      unsafeSetuid: true,
      unsafeDevices: true,
    });
    expect(readdirSync(`${control.path}/door`)).toEqual(['key']);
    expect(effective(control.path)).toBe('0');
    expect(open(control.path)).toBe('');
  });
});
