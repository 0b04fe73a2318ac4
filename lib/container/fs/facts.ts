/** What is known of a container's files: stat(2), and the entries of directories. Both are read as untrusted data. */

/** Facts about a file (inode(7)). Sizes in bytes, times in milliseconds, ids as the container sees them. */
export interface FileStat {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtimeMs: number;
  readonly ino: number;
  readonly nlink: number;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

/** An entry of a directory; its name is a Buffer where `encoding: 'buffer'` asked for it. */
export interface DirectoryEntry<Name extends string | Buffer = string> {
  readonly name: Name;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

const S_IFMT = 0o170000;
const type = { DIRECTORY: 0o040000, FILE: 0o100000, LINK: 0o120000 } as const;
const entryType = { DIRECTORY: 4, FILE: 8, LINK: 10 } as const;
const slash = 0x2f;

export function toStat(values: readonly number[]): FileStat {
  const [mode = 0, uid = 0, gid = 0, size = 0, mtime = 0, ino = 0, nlink = 0] = values;
  const is = (kind: number) => () => (mode & S_IFMT) === kind;
  return {
    mode,
    uid,
    gid,
    size,
    mtimeMs: mtime / 1e6,
    ino,
    nlink,
    isFile: is(type.FILE),
    isDirectory: is(type.DIRECTORY),
    isSymbolicLink: is(type.LINK),
  };
}

/** The records of getdents64(2). Names come from the container: anything that is not one plain component is left out. */
export function parseEntries(data: Buffer): DirectoryEntry<Buffer>[] {
  const entries: DirectoryEntry<Buffer>[] = [];
  for (let at = 0; at + 19 <= data.length; ) {
    const length = data.readUInt16LE(at + 16);
    if (length < 19 || at + length > data.length) break;
    const end = data.indexOf(0, at + 19);
    const name = data.subarray(at + 19, end < 0 ? at + length : Math.min(end, at + length));
    if (isComponent(name)) entries.push(entryOf(name, data[at + 18]));
    at += length;
  }
  return entries;
}

/** The same entry, its name as text: what is not UTF-8 is replaced by U+FFFD. */
export function withText(entry: DirectoryEntry<Buffer>): DirectoryEntry {
  return { ...entry, name: entry.name.toString() };
}

function entryOf(name: Buffer, kind: number | undefined): DirectoryEntry<Buffer> {
  const is = (wanted: number) => () => kind === wanted;
  return {
    name,
    isFile: is(entryType.FILE),
    isDirectory: is(entryType.DIRECTORY),
    isSymbolicLink: is(entryType.LINK),
  };
}

function isComponent(name: Buffer): boolean {
  const text = name.toString('latin1');
  return text !== '' && text !== '.' && text !== '..' && !name.includes(slash);
}
