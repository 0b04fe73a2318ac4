/** Mounts, each usable by itself. */

export { BindMount, type BindMountOptions } from './bind.js';
export type { FileType, OverlayChange } from './changes.js';
export { Mount, type UnmountOptions } from './mount.js';
export type { MountIdMap, MountOptions } from './options.js';
export { OverlayMount } from './overlay.js';
export type { OverlayMountOptions } from './overlay-options.js';
export { TmpfsMount, type TmpfsMountOptions } from './tmpfs.js';
