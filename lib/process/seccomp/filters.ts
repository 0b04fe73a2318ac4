/** The filters of programs: their profile, what is added to it, and how waiting calls are answered. */

import type { Slot, Step } from '../../plan/step.js';
import {
  compileSeccompCached,
  filterFlags,
  join,
  SeccompFilter,
  type SeccompTarget,
  type SupervisorRules,
  setIdGuard,
  withRefusalsNotified,
} from '../../primitives/seccomp/index.js';
import type { SeccompSettings } from './settings.js';

/** A seccomp program, and the flags of seccomp(2) that it is loaded with. */
export interface ProcessFilter {
  readonly program: Uint8Array;
  readonly flags: number;
  /** Whether futex(2) is allowed whatever its arguments. */
  readonly maySleep?: boolean;
}

export interface CompiledFilters {
  /** In the order they are loaded. */
  readonly filters: readonly ProcessFilter[];
  readonly supervision: SupervisorRules | undefined;
}

/**
 * @param guarded set-user-ID files must not be made
 * @param target what the profile's conditions are about: the capabilities are the bounding set
 */
export function compileFilters(
  { seccomp, supervision }: Pick<SeccompSettings, 'seccomp' | 'supervision'>,
  guarded: boolean,
  target: SeccompTarget,
): CompiledFilters {
  const audit = supervision?.audit ?? false;
  // Of two filters that refuse, the kernel takes either's word: only one may, if every refusal is to be heard of.
  const profile = guarded && audit ? join(seccomp, setIdGuard) : seccomp;
  const program = compileSeccompCached(profile, target);
  const filter = new SeccompFilter(program, target.arch);
  const own = {
    program: audit ? withRefusalsNotified(program) : program,
    flags: filterFlags(seccomp.flags),
    ...(supervision ? { maySleep: filter.allowsAlways('futex') } : {}),
  };
  return {
    // The profile is loaded last: it may not allow seccomp(2).
    filters: guarded && !audit ? [{ program: compileSeccompCached(setIdGuard, target), flags: 0 }, own] : [own],
    supervision: supervision && { filter, handler: supervision.handler },
  };
}

/**
 * The last steps before exec. The plan closes all other descriptors before: a filter may refuse that.
 * @param listener slot of the socket that the last filter's listener goes to, where calls are decided by a handler
 */
export function filterSteps(filters: readonly ProcessFilter[], listener: Slot | undefined): Step[] {
  return filters.map(({ program, flags, maySleep = false }, index): Step => {
    const step = { kind: 'seccomp', program, flags } as const;
    return listener !== undefined && index === filters.length - 1 ? { ...step, listener, maySleep } : step;
  });
}
