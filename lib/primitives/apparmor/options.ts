/** A profile of AppArmor as an option of a program: what its name may be, and how an exec's goes with its container's. */

import { defineSchema, readBoolean, readObject } from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import { AppArmor } from './apparmor.js';
import { noAppArmor, profileName } from './name.js';

/** The name of a profile that is loaded, or that with how it is applied. */
export type AppArmorOption =
  | string
  | {
      readonly profile: string;
      /**
       * On top of the label that the starting process has, as `current//&profile`: what either denies is denied. Default false:
       * instead of it, which a process that is confined itself needs a `change_profile` rule for.
       */
      readonly stack?: boolean;
    };

export interface AppArmorSettings {
  /** Each of them loaded, and none beneath another's name. All of them hold at once. */
  readonly profiles: readonly string[];
  readonly stack: boolean;
}

const schema = defineSchema(['profile', 'stack']);

/**
 * Checks the option.
 * @throws OptionError naming it
 */
export function readAppArmor(value: unknown, option: string): AppArmorSettings {
  if (typeof value !== 'object' || value === null) {
    return Object.freeze({ profiles: [profileName(value, option)], stack: false });
  }
  const { profile, stack } = readObject(value, option, schema);
  return Object.freeze({
    profiles: [profileName(profile, `${option}.profile`)],
    stack: readBoolean(stack, `${option}.stack`, false),
  });
}

/** An exec's profile never replaces its container's: it is stacked on it. */
export function stackProfiles(
  container: AppArmorSettings | undefined,
  own: AppArmorSettings | undefined,
): AppArmorSettings | undefined {
  if (!container || !own) return own ?? container;
  return Object.freeze({ profiles: [...new Set([...container.profiles, ...own.profiles])], stack: container.stack });
}

/** The label as the kernel takes it. */
export function labelOf({ profiles }: AppArmorSettings): string {
  return profiles.join('//&');
}

/**
 * Holds profiles against what the kernel has loaded.
 * @throws UnsupportedError where there is no AppArmor, OptionError at a profile that is not loaded
 */
export function expectLoaded({ profiles }: AppArmorSettings, option: string): void {
  if (!AppArmor.enabled()) throw noAppArmor();
  const loaded = AppArmor.listed();
  // Where the list may not be read the kernel has the last word, still before the program starts.
  if (!loaded) return;
  for (const name of profiles) {
    if (loaded.some((profile) => profile.name === name)) continue;
    throw new OptionError(option, 'a profile that is loaded', name, {
      hint: 'load it with apparmor_parser -r, or AppArmor.load() for compiled policy; AppArmor.profiles() lists what is there',
    });
  }
}
