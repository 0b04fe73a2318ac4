/** Trees as tars, and copied: what comes out is read by GNU tar and compared file by file. */

import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { copyTree, copyTreeStep } from '../../../lib/image/layer/copy.js';
import { type PackCounts, packLayer, packTree } from '../../../lib/image/layer/pack.js';
import { openDirectory } from '../../../lib/image/layer/tree.js';
import { Agent } from '../../../lib/launcher/agent.js';
import { addon, type Descriptor } from '../../../lib/launcher/native.js';
import type { Step } from '../../../lib/plan/step.js';
import { needsPrograms, needsRoot } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';
import { mulberry, randomTree, snapshot } from '../../support/tree.js';

checkResidue();

let top = '';
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), 'tscontain-tree-'));
});
afterEach(() => {
  rmSync(top, { recursive: true, force: true });
});

function directory(name: string): string {
  const path = join(top, name);
  mkdirSync(path);
  return path;
}

async function collect(tar: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of tar) parts.push(part);
  return Buffer.concat(parts);
}

const place = (path: string) => ({ steps: [openDirectory('tree', path)] });
const pack = (path: string, options = {}) => collect(packTree(place(path), 'tree', options));

function extract(tar: Buffer, into: string): void {
  const flags = ['--xattrs', '--xattrs-include=*', '--numeric-owner', '--delay-directory-restore', '-xpf', '-'];
  execFileSync('tar', ['-C', into, ...flags], { input: tar, maxBuffer: 2 ** 30 });
}

const names = (tar: Buffer) => execFileSync('tar', ['-tf', '-'], { input: tar }).toString().trim().split('\n');

describe('a tree as a tar', () => {
  it.each([1, 2, 3, 4])('is what GNU tar makes the same tree of, whatever is in it (seed %d)', async (seed) => {
    const [from, to] = [directory('from'), directory('to')];
    randomTree(Buffer.from(from), mulberry(seed), { entries: 80 });
    let counts: PackCounts | undefined;
    const tar = await pack(from, { onEnd: (found: PackCounts) => (counts = found) });
    extract(tar, to);
    expect(snapshot(to)).toEqual(snapshot(from));
    expect(counts?.entries).toBe(snapshot(from).length);
    expect((await pack(from)).equals(tar), 'the same bytes again').toBe(true);
  });

  it('has ten thousand small files in order, and no time but that of modification', async () => {
    const from = directory('from');
    for (let d = 0; d < 100; d++) {
      mkdirSync(join(from, `d${d}`));
      for (let f = 0; f < 100; f++) writeFileSync(join(from, `d${d}`, `f${f}`), `${d}.${f}`);
    }
    const listed = names(await pack(from));
    expect(listed).toHaveLength(10_101);
    const bytewise = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));
    const keys = listed.slice(1).map((name) => name.replaceAll('/', '\0'));
    expect(keys).toEqual([...keys].sort(bytewise));
  });

  it('is read by Python with names, times and sizes', async (context) => {
    needsPrograms(context, 'python3');
    const from = directory('from');
    const long = 'é'.repeat(120);
    writeFileSync(join(from, long), 'x');
    execFileSync('touch', ['-d', '1969-12-31 23:59:58.5Z', join(from, long)]);
    const script =
      'import sys,tarfile,json\nt=tarfile.open(fileobj=sys.stdin.buffer,mode="r|")\nprint(json.dumps([[m.name,m.mtime,m.size,m.uname] for m in t]))';
    const output = execFileSync('python3', ['-c', script], { input: await pack(from) });
    expect(JSON.parse(output.toString())[1]).toEqual([long, -1.5, 1, '']);
  });

  it('leaves out what it is told to, sockets, and what an overlay has noted', async () => {
    const from = directory('from');
    for (const name of ['proc', 'etc']) mkdirSync(join(from, name));
    writeFileSync(join(from, 'proc', 'x'), '');
    writeFileSync(join(from, 'etc', 'x'), '');
    addon().setXattr(Buffer.from(join(from, 'etc')), 'user.overlay.opaque', Buffer.from('y'), 0);
    const tar = await pack(from, { omit: ['proc'] });
    expect(names(tar)).toEqual(['./', 'etc/', 'etc/x']);
    expect(tar.includes('overlay')).toBe(false);
    expect(names(await pack(from, { marks: true, omit: ['proc'] }))).toEqual([
      './',
      'etc/',
      'etc/.wh..wh..opq',
      'etc/x',
    ]);
  });

  it('M1, I15: never waits for a FIFO and never follows a link, also one that comes in meanwhile', async (context) => {
    needsPrograms(context, 'python3');
    const from = directory('from');
    mkdirSync(join(from, 'd'));
    writeFileSync(join(top, 'secret'), 'SENTINEL');
    writeFileSync(join(from, 'd', 'file'), 'innocent');
    execFileSync('mkfifo', [join(from, 'fifo')]);
    symlinkSync(join(top, 'secret'), join(from, 'link'));
    symlinkSync(top, join(from, 'directory'));
    // A file, a FIFO and a link take turns at one name, and a directory and a link at another.
    const flip =
      'import os,sys\nos.chdir(sys.argv[1])\nos.symlink("../secret","l");os.mkfifo("p");open("f","w").write("innocent")\nos.mkdir("e");open("e/secret","w").write("innocent")\nos.symlink("..","s")\nprint(1,flush=True)\nfor i in range(10**9):\n  for n in "lpf": os.link(n,"t",follow_symlinks=False);os.rename("t","x")\n  os.rename("e","y");os.rename("y","e");os.rename("s","y");os.rename("y","s")';
    const flipper = spawn('python3', ['-c', flip, from], { stdio: ['ignore', 'pipe', 'ignore'] });
    const gone = new Promise((resolve) => flipper.once('exit', resolve));
    await new Promise((resolve) => flipper.stdout.once('data', resolve));
    try {
      await using agent = await Agent.start();
      for (let i = 0; i < 300; i++) {
        const tar = await collect(packTree({ by: agent, ...place(from) }, 'tree'));
        expect(tar.includes('SENTINEL')).toBe(false);
      }
    } finally {
      flipper.kill('SIGKILL');
      await gone;
    }
    expect((await pack(top)).includes('SENTINEL'), 'positive control').toBe(true);
  });

  it('ends when nobody reads it any more, and says so when a signal ends it', async () => {
    const from = directory('from');
    writeFileSync(join(from, 'large'), Buffer.alloc(8 * 2 ** 20));
    await using agent = await Agent.start();
    for await (const _ of packTree({ by: agent, ...place(from) }, 'tree')) break;
    const control = new AbortController();
    const read = async () => {
      for await (const _ of packTree({ by: agent, ...place(from) }, 'tree', { signal: control.signal }))
        control.abort();
    };
    await expect(read()).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    expect(names(await collect(packTree({ by: agent, ...place(from) }, 'tree')))).toEqual(['./', 'large']);
  });
});

