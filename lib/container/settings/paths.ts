/**
 * Paths of the host and of the container. Nothing is cut or repaired: a path that the kernel would refuse, or that could
 * mean two things, is an error here.
 */

import { resolve } from 'node:path';
import { OptionError } from '../../errors.js';
import { byteLength, readText } from './schema.js';

/** PATH_MAX is 4096 with the NUL byte; NAME_MAX is 255. */
const longestPath = 4095;
const longestComponent = 255;

/** An absolute path of the host; relative ones are resolved against the current directory of this process. */
export function readHostPath(value: unknown, option: string): string {
  const text = readText(value, option, 'a path of the host');
  if (text === '') throw new OptionError(option, 'a path of the host that is not empty', value);
  const path = resolve(text);
  checkLengths(path, option, value);
  return path;
}

/**
 * An absolute path of the container without `.`, `..` or empty components; one slash at the end is dropped. The container
 * may hold links, so even a path that `..` would keep inside cannot be normalised as text.
 */
export function readContainerPath(value: unknown, option: string): string {
  const text = readText(value, option, 'an absolute path of the container');
  if (!text.startsWith('/')) throw new OptionError(option, "an absolute path of the container, such as '/job'", value);
  if (text === '/') return text;
  const path = text.endsWith('/') ? text.slice(0, -1) : text;
  checkComponents(path.slice(1), option, value);
  checkLengths(path, option, value);
  return path;
}

/** A path below another: relative, without `.`, `..` or empty components. */
export function readSubPath(value: unknown, option: string): string {
  const text = readText(value, option, 'a relative path');
  if (text === '' || text.startsWith('/')) {
    throw new OptionError(option, "a relative path below the source, such as 'data/in'", value);
  }
  checkComponents(text, option, value);
  checkLengths(text, option, value);
  return text;
}

/**
 * A working directory. Not below `/proc`, nor `/dev/fd`, which leads there: `/proc/self/fd/7` is whatever directory a
 * descriptor was left open on (CVE-2024-21626).
 */
export function readWorkingDirectory(value: unknown, option: string): string {
  const path = readContainerPath(value, option);
  if (isAtOrBelow(path, '/proc') || isAtOrBelow(path, '/dev/fd')) {
    throw new OptionError(option, 'a directory not in /proc or /dev/fd', value);
  }
  return path;
}

/** Whether `path` is `directory` or lies below it, as text. */
export function isAtOrBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

function checkComponents(path: string, option: string, value: unknown): void {
  for (const component of path.split('/')) {
    if (component === '') throw new OptionError(option, 'a path without empty components (//)', value);
    if (component === '.' || component === '..') {
      throw new OptionError(option, `a path without '${component}' components`, value);
    }
  }
}

function checkLengths(path: string, option: string, value: unknown): void {
  if (byteLength(path) > longestPath) throw new OptionError(option, `a path of at most ${longestPath} bytes`, value);
  if (path.length <= longestComponent / 4) return; // at most 3 bytes of UTF-8 for each unit of UTF-16
  for (const component of path.split('/')) {
    if (byteLength(component) > longestComponent) {
      throw new OptionError(option, `a path with components of at most ${longestComponent} bytes`, value);
    }
  }
}
