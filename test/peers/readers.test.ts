/**
 * Others reading what we save: a container of a Debian image is changed and committed, and what that is saved as is read by
 * umoci, skopeo, podman, buildah and Docker, each of which has the container's tree then.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { digestOf } from '../../lib/image/digest.js';
import { Container, Image, ImageStore } from '../../lib/index.js';
import { checkResidue } from '../support/residue.js';
import { snapshot } from '../support/tree.js';
import { Docker } from './docker.js';
import { differences, images, lacking, make, needsImages, run, Scratch, takesOverlays } from './peers.js';

checkResidue();

const reason = lacking('mmdebstrap', 'buildah', 'umoci', 'skopeo', 'podman', 'zstd');

/** What a container changes: all kinds of files, and what the layers below have is removed, replaced and changed. */
const script = `
  cd /srv && mkdir -p a/b && echo linked > a/name && ln a/name a/b/other && ln -s ../nowhere a/dangling && mkfifo fifo
  rm -r data && mkdir data && echo three > data/newer && rm replaced && mkdir replaced && echo in > replaced/file
  install -m 6755 -o 1000 -g 2000 /bin/true setids && mkdir -m 1777 sticky && chmod 751 /home/worker && chown 5:6 link -h
  rm -r /usr/share/man /usr/share/zoneinfo && rm /srv/ls && echo changed >> /etc/motd && touch "$(printf 'latin-\\351 tab\\t')"
  dd if=/dev/zero of=holes bs=1 count=1 seek=1M 2>/dev/null && touch -d '2001-02-03 04:05:06.789' a/name`;

/** What every container has of its own, also Docker's, or only to mount on: `/data` is a volume. */
const ownFiles = /^\.\/(proc|sys|dev|data|\.dockerenv|etc\/(hosts|hostname|resolv\.conf|mtab))( |\/)/;
/** Without what making and removing these changes above them, and the mode of a root that no layer names: others choose one. */
const plain = (tree: readonly string[]) =>
  tree
    .filter((line) => !ownFiles.test(line))
    .map((line) => line.replace(/^\. .*/, '.').replace(/^(\.\/etc( \d+){4}) \d+/, '$1'));

