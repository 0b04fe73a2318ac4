/**
 * How long the event loop stands still. perf_hooks' event-loop delay has a resolution of a millisecond, which is more than
 * what is looked for; so three things are measured directly: what one call costs until the loop gets its turn again, how
 * much of the loop one start uses in all, and the longest gap between two ticks while 200 start.
 */

import { Container } from 'tscontain';
import { inFlight } from './flight.js';
import { spawned } from './programs.js';
import { compare, type Options, resident, type Section, type Table } from './table.js';

const starts = 200;
const width = 10;

const ways = [
  { name: 'child_process.spawn', start: () => spawned('/bin/true') },
  { name: 'Container.run', start: () => Container.run(['/bin/true']) },
] as const;
type Start = () => Promise<unknown>;

/** From the call until the next callback runs: the call itself and every microtask that it leads to. */
async function blockedByCall(start: Start): Promise<number> {
  let ended: Promise<unknown> | undefined;
  const blocked = await new Promise<number>((resolve) => {
    let called = 0;
    // Two immediates of one phase run one after the other, with only microtasks between them.
    setImmediate(() => {
      called = performance.now();
      ended = start();
    });
    setImmediate(() => resolve(performance.now() - called));
  });
  await ended;
  return blocked;
}

/** Time in which the loop was busy, for each of many starts. */
async function busyPerStart(start: Start): Promise<number> {
  const before = performance.eventLoopUtilization();
  await inFlight(starts, width, start);
  return performance.eventLoopUtilization(before).active / starts;
}

/** The longest time between two turns of the loop while many start. */
async function longestGap(start: Start): Promise<number> {
  let longest = 0;
  let last = performance.now();
  let running = true;
  const tick = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (running) setImmediate(tick);
  };
  setImmediate(tick);
  await inFlight(starts, width, start);
  running = false;
  return longest;
}

export const loop: Table = {
  name: 'loop',
  ballasts: [0, 2 ** 30],
  async measure({ rounds }: Options): Promise<Section[]> {
    const contenders = (sample: (start: Start) => Promise<number>) =>
      ways.map(({ name, start }) => ({ name, sample: () => sample(start) }));
    const memory = resident();
    return [
      await compare({
        title: `loop blocked by one call, ${memory}`,
        unit: 'ms',
        rounds: rounds ?? 200,
        contenders: contenders(blockedByCall),
      }),
      await compare({
        title: `loop busy for each start, ${width} of ${starts} in flight, ${memory}`,
        unit: 'ms',
        rounds: Math.max(2, Math.round((rounds ?? 80) / 10)),
        contenders: contenders(busyPerStart),
      }),
      await compare({
        title: `longest gap between ticks while ${starts} start, ${width} in flight, ${memory}`,
        unit: 'ms',
        rounds: Math.max(2, Math.round((rounds ?? 80) / 10)),
        contenders: contenders(longestGap),
        notes: ['the scheduler is in it: with every processor busy, the loop too waits for its turn'],
      }),
    ];
  },
};
