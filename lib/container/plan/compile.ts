/**
 * Settings become a plan: the steps that make a container, in the order they run. Nothing here calls the kernel; the plan
 * is data that can be printed, and `launcher/` sends it.
 *
 * Steps of the `host` part run in the launcher, with the host's privileges, and only make mounts; those of the
 * `container` part run in init, inside the new namespaces. Both are lists of fragments: what is the same for every
 * container is the same array each time, and is encoded once.
 */

import { cloneFlag, propagationPrivate, type Step } from '../../plan/step.js';
import { attach, tmpfs } from '../../primitives/mounts.js';
import type { ContainerSettings } from '../settings.js';
import type { SourceFacts } from '../sources.js';
import { deviceNodes, devices } from './devices.js';
import { kernelFileSystems } from './kernel-file-systems.js';
import { root } from './root.js';
import { accountFiles, hosts, resolvConf, textFile } from './system-files.js';
import { userMount } from './user-mounts.js';

type Fragment = readonly Step[];

/** What makes a container, as data. */
export interface ContainerSteps {
  readonly host: readonly Fragment[];
  readonly container: readonly Fragment[];
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

export function compileContainer(input: PlanInput): ContainerSteps {
  const { settings, ids, hostname } = input;
  const base = root(settings, ids);
  const mounts = settings.mounts.map((mount, index) => userMount(mount, index, ids, input.facts.kinds.get(index)));
  // With a range of ids, the launcher makes copies of host trees, as only it can shift their ids. With a single id the host
  // side has no more rights than the container has, and init makes them itself.
  const trees = [...base.hostTrees, deviceNodes, ...mounts.map((mount) => mount.hostTrees)];
  const own: Step[] = [textFile('etc/hosts', hosts(hostname), 'replace'), hostnameFile(hostname)];
  if (settings.cwd !== '/') own.push({ kind: 'makeDirectory', under: 'root', path: settings.cwd, mode: 0o755 });
  return {
    host: ids === 'range' ? trees : [],
    container: [
      ids === 'range' ? becomeRoot : becomeRootAlone,
      beginning,
      stage(settings),
      ...(ids === 'range' ? [] : trees),
      ...base.steps,
      commonFiles,
      devices[ids],
      kernelFileSystems(),
      ...mounts.map((mount) => mount.steps),
      [...own, { kind: 'setHostname', name: hostname }],
      ending,
    ],
  };
}

/** The host's steps or the container's, in one list. */
export function flatten(fragments: readonly Fragment[]): readonly Step[] {
  return fragments.flat();
}

/** Until here the process is the host's user, whom the new user namespace does not know. */
const becomeRootAlone: Fragment = Object.freeze([
  { kind: 'setGid', gid: 0 },
  { kind: 'setUid', uid: 0 },
]);
const becomeRoot: Fragment = Object.freeze([{ kind: 'setGroups', groups: [] }, ...becomeRootAlone]);

/**
 * The cgroup namespace begins at the container's own cgroup, which the process is in by now. And before anything is
 * mounted: what happens here must not reach the host's tree, nor the other way (security A14).
 */
const beginning: Fragment = Object.freeze([
  { kind: 'unshare', flags: cloneFlag.NEWCGROUP },
  { kind: 'mountSetattr', on: null, path: '/', recursive: true, set: 0, clear: 0, propagation: propagationPrivate },
]);

/**
 * The stage: a tmpfs over the old root in which the new one is put together. It goes away with the old root; what the
 * container writes (the root of `'host'`, or the overlay's upper directory) lives in it and counts against its size.
 */
function stage({ storage: { size, inodes } }: ContainerSettings): Fragment {
  return [
    ...tmpfs('stage', { size, inodes, mode: 0o755 }),
    attach('stage', null, '/'),
    { kind: 'makeDirectory', under: 'stage', path: 'root', mode: 0o755 },
    { kind: 'makeDirectory', under: 'stage', path: 'empty', mode: 0o555 },
  ];
}

const commonFiles: Fragment = Object.freeze([textFile('etc/resolv.conf', resolvConf, 'replace'), ...accountFiles]);

function hostnameFile(hostname: string): Step {
  return textFile('etc/hostname', `${hostname}\n`, 'replace');
}

const ending: Fragment = Object.freeze([
  { kind: 'loopbackUp' },
  { kind: 'pivotRoot', to: 'root' },
  { kind: 'verifyRoot' },
  { kind: 'noNewPrivs' },
]);
