/**
 * Namespaces: one network, one host name and one user namespace of our own, compared with those of this process; entered
 * by this very thread for a moment; kept by a path; and a list of all that this host has.
 */

import { rmSync } from 'node:fs';
import { hostname, networkInterfaces, tmpdir } from 'node:os';
import { Namespace } from 'tscontain';
import { example, refusal, show } from '../show.js';

await example(async () => {
  await using own = await Namespace.create(['user', 'net', 'uts', 'ipc']);
  for (const kind of own.kinds) {
    show(`${kind} namespace`, String(own.inode(kind)), `this process is in ${Namespace.current(kind).inode()}`);
  }

  const inside = own.runSync('net', () => Object.keys(networkInterfaces()));
  const outside = Object.keys(networkInterfaces());
  show('interfaces up', inside.join(', ') || 'none', `outside: ${outside.join(', ')}`);
  show('host name', own.runSync('uts', hostname), `copied when it was made; outside: ${hostname()}`);
  show('back again', String(Namespace.current('net').inode()), 'the thread is where it was');

  const owner = own.owner('net');
  show('owned by', `user namespace ${owner?.inode()}`, 'whose root may do everything with this network');

  const entering = await refusal(() => own.runSync('user', () => undefined));
  show('not for a thread', entering);

  const path = `${tmpdir()}/namespace-${process.pid}`;
  own.pin('net', path);
  try {
    const again = Namespace.open('net', path);
    show('pinned', path, `the same one: ${again.inode() === own.inode('net')}`);
    await again.close();
  } finally {
    Namespace.unpin(path);
    rmSync(path, { force: true });
  }

  const all = await Namespace.list();
  for (const kind of Namespace.current().kinds) {
    const some = all.filter((entry) => entry.kind === kind);
    const most = Math.max(...some.map(({ processes }) => processes.length));
    show(`all of ${kind}`, `${some.length}`, `the largest has ${most} processes`);
  }
});
