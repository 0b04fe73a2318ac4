import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { OptionError, TscontainError } from '../../../lib/errors.js';
import { IdMap, type IdRange } from '../../../lib/primitives/id-map.js';
import { readAccount, subordinateRanges } from '../../../lib/primitives/subordinate-ids.js';

const noId = 2 ** 32 - 1;
const range = (inside: number, outside: number, count: number): IdRange => ({ inside, outside, count });

/** xorshift32: the same numbers each time, so that a failure can be repeated. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

describe('an id map', () => {
  it('translates ids both ways, and none that it does not have', () => {
    const map = IdMap.of(range(0, 100_000, 10), range(20, 5, 2));
    expect([0, 9, 10, 20, 21, 22, 0.5, -1, Number.NaN].map((id) => map.toOutside(id))).toEqual([
      100_000,
      100_009,
      undefined,
      5,
      6,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    expect([100_003, 6, 4, 0].map((id) => map.toInside(id))).toEqual([3, 21, undefined, undefined]);
    expect(map.size).toBe(12);
  });

  it('is the kernel’s text, in order, with neighbours joined', () => {
    const map = IdMap.of(range(5, 105, 5), range(0, 100, 5), range(20, 7, 1));
    expect(String(map)).toBe('0 100 10\n20 7 1\n');
    expect(JSON.stringify(map)).toBe('[{"inside":0,"outside":100,"count":10},{"inside":20,"outside":7,"count":1}]');
    expect(IdMap.parse(String(map)).equals(map)).toBe(true);
    expect(IdMap.parse('         0     100000      65536\n').ranges).toEqual([range(0, 100_000, 65_536)]);
    expect(String(IdMap.identity)).toBe('0 0 4294967295\n');
  });

  it('is frozen throughout', () => {
    const map = IdMap.of(range(0, 1, 1));
    expect([map, map.ranges, map.ranges[0]].every(Object.isFrozen)).toBe(true);
  });

  it.each<[string, unknown, string]>([
    ['no range', [], 'idMap'],
    ['no list', 5, 'idMap'],
    ['text', '0 1 1', 'idMap'],
    ['null', null, 'idMap'],
    ['a range that is none', [7], 'idMap[0]'],
    ['an unknown key', [{ ...range(0, 1, 1), size: 1 }], 'idMap[0].size'],
    ['a missing key', [{ inside: 0, outside: 1 }], 'idMap[0].count'],
    ['a count of zero', [range(0, 1, 0)], 'idMap[0].count'],
    ['a negative id', [range(0, 1, 1), range(-1, 5, 1)], 'idMap[1].inside'],
    ['NaN', [range(0, Number.NaN, 1)], 'idMap[0].outside'],
    ['Infinity', [range(0, 1, Number.POSITIVE_INFINITY)], 'idMap[0].count'],
    ['a fraction', [range(0.5, 1, 1)], 'idMap[0].inside'],
    ['a text', [{ inside: '0', outside: 1, count: 1 }], 'idMap[0].inside'],
    ['2^32', [range(0, 2 ** 32, 1)], 'idMap[0].outside'],
    ['the id that is none', [range(noId, 0, 1)], 'idMap[0].count'],
    ['a range beyond the last id', [range(1, 0, noId)], 'idMap[0].count'],
    ['the same beyond outside', [range(0, noId - 5, 6)], 'idMap[0].count'],
    ['ids inside twice', [range(0, 100, 10), range(9, 200, 1)], 'idMap[1].inside'],
    ['ids outside twice', [range(0, 100, 10), range(50, 95, 6)], 'idMap[0].outside'],
    ['341 ranges', Array.from({ length: 341 }, (_, i) => range(2 * i, 2 * i, 1)), 'idMap'],
    ['more than a page of text', Array.from({ length: 340 }, (_, i) => range(4e9 + 2 * i, 3e9 + 3 * i, 1)), 'idMap'],
  ])('refuses %s', (_, ranges, option) => {
    let error: unknown;
    try {
      IdMap.from(ranges as IdRange[]);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(OptionError);
    expect(error).toMatchObject({ option });
  });

  it('refuses text that is not lines of three numbers', () => {
    for (const text of ['0 1', '0 1 1 1', '0 1 x', '-1 0 1', '0x0 1 1', '0,1,1', '', '0 1 99999999999']) {
      expect(() => IdMap.parse(text), text).toThrow(OptionError);
    }
  });

  it('takes the ranges to the last one that the kernel takes', () => {
    expect(IdMap.of(range(0, 0, noId)).size).toBe(noId);
    expect(IdMap.from(Array.from({ length: 340 }, (_, i) => range(2 * i, 3 * i, 1))).ranges).toHaveLength(340);
  });

  it('of this process is what the kernel says', () => {
    const { uid, gid } = IdMap.ofProcess('self');
    const words = (text: string) => text.trim().split(/\s+/);
    expect(words(String(uid))).toEqual(words(readFileSync('/proc/self/uid_map', 'utf8')));
    expect(words(String(gid))).toEqual(words(readFileSync('/proc/self/gid_map', 'utf8')));
    for (const pid of [0, -1, 1.5, Number.NaN]) expect(() => IdMap.ofProcess(pid)).toThrow(OptionError);
    expect(() => IdMap.ofProcess(2 ** 30)).toThrow(/\/proc\/1073741824\/uid_map could not be read/);
  });
});

describe('random id maps', () => {
  const next = random(20_261_125);
  /** Ids of a small world, so that everything can be tried: a partial function that never repeats a value. */
  const world = 40;
  const model = (): Map<number, number> => {
    const free = Array.from({ length: world }, (_, id) => id);
    const pairs = new Map<number, number>();
    for (let id = 0; id < world; id++) {
      if (next(3) === 0) continue;
      // Neighbours often, so that ranges of more than one id come up.
      const previous = pairs.get(id - 1);
      const wanted = previous !== undefined && next(3) > 0 ? free.indexOf(previous + 1) : next(free.length);
      const [outside] = free.splice(Math.max(wanted, 0), 1);
      if (outside !== undefined) pairs.set(id, outside);
    }
    return pairs;
  };
  const mapOf = (pairs: ReadonlyMap<number, number>) => IdMap.from([...pairs].map(([a, b]) => range(a, b, 1)));
  const ids = Array.from({ length: world + 2 }, (_, id) => id);

  it('agree with a plain table in translation, inversion and composition', () => {
    let tried = 0;
    for (let i = 0; i < 2000; i++) {
      const [a, b] = [model(), model()];
      if (a.size === 0 || b.size === 0) continue;
      const [inner, outer] = [mapOf(a), mapOf(b)];
      const both = inner.compose(outer);
      for (const id of ids) {
        const middle = a.get(id);
        expect(inner.toOutside(id)).toBe(middle);
        expect(inner.invert().toInside(id)).toBe(middle);
        expect(both.toOutside(id)).toBe(middle === undefined ? undefined : b.get(middle));
        if (middle !== undefined) expect(inner.toInside(middle)).toBe(id);
      }
      expect(inner.size).toBe(a.size);
      expect(inner.invert().invert().equals(inner)).toBe(true);
      expect(both.invert().equals(outer.invert().compose(inner.invert()))).toBe(true);
      expect(IdMap.parse(String(inner)).equals(inner)).toBe(true);
      expect(inner.compose(IdMap.identity).equals(inner)).toBe(true);
      tried++;
    }
    expect(tried).toBeGreaterThan(1900);
  });

  it('are accepted exactly where no id comes twice and none is out of range', () => {
    let accepted = 0;
    for (let i = 0; i < 10_000; i++) {
      const near = next(2) === 0 ? 0 : noId - 60;
      const ranges = Array.from({ length: 1 + next(4) }, () => range(near + next(60), next(60), next(20)));
      const all = (side: 'inside' | 'outside') =>
        ranges.flatMap((one) => Array.from({ length: one.count }, (_, k) => one[side] + k));
      const fine = (list: number[]) => new Set(list).size === list.length && list.every((id) => id < noId);
      const legal = ranges.every(({ count }) => count > 0) && fine(all('inside')) && fine(all('outside'));
      let taken = true;
      try {
        IdMap.from(ranges);
      } catch (error) {
        if (!(error instanceof OptionError)) throw error;
        taken = false;
      }
      expect(taken, JSON.stringify(ranges)).toBe(legal);
      if (legal) accepted++;
    }
    expect(accepted).toBeGreaterThan(1000);
  });
});

