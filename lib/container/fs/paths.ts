/** Paths of files in a container. Text, or bytes: the kernel takes names of any bytes but NUL and `/`. */

import { OptionError } from '../../errors.js';

/** A path in the container. As bytes it may hold names that are not UTF-8. */
export type FilePath = string | Uint8Array;

/** PATH_MAX is 4096 with the NUL byte. */
const longest = 4095;
const separator = Buffer.from('/');

/** @throws OptionError for what cannot be a path in the container */
export function checkPath(path: FilePath, option = 'path'): FilePath {
  if (!isText(path) || !(typeof path === 'string' ? path.startsWith('/') : path[0] === separator[0]))
    throw new OptionError(option, 'an absolute path in the container', path);
  return path;
}

/** @throws OptionError for what a link cannot point to; everything else is the link's own matter */
export function checkTarget(target: FilePath): FilePath {
  if (!isText(target)) throw new OptionError('target', `a path of at most ${longest} bytes, without NUL`, target);
  return target;
}

/** Neither side is normalised: a link may be in the way of a `..`. */
export function joinPath(directory: FilePath, name: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(directory), separator, name]);
}

/** For messages: what is not UTF-8 is replaced. */
export function pathText(path: FilePath): string {
  return typeof path === 'string' ? path : Buffer.from(path).toString();
}

function isText(path: unknown): path is FilePath {
  if (typeof path === 'string') return !path.includes('\0') && Buffer.byteLength(path) <= longest;
  return path instanceof Uint8Array && !path.includes(0) && path.length <= longest;
}
