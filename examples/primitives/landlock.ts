/**
 * Landlock: what a program denies itself, without any privilege. The same shell runs under different rules; what it may not
 * do fails with EACCES, whatever the files' permissions say.
 */

import { Container, Landlock, type LandlockOptions } from 'tscontain';
import { example, refusal, show } from '../show.js';

const lastLine = (text: string) => text.trim().split('\n').at(-1) ?? '';
/** What a program needs to be executed at all: itself, its loader, its libraries. */
const programs = ['/usr', '/lib', '/lib64', '/bin', '/etc'].map((path) => ({ path, optional: true }));

await example(async () => {
  show(
    'this kernel',
    `ABI ${Landlock.abi()}`,
    `restricts ${Landlock.rights().length} rights of files: ${Landlock.rights().join(' ')}`,
  );

  await using box = await Container.create();
  const tell = async (topic: string, script: string, landlock?: LandlockOptions) => {
    const { stdout, stderr } = await box.exec(['sh', '-c', script], landlock ? { landlock } : {});
    show(topic, lastLine(stderr || stdout));
  };
  const write = 'echo secret > /tmp/a && cat /tmp/a';
  await tell('no rules', write);
  await tell('write nowhere', write, { write: [] });
  await tell('write in /tmp', write, { write: ['/tmp'] });
  await tell('read programs', 'cat /tmp/a', { read: programs, execute: programs });

  const connect = 'import socket; socket.create_connection(("127.0.0.1", 80))';
  await tell('connect', `python3 -c '${connect}'`);
  await tell('connect to 443', `python3 -c '${connect}'`, { connect: [443] });

  // An older kernel lacks some of it: that is an error, unless less is asked for.
  const old = () => Landlock.ruleset({ write: ['/tmp'], connect: [443] }, { abi: 3 });
  show('on Linux 6.2', await refusal(old));
  const { leftOut } = Landlock.ruleset({ write: ['/tmp'], connect: [443], degrade: true }, { abi: 3 });
  show('degrading', `left out: ${leftOut.join(', ')}`);
});
