/** What bytes are that should be an archive and are none, so that an error can say what to do about it. */

import { ImageError, type ImageErrorDetails } from '../../errors.js';

const block = 512;

/** Formats by their first bytes, with what they are for. */
const formats: readonly (readonly [start: string, hint: string])[] = [
  ['\xfd7zXZ\0', 'it is compressed with xz: decompress it first; gzip and zstd are read'],
  ['BZh', 'it is compressed with bzip2: decompress it first; gzip and zstd are read'],
  ['\x04\x22\x4d\x18', 'it is compressed with lz4: decompress it first; gzip and zstd are read'],
  ['LZIP', 'it is compressed with lzip: decompress it first; gzip and zstd are read'],
  ['\x1f\x9d', 'it is compressed with compress(1): decompress it first; gzip and zstd are read'],
  ['\x1f\x8b', 'it is compressed twice, the second time with gzip'],
  ['\x28\xb5\x2f\xfd', 'it is compressed twice, the second time with zstd'],
  ['PK\x03\x04', 'it is a zip archive: unpack it, and give the directory to Image.fromDirectory'],
  ['hsqs', 'it is a squashfs: mount it, and give the directory to Image.fromDirectory'],
  ['QFI\xfb', 'it is the disk of a virtual machine (qcow2): mount it, and give the directory to Image.fromDirectory'],
  ['\x7fELF', 'it is a program'],
  ['#!', 'it is a script'],
  ['{', 'it is JSON, such as a manifest: images are archives, or directories for Image.open'],
  ['<', 'it is a page of the web, as servers send for what they have not'],
];

/**
 * Expects that a tar begins there: the sum of all bytes of a header, its own field taken as spaces (ustar, pax(1)). An archive of
 * nothing begins with zeros.
 * @param header the first 512 bytes, fewer if there are no more
 * @param what `the layer`
 * @throws ImageError `ERR_LAYER` with a hint at what it may be
 */
export function expectTar(header: Uint8Array, what: string): void {
  if (header.length === 0) throw new ImageError('ERR_LAYER', `${what} is empty`);
  if (header.length >= block) {
    const first = header.subarray(0, block);
    if (first.every((byte) => byte === 0)) return;
    const written = /^[ ]*([0-7]{1,7})[ \0]/.exec(latin1(first.subarray(148, 156)))?.[1];
    const sum = first.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 0x20 : byte), 0);
    if (written !== undefined && Number.parseInt(written, 8) === sum) return;
  }
  const start = latin1(header.subarray(0, 16));
  const hint =
    formats.find(([magic]) => start.startsWith(magic))?.[1] ??
    'a tar is expected, plain or compressed with gzip or zstd';
  throw new ImageError('ERR_LAYER', `${what} does not begin as a tar does`, { hint });
}

/** Whether a tar is one of images, by the names of its first two members: `docker save` and OCI layouts have such. */
export function beginsAsImages(start: Uint8Array): boolean {
  const name = (at: number) => latin1(start.subarray(at, at + 100)).replace(/\0.*$/s, '');
  if (/^[0-9a-f]{64}(\/|\.json$|\.tar$)/.test(name(0)) || name(0) === 'oci-layout') return true;
  return name(0) === 'blobs/' && /^blobs\/sha(256|512)\//.test(name(block));
}

/** Bytes for {@link beginsAsImages}. */
export const beginning = 2 * block;

const rootNames = new Set([
  'bin',
  'boot',
  'dev',
  'etc',
  'home',
  'lib',
  'proc',
  'root',
  'sbin',
  'usr',
  'var',
  '.dockerenv',
]);

/** The same error with a hint, where what was in an archive of images are the files of a root file system. */
export function asRootFileSystem(error: unknown, names: readonly string[]): unknown {
  if (!(error instanceof ImageError) || error.hint !== undefined) return error;
  if (error.code !== 'ERR_LAYER' && error.code !== 'ERR_NOT_FOUND') return error;
  if (names.filter((name) => rootNames.has(name)).length < 2) return error;
  const { code, message, path, errno, syscall, status } = error;
  const hint = 'it is the tar of a root file system, as of `docker export`: that is for Image.fromTar';
  const details: ImageErrorDetails = { path, errno, syscall, status, hint, cause: error };
  return new ImageError(code as `ERR_${string}`, message, details);
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}
