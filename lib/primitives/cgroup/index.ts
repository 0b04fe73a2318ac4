/** Control groups: where they are on this host, what limits become in them, what they say about use. */

export { type BaseStep, baseSteps, type Problem } from './base.js';
export { parseCpuset } from './cpuset.js';
export {
  type Availability,
  type CgroupLayout,
  type Controller,
  cgroupLayout,
  type Hierarchy,
  type LayoutSource,
  parseLayout,
} from './layout.js';
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
export { type ContainerStats, parseStats, type StatFile, statFiles } from './stats.js';
