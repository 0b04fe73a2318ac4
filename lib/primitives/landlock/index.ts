/** Landlock: what a program may still do with files, ports, sockets and signals. */

export { Landlock, landlockAbi } from './landlock.js';
export {
  type LandlockOptions,
  type LandlockPath,
  type LandlockPathRights,
  type LandlockSettings,
  readLandlock,
} from './options.js';
export type { LandlockRight, LandlockScope } from './rights.js';
export {
  type LandlockPathRule,
  type LandlockPortRule,
  type LandlockRuleset,
  landlockSteps,
  makeRuleset,
} from './ruleset.js';
