/**
 * Who a process runs as. Names are looked up in the container's own passwd(5) and group(5); numbers are where an image says
 * them, and never where a caller does. The files come from an image and are not trusted: sizes and numbers are bounded, and a
 * line that is not well formed is no entry.
 */

import { ImageError, OptionError } from '../errors.js';
import type { ProcessIdentity } from './plan/process.js';
import { type ImageUser, largestHostId } from './settings/user.js';
import type { UserSpec } from './settings.js';

export interface UserFiles {
  readonly passwd: string;
  readonly group: string;
}

export interface ResolvedUser extends ProcessIdentity {
  readonly home: string;
}

const maxId = 65535;

/** The identity of a user given by numbers: that group only, no lookup. */
export function numericUser(spec: Extract<UserSpec, { kind: 'ids' }>): ResolvedUser {
  return { uid: spec.uid, gid: spec.gid, groups: [spec.gid], home: spec.uid === 0 ? '/root' : '/' };
}

/**
 * The identity of a user given by name, with its supplementary groups.
 * @throws OptionError where the container has no such user or group
 */
export function namedUser(
  spec: Extract<UserSpec, { kind: 'name' }>,
  files: UserFiles,
  owner: 'container' | 'host' = 'container',
): ResolvedUser {
  const largest = owner === 'container' ? maxId : largestHostId;
  const id = (text: string | undefined) => readId(text, largest);
  const account = entries(files.passwd).find((fields) => fields[0] === spec.user);
  const uid = id(account?.[2]);
  const ownGroup = id(account?.[3]);
  if (!account || uid === undefined || ownGroup === undefined) {
    throw new OptionError('user', `the name of a user in the ${owner}'s /etc/passwd`, spec.user);
  }
  const groups = entries(files.group);
  if (spec.group === undefined) {
    return { uid, gid: ownGroup, groups: withMemberships(ownGroup, spec.user, groups, id), home: homeOf(account) };
  }
  const gid = groupId(spec.group, groups, id);
  if (gid === undefined) throw new OptionError('user', `a group in the ${owner}'s /etc/group`, spec.group);
  return { uid, gid, groups: [gid], home: homeOf(account) };
}

/**
 * The identity of the user that an image names, as Docker finds it. A number is the id, whatever the files say: where there is
 * an account of that id, its groups and its home are taken, else group 0 and `/`.
 * @throws ImageError `ERR_CONFIG` where the image has no such user or group
 */
export function imageUser({ user, group }: ImageUser, files: UserFiles): ResolvedUser {
  const id = (text: string | undefined) => readId(text, maxId);
  const account = entries(files.passwd).find(
    (fields) => (typeof user === 'number' ? id(fields[2]) : fields[0]) === user,
  );
  const uid = typeof user === 'number' ? user : id(account?.[2]);
  const ownGroup = account ? id(account[3]) : 0;
  if (uid === undefined || ownGroup === undefined)
    throw notInImage(`account ${user} in /etc/passwd, with ids up to 65535`);
  const groups = entries(files.group);
  const home = account ? homeOf(account) : '/';
  if (group === undefined) {
    const name = account?.[0];
    return { uid, gid: ownGroup, groups: name ? withMemberships(ownGroup, name, groups, id) : [ownGroup], home };
  }
  const gid = groupId(group, groups, id);
  if (gid === undefined) throw notInImage(`group ${group} in /etc/group, with an id up to 65535`);
  return { uid, gid, groups: [gid], home };
}

function notInImage(what: string): ImageError {
  const hint = 'give the option user, as numbers';
  return new ImageError('ERR_CONFIG', `User of the image is not to be had: it has no ${what}`, { hint });
}

type ReadId = (text: string | undefined) => number | undefined;

function groupId(group: string | number, groups: readonly string[][], id: ReadId): number | undefined {
  return typeof group === 'number' ? group : id(groups.find((fields) => fields[0] === group)?.[2]);
}

/** The group with those that have the user as a member. */
function withMemberships(gid: number, user: string, groups: readonly string[][], id: ReadId): readonly number[] {
  const member = groups
    .filter((fields) => (fields[3] ?? '').split(',').includes(user))
    .map((fields) => id(fields[2]))
    .filter((value) => value !== undefined);
  return [...new Set([gid, ...member])];
}

/** It becomes a variable: what is no path would be several variables, or too long to start a program with. */
function homeOf(account: readonly string[]): string {
  const home = account[5] ?? '';
  return home === '' || home.length > longestHome || /\p{Cc}/u.test(home) ? '/' : home;
}

const longestHome = 4095;

/** Lines without a colon have no fields; of a hostile file they may be a million. */
function entries(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line.includes(':'))
    .map((line) => line.split(':'));
}

function readId(text: string | undefined, largest: number): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= largest ? value : undefined;
}
