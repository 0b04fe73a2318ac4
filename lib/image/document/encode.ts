/** Documents as they are written: one form for the same content, so that the same image has the same digest. */

import { digestOf } from '../digest.js';
import type { ImageConfig } from './config.js';
import type { Descriptor } from './descriptor.js';
import type { Manifest } from './manifest.js';
import { mediaTypes } from './media-types.js';

/** A document's bytes, and what another one says of it. */
export interface Encoded {
  readonly bytes: Buffer;
  readonly descriptor: Descriptor;
}

export function encodeManifest({ config, layers, annotations }: Omit<Manifest, 'mediaType'>): Encoded {
  const mediaType = mediaTypes.ociManifest;
  return encode(mediaType, {
    schemaVersion: 2,
    mediaType,
    config: plain(config),
    layers: layers.map(plain),
    ...(annotations && { annotations }),
  });
}

export function encodeIndex(manifests: readonly Descriptor[]): Encoded {
  const mediaType = mediaTypes.ociIndex;
  return encode(mediaType, { schemaVersion: 2, mediaType, manifests: manifests.map(plain) });
}

/** Only the fields that are read of a configuration are written. */
export function encodeConfig(image: ImageConfig): Encoded {
  const { os, architecture, variant, created, author } = image;
  return encode(mediaTypes.ociConfig, {
    created,
    author,
    architecture,
    ...(variant !== undefined && { variant }),
    os,
    config: {
      User: image.user,
      ExposedPorts: keys(image.exposedPorts),
      Env: unlessEmpty(Object.entries(image.env).map(([name, value]) => `${name}=${value}`)),
      Entrypoint: unlessEmpty(image.entrypoint),
      Cmd: unlessEmpty(image.cmd),
      Volumes: keys(image.volumes),
      WorkingDir: image.workingDir,
      Labels: Object.keys(image.labels).length === 0 ? undefined : image.labels,
      StopSignal: image.stopSignal,
    },
    rootfs: { type: 'layers', diff_ids: image.diffIds },
    history: unlessEmpty(
      image.history.map(({ created: at, createdBy, author: by, comment, emptyLayer }) => ({
        created: at,
        created_by: createdBy,
        author: by,
        comment,
        empty_layer: emptyLayer,
      })),
    ),
  });
}

function encode(mediaType: string, value: object): Encoded {
  const bytes = Buffer.from(JSON.stringify(value));
  return { bytes, descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length } };
}

function plain({ mediaType, digest, size, platform, annotations }: Descriptor): Descriptor {
  return { mediaType, digest, size, ...(platform && { platform }), ...(annotations && { annotations }) };
}

function unlessEmpty<Element>(list: readonly Element[]): readonly Element[] | undefined {
  return list.length === 0 ? undefined : list;
}

/** A set, as Go's encoder writes it. */
function keys(names: readonly string[]): Record<string, object> | undefined {
  return names.length === 0 ? undefined : Object.fromEntries(names.map((name) => [name, {}]));
}
