/** Archives that a caller hands over: the path of a file, or the bytes themselves as they come. */

import { open } from 'node:fs/promises';
import { AbortedError, ImageError, OptionError } from '../../errors.js';
import { readAll } from './copy.js';
import { LayoutDirectory } from './layout.js';

/** A path, or bytes: a stream of Node or the web, or anything else that yields pieces of bytes. */
export type ArchiveSource = string | AsyncIterable<Uint8Array>;

/** @throws OptionError at once for what is neither; ImageError `ERR_NOT_FOUND` later for a file that is not there */
export function readSource(source: unknown, option: string, signal?: AbortSignal): AsyncIterable<Uint8Array> {
  if (typeof source === 'string' && source !== '' && !source.includes('\0')) return readFile(source, signal);
  if (isIterable(source)) return readPieces(source, option, signal);
  throw new OptionError(option, 'the path of an archive, or a stream of its bytes', source);
}

async function* readFile(path: string, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void, undefined> {
  const file = await open(path, 'r').catch((cause: NodeJS.ErrnoException) => {
    const code = cause.code === 'ENOENT' ? 'ERR_NOT_FOUND' : 'ERR_LAYER';
    throw new ImageError(code, `${path} could not be opened: ${cause.code}`, { path, cause });
  });
  try {
    const stats = await file.stat();
    if (stats.isDirectory()) throw await directoryGiven(path);
    if (!stats.isFile()) throw new ImageError('ERR_LAYER', `${path} is no regular file`, { path });
    yield* readAll(file, signal);
  } finally {
    await file.close();
  }
}

async function directoryGiven(path: string): Promise<ImageError> {
  const hint = (await LayoutDirectory.is(path))
    ? 'it is an OCI image layout: that is for Image.open'
    : 'a directory of files is for Image.fromDirectory';
  return new ImageError('ERR_LAYER', `${path} is a directory, and no archive`, { path, hint });
}

async function* readPieces(
  source: AsyncIterable<unknown>,
  option: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of source) {
    if (signal?.aborted) throw new AbortedError('reading an archive was aborted', { cause: signal.reason });
    if (!(piece instanceof Uint8Array)) throw new OptionError(option, 'a stream of bytes', piece);
    yield piece;
  }
}

function isIterable(source: unknown): source is AsyncIterable<unknown> {
  return typeof source === 'object' && source !== null && Symbol.asyncIterator in source;
}
