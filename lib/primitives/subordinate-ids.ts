/**
 * Who may use which ids besides his own: /etc/subuid and /etc/subgid (subuid(5)), with the account that they are granted to.
 * Parsed strictly: a line that is not understood could be the one that matters.
 */

import { readFileSync } from 'node:fs';
import { OptionError, TscontainError } from '../errors.js';

/** What is known of a user from /etc/passwd. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Ids that are granted. */
export interface GrantedRange {
  readonly first: number;
  readonly count: number;
}

const noId = 2 ** 32 - 1;
const mostFile = 2 ** 20;

/**
 * The account of a name or of a number.
 * @throws OptionError where /etc/passwd has none
 */
export function readAccount(user: string | number, text = readFile('/etc/passwd')): Account {
  const byNumber = typeof user === 'number';
  if (!byNumber && typeof user !== 'string') throw new OptionError('user', 'a user name or number', user);
  for (const line of text.split('\n')) {
    const [name = '', , uid = '', gid = ''] = line.split(':');
    if (byNumber ? uid !== String(user) : name !== user) continue;
    if (/^\d{1,10}$/.test(uid) && /^\d{1,10}$/.test(gid)) return { name, uid: Number(uid), gid: Number(gid) };
  }
  throw new OptionError('user', 'a user that /etc/passwd has', user);
}

/** The ranges that a file grants the account, by name or by number, in the file's order. */
export function subordinateRanges(path: string, account: Account, text = readFile(path)): readonly GrantedRange[] {
  const ranges: GrantedRange[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (line === '' || line.startsWith('#')) continue;
    const [, owner, first, count] = /^([^:\s]+):(\d{1,10}):(\d{1,10})$/.exec(line) ?? [];
    const range = { first: Number(first), count: Number(count) };
    if (owner === undefined || range.count === 0 || range.first + range.count > noId) {
      throw new TscontainError(
        'ERR_SUBORDINATE_IDS',
        `${path}: line ${index + 1} is not of the form name:first:count, with ids below ${noId}: ${line.slice(0, 80)}`,
        { path, hint: 'see subuid(5)' },
      );
    }
    if (owner === account.name || owner === String(account.uid)) ranges.push(range);
  }
  if (ranges.length === 0) {
    throw new TscontainError('ERR_SUBORDINATE_IDS', `${path} grants ${account.name} (${account.uid}) no ids`, {
      path,
      hint: `as root: usermod --add-sub${path.endsWith('gid') ? 'gid' : 'uid'}s 100000-165535 ${account.name}`,
    });
  }
  return ranges;
}

function readFile(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new TscontainError('ERR_SUBORDINATE_IDS', `${path} cannot be read`, { path, cause });
  }
  if (text.length > mostFile) throw new TscontainError('ERR_SUBORDINATE_IDS', `${path} is larger than 1 MiB`, { path });
  return text;
}
