/** Control groups: where they are on this host, what limits become in them, what they say about use. */

export { type BaseStep, baseSteps, type Problem } from './base.js';
export {
  type CgroupEntrance,
  type CgroupSettings,
  CgroupV2,
  type ConfirmOptions,
} from './cgroup.js';
export type { CgroupController, MemoryController } from './controllers/access.js';
export type { CpuSettings, CpuStats, CpuValues } from './controllers/cpu.js';
export type { CpusetSettings, CpusetValues } from './controllers/cpuset.js';
export type { HugetlbSettings, HugetlbValues } from './controllers/hugetlb.js';
export type { IoLatency, IoMax, IoMaxValues, IoSettings, IoStats, IoValues } from './controllers/io.js';
export type { MemorySettings, MemoryStats, MemoryValues } from './controllers/memory.js';
export type { MiscSettings } from './controllers/misc.js';
export type { PidsSettings, PidsStats } from './controllers/pids.js';
export type { RdmaMax, RdmaSettings } from './controllers/rdma.js';
export { parseCpuset } from './cpuset.js';
export type { DeviceRule } from './device-program.js';
export type { DeviceController } from './devices.js';
export type { CgroupEventMap, CgroupEvents, CounterEvent, PressureThreshold } from './events.js';
export { type Availability, type CgroupLayout, type Controller, cgroupLayout, type Hierarchy } from './layout.js';
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
export type { Pressure, PressureLine, PressureResource } from './pressure.js';
export { type ContainerStats, parseStats, statFiles } from './stats.js';
export type { UnifiedFiles } from './unified.js';
export type { CgroupStats } from './usage.js';
