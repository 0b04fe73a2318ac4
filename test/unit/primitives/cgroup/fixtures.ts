/** Hosts as their own files describe them, for tests of what is computed from those. */

import { type CgroupLayout, type LayoutSource, parseLayout } from '../../../../lib/primitives/cgroup/layout.js';

/** A host's files. Everything is writable unless `writable` says otherwise, as for root. */
export interface HostFixture {
  readonly mountinfo: string;
  readonly selfCgroup: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly writable?: (path: string) => boolean;
}

function sourceOf({ mountinfo, selfCgroup, files = {}, writable = () => true }: HostFixture): LayoutSource {
  const texts = new Map(Object.entries(files));
  return { mountinfo, selfCgroup, read: (path) => texts.get(path), writable };
}

export function layoutOf(host: HostFixture): CgroupLayout {
  return parseLayout(sourceOf(host));
}

/** The files of one v2 cgroup that is not the root one. */
export function domain(path: string, controllers: string, processes = ''): Record<string, string> {
  return {
    [`${path}/cgroup.type`]: 'domain\n',
    [`${path}/cgroup.controllers`]: `${controllers}\n`,
    [`${path}/cgroup.procs`]: processes,
  };
}

const all = 'cpuset cpu io memory hugetlb pids rdma misc';
const systemdMount = `
22 27 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
29 22 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
35 24 0:31 / /run rw,nosuid,nodev shared:5 - tmpfs tmpfs rw,size=402400k,mode=755
`;

/** A system service of Debian 12 or Ubuntu, not delegated, as root. */
export const systemdService: HostFixture = {
  mountinfo: systemdMount,
  selfCgroup: '0::/system.slice/app.service\n',
  files: {
    '/sys/fs/cgroup/cgroup.controllers': `${all}\n`,
    '/sys/fs/cgroup/cpuset.cpus.effective': '0-3\n',
    '/sys/fs/cgroup/cpuset.mems.effective': '0\n',
    ...domain('/sys/fs/cgroup/system.slice', 'cpu memory pids'),
    ...domain('/sys/fs/cgroup/system.slice/app.service', 'memory pids', '812\n'),
  },
};

/** The same with Delegate=yes and DelegateSubgroup=main. */
export const systemdDelegated: HostFixture = {
  mountinfo: systemdMount,
  selfCgroup: '0::/system.slice/app.service/main\n',
  files: {
    ...systemdService.files,
    ...domain('/sys/fs/cgroup/system.slice/app.service', 'cpu memory pids'),
    ...domain('/sys/fs/cgroup/system.slice/app.service/main', '', '812\n'),
  },
};

const userService = '/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service';

/** A user's own scope below the user manager, which has more controllers than it hands on to app.slice. */
export const systemdUserScope: HostFixture = {
  mountinfo: systemdMount,
  selfCgroup: '0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-7.scope\n',
  files: {
    '/sys/fs/cgroup/cgroup.controllers': `${all}\n`,
    ...domain('/sys/fs/cgroup/user.slice', 'cpu memory pids'),
    ...domain('/sys/fs/cgroup/user.slice/user-1000.slice', 'cpu memory pids'),
    ...domain(userService, 'cpu memory pids'),
    ...domain(`${userService}/app.slice`, 'memory pids'),
    ...domain(`${userService}/app.slice/run-7.scope`, 'memory pids', '4242\n'),
  },
  writable: (path) => path.startsWith(userService),
};

/** A login shell over ssh without root: nothing is delegated. */
export const systemdSession: HostFixture = {
  mountinfo: systemdMount,
  selfCgroup: '0::/user.slice/user-1000.slice/session-3.scope\n',
  files: {
    '/sys/fs/cgroup/cgroup.controllers': `${all}\n`,
    ...domain('/sys/fs/cgroup/user.slice', 'cpu memory pids'),
    ...domain('/sys/fs/cgroup/user.slice/user-1000.slice', 'memory pids'),
    ...domain('/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope', 'memory pids', '4100\n'),
  },
  writable: () => false,
};

/** A machine whose init mounts each v1 controller by itself, and a v2 tree that has only hugetlb. */
export const splitHybrid: HostFixture = {
  mountinfo: `
22 26 0:21 / /sys rw,relatime - sysfs sysfs rw
26 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 22 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:28 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
32 30 0:29 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
33 30 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
34 30 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
35 30 0:32 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
36 30 0:33 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
37 30 0:34 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
38 30 0:35 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
39 30 0:36 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
40 30 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`,
  selfCgroup: `9:name=systemd:/
8:pids:/
7:blkio:/
6:freezer:/
5:devices:/
4:memory:/service/4276
3:cpuset:/
2:cpuacct:/
1:cpu:/
0::/
`,
  files: {
    '/sys/fs/cgroup/unified/cgroup.controllers': 'hugetlb\n',
    '/sys/fs/cgroup/cpuset/cpuset.cpus': '0-1\n',
    '/sys/fs/cgroup/cpuset/cpuset.mems': '0\n',
  },
};

