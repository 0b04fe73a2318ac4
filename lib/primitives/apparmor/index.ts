/** AppArmor: profiles of the host, and programs under them. */

export { AppArmor, type AppArmorLabel } from './apparmor.js';
export {
  type AppArmorOption,
  type AppArmorSettings,
  expectLoaded,
  labelOf,
  readAppArmor,
  stackProfiles,
} from './options.js';
export type { AppArmorAccess, AppArmorFileRule, AppArmorNetwork, AppArmorProfileOptions } from './profile.js';
