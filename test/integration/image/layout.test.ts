/** Images of OCI layouts: into a store and out again, also by way of tools that others made. */

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mediaTypes } from '../../../lib/image/document/index.js';
import { Image } from '../../../lib/image/image.js';
import { ImageStore } from '../../../lib/image/store/index.js';
import { LayoutWriter, named, TemporaryDirectory } from '../../support/layout.js';
import { needsPrograms } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';

checkResidue();

let temporary: TemporaryDirectory;
let layout: LayoutWriter;
let store: ImageStore;
beforeEach(async () => {
  temporary = new TemporaryDirectory();
  layout = new LayoutWriter(temporary);
  store = await ImageStore.open({ path: temporary.at('store') });
});
afterEach(async () => {
  await store.close();
  temporary.dispose();
});

const platform = 'linux/amd64';
const open = (reference?: string, more: object = {}) =>
  Image.open(layout.path, reference, { store, platform, ...more });

describe('an image of a layout', () => {
  it('is brought into the store with all that it names', async () => {
    const { descriptor, config, layer } = layout.image({ config: { Cmd: ['/hello'] } });
    const image = await open();
    expect(image.id).toBe(config.digest);
    expect(image.descriptor).toMatchObject(descriptor);
    expect(image.config.cmd).toEqual(['/hello']);
    for (const { digest } of [descriptor, config, layer]) expect(await store.hasBlob(digest)).toBe(true);
    expect(image.inspect()).toMatchObject({ id: config.digest, digest: descriptor.digest, size: layer.size, platform });
    expect(image.history()).toEqual([{ layer: image.inspect().layers[0] }]);
    expect((await Image.read(store, descriptor)).inspect()).toEqual(image.inspect());
  });

  it('is chosen by the name that the layout has for it', async () => {
    const a = layout.image({ text: 'a', annotations: named('v1') });
    const b = layout.image({ text: 'b', annotations: named('docker.io/library/debian:12') });
    expect((await open('v1')).id).toBe(a.config.digest);
    expect((await open('debian:12')).id).toBe(b.config.digest);
    await expect(open('v2')).rejects.toThrow(/no image named 'v2' .*it has v1, docker.io\/library\/debian:12/);
    await expect(open()).rejects.toThrow(/several images: say which/);
  });

  it('gets the whole name that it has, and no other', async () => {
    layout.image({ text: 'a', annotations: named('latest') });
    layout.image({ text: 'b', annotations: named('debian:12') });
    expect((await open('latest')).reference).toBeUndefined();
    expect((await open('debian:12')).reference).toBe('docker.io/library/debian:12');
    expect((await open('latest', { as: 'own/name' })).reference).toBe('docker.io/own/name:latest');
    expect((await store.references()).map(({ reference }) => reference)).toEqual([
      'docker.io/library/debian:12',
      'docker.io/own/name:latest',
    ]);
  });

  it('is chosen by platform, also from an index in an index', async () => {
    const arm = layout.unlisted({ text: 'arm', platform: { os: 'linux', architecture: 'arm64' } });
    const amd = layout.unlisted({ text: 'amd', platform: { os: 'linux', architecture: 'amd64' } });
    layout.list(layout.index([layout.index([arm.descriptor, amd.descriptor])], named('x')));
    expect((await open('x')).id).toBe(amd.config.digest);
    expect((await open(undefined, { platform: 'arm64' })).id).toBe(arm.config.digest);
    await expect(open('x', { platform: 'linux/s390x' })).rejects.toThrow(/no image for linux\/s390x/);
  });

  it('is not looked for in indexes without end', async () => {
    let { descriptor } = layout.unlisted();
    for (let depth = 0; depth < 5; depth++) descriptor = layout.index([descriptor]);
    layout.list(descriptor);
    await expect(open()).rejects.toThrow(/indexes within 4 others/);
  });

  it('is only read of what lies in the layout', async () => {
    const { layer } = layout.image();
    const path = join(layout.path, 'blobs/sha256', layer.digest.slice(7));
    const outside = temporary.write('outside', readFileSync(path));
    execFileSync('rm', [path]);
    symlinkSync(outside, path);
    await expect(open()).rejects.toThrow(/leads out of its directory/);
    execFileSync('rm', [path]);
    execFileSync('mkfifo', [path]);
    await expect(open()).rejects.toThrow(/no regular file/);
  });

  it('is not in a directory that is no layout', async () => {
    await expect(Image.open(temporary.path, undefined, { store })).rejects.toThrow(/no OCI image layout/);
    temporary.write('layout/oci-layout', '{"imageLayoutVersion":"2"}');
    await expect(open()).rejects.toThrow(/should say imageLayoutVersion 1.0.0/);
  });

  it('can be left in the middle', async () => {
    layout.image();
    await expect(open(undefined, { signal: AbortSignal.abort() })).rejects.toThrow(
      expect.objectContaining({ code: 'ERR_ABORTED' }),
    );
  });
});

