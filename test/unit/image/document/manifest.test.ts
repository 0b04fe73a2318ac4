import { describe, expect, it } from 'vitest';
import { encodeIndex, mediaTypes, parseIndex, parseManifest } from '../../../../lib/image/document/index.js';
import { aDigest, bytes, descriptor, index, type Json, manifest } from './documents.js';

const { ociManifest, dockerManifest, ociIndex, dockerIndex } = mediaTypes;
const read = (value: unknown, type: string | undefined = ociManifest) => parseManifest(bytes(value), type);
const readIndex = (value: unknown, type: string | undefined = ociIndex) => parseIndex(bytes(value), type);

describe('a manifest', () => {
  it('is read, with its layers bottom first', () => {
    const layers = [descriptor(mediaTypes.ociLayerGzip), descriptor(mediaTypes.ociLayerZstd, { size: 8 })];
    expect(read(manifest({ layers, annotations: { a: 'b' } }))).toEqual({
      mediaType: ociManifest,
      config: { mediaType: mediaTypes.ociConfig, digest: aDigest, size: 7 },
      layers,
      annotations: { a: 'b' },
    });
  });

  it('of Docker is read the same way', () => {
    const value = manifest({
      mediaType: dockerManifest,
      config: descriptor(mediaTypes.dockerConfig),
      layers: [descriptor(mediaTypes.dockerLayerGzip)],
    });
    expect(read(value, dockerManifest).layers).toHaveLength(1);
  });

  it('of OCI may leave its type to its descriptor, as umoci’s does; Docker’s may not', () => {
    expect(read(manifest({ mediaType: undefined })).mediaType).toBe(ociManifest);
    expect(() => read(manifest({ mediaType: undefined }), dockerManifest)).toThrow(/no mediaType/);
    expect(() => parseManifest(bytes(manifest({ mediaType: undefined })), undefined)).toThrow(/no mediaType/);
  });

  it('keeps none of the places that a layer names', () => {
    const layer = descriptor('application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', {
      urls: ['http://elsewhere.example/'],
      data: 'AAAA',
    });
    expect(Object.keys(read(manifest({ layers: [layer] })).layers[0] ?? {})).toEqual(['mediaType', 'digest', 'size']);
  });

  const refused: [string, Json | string, RegExp][] = [
    ['no JSON', '{', /not JSON/],
    ['JSON after a byte order mark', `\ufeff${JSON.stringify(manifest())}`, /not JSON/],
    ['an array', '[]', /it should be an object and is an array/],
    ['null', 'null', /it should be an object and is null/],
    ['a name twice', '{"schemaVersion":2,"schemaVersion":2}', /"schemaVersion" twice/],
    ['a name twice, once written otherwise', '{"schemaVersion":2,"schema\\u0056ersion":2}', /twice/],
    ['a name twice further in', '{"schemaVersion":2,"config":{"a":"}","a":1}}', /"a" twice/],
    ['a name in another case', { ...manifest(), Layers: [] }, /Layers differs/],
    ['nesting without end', `${'{"a":'.repeat(100)}1${'}'.repeat(100)}`, /deeper than/],
    ['another version', manifest({ schemaVersion: 3 }), /schemaVersion should be 2/],
    ['schema 1', manifest({ schemaVersion: 1 }), /schema 1/],
    ['schema 1 in disguise', manifest({ fsLayers: [] }), /schema 1/],
    ['another type than it came with', manifest({ mediaType: dockerManifest }), /came as/],
    ['also an index', manifest({ manifests: [] }), /`manifests`, as only an index/],
    ['without a configuration', manifest({ config: undefined }), /config should be an object/],
    ['an artifact', manifest({ config: descriptor('application/vnd.oci.empty.v1+json') }), /no image/],
    ['without layers', manifest({ layers: [] }), /no layers/],
    ['without a list of layers', manifest({ layers: undefined }), /`layers` is missing/],
    ['layers that are no list', manifest({ layers: {} }), /layers should be an array/],
    ['a layer that is none', manifest({ layers: [descriptor('text/plain')] }), /layers\[0\] is text\/plain/],
    ['a layer without a type', manifest({ layers: [{ digest: aDigest, size: 1 }] }), /layers\[0\].mediaType/],
    ['a type that is none', manifest({ mediaType: 'a/b\nc' }), /no media type/],
    ['annotations that are no text', manifest({ annotations: { a: 1 } }), /annotations.a should be text/],
    ...[-1, 1.5, '7', null, 2 ** 53, 1e300].map((size): [string, Json, RegExp] => [
      `a size of ${size}`,
      manifest({ layers: [descriptor(mediaTypes.ociLayer, { size })] }),
      /layers\[0\].size should be a whole number/,
    ]),
  ];
  it.each(refused)('is not %s', (_, value, problem) => {
    expect(() => read(value)).toThrow(expect.objectContaining({ code: 'ERR_MANIFEST' }));
    expect(() => read(value)).toThrow(problem);
  });

  it('is not what came as something else', () => {
    expect(() => read(index(), ociIndex)).toThrow(/is not the manifest of an image/);
    expect(() => read(manifest(), 'application/json')).toThrow(/came as application\/json/);
    expect(() => read('{}', 'application/vnd.docker.distribution.manifest.v1+prettyjws')).toThrow(/schema 1/);
  });

  it('is not what has no digests', () => {
    for (const digest of ['sha256:../x', `sha256:${'A'.repeat(64)}`, 5]) {
      expect(() => read(manifest({ layers: [descriptor(mediaTypes.ociLayer, { digest })] }))).toThrow(
        /layers\[0\].digest: expected a digest/,
      );
    }
  });

  it('has an end', () => {
    const layers = Array.from({ length: 501 }, () => descriptor(mediaTypes.ociLayer));
    expect(read(manifest({ layers: layers.slice(1) })).layers).toHaveLength(500);
    expect(() => read(manifest({ layers }))).toThrow(/501 elements, and at most 500/);
    expect(() => read(`${JSON.stringify(manifest())}${' '.repeat(4 * 1024 * 1024)}`)).toThrow(/at most 4194304/);
  });
});

describe('an index', () => {
  it('is read, with platforms in their common form', () => {
    const { manifests } = readIndex(
      index({ manifests: [descriptor(ociManifest, { platform: { os: 'linux', architecture: 'aarch64' } })] }),
    );
    expect(manifests[0]?.platform).toEqual({ os: 'linux', architecture: 'arm64' });
    expect(readIndex(index({ mediaType: dockerIndex }), dockerIndex).manifests).toHaveLength(1);
  });

  it('is written so that it is read as the same', () => {
    const manifests = readIndex(index()).manifests;
    const { bytes: written, descriptor: own } = encodeIndex(manifests);
    expect(parseIndex(written, own.mediaType).manifests).toEqual(manifests);
    expect(encodeIndex(manifests).descriptor).toEqual(own);
  });

  it.each<[string, Json, RegExp]>([
    ['also a manifest', index({ layers: [] }), /`layers`, as only a manifest/],
    ['half a manifest', index({ config: {} }), /`config`, as only a manifest/],
    ['without a list', index({ manifests: undefined }), /`manifests` is missing/],
    [
      'without an end',
      index({ manifests: Array.from({ length: 1001 }, () => descriptor(ociManifest)) }),
      /1001 elements/,
    ],
  ])('is not %s', (_, value, problem) => {
    expect(() => readIndex(value)).toThrow(problem);
  });

  it('is not what came as a manifest', () => {
    expect(() => readIndex(manifest(), ociManifest)).toThrow(/is not an index/);
    expect(() => readIndex(index(), dockerIndex)).toThrow(/came as/);
  });
});
