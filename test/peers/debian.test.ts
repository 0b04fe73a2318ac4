/**
 * Debian's packages as mmdebstrap installs them, built into images by buildah (debian.sh): our trees of them against those that
 * others unpack, and a container of one.
 */

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Container, Image, ImageStore } from '../../lib/index.js';
import { checkResidue } from '../support/residue.js';
import { differences, images, lacking, make, needsImages, Scratch } from './peers.js';

checkResidue();

const reason = lacking('mmdebstrap', 'buildah', 'umoci', 'skopeo', 'zstd');

describe.skipIf(reason)(`images of Debian that buildah has built${reason ? ` (${reason})` : ''}`, () => {
  const scratch = new Scratch();
  let unmade: string | undefined;
  beforeAll(() => {
    unmade = make('debian.sh');
  }, 600_000);
  // Three trees of some thousand files each.
  afterAll(() => scratch.dispose(), 300_000);

  async function ours(layout: string): Promise<string[]> {
    await using store = await ImageStore.open({ path: scratch.at(layout) });
    const image = await Image.open(join(images, layout), 'debian', { store });
    expect(image.inspect().layers.length).toBe(3);
    using lease = await image.unpack({ fileCapabilities: true });
    return scratch.merged(lease.paths);
  }

  it('become the tree that umoci makes of them, file by file, with gzip and with zstd', async (context) => {
    needsImages(context, unmade);
    const theirs = scratch.umoci(`${images}/debian:debian`);
    const gzip = await ours('debian');
    expect(theirs.length).toBeGreaterThan(5000);
    // What the layers do is there to be compared: a line is path, mode, owner, group, size, time, content, first link, attributes.
    const line = (path: string) => theirs.find((one) => one.startsWith(`./${path} `)) ?? '';
    expect(line('srv/setuid')).toMatch(/^\S+ 104755 1000 60 /);
    expect(line('home/worker')).toMatch(/^\S+ 40700 1000 1000 /);
    expect(line('srv/data/new')).not.toBe('');
    expect(line('srv/replaced')).toMatch(/^\S+ 100644 /);
    expect(line('usr/bin/passwd')).toMatch(/^\S+ 104755 0 0 /);
    for (const gone of ['srv/data/old', 'usr/share/doc/bash', 'usr/sbin/adduser', 'etc/alternatives/awk']) {
      expect(line(gone)).toBe('');
    }
    expect(differences(gzip, theirs)).toEqual([]);
    expect(await ours('debian-zstd')).toEqual(gzip);
  }, 300_000);

  it('have device nodes only where that is asked for: they are refused, or left out', async (context) => {
    needsImages(context, unmade);
    await using store = await ImageStore.open({ path: scratch.at('devices') });
    const image = await Image.open(join(images, 'debian'), 'devices', { store });
    await expect(image.unpack({ fileCapabilities: true })).rejects.toMatchObject({ code: 'ERR_LAYER' });
    using lease = await image.unpack({ fileCapabilities: true, devices: 'skip' });
    const theirs = scratch.umoci(`${images}/debian:devices`);
    const nodes = theirs.filter((line) => /^\S+ (2|6)0\d{3} /.test(line));
    expect(nodes.map((line) => line.split(' ')[0])).toEqual(['./dev/disk', './dev/null']);
    expect(differences(scratch.merged(lease.paths), theirs)).toEqual(nodes.map((line) => `theirs: ${line}`));
  }, 300_000);

  it('are what containers run, as the configuration says', async (context) => {
    needsImages(context, unmade);
    await using store = await ImageStore.open({ path: scratch.at('debian') });
    const image = await Image.open(join(images, 'debian'), 'debian', { store });
    expect(image.config).toMatchObject({ stopSignal: 'SIGINT', exposedPorts: ['80/tcp'], volumes: ['/data'] });
    const { stdout, stderr, exitCode } = await Container.run(undefined, { image });
    expect([stdout, stderr, exitCode]).toEqual(['worker\n/srv\n', '', 0]);
    const dpkg = await Container.run(['dpkg', '--verify', 'coreutils', 'bash'], { image, user: 'root' });
    // What was taken away by a layer is missing, and everything else is as the packages have it.
    expect(dpkg.stdout.split('\n').filter((line) => !/^missing .*\/usr\/share\/doc\//.test(line))).toEqual(['']);
    expect(dpkg.stdout).toContain('/usr/share/doc/');
  }, 120_000);
});
