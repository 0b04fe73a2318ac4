/** One more program in a container that runs, against a bare spawn. */

import { Container } from 'tscontain';
import { duration } from './measure.js';
import { spawnTrue } from './programs.js';
import { compare, type Options, resident, type Section, type Table } from './table.js';

export const exec: Table = {
  name: 'exec',
  ballasts: [0, 2 ** 30],
  async measure({ rounds }: Options): Promise<Section[]> {
    const box = await Container.create();
    try {
      const execTrue = {
        name: "box.exec(['/bin/true'])",
        sample: () => duration(() => box.exec(['/bin/true'], { check: true })),
      };
      const contenders = [spawnTrue, execTrue];
      return [await compare({ title: `exec, ${resident()}`, unit: 'ms', rounds: rounds ?? 300, contenders })];
    } finally {
      await box.kill();
    }
  },
};
