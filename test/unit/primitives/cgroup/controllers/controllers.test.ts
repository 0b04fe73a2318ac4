import { describe, expect, it } from 'vitest';
import { OptionError } from '../../../../../lib/errors.js';
import type { ControllerKind } from '../../../../../lib/primitives/cgroup/controllers/controller.js';
import { cpu } from '../../../../../lib/primitives/cgroup/controllers/cpu.js';
import { cpuset } from '../../../../../lib/primitives/cgroup/controllers/cpuset.js';
import { hugetlb } from '../../../../../lib/primitives/cgroup/controllers/hugetlb.js';
import { io } from '../../../../../lib/primitives/cgroup/controllers/io.js';
import { memory } from '../../../../../lib/primitives/cgroup/controllers/memory.js';
import { misc } from '../../../../../lib/primitives/cgroup/controllers/misc.js';
import { pids } from '../../../../../lib/primitives/cgroup/controllers/pids.js';
import { rdma } from '../../../../../lib/primitives/cgroup/controllers/rdma.js';
import { cpuShares, cpuWeightOf } from '../../../../../lib/primitives/cgroup/weight.js';

/** The writes of settings as `file=value`, the optional ones as `file?=value`. */
function writes<S extends object, V extends object>(
  kind: ControllerKind<S, V>,
  settings: S,
  version: 1 | 2,
  update = true,
) {
  return kind
    .writes(kind.parse(settings, kind.name), version, { update, cpuset: { cpus: '0-3', mems: '0' } })
    .map(({ file, value, optional }) => `${file}${optional ? '?' : ''}=${value}`);
}

function read<S extends object, V extends object>(
  kind: ControllerKind<S, V>,
  files: Record<string, string>,
  version: 1 | 2,
) {
  const texts = new Map(Object.entries(files));
  const wanted = kind.files(version, [...texts.keys()]);
  for (const file of texts.keys()) expect(wanted, file).toContain(file);
  return kind.read(texts, version);
}

describe('cpu', () => {
  it('is written', () => {
    const settings = {
      max: 1.5,
      period: '10ms',
      burst: 5,
      weight: 10,
      idle: false,
      uclampMin: 12.345,
      uclampMax: 'max',
    } as const;
    expect(writes(cpu, settings, 2)).toEqual([
      'cpu.max=15000 10000',
      'cpu.max.burst=5000',
      'cpu.idle=0',
      'cpu.weight=10',
      'cpu.uclamp.min=12.35',
      'cpu.uclamp.max=max',
    ]);
    expect(writes(cpu, settings, 1).slice(0, 5)).toEqual([
      'cpu.cfs_period_us=10000',
      'cpu.cfs_quota_us=15000',
      'cpu.cfs_burst_us=5000',
      'cpu.idle=0',
      `cpu.shares=${cpuShares(10)}`,
    ]);
    expect(writes(cpu, { max: 'max' }, 2)).toEqual(['cpu.max=max 100000']);
    expect(writes(cpu, { max: 'max' }, 1)).toEqual(['cpu.cfs_period_us=100000', 'cpu.cfs_quota_us=-1']);
    expect(writes(cpu, { idle: true, weight: 3 }, 2)).toEqual(['cpu.weight=3', 'cpu.idle=1']);
  });

  it('is read', () => {
    const files = {
      'cpu.weight': '50\n',
      'cpu.max': '50000 100000\n',
      'cpu.max.burst': '1500\n',
      'cpu.idle': '0\n',
      'cpu.uclamp.min': '12.50\n',
      'cpu.uclamp.max': 'max\n',
    };
    expect(read(cpu, files, 2)).toEqual({
      weight: 50,
      max: 0.5,
      period: 100,
      burst: 1.5,
      idle: false,
      uclampMin: 12.5,
      uclampMax: 'max',
    });
    expect(read(cpu, { 'cpu.max': 'max 100000\n' }, 2)).toEqual({ max: 'max', period: 100 });
    expect(
      read(cpu, { 'cpu.shares': '1024\n', 'cpu.cfs_quota_us': '-1\n', 'cpu.cfs_period_us': '100000\n' }, 1),
    ).toEqual({ weight: 100, max: 'max', period: 100 });
    expect(read(cpu, { 'cpu.cfs_quota_us': '20000\n', 'cpu.cfs_period_us': '10000\n' }, 1)).toEqual({
      max: 2,
      period: 10,
    });
    expect(read(cpu, { 'cpu.max': 'garbage\n' }, 2)).toEqual({});
  });

  it('has every weight back from its shares', () => {
    for (let weight = 1; weight <= 10_000; weight++) expect(cpuWeightOf(cpuShares(weight)), `${weight}`).toBe(weight);
  });
});

