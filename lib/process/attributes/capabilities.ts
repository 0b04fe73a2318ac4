/** The five capability sets of a program as options: read within what its container has, and completed for its user. */

import { defineSchema, readObject } from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import { Capabilities, type CapabilitySets } from '../../primitives/capabilities.js';

/** Those that were given; a plain list is the bounding set. */
export type CapabilitySettings = { readonly [Name in keyof CapabilitySets]?: Capabilities };

const setNames = ['bounding', 'permitted', 'effective', 'inheritable', 'ambient'] as const;
const schema = defineSchema(setNames);
/** Nothing was said: root has all that the container has, another user nothing. */
export const ownCapabilities: CapabilitySettings = Object.freeze({});

/**
 * A list, which is what root may do (another user has none), or sets by name.
 * @throws OptionError at an unknown name, or sets that the kernel could not combine
 */
export function readCapabilitySets(value: unknown, option: string): CapabilitySettings {
  if (value === undefined) return ownCapabilities;
  if (!isSets(value)) return Object.freeze({ bounding: readSet(value, option) });
  const fields = readObject(value, option, schema);
  const sets = Object.fromEntries(
    setNames.flatMap((name) =>
      fields[name] === undefined ? [] : [[name, readSet(fields[name], `${option}.${name}`)]],
    ),
  ) as CapabilitySettings;
  const { bounding, permitted, inheritable = sets.ambient, effective, ambient } = sets;
  const within = (name: keyof CapabilitySets, set: Capabilities | undefined, outer: Capabilities | undefined) => {
    const beyond = set && outer ? set.without(outer) : Capabilities.none;
    for (const capability of beyond) throw new OptionError(`${option}.${name}`, whatEncloses[name], capability);
  };
  within('effective', effective, permitted);
  within('ambient', ambient, permitted);
  within('ambient', ambient, inheritable);
  for (const name of setNames) within(name, sets[name], bounding);
  return Object.freeze(sets);
}

const whatEncloses: Readonly<Record<keyof CapabilitySets, string>> = {
  bounding: 'capabilities that can be had',
  permitted: 'capabilities of the bounding set',
  effective: 'capabilities that are permitted, and in the bounding set',
  inheritable: 'capabilities of the bounding set',
  ambient: 'capabilities that are permitted, inheritable, and in the bounding set',
};

const ceilings = {
  container: { expected: 'capabilities that the container has', hint: 'give it to the container first' },
  host: {
    expected: 'capabilities that this process can give',
    hint: 'its bounding set is the limit (CapBnd in /proc/self/status)',
  },
} as const;

/**
 * Checks that sets stay within what the container, or whoever starts the program, has.
 * @throws OptionError naming the first that does not
 */
export function expectCapabilitiesWithin(
  sets: CapabilitySettings,
  ceiling: Capabilities,
  option: string,
  whose: 'container' | 'host' = 'container',
): void {
  const { expected, hint } = ceilings[whose];
  for (const name of setNames) {
    for (const capability of sets[name]?.without(ceiling) ?? []) {
      throw new OptionError(`${option}.${name}`, expected, capability, { hint });
    }
  }
}

/** All five sets of a program of this user. */
export function completeCapabilities(sets: CapabilitySettings, uid: number, ceiling: Capabilities): CapabilitySets {
  const { bounding = ceiling, ambient = Capabilities.none, inheritable = ambient } = sets;
  const held = uid === 0 ? bounding : ambient.union(sets.effective ?? Capabilities.none);
  const { permitted = held } = sets;
  return { bounding, permitted, effective: sets.effective ?? permitted, inheritable, ambient };
}

function isSets(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !(Symbol.iterator in value);
}

/** The set, held as a copy of ours. */
function readSet(value: unknown, option: string): Capabilities {
  return Capabilities.none.union(Capabilities.from(value as Iterable<string>, option));
}
