/** Media types of the documents and layers that are understood: OCI image-spec 1.1 and Docker's image manifest, schema 2. */

const oci = 'application/vnd.oci.image';
const docker = 'application/vnd.docker';

export const mediaTypes = {
  ociIndex: `${oci}.index.v1+json`,
  ociManifest: `${oci}.manifest.v1+json`,
  ociConfig: `${oci}.config.v1+json`,
  ociLayer: `${oci}.layer.v1.tar`,
  ociLayerGzip: `${oci}.layer.v1.tar+gzip`,
  ociLayerZstd: `${oci}.layer.v1.tar+zstd`,
  dockerIndex: `${docker}.distribution.manifest.list.v2+json`,
  dockerManifest: `${docker}.distribution.manifest.v2+json`,
  dockerConfig: `${docker}.container.image.v1+json`,
  dockerLayer: `${docker}.image.rootfs.diff.tar`,
  dockerLayerGzip: `${docker}.image.rootfs.diff.tar.gzip`,
  dockerLayerZstd: `${docker}.image.rootfs.diff.tar.zstd`,
} as const;

/** How the bytes of a layer are compressed. */
export type Compression = 'gzip' | 'zstd' | 'none';

const layers: ReadonlyMap<string, Compression> = new Map<string, Compression>([
  [mediaTypes.ociLayer, 'none'],
  [mediaTypes.ociLayerGzip, 'gzip'],
  [mediaTypes.ociLayerZstd, 'zstd'],
  [mediaTypes.dockerLayer, 'none'],
  [mediaTypes.dockerLayerGzip, 'gzip'],
  [mediaTypes.dockerLayerZstd, 'zstd'],
  // Layers that others were not to distribute. They say where they could be had instead, which is never followed.
  [`${oci}.layer.nondistributable.v1.tar`, 'none'],
  [`${oci}.layer.nondistributable.v1.tar+gzip`, 'gzip'],
  [`${oci}.layer.nondistributable.v1.tar+zstd`, 'zstd'],
  [`${docker}.image.rootfs.foreign.diff.tar`, 'none'],
  [`${docker}.image.rootfs.foreign.diff.tar.gzip`, 'gzip'],
]);

export function isIndexType(mediaType: string): boolean {
  return mediaType === mediaTypes.ociIndex || mediaType === mediaTypes.dockerIndex;
}

export function isManifestType(mediaType: string): boolean {
  return mediaType === mediaTypes.ociManifest || mediaType === mediaTypes.dockerManifest;
}

export function isConfigType(mediaType: string): boolean {
  return mediaType === mediaTypes.ociConfig || mediaType === mediaTypes.dockerConfig;
}

/** How a layer of this type is compressed; undefined for what is no layer of a file system. */
export function layerCompression(mediaType: string): Compression | undefined {
  return layers.get(mediaType);
}

/** Whether registries were not to distribute it, so that it may be only where its `urls` say. */
export function isForeignLayer(mediaType: string): boolean {
  return /\.(nondistributable|foreign)\./.test(mediaType) && layers.has(mediaType);
}

/** Docker's first format, with signatures inside the document: a reader of its own, which nobody should need any more. */
export function isSchema1Type(mediaType: string): boolean {
  return /^application\/vnd\.docker\.distribution\.manifest\.v1\+(json|prettyjws)$/.test(mediaType);
}
