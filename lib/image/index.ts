/** Images: documents, layers, the store, registries. */

export type { Digest } from './digest.js';
export type { Descriptor as ContentDescriptor, HistoryEntry, ImageConfig, Manifest } from './document/index.js';
export type { Compression } from './document/media-types.js';
export type { Driver } from './driver/choose.js';
export {
  Image,
  type ImageHistory,
  type ImageInspection,
  type LayerInspection,
  type SaveOptions,
} from './image.js';
export type { ImportOptions } from './import.js';
export type { LoadOptions } from './load.js';
export type { FromDirectoryOptions, FromTarOptions, MakeOptions } from './make.js';
export type { Platform } from './platform.js';
export type { ImageProgress, OnProgress } from './progress.js';
export { parseReference, type Reference } from './reference.js';
export { Registry, type RegistryCredentials, type RegistryOptions, type RegistryTls } from './registry/index.js';
export type { PullOptions, PushOptions } from './remote.js';
export type { ArchiveSource } from './source/bytes.js';
export {
  type Collected,
  type CollectOptions,
  type DiskUsage,
  type Expected,
  type FillLayer,
  type Hold,
  ImageStore,
  type ImageStoreOptions,
  type LayerFacts,
  type LayerSpec,
  type Lease,
  type LockWait,
  type PartialBlob,
  type ReferenceEntry,
  type StoredDescriptor,
  type StoredImage,
  type StoreProblem,
  type Temporary,
  type VerifyOptions,
} from './store/index.js';
export type { ImageLimits, ImageUnpackOptions } from './unpack.js';
export type { ConfigChanges } from './write.js';
