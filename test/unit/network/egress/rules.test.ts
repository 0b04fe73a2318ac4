/** Patterns, special ranges, and what is made of them. */

import { describe, expect, it } from 'vitest';
import { type EgressConnection, type EgressPolicy, OptionError } from '../../../../lib/index.js';
import { parseIp } from '../../../../lib/network/address.js';
import { judge, mayAsk } from '../../../../lib/network/egress/judge.js';
import { fitsAddress, fitsName, readPattern } from '../../../../lib/network/egress/pattern.js';
import { isWithin, prefixOf, specialRange } from '../../../../lib/network/egress/ranges.js';
import { NameResolver } from '../../../../lib/network/egress/resolve.js';
import { readEgress } from '../../../../lib/network/egress/settings.js';
import { StandIns } from '../../../../lib/network/egress/stand-ins.js';

const bytes = (text: string) => parseIp(text)?.bytes ?? Buffer.alloc(0);
const pattern = (text: string) => readPattern(text, 'p');

describe('a pattern', () => {
  it('names a host, those below one, all, an address or a network, and ports', () => {
    const names: readonly (readonly [string, string, number, boolean])[] = [
      ['api.example.com:443', 'api.example.com', 443, true],
      ['API.Example.com:443', 'api.example.com', 443, true],
      ['api.example.com:443', 'api.example.com', 80, false],
      ['api.example.com:443', 'x.api.example.com', 443, false],
      ['api.example.com', 'api.example.com', 1, true],
      ['*.example.org', 'a.b.example.org', 5, true],
      ['*.example.org', 'example.org', 5, false],
      ['*.example.org', 'badexample.org', 5, false],
      ['*:8000-8999', 'anything.test', 8999, true],
      ['*:8000-8999', 'anything.test', 9000, false],
      ['10.0.0.0/8', '10.0.0.1', 80, false],
    ];
    for (const [text, name, port, fits] of names) {
      expect(fitsName(pattern(text), name, port), `${text} ${name}:${port}`).toBe(fits);
    }
    const addresses: readonly (readonly [string, string, number, boolean])[] = [
      ['10.0.0.0/8:5432', '10.255.0.1', 5432, true],
      ['10.0.0.0/8:5432', '11.0.0.1', 5432, false],
      ['192.0.2.7:80', '192.0.2.7', 80, true],
      ['192.0.2.7:80', '192.0.2.8', 80, false],
      ['[2001:db8::]/32:443', '2001:db8:1::1', 443, true],
      ['[2001:db8::/32]:443', '2001:db8:1::1', 443, true],
      ['[2001:db8::]/32:443', '2001:db9::1', 443, false],
      ['2001:db8::/33', '2001:db8:7fff::1', 9, true],
      ['2001:db8::/33', '2001:db8:8000::1', 9, false],
      ['[::1]:80', '::1', 80, true],
      ['0.0.0.0/0', '::1', 80, false],
      ['*', '192.0.2.7', 80, false],
    ];
    for (const [text, address, port, fits] of addresses) {
      expect(fitsAddress(pattern(text), bytes(address), port), `${text} ${address}:${port}`).toBe(fits);
    }
  });

  it('that is none is an error which says what one is', () => {
    const wrong = [
      ...[
        '',
        ':80',
        'a b',
        'http://a',
        'a:0',
        'a:65536',
        'a:80-79',
        'a:080',
        'a:',
        'a..b',
        '-a',
        'a.',
        '*.',
        'a.*',
        '*a.test',
      ],
      ...[
        '10.0.0.1/8',
        '10.0.0.0/33',
        '1.2.3',
        '0x7f.1',
        '[::1',
        '[a.test]:80',
        '1.2.3.4.5',
        'a/8',
        '::1:zz',
        'ä.test',
        'a.0x1',
      ],
    ];
    for (const text of wrong) expect(() => pattern(text), text).toThrow(OptionError);
    for (const value of [undefined, 1, null, ['a']]) expect(() => readPattern(value, 'p')).toThrow('option p');
    expect(() => pattern('10.0.0.1/8')).toThrow(
      expect.objectContaining({ hint: expect.stringContaining('10.0.0.0/8') }),
    );
  });
});

