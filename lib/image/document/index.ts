/** Documents of images: read strictly, written in one form. */

export { type HistoryEntry, type ImageConfig, parseConfig } from './config.js';
export type { Descriptor } from './descriptor.js';
export { encodeConfig, encodeIndex, encodeManifest } from './encode.js';
export { largestDocument } from './json.js';
export { type Index, type Manifest, parseIndex, parseManifest } from './manifest.js';
export {
  type Compression,
  isConfigType,
  isForeignLayer,
  isIndexType,
  isManifestType,
  layerCompression,
  mediaTypes,
} from './media-types.js';
