/**
 * Id maps of user namespaces: which user or group inside stands for which outside. {@link IdMap} is an immutable list of
 * ranges that the kernel would take, checked by its own rules (user_namespaces(7)) before anything is written.
 */

import { readFileSync } from 'node:fs';
import { OptionError, TscontainError } from '../errors.js';
import { type Account, readAccount, subordinateRanges } from './subordinate-ids.js';

/** `count` ids from `inside` on stand for as many from `outside` on. */
export interface IdRange {
  readonly inside: number;
  readonly outside: number;
  readonly count: number;
}

/** The two maps of a user namespace. */
export interface IdMaps {
  readonly uid: IdMap;
  readonly gid: IdMap;
}

/** UID_GID_MAP_MAX_EXTENTS, since Linux 4.15. */
const mostRanges = 340;
/** A map is written at once, and the kernel takes less than a page (4 KiB at least). */
const mostText = 4095;
/** (uid_t) -1 means "no id", and is never mapped. */
const noId = 2 ** 32 - 1;

/**
 * An id map, its ranges in ascending order of the ids inside, neighbours joined. Iterates over the ranges.
 *
 * @example
 * ```ts
 * const map = IdMap.of({ inside: 0, outside: 100_000, count: 65_536 });
 * map.toOutside(33); // 100033
 * String(map); // '0 100000 65536\n', as /proc/<pid>/uid_map takes it
 * ```
 *
 * @see https://man7.org/linux/man-pages/man7/user_namespaces.7.html
 */
export class IdMap implements Iterable<IdRange> {
  /** Every id stands for itself, as in the first user namespace. */
  static readonly identity = IdMap.of({ inside: 0, outside: 0, count: noId });

  readonly ranges: readonly IdRange[];

  private constructor(ranges: readonly IdRange[]) {
    this.ranges = Object.freeze(join(ranges));
    Object.freeze(this);
  }

  /**
   * The map of these ranges.
   * @throws OptionError where the kernel would refuse them: overlaps on either side, ids beyond 4294967294, no range at all,
   *   more than 340 of them or more than 4095 bytes of text
   */
  static of(...ranges: readonly IdRange[]): IdMap {
    return IdMap.from(ranges, 'ranges');
  }

  /**
   * The map that an option describes: a list of ranges, or a map already made.
   * @param option the option's path, for the error's text
   * @throws OptionError naming the range, such as `idMap[1].count`
   */
  static from(ranges: IdMap | Iterable<IdRange>, option = 'idMap'): IdMap {
    if (ranges instanceof IdMap) return ranges;
    if (typeof ranges !== 'object' || ranges === null || !(Symbol.iterator in ranges)) {
      throw new OptionError(option, 'a list of ranges such as [{ inside: 0, outside: 100000, count: 65536 }]', ranges);
    }
    const checked: IdRange[] = [];
    for (const range of ranges) {
      if (checked.length === mostRanges) throw new OptionError(option, `at most ${mostRanges} ranges`, ranges);
      checked.push(readRange(range, `${option}[${checked.length}]`));
    }
    if (checked.length === 0) throw new OptionError(option, 'at least one range', ranges);
    refuseOverlap(checked, 'inside', option);
    refuseOverlap(checked, 'outside', option);
    const map = new IdMap(checked);
    if (String(map).length > mostText) {
      throw new OptionError(option, `ranges that are at most ${mostText} bytes of text`, ranges, {
        hint: 'the kernel takes less than a page',
      });
    }
    return map;
  }

  /**
   * The map that text in the kernel's format describes, such as the contents of `/proc/<pid>/uid_map`.
   * @throws OptionError at a line that is none
   */
  static parse(text: string, option = 'text'): IdMap {
    if (typeof text !== 'string') throw new OptionError(option, 'lines of three numbers', text);
    const ranges = text.split('\n').flatMap((line) => {
      if (line.trim() === '') return [];
      const match = /^\s*(\d{1,10})\s+(\d{1,10})\s+(\d{1,10})\s*$/.exec(line);
      if (!match) throw new OptionError(option, 'lines of three numbers', line);
      return [{ inside: Number(match[1]), outside: Number(match[2]), count: Number(match[3]) }];
    });
    return IdMap.from(ranges, option);
  }

  /**
   * The maps of a process's user namespace, as they are seen from the one of this process.
   * @throws TscontainError (`ERR_ID_MAP`) where there is no such process, or its namespace has no map yet
   */
  static ofProcess(pid: number | 'self'): IdMaps {
    if (pid !== 'self' && !(Number.isSafeInteger(pid) && pid > 0)) {
      throw new OptionError('pid', "a process id, or 'self'", pid);
    }
    const read = (file: string): IdMap => {
      const path = `/proc/${pid}/${file}`;
      try {
        return IdMap.parse(readFileSync(path, 'utf8'), path);
      } catch (cause) {
        const { code } = cause as NodeJS.ErrnoException;
        const reason = code === 'ERR_OPTION' ? 'the user namespace has none yet' : code;
        throw new TscontainError('ERR_ID_MAP', `the id map ${path} could not be read: ${reason}`, { path, cause });
      }
    };
    return Object.freeze({ uid: read('uid_map'), gid: read('gid_map') });
  }

