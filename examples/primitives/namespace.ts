/**
 * Namespaces: what a program sees in new ones, compared with what this process sees; one entered by this very thread for a
 * moment, and kept by a path; and a count of all that this host has.
 */

import { readdirSync } from 'node:fs';
import { hostname, networkInterfaces, tmpdir } from 'node:os';
import { Namespace, spawn } from 'tscontain';
import { example, refusal, show } from '../show.js';

const lastLine = (text: string) => text.trim().split('\n').at(-1) ?? '';

await example(async () => {
  const kinds = ['user', 'pid', 'mnt', 'net', 'uts'] as const;
  const tell = async (topic: string, script: string, outside: string) => {
    const { stdout, stderr } = await spawn(['sh', '-c', script], { namespaces: kinds });
    show(topic, lastLine(stdout || stderr), outside);
  };
  await tell('user', 'id -u', `outside: ${process.getuid?.()}, and it is neither root nor anyone else`);
  await tell('ids', 'cat /proc/self/uid_map', 'inside, outside, how many');
  const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).length;
  await tell('processes', 'mount -t proc proc /proc && ls -d /proc/[0-9]* | wc -l', `outside: ${processes}`);
  await tell('host name', 'hostname inside && hostname', `outside still ${hostname()}`);
  await tell('network', 'tail -n +3 /proc/net/dev | cut -d: -f1', `outside: ${Object.keys(networkInterfaces())}`);

  // Made by themselves, namespaces are objects.
  await using own = await Namespace.create(['user', 'net']);
  await using current = Namespace.current(['user', 'net']);
  for (const kind of own.kinds) show(`${kind} namespace`, `${own.inode(kind)}`, `this process: ${current.inode(kind)}`);
  const up = own.runSync('net', () => Object.keys(networkInterfaces()));
  show('this thread', `for a moment: ${up.length} interfaces up`, `back again: ${Object.keys(networkInterfaces())}`);
  show('not possible', await refusal(() => own.runSync('user', () => undefined)));

  const path = `${tmpdir()}/namespace-${process.pid}`;
  own.pin('net', path);
  try {
    await using again = Namespace.open('net', path);
    show('pinned', path, `the same one: ${again.inode() === own.inode('net')}`);
  } finally {
    Namespace.unpin(path);
  }

  const all = await Namespace.list();
  const counts = kinds.map((kind) => `${all.filter((entry) => entry.kind === kind).length} ${kind}`);
  show('on this host', counts.join(', '));
});
