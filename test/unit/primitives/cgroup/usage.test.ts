import { describe, expect, it } from 'vitest';
import { parsePressure } from '../../../../lib/primitives/cgroup/pressure.js';
import { statsFrom } from '../../../../lib/primitives/cgroup/usage.js';

const none = new Map<string, string>();

describe('pressure', () => {
  it('is in percent and milliseconds', () => {
    const text =
      'some avg10=1.50 avg60=0.25 avg300=0.00 total=1234567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n';
    expect(parsePressure(text)).toEqual({
      some: { avg10: 1.5, avg60: 0.25, avg300: 0, totalMs: 1234.567 },
      full: { avg10: 0, avg60: 0, avg300: 0, totalMs: 0 },
    });
    expect(parsePressure('full avg10=0.00 total=5\nnew avg10=1\n')).toEqual({
      full: { avg10: 0, avg60: 0, avg300: 0, totalMs: 0.005 },
    });
  });

  it.each(['', 'some', 'some avg10=NaN avg60=-1 avg300=1e9 total=x', 'some avg10 = 5', '__proto__ avg10=1'])(
    'of odd text has no odd number: %j',
    (text) => {
      for (const line of Object.values(parsePressure(text))) {
        expect(Object.values(line as object)).toEqual([0, 0, 0, 0]);
      }
    },
  );
});

describe('the statistics of a cgroup', () => {
  it('have pressure, huge pages and every counter under its own name', () => {
    const stats = statsFrom(
      new Map([
        ['cpu.stat', 'usage_usec 1000\nbrand_new_usec 7\n'],
        ['memory.stat', 'anon 5\nfile 6\nsomething_else 7\n'],
        ['memory.pressure', 'some avg10=0.00 avg60=0.00 avg300=0.00 total=2000\n'],
        ['hugetlb.2MB.current', '4096\n'],
        ['rdma.current', 'mlx5_0 hca_handle=2 hca_object=3\n'],
        ['misc.current', 'sev 1\n'],
      ]),
      none,
    );
    expect(stats).toMatchObject({
      cpu: { usageMs: 1 },
      memory: { anonymous: 5, cache: 6 },
      pressure: { memory: { some: { totalMs: 2 } } },
      hugetlb: { '2MB': 4096 },
      rdma: { mlx5_0: { handles: 2, objects: 3 } },
      misc: { sev: 1 },
    });
    expect(stats.raw).toEqual({
      'cpu.stat': { usage_usec: 1000, brand_new_usec: 7 },
      'memory.stat': { anon: 5, file: 6, something_else: 7 },
    });
  });

  it('leave out what there is not', () => {
    expect(Object.keys(statsFrom(none, none))).toEqual(['cpu', 'memory', 'pids', 'io', 'raw']);
  });

  it('count what either limit of v1 has refused', () => {
    const v1 = new Map([
      ['memory.failcnt', '2\n'],
      ['memory.memsw.failcnt', '3\n'],
    ]);
    expect(statsFrom(none, v1).memory.limitHits).toBe(5);
  });
});
