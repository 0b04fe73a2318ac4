/** Images: documents, layers, the store, registries. */

export type { Digest } from './digest.js';
export type { HistoryEntry, ImageConfig } from './document/index.js';
export type { Platform } from './platform.js';
export { parseReference, type Reference } from './reference.js';
