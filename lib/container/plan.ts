/**
 * Settings become a plan: the steps that make a container, in the order they run. Nothing here calls the kernel; the plan
 * is data that can be printed, and `launcher/` sends it.
 *
 * Steps of the `host` part run in the launcher, with the host's privileges, and only make mounts; those of the
 * `container` part run in init, inside the new namespaces.
 */

import { cpus } from 'node:os';
import { cloneFlag, mountAttribute, openFlag, propagationPrivate, resolveFlag, type Step } from '../plan/step.js';
import {
  attach,
  deviceDirectory,
  deviceNode,
  hostTree,
  kernelOnly,
  newFileSystem,
  overlay,
  tmpfs,
} from '../primitives/mounts.js';
import { hostImage } from './host-image.js';
import type { ContainerSettings, MountSettings } from './settings.js';
import type { SourceFacts } from './sources.js';
import { group, hosts, nsswitch, passwd, resolvConf } from './system-files.js';

/** What makes a container, as data. */
export interface ContainerSteps {
  readonly host: readonly Step[];
  readonly container: readonly Step[];
}

/** How the container's ids are mapped: a range of its own (root), or only the caller's id (rootless). */
export type IdMode = 'range' | 'single';

export interface PlanInput {
  readonly settings: ContainerSettings;
  readonly facts: SourceFacts;
  readonly hostname: string;
  readonly ids: IdMode;
}

/** Every namespace of the default isolation (namespaces(7)); the cgroup namespace is made by a step, once inside. */
export const namespaces =
  cloneFlag.NEWUSER | cloneFlag.NEWNS | cloneFlag.NEWPID | cloneFlag.NEWNET | cloneFlag.NEWIPC | cloneFlag.NEWUTS;

const S_IFCHR = 0o020000;
/** The device nodes of /dev: exactly those of the OCI runtime specification, by number (devices.txt). */
const deviceNodes = [
  ['null', 1, 3],
  ['zero', 1, 5],
  ['full', 1, 7],
  ['random', 1, 8],
  ['urandom', 1, 9],
  ['tty', 5, 0],
] as const;

/** Files of /proc and /sys that tell about, or reach, the host (Docker's list, facts from moby). */
const hiddenInProc = [
  'acpi',
  'asound',
  'interrupts',
  'kcore',
  'keys',
  'latency_stats',
  'sched_debug',
  'scsi',
  'timer_list',
  'timer_stats',
];
const readOnlyInProc = ['bus', 'fs', 'irq', 'sys', 'sysrq-trigger'];
const hiddenInSys = ['firmware', 'devices/virtual/powercap', 'fs/selinux'];
const defaultShmSize = 64 * 2 ** 20;
const maxTerminals = 64;

export function compileContainer(input: PlanInput): ContainerSteps {
  const { settings, ids } = input;
  const host: Step[] = [];
  const container: Step[] = [...becomeRoot(ids), { kind: 'unshare', flags: cloneFlag.NEWCGROUP }];
  container.push(...makePrivate());
  container.push(...stage(input));
  if (settings.image.kind === 'host') addHostImage(host, container, ids);
  else addRootfs(host, container, settings.image.path, settings, ids);
  container.push(...systemFiles(input));
  addDevices(host, container);
  container.push(...procAndSys());
  for (const [index, mount] of settings.mounts.entries()) addMount(host, container, mount, index, input);
  if (settings.cwd !== '/') {
    container.push({ kind: 'makeDirectory', under: 'root', path: settings.cwd, mode: 0o755 });
  }
  container.push(
    { kind: 'setHostname', name: input.hostname },
    { kind: 'loopbackUp' },
    { kind: 'pivotRoot', to: 'root' },
    { kind: 'verifyRoot' },
    { kind: 'noNewPrivs' },
  );
  return { host, container };
}

/** Until here the process is the host's user, whom the new user namespace does not know. */
function becomeRoot(ids: IdMode): Step[] {
  const groups: Step[] = ids === 'range' ? [{ kind: 'setGroups', groups: [] }] : [];
  return [...groups, { kind: 'setGid', gid: 0 }, { kind: 'setUid', uid: 0 }];
}

/** Before anything is mounted: what happens here must not reach the host's tree, nor the other way (security A14). */
function makePrivate(): Step[] {
  return [
    { kind: 'mountSetattr', on: null, path: '/', recursive: true, set: 0, clear: 0, propagation: propagationPrivate },
  ];
}

/**
 * The stage: a tmpfs over the old root in which the new one is put together. It goes away with the old root; what the
 * container writes (the root of `'host'`, or the overlay's upper directory) lives in it and counts against its size.
 */
function stage({ settings }: PlanInput): Step[] {
  const { size, inodes } = settings.storage;
  return [
    ...tmpfs('stage', { size, inodes, mode: 0o755 }),
    attach('stage', null, '/'),
    { kind: 'makeDirectory', under: 'stage', path: 'root', mode: 0o755 },
    { kind: 'makeDirectory', under: 'stage', path: 'empty', mode: 0o555 },
  ];
}

