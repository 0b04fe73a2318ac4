/**
 * Who a process runs as. One strict, whole-text parse: digits are an id and are never looked up as a name, so that an
 * image cannot decide by its `/etc/passwd` what a number means (CVE-2024-40635), and nothing is read up to the first
 * character that does not fit (CVE-2026-30892).
 */

import { OptionError } from '../../errors.js';

export type UserSpec =
  | { readonly kind: 'ids'; readonly uid: number; readonly gid: number }
  /** Looked up in the container's own passwd and group files. */
  | { readonly kind: 'name'; readonly user: string; readonly group?: string | number };

/**
 * Who an image says its programs run as. Unlike a caller's number, an image's is looked up, as Docker does: for its groups and
 * its home, never for another id.
 */
export interface ImageUser {
  readonly kind: 'image';
  readonly user: string | number;
  readonly group?: string | number;
}

/** A container has 65,536 ids of its own. */
const largestId = 65_535;
/** (uid_t) -1 means "no id". */
export const largestHostId = 2 ** 32 - 2;
const expected = (largest: number) => `a user name, or ids from 0 to ${largest}, such as 'nobody', 1000 or '1000:100'`;
// What shadow-utils accepts for names, in any case.
const namePattern = /^[a-z_][a-z0-9_.-]{0,31}\$?$/i;

/** The container's root, an ordinary unprivileged id on the host. */
export const rootUser: UserSpec = Object.freeze({ kind: 'ids', uid: 0, gid: 0 });

/** @param largest the highest id that there is */
export function readUser(value: unknown, option: string, largest = largestId): UserSpec {
  if (typeof value === 'number') {
    const uid = checkId(value, option, value, largest);
    return Object.freeze({ kind: 'ids', uid, gid: uid });
  }
  if (typeof value !== 'string') throw new OptionError(option, expected(largest), value);
  const colon = value.indexOf(':');
  const user = readPart(colon < 0 ? value : value.slice(0, colon), option, value, largest);
  const group = colon < 0 ? undefined : readPart(value.slice(colon + 1), option, value, largest);
  if (typeof user === 'string') return Object.freeze({ kind: 'name', user, ...(group === undefined ? {} : { group }) });
  if (typeof group === 'string') {
    throw new OptionError(option, "a numeric group beside a numeric user, such as '1000:100'", value);
  }
  return Object.freeze({ kind: 'ids', uid: user, gid: group ?? user });
}

/** `User` of an image's configuration; root where it has none. */
export function readImageUser(value: string | undefined, option: string): ImageUser {
  if (value === undefined) return imageRoot;
  const [name = '', group, more] = value.split(':', 3);
  const user = readPart(name, option, value, largestId);
  if (more !== undefined) throw new OptionError(option, expected(largestId), value);
  if (group === undefined) return Object.freeze({ kind: 'image', user });
  return Object.freeze({ kind: 'image', user, group: readPart(group, option, value, largestId) });
}

const imageRoot: ImageUser = Object.freeze({ kind: 'image', user: 0 });

/** One side of the colon: an id, or a name. */
function readPart(part: string, option: string, value: unknown, largest: number): string | number {
  if (/^\d+$/.test(part)) {
    if (part.length > 1 && part.startsWith('0')) throw new OptionError(option, 'an id without leading zeros', value);
    return checkId(Number(part), option, value, largest);
  }
  if (!namePattern.test(part)) throw new OptionError(option, expected(largest), value);
  return part;
}

function checkId(id: number, option: string, value: unknown, largest: number): number {
  if (!Number.isSafeInteger(id) || id < 0 || id > largest) {
    const hint = largest === largestId ? 'a container has 65,536 ids of its own' : undefined;
    throw new OptionError(option, `whole ids from 0 to ${largest}`, value, { hint });
  }
  return id;
}
