/** Documents of a small, valid image, to be changed in one place by each test. */

import { digestOf } from '../../../../lib/image/digest.js';
import { mediaTypes } from '../../../../lib/image/document/index.js';

export type Json = { [key: string]: unknown };

export const bytes = (value: unknown): Buffer => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));

export const aDigest = digestOf(Buffer.from('a layer'));

export const descriptor = (mediaType: string, more: Json = {}): Json => ({
  mediaType,
  digest: aDigest,
  size: 7,
  ...more,
});

export const manifest = (more: Json = {}): Json => ({
  schemaVersion: 2,
  mediaType: mediaTypes.ociManifest,
  config: descriptor(mediaTypes.ociConfig),
  layers: [descriptor(mediaTypes.ociLayerGzip)],
  ...more,
});

export const index = (more: Json = {}): Json => ({
  schemaVersion: 2,
  mediaType: mediaTypes.ociIndex,
  manifests: [descriptor(mediaTypes.ociManifest, { platform: { os: 'linux', architecture: 'amd64' } })],
  ...more,
});

export const config = (inner: Json = {}, more: Json = {}): Json => ({
  architecture: 'amd64',
  os: 'linux',
  config: inner,
  rootfs: { type: 'layers', diff_ids: [aDigest] },
  ...more,
});
