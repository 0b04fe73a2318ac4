/**
 * Images: one of two layers is made without a network, brought into a store, unpacked, and a container runs from it. The image
 * has no programs of its own: it shows the host's.
 */

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Container, Image, ImageStore, type Lease } from 'tscontain';
import { example, refusal, show } from './show.js';

async function images(folder: string): Promise<void> {
  await using store = await ImageStore.open({ path: join(folder, 'store') });
  const layout = join(folder, 'layout');
  await writeLayout(
    layout,
    await Promise.all([baseLayer(join(folder, 'base')), changedLayer(join(folder, 'changed'))]),
  );

  const image = await Image.open(layout, 'example/greeting:1', { store });
  const { id, platform, size, layers } = image.inspect();
  show('image', `${image.reference} for ${platform}`, `${id.slice(0, 19)}…, ${size} bytes in ${layers.length} layers`);
  for (const { createdBy, layer } of image.history()) show('layer', createdBy ?? '', `${layer?.digest.slice(0, 19)}…`);

  using unpacked = await image.unpack({
    onProgress(event) {
      if (event.phase === 'unpacked') show('unpacked', `${event.entries} entries`, `${event.digest.slice(0, 19)}…`);
    },
  });
  const [top = '', base = ''] = unpacked.paths;
  show('on disk', (await readdir(join(base, 'srv'))).join(', '), 'the lower layer, as it was');
  const { rdev } = await lstat(join(top, 'srv/old'));
  show('a whiteout', 'srv/old', `in the upper layer, "deleted": a character device, number ${rdev}`);

  await using box = await Container.create({ image: layersOf(store, unpacked), mounts: programs });
  const { stdout } = await box.exec(['sh', '-c', 'cat /srv/motd; ls -m /srv; id -u; stat -c %U /srv/motd']);
  show('in a container', stdout.trim().split('\n').join('; '), 'both layers as one; root there, whoever it is outside');
  await box.exec(['sh', '-c', 'echo changed > /srv/motd'], { check: true });
  show('written', (await box.fs.readFile('/srv/motd', 'utf8')).trim());
  show('the image', (await readFile(join(top, 'srv/motd'), 'utf8')).trim(), 'what the container writes dies with it');

  show('in use', await refusal(() => store.remove(image.id)));
  await box.stop();
  unpacked.release();
  const { blobs, layers: gone, bytes } = await store.remove(image.id);
  show('removed', `${blobs} blobs and ${gone} layers`, `${bytes} bytes`);
}

/** What a container takes for its root: directories of the store, topmost first. */
function layersOf(store: ImageStore, { paths }: Lease) {
  return { layers: { directory: store.path, names: paths.map((path) => relative(store.path, path)) } };
}

const programs = [{ type: 'bind', source: '/usr', target: '/usr' }] as const;

await example(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'images-'));
  await images(folder).finally(() => rm(folder, { recursive: true }));
});

// From here on: how an image is made by hand, as any builder does it (OCI image-spec, image-layout.md).

interface Layer {
  readonly createdBy: string;
  readonly tar: Buffer;
}

/** Directories, and the links that lead to the host's programs. */
async function baseLayer(directory: string): Promise<Layer> {
  for (const name of ['etc', 'srv', 'tmp', 'usr']) await mkdir(join(directory, name), { recursive: true });
  await chmod(join(directory, 'tmp'), 0o1777);
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    const target = await readlink(`/${name}`).catch(() => undefined);
    if (target !== undefined) await symlink(target, join(directory, name));
  }
  await writeFile(join(directory, 'srv/motd'), 'hello\n');
  await writeFile(join(directory, 'srv/old'), 'to be deleted\n');
  return { createdBy: 'a directory', tar: tar(directory) };
}

/** One file is another, one is deleted. */
async function changedLayer(directory: string): Promise<Layer> {
  await mkdir(join(directory, 'srv'), { recursive: true });
  await writeFile(join(directory, 'srv/motd'), 'hello from the second layer\n');
  await writeFile(join(directory, 'srv/.wh.old'), '');
  return { createdBy: 'what was changed in it', tar: tar(directory) };
}

function tar(directory: string): Buffer {
  const { stdout, status, error } = spawnSync('tar', ['--numeric-owner', '--owner=0', '--group=0', '-c', '.'], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) throw error ?? new Error(`tar has ended with ${status}`);
  return stdout;
}

async function writeLayout(directory: string, layers: readonly Layer[]): Promise<void> {
  const file = async (name: string, content: string | Uint8Array) => {
    await mkdir(dirname(join(directory, name)), { recursive: true });
    await writeFile(join(directory, name), content);
  };
  const digestOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  const blob = async (kind: string, content: Uint8Array | object) => {
    const bytes = content instanceof Uint8Array ? content : Buffer.from(JSON.stringify(content));
    await file(`blobs/sha256/${digestOf(bytes)}`, bytes);
    return {
      mediaType: `application/vnd.oci.image.${kind}`,
      digest: `sha256:${digestOf(bytes)}`,
      size: bytes.length,
    };
  };
  const config = {
    os: 'linux',
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    rootfs: { type: 'layers', diff_ids: layers.map(({ tar }) => `sha256:${digestOf(tar)}`) },
    history: layers.map(({ createdBy }) => ({ created_by: createdBy })),
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: await blob('config.v1+json', config),
    layers: await Promise.all(layers.map(({ tar }) => blob('layer.v1.tar+gzip', gzipSync(tar)))),
  };
  const annotations = { 'org.opencontainers.image.ref.name': 'example/greeting:1' };
  const index = { schemaVersion: 2, manifests: [{ ...(await blob('manifest.v1+json', manifest)), annotations }] };
  await file('oci-layout', JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  await file('index.json', JSON.stringify(index));
}
