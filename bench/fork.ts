/** Another container with the files of one that runs, against a new one. */

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Container } from 'tscontain';
import { duration } from './measure.js';
import { compare, type Options, type Section, type Table } from './table.js';

export const fork: Table = {
  name: 'fork',
  ballasts: [0],
  async measure({ rounds }: Options): Promise<Section[]> {
    const rootfs = await mkdtemp(join(tmpdir(), 'tscontain-fork-'));
    await mkdir(join(rootfs, 'data'));
    const options = { image: { rootfs } };
    const box = await Container.create(options);
    try {
      for (let i = 0; i < 100; i++) await box.fs.writeFile(`/data/${i}`, Buffer.alloc(10_000, i));
      const timed = async (make: () => Promise<Container>) => {
        let made: Container | undefined;
        const time = await duration(async () => {
          made = await make();
        });
        await made?.kill();
        return time;
      };
      const contenders = [
        { name: 'Container.create', sample: () => timed(() => Container.create(options)) },
        { name: 'box.fork()', sample: () => timed(() => box.fork()) },
      ];
      const title = 'fork, with 100 files of 10 kB';
      return [await compare({ title, unit: 'ms', rounds: rounds ?? 100, contenders })];
    } finally {
      await box.kill();
      await rm(rootfs, { recursive: true, force: true });
    }
  },
};
