import { describe, expect, it } from 'vitest';
import { OptionError } from '../../../../lib/errors.js';
import { missingProcessors, parseCpuset } from '../../../../lib/primitives/cgroup/cpuset.js';

describe('a list of processors', () => {
  it.each([
    ['0', '0'],
    ['0-3,5', '0-3,5'],
    ['5,0-2,3', '0-3,5'],
    ['1,1,1', '1'],
    ['0-7,2-3', '0-7'],
    ['3-3', '3'],
    ['007', '7'],
    ['8191', '8191'],
  ])('%j becomes %j', (text, canonical) => {
    expect(parseCpuset(text)).toBe(canonical);
  });

  it.each([
    '',
    ',',
    '0,',
    '-1',
    '0-',
    '3-1',
    '0-9999999999',
    '8192',
    '0 -3',
    ' 0',
    '0\n',
    '0,1\n2',
    '0x1',
    '1e1',
    '0-3:1/2',
    'all',
    0,
    undefined,
    [0],
  ])('is refused when it is %j', (text) => {
    expect(() => parseCpuset(text)).toThrow(OptionError);
    expect(() => parseCpuset(text)).toThrow('option limits.cpuset:');
  });

  it('is refused when it is longer than any that the kernel prints', () => {
    expect(() => parseCpuset(`${'0,'.repeat(3000)}0`)).toThrow(OptionError);
  });

  it.each([
    ['0-3', '0-1', '2-3'],
    ['0,5,9', '0-7', '9'],
    ['1', '0-1', ''],
    ['1', 'unreadable', ''],
  ])('%j on a host with %j lacks %j', (wanted, available, missing) => {
    expect(missingProcessors(wanted, available)).toBe(missing);
  });
});
