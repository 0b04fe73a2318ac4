/**
 * Attributes of a process: limits of its own, a processor to run on, a nice value, what it is told of the machine, and who
 * dies first when memory is short. Each line is what a program finds out about itself.
 */

import { getPriority } from 'node:os';
import { Container, type ProcessAttributes } from 'tscontain';
import { example, refusal, show } from '../show.js';

const lastLine = (text: string) => text.trim().split('\n').at(-1) ?? '';

await example(async () => {
  await using box = await Container.create();
  const tell = async (topic: string, argv: [string, ...string[]], attributes: ProcessAttributes, outside = '') => {
    const { stdout, stderr, signal } = await box.exec(argv, attributes);
    show(topic, signal ?? lastLine(stderr || stdout), outside);
  };
  const sh = (script: string): [string, string, string] => ['sh', '-c', script];

  // Resource limits: one process each, whatever its cgroup allows.
  const opens = ['python3', '-c', 'files = [open("/dev/null") for _ in range(100)]'] as [string, ...string[]];
  await tell('open files', opens, { rlimits: { nofile: 20 } }, 'nofile: 20');
  await tell('file size', sh('head -c 1M /dev/zero > /tmp/large'), { rlimits: { fsize: '64KiB' } }, "fsize: '64KiB'");
  await tell('processor time', sh('while :; do :; done'), { rlimits: { cpu: { soft: 1, hard: 2 } } }, 'cpu: 1 second');

  // Scheduling.
  await tell('nice', ['nice'], { scheduling: { nice: 10 } }, `this process: ${getPriority()}`);
  await tell('processors', ['nproc'], { scheduling: { affinity: '0' } }, "affinity: '0'");
  await tell(
    'policy',
    sh('chrt -p $$ | head -1'),
    { scheduling: { policy: 'batch' } },
    'woken, it takes no processor away',
  );

  // What it is told.
  await tell('machine', ['uname', '-m'], { personality: { domain: 'linux32' } }, `this is ${process.arch}`);
  await tell(
    'score',
    ['cat', '/proc/self/oom_score_adj'],
    { oomScoreAdj: 500 },
    'killed before others, when memory is short',
  );

  const better = () => box.exec(['true'], { scheduling: { nice: -5 } });
  show('a better nice', await refusal(better));
});