/** systemd with systemd.unified_cgroup_hierarchy=0: joint controllers, and v2 only for its own book-keeping. */
export const systemdHybrid: HostFixture = {
  mountinfo: `
25 22 0:22 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:8 - tmpfs tmpfs ro,mode=755
26 25 0:23 / /sys/fs/cgroup/unified rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup rw,nsdelegate
27 25 0:24 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:10 - cgroup cgroup rw,xattr,name=systemd
30 25 0:27 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid,nodev,noexec,relatime shared:14 - cgroup cgroup rw,net_cls,net_prio
31 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct
32 25 0:29 / /sys/fs/cgroup/blkio rw,nosuid,nodev,noexec,relatime shared:16 - cgroup cgroup rw,blkio
33 25 0:30 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:17 - cgroup cgroup rw,memory
34 25 0:31 / /sys/fs/cgroup/cpuset rw,nosuid,nodev,noexec,relatime shared:18 - cgroup cgroup rw,cpuset
35 25 0:32 / /sys/fs/cgroup/freezer rw,nosuid,nodev,noexec,relatime shared:19 - cgroup cgroup rw,freezer
36 25 0:33 / /sys/fs/cgroup/pids rw,nosuid,nodev,noexec,relatime shared:20 - cgroup cgroup rw,pids
`,
  selfCgroup: `9:pids:/system.slice/app.service
8:freezer:/
7:cpuset:/
6:memory:/system.slice/app.service
5:blkio:/system.slice/app.service
4:cpu,cpuacct:/system.slice/app.service
3:net_cls,net_prio:/
1:name=systemd:/system.slice/app.service
0::/system.slice/app.service
`,
  files: {
    '/sys/fs/cgroup/unified/cgroup.controllers': '\n',
    ...domain('/sys/fs/cgroup/unified/system.slice/app.service', '', '812\n'),
    '/sys/fs/cgroup/cpuset/cpuset.cpus': '0-3\n',
    '/sys/fs/cgroup/cpuset/cpuset.mems': '0-1\n',
  },
};

/** The same host without the v2 tree. */
export const legacy: HostFixture = {
  ...systemdHybrid,
  mountinfo: systemdHybrid.mountinfo.replace(/^26 .*\n/m, ''),
  selfCgroup: systemdHybrid.selfCgroup.replace(/^0::.*\n/m, ''),
};

const dockerMount = (options: string): string => `
650 637 0:58 / / rw,relatime master:251 - overlay overlay rw,lowerdir=/var/lib/docker/a
655 650 0:62 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
656 655 0:26 / /sys/fs/cgroup ${options},nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate
`;

/** A Docker container on a v2 host: a cgroup namespace of its own, and the tree mounted read-only. */
export const docker: HostFixture = {
  mountinfo: dockerMount('ro'),
  selfCgroup: '0::/\n',
  files: domain('/sys/fs/cgroup', 'cpuset cpu io memory pids', '1\n7\n'),
  writable: () => false,
};

/** The same with --privileged: writable, but the top is our own cgroup and has our processes in it. */
export const dockerPrivileged: HostFixture = { ...docker, mountinfo: dockerMount('rw'), writable: () => true };

/** The same after an entry point moved all processes into a child. */
export const dockerNested: HostFixture = {
  ...dockerPrivileged,
  selfCgroup: '0::/init\n',
  files: {
    ...domain('/sys/fs/cgroup', 'cpuset cpu io memory pids'),
    ...domain('/sys/fs/cgroup/init', 'cpu memory pids', '1\n7\n'),
  },
};

/** A Docker container on a v1 host: no cgroup namespace, the mounts show only the container's own cgroup. */
export const dockerV1: HostFixture = {
  mountinfo: `
700 690 0:70 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755
701 700 0:28 /docker/5f4dcc /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime master:15 - cgroup cgroup rw,cpu,cpuacct
702 700 0:30 /docker/5f4dcc /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime master:17 - cgroup cgroup rw,memory
`,
  selfCgroup: '6:memory:/docker/5f4dcc\n4:cpu,cpuacct:/docker/5f4dcc/job\n',
};

/** A Kubernetes pod that sees the node's tree, read-only, without a cgroup namespace. */
export const kubernetes: HostFixture = {
  mountinfo: `
900 890 0:26 /../../.. /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw
`,
  selfCgroup: '0::/\n',
  files: { '/sys/fs/cgroup/cgroup.controllers': `${all}\n` },
  writable: () => false,
};

/** A privileged Kubernetes pod of the host's cgroup namespace. */
export const kubernetesPrivileged: HostFixture = {
  mountinfo: `
900 890 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw
`,
  selfCgroup: '0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-ab.scope\n',
  files: { '/sys/fs/cgroup/cgroup.controllers': `${all}\n` },
};
