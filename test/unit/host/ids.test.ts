import { describe, expect, it } from 'vitest';
import { TscontainError } from '../../../lib/errors.js';
import { idsOfUser, type UserFacts } from '../../../lib/host/ids.js';
import { IdMap } from '../../../lib/primitives/id-map.js';

const map = (own: number, ...granted: readonly [first: number, count: number][]): IdMap => {
  let inside = 1;
  const ranges = granted.map(([outside, count]) => {
    inside += count;
    return { inside: inside - count, outside, count };
  });
  return IdMap.of({ inside: 0, outside: own, count: 1 }, ...ranges);
};

const usual: UserFacts = {
  ids: () => ({ uid: map(1000, [100_000, 65_536]), gid: map(1001, [200_000, 65_536]) }),
  helper: (name) => `/usr/bin/${name}`,
  uids: [1000, 1000],
  gids: [1001, 1001],
  noNewPrivileges: false,
};

describe('the ids of a user’s containers', () => {
  it('are his own and those that are granted, 65,536 in all', () => {
    const ids = idsOfUser(usual);
    expect(ids).toMatchObject({
      kind: 'subordinate',
      helpers: { uid: '/usr/bin/newuidmap', gid: '/usr/bin/newgidmap' },
    });
    if (ids.kind !== 'subordinate') return;
    expect(String(ids.maps.uid)).toBe('0 1000 1\n1 100000 65535\n');
    expect(String(ids.maps.gid)).toBe('0 1001 1\n1 200000 65535\n');
  });

  it('are of several grants, one after the other', () => {
    const ids = idsOfUser({
      ...usual,
      ids: () => ({ uid: map(1000, [100_000, 1000], [300_000, 70_000]), gid: map(1001, [200_000, 2000]) }),
    });
    if (ids.kind !== 'subordinate') throw new Error(ids.kind);
    expect(String(ids.maps.uid)).toBe('0 1000 1\n1 100000 1000\n1001 300000 64535\n');
    expect(String(ids.maps.gid)).toBe('0 1001 1\n1 200000 2000\n');
  });

  it.for<readonly [string, Partial<UserFacts>, RegExp]>([
    [
      'grants too little',
      { ids: () => ({ uid: map(1000, [100_000, 65_536]), gid: map(1001, [2, 5]) }) },
      /fewer than 1000/,
    ],
    ['has another group than the account', { gids: [50, 50] }, /another group \(50\)/],
    ['has no newuidmap', { helper: (name) => (name === 'newuidmap' ? undefined : `/bin/${name}`) }, /no newuidmap/],
    ['has no newgidmap', { helper: (name) => (name === 'newgidmap' ? undefined : `/bin/${name}`) }, /no newgidmap/],
    ['may not gain privileges', { noNewPrivileges: true }, /no_new_privs/],
    ['has other real ids than effective ones', { uids: [1000, 1002] }, /real and the effective/],
    [
      'has files that cannot be understood',
      {
        ids: () => {
          throw new TscontainError('ERR_SUBORDINATE_IDS', '/etc/subuid: line 1', { hint: 'see subuid(5)' });
        },
      },
      /^\/etc\/subuid: line 1$/,
    ],
  ])('are one where he %s', ([, facts, reason]) => {
    expect(idsOfUser({ ...usual, ...facts })).toMatchObject({ kind: 'single', reason: expect.stringMatching(reason) });
  });
});