describe('memory', () => {
  it('is written', () => {
    const settings = {
      min: '1MiB',
      low: 2,
      high: '3k',
      max: '64MiB',
      swapHigh: 5,
      swapMax: 0,
      zswapMax: 'max',
      oomGroup: true,
    } as const;
    expect(writes(memory, settings, 2)).toEqual([
      'memory.oom.group=1',
      'memory.min=1048576',
      'memory.low=2',
      'memory.high=3072',
      'memory.max=67108864',
      'memory.swap.high=5',
      'memory.swap.max?=0',
      'memory.zswap.max=max',
    ]);
    expect(writes(memory, { max: 4096, swapMax: 4096 }, 1)).toEqual([
      'memory.memsw.limit_in_bytes?=-1',
      'memory.limit_in_bytes=4096',
      'memory.memsw.limit_in_bytes?=8192',
    ]);
    expect(writes(memory, { max: 'max', swapMax: 'max' }, 1)).toEqual([
      'memory.memsw.limit_in_bytes?=-1',
      'memory.limit_in_bytes=-1',
    ]);
    expect(memory.onlyUnified).toEqual(['min', 'low', 'high', 'swapHigh', 'zswapMax', 'oomGroup']);
  });

  it('is read', () => {
    const files = {
      'memory.min': '0\n',
      'memory.high': 'max\n',
      'memory.max': '4096\n',
      'memory.swap.max': 'max\n',
      'memory.oom.group': '1\n',
    };
    expect(read(memory, files, 2)).toEqual({ min: 0, high: 'max', max: 4096, swapMax: 'max', oomGroup: true });
    const limits = (max: string, sum: string) =>
      read(memory, { 'memory.limit_in_bytes': max, 'memory.memsw.limit_in_bytes': sum }, 1);
    expect(limits('4096\n', '12288\n')).toEqual({ max: 4096, swapMax: 8192 });
    expect(limits('4096\n', '9223372036854771712\n')).toEqual({ max: 4096, swapMax: 'max' });
    expect(limits('9223372036854771712\n', '9223372036854771712\n')).toEqual({ max: 'max', swapMax: 'max' });
  });
});

describe('pids', () => {
  it('is written and read, the same on both versions', () => {
    for (const version of [1, 2] as const) {
      expect(writes(pids, { max: 0 }, version)).toEqual(['pids.max=0']);
      expect(writes(pids, { max: 'max' }, version)).toEqual(['pids.max=max']);
      expect(writes(pids, {}, version)).toEqual([]);
      expect(read(pids, { 'pids.max': 'max\n' }, version)).toEqual({ max: 'max' });
      expect(read(pids, { 'pids.max': '7\n' }, version)).toEqual({ max: 7 });
    }
  });
});

