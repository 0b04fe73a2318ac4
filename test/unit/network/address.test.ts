/** IP addresses, prefixes and hardware addresses as text. */

import { isIPv4, isIPv6 } from 'node:net';
import { describe, expect, it } from 'vitest';
import { OptionError } from '../../../lib/index.js';
import {
  formatIp,
  formatMac,
  formatPrefix,
  networkOf,
  parseIp,
  readInterfaceAddress,
  readIp,
  readMac,
  readNetwork,
} from '../../../lib/network/address.js';

const canonical = (text: string) => {
  const address = parseIp(text);
  return address && formatIp(address.bytes);
};
/** What the URL standard makes of it, whose form is that of RFC 5952 but for mapped addresses. */
const byUrl = (text: string) => new URL(`http://[${text}]/`).hostname.slice(1, -1);

describe('an IP address', () => {
  it('has one text, that of RFC 5952', () => {
    const cases: readonly (readonly [string, string])[] = [
      ['0:0:0:0:0:0:0:0', '::'],
      ['0:0:0:0:0:0:0:1', '::1'],
      ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
      ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
      ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
      ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
      ['::2:3:4:5:6:7:8', '0:2:3:4:5:6:7:8'],
      ['fe80::', 'fe80::'],
      ['::ffff:10.0.0.1', '::ffff:10.0.0.1'],
      ['::ffff:a00:1', '::ffff:10.0.0.1'],
      ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
      ['::10.0.0.1', '::a00:1'],
      ['192.0.2.1', '192.0.2.1'],
      ['0.0.0.0', '0.0.0.0'],
    ];
    for (const [text, expected] of cases) expect(canonical(text), text).toBe(expected);
  });

  it('at random is what node:net and URLs take it for', () => {
    let state = 7;
    const next = (below: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) % below;
    };
    for (let round = 0; round < 3000; round++) {
      const words = Array.from({ length: 8 }, () => (next(2) === 0 ? 0 : next(65536)));
      const text = words.map((word) => word.toString(16)).join(':');
      const found = canonical(text) ?? '';
      expect(isIPv6(found)).toBe(true);
      if (!found.includes('.')) expect(found).toBe(byUrl(text));
      expect(canonical(found)).toBe(found);
      // Texts that may be none: cut, doubled, with strange parts.
      const parts = text.split(':').slice(0, 1 + next(8));
      parts.splice(next(parts.length + 1), next(2), ['', '::', '1.2.3.4', 'g', '12345', '01'][next(6)] ?? '');
      const strange = parts.join(':');
      expect(parseIp(strange) !== undefined, strange).toBe(isIPv6(strange) || isIPv4(strange));
    }
  });

  it('that is none is refused, however nearly it is one', () => {
    const wrong = [
      '',
      '1.2.3',
      '1.2.3.4.5',
      '1.2.3.256',
      '01.2.3.4',
      '1.2.3.4 ',
      '1.2.3.-4',
      '0x1.2.3.4',
      ':::',
      '1::2::3',
      '1:2:3:4:5:6:7',
      '1:2:3:4:5:6:7:8:9',
      '1:2:3:4:5:6:7:8::',
      '1.2.3.4::',
      '::1.2.3.4:5',
      '::1.2.3',
      'fe80::1%eth0',
      '[::1]',
      '::g',
      '::12345',
      '１.2.3.4',
    ];
    for (const text of wrong) expect(parseIp(text), text).toBeUndefined();
    expect(() => readIp('fe80::1%eth0', 'via')).toThrow(/hint: the link has an option of its own/);
    for (const value of [...wrong, 5, null, undefined, {}]) expect(() => readIp(value, 'via')).toThrow(OptionError);
    expect(() => readIp('::1', 'via', 'ipv4')).toThrow(/'10.0.0.1'/);
  });
});

describe('a prefix', () => {
  it('is an address and a length', () => {
    expect(readInterfaceAddress('10.0.0.2/24', 'a')).toMatchObject({ family: 'ipv4', length: 24 });
    expect(readInterfaceAddress('10.0.0.2', 'a').length).toBe(32);
    expect(readInterfaceAddress('fd00::2', 'a').length).toBe(128);
    for (const wrong of [
      '10.0.0.2/33',
      '::/129',
      '10.0.0.2/',
      '10.0.0.2/024',
      '10.0.0.2/-1',
      '10.0.0.2/8/8',
      '/8',
      8,
    ]) {
      expect(() => readInterfaceAddress(wrong, 'a'), String(wrong)).toThrow(OptionError);
    }
  });

  it('of a network has nothing behind it, and the error says which it would be', () => {
    expect(formatPrefix(readNetwork('10.64.0.0/10', 'to'))).toBe('10.64.0.0/10');
    expect(formatPrefix(readNetwork('0.0.0.0/0', 'to'))).toBe('0.0.0.0/0');
    expect(() => readNetwork('10.65.0.1/10', 'to')).toThrow(/10\.64\.0\.0\/10/);
    expect(() => readNetwork('fd00::1/64', 'to')).toThrow(/fd00::\/64/);
  });

  it('has the network that arithmetic gives', () => {
    const bytes = Buffer.from('ffffffff', 'hex');
    for (let length = 0; length <= 32; length++) {
      const expected = length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0;
      expect(networkOf({ family: 'ipv4', bytes, length }).bytes.readUInt32BE(0)).toBe(expected);
    }
  });
});

describe('a hardware address', () => {
  it('is six bytes of one station', () => {
    expect(formatMac(readMac('02:42:AC:11:00:02', 'address'))).toBe('02:42:ac:11:00:02');
    for (const wrong of [
      '01:00:5e:00:00:01',
      '00:00:00:00:00:00',
      'ff:ff:ff:ff:ff:ff',
      '02:42:ac:11:00',
      '0242ac110002',
      2,
    ]) {
      expect(() => readMac(wrong, 'address'), String(wrong)).toThrow(OptionError);
    }
  });
});
