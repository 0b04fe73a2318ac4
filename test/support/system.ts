/** A small system as a layer: a few programs of the host with the libraries that they need, so that an image runs by itself. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { directory, file, symlink, tar } from './tar.js';

const programs = ['sh', 'cat', 'id', 'ls', 'sleep', 'stat'];

/** The layer as a plain tar archive; `worker` (500, group 501) is in its accounts. */
export function systemLayer(): Buffer {
  const bin = programs.map((name) => `/usr/bin/${name}`);
  const needed = execFileSync('ldd', bin, { encoding: 'utf8' }).matchAll(/(\/\S+) \(0x/g);
  // Where the host keeps them is a link to below /usr; here it is the place itself.
  const libraries = [...new Set([...needed].map(([, path = '']) => path))];
  const folders = libraries.flatMap((path) => parents(path));
  return tar(
    ...[...new Set(['bin', 'etc', 'tmp', ...folders])].map((name) => directory(`${name}/`)),
    symlink('usr', '.'),
    ...bin.map((path) => file(path.replace('/usr/', ''), readFileSync(path), { mode: 0o755 })),
    ...libraries.map((path) => file(path.slice(1), readFileSync(path), { mode: 0o755 })),
    file('etc/passwd', 'root:x:0:0::/root:/bin/sh\nworker:x:500:501::/home/worker:/bin/sh\n'),
    file('etc/group', 'root:x:0:\nworkers:x:501:\n'),
  );
}

/** Directories above a path, topmost first, without a slash in front. */
function parents(path: string): string[] {
  const parts = path.slice(1).split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}
