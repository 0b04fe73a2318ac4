/**
 * Id maps: a container's root is root inside, and nobody in particular outside. This reads the map of a real user namespace,
 * translates ids both ways, and puts one map into another, as the kernel does for a namespace in a namespace.
 */

import { readFileSync } from 'node:fs';
import { Container, IdMap } from 'tscontain';
import { example, refusal, show } from '../show.js';

/** The user that the host sees a process as. */
const ownerOf = (pid: number) => /^Uid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '?';
const lines = (map: IdMap) => String(map).trim().replaceAll('\n', ', ');

await example(async () => {
  await using box = await Container.create();
  const { pid = 0 } = box.inspect();

  const { uid } = IdMap.ofProcess(pid);
  show('the map', lines(uid), `/proc/${pid}/uid_map: inside, outside, count`);
  const whoami = (await box.exec(['id', '-u'])).stdout.trim();
  show('root', `uid ${whoami} inside`, `the host sees ${ownerOf(pid)}, the map says ${uid.toOutside(0)}`);
  show('www-data', 'uid 33 inside', `the host would see ${uid.toOutside(33)}`);
  show("the host's root", `is mapped to ${uid.toInside(0) ?? 'nothing'}`, 'what it owns is shown as 65534, nobody');

  // An id that the map does not have cannot be given to anything.
  const { stderr } = await box.exec(['sh', '-c', 'touch /tmp/file; chown 70000 /tmp/file']);
  show('chown 70000', stderr.trim());

  // A namespace in a namespace: the inner map leads into the outer one.
  const inner = IdMap.of({ inside: 0, outside: 1000, count: 10 });
  show('nested', lines(inner.compose(uid)), `${lines(inner)} in a namespace of this map`);

  const overlap = () => IdMap.of({ inside: 0, outside: 1000, count: 10 }, { inside: 5, outside: 5000, count: 1 });
  show('refused', await refusal(overlap), 'the kernel would say EINVAL');
});
