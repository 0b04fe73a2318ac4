/**
 * What was changed through an overlay, told apart from what is only noted there: the tree as it is seen now is compared with
 * the tree of the lower layers alone, both through the kernel, which understands its own whiteouts, redirects and
 * metadata-only copies. The upper layer says only where to look.
 */

import { addon, type Descriptor } from '../../launcher/native.js';
import { decodeRecords } from '../../launcher/wire.js';

/** A kind of file (inode(7)). */
export type FileType = 'file' | 'directory' | 'symlink' | 'fifo' | 'socket' | 'character' | 'block';

/** A difference between an overlay and its lower layers. */
export interface OverlayChange {
  /**
   * - `'added'`: nothing was there.
   * - `'modified'`: something was, and its type, content, owner, permissions, attributes or, other than for directories, time
   *   of modification is different.
   * - `'deleted'`: it is not there any more, nor what was in it.
   * - `'opaque'`: a directory was, and another is there in its place; all that is in it follows, as `'added'`.
   */
  readonly kind: 'added' | 'modified' | 'deleted' | 'opaque';
  /** Where in the overlay, beginning with `/`. Bytes that are not UTF-8 are shown as U+FFFD: use `bytes` to name the file. */
  readonly path: string;
  /** The path as the kernel has it. */
  readonly bytes: Buffer;
  /** What it is; for `'deleted'`, what it was. */
  readonly type: FileType;
  /** For `'modified'`: type and content are the same, only what is known about the file differs. Else false. */
  readonly metadataOnly: boolean;
}

/** A directory that was there before and is there now, as far as one can tell whether it is the same one. */
export interface DirectoryIdentity {
  readonly sameInode: boolean;
  /** When the one that is there now was made, in microseconds since 1970; 0 where that is not known. */
  readonly born: number;
}

/** Three looks at the same tree. */
export interface LayerViews {
  /**
   * The upper layer as it is on its file system. Where the tree is no overlay there is none: all of it is compared then, and
   * the function tells which directories are not the ones that were there.
   */
  readonly upper: Descriptor | ((directory: DirectoryIdentity) => boolean);
  readonly merged: Descriptor;
  /** The lower layers alone. */
  readonly below: Descriptor;
  /** Of the attributes in which the overlay has its notes. */
  readonly prefix: string;
  /**
   * Whether the overlay has an index: a lower file with several names changes under all of them then, and only one is in the
   * upper layer. So every directory is looked into.
   */
  readonly index: boolean;
}

interface Directory {
  /** Relative to the root; empty for it. */
  readonly path: Buffer;
  /** All of it is new: nothing to compare with. */
  readonly added: boolean;
}

const mark = { OPAQUE: 1, REDIRECT: 2 } as const;
const S_IFMT = 0o170000;
const types: ReadonlyMap<number, FileType> = new Map([
  [0o100000, 'file'],
  [0o040000, 'directory'],
  [0o120000, 'symlink'],
  [0o010000, 'fifo'],
  [0o140000, 'socket'],
  [0o020000, 'character'],
  [0o060000, 'block'],
]);
const slash = Buffer.from('/');

/**
 * A directory comes before what is in it. In memory are the names of directories yet to be looked into, a few hundred entries
 * and, with an index, the names of one directory; files are read on another thread.
 */
export async function* layerChanges(views: LayerViews): AsyncGenerator<OverlayChange, void, undefined> {
  const pending: Directory[] = [{ path: Buffer.alloc(0), added: false }];
  for (let directory = pending.pop(); directory; directory = pending.pop()) {
    const inner: Directory[] = [];
    for await (const entry of entries(views, directory)) {
      const path = directory.path.length === 0 ? entry.name : Buffer.concat([directory.path, slash, entry.name]);
      const { change, descend } = compare(entry, path);
      if (change) yield change;
      if (descend) inner.push({ path, added: directory.added || descend === 'added' });
    }
    pending.push(...inner.reverse());
  }
}

