/**
 * A new, empty ext4 file system as bytes, for the loop file that bounds what a container writes to disk.
 *
 * No program makes it, and no image of one is grown: the kernel's own growing (EXT4_IOC_RESIZE_FS) takes CAP_SYS_RESOURCE,
 * which root in a virtual machine or a service need not have. An empty file system is a few blocks, whatever its size, as all
 * else of it is zero, and a hole in a sparse file. There is no journal: nothing of it is ever used after a crash.
 *
 * Layout (Documentation/filesystems/ext4): all that is fixed stands at the beginning (`flex_bg`), one after another:
 * superblock, group descriptors, block bitmaps, inode bitmaps, inode tables, the root directory's block. Descriptors have
 * check sums (`uninit_bg`), with which bitmaps and tables that are marked as not yet used are never read.
 */

/** Bytes at an offset of the file; between them are holes. */
export interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export interface Ext4Options {
  /** Bytes that files and directories may take; what the file system itself needs is added to it. */
  readonly size: number;
  /** Files and directories, the root not counted. */
  readonly inodes: number;
  /** 16 bytes; also what directories are hashed with. */
  readonly uuid: Uint8Array;
}

export interface Ext4Image {
  /** Bytes of the whole file. */
  readonly length: number;
  readonly pieces: readonly Piece[];
}

const blockSize = 4096;
const blocksPerGroup = blockSize * 8;
const inodeSize = 256;
const inodesPerBlock = blockSize / inodeSize;
const descriptorSize = 32;
const rootInode = 2;
/** The first inodes are reserved (ext4.h, EXT4_GOOD_OLD_FIRST_INO); the root is one of them. */
const reservedInodes = 10;

/** Group descriptors and block numbers of 32 bits, and the largest file of an ext4 that holds the loop file. */
export const largestExt4 = 2 ** 43;

/** A group has no more inodes than blocks. */
export function mostExt4Inodes(size: number): number {
  return Math.max(1024, Math.floor(size / blockSize));
}

const compatible = { EXT_ATTR: 0x8, DIR_INDEX: 0x20, SPARSE_SUPER2: 0x200 } as const;
const incompatible = { FILETYPE: 0x2, EXTENTS: 0x40, FLEX_BG: 0x200 } as const;
const readOnlyCompatible = {
  SPARSE_SUPER: 0x1,
  LARGE_FILE: 0x2,
  HUGE_FILE: 0x8,
  GDT_CSUM: 0x10,
  DIR_NLINK: 0x20,
  EXTRA_ISIZE: 0x40,
} as const;
const groupFlag = { INODE_UNINIT: 1, BLOCK_UNINIT: 2, INODE_ZEROED: 4 } as const;

/** Where everything stands, in blocks. */
interface Layout {
  readonly blocks: number;
  readonly groups: number;
  readonly inodesPerGroup: number;
  /** Inodes that nobody gets: the reserved ones, and those that a multiple of 16 in each group is too much. */
  readonly unavailable: number;
  readonly blockBitmaps: number;
  readonly inodeBitmaps: number;
  readonly inodeTables: number;
  readonly tableBlocks: number;
  readonly rootBlock: number;
  /** All blocks before it are in use. */
  readonly firstFree: number;
}

/** @throws RangeError for a size above {@link largestExt4}, or more inodes than {@link mostExt4Inodes} */
export function makeExt4(options: Ext4Options): Ext4Image {
  const layout = layOut(options);
  const pieces: Piece[] = [
    { offset: 1024, bytes: superblock(layout, options.uuid) },
    { offset: blockSize, bytes: groupDescriptors(layout, options.uuid) },
  ];
  for (let group = 0; group < layout.groups; group++) {
    const blocks = blockBitmap(layout, group);
    if (blocks) pieces.push({ offset: (layout.blockBitmaps + group) * blockSize, bytes: blocks });
    const inodes = inodeBitmap(layout, group);
    if (inodes) pieces.push({ offset: (layout.inodeBitmaps + group) * blockSize, bytes: inodes });
  }
  pieces.push(
    { offset: layout.inodeTables * blockSize + (rootInode - 1) * inodeSize, bytes: rootDirectoryInode(layout) },
    { offset: layout.rootBlock * blockSize, bytes: rootDirectory() },
  );
  return { length: layout.blocks * blockSize, pieces };
}

