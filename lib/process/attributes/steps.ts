/**
 * Attributes as steps of the child that becomes the program, for each place where some of them must stand. Whoever starts
 * a program puts its own steps (streams, ids, filter) around these.
 */

import type { Step } from '../../plan/step.js';
import { labelOf } from '../../primitives/apparmor/index.js';
import { landlockAbi, landlockSteps, makeRuleset } from '../../primitives/landlock/index.js';
import { type Resource, type Rlimit, resources, rlimitEntries } from '../../primitives/rlimits.js';
import { normalPolicy } from './scheduling.js';
import type { AttributeSettings } from './settings.js';

export interface AttributeSteps {
  /** While the process has the privileges that it begins with, and descriptors without a limit: labels, limits, scheduling. */
  readonly beforeIds: readonly Step[];
  /** With its final ids and capabilities, and no_new_privs set, its descriptors still open: a Landlock domain. */
  readonly beforeClose: readonly Step[];
  /** The last before the filter: what would hinder the steps before it. */
  readonly last: readonly Step[];
}

/** `attributes` is complete: an exec's lie over its container's already. */
export function attributeSteps(attributes: AttributeSettings): AttributeSteps {
  const { scheduling, personality, oomScoreAdj } = attributes;
  const { nofile, ...rlimits } = attributes.rlimits;
  const beforeIds: Step[] = [];
  if (oomScoreAdj !== undefined) beforeIds.push({ kind: 'oomScoreAdjust', value: oomScoreAdj });
  if (personality !== undefined) beforeIds.push({ kind: 'personality', value: personality });
  // Before the policy: RLIMIT_RTPRIO and RLIMIT_NICE can allow it.
  for (const [name, limit] of rlimitEntries(rlimits)) beforeIds.push(rlimitStep(name, limit));
  beforeIds.push({ kind: 'affinity', processors: scheduling.affinity ?? 'all' });
  beforeIds.push({ kind: 'scheduling', ...(scheduling.policy ?? normalPolicy) });
  if (scheduling.io) beforeIds.push({ kind: 'ioPriority', ...scheduling.io });
  if (scheduling.core) beforeIds.push({ kind: 'coreScheduling' });
  beforeIds.push(...labelSteps(attributes));
  const layers = (attributes.landlock ?? []).map((settings, index) =>
    landlockSteps(makeRuleset(settings, landlockAbi()), rulesetSlots[index] ?? 'own landlock'),
  );
  for (const { prepare } of layers) beforeIds.push(...prepare);
  return {
    beforeIds,
    beforeClose: layers.flatMap(({ restrict }) => restrict),
    // A process with few descriptors could not open any more, and the steps before need some.
    last: nofile ? [rlimitStep('nofile', nofile)] : [],
  };
}

/** The container's, and the program's own on top of it. */
const rulesetSlots = ['landlock', 'own landlock'] as const;

function labelSteps({ appArmor, selinux }: AttributeSettings): Step[] {
  const steps: Step[] = [];
  if (appArmor) {
    steps.push({ kind: 'labelOnExec', module: 'apparmor', label: labelOf(appArmor), stack: appArmor.stack });
  }
  if (selinux?.process) steps.push({ kind: 'labelOnExec', module: 'selinux', label: selinux.process, stack: false });
  return steps;
}

function rlimitStep(name: Resource, { soft, hard }: Rlimit): Step {
  return { kind: 'rlimit', resource: resources[name].number, name: name.toUpperCase(), soft, hard };
}
