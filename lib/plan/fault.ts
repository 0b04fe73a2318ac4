/**
 * Faults for tests: one step of the plans made from now on is replaced, by default with one that fails. Internal, and not
 * exported from the package; that each failure ends in an error and leaves nothing is a promise about every step (security N4).
 */

import type { Step } from './step.js';

/** Where a step runs. */
export type PlanPart = 'launcher' | 'init' | 'process';

export interface Fault {
  readonly part: PlanPart;
  /** Position in its part, from 0. */
  readonly index: number;
  readonly replacement: Step;
}

/** Fails with ENOENT wherever it runs. */
export const failingStep: Step = { kind: 'changeDirectory', path: '/tscontain-fault' };

let current: Fault | undefined;

/** Replaces a step from now on; undefined ends that. */
export function injectFault(fault: Fault | undefined): void {
  current = fault;
}

/** The steps of a part as they are to be run: the very same ones, unless a test has injected a fault. */
export function withFault(part: PlanPart, steps: readonly Step[]): readonly Step[] {
  return current?.part === part ? steps.with(current.index, current.replacement) : steps;
}

/** The same for a part that is made of fragments; with a fault, nothing of it is common to other containers. */
export function withFaultInParts<T extends { common: readonly (readonly Step[])[]; own: readonly (readonly Step[])[] }>(
  part: PlanPart,
  parts: T,
): T | { common: []; own: readonly (readonly Step[])[] } {
  if (current?.part !== part) return parts;
  return { common: [], own: [withFault(part, [...parts.common, ...parts.own].flat())] };
}
