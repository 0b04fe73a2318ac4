import { describe, expect, it } from 'vitest';
import { requiredHierarchies } from '../../../../lib/primitives/cgroup/limits.js';
import { parseStats, statFiles } from '../../../../lib/primitives/cgroup/stats.js';
import { dockerPrivileged, layoutOf, legacy, splitHybrid, systemdService } from './fixtures.js';

const unified = layoutOf(systemdService);

function unifiedStats(files: Record<string, string>) {
  return parseStats(unified, new Map(Object.entries(files).map(([file, text]) => [`0/${file}`, text])));
}

const nothing = {
  cpu: { usageMs: 0, userMs: 0, systemMs: 0 },
  memory: { current: 0, peak: 0, oomKills: 0, limitHits: 0 },
  pids: { current: 0, peak: 0, limitHits: 0 },
  io: { readBytes: 0, writeBytes: 0, readOps: 0, writeOps: 0 },
};

describe('the files that are read', () => {
  it('are those of the controllers in use on v2', () => {
    expect(
      statFiles(unified, [0])
        .map(({ file }) => file)
        .sort(),
    ).toEqual([
      'cpu.stat',
      'io.stat',
      'memory.current',
      'memory.events',
      'memory.peak',
      'memory.stat',
      'memory.swap.current',
      'pids.current',
      'pids.events',
      'pids.peak',
    ]);
  });

  it('are cpu.stat alone where no controller can be handed down', () => {
    expect(statFiles(layoutOf(dockerPrivileged), [0])).toEqual([{ hierarchy: 0, file: 'cpu.stat' }]);
  });

  it('take processor time from the v2 tree on a hybrid host, from cpuacct on a legacy one', () => {
    const filesOf = (layout: typeof unified): string[] =>
      statFiles(layout, requiredHierarchies(layout, { cpus: 1 })).map(({ file }) => file);
    expect(filesOf(layoutOf(splitHybrid))).not.toContain('cpuacct.usage');
    expect(filesOf(layoutOf(splitHybrid)).filter((file) => file === 'cpu.stat')).toHaveLength(2);
    expect(filesOf(layoutOf(legacy))).toContain('cpuacct.usage');
  });

  it('are none of a hierarchy that does not exist', () => {
    expect(statFiles(unified, [3, -1])).toEqual([]);
  });
});

describe('statistics of v2', () => {
  it('have units, whatever the files have', () => {
    const stats = unifiedStats({
      'cpu.stat':
        'usage_usec 1500250\nuser_usec 1000000\nsystem_usec 500250\nnr_periods 9\nnr_throttled 4\nthrottled_usec 250000\n',
      'memory.current': '1048576\n',
      'memory.peak': '2097152\n',
      'memory.swap.current': '4096\n',
      'memory.events': 'low 0\nhigh 0\nmax 12\noom 2\noom_kill 3\noom_group_kill 1\n',
      'memory.stat': 'anon 1000\nfile 2000\nkernel 300\n',
      'pids.current': '3\n',
      'pids.peak': '7\n',
      'pids.events': 'max 5\n',
      'io.stat':
        '8:0 rbytes=1024 wbytes=2048 rios=1 wios=2 dbytes=0 dios=0\n259:1 rbytes=1 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n',
    });
    expect(stats).toEqual({
      cpu: { usageMs: 1500.25, userMs: 1000, systemMs: 500.25, throttledMs: 250, throttledPeriods: 4 },
      memory: {
        current: 1048576,
        peak: 2097152,
        swap: 4096,
        anonymous: 1000,
        cache: 2000,
        oomKills: 3,
        limitHits: 12,
      },
      pids: { current: 3, peak: 7, limitHits: 5 },
      io: { readBytes: 1025, writeBytes: 2048, readOps: 2, writeOps: 2 },
    });
  });

  it('take the present for the peak where the kernel keeps none', () => {
    const stats = unifiedStats({ 'memory.current': '5\n', 'pids.current': '2\n' });
    expect(stats.memory.peak).toBe(5);
    expect(stats.pids.peak).toBe(2);
  });
});