function layOut({ size, inodes }: Ext4Options): Layout {
  const free = Math.floor(size / blockSize);
  if (inodes > mostExt4Inodes(size)) throw new RangeError(`an ext4 of ${size} bytes has no room for ${inodes} inodes`);
  // What is fixed takes room in groups, and each group more takes room: a few rounds, and it is enough.
  let groups = 1;
  for (;;) {
    const inodesPerGroup = roundUp(Math.ceil((inodes + reservedInodes) / groups), inodesPerBlock);
    if (inodesPerGroup > blocksPerGroup) {
      groups++;
      continue;
    }
    const tableBlocks = inodesPerGroup / inodesPerBlock;
    const blockBitmaps = 1 + Math.ceil((groups * descriptorSize) / blockSize);
    const inodeBitmaps = blockBitmaps + groups;
    const inodeTables = inodeBitmaps + groups;
    const rootBlock = inodeTables + groups * tableBlocks;
    const firstFree = rootBlock + 1;
    const wanted = firstFree + free + heldBack(firstFree + free);
    const needed = Math.ceil(wanted / blocksPerGroup);
    if (needed <= groups) {
      const blocks = Math.max(wanted, (groups - 1) * blocksPerGroup + 1);
      if (blocks * blockSize > largestExt4) throw new RangeError(`an ext4 of ${size} bytes is too large`);
      const unavailable = groups * inodesPerGroup - inodes;
      return {
        blocks,
        groups,
        inodesPerGroup,
        unavailable,
        blockBitmaps,
        inodeBitmaps,
        inodeTables,
        tableBlocks,
        rootBlock,
        firstFree,
      };
    }
    groups = needed;
  }
}

/** What the kernel keeps for extents that it may have to split: a fiftieth of all, at most 4096 (ext4_set_resv_clusters). */
function heldBack(blocks: number): number {
  return Math.min(Math.floor(blocks / 49), 4096);
}

function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

/** How much of a run that begins at 0 and has `length` lies in the part with this number, of parts of `each`. */
function partOf(length: number, part: number, each: number): number {
  return Math.min(Math.max(length - part * each, 0), each);
}

function blocksOf({ blocks }: Layout, group: number): number {
  return partOf(blocks, group, blocksPerGroup);
}

/** In which blocks are in use; the bits after the last block of the file system count as such. None for a group without. */
function blockBitmap(layout: Layout, group: number): Uint8Array | undefined {
  const used = partOf(layout.firstFree, group, blocksPerGroup);
  const there = blocksOf(layout, group);
  if (used === 0 && there === blocksPerGroup) return undefined;
  const bitmap = new Uint8Array(blockSize);
  setBits(bitmap, 0, used);
  setBits(bitmap, there, blocksPerGroup);
  return bitmap;
}

/** The first inodes of the file system are in use. None for a group without. */
function inodeBitmap({ unavailable, inodesPerGroup }: Layout, group: number): Uint8Array | undefined {
  const used = partOf(unavailable, group, inodesPerGroup);
  if (used === 0) return undefined;
  const bitmap = new Uint8Array(blockSize);
  setBits(bitmap, 0, used);
  setBits(bitmap, inodesPerGroup, blocksPerGroup);
  return bitmap;
}

function setBits(bitmap: Uint8Array, from: number, to: number): void {
  for (let bit = from; bit < to; bit++) {
    if (bit % 8 === 0 && to - bit >= 8) {
      bitmap.fill(0xff, bit >> 3, to >> 3);
      bit = (to & ~7) - 1;
    } else {
      bitmap[bit >> 3] = (bitmap[bit >> 3] ?? 0) | (1 << (bit & 7));
    }
  }
}

/** struct ext4_super_block. */
function superblock(layout: Layout, uuid: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(1024);
  const inodes = layout.groups * layout.inodesPerGroup;
  bytes.writeUInt32LE(inodes, 0x00);
  bytes.writeUInt32LE(layout.blocks, 0x04);
  bytes.writeUInt32LE(layout.blocks - layout.firstFree, 0x0c);
  bytes.writeUInt32LE(inodes - layout.unavailable, 0x10);
  bytes.writeUInt32LE(Math.log2(blockSize / 1024), 0x18);
  bytes.writeUInt32LE(Math.log2(blockSize / 1024), 0x1c); // clusters
  bytes.writeUInt32LE(blocksPerGroup, 0x20);
  bytes.writeUInt32LE(blocksPerGroup, 0x24);
  bytes.writeUInt32LE(layout.inodesPerGroup, 0x28);
  bytes.writeUInt16LE(0xffff, 0x36); // mounts before a check: never
  bytes.writeUInt16LE(0xef53, 0x38);
  bytes.writeUInt16LE(1, 0x3a); // clean
  bytes.writeUInt16LE(1, 0x3c); // errors: go on
  bytes.writeUInt32LE(1, 0x4c); // revision, with inodes of any size
  bytes.writeUInt32LE(layout.unavailable + 1, 0x54); // first inode that is not reserved
  bytes.writeUInt16LE(inodeSize, 0x58);
  bytes.writeUInt32LE(sum(compatible), 0x5c);
  bytes.writeUInt32LE(sum(incompatible), 0x60);
  bytes.writeUInt32LE(sum(readOnlyCompatible), 0x64);
  bytes.set(uuid, 0x68);
  bytes.write('tscontain', 0x78, 'latin1');
  bytes.set(uuid, 0xec); // hash seed
  bytes.writeUInt8(1, 0xfc); // hash of directories: half MD4
  bytes.writeUInt16LE(descriptorSize, 0xfe);
  bytes.writeUInt32LE(0x0c, 0x100); // mounted with user_xattr and acl
  bytes.writeUInt16LE(32, 0x15c); // least and wanted part of an inode beyond 128 bytes
  bytes.writeUInt16LE(32, 0x15e);
  bytes.writeUInt32LE(2, 0x160); // hashes of names are of unsigned bytes
  bytes.writeUInt8(4, 0x174); // 16 groups are allocated from as one
  return bytes;
}

