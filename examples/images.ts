/**
 * Images: one of two layers, made without a network, is brought into a store, unpacked, and a container runs from it; it has no
 * programs of its own and shows the host's. With a name, `npm run example -- images debian:12`, that image is fetched, and
 * its own program runs. The store is a temporary one: nothing stays.
 */

import { lstat, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Container, Image, ImageStore, parseReference } from 'tscontain';
import { handMade, name } from './layout.js';
import { ProgressBars } from './progress.js';
import { example, refusal, show } from './show.js';

async function local(store: ImageStore, folder: string): Promise<void> {
  const image = await Image.open(await handMade(folder), name, { store });
  tell(image);

  using unpacked = await image.unpack({
    onProgress(event) {
      if (event.phase === 'unpacked') show('unpacked', `${event.entries} entries`, `${event.digest.slice(0, 19)}…`);
    },
  });
  const [top = '', base = ''] = unpacked.paths;
  show('on disk', (await readdir(join(base, 'srv'))).join(', '), 'the lower layer, as it was');
  const { rdev } = await lstat(join(top, 'srv/old'));
  show('a whiteout', 'srv/old', `in the upper layer, "deleted": a character device, number ${rdev}`);

  await using box = await Container.create({ image, mounts: [{ type: 'bind', source: '/usr', target: '/usr' }] });
  const { stdout } = await box.exec(['sh', '-c', 'cat /srv/motd; ls -m /srv; id -u; stat -c %U /srv/motd']);
  show('in a container', stdout.trim().split('\n').join('; '), 'both layers as one; root there, whoever it is outside');
  await box.exec(['sh', '-c', 'echo changed > /srv/motd'], { check: true });
  for await (const { kind, path } of box.changes()) show('change', `${kind} ${path}`);
  show('the image', (await readFile(join(top, 'srv/motd'), 'utf8')).trim(), 'what the container writes dies with it');

  const committed = await box.commit({ reference: 'example/greeting:2', message: 'committed' });
  tell(committed);

  show('in use', await refusal(() => store.remove(image.id)));
  await box.stop();
  unpacked.release();
  await store.remove(committed.id);
  const { blobs, layers, bytes } = await store.remove(image.id);
  show('removed', `${blobs} blobs and ${layers} layers`, `${bytes} bytes`);
}

/** Fetches an image and runs its own program. Registries of this host are spoken to in http. */
async function pulled(store: ImageStore, reference: string): Promise<void> {
  const { registry } = parseReference(reference);
  const insecure = /^(localhost|127\.[\d.]+)(:|$)/.test(registry) ? [registry] : [];
  const bars = new ProgressBars();
  const image = await Image.pull(reference, { store, insecure, onProgress: bars.show }).finally(() => bars.stop());
  tell(image);

  const { entrypoint, cmd } = image.config;
  if (entrypoint.length + cmd.length === 0) return show('its program', 'it has none');
  const { stdout, stderr, reason, exitCode } = await Container.run(undefined, { image, timeout: '10s' });
  show('its program', [...entrypoint, ...cmd].join(' '), `${reason}, exit code ${exitCode}`);
  for (const line of `${stdout}${stderr}`.split('\n').slice(0, 10)) if (line !== '') show('', JSON.stringify(line));
}

function tell(image: Image): void {
  const { id, platform, size, layers } = image.inspect();
  show('image', `${image.reference} for ${platform}`, `${id.slice(0, 19)}…, ${size} bytes in ${layers.length} layers`);
  for (const { createdBy, comment = '', layer } of image.history()) {
    if (layer) show('layer', JSON.stringify((createdBy ?? comment).slice(0, 60)), `${layer.digest.slice(0, 19)}…`);
  }
}

const [reference] = process.argv.slice(2);
await example(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'images-'));
  try {
    await using store = await ImageStore.open({ path: join(folder, 'store') });
    await (reference === undefined ? local(store, folder) : pulled(store, reference));
  } finally {
    await rm(folder, { recursive: true });
  }
});
