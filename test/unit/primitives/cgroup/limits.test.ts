import { describe, expect, it } from 'vitest';
import { UnsupportedError } from '../../../../lib/errors.js';
import type { CgroupLayout } from '../../../../lib/primitives/cgroup/layout.js';
import {
  explicitUnsupported,
  type Limits,
  limitWrites,
  requiredHierarchies,
  unenforceable,
} from '../../../../lib/primitives/cgroup/limits.js';
import {
  docker,
  dockerPrivileged,
  type HostFixture,
  layoutOf,
  legacy,
  splitHybrid,
  systemdDelegated,
  systemdHybrid,
  systemdService,
} from './fixtures.js';

/** The writes as `file=value`, the optional ones as `file?=value`. */
function writesOf(layout: CgroupLayout, limits: Limits, update = false): string[] {
  return limitWrites(layout, limits, { update }).map(({ file, value, optional }) => {
    return `${file}${optional ? '?' : ''}=${value}`;
  });
}

function mountsOf(host: HostFixture, limits: Limits): string[] {
  const layout = layoutOf(host);
  return requiredHierarchies(layout, limits).map((index) => layout.hierarchies[index]?.mount.split('/').at(-1) ?? '?');
}

const MiB = 2 ** 20;

describe('limits on v2', () => {
  const layout = layoutOf(systemdService);

  it.each<[Limits, string[]]>([
    [{ memory: 64 * MiB }, ['memory.oom.group=1', 'memory.max=67108864']],
    [{ swap: 0 }, ['memory.swap.max?=0']],
    [{ pids: 10 }, ['pids.max=10']],
    [{ cpus: 0.5 }, ['cpu.max=50000 100000']],
    [{ cpus: 1.25 }, ['cpu.max=125000 100000']],
    [{ cpus: 0.001 }, ['cpu.max=1000 100000']],
    [{ cpuWeight: 50 }, ['cpu.weight=50']],
    [{ cpuset: '0,2-3' }, ['cpuset.cpus=0,2-3']],
    [
      {
        io: [
          { device: '8:0', readBps: MiB, writeIops: 10 },
          { device: '8:16', writeBps: 1 },
        ],
      },
      ['io.max=8:0 rbps=1048576 wiops=10', 'io.max=8:16 wbps=1'],
    ],
    [{ io: [{ device: '8:0' }] }, []],
    [{ ioWeight: 10000 }, ['io.weight=10000', 'io.bfq.weight?=1000']],
    [{}, []],
  ])('%j', (limits, writes) => {
    expect(writesOf(layout, limits)).toEqual(writes);
  });

  it('are all in the one tree', () => {
    const limits = { memory: MiB, pids: 1, cpus: 1, cpuset: '0', ioWeight: 1 };
    expect(requiredHierarchies(layout, limits)).toEqual([0]);
    expect(new Set(limitWrites(layout, limits).map(({ hierarchy }) => hierarchy))).toEqual(new Set([0]));
  });

  it('never name processors that are not there, as the kernel would quietly use others', () => {
    expect(explicitUnsupported(layout, { cpuset: '2-5' })?.message).toBe(
      'cannot enforce limits.cpuset: processors 4-5 are not available to this process (hint: choose among 0-3)',
    );
    expect(writesOf(layout, { cpuset: '2-5', pids: 3 })).toEqual(['pids.max=3']);
  });
});

