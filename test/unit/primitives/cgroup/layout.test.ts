import { describe, expect, it } from 'vitest';
import { baseSteps } from '../../../../lib/primitives/cgroup/base.js';
import { cgroupLayout } from '../../../../lib/primitives/cgroup/layout.js';
import {
  docker,
  dockerNested,
  dockerPrivileged,
  dockerV1,
  domain,
  type HostFixture,
  kubernetes,
  kubernetesPrivileged,
  layoutOf,
  legacy,
  splitHybrid,
  systemdDelegated,
  systemdHybrid,
  systemdService,
  systemdSession,
  systemdUserScope,
} from './fixtures.js';

function reasonOf(host: HostFixture, controller: 'memory' | 'cpu' | 'io'): string {
  const availability = layoutOf(host).availability[controller];
  return availability.usable ? 'usable' : availability.reason;
}

describe('the kind of a host', () => {
  it.each([
    ['unified', systemdService],
    ['unified', docker],
    ['hybrid', splitHybrid],
    ['hybrid', systemdHybrid],
    ['legacy', legacy],
    ['none', { mountinfo: '', selfCgroup: '' }],
  ] as const)('is %s', (kind, host) => {
    expect(layoutOf(host).kind).toBe(kind);
  });

  it('is found on this host without an error', () => {
    expect(['unified', 'hybrid', 'legacy', 'none']).toContain(cgroupLayout().kind);
    expect(cgroupLayout()).toBe(cgroupLayout());
  });
});

describe('the hierarchies', () => {
  it('begin with the v2 tree', () => {
    expect(layoutOf(splitHybrid).hierarchies.map(({ version }) => version)).toEqual([2, 1, 1, 1, 1, 1, 1, 1]);
  });

  it('bind each controller once, under its v2 name', () => {
    const layout = layoutOf(systemdHybrid);
    expect(layout.of('io')?.mount).toBe('/sys/fs/cgroup/blkio');
    expect(layout.of('cpu')).toBe(layout.of('cpuacct'));
    expect(layout.of('memory')).toMatchObject({
      version: 1,
      own: '/sys/fs/cgroup/memory/system.slice/app.service',
      controllers: ['memory'],
    });
  });

  it('leave out those without a controller that we use', () => {
    expect(layoutOf(systemdHybrid).hierarchies.map(({ mount }) => mount)).not.toContain(
      '/sys/fs/cgroup/net_cls,net_prio',
    );
  });

  it('count freezer and cpuacct to the v2 tree unless a v1 hierarchy has them', () => {
    expect(layoutOf(systemdService).of('freezer')?.version).toBe(2);
    expect(layoutOf(systemdService).availability.freezer.usable).toBe(true);
    expect(layoutOf(splitHybrid).of('freezer')?.version).toBe(1);
  });

  it('resolve our cgroup against a bind-mounted part of the tree', () => {
    const layout = layoutOf(dockerV1);
    expect(layout.of('memory')?.own).toBe('/sys/fs/cgroup/memory');
    expect(layout.of('cpu')?.own).toBe('/sys/fs/cgroup/cpu,cpuacct/job');
  });

  it('unescape mount points', () => {
    const host: HostFixture = {
      mountinfo: '29 22 0:25 / /mnt/a\\040b\\134c rw - cgroup2 cgroup2 rw\n',
      selfCgroup: '0::/x:y\n',
    };
    expect(layoutOf(host).hierarchies[0]).toMatchObject({ mount: '/mnt/a b\\c', own: '/mnt/a b\\c/x:y' });
  });

  it('prefer the writable, whole mount that shows our cgroup', () => {
    const host: HostFixture = {
      mountinfo: `
1 0 0:25 /other /first rw - cgroup2 cgroup2 rw
2 0 0:25 / /second ro - cgroup2 cgroup2 rw
3 0 0:25 /job /third rw - cgroup2 cgroup2 rw
4 0 0:25 / /fourth rw - cgroup2 cgroup2 rw
`,
      selfCgroup: '0::/job\n',
    };
    expect(layoutOf(host).hierarchies.map(({ mount }) => mount)).toEqual(['/fourth']);
  });

  it('ignore a mount that another one covers', () => {
    const host: HostFixture = {
      mountinfo: `
29 22 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
77 29 0:99 / /sys/fs/cgroup rw - tmpfs tmpfs rw
`,
      selfCgroup: '0::/\n',
    };
    expect(layoutOf(host).kind).toBe('none');
  });

  it('never follow .. out of a mount', () => {
    const host: HostFixture = {
      mountinfo: '29 22 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n',
      selfCgroup: '0::/../../../etc\n',
    };
    const hierarchy = layoutOf(host).hierarchies[0];
    expect(hierarchy).toMatchObject({ writable: false, own: '/sys/fs/cgroup' });
    expect(hierarchy?.problem?.reason).toContain('is not inside what is mounted');
  });

  it.each(['', '\n\n', 'x', '1 2 3 - cgroup2', '- - -', '29 22 0:25 / /a rw - cgroup2', '0::', '0::relative'])(
    'come out of odd text %j without an error',
    (text) => {
      expect(() => layoutOf({ mountinfo: text, selfCgroup: text })).not.toThrow();
      expect(() => layoutOf({ ...splitHybrid, selfCgroup: text })).not.toThrow();
      expect(() => layoutOf({ ...splitHybrid, mountinfo: text })).not.toThrow();
    },
  );
});

