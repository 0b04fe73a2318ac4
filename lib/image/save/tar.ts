/**
 * Archives that images are saved in: regular files and directories with short names, one form for the same content (no times,
 * no owners). POSIX ustar; a file of 8 GiB or more has its size in a pax header (pax(1)).
 */

/** One file or directory of an archive. */
export interface ArchiveEntry {
  /** At most 100 bytes of ASCII; a directory's ends with a slash. */
  readonly name: string;
  /** Bytes; 0 for a directory. */
  readonly size: number;
  /** Exactly `size` bytes. */
  readonly content: AsyncIterable<Uint8Array> | Uint8Array;
}

const block = 512;
/** Eleven octal digits. */
const largestSize = 8 ** 11 - 1;

export async function* tarArchive(
  entries: AsyncIterable<ArchiveEntry> | Iterable<ArchiveEntry>,
): AsyncGenerator<Uint8Array, void> {
  for await (const { name, size, content } of entries) {
    yield entryHeader(name, size);
    let written = 0;
    for await (const part of content instanceof Uint8Array ? [content] : content) {
      written += part.length;
      if (written > size) break;
      yield part;
    }
    if (written !== size) throw new RangeError(`${name}: ${written} bytes where ${size} were announced`);
    if (size % block !== 0) yield Buffer.alloc(block - (size % block));
  }
  // Two blocks of zeros, filled up to what tar writes at once.
  yield Buffer.alloc(20 * block);
}

/** The header of an entry, with a pax header before it where its size needs one. */
export function entryHeader(name: string, size: number): Buffer {
  if (size <= largestSize) return header(name, size, name.endsWith('/') ? '5' : '0');
  const record = paxRecord('size', String(size));
  const body = Buffer.alloc(Math.ceil(record.length / block) * block);
  body.write(record, 'ascii');
  return Buffer.concat([header('pax', record.length, 'x'), body, header(name, 0, '0')]);
}

/** `length key=value\n`, where the length counts itself. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (`${length}${rest}`.length !== length) length++;
  return `${length}${rest}`;
}

function header(name: string, size: number, type: '0' | '5' | 'x'): Buffer {
  if (!/^[\x21-\x7e]{1,100}$/.test(name)) throw new RangeError(`no name for an archive of an image: ${name}`);
  const bytes = Buffer.alloc(block);
  const octal = (value: number, at: number, length: number) =>
    bytes.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'ascii');
  bytes.write(name, 0, 'ascii');
  octal(type === '5' ? 0o755 : 0o644, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  bytes.fill(' ', 148, 156);
  bytes.write(type, 156, 'ascii');
  bytes.write('ustar\0', 257, 'ascii');
  bytes.write('00', 263, 'ascii');
  octal(0, 329, 8);
  octal(0, 337, 8);
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'ascii');
  return bytes;
}