function addHostImage(host: Step[], container: Step[], ids: IdMode): void {
  const image = hostImage();
  const idmap = ids === 'range' ? 'optional' : false;
  container.push(
    { kind: 'openTree', to: 'root', from: 'stage', path: 'root', recursive: false },
    attach('root', 'stage', 'root'),
    ...['etc', 'home', 'opt', 'run', 'srv', 'var'].map(
      (path): Step => ({ kind: 'makeDirectory', under: 'root', path, mode: 0o755 }),
    ),
    { kind: 'makeDirectory', under: 'root', path: 'root', mode: 0o700 },
    ...['tmp', 'var/tmp'].map((path): Step => ({ kind: 'makeDirectory', under: 'root', path, mode: 0o1777 })),
  );
  const trees = [...image.directories.map((path) => ({ path, directory: true })), ...image.etc];
  for (const { path, directory } of trees) {
    // A single id map cannot shift; there the host side has no more rights than the container has.
    (ids === 'range' ? host : container).push(...hostTree(path, { path, readOnly: true, idmap }));
    container.push(attach(path, 'root', path, directory));
  }
  for (const [path, target] of image.links)
    container.push({ kind: 'symlink', under: 'root', path, target, keep: true });
  if (image.localtime) {
    container.push({ kind: 'symlink', under: 'root', path: 'etc/localtime', target: image.localtime, keep: true });
  }
  container.push(textFile('etc/nsswitch.conf', nsswitch, 'keep'));
}

function addRootfs(host: Step[], container: Step[], path: string, settings: ContainerSettings, ids: IdMode): void {
  const range = ids === 'range';
  (range ? host : container).push(...hostTree('lower', { path, readOnly: true, idmap: range }));
  container.push(attach('lower', 'stage', 'lower'));
  if (settings.storage.upper === 'disk') {
    host.push({ kind: 'stateDirectory', to: 'disk' });
    container.push(attach('disk', 'stage', 'disk'));
  } else {
    container.push(
      { kind: 'makeDirectory', under: 'stage', path: 'disk/upper', mode: 0o755 },
      { kind: 'makeDirectory', under: 'stage', path: 'disk/work', mode: 0o755 },
    );
  }
  container.push(
    ...overlay('root', { stage: 'stage', lower: ['lower'], upper: 'disk/upper', work: 'disk/work' }),
    attach('root', 'stage', 'root'),
    ...['proc', 'sys', 'dev', 'etc'].map(
      (name): Step => ({ kind: 'makeDirectory', under: 'root', path: name, mode: 0o755 }),
    ),
    { kind: 'makeDirectory', under: 'root', path: 'tmp', mode: 0o1777 },
  );
}

/** Written into the container's own upper directory, in place of whatever the image has there, links included (K8). */
function systemFiles({ hostname }: PlanInput): Step[] {
  return [
    textFile('etc/hosts', hosts(hostname), 'replace'),
    textFile('etc/hostname', `${hostname}\n`, 'replace'),
    textFile('etc/resolv.conf', resolvConf, 'replace'),
    textFile('etc/passwd', passwd, 'keep'),
    textFile('etc/group', group, 'keep'),
  ];
}

function textFile(path: string, content: string, existing: 'replace' | 'keep'): Step {
  return { kind: 'writeFile', under: 'root', path, mode: 0o644, existing, content };
}

/** /dev: a tmpfs of ours with a fixed set of nodes, read-only at the end; terminals, shared memory and queues of its own. */
function addDevices(host: Step[], container: Step[]): void {
  container.push(...deviceDirectory('dev'), attach('dev', 'root', 'dev'));
  for (const [name, major, minor] of deviceNodes) {
    host.push(...deviceNode(`/dev/${name}`, `/dev/${name}`, { type: S_IFCHR, major, minor }));
    container.push(attach(`/dev/${name}`, 'dev', name, false));
  }
  const links = [
    ['ptmx', 'pts/ptmx'],
    ['fd', '/proc/self/fd'],
    ['stdin', '/proc/self/fd/0'],
    ['stdout', '/proc/self/fd/1'],
    ['stderr', '/proc/self/fd/2'],
  ] as const;
  container.push(
    ...links.map(([path, target]): Step => ({ kind: 'symlink', under: 'dev', path, target, keep: false })),
    ...newFileSystem('devpts', 'devpts', mountAttribute.NOSUID | mountAttribute.NOEXEC, [
      ['newinstance'],
      ['ptmxmode', '0666'],
      ['mode', '0620'],
      ['gid', '5'],
      ['max', String(maxTerminals)],
    ]),
    attach('devpts', 'dev', 'pts'),
    ...tmpfs('shm', { size: defaultShmSize, inodes: 16384, mode: 0o1777, attributes: kernelOnly }),
    attach('shm', 'dev', 'shm'),
    ...newFileSystem('mqueue', 'mqueue', kernelOnly),
    attach('mqueue', 'dev', 'mqueue'),
    // A descriptor of our own null device: masks and standard streams come from it, never from a path (A1).
    {
      kind: 'open',
      to: 'null',
      from: 'dev',
      path: 'null',
      flags: openFlag.RDWR,
      resolve: resolveFlag.BENEATH | resolveFlag.NO_SYMLINKS | resolveFlag.NO_MAGICLINKS,
    },
    {
      kind: 'mountSetattr',
      on: 'dev',
      path: '',
      recursive: false,
      set: mountAttribute.RDONLY,
      clear: 0,
      propagation: 0,
    },
  );
}

