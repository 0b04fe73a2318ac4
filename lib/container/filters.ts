/** The filters of a container's programs: its profile, what is added to it, and how waiting calls are answered. */

import {
  compileSeccompCached,
  filterFlags,
  join,
  SeccompFilter,
  type SeccompTarget,
  type SupervisorRules,
  setIdGuard,
  withRefusalsNotified,
} from '../primitives/seccomp/index.js';
import type { ProcessFilter } from './plan/process.js';
import type { ContainerSettings } from './settings.js';

export interface CompiledFilters {
  /** In the order they are loaded. */
  readonly filters: readonly ProcessFilter[];
  readonly supervision: SupervisorRules | undefined;
}

/** @param guarded set-user-ID files must not be made */
export function compileFilters(
  { seccomp, supervision }: ContainerSettings,
  guarded: boolean,
  target: SeccompTarget,
): CompiledFilters {
  const audit = supervision?.audit ?? false;
  // Of two filters that refuse, the kernel takes either's word: only one may, if every refusal is to be heard of.
  const profile = guarded && audit ? join(seccomp, setIdGuard) : seccomp;
  const program = compileSeccompCached(profile, target);
  const own = { program: audit ? withRefusalsNotified(program) : program, flags: filterFlags(seccomp.flags) };
  const guard = { program: compileSeccompCached(setIdGuard, target), flags: 0 };
  return {
    // The container's own profile is loaded last: it may not allow seccomp(2).
    filters: guarded && !audit ? [guard, own] : [own],
    supervision: supervision && { filter: new SeccompFilter(program, target.arch), handler: supervision.handler },
  };
}
