/** Trees of files for tests: random ones, from a seed, and what is to be compared of one. */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { addon } from '../../lib/launcher/native.js';

/** mulberry32: the same numbers each time, so that a failure can be repeated. */
export function mulberry(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const slash = Buffer.from('/');
const join = (directory: Buffer, name: Buffer) => Buffer.concat([directory, slash, name]);

function randomName(next: (below: number) => number): Buffer {
  const length = next(12) === 0 ? 120 + next(130) : 1 + next(12);
  const bytes = Buffer.from(Array.from({ length }, () => 1 + next(255)).map((byte) => (byte === 0x2f ? 0x5f : byte)));
  return Buffer.concat([Buffer.from('n'), bytes]);
}

/** Fills a directory with files of all kinds; a name may come from `names`, so that layers meet in the same places. */
export function randomTree(
  root: Buffer,
  next: (below: number) => number,
  {
    entries = 60,
    root: asRoot = process.geteuid?.() === 0,
    names = [] as readonly Buffer[],
    layer = false,
    ids = 70000,
  } = {},
): void {
  const directories = [root];
  const files: Buffer[] = [];
  for (let i = 0; i < entries; i++) {
    const name = names.length > 0 && next(4) > 0 ? (names[next(names.length)] ?? randomName(next)) : randomName(next);
    const path = join(directories[next(directories.length)] ?? root, name);
    const kind = next(10);
    try {
      if (kind < 3) {
        mkdirSync(path);
        directories.push(path);
        if (layer && next(3) === 0) addon().setXattr(path, 'user.overlay.opaque', Buffer.from('y'), 0);
      } else if (kind === 3) {
        symlinkSync(Buffer.from(`to/${'x'.repeat(next(200))}`), path);
        lutimesSync(path, next(2 ** 31), next(2 ** 31));
        continue;
      } else if (kind === 4 && files.length > 0) {
        linkSync(files[next(files.length)] ?? path, path);
        continue;
      } else if (kind === 5 && asRoot) {
        if (layer) execFileSync('mknod', [path.toString('latin1'), 'c', '0', '0'], { stdio: 'pipe' });
        else execFileSync('mkfifo', [path.toString('latin1')], { stdio: 'pipe' });
        continue;
      } else {
        writeFileSync(path, Buffer.alloc(next(5) === 0 ? next(200_000) : next(2000), next(256)), { flag: 'wx' });
        files.push(path);
      }
      if (next(3) === 0) addon().setXattr(path, `user.a${next(3)}`, Buffer.from(`v\0\n${next(1000)}`), 0);
      if (asRoot && next(3) === 0) lchownSync(path, next(ids), next(ids));
      // An ordinary user must get into directories again.
      chmodSync(path, (0o400 + next(0o400) + (next(8) === 0 ? 0o6000 : 0)) | (asRoot ? 0 : 0o700));
      lutimesSync(path, next(2 ** 31), next(2 ** 31) + (next(3) === 0 ? 0.25 : 0));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // A name that is there already, or one that a program cannot be given.
      if (
        code !== 'EEXIST' &&
        code !== 'ENOTDIR' &&
        code !== 'ENAMETOOLONG' &&
        (error as { status?: number }).status === undefined
      )
        throw error;
    }
  }
}

/** All that is to be the same of a tree, a line for each file, in order. */
export function snapshot(root: string): string[] {
  const lines: string[] = [];
  const inodes = new Map<string, string>();
  const visit = (path: Buffer, shown: string) => {
    // An overlay lists whiteouts of a directory that nothing is below of, and does not find them.
    const facts = lstatSync(path, { bigint: true, throwIfNoEntry: false });
    if (!facts) return;
    let content = '';
    if (facts.isFile()) content = createHash('sha1').update(readFileSync(path)).digest('hex');
    if (facts.isSymbolicLink()) content = readlinkSync(path);
    if (facts.isCharacterDevice() || facts.isBlockDevice()) content = String(facts.rdev);
    let first = '';
    if (!facts.isDirectory() && facts.nlink > 1n) {
      const key = `${facts.dev}:${facts.ino}`;
      first = inodes.get(key) ?? '';
      inodes.set(key, inodes.get(key) ?? shown);
    }
    const attributes = addon()
      .listXattr(path)
      .toString()
      .split('\0')
      .filter((name) => name !== '' && !name.includes('.overlay.') && name !== 'security.selinux')
      .sort()
      .map((name) => `${name}=${addon().getXattr(path, name)?.toString('hex')}`);
    const size = facts.isFile() ? facts.size : 0n;
    lines.push(
      [shown, facts.mode.toString(8), facts.uid, facts.gid, size, facts.mtimeNs, content, first, ...attributes].join(
        ' ',
      ),
    );
    if (!facts.isDirectory()) return;
    const names = readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare);
    for (const name of names) visit(join(path, name), `${shown}/${name.toString('latin1')}`);
  };
  visit(Buffer.from(root), '.');
  return lines;
}