describe('limits on v1', () => {
  const layout = layoutOf(splitHybrid);

  it.each<[Limits, string[]]>([
    [{ memory: 64 * MiB }, ['memory.limit_in_bytes=67108864']],
    [
      { memory: 64 * MiB, swap: 0 },
      ['memory.limit_in_bytes=67108864', 'memory.memsw.limit_in_bytes?=67108864', 'memory.swappiness=0'],
    ],
    [{ memory: 64 * MiB, swap: MiB }, ['memory.limit_in_bytes=67108864', 'memory.memsw.limit_in_bytes?=68157440']],
    [{ pids: 10 }, ['pids.max=10']],
    [{ cpus: 0.5 }, ['cpu.cfs_period_us=100000', 'cpu.cfs_quota_us=50000']],
    [{ cpuWeight: 100 }, ['cpu.shares=1024']],
    [{ cpuset: '0' }, ['cpuset.mems=0', 'cpuset.cpus=0']],
    [
      { io: [{ device: '8:0', readBps: MiB, writeBps: 2, readIops: 3, writeIops: 4 }] },
      [
        'blkio.throttle.read_bps_device=8:0 1048576',
        'blkio.throttle.write_bps_device=8:0 2',
        'blkio.throttle.read_iops_device=8:0 3',
        'blkio.throttle.write_iops_device=8:0 4',
      ],
    ],
    [{ ioWeight: 10000 }, ['blkio.bfq.weight=1000']],
  ])('%j', (limits, writes) => {
    expect(writesOf(layout, limits)).toEqual(writes);
  });

  it('go up as well as down in an update', () => {
    expect(writesOf(layout, { memory: 2 * MiB, swap: 0 }, true)).toEqual([
      'memory.memsw.limit_in_bytes?=-1',
      'memory.limit_in_bytes=2097152',
      'memory.memsw.limit_in_bytes?=2097152',
      'memory.swappiness=0',
    ]);
  });

  it('leave the memory nodes of a cpuset alone in an update', () => {
    expect(writesOf(layout, { cpuset: '1' }, true)).toEqual(['cpuset.cpus=1']);
  });

  it('cannot say swap without memory', () => {
    expect(explicitUnsupported(layout, { swap: 0 })?.message).toBe(
      'cannot enforce limits.swap: the memory controller is bound to cgroup v1, which limits memory and swap as one sum (hint: set limits.memory too)',
    );
    expect(writesOf(layout, { swap: 0 })).toEqual([]);
  });

  it('fill a cpuset that shares its hierarchy with a controller that is wanted', () => {
    const joint = layoutOf({
      mountinfo: '31 25 0:28 / /cg rw - cgroup cgroup rw,cpuset,cpu\n',
      selfCgroup: '4:cpuset,cpu:/\n',
      files: { '/cg/cpuset.cpus': '0-7\n', '/cg/cpuset.mems': '0-1\n' },
    });
    expect(writesOf(joint, { cpuWeight: 100 })).toEqual(['cpuset.mems=0-1', 'cpuset.cpus=0-7', 'cpu.shares=1024']);
  });

  it('cannot use a cpuset whose parent cannot be read', () => {
    const blind = layoutOf({ ...splitHybrid, files: {} });
    expect(unenforceable(blind, { cpuset: '0' }).map(({ limit }) => limit)).toEqual(['cpuset']);
  });
});

describe('the hierarchies that a container is placed in', () => {
  it('are the v2 tree, memory and pids, and no more, by default', () => {
    expect(mountsOf(splitHybrid, {}).sort()).toEqual(['memory', 'pids', 'unified']);
    expect(mountsOf(systemdService, {})).toEqual(['cgroup']);
  });

  it('grow with the limits', () => {
    expect(mountsOf(splitHybrid, { cpus: 1, cpuset: '0', ioWeight: 5 }).sort()).toEqual(
      ['blkio', 'cpu', 'cpuset', 'memory', 'pids', 'unified'].sort(),
    );
  });

  it('have freezer and cpuacct in place of the v2 tree on a legacy host', () => {
    expect(mountsOf(legacy, {}).sort()).toEqual(['cpu,cpuacct', 'freezer', 'memory', 'pids']);
  });

  it('have each hierarchy once, the v2 tree first', () => {
    const indexes = requiredHierarchies(layoutOf(systemdHybrid), { cpus: 1, cpuWeight: 1 });
    expect(indexes[0]).toBe(0);
    expect(new Set(indexes).size).toBe(indexes.length);
  });

  it('are none that cannot be written', () => {
    expect(mountsOf(docker, { memory: 1 })).toEqual([]);
  });
});

describe('what a host cannot enforce', () => {
  it('is nothing on a host that can', () => {
    const limits: Limits = { memory: MiB, swap: 0, pids: 1, cpus: 1, cpuWeight: 1, cpuset: '0', ioWeight: 1, io: [] };
    expect(explicitUnsupported(layoutOf(systemdService), limits)).toBeUndefined();
    expect(explicitUnsupported(layoutOf(splitHybrid), limits)).toBeUndefined();
  });

  it('is named with the reason and what to do', () => {
    const error = explicitUnsupported(layoutOf(dockerPrivileged), { pids: 5, cpus: 1 });
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error?.message).toMatch(/^cannot enforce limits.pids: the pids controller cannot be handed down: /);
    expect(error?.hint).toContain('move every process');
  });

  it('is listed limit by limit, and the rest is written', () => {
    const layout = layoutOf(systemdDelegated);
    const limits: Limits = { memory: MiB, ioWeight: 10, cpuset: '0' };
    expect(unenforceable(layout, limits).map(({ limit }) => limit)).toEqual(['cpuset', 'ioWeight']);
    expect(writesOf(layout, limits)).toEqual(['memory.oom.group=1', 'memory.max=1048576']);
  });
});