describe('statistics of v1', () => {
  const keyed = (
    layout: typeof unified,
    files: Record<string, [controller: 'cpu' | 'memory' | 'io' | 'pids' | 'cpuacct', text: string]>,
  ) =>
    new Map(
      Object.entries(files).map(([file, [controller, text]]) => {
        const index = layout.hierarchies.findIndex(({ controllers }) => controllers.includes(controller));
        return [`${index}/${file}`, text];
      }),
    );

  it('mean the same on a hybrid host', () => {
    const layout = layoutOf(splitHybrid);
    const contents = keyed(layout, {
      'cpu.stat': ['cpu', 'nr_periods 9\nnr_throttled 4\nthrottled_time 250000000\n'],
      'memory.usage_in_bytes': ['memory', '1048576\n'],
      'memory.max_usage_in_bytes': ['memory', '2097152\n'],
      'memory.oom_control': ['memory', 'oom_kill_disable 0\nunder_oom 0\noom_kill 3\n'],
      'memory.failcnt': ['memory', '12\n'],
      'memory.stat': ['memory', 'cache 1\nrss 1\nswap 1\ntotal_cache 2000\ntotal_rss 1000\ntotal_swap 4096\n'],
      'pids.current': ['pids', '3\n'],
      'pids.peak': ['pids', '7\n'],
      'pids.events': ['pids', 'max 5\n'],
      'blkio.throttle.io_service_bytes': [
        'io',
        '8:0 Read 1024\n8:0 Write 2048\n8:0 Sync 3072\n8:0 Total 3072\nTotal 3072\n',
      ],
      'blkio.throttle.io_serviced': ['io', '8:0 Read 1\n8:0 Write 2\n8:0 Total 3\nTotal 3\n'],
    });
    contents.set('0/cpu.stat', 'usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n');
    expect(parseStats(layout, contents)).toEqual({
      cpu: { usageMs: 1.5, userMs: 1, systemMs: 0.5, throttledMs: 250, throttledPeriods: 4 },
      memory: { current: 1048576, peak: 2097152, swap: 4096, anonymous: 1000, cache: 2000, oomKills: 3, limitHits: 12 },
      pids: { current: 3, peak: 7, limitHits: 5 },
      io: { readBytes: 1024, writeBytes: 2048, readOps: 1, writeOps: 2 },
    });
  });

  it('have the processor time of cpuacct, in nanoseconds, on a legacy host', () => {
    const layout = layoutOf(legacy);
    const contents = keyed(layout, {
      'cpuacct.usage': ['cpuacct', '1500250000\n'],
      'cpuacct.usage_user': ['cpuacct', '1000000000\n'],
      'cpuacct.usage_sys': ['cpuacct', '500250000\n'],
    });
    expect(parseStats(layout, contents).cpu).toEqual({ usageMs: 1500.25, userMs: 1000, systemMs: 500.25 });
  });
});

describe('hostile or odd text', () => {
  it.each([
    '',
    '\0',
    'max\n',
    'NaN',
    '-1\n',
    '1e309\n',
    '0x10\n',
    '1 2\n',
    '1\n2\n',
    `${'9'.repeat(400)}\n`,
    'usage_usec\n',
    'usage_usec -5\n',
    'usage_usec NaN\nusage_usec Infinity\n',
    'usage_usec 1 2\noom_kill x\nmax max\n',
    '__proto__ 5\nconstructor 6\n',
    '8:0 rbytes= wbytes=-1 rios=1e3 wios=x\n',
    'a:b rbytes=5\n8:0:1 rbytes=5\nTotal Read 5\n8:0 Read\n8:0 Read -5\n',
    'x'.repeat(1_000_000),
    '\n'.repeat(300_000),
  ])('counts for nothing (%#)', (text) => {
    for (const layout of [unified, layoutOf(splitHybrid), layoutOf(legacy)]) {
      const all = layout.hierarchies.map((_, index) => index);
      const contents = new Map(statFiles(layout, all).map(({ hierarchy, file }) => [`${hierarchy}/${file}`, text]));
      expect(parseStats(layout, contents)).toEqual(nothing);
    }
    expect(
      parseStats(
        unified,
        new Map([
          [text, '1'],
          ['7/memory.current', '1'],
          ['/memory.current', '1'],
        ]),
      ),
    ).toEqual(nothing);
  });

  it('never makes a number that is not exact', () => {
    const stats = unifiedStats({
      'memory.current': '18446744073709551615\n',
      'io.stat': '8:0 rbytes=18446744073709551615\n8:1 rbytes=18446744073709551615\n',
    });
    expect(stats.memory.current).toBe(Number.MAX_SAFE_INTEGER);
    expect(stats.io.readBytes).toBe(Number.MAX_SAFE_INTEGER);
  });

  it('ends a text that is too long at a whole line', () => {
    const line = '8:0 rbytes=1000 wbytes=0 rios=1 wios=0\n';
    const { io } = unifiedStats({ 'io.stat': line.repeat(10_000) });
    expect(io.readBytes).toBe(io.readOps * 1000);
    expect(io.readOps).toBeGreaterThan(1000);
  });

  it('keeps the good lines among bad ones, and the first of equal keys', () => {
    const stats = unifiedStats({ 'memory.events': 'a) R 1 (\noom_kill 2\nmax\noom_kill 9\n\nmax 4' });
    expect(stats.memory).toMatchObject({ oomKills: 2, limitHits: 4 });
  });
});