describe('the base', () => {
  const baseOf = (host: HostFixture): string | undefined => layoutOf(host).hierarchies[0]?.base;

  it('is in our own cgroup on v1, so that the limits of the caller hold', () => {
    expect(layoutOf(splitHybrid).of('memory')?.base).toBe('/sys/fs/cgroup/memory/service/4276/tscontain');
    expect(layoutOf(splitHybrid).of('pids')?.base).toBe('/sys/fs/cgroup/pids/tscontain');
  });

  it('is in our own cgroup on a v2 tree that has no controller to hand down', () => {
    expect(baseOf(systemdHybrid)).toBe('/sys/fs/cgroup/unified/system.slice/app.service/tscontain');
    expect(baseOf(splitHybrid)).toBe('/sys/fs/cgroup/unified/tscontain');
  });

  it('is in the root cgroup for root in a unit that is not delegated', () => {
    expect(baseOf(systemdService)).toBe('/sys/fs/cgroup/tscontain');
    expect(baseOf(kubernetesPrivileged)).toBe('/sys/fs/cgroup/tscontain');
    expect(reasonOf(systemdService, 'io')).toBe('usable');
  });

  it('is in the unit when that is delegated, even if it has fewer controllers', () => {
    expect(baseOf(systemdDelegated)).toBe('/sys/fs/cgroup/system.slice/app.service/tscontain');
    expect(reasonOf(systemdDelegated, 'memory')).toBe('usable');
    expect(reasonOf(systemdDelegated, 'io')).toBe(
      'the io controller is not in /sys/fs/cgroup/system.slice/app.service/cgroup.controllers',
    );
  });

  it('is in the farther ancestor of a delegated subtree when that has more controllers', () => {
    const user = '/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service';
    expect(baseOf(systemdUserScope)).toBe(`${user}/tscontain`);
    const files = { ...systemdUserScope.files, ...domain(`${user}/app.slice`, 'cpu memory pids') };
    expect(baseOf({ ...systemdUserScope, files })).toBe(`${user}/app.slice/tscontain`);
  });

  it('is nowhere for a user to whom nothing is delegated', () => {
    expect(layoutOf(systemdSession).hierarchies[0]?.writable).toBe(false);
    expect(reasonOf(systemdSession, 'memory')).toContain('not writable by this process');
  });

  it('is nowhere when the tree is mounted read-only', () => {
    expect(layoutOf(docker).hierarchies[0]?.writable).toBe(false);
    expect(reasonOf(docker, 'memory')).toBe('/sys/fs/cgroup is mounted read-only');
  });

  it('serves the life cycle only when the top of a container has processes', () => {
    expect(layoutOf(dockerPrivileged).hierarchies[0]).toMatchObject({
      writable: true,
      base: '/sys/fs/cgroup/tscontain',
    });
    expect(reasonOf(dockerPrivileged, 'memory')).toContain('/sys/fs/cgroup holds processes');
    expect(layoutOf(dockerPrivileged).availability.freezer.usable).toBe(true);
    expect(baseSteps(layoutOf(dockerPrivileged), [0])).toEqual([
      { kind: 'mkdir', hierarchy: 0, path: '/sys/fs/cgroup/tscontain' },
    ]);
  });

  it('is at the top of a container whose processes were moved into a child', () => {
    expect(baseOf(dockerNested)).toBe('/sys/fs/cgroup/tscontain');
    expect(reasonOf(dockerNested, 'io')).toBe('usable');
  });

  it('is nowhere when our cgroup is outside of what is mounted', () => {
    expect(reasonOf(kubernetes, 'memory')).toContain('is not inside what is mounted at /sys/fs/cgroup');
  });

  it('is never in a threaded cgroup', () => {
    const host: HostFixture = {
      ...dockerNested,
      files: {
        ...dockerNested.files,
        '/sys/fs/cgroup/cgroup.type': 'domain threaded\n',
        '/sys/fs/cgroup/init/cgroup.type': 'threaded\n',
      },
    };
    expect(layoutOf(host).hierarchies[0]?.writable).toBe(false);
    expect(reasonOf(host, 'memory')).toContain('threaded');
  });

  it('is explained where a controller is bound nowhere', () => {
    expect(reasonOf({ mountinfo: '', selfCgroup: '' }, 'cpu')).toBe(
      'no mounted cgroup hierarchy has the cpu controller',
    );
    const files = { '/sys/fs/cgroup/cgroup.controllers': 'cpu pids\n' };
    expect(reasonOf({ ...systemdService, files }, 'memory')).toContain(
      'the memory controller is not in /sys/fs/cgroup/cgroup.controllers',
    );
  });
});

