/**
 * What a program is given or denied besides its user, whoever starts it: a container, an exec, or a process in namespaces
 * of one's own. Only types; `settings.ts` checks them, `steps.ts` turns them into steps.
 */

import type { AppArmorOption } from '../../primitives/apparmor/index.js';
import type { Capabilities, Capability } from '../../primitives/capabilities.js';
import type { LandlockOptions } from '../../primitives/landlock/index.js';
import type { Resource } from '../../primitives/rlimits.js';
import type { SELinuxOptions } from '../../primitives/selinux.js';
import type { Size } from '../../units.js';

/** One limit, a number or a size as the resource asks; `'unlimited'` is RLIM_INFINITY. */
export type RlimitValue = Size | 'unlimited';

/** Both values, or one for both. `soft` is what is enforced; the program may raise it up to `hard`. */
export type RlimitOption =
  | RlimitValue
  | {
      readonly soft: RlimitValue;
      /** Default: the same as `soft`. */
      readonly hard?: RlimitValue;
    };

/**
 * Limits of one process and what it forks (getrlimit(2)), by the kernel's names in lower case. `as`, `core`, `data`, `fsize`,
 * `memlock`, `msgqueue`, `rss` and `stack` are bytes or sizes such as `'8MiB'`; `cpu` is seconds, `rttime` microseconds; `nice`
 * is 20 less the best nice value (0 to 40), `rtprio` the best real-time priority (0 to 99); the others count. Limits of an
 * exec may only be tighter than those of its container. No hard limit may be above that of this process.
 */
export type RlimitOptions = { readonly [Name in Resource]?: RlimitOption };

/** When a program gets a processor, and which (sched(7)). */
export interface SchedulingOptions {
  /**
   * `'other'` (default), `'batch'`, `'idle'`; or the real-time ones, for which the kernel wants CAP_SYS_NICE on the host or,
   * for `'fifo'` and `'rr'`, RLIMIT_RTPRIO. `'deadline'` cannot be had in a container.
   */
  readonly policy?: 'other' | 'batch' | 'idle' | 'fifo' | 'rr' | 'deadline';
  /** -20 (most) to 19 (least), for `'other'`, `'batch'` and `'idle'`. Default 0; less than 0 asks for RLIMIT_NICE. */
  readonly nice?: number;
  /** 1 (least) to 99, for `'fifo'` and `'rr'`. */
  readonly priority?: number;
  /** For `'deadline'`, in milliseconds: processor time within each period. At least 0.001, at most `deadline`. */
  readonly runtime?: number;
  /** For `'deadline'`, in milliseconds: by when the runtime is had. At most `period`. */
  readonly deadline?: number;
  /** For `'deadline'`, in milliseconds. Default: the same as `deadline`. */
  readonly period?: number;
  /** Children of the program start with `'other'` and a nice value of at least 0 (SCHED_RESET_ON_FORK). Default false. */
  readonly resetOnFork?: boolean;
  /** Processors it may run on, such as `'0-1,3'`, each of which must be available to it. Default: all. */
  readonly affinity?: string;
  /** Priority for block devices (ioprio_set(2)). Default `{ class: 'none' }`, which follows the nice value. */
  readonly io?: {
    /** `'realtime'` cannot be had in a container. */
    readonly class: 'none' | 'realtime' | 'best-effort' | 'idle';
    /** 0 (most) to 7 (least), for `'realtime'` and `'best-effort'`. Default 4. */
    readonly level?: number;
  };
  /**
   * Never share a core with another's program: its hyper-threads run this program's processes only (core scheduling,
   * PR_SCHED_CORE). Default false. An {@link UnsupportedError} where the kernel or the processor has none.
   */
  readonly core?: boolean;
}

/** How the kernel treats old expectations of a program (personality(2)); nothing but these can be asked for. */
export interface PersonalityOptions {
  /** `'linux32'`: uname(2) tells of a 32-bit machine, as a build for one expects. Default `'linux'`. */
  readonly domain?: 'linux' | 'linux32';
  /** uname(2) tells of a Linux 2.6, for programs that cannot parse a newer one. Default false. */
  readonly uname26?: boolean;
  /**
   * Lay out memory at the same addresses each time (ADDR_NO_RANDOMIZE), as a debugger or a reproducible benchmark wants.
   * It makes weaknesses of the program easier to use, so it is listed by `inspect()`.
   */
  readonly unsafeNoRandomize?: boolean;
}

/** Attributes of a program. Those of a container hold for every program in it; an exec may have its own. */
export interface ProcessAttributes {
  readonly rlimits?: RlimitOptions;
  /** An exec's keys replace the container's, one by one; the policy with what belongs to it is one of them. */
  readonly scheduling?: SchedulingOptions;
  readonly personality?: PersonalityOptions;
  /**
   * Added to the score by which the kernel chooses whom to kill when memory is short, in thousandths of all memory
   * (proc_pid_oom_score_adj(5)): 0 to 1000 in a container, where an exec's must not be less than the container's. Default 0.
   */
  readonly oomScoreAdj?: number;
  /** Landlock rules. An exec's come on top of its container's, so that they can only be stricter. */
  readonly landlock?: LandlockOptions;
  /**
   * A profile of AppArmor that is loaded. An exec's is stacked on its container's. An {@link UnsupportedError} where the kernel
   * has no AppArmor, an {@link OptionError} where it has not loaded the profile.
   */
  readonly appArmor?: AppArmorOption;
  /**
   * A label of SELinux; an exec's takes the place of its container's. `mount` belongs to the container. An
   * {@link UnsupportedError} where the kernel has no SELinux.
   */
  readonly selinux?: SELinuxOptions;
}

/** Capabilities as an option: a set, or a list of names, with or without `CAP_`. */
export type CapabilitiesOption = Capabilities | readonly (Capability | string)[];

/**
 * The five sets of a process as it executes its program (capabilities(7)); after that the rules of execve(2) hold. Root has
 * `bounding` and `inheritable` as permitted and effective then; any other user has `ambient`, and nothing else.
 */
export interface CapabilitySetsOption {
  /** What can ever be gained. Default: all that the container has. */
  readonly bounding?: CapabilitiesOption;
  /** Default: root `bounding`; another user `ambient` and `effective`. */
  readonly permitted?: CapabilitiesOption;
  /** Default: `permitted`. */
  readonly effective?: CapabilitiesOption;
  /** Default: `ambient`. */
  readonly inheritable?: CapabilitiesOption;
  /** What a program of any user keeps: each must be permitted and inheritable. Default: none. */
  readonly ambient?: CapabilitiesOption;
}
