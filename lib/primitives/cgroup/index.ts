/** Control groups: where they are on this host, what limits become in them, what they say about use. */

export { type BaseStep, baseSteps } from './base.js';
export { parseCpuset } from './cpuset.js';
export { type CgroupLayout, type Controller, cgroupLayout } from './layout.js';
export {
  type CgroupWrite,
  explicitUnsupported,
  type IoLimit,
  type Limits,
  limitWrites,
  requiredHierarchies,
  type Unenforceable,
  unenforceable,
} from './limits.js';
export { cgroupName } from './name.js';
export { type ContainerStats, parseStats, statFiles } from './stats.js';
