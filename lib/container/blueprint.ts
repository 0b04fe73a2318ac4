/** Settings and what is known of their sources, worked out to the last step and the last limit: what a container is made from. */

import { randomFillSync } from 'node:crypto';
import { release } from 'node:os';
import { UnsupportedError } from '../errors.js';
import { containerIds } from '../host/ids.js';
import type { ContainerNetwork } from '../network/bridge/container-network.js';
import { withFaultInParts } from '../plan/fault.js';
import type { Step } from '../plan/step.js';
import type { Capabilities } from '../primitives/capabilities.js';
import {
  type CgroupWrite,
  cgroupLayout,
  explicitUnsupported,
  type Limits,
  limitWrites,
  requiredHierarchies,
  type Unenforceable,
  unenforceable,
} from '../primitives/cgroup/index.js';
import { kernelKinds } from '../primitives/namespace/kernel.js';
import type { SeccompTarget, SupervisorRules } from '../primitives/seccomp/index.js';
import { labelFileSystems } from '../primitives/selinux.js';
import { ownCapabilities } from '../process/attributes/capabilities.js';
import { expectPermitted } from '../process/attributes/settings.js';
import { compileFilters } from '../process/seccomp/filters.js';
import { type ContainerSteps, compileContainer, type IdMode, type Parts } from './plan/compile.js';
import type { DirectoryRoot } from './plan/directory-root.js';
import { compileProcess, type ProcessIdentity, type ProcessProfile } from './plan/process.js';
import { areDefault } from './settings/attributes.js';
import type { ContainerSettings } from './settings.js';
import type { SourceFacts } from './sources.js';
import { expectLoopFiles } from './storage/bound.js';

/** Everything that a container is made from, before anything is started. */
export interface Blueprint {
  readonly id: string;
  readonly hostname: string;
  readonly ids: IdMode;
  readonly steps: ContainerSteps;
  /** What the root is made of, where that is no overlay. */
  readonly root: DirectoryRoot | undefined;
  readonly network: ContainerNetwork | undefined;
  readonly writes: readonly CgroupWrite[];
  readonly hierarchies: readonly number[];
  readonly profile: ProcessProfile;
  /** How waiting calls are answered, where a handler decides some or refusals are told of. */
  readonly supervision: SupervisorRules | undefined;
  /** The platform of the image, where it is not this host's. */
  readonly foreign: string | undefined;
  /** Default limits that this host cannot enforce. */
  readonly relaxed: readonly Unenforceable[];
}

const [major = '5', minor = '15'] = release().split('.');
const kernel = [Number.parseInt(major, 10), Number.parseInt(minor, 10)] as const;
const shortId = 6;

/** What a profile is compiled for: this machine, and a program that has these capabilities. */
export function seccompTarget(capabilities: Capabilities): SeccompTarget {
  return { arch: process.arch === 'arm64' ? 'arm64' : 'x64', capabilities, kernel };
}

/**
 * Settings and what is known of their sources, as a blueprint.
 * @throws UnsupportedError for a limit that was asked for and cannot be enforced here, PermissionError for an attribute
 *   that this process may not hand on
 */
export function makeBlueprint(settings: ContainerSettings, facts: SourceFacts): Blueprint {
  if (!areDefault(settings.attributes)) expectPermitted(settings.attributes);
  if (settings.timeOffsets && !kernelKinds().includes('time')) throw noTimeNamespaces();
  if (settings.storage.disk) expectLoopFiles();
  const id = newId();
  const hostname = settings.hostname ?? id;
  const { kind: ids } = containerIds();
  const { relaxed, writes, hierarchies } = enforce(facts.limits, settings.limits.explicit);
  const guarded = writesToHost(settings, ids);
  const capabilities = guarded ? settings.capabilities.drop('CAP_SETFCAP') : settings.capabilities;
  const target = seccompTarget(capabilities);
  const { filters, supervision } = compileFilters(settings, guarded, target);
  const steps = labelled(compileContainer({ settings: { ...settings, capabilities }, facts, hostname, ids }), settings);
  return {
    id,
    hostname,
    ids,
    steps: { host: withFaultInParts('launcher', steps.host), container: withFaultInParts('init', steps.container) },
    root: facts.root,
    network: facts.network,
    writes,
    hierarchies,
    profile: {
      capabilities,
      filters,
      attributes: settings.attributes,
      setGroups: ids !== 'single',
    },
    supervision,
    foreign: settings.image.kind === 'layers' ? settings.image.foreign : undefined,
    relaxed,
  };
}

