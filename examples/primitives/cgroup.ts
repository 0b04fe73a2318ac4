/**
 * Cgroups: a group of processes that is counted and limited together. This says how this host has them, puts programs into a
 * group, lets its limits bite, and reads the kernel's counters, whichever version of cgroups each of them comes from.
 */

import { setTimeout as wait } from 'node:timers/promises';
import { CgroupV2, spawn } from 'tscontain';
import { example, show } from '../show.js';

await example(async () => {
  const { kind, hierarchies } = CgroupV2.layout();
  for (const { version, mount, controllers } of hierarchies) show(kind, `v${version} ${mount}`, controllers.join(' '));

  const limits = { memory: { max: '64MiB' }, pids: { max: 8 }, cpu: { max: 0.2 } };
  await using group = await CgroupV2.create(`example-${process.pid}`, limits);
  show('made', group.path, `and in ${group.paths.length - 1} other hierarchies`);

  // Memory: the kernel ends what goes beyond, and tells of it.
  await using events = await group.watch();
  events.on('memory', ({ name }) => show('event', `memory ${name}`));
  const { signal } = await spawn(['tail', '/dev/zero'], { cgroup: group });
  const { peak, oomKills } = (await group.stats()).memory;
  show(
    'memory',
    `a hog was ended by ${signal}`,
    `at ${Math.round(peak / 2 ** 20)} MiB, ${oomKills} killed by the kernel`,
  );

  // Processes: fork fails.
  const script = 'for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & echo started; done';
  const { stdout } = await spawn(['sh', '-c', script], { cgroup: group });
  const started = stdout.split('started').length - 1;
  show(
    'pids',
    `${started} of 9 forks`,
    `${(await group.stats()).pids.peak} at once, the shell and what started it among them`,
  );

  // Processor time: a busy loop gets a fifth of a processor.
  const busy = spawn(['sh', '-c', 'while :; do :; done'], { cgroup: group });
  const used = async () => (await group.stats()).cpu.usageMs;
  const [begin] = [await used(), await wait(1000)];
  show('cpu', `${((await used()) - begin).toFixed(0)} ms in a second`, 'which cpu.max has as 0.2');

  // All of it at once: stopped, and ended.
  await group.freeze();
  const [stopped] = [await used(), await wait(200)];
  show('frozen', `${((await used()) - stopped).toFixed(1)} ms in the next 200`);
  await group.kill();
  show('killed', `the busy loop by ${(await busy).signal}`, `${(await group.processes()).length} processes left`);
});
