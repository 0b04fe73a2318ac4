/**
 * The changes of an overlay against the truth: random programs run in one, and what it says was changed, applied to a picture
 * of the lower tree, must give the picture of the merged tree; and no change may say more than there is.
 */

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OverlayChange, OverlayMount, type OverlayMountOptions, TmpfsMount } from '../../lib/index.js';
import { getXattr, setXattr } from '../../lib/primitives/xattr.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const isRoot = process.geteuid?.() === 0;
let directory = '';
let storage: TmpfsMount | undefined;

beforeAll(async () => {
  if (!isRoot) return;
  directory = mkdtempSync('/tmp/tscontain-changes-');
  storage = await TmpfsMount.create({ target: directory, size: '256MiB', inodes: 200_000 });
});
afterAll(async () => {
  await storage?.unmount();
  if (directory) rmSync(directory, { recursive: true });
});

/** mulberry32: the same numbers for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

interface Facts {
  readonly type: string;
  readonly content: string;
  readonly metadata: string;
}
type Tree = Map<string, Facts>;

/** All that is to be seen below a directory, by Node's own means. */
function picture(root: string, at = '', tree: Tree = new Map()): Tree {
  for (const name of readdirSync(`${root}${at}`)) {
    const path = `${at}/${name}`;
    const facts = lstatSync(`${root}${path}`, { bigint: true });
    const type = facts.isDirectory()
      ? 'directory'
      : facts.isSymbolicLink()
        ? 'symlink'
        : facts.isFIFO()
          ? 'fifo'
          : facts.isCharacterDevice()
            ? 'character'
            : 'file';
    let content = '';
    if (type === 'file') content = readFileSync(`${root}${path}`, 'latin1');
    if (type === 'symlink') content = readlinkSync(`${root}${path}`);
    if (type === 'character') content = String(facts.rdev);
    const time = type === 'directory' ? '' : facts.mtimeNs;
    const note = getXattr(`${root}${path}`, 'trusted.note') ?? '';
    tree.set(path, { type, content, metadata: `${facts.mode} ${facts.uid} ${facts.gid} ${time} ${note}` });
    if (type === 'directory') picture(root, path, tree);
  }
  return tree;
}

function paths(root: string, at = ''): string[] {
  return readdirSync(`${root}${at}`, { withFileTypes: true }).flatMap((entry) => {
    const path = `${at}/${entry.name}`;
    return entry.isDirectory() ? [path, ...paths(root, path)] : [path];
  });
}

const names = ['a', 'b', 'c', 'd,e', 'f:g', 'h\\i', 'j\nk', 'ü', '.wh.x', 'trusted'];

/** Things that programs do to files, each where it can be done. */
function work(root: string, next: (below: number) => number, count: number): void {
  const directories = (all: readonly string[]) => [
    '',
    ...all.filter((path) => lstatSync(`${root}${path}`).isDirectory()),
  ];
  for (let i = 0; i < count; i++) {
    const all = paths(root);
    const pick = (list: readonly string[]) => list[next(list.length)] ?? '';
    const fresh = `${root}${pick(directories(all))}/${names[next(names.length)]}`;
    const old = `${root}${pick(all.length > 0 ? all : [''])}`;
    try {
      act(next, old, fresh, root);
    } catch (error) {
      // A random action is often an impossible one: EXDEV, EEXIST, ENOTEMPTY and their like.
      if (!(error instanceof Error && 'code' in error)) throw error;
    }
  }
}

function act(next: (below: number) => number, old: string, fresh: string, root: string): unknown {
  const text = 'x'.repeat(next(3)) + String(next(5));
  const isRootItself = old === root;
  switch (next(19)) {
    case 0:
    case 1:
      return mkdirSync(fresh);
    case 2:
    case 3:
      return writeFileSync(fresh, text, { flag: 'wx' });
    case 4:
    case 5:
      return writeFileSync(old, text, { flag: 'r+' });
    case 6:
      return isRootItself ? undefined : rmSync(old, { recursive: true });
    case 7:
      return isRootItself ? undefined : renameSync(old, fresh);
    case 8:
      return chmodSync(old, 0o600 + next(64));
    case 9:
      return chownSync(old, next(3), next(3));
    case 10: // the same name again, but another directory
      if (isRootItself || !lstatSync(old).isDirectory()) return;
      rmSync(old, { recursive: true });
      mkdirSync(old);
      return next(2) ? writeFileSync(`${old}/a`, text) : undefined;
    case 11: // a file where a directory was, or the other way
      if (isRootItself) return;
      rmSync(old, { recursive: true });
      return next(2) ? writeFileSync(old, text) : mkdirSync(old);
    case 12:
      return linkSync(old, fresh);
    case 13:
      return symlinkSync(text, fresh);
    case 14:
      return lstatSync(old).isSymbolicLink() ? lutimesSync(old, next(9), next(9)) : utimesSync(old, next(9), next(9));
    case 15:
      return lstatSync(old).isSymbolicLink() ? undefined : setXattr(old, 'trusted.note', Buffer.from(text));
    case 16: // copied up, and nothing different
      if (!lstatSync(old).isFile()) return;
      return writeFileSync(old, '', { flag: 'a' });
    case 17:
      spawnSync('mkfifo', [fresh]);
      return;
    default: // replaced by another file with the same content
      if (!lstatSync(old).isFile()) return;
      writeFileSync(`${root}/swap`, readFileSync(old));
      return renameSync(`${root}/swap`, old);
  }
}

