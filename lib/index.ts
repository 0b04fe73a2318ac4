/**
 * Linux containers for Node: real kernel isolation, with no daemon and no external binary.
 * @packageDocumentation
 */

export type { CommitOptions } from './container/commit.js';
export {
  Container,
  type ContainerEnd,
  type ContainerEvents,
  type ContainerInspection,
} from './container/container.js';
export type { ExportOptions } from './container/export.js';
export type { ForkOptions } from './container/fork.js';
export type { ContainerFileSystem, DirectoryEntry, FilePath, FileStat, ReadFileOptions } from './container/fs.js';
export type { ContainerIdsInspection } from './container/ids.js';
export type * from './container/options.js';
export type { ContainerProcess, OutputChunk } from './container/process.js';
export type { ExitReason, Result, Usage } from './container/result.js';
export type { StorageInspection } from './container/storage/bound.js';
export type { ContainerImage } from './container/stored-image.js';
export {
  AbortedError,
  type ErrorDetails,
  ExitError,
  ImageError,
  type ImageErrorDetails,
  OptionError,
  PermissionError,
  type StepReference,
  TscontainError,
  UnsupportedError,
} from './errors.js';
export * from './image/index.js';
export type { TimeOffsets } from './launcher/agent-steps.js';
export type { Descriptor } from './launcher/native.js';
export * from './netfilter/index.js';
export { NetlinkError, type NetlinkErrorDetails } from './netlink/error.js';
export type * from './network/index.js';
export {
  ContainerEgress,
  InterfaceAddresses,
  Links,
  Neighbours,
  Network,
  NetworkEvents,
  NetworkSysctl,
  Routes,
  RoutingRules,
} from './network/index.js';
export type { StepDescription } from './plan/describe.js';
export type { Plan, PlanStep } from './plan/plan.js';
export type { NodeType, Slot, Step, StepKind } from './plan/step.js';
export {
  AppArmor,
  type AppArmorAccess,
  type AppArmorFileRule,
  type AppArmorLabel,
  type AppArmorNetwork,
  type AppArmorOption,
  type AppArmorProfileOptions,
} from './primitives/apparmor/index.js';
export {
  Capabilities,
  type Capability,
  type CapabilityName,
  type CapabilitySets,
  type FileCapabilities,
  type FileCapabilitiesOption,
} from './primitives/capabilities.js';
export {
  type Availability,
  type CgroupController,
  type CgroupEntrance,
  type CgroupEventMap,
  type CgroupEvents,
  type CgroupLayout,
  type CgroupSettings,
  type CgroupStats,
  CgroupV2,
  type ConfirmOptions,
  type ContainerStats,
  type Controller,
  type CounterEvent,
  type CpuSettings,
  type CpuStats,
  type CpusetSettings,
  type CpusetValues,
  type CpuValues,
  type DeviceController,
  type DeviceRule,
  type Hierarchy,
  type HugetlbSettings,
  type HugetlbValues,
  type IoLatency,
  type IoMax,
  type IoMaxValues,
  type IoSettings,
  type IoStats,
  type IoValues,
  type MemoryController,
  type MemorySettings,
  type MemoryStats,
  type MemoryValues,
  type MiscSettings,
  type PidsSettings,
  type PidsStats,
  type Pressure,
  type PressureLine,
  type PressureResource,
  type PressureThreshold,
  type Problem,
  type RdmaMax,
  type RdmaSettings,
  type UnifiedFiles,
} from './primitives/cgroup/index.js';
export { IdMap, type IdMaps, type IdRange } from './primitives/id-map.js';
export {
  Landlock,
  type LandlockOptions,
  type LandlockPath,
  type LandlockPathRights,
  type LandlockPathRule,
  type LandlockPortRule,
  type LandlockRight,
  type LandlockRuleset,
  type LandlockScope,
} from './primitives/landlock/index.js';
export {
  BindMount,
  type BindMountOptions,
  type FileType,
  Mount,
  type MountIdMap,
  type MountOptions,
  type OverlayChange,
  OverlayMount,
  type OverlayMountOptions,
  TmpfsMount,
  type TmpfsMountOptions,
  type UnmountOptions,
} from './primitives/mount/index.js';
export type { NamespaceKind } from './primitives/namespace/kind.js';
export type { NamespaceEntry } from './primitives/namespace/list.js';
export { Namespace } from './primitives/namespace/namespace.js';
export type { IdMapOption, NamespaceOptions } from './primitives/namespace/settings.js';
export type { Resource } from './primitives/rlimits.js';
export {
  type DeniedCall,
  type DescriptorSource,
  Seccomp,
  type SeccompAction,
  type SeccompAnswer,
  type SeccompArch,
  type SeccompArchitecture,
  type SeccompArgument,
  type SeccompCompileOptions,
  type SeccompCondition,
  type SeccompDecision,
  SeccompFilter,
  type SeccompFlag,
  type SeccompHandler,
  type SeccompOp,
  type SeccompOutcome,
  type SeccompProfile,
  type SeccompRule,
  type SeccompVerdict,
  type SimulatedArchitecture,
  type SimulateOptions,
  type SystemCall,
  type SystemCallFacts,
} from './primitives/seccomp/index.js';
export { SELinux, type SELinuxOptions } from './primitives/selinux.js';
export type * from './process/attributes/options.js';
export type { SpawnOptions } from './process/options.js';
export type * from './process/seccomp/options.js';
export { spawn } from './process/spawn.js';
export type { Duration, Size } from './units.js';
