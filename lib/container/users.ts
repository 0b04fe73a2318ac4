/**
 * Who a process runs as. Names are looked up in the container's own passwd(5) and group(5), numbers never are. The files
 * come from an image and are not trusted: sizes and numbers are bounded, and a line that is not well formed is no entry.
 */

import { OptionError } from '../errors.js';
import type { ProcessIdentity } from './plan/process.js';
import { largestHostId } from './settings/user.js';
import type { UserSpec } from './settings.js';

export interface UserFiles {
  readonly passwd: string;
  readonly group: string;
}

export interface ResolvedUser extends ProcessIdentity {
  readonly home: string;
}

/** Bytes of a user file that are read at most. */
export const maxUserFile = 2 ** 20;

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
  const gid = spec.group === undefined ? ownGroup : groupId(spec.group, groups, owner, id);
  const member = groups
    .filter((fields) => (fields[3] ?? '').split(',').includes(spec.user))
    .map((fields) => id(fields[2]))
    .filter((value) => value !== undefined);
  return {
    uid,
    gid,
    groups: [...new Set([gid, ...(spec.group === undefined ? member : [])])],
    home: account[5] || '/',
  };
}

function groupId(
  group: string | number,
  groups: readonly string[][],
  owner: string,
  id: (text: string | undefined) => number | undefined,
): number {
  if (typeof group === 'number') return group;
  const gid = id(groups.find((fields) => fields[0] === group)?.[2]);
  if (gid === undefined) throw new OptionError('user', `a group in the ${owner}'s /etc/group`, group);
  return gid;
}

function entries(text: string): string[][] {
  return text.split('\n').map((line) => line.split(':'));
}

function readId(text: string | undefined, largest: number): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= largest ? value : undefined;
}