/** Fresh instances that belong to the new namespaces, with the parts that belong to the host hidden (B4, B6, B8). */
function procAndSys(): Step[] {
  const mask = (under: string, path: string, how: 'hide' | 'readOnly'): Step => {
    return { kind: 'mask', under, path, how, file: 'mask file', directory: 'mask directory' };
  };
  const throttles = cpus().map((_, cpu) => `devices/system/cpu/cpu${cpu}/thermal_throttle`);
  return [
    ...newFileSystem('proc', 'proc', kernelOnly),
    attach('proc', 'root', 'proc'),
    ...newFileSystem('sys', 'sysfs', kernelOnly | mountAttribute.RDONLY),
    attach('sys', 'root', 'sys'),
    ...newFileSystem('cgroup', 'cgroup2', kernelOnly | mountAttribute.RDONLY),
    attach('cgroup', 'sys', 'fs/cgroup'),
    { kind: 'openTree', to: 'mask file', from: 'dev', path: 'null', recursive: false },
    { kind: 'openTree', to: 'mask directory', from: 'stage', path: 'empty', recursive: false },
    ...hiddenInProc.map((path) => mask('proc', path, 'hide')),
    ...readOnlyInProc.map((path) => mask('proc', path, 'readOnly')),
    ...[...hiddenInSys, ...throttles].map((path) => mask('sys', path, 'hide')),
  ];
}

function addMount(host: Step[], container: Step[], mount: MountSettings, index: number, input: PlanInput): void {
  const slot = `mount ${index}`;
  const range = input.ids === 'range';
  const hostSide = range ? host : container;
  switch (mount.type) {
    case 'bind': {
      const tree = { readOnly: mount.readOnly, exec: mount.exec, idmap: range && mount.idmap };
      if (mount.subPath === undefined) {
        hostSide.push(...hostTree(slot, { ...tree, path: mount.source }));
      } else {
        // Resolved from a descriptor of the source, following nothing (A8).
        const below = resolveFlag.BENEATH | resolveFlag.NO_SYMLINKS | resolveFlag.NO_MAGICLINKS;
        const { PATH } = openFlag;
        hostSide.push(
          { kind: 'open', to: `${slot} source`, from: null, path: mount.source, flags: PATH, resolve: 0 },
          {
            kind: 'open',
            to: `${slot} part`,
            from: `${slot} source`,
            path: mount.subPath,
            flags: PATH,
            resolve: below,
          },
          ...hostTree(slot, { ...tree, path: '', from: `${slot} part` }),
          { kind: 'close', slot: `${slot} source` },
          { kind: 'close', slot: `${slot} part` },
        );
      }
      container.push(attach(slot, 'root', mount.target, input.facts.kinds.get(index) !== 'file'));
      return;
    }
    case 'tmpfs': {
      const attributes = mountAttribute.NOSUID | mountAttribute.NODEV | (mount.exec ? 0 : mountAttribute.NOEXEC);
      container.push(
        ...tmpfs(slot, { size: mount.size, inodes: mount.inodes, mode: mount.mode, attributes }),
        attach(slot, 'root', mount.target),
      );
      return;
    }
    case 'overlay':
      container.push(...overlayMount(hostSide, mount, slot, index, range));
  }
}

/** A stage of its own beneath the stage: the lower directories, the bounded upper, and the overlay over them. */
function overlayMount(
  hostSide: Step[],
  mount: Extract<MountSettings, { type: 'overlay' }>,
  slot: string,
  index: number,
  range: boolean,
): Step[] {
  const own = `${slot} stage`;
  const layers = mount.lower.map((path, layer) => ({ path, name: `l${layer}`, slot: `${slot} layer ${layer}` }));
  for (const layer of layers) {
    hostSide.push(...hostTree(layer.slot, { path: layer.path, readOnly: true, idmap: range }));
  }
  return [
    ...tmpfs(own, { size: mount.size, inodes: mount.inodes, mode: 0o755 }),
    attach(own, 'stage', `mount${index}`),
    ...layers.map((layer) => attach(layer.slot, own, layer.name)),
    { kind: 'makeDirectory', under: own, path: 'upper', mode: 0o755 },
    { kind: 'makeDirectory', under: own, path: 'work', mode: 0o755 },
    ...overlay(slot, { stage: own, lower: layers.map((layer) => layer.name), upper: 'upper', work: 'work' }),
    attach(slot, 'root', mount.target),
  ];
}
