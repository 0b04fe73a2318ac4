/**
 * seccomp: which system calls a container's processes may make. A profile is data (Docker's JSON), compiled here to the
 * BPF program that the kernel runs before each call.
 */

export { simulate } from './bpf.js';
export { compileSeccomp, compileSeccompCached } from './compile.js';
export { defaultProfile } from './default.js';
export { dockerProfile } from './docker.js';
export type * from './profile.js';
export { validateProfile } from './profile.js';
export { setIdGuard } from './set-id.js';