async function collect(overlay: OverlayMount): Promise<OverlayChange[]> {
  const list: OverlayChange[] = [];
  for await (const change of overlay.changes()) list.push(change);
  return list;
}

function without(tree: Tree, path: string): void {
  for (const key of tree.keys()) if (key === path || key.startsWith(`${path}/`)) tree.delete(key);
}

/** The picture that the changes turn the lower one into. Each is checked for being true, and for being needed. */
function applied(changes: readonly OverlayChange[], lower: Tree, merged: Tree): Tree {
  const tree = new Map(lower);
  const seen = new Set<string>();
  for (const { kind, path, type, metadataOnly, bytes } of changes) {
    expect(bytes.toString()).toBe(path);
    expect(seen.has(path), `${path} is told once`).toBe(false);
    seen.add(path);
    const [was, now] = [tree.get(path), merged.get(path)];
    expect(type, path).toBe((kind === 'deleted' ? was : now)?.type);
    if (kind === 'added') expect(was, `${path} was not there`).toBeUndefined();
    else expect(was, `${path} was there`).toBeDefined();
    if (kind === 'deleted') expect(now, `${path} is gone`).toBeUndefined();
    if (kind === 'opaque') expect([was?.type, now?.type]).toEqual(['directory', 'directory']);
    if (kind === 'modified') {
      expect(now, `${path} is different`).not.toEqual(was);
      expect(metadataOnly, path).toBe(was?.type === now?.type && was?.content === now?.content);
    } else {
      expect(metadataOnly).toBe(false);
    }
    if (kind !== 'modified' || was?.type !== now?.type) without(tree, path);
    if (now) tree.set(path, now);
  }
  return tree;
}

const sorted = (tree: Tree) => [...tree].sort(([a], [b]) => (a < b ? -1 : 1));

interface Scene {
  readonly options: Partial<OverlayMountOptions>;
  readonly lowers: number;
}

const scenes: readonly (readonly [string, Scene])[] = [
  ['plainly', { options: {}, lowers: 1 }],
  ['with renamed directories', { options: { redirectDir: 'on' }, lowers: 1 }],
  ['with metadata alone copied up', { options: { metacopy: true }, lowers: 1 }],
  ['with notes in user attributes', { options: { userxattr: true }, lowers: 1 }],
  ['over layers that have deleted and moved things themselves', { options: { metacopy: true }, lowers: 3 }],
  ['with an index', { options: { index: true }, lowers: 2 }],
];

/** Lower directories, the topmost first, each written through an overlay over those below it. */
async function makeLowers(
  base: string,
  { options, lowers }: Scene,
  next: (below: number) => number,
): Promise<string[]> {
  const made: string[] = [];
  for (let layer = 0; layer < lowers; layer++) {
    const [upper, scratch] = [`${base}/l${layer}`, `${base}/s${layer}`];
    mkdirSync(upper);
    mkdirSync(scratch);
    if (layer === 0) work(upper, next, 40);
    else {
      await using overlay = await OverlayMount.create({ ...options, lower: made, upper, work: scratch, index: false });
      work(overlay.path, next, 25);
    }
    made.unshift(upper);
  }
  return made;
}

async function check(seed: number, scene: Scene): Promise<void> {
  const next = random(seed);
  const base = mkdtempSync(`${directory}/case-`);
  try {
    const lower = await makeLowers(base, scene, next);
    for (const name of ['upper', 'work', 'target']) mkdirSync(`${base}/${name}`);
    const own = { lower, upper: `${base}/upper`, work: `${base}/work` };
    const target = next(2) ? { target: `${base}/target` } : {};
    await using overlay = await OverlayMount.create({ ...scene.options, ...own, ...target });
    const before = picture(overlay.path);
    expect(await collect(overlay), 'nothing was done yet').toEqual([]);
    work(overlay.path, next, 30);
    const after = picture(overlay.path);
    const changes = await collect(overlay);
    expect(sorted(applied(changes, before, after))).toEqual(sorted(after));
    await overlay.unmount();
    expect(await collect(overlay), 'the same after it was unmounted').toEqual(changes);
    await overlay.discard();
    expect([readdirSync(own.upper), readdirSync(own.work)]).toEqual([[], []]);
    expect(await collect(overlay), 'nothing after a discard').toEqual([]);
    await using again = await OverlayMount.create({ ...scene.options, ...own });
    expect(sorted(picture(again.path))).toEqual(sorted(before));
  } finally {
    rmSync(base, { recursive: true });
  }
}

describe('the changes of an overlay', () => {
  it.for(scenes)('are the difference of two full walks, %s', { timeout: 240_000 }, async ([, scene], context) => {
    needsRoot(context);
    const seeds = Number(process.env.TSCONTAIN_SEEDS ?? 12);
    const first = Number(process.env.TSCONTAIN_SEED ?? 1);
    for (let seed = first; seed < first + seeds; seed++) {
      await check(seed, scene).catch((cause: unknown) => {
        throw new Error(`seed ${seed}: ${cause instanceof Error ? cause.message : cause}`, { cause });
      });
    }
  });
});
