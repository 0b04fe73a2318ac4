/**
 * Unpacking a layer of 300 MB: decompressed, compared with its digest, made as a tree; against tar(1), which computes no digest,
 * umoci and podman. Each unpacks into a directory of its own, and all are removed at the end: ext4 gives an inode's number to no new
 * file for a minute after its last one was removed, and looks at all such numbers each time, which takes seconds.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Image, ImageStore } from 'tscontain';
import { installed, makeLayout, settle } from './images.js';
import { type Contender, duration } from './measure.js';
import { spawned } from './programs.js';
import { compare, type Options, type Section, type Table } from './table.js';
import { Watch } from './watch.js';

const bytes = 300_000_000;

export const unpack: Table = {
  name: 'unpack',
  ballasts: [0],
  async measure({ rounds }: Options): Promise<Section[]> {
    const directory = mkdtempSync(join(tmpdir(), 'tscontain-bench-'));
    try {
      return [await measureIn(directory, rounds ?? 3)];
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
};

async function measureIn(directory: string, rounds: number): Promise<Section> {
  const watch = new Watch();
  let count = 0;
  const fresh = (): string => {
    settle(directory);
    const path = join(directory, String(++count));
    mkdirSync(path);
    return path;
  };
  const formats = (['gzip', 'zstd'] as const).filter(installed).map((format) => {
    const layout = join(directory, format);
    const [layer] = makeLayout(layout, { layers: 1, bytes, compression: [format] });
    return { format, layout, blob: layer?.blob ?? '' };
  });
  const tars = formats.map(({ format, blob }): Contender => {
    const sample = async () => {
      const target = fresh();
      return await duration(() => spawned('tar', [`--${format}`, '-xf', blob, '-C', target]));
    };
    return { name: `tar --${format} -x`, sample };
  });
  const ours = formats.map(({ format, layout }): Contender => {
    const sample = async () => {
      await using store = await ImageStore.open({ path: join(fresh(), 'store') });
      const image = await Image.open(layout, 'usr', { store });
      settle(directory);
      return await watch.during(() => duration(async () => (await image.unpack()).release()));
    };
    return { name: `image.unpack, ${format}`, sample };
  });
  const layout = join(directory, 'gzip');
  const result = await compare({
    title: `a layer of ${bytes / 1e6} MB`,
    unit: 'ms',
    rounds,
    warmUp: 1,
    contenders: [...tars, ...ours, umoci(layout, fresh), podman(layout, fresh)],
  });
  return { ...result, notes: [watch.report()] };
}

function umoci(layout: string, fresh: () => string): Contender | { name: string; absent: string } {
  const name = 'umoci unpack, gzip'; // it knows no zstd
  if (!installed('umoci')) return { name, absent: 'not installed' };
  const sample = async () => {
    const target = join(fresh(), 'bundle');
    return await duration(() => spawned('umoci', ['unpack', '--image', `${layout}:usr`, target]));
  };
  return { name, sample };
}

/** Its storage keeps no compressed layers, so this is all of what it does with an image. */
function podman(layout: string, fresh: () => string): Contender | { name: string; absent: string } {
  const name = 'podman load, gzip';
  if (!installed('podman')) return { name, absent: 'not installed' };
  const archive = `${layout}.oci`;
  execFileSync('tar', ['-C', layout, '-cf', archive, 'oci-layout', 'index.json', 'blobs']);
  const sample = async () => {
    const target = fresh();
    const root = join(target, 'root');
    const storage = ['--root', root, '--runroot', join(target, 'run'), '--storage-driver', 'overlay'];
    try {
      return await duration(() => spawned('podman', [...storage, 'load', '--quiet', '--input', archive]));
    } finally {
      // It mounts that upon itself, and leaves it so.
      spawnSync('umount', [join(root, 'overlay')], { stdio: 'ignore' });
    }
  };
  return { name, sample };
}