describe('subordinate ids', () => {
  const ann = { name: 'ann', uid: 1000, gid: 100 };
  const passwd = 'root:x:0:0::/root:/bin/sh\nann:x:1000:100::/:/bin/sh\nodd:x:0x5:0::/:/bin/sh\n';

  it('are those of the name and of the number', () => {
    const text = '# comment\nbob:1:5\nann:100000:65536\n\n1000:300000:10\n';
    expect(subordinateRanges('/etc/subuid', ann, text)).toEqual([
      { first: 100_000, count: 65_536 },
      { first: 300_000, count: 10 },
    ]);
  });

  it.each([
    'ann',
    'ann:1',
    'ann:1:',
    'ann:1:0',
    'ann:x:1',
    'ann:1:1:1',
    ' ann:1:1',
    'ann:4294967294:2',
    'ann:-1:1',
    ':1:1',
  ])('refuses a file with the line %j, whoever it is about', (line) => {
    const read = () => subordinateRanges('/etc/subgid', { ...ann, name: 'bob', uid: 7 }, `bob:1:1\n${line}\n`);
    expect(read).toThrow(TscontainError);
    expect(read).toThrow('/etc/subgid: line 2');
  });

  it('are missed with a hint', () => {
    expect(() => subordinateRanges('/etc/subgid', ann, 'annie:1:5\n')).toThrow(
      /grants ann \(1000\) no ids .*add-subgids/,
    );
  });

  it('belong to accounts that there are', () => {
    expect(readAccount('ann', passwd)).toEqual(ann);
    expect(readAccount(0, passwd)).toEqual({ name: 'root', uid: 0, gid: 0 });
    for (const user of ['nobody', 5, '1000', 'odd', '', 1e10]) {
      expect(() => readAccount(user, passwd), String(user)).toThrow(OptionError);
    }
  });
});
