import { describe, expect, it } from 'vitest';
import { OptionError } from '../../../lib/errors.js';
import { Capabilities } from '../../../lib/primitives/capabilities.js';

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
