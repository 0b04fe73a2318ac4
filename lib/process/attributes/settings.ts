/** Attributes of a program, checked: one reader for whoever starts it, and the rule by which an exec's lie over its container's. */

import { type Fields, readInteger } from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import type { Rlimits } from '../../primitives/rlimits.js';
import { isPredictable, readPersonality } from './personality.js';
import { expectRlimitsWithinOwn, noRlimits, readRlimitOptions, tightenRlimits } from './rlimits.js';
import { expectSchedulable, noScheduling, readScheduling, type SchedulingSettings } from './scheduling.js';

/** Checked attributes. What is absent is the default, or the container's. */
export interface AttributeSettings {
  readonly rlimits: Rlimits;
  readonly scheduling: SchedulingSettings;
  /** For personality(2). */
  readonly personality?: number;
  readonly oomScoreAdj?: number;
}

/** The keys of `ProcessAttributes`. */
export const attributeKeys = ['rlimits', 'scheduling', 'personality', 'oomScoreAdj'] as const;
export type AttributeKey = (typeof attributeKeys)[number];

/** A container's program, or one in namespaces of the caller's making, which keeps the caller's powers over the host. */
export type Confinement = 'container' | 'host';

export const noAttributes: AttributeSettings = Object.freeze({ rlimits: noRlimits, scheduling: noScheduling });

/**
 * Checks the attributes among options that are copied already.
 * @throws OptionError naming the option
 */
export function readAttributes(fields: Fields<AttributeKey>, confinement: Confinement): AttributeSettings {
  if (attributeKeys.every((key) => fields[key] === undefined)) return noAttributes;
  const personality = readPersonality(fields.personality, 'personality');
  const score = readOomScore(fields.oomScoreAdj, 'oomScoreAdj', confinement);
  return Object.freeze({
    rlimits: readRlimitOptions(fields.rlimits, 'rlimits'),
    scheduling: readScheduling(fields.scheduling, 'scheduling'),
    ...(personality === undefined ? {} : { personality }),
    ...(score === undefined ? {} : { oomScoreAdj: score }),
  });
}

function readOomScore(value: unknown, option: string, confinement: Confinement): number | undefined {
  if (value === undefined) return undefined;
  const contained = confinement === 'container';
  if (contained && typeof value === 'number' && value < 0) {
    throw new OptionError(option, 'a whole number from 0 to 1000', value, {
      hint: 'a program that the kernel spares when memory is short would leave the container without a limit of memory',
    });
  }
  return readInteger(value, option, contained ? 0 : -1000, 1000);
}

/**
 * An exec's attributes over its container's.
 * @throws OptionError where they would give more than the container has
 */
export function overlayAttributes(container: AttributeSettings, own: AttributeSettings): AttributeSettings {
  if (own === noAttributes) return container;
  const floor = container.oomScoreAdj ?? 0;
  if (own.oomScoreAdj !== undefined && own.oomScoreAdj < floor) {
    throw new OptionError('oomScoreAdj', `at least the container's, ${floor}`, own.oomScoreAdj);
  }
  return Object.freeze({
    ...container,
    ...own,
    rlimits: tightenRlimits(own.rlimits, container.rlimits, 'rlimits'),
    scheduling:
      own.scheduling === noScheduling
        ? container.scheduling
        : Object.freeze({ ...container.scheduling, ...own.scheduling }),
  });
}

/**
 * Holds attributes for a container's program against what this process may hand on.
 * @throws PermissionError before anything is started
 */
export function expectPermitted(attributes: AttributeSettings): void {
  expectRlimitsWithinOwn(attributes.rlimits, 'rlimits');
  expectSchedulable(attributes.scheduling, attributes.rlimits, 'scheduling');
}

/** What of them is less confined than the defaults, for `inspect()`. */
export function relaxedAttributes({ scheduling, personality }: AttributeSettings): readonly string[] {
  const policy = scheduling.policy;
  return [
    ...(policy && policy.priority > 0 ? [`scheduling.policy ${policy.policy} ${policy.priority}`] : []),
    ...(isPredictable(personality) ? ['personality.unsafeNoRandomize'] : []),
  ];
}
