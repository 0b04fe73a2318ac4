/** Overlays: how long one takes to make and to unmount, and to say what was changed among many files. */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OverlayMount, TmpfsMount } from 'tscontain';
import { duration } from './measure.js';
import { compare, type Options, type Section, type Table } from './table.js';

export const overlay: Table = {
  name: 'overlay',
  ballasts: [0],
  async measure({ rounds }: Options): Promise<Section[]> {
    const directory = mkdtempSync(join(tmpdir(), 'tscontain-bench-'));
    try {
      await using storage = await TmpfsMount.create({ target: directory, size: '256MiB', inodes: 100_000 });
      return [await life(storage.path, rounds ?? 200), await changes(storage.path, rounds ?? 20)];
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
};

const directories = (base: string) => {
  const names = ['lower', 'upper', 'work', 'target'].map((name) => `${base}/${name}`);
  for (const name of names) mkdirSync(name, { recursive: true });
  const [lower = '', upper = '', work = '', target = ''] = names;
  return { lower: [lower], upper, work, target };
};

async function life(base: string, rounds: number): Promise<Section> {
  const { target, ...layers } = directories(`${base}/life`);
  const ours = (options: { readonly target?: string }) => async () => {
    const mount = await OverlayMount.create({ ...layers, ...options });
    await mount.unmount();
  };
  const text = `lowerdir=${layers.lower},upperdir=${layers.upper},workdir=${layers.work}`;
  const programs = async () => {
    spawnSync('mount', ['-t', 'overlay', '-o', text, 'none', target]);
    spawnSync('umount', [target]);
  };
  return compare({
    title: 'an overlay, made and unmounted',
    unit: 'ms',
    rounds,
    contenders: [
      { name: 'detached', sample: () => duration(ours({})) },
      { name: 'at a path', sample: () => duration(ours({ target })) },
      { name: 'mount(8) and umount(8)', sample: () => duration(programs) },
    ],
  });
}

const files = 10_000;

async function changes(base: string, rounds: number): Promise<Section> {
  const layers = directories(`${base}/changes`);
  await using mount = await OverlayMount.create({ lower: layers.lower, upper: layers.upper, work: layers.work });
  for (let directory = 0; directory < 100; directory++) {
    mkdirSync(`${mount.path}/d${directory}`);
    for (let file = 0; file < files / 100; file++) writeFileSync(`${mount.path}/d${directory}/f${file}`, 'x');
  }
  const all = async () => {
    let count = 0;
    for await (const _change of mount.changes()) count++;
    if (count !== files + 100) throw new Error(`${count} changes`);
  };
  return compare({
    title: `changes(), ${files} new files in 100 directories`,
    unit: 'ms',
    rounds,
    contenders: [{ name: 'all of them', sample: () => duration(all) }],
  });
}