  /**
   * Maps for a user's own namespaces, of what /etc/subuid and /etc/subgid grant: root inside is the user, and the ids from 1
   * on are the subordinate ones. Writing such a map takes root, or newuidmap(1).
   * @param user a name or a number; default this process's
   * @param root `'subordinate'` makes root inside the first subordinate id, so that the user is not mapped. Default `'self'`
   * @throws OptionError for a user that /etc/passwd does not know; TscontainError (`ERR_SUBORDINATE_IDS`) for files that
   *   cannot be understood, or grant nothing
   */
  static subordinate(
    user: string | number = process.geteuid?.() ?? 0,
    { root = 'self' }: { readonly root?: 'self' | 'subordinate' } = {},
  ): IdMaps {
    if (root !== 'self' && root !== 'subordinate') throw new OptionError('root', "'self' or 'subordinate'", root);
    const account = readAccount(user);
    return Object.freeze({
      uid: granted('/etc/subuid', account, root === 'self' ? account.uid : undefined),
      gid: granted('/etc/subgid', account, root === 'self' ? account.gid : undefined),
    });
  }

  /** What an id inside is outside; undefined where it is not mapped. */
  toOutside(id: number): number | undefined {
    return translate(this.ranges, 'inside', 'outside', id);
  }

  /** What an id outside is inside; undefined where it is not mapped (the kernel shows 65534 then). */
  toInside(id: number): number | undefined {
    return translate(this.ranges, 'outside', 'inside', id);
  }

  /** The map the other way. */
  invert(): IdMap {
    return new IdMap(this.ranges.map(({ inside, outside, count }) => ({ inside: outside, outside: inside, count })));
  }

  /**
   * The map of a namespace within a namespace: this one is the inner one's, `outer` that of the namespace around it. Ids that
   * `outer` does not have are not mapped, so the result may be without ranges.
   */
  compose(outer: IdMap): IdMap {
    const ranges = this.ranges.flatMap((inner) =>
      outer.ranges.flatMap((around) => {
        const first = Math.max(inner.outside, around.inside);
        const end = Math.min(inner.outside + inner.count, around.inside + around.count);
        if (first >= end) return [];
        return [
          {
            inside: inner.inside + first - inner.outside,
            outside: around.outside + first - around.inside,
            count: end - first,
          },
        ];
      }),
    );
    return new IdMap(ranges);
  }

  /** Whether both map each id to the same one. */
  equals(other: IdMap): boolean {
    return String(this) === String(other);
  }

  /** How many ids are mapped. */
  get size(): number {
    return this.ranges.reduce((sum, { count }) => sum + count, 0);
  }

  /** A line for each range, `inside outside count`: what is written to `uid_map` and `gid_map`. */
  toString(): string {
    return this.ranges.map(({ inside, outside, count }) => `${inside} ${outside} ${count}\n`).join('');
  }

  toJSON(): readonly IdRange[] {
    return this.ranges;
  }

  [Symbol.iterator](): Iterator<IdRange> {
    return this.ranges[Symbol.iterator]();
  }
}

function readRange(range: unknown, option: string): IdRange {
  if (typeof range !== 'object' || range === null) {
    throw new OptionError(option, 'a range { inside, outside, count }', range);
  }
  for (const key of Reflect.ownKeys(range)) {
    if (key === 'inside' || key === 'outside' || key === 'count') continue;
    throw new OptionError(`${option}.${String(key)}`, 'a known option', Reflect.get(range, key), {
      hint: 'a range has inside, outside and count',
    });
  }
  const read = (key: keyof IdRange, least: number): number => {
    const value: unknown = Reflect.get(range, key);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > noId) {
      throw new OptionError(`${option}.${key}`, `a whole number from ${least} to ${noId}`, value);
    }
    return value;
  };
  const checked = { inside: read('inside', 0), outside: read('outside', 0), count: read('count', 1) };
  for (const side of ['inside', 'outside'] as const) {
    if (checked[side] + checked.count <= noId) continue;
    throw new OptionError(
      `${option}.count`,
      `at most ${noId - checked[side]} ids from ${side} ${checked[side]} on`,
      checked.count,
    );
  }
  return Object.freeze(checked);
}

function refuseOverlap(ranges: readonly IdRange[], side: 'inside' | 'outside', option: string): void {
  const order = ranges.map((_, index) => index).sort((a, b) => (ranges[a]?.[side] ?? 0) - (ranges[b]?.[side] ?? 0));
  let end = 0;
  for (const index of order) {
    const range = ranges[index];
    if (!range) continue;
    if (range[side] < end) {
      throw new OptionError(`${option}[${index}].${side}`, `ids ${side} that no other range has`, range[side]);
    }
    end = range[side] + range.count;
  }
}

/** Ascending by the ids inside; ranges that continue each other on both sides become one. */
function join(ranges: readonly IdRange[]): IdRange[] {
  const joined: IdRange[] = [];
  for (const range of [...ranges].sort((a, b) => a.inside - b.inside)) {
    const last = joined.at(-1);
    if (last && last.inside + last.count === range.inside && last.outside + last.count === range.outside) {
      joined[joined.length - 1] = Object.freeze({ ...last, count: last.count + range.count });
    } else {
      joined.push(Object.freeze({ ...range }));
    }
  }
  return joined;
}

type Side = 'inside' | 'outside';

function translate(ranges: readonly IdRange[], from: Side, to: Side, id: number): number | undefined {
  const range = ranges.find((candidate) => id >= candidate[from] && id < candidate[from] + candidate.count);
  return range && Number.isInteger(id) ? range[to] + id - range[from] : undefined;
}

/** What a file grants the account, one range after another from 1 on, or from 0 where there is no id of one's own. */
function granted(path: string, account: Account, own: number | undefined): IdMap {
  const ranges: IdRange[] = own === undefined ? [] : [{ inside: 0, outside: own, count: 1 }];
  let inside = ranges.length;
  for (const { first, count } of subordinateRanges(path, account)) {
    ranges.push({ inside, outside: first, count });
    inside += count;
  }
  return IdMap.from(ranges, path);
}
