import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { OptionError, TscontainError } from '../../../lib/errors.js';
import { Capabilities } from '../../../lib/primitives/capabilities.js';
import {
  decodeFileCapabilities,
  encodeFileCapabilities,
  type FileCapabilityData,
} from '../../../lib/primitives/capability-files.js';

describe('a set of capabilities', () => {
  it('has the kernel’s numbers: CHOWN is bit 0, SYS_ADMIN 21, CHECKPOINT_RESTORE 40', () => {
    expect(Capabilities.of('CAP_CHOWN').mask).toBe(1n);
    expect(Capabilities.of('CAP_SYS_ADMIN').mask).toBe(1n << 21n);
    expect(Capabilities.of('CAP_SETFCAP').mask).toBe(1n << 31n);
    expect(Capabilities.of('CAP_CHECKPOINT_RESTORE').mask).toBe(1n << 40n);
  });

  it('has 41 members at most', () => {
    expect(Capabilities.all.size).toBe(41);
    expect(Capabilities.all.toHex()).toBe('000001ffffffffff');
    expect(Capabilities.none.size).toBe(0);
    expect(Capabilities.none.toHex()).toBe('0000000000000000');
  });

  it('shows Docker’s 14 as CapBnd of a Docker container does', () => {
    expect(Capabilities.docker.size).toBe(14);
    expect(Capabilities.docker.toHex()).toBe('00000000a80425fb');
  });

  it('is by default Docker’s without raw sockets, devices, chroot and the audit log', () => {
    expect(Capabilities.docker.without(Capabilities.default).toArray()).toEqual([
      'CAP_NET_RAW',
      'CAP_SYS_CHROOT',
      'CAP_MKNOD',
      'CAP_AUDIT_WRITE',
    ]);
    expect(Capabilities.default.size).toBe(10);
    expect(Capabilities.default.without(Capabilities.docker)).toEqual(Capabilities.none);
  });

  it.each(['CAP_NET_RAW', 'NET_RAW', 'cap_net_raw', 'net_raw', 'Cap_Net_Raw'])('reads %s as one capability', (name) => {
    expect(Capabilities.of(name).toArray()).toEqual(['CAP_NET_RAW']);
  });

  it.each(['ALL', 'all', 'CAP_ALL'])('reads %s as every capability', (name) => {
    expect(Capabilities.of(name)).toEqual(Capabilities.all);
  });

  it('rejects a name the kernel does not have, and says which (E9)', () => {
    expect(() => Capabilities.from(['CHOWN', 'CAP_TYPO'], 'capabilities.drop')).toThrow(
      expect.objectContaining({ name: 'OptionError', code: 'ERR_OPTION', option: 'capabilities.drop[1]' }),
    );
    expect(() => Capabilities.of('CAP_TYPO')).toThrow(/option capabilities\[0\]: .*got 'CAP_TYPO'/);
    expect(() => Capabilities.default.drop('SYS_ADMN')).toThrow(OptionError);
    expect(() => Capabilities.default.has('CAP_')).toThrow(OptionError);
    expect(() => Capabilities.of('CAP_CAP_CHOWN')).toThrow(OptionError);
    expect(() => Capabilities.of('')).toThrow(OptionError);
  });

  it.each([
    ['a name alone', 'CHOWN'],
    ['null', null],
    ['a number', 5],
    ['an object', {}],
    ['numbers', [5]],
  ])('rejects %s in place of a list of names', (_, value) => {
    expect(() => Capabilities.from(value as unknown as string[])).toThrow(OptionError);
  });

  it('returns new sets and never changes', () => {
    const one = Capabilities.of('CHOWN', 'KILL');
    expect(one.add('SETUID').toArray()).toEqual(['CAP_CHOWN', 'CAP_KILL', 'CAP_SETUID']);
    expect(one.drop('KILL', 'SYS_ADMIN').toArray()).toEqual(['CAP_CHOWN']);
    expect(one.toArray()).toEqual(['CAP_CHOWN', 'CAP_KILL']);
    expect(() => Object.assign(one, { mask: 0n })).toThrow(TypeError);
  });

  it('combines with other sets', () => {
    const one = Capabilities.of('CHOWN', 'KILL');
    const two = Capabilities.of('KILL', 'SETUID');
    expect(one.union(two).size).toBe(3);
    expect(one.intersect(two).toArray()).toEqual(['CAP_KILL']);
    expect(one.without(two).toArray()).toEqual(['CAP_CHOWN']);
    expect(one.equals(Capabilities.of('kill', 'chown'))).toBe(true);
    expect(one.equals(two)).toBe(false);
    expect(one.has('kill')).toBe(true);
    expect(one.has('SETUID')).toBe(false);
    expect(one.has('ALL')).toBe(false);
    expect(Capabilities.all.has('ALL')).toBe(true);
  });

  it('combines with sets only, and says how to make one', () => {
    for (const other of ['KILL', ['KILL'], undefined, null, 1n, { mask: 1n }] as never[]) {
      for (const method of ['union', 'intersect', 'without', 'equals', 'isSubsetOf'] as const) {
        const combine = () => Capabilities.all[method](other);
        expect(combine).toThrow(OptionError);
        expect(combine).toThrow('Capabilities.of');
      }
    }
  });

  it('iterates, and turns into JSON, in the kernel’s order', () => {
    const set = Capabilities.of('SYS_TIME', 'CHOWN');
    expect([...set]).toEqual(['CAP_CHOWN', 'CAP_SYS_TIME']);
    expect(JSON.stringify(set)).toBe('["CAP_CHOWN","CAP_SYS_TIME"]');
    expect(Capabilities.from(JSON.parse(JSON.stringify(set))).equals(set)).toBe(true);
  });

  it('is taken as it is where a list of names is', () => {
    expect(Capabilities.from(Capabilities.docker)).toBe(Capabilities.docker);
    expect(Capabilities.from(new Set(['CHOWN'])).toArray()).toEqual(['CAP_CHOWN']);
  });
});

