import { describe, expect, it } from 'vitest';
import {
  type Compression,
  type Descriptor,
  type Index,
  isConfigType,
  isIndexType,
  isManifestType,
  largestDocument,
  layerCompression,
  type Manifest,
  mediaTypes,
  parseIndex,
  parseManifest,
} from '../../../../lib/image/document/index.js';
import { aDigest, bytes, index, manifest } from './documents.js';

describe('a media type', () => {
  it('is of one kind', () => {
    const kinds = Object.values(mediaTypes).map((type) =>
      [isIndexType(type), isManifestType(type), isConfigType(type), layerCompression(type) !== undefined].filter(
        Boolean,
      ),
    );
    expect(kinds.every((each) => each.length === 1)).toBe(true);
    expect(isManifestType('application/json') || isIndexType('application/json')).toBe(false);
  });

  it('says how a layer is compressed', () => {
    const expected: [string, Compression | undefined][] = [
      [mediaTypes.ociLayer, 'none'],
      [mediaTypes.ociLayerZstd, 'zstd'],
      [mediaTypes.dockerLayerGzip, 'gzip'],
      ['application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', 'gzip'],
      ['application/vnd.oci.image.layer.v1.tar+gzip+encrypted', undefined],
      ['application/vnd.cncf.helm.chart.content.v1.tar+gzip', undefined],
    ];
    for (const [type, compression] of expected) expect(layerCompression(type), type).toBe(compression);
  });
});

describe('a descriptor', () => {
  it('is the same wherever it stands', () => {
    const read: Manifest = parseManifest(bytes(manifest()), undefined);
    const listed: Index = parseIndex(bytes(index()), undefined);
    const each: readonly (Descriptor | undefined)[] = [read.config, ...read.layers, ...listed.manifests];
    expect(each.map((one) => [one?.digest, one?.size])).toEqual(Array.from({ length: 3 }, () => [aDigest, 7]));
    expect(largestDocument).toBe(4 << 20);
  });
});
