/**
 * The tree of an image as a container sees it, our layers under an overlay, against the tree that umoci unpacks. The images
 * are those of build.sh; `npm run test:peers`.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Image } from '../../lib/image/image.js';
import { ImageStore } from '../../lib/image/index.js';
import { snapshot } from '../support/tree.js';

const programs = ['dpkg-query', 'umoci', 'skopeo', 'setcap', 'setfattr', 'zstd'];
const missing = programs.filter((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0);
const lacking =
  process.geteuid?.() !== 0 ? 'needs root' : missing.length > 0 ? `not installed: ${missing.join(', ')}` : undefined;

const run = (program: string, ...argv: string[]) => execFileSync(program, argv, { stdio: ['ignore', 'pipe', 'pipe'] });

/** Lines of one listing that the other has not. */
function differences(ours: readonly string[], theirs: readonly string[]): string[] {
  const [a, b] = [new Set(ours), new Set(theirs)];
  return [
    ...ours.filter((line) => !b.has(line)).map((line) => `ours:   ${line}`),
    ...theirs.filter((line) => !a.has(line)).map((line) => `theirs: ${line}`),
  ];
}

/** That a listing shows what it is to compare: a line is path, mode, owner, group, size, time, content, first link, attributes. */
function expectAllKinds(lines: readonly string[]): void {
  const line = (path: string) => lines.find((one) => one.startsWith(`./srv/${path} `)) ?? '';
  expect(line('setuid')).toMatch(/^\S+ 106755 1000 2000 /);
  expect(line('sticky')).toMatch(/^\S+ 40700 0 0 /);
  expect(line('fifo')).toMatch(/^\S+ 10644 /);
  expect(line('a/dangling')).toContain(' ../nowhere ');
  expect(line('last-name')).toContain(' ./srv/a/name');
  expect(line('capable')).toContain(' security.capability=');
  expect(line('attributes')).toMatch(/ 981173107000000000 .* user\.note=612076616c7565$/);
  expect(line('latin-\xe9-\xff')).not.toBe('');
  expect(line('many/only')).toContain(' 981173106789000000 ');
  expect(line('becomes-directory/file')).not.toBe('');
  expect(line('inserted/only')).not.toBe('');
  for (const gone of ['many/file-1', 'inserted/old', 'gone', 'opaque/old', 'a/b/other-name'])
    expect(line(gone)).toBe('');
}

describe.skipIf(lacking)(`trees of images that others unpack too${lacking ? ` (${lacking})` : ''}`, () => {
  const scratch = mkdtempSync(join(tmpdir(), 'tscontain-peers-'));
  const images = process.env.TSCONTAIN_PEERS ?? 'build/peers';

  beforeAll(async () => {
    mkdirSync(images, { recursive: true });
    run(join(import.meta.dirname, 'build.sh'), images);
  }, 600_000);

  afterAll(() => rmSync(scratch, { recursive: true, force: true }), 60_000);

  /** What a container would see of an image. Each layout has a store of its own, as they have the same layers. */
  async function ours(layout: string, tag: string): Promise<string[]> {
    await using store = await ImageStore.open({ path: join(scratch, layout) });
    const image = await Image.open(join(images, layout), tag, { store });
    using lease = await image.unpack({ fileCapabilities: true });
    return merged(lease.paths);
  }

  /** What is in a stack of layers, through an overlay as containers have it. */
  function merged(layers: readonly string[]): string[] {
    const target = join(scratch, 'merged');
    mkdirSync(target, { recursive: true });
    const lower = layers.length > 1 ? layers : [...layers, empty()];
    run('mount', '-t', 'overlay', '-o', `ro,userxattr,lowerdir=${lower.join(':')}`, 'overlay', target);
    try {
      return snapshot(target);
    } finally {
      run('umount', target);
    }
  }

  function empty(): string {
    const path = join(scratch, 'empty');
    mkdirSync(path, { recursive: true });
    return path;
  }

  function umoci(tag: string): string[] {
    const bundle = join(scratch, `umoci-${tag}`);
    run('umoci', 'unpack', '--image', `${images}/layout:${tag}`, bundle);
    const tree = snapshot(join(bundle, 'rootfs'));
    rmSync(bundle, { recursive: true, force: true });
    return tree;
  }

  it.each(['one', 'many'])(
    'the image "%s" has the files of umoci’s tree: types, modes, owners, sizes, contents, targets, hard links, attributes, times',
    async (tag) => {
      const theirs = umoci(tag);
      const gzip = await ours('layout', tag);
      expect(theirs.length).toBeGreaterThan(2000);
      if (tag === 'many') expectAllKinds(theirs);
      expect(differences(gzip, theirs)).toEqual([]);
      expect(await ours('layout-zstd', tag)).toEqual(gzip);
    },
    300_000,
  );
});