describe('special ranges', () => {
  it('are what is not simply the internet', () => {
    const cases: readonly (readonly [string, string | undefined])[] = [
      ['169.254.169.254', 'metadata'],
      ['169.254.1.1', 'link-local'],
      ['fd00:ec2::254', 'metadata'],
      ['fd00::1', 'private'],
      ['fe80::1', 'link-local'],
      ['10.1.1.1', 'private'],
      ['172.31.255.255', 'private'],
      ['172.32.0.0', undefined],
      ['192.168.0.1', 'private'],
      ['100.64.0.1', 'private'],
      ['0.0.0.0', 'unspecified'],
      ['255.255.255.255', 'reserved'],
      ['198.18.0.1', 'reserved'],
      ['224.0.0.251', 'multicast'],
      ['ff02::1', 'multicast'],
      ['::ffff:127.0.0.1', 'translated'],
      ['64:ff9b::a9fe:a9fe', 'translated'],
      ['2002:7f00:1::', 'translated'],
      ['::', 'unspecified'],
      ['8.8.8.8', undefined],
      ['2606:4700::1111', undefined],
    ];
    for (const [address, name] of cases) expect(specialRange(bytes(address))?.name, address).toBe(name);
    for (const address of ['127.0.0.1', '::1'])
      expect(['host', 'loopback']).toContain(specialRange(bytes(address))?.name);
  });

  it('end where they end', () => {
    expect(isWithin(bytes('10.127.255.255'), prefixOf('10.0.0.0/9'))).toBe(true);
    expect(isWithin(bytes('10.128.0.0'), prefixOf('10.0.0.0/9'))).toBe(false);
    expect(isWithin(bytes('10.0.0.0'), prefixOf('::/0'))).toBe(false);
    expect(isWithin(bytes('10.0.0.0'), prefixOf('0.0.0.0/0'))).toBe(true);
  });
});

describe('a judgement', () => {
  const verdict = async (policy: EgressPolicy, to: string, port: number, real?: readonly string[]) => {
    const settings = readEgress(policy, 'egress');
    const name = parseIp(to) ? undefined : to;
    const connection: EgressConnection = {
      id: 1,
      name,
      address: name === undefined ? to : '198.18.0.1',
      family: to.includes(':') ? 'ipv6' : 'ipv4',
      port,
      signal: new AbortController().signal,
    };
    const resolver = new NameResolver([], new Map());
    const addresses = (real ?? []).flatMap((text) => parseIp(text) ?? []);
    resolver.resolve = async () => ({ addresses, given: false, ttl: 1, failed: false });
    const judgement = await judge(settings, connection, resolver);
    return judgement.kind === 'refused'
      ? judgement.reason
      : judgement.kind === 'addresses' && judgement.addresses.join();
  };

  it('opens a special range only to a pattern that lies within it', async () => {
    const all = { allow: ['0.0.0.0/0', '::/0', '*'] };
    expect(await verdict(all, '8.8.8.8', 53)).toBe('8.8.8.8');
    for (const special of [
      '10.0.0.1',
      '169.254.169.254',
      '169.254.0.1',
      'fd00::1',
      'fe80::1',
      '192.168.1.1',
      '64:ff9b::1',
    ]) {
      expect(await verdict(all, special, 80), special).toBe('special-address');
      expect(await verdict(all, 'rebound.test', 80, [special]), special).toBe('special-address');
      expect(await verdict({ allow: [special.includes(':') ? `[${special}]:80` : `${special}:80`] }, special, 80)).toBe(
        special,
      );
    }
    expect(await verdict({ allow: ['169.254.0.0/16'] }, '169.254.0.1', 80)).toBe('169.254.0.1');
    expect(await verdict({ allow: ['169.254.0.0/16'] }, '169.254.169.254', 80)).toBe('special-address');
    expect(await verdict({ allow: ['*', '10.0.0.0/8:80'] }, 'in.test', 80, ['10.1.1.1'])).toBe('10.1.1.1');
    expect(await verdict({ allow: ['*', '10.0.0.0/8:80'] }, 'in.test', 81, ['10.1.1.1'])).toBe('special-address');
  });

  it('lets deny win, by name and by what the name turns out to be', async () => {
    const policy = { allow: ['*', '0.0.0.0/0'], deny: ['*.evil.test', '203.0.113.0/24', 'half.test:25'] };
    expect(await verdict(policy, 'good.test', 80, ['192.0.2.1'])).toBe('192.0.2.1');
    expect(await verdict(policy, 'a.evil.test', 80, ['192.0.2.1'])).toBe('denied');
    expect(await verdict(policy, '203.0.113.9', 80)).toBe('denied');
    expect(await verdict(policy, 'good.test', 80, ['203.0.113.9'])).toBe('denied');
    expect(await verdict(policy, 'good.test', 80, ['203.0.113.9', '192.0.2.1'])).toBe('192.0.2.1');
    expect(await verdict(policy, 'half.test', 25, ['192.0.2.1'])).toBe('denied');
    expect(await verdict(policy, 'half.test', 26, ['192.0.2.1'])).toBe('192.0.2.1');
    const settings = readEgress(policy, 'egress');
    expect(['a.evil.test', 'half.test', 'good.test'].map((name) => mayAsk(settings, name))).toEqual([
      'denied',
      'yes',
      'yes',
    ]);
  });

  it('keeps a function to what it has seen', async () => {
    const decide = () => 'allow' as const;
    expect(await verdict(decide, '10.0.0.1', 80)).toBe('10.0.0.1');
    expect(await verdict(decide, '169.254.169.254', 80)).toBe('special-address');
    expect(await verdict(decide, 'name.test', 80, ['10.0.0.1'])).toBe('special-address');
    expect(await verdict(decide, 'name.test', 80, ['192.0.2.1'])).toBe('192.0.2.1');
    expect(await verdict(decide, 'name.test', 80, [])).toBe('unresolved');
    expect(await verdict({ decide, deny: ['192.0.2.0/24'] }, '192.0.2.1', 80)).toBe('denied');
  });
});