describe('cpuset', () => {
  it('is written, and filled where it is new on v1', () => {
    expect(writes(cpuset, { cpus: '3,0-1', mems: '0', partition: 'root' }, 2)).toEqual([
      'cpuset.mems=0',
      'cpuset.cpus=0-1,3',
      'cpuset.cpus.partition=root',
    ]);
    expect(writes(cpuset, { cpus: '1' }, 2, false)).toEqual(['cpuset.cpus=1']);
    expect(writes(cpuset, { cpus: '1' }, 1, false)).toEqual(['cpuset.mems=0', 'cpuset.cpus=1']);
    expect(writes(cpuset, { cpus: '1' }, 1)).toEqual(['cpuset.cpus=1']);
  });

  it('is read, with what is in effect', () => {
    const files = {
      'cpuset.cpus': '\n',
      'cpuset.mems': '\n',
      'cpuset.cpus.effective': '0-3\n',
      'cpuset.mems.effective': '0\n',
      'cpuset.cpus.partition': 'member\n',
    };
    expect(read(cpuset, files, 2)).toEqual({ effectiveCpus: '0-3', effectiveMems: '0', partition: 'member' });
    expect(read(cpuset, { 'cpuset.cpus': '1\n', 'cpuset.effective_cpus': '1\n' }, 1)).toEqual({
      cpus: '1',
      effectiveCpus: '1',
    });
    expect(
      read(cpuset, { 'cpuset.cpus.partition': 'root invalid (Cpu list in cpuset.cpus not exclusive)\n' }, 2),
    ).toEqual({});
  });
});

describe('io', () => {
  it('is written', () => {
    const settings = {
      max: [{ device: '8:0', readBps: '1MiB', writeIops: 'max' }, { device: '8:16' }],
      weight: 200,
      latency: [{ device: '8:0', target: '20ms' }],
    } as const;
    expect(writes(io, settings, 2)).toEqual([
      'io.max=8:0 rbps=1048576 wiops=max',
      'io.latency=8:0 target=20000',
      'io.weight=200',
      'io.bfq.weight?=109',
    ]);
    expect(writes(io, { max: [{ device: '8:0', readBps: 5, writeBps: 'max' }] }, 1)).toEqual([
      'blkio.throttle.read_bps_device=8:0 5',
      'blkio.throttle.write_bps_device=8:0 0',
    ]);
    expect(io.onlyUnified).toEqual(['latency']);
  });

  it('is read', () => {
    const files = {
      'io.max': '8:0 rbps=1048576 wbps=max riops=max wiops=5\n',
      'io.weight': 'default 200\n8:0 50\n',
      'io.latency': '8:0 target=20000\n',
    };
    expect(read(io, files, 2)).toEqual({
      max: [{ device: '8:0', readBps: 1048576, writeBps: 'max', readIops: 'max', writeIops: 5 }],
      weight: 200,
      latency: [{ device: '8:0', target: 20 }],
    });
    const v1 = {
      'blkio.throttle.read_bps_device': '8:0 5\n8:16 6\n',
      'blkio.throttle.write_iops_device': '8:0 7\n',
      'blkio.bfq.weight': '100\n',
    };
    expect(read(io, v1, 1)).toEqual({
      max: [
        { device: '8:0', readBps: 5, writeIops: 7 },
        { device: '8:16', readBps: 6 },
      ],
      weight: 100,
    });
  });
});

describe('hugetlb, rdma and misc', () => {
  it('are written', () => {
    expect(writes(hugetlb, { max: { '2MB': '64MiB', '1GB': 'max' }, reservedMax: { '2MB': 0 } }, 2)).toEqual([
      'hugetlb.2MB.rsvd.max=0',
      'hugetlb.2MB.max=67108864',
      'hugetlb.1GB.max=max',
    ]);
    expect(writes(hugetlb, { max: { '2MB': 'max' } }, 1)).toEqual(['hugetlb.2MB.limit_in_bytes=-1']);
    expect(writes(rdma, { max: [{ device: 'mlx5_0', handles: 3, objects: 'max' }, { device: 'x' }] }, 2)).toEqual([
      'rdma.max=mlx5_0 hca_handle=3 hca_object=max',
    ]);
    expect(writes(misc, { max: { sev: 3, sev_es: 'max' } }, 2)).toEqual(['misc.max=sev 3', 'misc.max=sev_es max']);
  });

  it('are read', () => {
    const pages = { 'hugetlb.2MB.max': '4096\n', 'hugetlb.2MB.rsvd.max': 'max\n', 'hugetlb.1GB.max': 'max\n' };
    expect(read(hugetlb, pages, 2)).toEqual({ max: { '2MB': 4096, '1GB': 'max' }, reservedMax: { '2MB': 'max' } });
    expect(read(hugetlb, { 'hugetlb.2MB.limit_in_bytes': '9223372036852678656\n' }, 1)).toEqual({
      max: { '2MB': 'max' },
      reservedMax: {},
    });
    expect(hugetlb.files(2, ['hugetlb.2MB.current', 'hugetlb.2MB.events', 'hugetlb.2MB.max'])).toEqual([
      'hugetlb.2MB.max',
    ]);
    expect(read(rdma, { 'rdma.max': 'mlx5_0 hca_handle=2 hca_object=max\n' }, 2)).toEqual({
      max: [{ device: 'mlx5_0', handles: 2, objects: 'max' }],
    });
    expect(read(misc, { 'misc.max': 'sev 3\nsev_es max\n' }, 2)).toEqual({ max: { sev: 3, sev_es: 'max' } });
  });
});

