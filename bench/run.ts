/** One program in a container of its own, against a bare spawn and against other ways to isolate it. */

import { Container } from 'tscontain';
import { openFloor } from './floor.js';
import { duration } from './measure.js';
import { openPeers } from './peers.js';
import { spawnTrue } from './programs.js';
import { compare, type Options, resident, type Section, type Table } from './table.js';

const runTrue = {
  name: "Container.run(['/bin/true'])",
  sample: () => duration(() => Container.run(['/bin/true'], { check: true })),
};

export const run: Table = {
  name: 'run',
  ballasts: [0, 2 ** 30],
  async measure({ rounds, ballast }: Options): Promise<Section[]> {
    const title = `run, ${resident()}`;
    const pair = await compare({ title, unit: 'ms', rounds: rounds ?? 200, contenders: [spawnTrue, runTrue] });
    if (ballast > 0) return [pair];
    const { peers, close } = await openPeers();
    const floor = openFloor();
    try {
      const contenders = [
        runTrue,
        ...peers,
        floor.contender('the same system calls in C, not from Node', 'all'),
        floor.contender('fork, exec and wait in C, not from Node', []),
      ];
      return [
        pair,
        await compare({
          title: 'run, against others',
          unit: 'ms',
          rounds: rounds ?? 100,
          contenders,
          notes: ['peers are started with spawn; OCI runtimes with the options shown, on one bundle'],
        }),
      ];
    } finally {
      close();
      await floor.close();
    }
  },
};
