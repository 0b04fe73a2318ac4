/**
 * Settings as a ruleset for a kernel of some ABI, and the ruleset as steps. What the ABI lacks is an error, or left out and
 * told of: never silently less than was asked.
 */

import { UnsupportedError } from '../../errors.js';
import type { Slot, Step } from '../../plan/step.js';
import type { LandlockSettings } from './options.js';
import {
  deviceRights,
  fileRights,
  groups,
  type LandlockRight,
  type LandlockScope,
  logFlags,
  networkRights,
  rightsMask,
  rightsOf,
  scopes,
} from './rights.js';

/** One path with what is allowed at and below it. */
export interface LandlockPathRule {
  readonly path: string;
  readonly rights: readonly LandlockRight[];
  readonly optional: boolean;
  /** On a file, rights that only directories have are an error; else they are left away there. */
  readonly exact: boolean;
}

export interface LandlockPortRule {
  readonly port: number;
  readonly rights: readonly ('bind' | 'connect')[];
}

/** What the kernel is told. */
export interface LandlockRuleset {
  /** The ABI that it was made for. */
  readonly abi: number;
  /** Rights of files that are denied where no rule gives them. */
  readonly handled: readonly LandlockRight[];
  readonly network: readonly ('bind' | 'connect')[];
  readonly scope: readonly LandlockScope[];
  readonly paths: readonly LandlockPathRule[];
  readonly ports: readonly LandlockPortRule[];
  /** Flags of landlock_restrict_self(2). */
  readonly flags: number;
  /** What was asked for and this ABI lacks, such as `truncate` or `connect`. Empty unless `degrade` was given. */
  readonly leftOut: readonly string[];
}

/** The version of Linux that brought an ABI. */
const kernelOf: Readonly<Record<number, string>> = {
  1: '5.13',
  2: '5.19',
  3: '6.2',
  4: '6.7',
  5: '6.10',
  6: '6.12',
  7: '6.15',
};
const groupNames = ['read', 'write', 'execute'] as const;

/**
 * A ruleset for an ABI; 0 is a kernel without Landlock.
 * @throws UnsupportedError naming what it lacks, unless the settings allow to degrade
 */
export function makeRuleset(settings: LandlockSettings, abi: number): LandlockRuleset {
  const missing = new Map<string, number>();
  const has = (name: string, fact: { readonly abi: number }) => {
    if (fact.abi > abi) missing.set(name, fact.abi);
    return fact.abi <= abi;
  };
  const handled = askedRights(settings).filter((right) => has(right, fileRights[right]));
  const network = (['bind', 'connect'] as const).filter(
    (name) => settings[name] !== undefined && has(name, networkRights[name]),
  );
  const scope = settings.scope.filter((name) => has(`scope ${name}`, scopes[name]));
  const flags = logBits(settings, (name) => has(`log.${name}`, logFlags[name]));
  if (missing.size > 0 && !settings.degrade) throw unsupported(missing, abi);
  return {
    abi,
    handled,
    network,
    scope,
    paths: pathRules(settings, new Set(handled)),
    ports: portRules(settings, network),
    flags,
    leftOut: [...missing.keys()],
  };
}

/**
 * Rights that are to be denied by default. Moving to another directory (`refer`) is denied by every ruleset about files,
 * whatever it handles; so one that does not restrict writing must give it back.
 */
function askedRights({ read, write, execute, paths, deny }: LandlockSettings): LandlockRight[] {
  const asked = new Set<LandlockRight>(deny);
  if (read) for (const right of groups.read) asked.add(right);
  if (write) for (const right of [...groups.write, ...deviceRights]) asked.add(right);
  if (execute) asked.add('execute');
  for (const { rights } of paths) for (const right of rights) asked.add(right);
  if (asked.size > 0) asked.add('refer');
  return rightsOf(rightsMask(asked));
}

function pathRules(settings: LandlockSettings, handled: ReadonlySet<LandlockRight>): LandlockPathRule[] {
  const rules: LandlockPathRule[] = [];
  const add = (path: string, rights: readonly LandlockRight[], optional: boolean, exact: boolean) => {
    const kept = rights.filter((right) => handled.has(right));
    if (kept.length > 0) rules.push({ path, rights: kept, optional, exact });
  };
  for (const name of groupNames) {
    // Nothing is executed that may not be read.
    const rights: readonly LandlockRight[] = name === 'execute' ? ['execute', 'read_file'] : groups[name];
    for (const { path, optional } of settings[name] ?? []) add(path, rights, optional, false);
  }
  for (const { path, rights, optional } of settings.paths) add(path, rights, optional, true);
  const free = !(
    settings.write ||
    settings.deny.includes('refer') ||
    settings.paths.some((one) => one.rights.includes('refer'))
  );
  if (free) add('/', ['refer'], false, false);
  return rules;
}

function portRules(settings: LandlockSettings, network: readonly ('bind' | 'connect')[]): LandlockPortRule[] {
  const ports = new Map<number, ('bind' | 'connect')[]>();
  for (const name of network) {
    for (const port of settings[name] ?? []) ports.set(port, [...(ports.get(port) ?? []), name]);
  }
  return [...ports].map(([port, rights]) => ({ port, rights }));
}

function logBits({ log }: LandlockSettings, has: (name: keyof typeof logFlags) => boolean): number {
  let flags = 0;
  for (const name of ['sameExec', 'newExec', 'subdomains'] as const) {
    const { bit, when } = logFlags[name];
    if (log && log[name] === when && has(name)) flags |= bit;
  }
  return flags;
}

function unsupported(missing: ReadonlyMap<string, number>, abi: number): UnsupportedError {
  const most = Math.max(...missing.values());
  const names = [...missing.keys()].join(', ');
  const what =
    abi === 0 ? 'this kernel has no Landlock' : `Landlock of this kernel (ABI ${abi}) cannot restrict ${names}`;
  return new UnsupportedError(what, {
    syscall: 'landlock_create_ruleset',
    hint:
      abi === 0
        ? 'it needs Linux 5.13, built with CONFIG_SECURITY_LANDLOCK and started with landlock in lsm=; landlock.degrade goes without'
        : `it needs ABI ${most}, Linux ${kernelOf[most]}; landlock.degrade: true goes without what is missing`,
  });
}

/** Whether anything is left to tell the kernel. */
function isEmpty({ handled, network, scope }: LandlockRuleset): boolean {
  return handled.length + network.length + scope.length === 0;
}

/** Steps that make a ruleset in a slot, and the one by which the process comes under it. */
export interface LandlockSteps {
  /** Before the process gives up what it needs to open the paths. */
  readonly prepare: readonly Step[];
  /** After no_new_privs, before a filter, while its descriptors are open. */
  readonly restrict: readonly Step[];
}

export function landlockSteps(ruleset: LandlockRuleset, slot: Slot): LandlockSteps {
  if (isEmpty(ruleset)) return { prepare: [], restrict: [] };
  const { handled, network, scope } = ruleset;
  return {
    prepare: [
      { kind: 'landlockRuleset', to: slot, files: handled, network, scope },
      ...ruleset.paths.map((rule): Step => ({ kind: 'landlockPath', on: slot, ...rule })),
      ...ruleset.ports.map((rule): Step => ({ kind: 'landlockPort', on: slot, ...rule })),
    ],
    restrict: [{ kind: 'landlockRestrict', on: slot, flags: ruleset.flags }],
  };
}
