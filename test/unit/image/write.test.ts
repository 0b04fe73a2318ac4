import { afterAll, describe, expect, it } from 'vitest';
import { digestOf } from '../../../lib/image/digest.js';
import { mediaTypes, parseConfig, parseManifest } from '../../../lib/image/document/index.js';
import { type NewLayer, writeImage } from '../../../lib/image/write.js';
import { BlobDirectory } from '../../support/blobs.js';

const blobs = new BlobDirectory();
afterAll(() => blobs.dispose());

const layer = (text: string, mediaType: string = mediaTypes.ociLayerGzip): NewLayer => ({
  descriptor: { mediaType, digest: digestOf(Buffer.from(text)), size: text.length },
  diffId: digestOf(Buffer.from(`${text}, uncompressed`)),
});
const created = new Date('2024-01-02T03:04:05.678Z');
const platform = { os: 'linux', architecture: 'arm64' };

describe('an image that is made', () => {
  it('is what was asked for when it is read again', async () => {
    const config = {
      entrypoint: ['/init'],
      cmd: ['a'],
      env: { PATH: '/bin', EMPTY: '' },
      workingDir: '/w',
      user: '1:2',
      exposedPorts: ['80/tcp'],
      volumes: ['/data'],
      stopSignal: 'SIGINT',
      labels: { a: 'b' },
    };
    const made = await writeImage(blobs, { layers: [layer('a'), layer('b')], config, created, platform, author: 'me' });
    const manifest = parseManifest(await blobs.read(made.descriptor.digest), made.descriptor.mediaType);
    expect(manifest).toEqual(made.manifest);
    expect(manifest.layers).toEqual([layer('a').descriptor, layer('b').descriptor]);
    const read = parseConfig(await blobs.read(manifest.config.digest));
    expect(read).toEqual(made.config);
    expect(read).toMatchObject({ ...config, ...platform, author: 'me', created: '2024-01-02T03:04:05Z' });
    expect(read.diffIds).toEqual([layer('a').diffId, layer('b').diffId]);
    expect(read.history).toHaveLength(2);
  });

  it('has the same digest for the same content', async () => {
    const make = () => writeImage(blobs, { layers: [layer('a')], created, platform });
    expect((await make()).descriptor).toEqual((await make()).descriptor);
    const later = await writeImage(blobs, { layers: [layer('a')], created: new Date(0), platform });
    expect(later.descriptor.digest).not.toBe((await make()).descriptor.digest);
  });

  it('goes on from another, whose layers of Docker it names as OCI does', async () => {
    const first = await writeImage(blobs, { layers: [layer('a')], config: { env: { A: '1' }, cmd: ['x'] }, platform });
    const base = {
      config: { ...first.config, history: [] },
      manifest: { ...first.manifest, layers: [layer('a', mediaTypes.dockerLayerGzip).descriptor] },
    };
    const second = await writeImage(blobs, { base, layers: [layer('b')], config: { cmd: ['y'] }, createdBy: 'commit' });
    expect(second.manifest.layers).toEqual([layer('a').descriptor, layer('b').descriptor]);
    expect(second.config).toMatchObject({ ...platform, env: { A: '1' }, cmd: ['y'] });
    expect(second.config.diffIds).toEqual([layer('a').diffId, layer('b').diffId]);
    // An entry for the layer that nobody has told of, so that the new one stands at its own.
    expect(second.config.history).toEqual([{}, { created: second.config.created, createdBy: 'commit' }]);
  });

  it('has an entry without a layer for a change of the configuration alone', async () => {
    const base = await writeImage(blobs, { layers: [layer('a')], platform });
    const { config } = await writeImage(blobs, { base, layers: [], config: { user: 'x' } });
    expect(config.history.at(-1)?.emptyLayer).toBe(true);
    expect(config.diffIds).toHaveLength(1);
  });

  it('takes its time from SOURCE_DATE_EPOCH', async () => {
    process.env.SOURCE_DATE_EPOCH = '86400';
    try {
      const { config } = await writeImage(blobs, { layers: [layer('a')] });
      expect(config.created).toBe('1970-01-02T00:00:00Z');
    } finally {
      delete process.env.SOURCE_DATE_EPOCH;
    }
  });

  it('is one that can be read, or is not made', async () => {
    await expect(writeImage(blobs, { layers: [] })).rejects.toThrow(/no layers/);
    await expect(writeImage(blobs, { layers: [layer('a')], config: { workingDir: 'w' } })).rejects.toThrow(/absolute/);
  });
});
