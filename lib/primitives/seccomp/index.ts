/**
 * seccomp: which system calls a container's processes may make. A profile is data (Docker's JSON), compiled here to the
 * BPF program that the kernel runs before each call; a handler may decide some of them.
 */

export type { SeccompAction, SeccompAnswer, SeccompOutcome } from './action.js';
export { compileSeccomp, compileSeccompCached } from './compile.js';
export { handOver, hasNotify, join, withRefusalsNotified } from './compose.js';
export type { DescriptorSource, SeccompDecision, SeccompHandler } from './decision.js';
export { defaultProfile } from './default.js';
export { dockerProfile } from './docker.js';
export {
  Seccomp,
  type SeccompCompileOptions,
  SeccompFilter,
  type SeccompVerdict,
  type SimulatedArchitecture,
  type SimulateOptions,
} from './filter.js';
export { filterFlags, type SeccompFlag } from './flags.js';
export { simulate } from './interpreter.js';
export type { DeniedCall, SystemCall, SystemCallFacts } from './notification.js';
export type * from './profile.js';
export { validateProfile } from './profile.js';
export type { SeccompTarget } from './resolve.js';
export { setIdGuard } from './set-id.js';
export { Supervisor, type SupervisorRules } from './supervisor.js';
export { isSyscallName, type SeccompArch } from './syscalls.js';