function sum(flags: Readonly<Record<string, number>>): number {
  return Object.values(flags).reduce((all, flag) => all | flag, 0);
}

/** struct ext4_group_desc, one for each group. */
function groupDescriptors(layout: Layout, uuid: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(layout.groups * descriptorSize);
  const start = crc16(0xffff, uuid);
  for (let group = 0; group < layout.groups; group++) {
    const at = group * descriptorSize;
    const inodesUsed = partOf(layout.unavailable, group, layout.inodesPerGroup);
    const inodesFree = layout.inodesPerGroup - inodesUsed;
    const initialised = inodesUsed > 0 ? 0 : groupFlag.INODE_UNINIT;
    const blocks = blockBitmap(layout, group) ? 0 : groupFlag.BLOCK_UNINIT;
    bytes.writeUInt32LE(layout.blockBitmaps + group, at);
    bytes.writeUInt32LE(layout.inodeBitmaps + group, at + 4);
    bytes.writeUInt32LE(layout.inodeTables + group * layout.tableBlocks, at + 8);
    bytes.writeUInt16LE(blocksOf(layout, group) - partOf(layout.firstFree, group, blocksPerGroup), at + 12);
    bytes.writeUInt16LE(inodesFree, at + 14);
    bytes.writeUInt16LE(group === 0 ? 1 : 0, at + 16); // directories
    bytes.writeUInt16LE(initialised | blocks | groupFlag.INODE_ZEROED, at + 18);
    bytes.writeUInt16LE(inodesFree, at + 28); // inodes at the end of the table that were never used
    bytes.writeUInt16LE(descriptorSum(bytes.subarray(at, at + 30), group, start), at + 30);
  }
  return bytes;
}

/** Over the file system's UUID (what `start` is the sum of), the group's number, and the descriptor. */
function descriptorSum(descriptor: Uint8Array, group: number, start: number): number {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(group);
  return crc16(crc16(start, number), descriptor);
}

/** CRC-16 with the polynomial x16 + x15 + x2 + 1, lowest bit first, of each byte. */
const crcTable = Uint16Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >> 1) ^ 0xa001 : sum >> 1;
  return sum;
});

function crc16(start: number, bytes: Uint8Array): number {
  let sum = start;
  for (const byte of bytes) sum = (sum >> 8) ^ (crcTable[(sum ^ byte) & 0xff] ?? 0);
  return sum;
}

/** struct ext4_inode of the root directory: root's, mode 0755, one block, which its extent names. */
function rootDirectoryInode(layout: Layout): Uint8Array {
  const bytes = Buffer.alloc(inodeSize);
  bytes.writeUInt16LE(0o040755, 0x00);
  bytes.writeUInt32LE(blockSize, 0x04);
  bytes.writeUInt16LE(2, 0x1a); // links
  bytes.writeUInt32LE(blockSize / 512, 0x1c);
  bytes.writeUInt32LE(0x80000, 0x20); // has extents
  bytes.writeUInt16LE(0xf30a, 0x28); // header: magic number, entries in use, room for entries
  bytes.writeUInt16LE(1, 0x2a);
  bytes.writeUInt16LE(4, 0x2c);
  bytes.writeUInt16LE(1, 0x38); // the extent: how long, where
  bytes.writeUInt32LE(layout.rootBlock, 0x3c);
  bytes.writeUInt16LE(32, 0x80);
  return bytes;
}

function rootDirectory(): Uint8Array {
  const bytes = Buffer.alloc(blockSize);
  const entry = (at: number, length: number, name: string) => {
    bytes.writeUInt32LE(rootInode, at);
    bytes.writeUInt16LE(length, at + 4);
    bytes.writeUInt8(name.length, at + 6);
    bytes.writeUInt8(2, at + 7); // a directory
    bytes.write(name, at + 8, 'latin1');
  };
  entry(0, 12, '.');
  entry(12, blockSize - 12, '..');
  return bytes;
}
