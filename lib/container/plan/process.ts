/** The steps between fork and exec of one process: the same for the first program and every later one (security D1). */

import type { Step } from '../../plan/step.js';
import type { Capabilities } from '../../primitives/capabilities.js';

/** What is the same for every process of a container, frozen when the container is made and kept in host memory (F9). */
export interface ProcessProfile {
  readonly capabilities: Capabilities;
  /** Programs of the filters, in the order they are loaded. */
  readonly filters: readonly Uint8Array[];
  readonly openFiles: number;
  readonly fileSize: number | undefined;
  /** With a single id map there is no other group than one's own, and setgroups(2) is switched off. */
  readonly setGroups: boolean;
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
  readonly argv: readonly string[];
  readonly env: readonly (readonly [string, string])[];
  readonly cwd: string;
  readonly tty: boolean;
  /** Slots of the standard streams. */
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}

const resource = { FSIZE: 1, CORE: 4, NOFILE: 7 } as const;
const firstOther = 3;

/**
 * The order matters: limits need privileges, so they come before the ids change; the ids change before the capabilities,
 * as a change of user empties them (the bounding set is init's, and exact already); no_new_privs before the filter, which needs it; the filter last,
 * since from there on only what it allows can be called (security rules 20 to 25).
 */
export function compileProcess(input: ProcessInput): Step[] {
  const { profile, identity } = input;
  const root = identity.uid === 0;
  const mask = Number(profile.capabilities.mask);
  const steps: Step[] = [{ kind: 'unblockSignals' }, { kind: 'setsid' }];
  if (input.tty) steps.push({ kind: 'controllingTty', slot: 'tty' });
  steps.push(
    { kind: 'stdio', stdin: input.stdin, stdout: input.stdout, stderr: input.stderr },
    { kind: 'sessionKeyring' },
    { kind: 'umask', mask: 0o022 },
    { kind: 'scheduling' },
    { kind: 'rlimit', resource: resource.NOFILE, name: 'NOFILE', soft: profile.openFiles, hard: profile.openFiles },
    { kind: 'rlimit', resource: resource.CORE, name: 'CORE', soft: 0, hard: 0 },
  );
  if (profile.fileSize !== undefined) {
    const size = profile.fileSize;
    steps.push({ kind: 'rlimit', resource: resource.FSIZE, name: 'FSIZE', soft: size, hard: size });
  }
  if (profile.setGroups) steps.push({ kind: 'setGroups', groups: identity.groups });
  steps.push(
    { kind: 'setGid', gid: identity.gid },
    { kind: 'setUid', uid: identity.uid },
    { kind: 'capabilities', mask: root ? mask : 0 },
    { kind: 'changeDirectory', path: input.cwd },
    { kind: 'noNewPrivs' },
    { kind: 'closeRange', first: firstOther },
    ...profile.filters.map((program): Step => ({ kind: 'seccomp', program })),
    executeStep(input),
  );
  return steps;
}

function executeStep({ argv, env }: ProcessInput): Step {
  const program = argv[0] ?? '';
  // execvp(3): a name without a slash is looked up in PATH, the one of the new environment.
  const search = program.includes('/') ? '' : (env.find(([name]) => name === 'PATH')?.[1] ?? '');
  return { kind: 'exec', program, argv, env, search };
}
