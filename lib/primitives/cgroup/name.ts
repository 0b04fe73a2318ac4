/**
 * The name of a cgroup that we make: one path component that is safe in every file system path, log line and
 * `/proc/PID/cgroup` entry. Only names that went through here are joined to a base directory.
 */

import { OptionError } from '../../errors.js';

/**
 * The name, unchanged, if it is one safe component: at most 64 characters, the first a letter or digit, then letters,
 * digits, `_`, `.` and `-`, and no `..` anywhere.
 * @throws OptionError naming `option`
 */
export function cgroupName(text: unknown, option: string): string {
  // `$` without the m flag still matches only at the very end in JavaScript, so a trailing newline is refused.
  if (typeof text === 'string' && /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/.test(text) && !text.includes('..')) return text;
  throw new OptionError(option, "a name of 1 to 64 characters, [A-Za-z0-9] then [A-Za-z0-9_.-], without '..'", text);
}
