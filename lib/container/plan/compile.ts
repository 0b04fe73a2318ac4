/**
 * Settings become a plan: the steps that make a container, in the order they run. Nothing here calls the kernel; the plan
 * is data that can be printed, and `launcher/` sends it.
 *
 * Steps of the `host` part run in the launcher, with the host's privileges, and only make mounts; those of the
 * `container` part run in init, inside the new namespaces. Both are lists of fragments: what is the same for every
 * container is the same array each time, and is encoded once.
 */

import type { ContainerIds } from '../../host/ids.js';
import type { ContainerNetwork } from '../../network/bridge/container-network.js';
import { cloneFlag, propagationPrivate, type Step } from '../../plan/step.js';
import { attach, tmpfs } from '../../primitives/mount/steps.js';
import { newClocks, openOwnProcess } from '../../primitives/time-namespace.js';
import type { ContainerSettings } from '../settings.js';
import type { SourceFacts } from '../sources.js';
import { deviceNodes, devices } from './devices.js';
import { kernelFileSystems, newProc } from './kernel-file-systems.js';
import { earlySysctls, sysctls } from './kernel-settings.js';
import { lendNetwork, networkSysctls } from './network.js';
import { root } from './root.js';
import { accountFiles, egressResolvConf, hosts, resolvConf, resolvers, textFile } from './system-files.js';
import { userMount } from './user-mounts.js';

type Fragment = readonly Step[];

/**
 * What makes a container, as data. The common part is the same for every container of its kind, and may be run ahead, in
 * one that nobody has asked for yet; so it must not depend on anything that can change meanwhile, as a directory of the
 * caller's can.
 */
export interface ContainerSteps {
  readonly host: Parts;
  readonly container: Parts;
}

export interface Parts {
  readonly common: readonly Fragment[];
  readonly own: readonly Fragment[];
}

/** How the container's ids are mapped: a range of its own (root); rootless the caller's and those granted, or only his. */
export type IdMode = ContainerIds['kind'];

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
  const base = root(settings, ids, input.facts.root, input.facts.filled);
  const mounts = settings.mounts.map((mount, index) => userMount(mount, index, ids, input.facts.kinds.get(index)));
  const range = ids === 'range';
  const { network } = input.facts;
  const names: Step[] = [
    textFile('etc/hosts', hosts(hostname, network && addressesOf(network)), 'replace'),
    hostnameFile(hostname),
  ];
  if (network) names.push(textFile('etc/resolv.conf', resolvers(network.dns), 'replace'));
  if (settings.network.kind === 'egress') names.push(textFile('etc/resolv.conf', egressResolvConf, 'replace'));
  if (settings.cwd !== '/') names.push(workingDirectory(settings));
  names.push({ kind: 'setHostname', name: hostname });
  const { timeOffsets: offsets, sysctl } = settings;
  const usual = offsets === undefined && sysctl.length === 0;
  // What init may do while it is still the launcher's user.
  const first = usual ? [] : [...(offsets ? [openOwnProcess, newClocks(offsets)] : []), earlySysctls(sysctl)];
  const ahead = () => [...first, ids === 'single' ? becomeRootAlone : becomeRoot, beginning, stage(settings)];
  const mask = Number(settings.capabilities.mask);
  const system = () => [
    devices[ids],
    newProc,
    ...(network ? [networkSysctls(network.ipv6 !== undefined)] : []),
    ...(usual ? [] : [sysctls(sysctl)]),
    kernelFileSystems(),
    loopback,
  ];
  const kindOfNetwork = network === undefined ? 'none' : network.ipv6 === undefined ? 'ipv4' : 'both';
  const connected: Fragment[] = network ? [lendNetwork] : [];
  const files = [placed, commonFiles];
  const end = (): Fragment[] => [leaveOldRoot, [{ kind: 'boundingSet', mask }]];
  const { size, inodes } = settings.storage;
  // The steps that make a host tree run in the launcher, as only it can shift ids. With a single id map the host side has
  // no more rights than the container has, and init makes the trees itself, as long as it can still see the host's.
  const split = (trees: readonly Fragment[], rest: readonly Fragment[]) => ({
    host: range ? trees : [],
    container: [...(range ? [] : trees), ...rest],
  });
  if (
    usual &&
    !input.facts.root &&
    settings.image.kind === 'host' &&
    settings.mounts.length === 0 &&
    settings.storage.upper === 'tmpfs'
  ) {
    const common = remembered(`whole ${ids} ${size} ${inodes} ${mask} ${kindOfNetwork}`, () => {
      const { host, container } = split(
        [...base.hostTrees, deviceNodes],
        [...system(), ...base.steps, ...files, ...end()],
      );
      return { host, container: [...ahead(), ...container] };
    });
    return {
      host: { common: common.host, own: [] },
      container: { common: common.container, own: [...connected, names] },
    };
  }
  const beside = split([deviceNodes], system());
  const rest = split(
    [...base.hostTrees, ...mounts.map((mount) => mount.hostTrees)],
    [...base.steps, ...files, ...mounts.map((mount) => mount.steps), names, ...end()],
  );
  const own = { host: [base.launcher ?? [], ...rest.host], container: [...connected, ...rest.container] };
  if (!usual) {
    return {
      host: { common: [], own: [...beside.host, ...own.host] },
      container: { common: ahead(), own: [...beside.container, ...own.container] },
    };
  }
  const common = remembered(`system ${ids} ${size} ${inodes} ${kindOfNetwork}`, () => ({
    host: beside.host,
    container: [...ahead(), ...beside.container],
  }));
  return {
    host: { common: common.host, own: own.host },
    container: { common: common.container, own: own.container },
  };
}

interface Common {
  readonly host: readonly Fragment[];
  readonly container: readonly Fragment[];
}

const kinds = new Map<string, Common>();
const mostKinds = 64;

/** The common part of a kind of container is made, and encoded, once. */
function remembered(kind: string, make: () => Common): Common {
  let common = kinds.get(kind);
  if (!common) {
    const { host, container } = make();
    common = { host: Object.freeze(host), container: Object.freeze(container) };
    if (kinds.size >= mostKinds) kinds.clear();
    kinds.set(kind, common);
  }
  return common;
}

/** The host's steps or the container's, in one list. */
export function flatten({ common, own }: Parts): readonly Step[] {
  return [...common, ...own].flat();
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

function addressesOf({ address, ipv6 }: ContainerNetwork): readonly string[] {
  return ipv6 === undefined ? [address] : [address, ipv6];
}

function hostnameFile(hostname: string): Step {
  return textFile('etc/hostname', `${hostname}\n`, 'replace');
}

/** An image's may be behind links of its own; where a caller's leads through one, that is an error. */
function workingDirectory({ cwd: path, image }: ContainerSettings): Step {
  const ofImage = image.kind === 'layers' && image.workingDir === path;
  if (!ofImage) return { kind: 'makeDirectory', under: 'root', path, mode: 0o755 };
  return { kind: 'directoryInside', root: 'root', path, mode: 0o755, setting: 'WorkingDir' };
}

/** What was put together beside the root, which need not have been there for it. */
const placed: Fragment = Object.freeze(['dev', 'proc', 'sys'].map((name) => attach(name, 'root', name)));

const loopback: Fragment = Object.freeze([{ kind: 'loopbackUp' }]);

const leaveOldRoot: Fragment = Object.freeze([
  { kind: 'pivotRoot', to: 'root' },
  { kind: 'verifyRoot' },
  { kind: 'noNewPrivs' },
]);
