import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { parseRlimits, readRlimits, resourceNames } from '../../../lib/primitives/rlimits.js';

const Infinite = Number.POSITIVE_INFINITY;

describe('resource limits', () => {
  it('are read from the text of /proc/<pid>/limits', () => {
    const text = `Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max file size             1024                 unlimited            bytes     
Max open files            20000                20001                files     
Max realtime timeout      7                    8                    us        
Max something new         1                    2                    us        
`;
    expect(Object.entries(parseRlimits(text))).toEqual([
      ['cpu', { soft: Infinite, hard: Infinite }],
      ['fsize', { soft: 1024, hard: Infinite }],
      ['nofile', { soft: 20000, hard: 20001 }],
      ['rttime', { soft: 7, hard: 8 }],
    ]);
  });

  it('of this process are those that prlimit(1) shows, all sixteen', () => {
    const own = readRlimits();
    expect(Object.keys(own)).toEqual(resourceNames);
    expect(resourceNames).toHaveLength(16);
    const columns = ['--raw', '--noheadings', '--output', 'RESOURCE,SOFT,HARD', '--pid', String(process.pid)];
    const shown = execFileSync('prlimit', columns, { encoding: 'utf8' }).trim().split('\n');
    expect(shown).toHaveLength(16);
    for (const line of shown) {
      const [name = '', soft, hard] = line.split(' ');
      const value = (text = '') => (text === 'unlimited' ? Infinite : Number(text));
      expect([name, own[name.toLowerCase() as 'nofile']]).toEqual([name, { soft: value(soft), hard: value(hard) }]);
    }
  });
});
