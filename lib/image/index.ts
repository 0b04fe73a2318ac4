/** Images: documents, layers, the store, registries. */

export type { Digest } from './digest.js';
