/** The steps between fork and exec of one process: the same for the first program and every later one (security D1). */

import type { Step } from '../../plan/step.js';
import type { Capabilities, CapabilitySets } from '../../primitives/capabilities.js';
import { type CapabilitySettings, completeCapabilities } from '../../process/attributes/capabilities.js';
import type { AttributeSettings } from '../../process/attributes/settings.js';
import { attributeSteps } from '../../process/attributes/steps.js';
import { filterSteps, type ProcessFilter } from '../../process/seccomp/filters.js';

/** What is the same for every process of a container, frozen when the container is made and kept in host memory (F9). */
export interface ProcessProfile {
  /** All that a program may have; init's bounding set. */
  readonly capabilities: Capabilities;
  /** In the order they are loaded; a listener is that of the last one. */
  readonly filters: readonly ProcessFilter[];
  /** What holds for a program that has none of its own. */
  readonly attributes: AttributeSettings;
  /** With a single id map there is no other group than one's own, and setgroups(2) is switched off. */
  readonly setGroups: boolean;
  /** Killed when whoever has started it ends, as nothing else would: outside of pid namespaces. */
  readonly endsWithParent?: boolean;
}

export interface ProcessIdentity {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups, exact; the primary one is included. */
  readonly groups: readonly number[];
}

export interface ProcessInput {
  readonly profile: ProcessProfile;
  readonly identity: ProcessIdentity;
  /** The container's, with its own laid over them. */
  readonly attributes: AttributeSettings;
  readonly capabilities: CapabilitySettings;
  readonly argv: readonly string[];
  readonly env: readonly (readonly [string, string])[];
  readonly cwd: string;
  readonly tty: boolean;
  /** Slots of the standard streams. */
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  /** Slot of the socket that the last filter's listener goes to, where a handler decides calls. */
  readonly listener?: string | undefined;
}

const firstOther = 3;

/**
 * The order matters: scheduling and limits may need privileges, so they come before the ids change; the ids change before
 * the capabilities, as a change of user empties them (the bounding set is init's, and a program's own is dropped from it);
 * no_new_privs before the filter, which needs it; the filter last, since from there on only what it allows can be called
 * (security rules 20 to 25).
 */
export function compileProcess(input: ProcessInput): Step[] {
  const { profile, identity } = input;
  const attributes = attributeSteps(input.attributes);
  const sets = completeCapabilities(input.capabilities, identity.uid, profile.capabilities);
  const steps: Step[] = [{ kind: 'unblockSignals' }, { kind: 'setsid' }];
  if (input.tty) steps.push({ kind: 'controllingTty', slot: 'tty' });
  steps.push(
    { kind: 'stdio', stdin: input.stdin, stdout: input.stdout, stderr: input.stderr },
    { kind: 'sessionKeyring' },
    { kind: 'umask', mask: 0o022 },
    ...attributes.beforeIds,
  );
  // While there is CAP_SETPCAP to drop them with.
  if (!sets.bounding.equals(profile.capabilities)) steps.push(boundingStep(sets));
  if (sets.permitted.size > 0 && identity.uid !== 0) steps.push({ kind: 'keepCapabilities' });
  if (profile.setGroups) steps.push({ kind: 'setGroups', groups: identity.groups });
  steps.push(
    { kind: 'setGid', gid: identity.gid },
    { kind: 'setUid', uid: identity.uid },
    capabilitiesStep(sets),
    // A change of ids or capabilities clears it (PR_SET_PDEATHSIG(2const)).
    ...(profile.endsWithParent ? [{ kind: 'parentDeathSignal' } as const] : []),
    { kind: 'changeDirectory', path: input.cwd },
    { kind: 'noNewPrivs' },
    ...attributes.beforeClose,
    // Before the filters, which may refuse it; the socket for a listener stays, and closes at the exec.
    { kind: 'closeRange', first: firstOther, ...(input.listener === undefined ? {} : { keep: input.listener }) },
    ...attributes.last,
    ...filterSteps(profile.filters, input.listener),
    executeStep(input),
  );
  return steps;
}

function boundingStep({ bounding }: CapabilitySets): Step {
  return { kind: 'boundingSet', mask: Number(bounding.mask) };
}

function capabilitiesStep(sets: CapabilitySets): Step {
  return {
    kind: 'capabilities',
    effective: Number(sets.effective.mask),
    permitted: Number(sets.permitted.mask),
    inheritable: Number(sets.inheritable.mask),
    ambient: Number(sets.ambient.mask),
  };
}

function executeStep({ argv, env }: ProcessInput): Step {
  const program = argv[0] ?? '';
  // execvp(3): a name without a slash is looked up in PATH, the one of the new environment.
  const search = program.includes('/') ? '' : (env.find(([name]) => name === 'PATH')?.[1] ?? '');
  return { kind: 'exec', program, argv, env, search };
}
