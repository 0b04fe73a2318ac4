/** Starts in a second, sustained, with several under way. */

import { Container } from 'tscontain';
import { inFlight } from './flight.js';
import { duration } from './measure.js';
import { spawned } from './programs.js';
import { compare, type Options, resident, type Section, type Table } from './table.js';

const starts = 100;

const perSecond = async (width: number, start: () => PromiseLike<unknown>) =>
  (starts * 1000) / (await duration(() => inFlight(starts, width, start)));

export const throughput: Table = {
  name: 'throughput',
  ballasts: [0],
  async measure({ rounds }: Options): Promise<Section[]> {
    const sections: Section[] = [];
    for (const width of [2, 4, 8]) {
      const contenders = [
        { name: 'child_process.spawn', sample: () => perSecond(width, () => spawned('/bin/true')) },
        { name: 'Container.run', sample: () => perSecond(width, () => Container.run(['/bin/true'])) },
      ];
      const title = `throughput, ${width} in flight, ${resident()}`;
      sections.push(await compare({ title, unit: 'starts/s', rounds: rounds ?? 10, contenders }));
    }
    return sections;
  },
};