describe('settings that are wrong', () => {
  const parse = (kind: ControllerKind<never, object>, settings: unknown) => () =>
    kind.parse(settings as never, kind.name);
  it.each<[string, ControllerKind<never, object>, unknown]>([
    ['cpu.max', cpu, { max: Number.POSITIVE_INFINITY }],
    ['cpu.max', cpu, { max: '1' }],
    ['cpu.burst', cpu, { burst: -1 }],
    ['cpu.uclampMin', cpu, { uclampMin: 101 }],
    ['cpu.idle', cpu, { idle: 'yes' }],
    ['cpu', cpu, null],
    ['memory.max', memory, { max: '5 elephants' }],
    ['memory.low', memory, { low: Number.NaN }],
    ['memory.heap', memory, { heap: 1 }],
    ['pids.max', pids, { max: 2 ** 23 }],
    ['cpuset.mems', cpuset, { mems: '' }],
    ['cpuset.partition', cpuset, { partition: 'no' }],
    ['io.max[0].device', io, { max: [{ device: '8:0 rbps=1' }] }],
    ['io.max[0].readBps', io, { max: [{ device: '8:0', readBps: 0 }] }],
    ['io.latency[0].target', io, { latency: [{ device: '8:0' }] }],
    ['io.max', io, { max: Array.from({ length: 65 }, () => ({ device: '8:0' })) }],
    ['hugetlb.max["2MB\\n"]', hugetlb, { max: { '2MB\n': 1 } }],
    ['rdma.max[0].handles', rdma, { max: [{ device: 'a', handles: -1 }] }],
    ['misc.max.sev', misc, { max: { sev: 1.5 } }],
  ])('are refused: %s', (option, kind, settings) => {
    expect(parse(kind, settings)).toThrow(OptionError);
    expect(parse(kind, settings)).toThrow(`option ${option}:`);
  });
});

describe('hostile or odd text', () => {
  it.each([
    '',
    '\0',
    'NaN',
    '-5\n',
    'a) R 1 (\n',
    '__proto__ 5\n',
    '__proto__ a=5\n',
    '8:0\n',
    '8:0 =5 rbps=\n',
    `${'9'.repeat(400)}\n`,
    'x'.repeat(300_000),
  ])('gives no number that is not one (%#)', (text) => {
    for (const kind of [cpu, cpuset, hugetlb, io, memory, misc, pids, rdma] as ControllerKind<never, object>[]) {
      for (const version of [1, 2] as const) {
        const files = kind.files(version, ['hugetlb.2MB.max', 'hugetlb.2MB.limit_in_bytes']);
        const values = kind.read(new Map(files.map((file) => [file, text])), version);
        const numbers = (value: unknown): unknown[] =>
          typeof value === 'object' && value ? Object.values(value).flatMap(numbers) : [value];
        for (const value of numbers(values)) {
          if (typeof value === 'number') expect(Number.isFinite(value) && value >= 0).toBe(true);
        }
        expect(Object.getPrototypeOf(values)).toBe(Object.prototype);
      }
    }
  });
});
