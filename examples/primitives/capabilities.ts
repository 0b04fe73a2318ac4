/**
 * Capabilities: root's power in pieces. This takes one away and shows what fails, gives one to an ordinary user and shows
 * what works, and reads the sets that the kernel keeps.
 */

import { Capabilities, Container } from 'tscontain';
import { example, refusal, show } from '../show.js';

const short = (set: Capabilities) => set.toArray().map((name) => name.slice('CAP_'.length).toLowerCase());
/** A port below 1024 is what CAP_NET_BIND_SERVICE is for. */
const bind = [
  'python3',
  '-c',
  'import socket; socket.socket().bind(("127.0.0.1", 80)); print("port 80 is mine")',
] as const;
const lastLine = (text: string) => text.trim().split('\n').at(-1) ?? '';

await example(async () => {
  const ours = Capabilities.default;
  show('a container', `${ours.size} of ${Capabilities.all.size}: ${short(ours).join(' ')}`, `mask ${ours.toHex()}`);
  show("Docker's besides", short(Capabilities.docker.without(ours)).join(' '));

  await using box = await Container.create();
  const tell = async (who: string, options: Parameters<typeof box.exec>[1]) => {
    const { stdout, stderr } = await box.exec(bind, options);
    show(who, lastLine(stdout || stderr));
  };
  await tell('root', {});
  await tell('root without', { capabilities: ours.drop('NET_BIND_SERVICE') });
  await tell('user 1000', { user: 1000 });
  // Ambient capabilities are what a program of any user keeps over its exec.
  await tell('user 1000 with', { user: 1000, capabilities: { ambient: ['NET_BIND_SERVICE'] } });

  // They count in the container's own user namespace: the clock is the host's.
  const { stderr } = await box.exec(['date', '-s', '12:00']);
  show("the host's clock", lastLine(stderr), 'CAP_SYS_TIME in the first user namespace');

  const misspelt = await refusal(() => ours.drop('NET_BIND_SERVISE'));
  show('a misspelt name', misspelt, 'skipped, it would stay held');
});
