/** An image that is made by hand, as any builder does it: two layers, and documents that name them (OCI image-spec, image-layout.md). */

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdir, readlink, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';

/** What the image is called. */
export const name = 'example/greeting:1';

/** Makes the image below a directory. @returns the path of the layout */
export async function handMade(folder: string): Promise<string> {
  const layout = join(folder, 'layout');
  await writeLayout(layout, [await baseLayer(join(folder, 'base')), await changedLayer(join(folder, 'changed'))]);
  return layout;
}

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
  const annotations = { 'org.opencontainers.image.ref.name': name };
  const index = { schemaVersion: 2, manifests: [{ ...(await blob('manifest.v1+json', manifest)), annotations }] };
  await file('oci-layout', JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  await file('index.json', JSON.stringify(index));
}