describe('changes as the tar of a layer', () => {
  const change = (kind: 'added' | 'modified' | 'deleted' | 'opaque', path: string) => ({
    kind,
    bytes: Buffer.from(path),
  });

  it('has each path after the directories above it, and marks for what is gone or replaced', async () => {
    const from = directory('from');
    mkdirSync(join(from, 'a', 'b'), { recursive: true });
    for (const name of ['a/b/new', 'a-b', 'a/other', 'same']) writeFileSync(join(from, name), name);
    const changes = [
      change('added', '/a-b'),
      change('deleted', '/a/old'),
      change('opaque', '/a/b'),
      change('added', '/a/b/new'),
      change('deleted', '/top'),
      change('modified', '/vanished/x'),
    ];
    let counts: PackCounts | undefined;
    const tar = await collect(packLayer(place(from), 'tree', changes, { onEnd: (found) => (counts = found) }));
    expect(names(tar)).toEqual(['a/', 'a/b/', 'a/b/.wh..wh..opq', 'a/b/new', 'a/.wh.old', 'a-b', '.wh.top']);
    expect(counts).toMatchObject({ entries: 7, gone: 1 });
    const reversed = await collect(packLayer(place(from), 'tree', [...changes].reverse()));
    expect(reversed).toEqual(tar);
  });

  it('cannot have a file whose own name is a mark', async () => {
    const from = directory('from');
    writeFileSync(join(from, '.wh.x'), '');
    const tar = collect(packLayer(place(from), 'tree', [change('added', '/.wh.x')]));
    await expect(tar).rejects.toThrow(/EINVAL \(\.wh\.x\)/);
  });

  it('refuses paths that are no paths beneath the tree', async () => {
    const from = directory('from');
    for (const path of ['/../etc', '/a//b', '/a/', '/.', '/a\0b']) {
      await expect(collect(packLayer(place(from), 'tree', [change('added', path)])), path).rejects.toThrow('EBADMSG');
    }
  });
});