describe('an image that is saved', () => {
  it('is the same when it is opened again', async () => {
    layout.image({ annotations: named('a/b:c') });
    const image = await open();
    await image.save(temporary.at('saved'), { format: 'oci-layout' });
    const other = await ImageStore.open({ path: temporary.at('other') });
    try {
      const again = await Image.open(temporary.at('saved'), 'a/b:c', { store: other, platform });
      expect(again.inspect()).toEqual(image.inspect());
    } finally {
      await other.close();
    }
  });

  it('is added to a layout, in the place of what has its name there', async () => {
    layout.image({ text: 'a', annotations: named('a:1') });
    layout.image({ text: 'b', annotations: named('b:1') });
    const path = temporary.at('saved');
    const [a, b] = [await open('a:1'), await open('b:1')];
    await a.save(path, { format: 'oci-layout' });
    await b.save(path, { format: 'oci-layout' });
    await b.save(path, { format: 'oci-layout', reference: 'a:1' });
    const names = () => JSON.parse(readFileSync(join(path, 'index.json'), 'utf8')).manifests.length;
    expect(names()).toBe(2);
    expect((await Image.open(path, 'a:1', { store, platform })).id).toBe(b.id);
    expect((await Image.open(path, 'b:1', { store, platform })).id).toBe(b.id);
  });

  it('never lies over what is something else, and leaves nothing where it fails', async () => {
    const { layer } = layout.image();
    const image = await open();
    temporary.write('full/file', '');
    await expect(image.save(temporary.at('full'), { format: 'oci-layout' })).rejects.toThrow(
      /a new or empty directory/,
    );
    execFileSync('rm', [store.blobPath(layer.digest)]);
    await expect(image.save(temporary.at('new'), { format: 'oci-layout' })).rejects.toThrow(/has no blob sha256/);
    await expect(image.save(temporary.at('new.tar'))).rejects.toThrow(/has no blob sha256/);
    expect(readdirSync(temporary.path).sort()).toEqual(['full', 'layout', 'store']);
  });

  it('makes the same archive each time, which tar reads', async (context) => {
    needsPrograms(context, 'tar');
    layout.image({ annotations: named('a:1') });
    const image = await open();
    await image.save(temporary.at('1.tar'));
    await image.save(temporary.at('2.tar'));
    expect(readFileSync(temporary.at('1.tar')).equals(readFileSync(temporary.at('2.tar')))).toBe(true);
    execFileSync('mkdir', [temporary.at('out')]);
    execFileSync('tar', ['-xf', temporary.at('1.tar'), '-C', temporary.at('out')]);
    const again = await Image.open(temporary.at('out'), 'a:1', { store, platform });
    expect(again.inspect()).toEqual(image.inspect());
  });

  it('is accepted by skopeo, with the digests that it has', async (context) => {
    needsPrograms(context, 'skopeo');
    const { layer } = layout.image({ config: { Env: ['A=b'] }, annotations: named('a:1') });
    const image = await open();
    await image.save(temporary.at('a.tar'), { reference: 'a:1' });
    const source = `oci-archive:${temporary.at('a.tar')}:a:1`;
    const seen = JSON.parse(execFileSync('skopeo', ['inspect', source], { encoding: 'utf8' }));
    expect([seen.Digest, seen.Layers, seen.Env]).toEqual([image.descriptor.digest, [layer.digest], ['A=b']]);
    execFileSync('skopeo', ['--insecure-policy', 'copy', source, `oci:${temporary.at('copy')}:x`], { stdio: 'pipe' });
    expect((await Image.open(temporary.at('copy'), 'x', { store, platform })).inspect().digest).toBe(
      image.descriptor.digest,
    );
  });

  it('is what umoci made, and what umoci unpacks', async (context) => {
    needsPrograms(context, 'umoci');
    const run = (...argv: string[]) => execFileSync('umoci', argv, { stdio: 'pipe' });
    const made = temporary.at('made');
    run('init', '--layout', made);
    run('new', '--image', `${made}:v1`);
    temporary.write('tree/greeting', 'hello');
    run('insert', '--rootless', '--image', `${made}:v1`, temporary.at('tree'), '/etc');
    run('config', '--image', `${made}:v1`, '--config.cmd', '/x', '--config.env', 'A=b', '--config.workingdir', '/w');
    const image = await Image.open(made, 'v1', { store, platform });
    expect(image.config).toMatchObject({ cmd: ['/x'], env: { A: 'b' }, workingDir: '/w' });
    expect(image.manifest.layers[0]?.mediaType).toBe(mediaTypes.ociLayerGzip);
    await image.save(temporary.at('saved'), { format: 'oci-layout', reference: 'v2' });
    run('unpack', '--rootless', '--image', `${temporary.at('saved')}:v2`, temporary.at('bundle'));
    expect(existsSync(temporary.at('bundle/rootfs/etc/greeting'))).toBe(true);
  });
});