describe.skipIf(reason)(`an image of a container, saved and read by others${reason ? ` (${reason})` : ''}`, () => {
  const scratch = new Scratch();
  let unmade: string | undefined;
  let image: Image;
  let store: ImageStore;
  let tree: readonly string[] = [];
  const saved = {
    layout: scratch.at('layout'),
    archive: scratch.at('oci.tar'),
    docker: scratch.at('docker.tar'),
  };

  beforeAll(async () => {
    unmade = make('debian.sh');
    if (unmade !== undefined) return;
    store = await ImageStore.open({ path: scratch.at('store') });
    const base = await Image.open(join(images, 'debian'), 'debian', { store });
    // The container is one of layers that keep file capabilities, as the others keep them.
    using lease = await base.unpack({ fileCapabilities: true });
    await using box = await Container.create({ image: base });
    await box.exec(['sh', '-ec', script], { user: 'root', check: true });
    image = await box.commit({ reference: 'own/debian:1', config: { env: { ADDED: 'yes' } }, pause: false });
    const out = scratch.make('exported');
    const unpacking = [
      '-x',
      '--numeric-owner',
      '--xattrs',
      '--xattrs-include=*',
      '-C',
      out,
      '-f',
      scratch.at('export.tar'),
    ];
    const parts: Uint8Array[] = [];
    for await (const part of box.export()) parts.push(part);
    writeFileSync(scratch.at('export.tar'), Buffer.concat(parts));
    run('tar', ...unpacking);
    tree = plain(snapshot(out));
    lease.release();
    await image.save(saved.layout, { format: 'oci-layout', reference: 'one' });
    await image.save(saved.archive, { format: 'oci-archive' });
    await image.save(saved.docker, { format: 'docker-archive' });
  }, 600_000);

  afterAll(async () => {
    await store?.close();
    for (const name of ['podman', 'buildah']) spawnSync('umount', [scratch.at(name, 'root/overlay')]);
    scratch.dispose();
  }, 300_000);

  function expectTree(root: string): void {
    expect(tree.length).toBeGreaterThan(4000);
    expect(differences(plain(snapshot(root)), tree)).toEqual([]);
  }

  it('is to umoci the tree of the container', (context) => {
    needsImages(context, unmade);
    run('umoci', 'unpack', '--image', `${saved.layout}:one`, scratch.at('bundle'));
    expectTree(scratch.at('bundle/rootfs'));
    run('touch', scratch.at('bundle/rootfs/srv/replaced/file'));
    expect(differences(plain(snapshot(scratch.at('bundle/rootfs'))), tree)).toHaveLength(2);
  }, 120_000);

  it('is to skopeo the same image in all three forms, and copied from one to another', (context) => {
    needsImages(context, unmade);
    const skopeo = (...argv: string[]) => run('skopeo', '--insecure-policy', ...argv);
    const id = (source: string) => digestOf(Buffer.from(skopeo('inspect', '--raw', '--config', source)));
    const digests = image.manifest.layers.map(({ digest }) => digest);
    for (const source of [`oci:${saved.layout}:one`, `oci-archive:${saved.archive}`]) {
      const found = JSON.parse(skopeo('inspect', source));
      expect([found.Digest, found.Layers]).toEqual([image.descriptor.digest, digests]);
      expect(id(source)).toBe(image.id);
    }
    expect(id(`docker-archive:${saved.docker}`)).toBe(image.id);
    skopeo('copy', '--quiet', `docker-archive:${saved.docker}`, `oci:${scratch.at('copied')}:one`);
    expect(id(`oci:${scratch.at('copied')}:one`)).toBe(image.id);
  }, 120_000);

  it.for<[string, () => string]>([
    ['an OCI archive', () => saved.archive],
    ['an archive for docker load', () => saved.docker],
  ])('is loaded by podman, from %s: its id, configuration and tree', { timeout: 180_000 }, ([, path], context) => {
    needsImages(context, unmade);
    const podman = storage('podman');
    try {
      podman('load', '--quiet', '--input', path());
      const [found] = JSON.parse(podman('image', 'inspect', image.id.slice(7)));
      expect(found.Id).toBe(image.id.slice(7));
      expect(found.RepoTags).toContain('docker.io/own/debian:1');
      expectConfig(found.Config);
      expect(found.RootFS.Layers).toEqual(image.config.diffIds);
      expectTree(podman('image', 'mount', image.id.slice(7)).trim());
    } finally {
      podman('image', 'umount', '--all', '--force');
    }
  });

  it.for<[string, () => string]>([
    ['a layout', () => `oci:${saved.layout}:one`],
    ['an archive for docker load', () => `docker-archive:${saved.docker}`],
  ])('is what buildah builds from, out of %s', { timeout: 180_000 }, ([, source], context) => {
    needsImages(context, unmade);
    const buildah = storage('buildah');
    try {
      const box = buildah('from', source()).trim();
      expectTree(buildah('mount', box).trim());
      expectConfig(JSON.parse(buildah('inspect', box)).OCIv1.config);
    } finally {
      buildah('umount', '--all');
      buildah('rm', '--all');
    }
  });

  it('is loaded by Docker: its id, configuration and tree; what Docker saves is the same image to us', async (context) => {
    needsImages(context, unmade);
    const installed = spawnSync('sh', ['-c', 'command -v dockerd']).status === 0;
    needsImages(context, installed ? undefined : make('docker.sh'));
    const docker = await Docker.start(scratch.make('docker'));
    try {
      docker.run('load', '--quiet', '--input', saved.docker);
      const [found] = JSON.parse(docker.run('image', 'inspect', 'own/debian:1'));
      expect(found.Id).toBe(image.id);
      expectConfig(found.Config);
      expect(found.RootFS.Layers).toEqual(image.config.diffIds);
      const box = docker.run('create', '--network=none', 'own/debian:1').trim();
      docker.run('export', '--output', scratch.at('docker-export.tar'), box);
      const out = scratch.make('docker-exported');
      run(
        'tar',
        '-x',
        '--numeric-owner',
        '--xattrs',
        '--xattrs-include=*',
        '-C',
        out,
        '-f',
        scratch.at('docker-export.tar'),
      );
      expect(differences(wholeSeconds(plain(snapshot(out))), wholeSeconds(tree))).toEqual([]);
      docker.run('save', '--output', scratch.at('docker-saved.tar'), 'own/debian:1');
      await using other = await ImageStore.open({ path: scratch.at('other') });
      const again = await Image.load(scratch.at('docker-saved.tar'), undefined, { store: other });
      expect([again.id, again.reference]).toEqual([image.id, 'docker.io/own/debian:1']);
      using lease = await again.unpack({ fileCapabilities: true });
      expect(differences(plain(scratch.merged(lease.paths)), tree)).toEqual([]);
    } finally {
      await docker.stop();
    }
  }, 300_000);

  function expectConfig(config: {
    Env: string[];
    Entrypoint: string[];
    Cmd: string[];
    User: string;
    WorkingDir: string;
  }) {
    expect(config).toMatchObject({ Entrypoint: ['/bin/sh', '-c'], Cmd: ['id -un; pwd'], User: 'worker' });
    expect([config.WorkingDir, config.Env.includes('ADDED=yes')]).toEqual(['/srv', true]);
  }

  /** A program with its images in a directory of its own. */
  function storage(program: 'podman' | 'buildah'): (...argv: string[]) => string {
    const root = scratch.at(program);
    mkdirSync(root, { recursive: true });
    const driver = takesOverlays(root) ? 'overlay' : 'vfs';
    const places = ['--root', `${root}/root`, '--runroot', `${root}/run`, '--storage-driver', driver];
    return (...argv) => run(program, ...places, ...argv);
  }
});

/** Docker’s exports have no parts of seconds. */
function wholeSeconds(tree: readonly string[]): string[] {
  return tree.map((line) => line.replace(/ (\d+)\d{9} /, ' $1 '));
}