describe('a copied tree', () => {
  const copy = copyTree;

  it.each([1, 2, 3])('is the same, with its holes and all names of a file (seed %d)', async (seed) => {
    const [from, to] = [directory('from'), directory('to')];
    randomTree(Buffer.from(from), mulberry(seed), { entries: 80, ids: 65536 });
    execFileSync('truncate', ['-s', '64M', join(from, 'sparse')]);
    const counts = await copy([from], to);
    expect(snapshot(to)).toEqual(snapshot(from));
    expect(counts.entries).toBe(snapshot(from).length - 1);
    expect(Number(execFileSync('du', ['-sm', to]).toString().split('\t')[0])).toBeLessThan(60);
  });

  it.for([11, 12, 13, 14, 15, 16])('of layers is what an overlay shows of them (seed %d)', async (seed, context) => {
    needsRoot(context);
    const next = mulberry(seed);
    const shared = Array.from({ length: 12 }, (_, i) => Buffer.from(`name${i}`));
    const layers = [0, 1, 2, 3].map((i) => directory(`layer${i}`));
    for (const layer of layers)
      randomTree(Buffer.from(layer), next, { entries: 80, names: shared, layer: true, ids: 65536 });
    const [merged, to] = [directory('merged'), directory('to')];
    await copy(layers, to);
    execFileSync('mount', ['-t', 'overlay', '-o', `userxattr,lowerdir=${layers.join(':')}`, 'none', merged]);
    try {
      expect(snapshot(to)).toEqual(snapshot(merged));
      expect(snapshot(to).length).toBeGreaterThan(20);
    } finally {
      execFileSync('umount', [merged]);
    }
  });

  it('keeps the marks of an upper directory where it is asked to', async (context) => {
    needsRoot(context);
    const [from, to] = [directory('from'), directory('to')];
    execFileSync('mknod', [join(from, 'gone'), 'c', '0', '0']);
    mkdirSync(join(from, 'd'));
    addon().setXattr(Buffer.from(join(from, 'd')), 'user.overlay.opaque', Buffer.from('y'), 0);
    await copy([from], to, { keepMarks: true });
    expect(snapshot(to)).toEqual(snapshot(from));
    expect(
      addon()
        .getXattr(Buffer.from(join(to, 'd')), 'user.overlay.opaque')
        ?.toString(),
    ).toBe('y');
    const plain = directory('plain');
    await copy([from], plain);
    expect(snapshot(plain).map((line) => line.split(' ')[0])).toEqual(['.', './d']);
    expect(addon().getXattr(Buffer.from(join(plain, 'd')), 'user.overlay.opaque')).toBeUndefined();
  });

  it('has the ids of the user namespace that it goes to, by an idmapped mount (the way of a fork)', async (context) => {
    needsRoot(context);
    const memory: readonly Step[] = [
      { kind: 'fsopen', to: 'memory', type: 'tmpfs' },
      { kind: 'fsconfigCreate', on: 'memory' },
      { kind: 'fsmount', to: 'mount memory', from: 'memory', attributes: 0 },
    ];
    await using old = await Agent.start({ create: ['user', 'mnt', 'pid'] });
    await using fresh = await Agent.start({ create: ['user', 'mnt', 'pid'] });
    await using host = await Agent.start();
    const file: Step = {
      kind: 'writeFile',
      under: 'mount memory',
      path: 'd/file',
      mode: 0o640,
      existing: 'refuse',
      content: 'x',
    };
    const [upper] = await old.run([...memory, file], { take: ['mount memory'] });
    const [target] = await fresh.run(memory, { take: ['mount memory'] });
    const userns = addon().openNamespace(`/proc/${fresh.pid}/ns/user`);
    const all = [upper, target, userns].filter((descriptor): descriptor is Descriptor => descriptor !== undefined);
    const [from, to] = all;
    if (!from || !to) throw new Error('no mounts');
    const owner = (descriptor: Descriptor) => statSync(`/proc/self/fd/${descriptor.number}/d/file`).uid;
    expect(owner(from)).toBe(old.firstId);
    const copy = copyTreeStep(['0'], '1', { keepMarks: true });
    await expect(fresh.run([copy], { descriptors: [from, to] }), 'without the mount').rejects.toThrow(/EINVAL|EACCES/);
    const idmap: Step = {
      kind: 'mountSetattr',
      on: '0',
      path: '',
      recursive: false,
      set: 0,
      clear: 0,
      propagation: 0,
      idmap: '1',
    };
    await host.run([idmap], { descriptors: [from, userns] });
    const [second] = await fresh.run(memory, { take: ['mount memory'] });
    if (!second) throw new Error('no mount');
    await fresh.run([copy], { descriptors: [from, second] });
    expect(owner(second)).toBe(fresh.firstId);
    expect(readFileSync(`/proc/self/fd/${second.number}/d/file`, 'utf8')).toBe('x');
    for (const descriptor of [...all, second]) descriptor.close();
  });

  it('replaces nothing that is there', async () => {
    const [from, to] = [directory('from'), directory('to')];
    writeFileSync(join(from, 'x'), 'new');
    symlinkSync(join(top, 'sentinel'), join(to, 'x'));
    writeFileSync(join(top, 'sentinel'), 'old');
    await expect(copy([from], to)).rejects.toThrow(/EEXIST \(x\)/);
    expect(readFileSync(join(top, 'sentinel'), 'utf8')).toBe('old');
  });
});
