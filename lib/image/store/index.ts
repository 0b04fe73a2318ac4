/** The image store. */

export type { Expected } from './blobs.js';
export type { Collected } from './collect.js';
export type { Hold } from './hold.js';
export type { FillLayer, LayerFacts, LayerSpec, Lease } from './layers.js';
export type { LockWait } from './lock.js';
export type { PartialBlob } from './partial.js';
export type { ReferenceEntry, StoredDescriptor } from './references.js';
export { type CollectOptions, ImageStore, type ImageStoreOptions } from './store.js';
export type { Temporary } from './temporary.js';
export type { DiskUsage, StoredImage } from './usage.js';
export type { StoreProblem, VerifyOptions } from './verify.js';
