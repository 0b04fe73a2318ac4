/** A plan for a reader: what will happen, as data and as text. */

import { describeStep, type StepDescription } from './describe.js';
import type { Step } from './step.js';

/** One step of a {@link Plan}: where it runs, what it is, and what it means. */
export interface PlanStep extends StepDescription {
  /** `launcher`: on the host's side. `init`: inside, as pid 1. `process`: in the child that becomes the program. */
  readonly where: 'launcher' | 'init' | 'process';
  readonly step: Step;
}

/** The steps that make a container and start a program in it, in order. */
export class Plan implements Iterable<PlanStep> {
  readonly steps: readonly PlanStep[];

  constructor(parts: { launcher: readonly PlanStep[]; init: readonly Step[]; process: readonly Step[] }) {
    const place = (where: PlanStep['where']) => (step: Step) => ({ where, step, ...describeStep(step) });
    this.steps = Object.freeze([
      ...parts.launcher,
      ...parts.init.map(place('init')),
      ...parts.process.map(place('process')),
    ]);
  }

  [Symbol.iterator](): Iterator<PlanStep> {
    return this.steps[Symbol.iterator]();
  }

  /** A numbered line for each step, with its manual page. */
  toString(): string {
    const width = String(this.steps.length).length;
    return this.steps
      .map(({ where, text, manual }, index) => {
        return `${String(index + 1).padStart(width)}  ${where.padEnd(8)}  ${text}  [${manual}]`;
      })
      .join('\n');
  }

  toJSON(): readonly PlanStep[] {
    return this.steps;
  }
}
