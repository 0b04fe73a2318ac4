/**
 * Mounts: a read-only image and a writable layer, put together as a container's files are, on a file system in memory; what
 * was changed is told apart from what was not; and the same files are shown once more, read-only, with other owners.
 */

import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { BindMount, IdMap, OverlayMount, TmpfsMount } from 'tscontain';
import { example, show } from '../show.js';

async function overlay(folder: string): Promise<void> {
  await using disk = await TmpfsMount.create({ target: folder, size: '16MiB' });
  show('tmpfs', disk.path, 'files in memory, at most 16 MiB of them');

  const [image, tools, upper, work] = ['image', 'tools', 'upper', 'work'].map((name) => `${folder}/${name}`) as [
    string,
    string,
    string,
    string,
  ];
  for (const layer of [image, tools, upper, work]) await mkdir(layer);
  await writeFile(`${image}/motd`, 'hello');
  await writeFile(`${image}/old`, 'to be deleted');
  await writeFile(`${tools}/tool`, 'a layer over the image');

  // Detached: it is in no tree of files, and reached by its descriptor only.
  await using view = await OverlayMount.create({ lower: [tools, image], upper, work });
  show('overlay', (await readdir(view.path)).join(', '), `of ${image} and ${tools}; at ${view.path}`);

  await writeFile(`${view.path}/motd`, 'changed');
  await writeFile(`${view.path}/new`, 'added');
  await rm(`${view.path}/old`);
  show('seen', (await readdir(view.path)).join(', '), `motd: ${await readFile(`${view.path}/motd`, 'utf8')}`);
  show('the image', (await readdir(image)).join(', '), `motd: ${await readFile(`${image}/motd`, 'utf8')}`);

  for await (const { kind, path } of view.changes()) show('change', `${kind} ${path}`);
  const { rdev } = await stat(`${upper}/old`);
  show('a whiteout', `${upper}/old`, `how the upper layer says "deleted": a character device, number ${rdev}`);

  await view.unmount();
  await view.discard();
  show('discarded', `${(await readdir(upper)).length} files in the upper layer`);

  // An idmapped mount: the same files, shown as if root's were user 1000's. Nothing is chowned.
  const idMap = IdMap.of({ inside: 0, outside: 1000, count: 1 });
  await using bind = await BindMount.create({ source: image, readOnly: true, idMap });
  const [shifted, real] = await Promise.all([stat(`${bind.path}/motd`), stat(`${image}/motd`)]);
  show('idmapped', `motd belongs to ${shifted.uid}`, `on disk to ${real.uid}`);
  const refused = await writeFile(`${bind.path}/motd`, '').catch((error: NodeJS.ErrnoException) => error.code);
  show('read-only', String(refused), `at ${bind.path}; through ${image} it can be written`);
}

await example(async () => {
  const folder = await mkdtemp(`${tmpdir()}/overlay-`);
  await overlay(folder).finally(() => rm(folder, { recursive: true }));
});
