/**
 * Images that others have made, and others reading what we save. `npm run test:peers`; the images are made once, by build.sh,
 * in build/peers, or the directory that TSCONTAIN_PEERS names.
 */

import { createHash } from 'node:crypto';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Image } from '../../lib/image/image.js';
import { ImageStore } from '../../lib/image/index.js';
import { decompressLayer } from '../../lib/image/layer/decompress.js';
import { Container } from '../../lib/index.js';
import { systemLayer } from '../support/system.js';
import { snapshot } from '../support/tree.js';
import { images, lacking, make, run, Scratch } from './peers.js';

const reason = lacking('dpkg-query', 'umoci', 'skopeo', 'setcap', 'setfattr', 'zstd');
const limits = { bytes: 2 ** 32, ratio: 1000 };

describe.skipIf(reason)(`images of other people’s tools${reason ? ` (${reason})` : ''}`, () => {
  const scratch = new Scratch();
  let store: ImageStore;

  beforeAll(async () => {
    make('build.sh');
    store = await ImageStore.open({ path: scratch.at('store') });
  }, 600_000);

  afterAll(async () => {
    await store?.close();
    scratch.dispose();
  }, 60_000);

  it.each([
    ['layout', 'tar+gzip'],
    ['layout-zstd', 'tar+zstd'],
  ])(
    'every layer of %s becomes the bytes that its diffID names',
    async (layout, type) => {
      const image = await Image.open(join(images, layout), 'many', { store });
      const { layers } = image.inspect();
      expect(layers.length).toBeGreaterThan(3);
      expect(image.config.entrypoint).toEqual(['/bin/sh']);
      for (const { digest, diffId, mediaType } of layers) {
        expect(mediaType).toContain(type);
        await using file = await store.openBlob(digest);
        const hash = createHash('sha256');
        const compressed = file.createReadStream({ autoClose: false, highWaterMark: 2 ** 18 });
        for await (const piece of decompressLayer(compressed, { limits, mediaType })) hash.update(piece);
        expect(`sha256:${hash.digest('hex')}`).toBe(diffId);
      }
    },
    120_000,
  );

  it('a configuration that umoci has written is followed', async () => {
    const [layout, bundle] = [scratch.at('configured'), scratch.at('bundle')];
    writeFileSync(scratch.at('system.tar'), systemLayer());
    run('umoci', 'init', '--layout', layout);
    run('umoci', 'new', '--image', `${layout}:own`);
    run('umoci', 'unpack', '--image', `${layout}:own`, bundle);
    run('tar', '-x', '--numeric-owner', '-C', `${bundle}/rootfs`, '-f', scratch.at('system.tar'));
    for (const path of ['data', 'run', 'var']) mkdirSync(`${bundle}/rootfs/${path}`);
    symlinkSync('/run', `${bundle}/rootfs/var/run`);
    writeFileSync(`${bundle}/rootfs/data/file`, 'of the image');
    run('umoci', 'repack', '--image', `${layout}:own`, bundle);
    const set = (name: string, ...values: string[]) => values.flatMap((value) => [`--config.${name}`, value]);
    const settings = [
      ...set('user', '500'),
      ...set('env', 'A=b c', 'EMPTY='),
      ...set('workingdir', '/var/run/here'),
      ...set('volume', '/data'),
      ...set('exposedports', '53/udp'),
      ...set('stopsignal', 'SIGUSR2'),
      ...set(
        'entrypoint',
        '/bin/sh',
        '-c',
        'echo "$(id -u):$(id -g) $(pwd -P) $A [$EMPTY] $HOME $*"; cat /data/file',
        'sh',
      ),
      ...set('cmd', 'x', 'y z'),
    ];
    run('umoci', 'config', '--image', `${layout}:own`, ...settings);
    const image = await Image.open(layout, 'own', { store });
    await using box = await Container.create({ image });
    const { stdout, stderr } = await box.exec();
    expect(stderr).toBe('');
    expect(stdout).toBe('500:501 /run/here b c [] /home/worker x y z\nof the image');
    expect(box.inspect().image).toMatchObject({ exposedPorts: ['53/udp'], volumes: ['/data'] });
    const mounts = (await box.exec(['cat', '/proc/self/mountinfo'])).stdout;
    expect(mounts.split('\n').map((line) => line.split(' ')[4])).toContain('/data');
  }, 300_000);

  it('what is saved is the image to skopeo, with the digest that it had, and the same when copied further', async () => {
    const image = await Image.open(join(images, 'layout-zstd'), 'many', { store });
    const archive = scratch.at('saved.tar');
    await image.save(archive, { reference: 'example.org/many:1' });
    const found = JSON.parse(run('skopeo', '--insecure-policy', 'inspect', `oci-archive:${archive}`));
    expect(found.Digest).toBe(image.descriptor.digest);
    expect(found.Layers).toEqual(image.manifest.layers.map(({ digest }) => digest));
    run('skopeo', '--insecure-policy', 'copy', '--quiet', `oci-archive:${archive}`, `oci:${scratch.path}/again:many`);
    const again = await Image.open(`${scratch.path}/again`, 'many', { store });
    expect(again.descriptor.digest).toBe(image.descriptor.digest);
    expect(again.id).toBe(image.id);
  }, 120_000);

  it('umoci unpacks a layout that we saved to the tree of the original', async () => {
    const image = await Image.open(join(images, 'layout'), 'many', { store });
    await image.save(scratch.at('saved'), { format: 'oci-layout', reference: 'many:latest' });
    const [name] = run('umoci', 'list', '--layout', scratch.at('saved')).trim().split('\n');
    run('umoci', 'unpack', '--image', `${scratch.path}/saved:${name}`, scratch.at('ours'));
    run('umoci', 'unpack', '--image', `${images}/layout:many`, scratch.at('theirs'));
    const listing = (bundle: string) => snapshot(scratch.at(bundle, 'rootfs'));
    expect(listing('ours')).toEqual(listing('theirs'));
    run('touch', '-d', '1999-01-01', `${scratch.path}/ours/rootfs/srv/attributes`);
    expect(listing('ours')).not.toEqual(listing('theirs'));
  }, 240_000);
});
