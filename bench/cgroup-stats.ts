/** What reading the statistics of a cgroup costs: all files and pressure, parsed, against reading the same files by hand. */

import { readFile } from 'node:fs/promises';
import { CgroupV2 } from 'tscontain';
import { duration } from './measure.js';
import { compare, type Options, type Section, type Table } from './table.js';

/** Each sample is the mean of this many calls, as one is shorter than what a timer tells apart. */
const calls = 20;

export const cgroupStats: Table = {
  name: 'cgroup-stats',
  ballasts: [0],
  async measure({ rounds }: Options): Promise<Section[]> {
    await using group = await CgroupV2.create(`bench-${process.pid}`);
    await group.stats();
    const files = group.paths.flatMap((path) =>
      ['cpu.stat', 'memory.stat', 'pids.current', 'io.stat', 'cpu.pressure'].map((file) => `${path}/${file}`),
    );
    const sample = (action: () => Promise<unknown>) => async (): Promise<number> =>
      (await duration(async () => {
        for (let i = 0; i < calls; i++) await action();
      })) / calls;
    const section = await compare({
      title: `statistics of a cgroup in ${group.paths.length} hierarchies`,
      unit: 'ms',
      rounds: rounds ?? 200,
      contenders: [
        { name: 'group.stats()', sample: sample(() => group.stats()) },
        {
          name: `fs.readFile of up to ${files.length} files, one after the other, not parsed`,
          sample: sample(async () => {
            for (const file of files) await readFile(file).catch(() => undefined);
          }),
        },
      ],
      notes: ['aim: 0.5 ms'],
    });
    return [section];
  },
};