/** xorshift32: the same numbers each time, so that a failure can be repeated. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

describe('random sets of capabilities', () => {
  const next = random(41);
  const mask = () => ((BigInt(next()) << 32n) | BigInt(next())) & Capabilities.all.mask;

  it('obey the algebra of sets', () => {
    for (let i = 0; i < 2000; i++) {
      const [a, b, c] = [mask(), mask(), mask()].map((one) => Capabilities.fromMask(one)) as [
        Capabilities,
        Capabilities,
        Capabilities,
      ];
      const names = (set: Capabilities) => new Set(set);
      const both = [...Capabilities.all].filter((name) => names(a).has(name) && names(b).has(name));
      expect(a.intersect(b).toArray()).toEqual(both);
      expect(a.union(b).size).toBe(a.size + b.size - both.length);
      expect(a.without(b).union(a.intersect(b)).equals(a)).toBe(true);
      expect(a.union(b).without(b).equals(a.without(b))).toBe(true);
      expect(a.intersect(b.union(c)).equals(a.intersect(b).union(a.intersect(c)))).toBe(true);
      expect(Capabilities.all.without(a.union(b)).equals(Capabilities.all.without(a).without(b))).toBe(true);
      expect(a.isSubsetOf(b)).toBe(a.without(b).equals(Capabilities.none));
      expect(a.add(...b).equals(a.union(b))).toBe(true);
      expect(a.drop(...b).equals(a.without(b))).toBe(true);
    }
  });

  it('come back from their mask, their digits and their names', () => {
    for (let i = 0; i < 500; i++) {
      const set = Capabilities.fromMask(mask());
      expect(Capabilities.fromHex(set.toHex()).equals(set)).toBe(true);
      expect(Capabilities.fromHex(`0x${set.mask.toString(16).toUpperCase()}`).equals(set)).toBe(true);
      expect(Capabilities.parse(set.toArray().join(', ').toLowerCase()).equals(set)).toBe(true);
      expect(Capabilities.from(set.toArray()).equals(set)).toBe(true);
    }
  });
});

describe('what is read as a set', () => {
  it('is no mask with bits that have no name', () => {
    for (const value of [1n << 41n, -1n, 1n << 64n, 5, '5', null]) {
      expect(() => Capabilities.fromMask(value as bigint), String(value)).toThrow(OptionError);
    }
    for (const text of ['', '0x', 'g', '-1', '1n', '00000000000000001', '8000000000000000', ' 1', '0x1 ', 1]) {
      expect(() => Capabilities.fromHex(text as string), String(text)).toThrow(OptionError);
    }
  });

  it('is no text with a name that there is not; the one that was meant is told', () => {
    expect(Capabilities.parse('').equals(Capabilities.none)).toBe(true);
    expect(() => Capabilities.parse('chown;kill')).toThrow(OptionError);
    expect(() => Capabilities.parse('chown net_bind_servise')).toThrow(
      /capabilities\[1\].*did you mean CAP_NET_BIND_SERVICE\?/,
    );
    expect(() => Capabilities.of('SYS_ADMN')).toThrow(/did you mean CAP_SYS_ADMIN\?/);
    expect(() => Capabilities.of('CAP_FROBNICATE')).not.toThrow(/did you mean/);
  });

  it('of the host is what its kernel has', () => {
    const last = Number(readFileSync('/proc/sys/kernel/cap_last_cap', 'utf8'));
    expect(Capabilities.lastOfHost()).toBe(last);
    expect(Capabilities.ofHost().size).toBe(Math.min(last, 40) + 1);
  });

  it('of a process is none where there is no process', () => {
    for (const pid of [0, -1, 1.5, Number.NaN]) expect(() => Capabilities.ofProcess(pid)).toThrow(OptionError);
    expect(() => Capabilities.ofProcess(2 ** 30)).toThrow(/\/proc\/1073741824\/status could not be read: ENOENT/);
  });
});

describe('the path of a file', () => {
  it('is text without NUL bytes, of a file that is there', () => {
    const permitted = ['KILL'];
    for (const path of [5, undefined, null, '/tmp/a\0b'] as never[]) {
      expect(() => Capabilities.ofFile(path)).toThrow(OptionError);
      expect(() => Capabilities.setFile(path, { permitted })).toThrow(OptionError);
      expect(() => Capabilities.removeFile(path)).toThrow(OptionError);
    }
    const missing = { code: 'ERR_XATTR', errno: 'ENOENT', hint: 'there is no such file' };
    const path = '/nowhere/at/all';
    expect(thrown(() => Capabilities.ofFile(path))).toMatchObject(missing);
    expect(thrown(() => Capabilities.setFile(path, { permitted }))).toMatchObject(missing);
    expect(thrown(() => Capabilities.removeFile(path))).toMatchObject(missing);
  });

  it('goes with options whose keys are known', () => {
    expect(() => Capabilities.setFile('/nowhere', { permited: ['KILL'] } as never)).toThrow('did you mean permitted');
  });
});

function thrown(action: () => unknown): unknown {
  try {
    return action();
  } catch (error) {
    return error;
  }
}

describe('capabilities of a file as bytes', () => {
  const bytes = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');

  it.each<[string, string, FileCapabilityData]>([
    [
      'revision 2',
      '01000002 00040000 00000000 00000000 00000000',
      { version: 2, effective: true, permitted: 1024n, inheritable: 0n },
    ],
    [
      'revision 3',
      '00000003 01000000 02000000 80000000 00010000 a0860100',
      { version: 3, effective: false, permitted: (1n << 39n) | 1n, inheritable: (1n << 40n) | 2n, rootId: 100_000 },
    ],
    ['revision 1', '01000001 00040000 01000000', { version: 2, effective: true, permitted: 1024n, inheritable: 1n }],
  ])('of %s are read', (_, hex, data) => {
    expect(decodeFileCapabilities(bytes(hex))).toEqual(data);
    if (_ !== 'revision 1') expect(encodeFileCapabilities(data)).toEqual(bytes(hex));
  });

  it('of any other form are refused, whatever they hold', () => {
    const next = random(7);
    for (const hex of [
      '',
      '01',
      '01000002',
      '01000002 00040000 00000000 00000000',
      '00000004 00040000 00000000 00000000 00000000',
      '03000002 00040000 00000000 00000000 00000000',
    ]) {
      expect(() => decodeFileCapabilities(bytes(hex)), hex).toThrow(TscontainError);
    }
    for (let i = 0; i < 5000; i++) {
      const noise = Buffer.from(Array.from({ length: next() % 28 }, () => next() & 0xff));
      if (noise.length >= 4 && i % 2 === 0) noise.writeUInt32LE(((1 + (next() % 3)) << 24) >>> 0, 0);
      try {
        const data = decodeFileCapabilities(noise);
        expect([12, 20, 24]).toContain(noise.length);
        expect(data.permitted < 1n << 64n).toBe(true);
      } catch (error) {
        if (!(error instanceof TscontainError)) throw error;
        expect(error.code).toBe('ERR_FILE_CAPABILITIES');
      }
    }
  });
});