describe('options', () => {
  it('are a function, or an object with either rules or one', () => {
    for (const wrong of [
      undefined,
      null,
      1,
      'none',
      {},
      { allow: ['a'], decide: () => 'deny' },
      { allow: 'a' },
      { allow: [], extra: 1 },
    ]) {
      expect(() => readEgress(wrong, 'network.egress')).toThrow('option network.egress');
    }
    expect(() => readEgress({ allow: ['a', 'b:x'] }, 'e')).toThrow('option e.allow[1]');
    expect(() => readEgress({ allow: [], connections: 0 }, 'e')).toThrow('option e.connections');
    expect(() => readEgress({ allow: [], dns: { servers: ['dns.test'] } }, 'e')).toThrow('option e.dns.servers[0]');
    expect(() => readEgress({ allow: [], dns: { hosts: { 'a b': '1.1.1.1' } } }, 'e')).toThrow(
      'option e.dns.hosts["a b"]',
    );
    expect(() => readEgress({ allow: [], dns: { hosts: { a: [] } } }, 'e')).toThrow('option e.dns.hosts.a');
    const { hosts } = readEgress(
      { allow: [], dns: { servers: ['[::1]:53', '::1', '1.1.1.1'], hosts: { A: '::1' } } },
      'e',
    );
    expect([...hosts.keys()]).toEqual(['a']);
  });
});

describe('stand-ins', () => {
  it('are one for each name, in both families, and lead back to it', () => {
    const standIns = new StandIns();
    const a = standIns.addressesOf('a.test');
    const b = standIns.addressesOf('b.test');
    expect(a.ipv4.equals(b.ipv4)).toBe(false);
    expect(standIns.addressesOf('a.test')).toEqual(a);
    expect([a.ipv4, a.ipv6, b.ipv4, b.ipv6].map((one) => standIns.nameOf(one))).toEqual([
      'a.test',
      'a.test',
      'b.test',
      'b.test',
    ]);
    for (const other of ['198.18.0.0', '198.18.0.3', '10.0.0.1', '::1', '2001:2::', '2001:db8::c612:1']) {
      expect(standIns.nameOf(bytes(other)), other).toBeUndefined();
    }
  });

  it('are taken from the name that was asked for longest ago, once there are no more', () => {
    const standIns = new StandIns(2);
    const a = standIns.addressesOf('a').ipv4;
    const b = standIns.addressesOf('b').ipv4;
    standIns.addressesOf('a');
    expect(standIns.addressesOf('c').ipv4).toEqual(b);
    expect([standIns.nameOf(a), standIns.nameOf(b)]).toEqual(['a', 'c']);
    const many = new StandIns();
    for (let index = 0; index < 140_000; index++) many.addressesOf(`n${index}`);
    expect(many.nameOf(many.addressesOf('n139999').ipv4)).toBe('n139999');
    expect(many.nameOf(bytes('198.19.255.255'))).toBeUndefined();
  });
});
