/** Attributes of a program, checked: one reader for whoever starts it, and the rule by which an exec's lie over its container's. */

import { type Fields, readInteger } from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import { type AppArmorSettings, expectLoaded, readAppArmor, stackProfiles } from '../../primitives/apparmor/index.js';
import { type LandlockSettings, landlockAbi, makeRuleset, readLandlock } from '../../primitives/landlock/index.js';
import type { Rlimits } from '../../primitives/rlimits.js';
import { expectSELinux, readSELinux, type SELinuxSettings } from '../../primitives/selinux.js';
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
  /** The container's, and then the program's own. */
  readonly landlock?: readonly LandlockSettings[];
  readonly appArmor?: AppArmorSettings;
  readonly selinux?: SELinuxSettings;
}

/** The keys of `ProcessAttributes`. */
export const attributeKeys = [
  'rlimits',
  'scheduling',
  'personality',
  'oomScoreAdj',
  'landlock',
  'appArmor',
  'selinux',
] as const;
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
  const { landlock, appArmor, selinux } = fields;
  return Object.freeze({
    rlimits: readRlimitOptions(fields.rlimits, 'rlimits'),
    scheduling: readScheduling(fields.scheduling, 'scheduling'),
    ...(personality === undefined ? {} : { personality }),
    ...(score === undefined ? {} : { oomScoreAdj: score }),
    ...(landlock === undefined ? {} : { landlock: Object.freeze([readLandlock(landlock, 'landlock')]) }),
    ...(appArmor === undefined ? {} : { appArmor: readAppArmor(appArmor, 'appArmor') }),
    ...(selinux === undefined ? {} : { selinux: readSELinux(selinux, 'selinux') }),
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
  const landlock = [...(container.landlock ?? []), ...(own.landlock ?? [])];
  const appArmor = stackProfiles(container.appArmor, own.appArmor);
  return Object.freeze({
    ...container,
    ...own,
    ...(landlock.length > 0 ? { landlock: Object.freeze(landlock) } : {}),
    ...(appArmor ? { appArmor } : {}),
    rlimits: tightenRlimits(own.rlimits, container.rlimits, 'rlimits'),
    scheduling:
      own.scheduling === noScheduling
        ? container.scheduling
        : Object.freeze({ ...container.scheduling, ...own.scheduling }),
  });
}

/**
 * Holds attributes for a container's program against what this process may hand on, and this kernel has.
 * @throws PermissionError, UnsupportedError, or OptionError at a profile that is not loaded, before anything is started
 */
export function expectPermitted(attributes: AttributeSettings): void {
  expectConfinable(attributes);
  expectRlimitsWithinOwn(attributes.rlimits, 'rlimits');
  expectSchedulable(attributes.scheduling, attributes.rlimits, 'scheduling');
}

/**
 * Holds what is asked of the kernel's security modules against what it has.
 * @throws UnsupportedError, or OptionError at a profile that is not loaded
 */
export function expectConfinable({ landlock = [], appArmor, selinux }: AttributeSettings): void {
  for (const settings of landlock) makeRuleset(settings, landlockAbi());
  if (appArmor) expectLoaded(appArmor, 'appArmor');
  if (selinux) expectSELinux();
}

/** What of them is less confined than the defaults, for `inspect()`. */
export function relaxedAttributes({ scheduling, personality, landlock = [] }: AttributeSettings): readonly string[] {
  const policy = scheduling.policy;
  return [
    ...(policy && policy.priority > 0 ? [`scheduling.policy ${policy.policy} ${policy.priority}`] : []),
    ...landlock.filter(({ degrade }) => degrade).flatMap(leftOut),
    ...(isPredictable(personality) ? ['personality.unsafeNoRandomize'] : []),
  ];
}

function leftOut(settings: LandlockSettings): string[] {
  const ruleset = makeRuleset(settings, landlockAbi());
  return ruleset.leftOut.map((name) => `landlock ${name} is not restricted: the kernel has ABI ${ruleset.abi}`);
}