describe('the steps that make a base', () => {
  it('hand each v2 controller down twice, one write each', () => {
    const layout = layoutOf(systemdService);
    const parent = '/sys/fs/cgroup/cgroup.subtree_control';
    const base = '/sys/fs/cgroup/tscontain/cgroup.subtree_control';
    const written = ['cpuset', 'cpu', 'io', 'memory', 'pids'].map((controller) => `+${controller}`);
    expect(baseSteps(layout, [0])).toEqual([
      { kind: 'mkdir', hierarchy: 0, path: '/sys/fs/cgroup/tscontain' },
      ...written.map((value) => ({ kind: 'write', hierarchy: 0, path: parent, value })),
      ...written.map((value) => ({ kind: 'write', hierarchy: 0, path: base, value })),
    ]);
  });

  it('fill a v1 cpuset from our own', () => {
    const layout = layoutOf(systemdHybrid);
    const cpuset = layout.hierarchies.findIndex(({ controllers }) => controllers.includes('cpuset'));
    expect(baseSteps(layout, [cpuset])).toEqual([
      { kind: 'mkdir', hierarchy: cpuset, path: '/sys/fs/cgroup/cpuset/tscontain' },
      { kind: 'write', hierarchy: cpuset, path: '/sys/fs/cgroup/cpuset/tscontain/cpuset.cpus', value: '0-3' },
      { kind: 'write', hierarchy: cpuset, path: '/sys/fs/cgroup/cpuset/tscontain/cpuset.mems', value: '0-1' },
    ]);
  });

  it('are none for a hierarchy that is not writable or does not exist', () => {
    expect(baseSteps(layoutOf(docker), [0, 9, -1])).toEqual([]);
  });
});
