/**
 * The extended attribute `security.capability`, in which a program keeps the capabilities that it gives to whoever executes
 * it: struct vfs_ns_cap_data of `linux/capability.h`, all little-endian.
 */

import { TscontainError } from '../errors.js';

/** What the attribute says, with sets as masks. */
export interface FileCapabilityData {
  /** 2 counts in every user namespace that the file system belongs to; 3 in the one whose root is `rootId`. */
  readonly version: 2 | 3;
  readonly effective: boolean;
  readonly permitted: bigint;
  readonly inheritable: bigint;
  readonly rootId?: number;
}

const VFS_CAP_REVISION_MASK = 0xff00_0000;
const VFS_CAP_FLAGS_EFFECTIVE = 1;
const revisions = { 1: 0x0100_0000, 2: 0x0200_0000, 3: 0x0300_0000 } as const;
/** Bytes by revision: a word of flags, then pairs of 32-bit words, then the id of root (revision 3). */
const sizes = { 1: 12, 2: 20, 3: 24 } as const;

export const capabilityAttribute = 'security.capability';

/** @throws TscontainError (`ERR_FILE_CAPABILITIES`) for bytes that the kernel would not take either */
export function decodeFileCapabilities(bytes: Uint8Array, path?: string): FileCapabilityData {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (index: number): number => view.getUint32(index * 4, true);
  const magic = bytes.byteLength >= 4 ? word(0) : 0;
  const revision = ([1, 2, 3] as const).find((one) => (magic & VFS_CAP_REVISION_MASK) >>> 0 === revisions[one]);
  const flags = (magic & ~VFS_CAP_REVISION_MASK) >>> 0;
  if (revision === undefined || bytes.byteLength !== sizes[revision] || flags > VFS_CAP_FLAGS_EFFECTIVE) {
    throw new TscontainError(
      'ERR_FILE_CAPABILITIES',
      `${path ?? 'the attribute'} has no capabilities in a form that is known: ${bytes.byteLength} bytes, revision 0x${magic.toString(16)}`,
      { path },
    );
  }
  // Revision 1 (before 2.6.25) had the first 32 capabilities only, in the same places.
  const high = (index: number) => (revision === 1 ? 0n : BigInt(word(index)) << 32n);
  return {
    version: revision === 3 ? 3 : 2,
    effective: flags === VFS_CAP_FLAGS_EFFECTIVE,
    permitted: BigInt(word(1)) | high(3),
    inheritable: BigInt(word(2)) | high(4),
    ...(revision === 3 ? { rootId: word(5) } : {}),
  };
}

/** The bytes of the attribute: revision 3 where there is an id of root, else 2. */
export function encodeFileCapabilities(data: Omit<FileCapabilityData, 'version'>): Buffer {
  const { effective, permitted, inheritable, rootId } = data;
  const version = rootId === undefined ? 2 : 3;
  const bytes = Buffer.alloc(sizes[version]);
  bytes.writeUInt32LE(revisions[version] + (effective ? VFS_CAP_FLAGS_EFFECTIVE : 0), 0);
  bytes.writeUInt32LE(Number(permitted & 0xffff_ffffn), 4);
  bytes.writeUInt32LE(Number(inheritable & 0xffff_ffffn), 8);
  bytes.writeUInt32LE(Number(permitted >> 32n), 12);
  bytes.writeUInt32LE(Number(inheritable >> 32n), 16);
  if (rootId !== undefined) bytes.writeUInt32LE(rootId, 20);
  return bytes;
}