function noTimeNamespaces(): UnsupportedError {
  return new UnsupportedError('this kernel has no time namespaces (timeOffsets)', {
    hint: 'it takes Linux 5.6 or newer, built with CONFIG_TIME_NS',
  });
}

/** With a label of SELinux for its mounts, nothing of a container is common to others. */
function labelled(steps: ContainerSteps, { attributes }: ContainerSettings): ContainerSteps {
  const label = attributes.selinux?.mount;
  if (label === undefined) return steps;
  const relabel = ({ common, own }: Parts): Parts => ({
    common: [],
    own: [...common, ...own].map((fragment) => labelFileSystems(fragment, label)),
  });
  return { host: relabel(steps.host), container: relabel(steps.container) };
}

interface Enforced {
  readonly relaxed: readonly Unenforceable[];
  readonly writes: readonly CgroupWrite[];
  readonly hierarchies: readonly number[];
}

const enforced = new Map<string, Enforced>();
const mostRemembered = 256;

/** What becomes of limits on this host. The same ones are worked out once. */
function enforce(limits: Limits, explicit: ReadonlySet<string>): Enforced {
  const key = JSON.stringify([limits, [...explicit]]);
  let known = enforced.get(key);
  if (!known) {
    known = workOut(limits, explicit);
    if (enforced.size >= mostRemembered) enforced.clear();
    enforced.set(key, known);
  }
  return known;
}

function workOut(limits: Limits, explicit: ReadonlySet<string>): Enforced {
  const layout = cgroupLayout();
  const asked = Object.fromEntries(Object.entries(limits).filter(([name]) => explicit.has(name))) as Limits;
  const unsupported = explicitUnsupported(layout, asked);
  if (unsupported) throw unsupported;
  const relaxed = unenforceable(layout, limits);
  const missing = new Set<string>(relaxed.map(({ limit }) => limit));
  const kept = Object.fromEntries(Object.entries(limits).filter(([name]) => !missing.has(name))) as Limits;
  // Init is a process of the container too, and not one of the caller's.
  const counted = kept.pids === undefined ? kept : { ...kept, pids: kept.pids + 1 };
  return { relaxed, writes: limitWrites(layout, counted), hierarchies: requiredHierarchies(layout, counted) };
}

const pool = Buffer.alloc(shortId * 256);
let used = pool.length;

/** Random, from bytes that are fetched for many ids at once. */
function newId(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += shortId;
  return pool.toString('hex', used - shortId, used);
}

/**
 * Whether what a process makes can belong to root, or to the caller, on the host: in a writable bind mount with shifted ids,
 * or with the caller's own id. Then neither set-user-ID files nor file capabilities may be made (security E12).
 */
function writesToHost(settings: ContainerSettings, ids: IdMode): boolean {
  return settings.mounts.some((mount) => mount.type === 'bind' && !mount.readOnly && (mount.idmap || ids !== 'range'));
}

/** The steps of a process, for a plan that is only shown. */
export function describeProcess(
  blueprint: Blueprint,
  argv: readonly string[],
  identity: ProcessIdentity,
  cwd: string,
): Step[] {
  return compileProcess({
    profile: blueprint.profile,
    identity,
    attributes: blueprint.profile.attributes,
    capabilities: ownCapabilities,
    argv,
    env: [],
    cwd,
    tty: false,
    stdin: 'null',
    stdout: 'stdout pipe',
    stderr: 'stderr pipe',
    listener: blueprint.supervision && 'listener socket',
  });
}