/** One name, as it is and as it was; a mode of 0 says that it is not, or was not, there. */
interface Entry extends DirectoryIdentity {
  readonly name: Buffer;
  readonly marks: number;
  readonly now: Facts;
  readonly before: Facts;
  readonly sameContent: boolean;
  readonly sameAttributes: boolean;
  readonly sameTime: boolean;
}

interface Facts {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

async function* entries(views: LayerViews, directory: Directory): AsyncGenerator<Entry, void, undefined> {
  const { upper, below, index } = views;
  if (directory.added) return yield* list(views, directory.path, undefined, undefined);
  const whole = typeof upper === 'function';
  if (!whole && !index) return yield* list(views, directory.path, upper, below);
  const told = new Set<string>();
  // Of a tree without an upper layer: what was there, and then what else is.
  for await (const entry of list(views, directory.path, whole ? below : upper, below)) {
    told.add(entry.name.toString('latin1'));
    yield whole ? { ...entry, marks: upper(entry) ? mark.OPAQUE : 0 } : entry;
  }
  for await (const entry of list(views, directory.path, undefined, below)) {
    if (!told.has(entry.name.toString('latin1'))) yield entry;
  }
}

/** The names of the upper layer's directory, or without it of the merged one. */
async function* list(
  { merged, prefix }: LayerViews,
  path: Buffer,
  upper: Descriptor | undefined,
  below: Descriptor | undefined,
): AsyncGenerator<Entry, void, undefined> {
  let rest: Descriptor | undefined;
  try {
    do {
      const batch = await addon().readLayer(rest, upper, merged, below, path, prefix);
      rest?.close();
      rest = batch.rest;
      for (const { ints, blobs } of decodeRecords(batch.records)) yield toEntry(ints, blobs[0] ?? Buffer.alloc(0));
    } while (rest);
  } finally {
    if (rest?.open) rest.close();
  }
}

function toEntry(ints: readonly number[], name: Buffer): Entry {
  const [marks = 0, mode = 0, uid = 0, gid = 0, oldMode = 0, oldUid = 0, oldGid = 0, ...comparisons] = ints;
  const [content, attributes, time, inode, born = 0] = comparisons;
  return {
    name,
    marks,
    now: { mode, uid, gid },
    before: { mode: oldMode, uid: oldUid, gid: oldGid },
    sameContent: content === 1,
    sameAttributes: attributes === 1,
    sameTime: time === 1,
    sameInode: inode === 1,
    born,
  };
}

interface Comparison {
  readonly change?: OverlayChange;
  /** Whether it is a directory to look into, and whether all in it is new. */
  readonly descend?: 'added' | 'compared';
}

function compare({ marks, now, before, sameContent, sameAttributes, sameTime }: Entry, relative: Buffer): Comparison {
  const bytes = Buffer.concat([slash, relative]);
  const make = (kind: OverlayChange['kind'], metadataOnly = false): OverlayChange => ({
    kind,
    path: bytes.toString(),
    bytes,
    type: typeOf(kind === 'deleted' ? before.mode : now.mode),
    metadataOnly,
  });
  if (now.mode === 0) return before.mode === 0 ? {} : { change: make('deleted') };
  const isDirectory = typeOf(now.mode) === 'directory';
  const whole = isDirectory ? ({ descend: 'added' } as const) : {};
  if (before.mode === 0) return { change: make('added'), ...whole };
  if (typeOf(now.mode) !== typeOf(before.mode)) return { change: make('modified'), ...whole };
  const sameFacts = now.mode === before.mode && now.uid === before.uid && now.gid === before.gid && sameAttributes;
  if (isDirectory) {
    if (marks & (mark.OPAQUE | mark.REDIRECT)) return { change: make('opaque'), ...whole };
    return { ...(!sameFacts && { change: make('modified', true) }), descend: 'compared' };
  }
  return sameFacts && sameContent && sameTime ? {} : { change: make('modified', sameContent) };
}

function typeOf(mode: number): FileType {
  return types.get(mode & S_IFMT) ?? 'file';
}
