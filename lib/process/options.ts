/** The options of {@link spawn}: those of an exec, and where the program is started. Only types; `settings.ts` checks them. */

import type { ContainerOptions, ExecOptions } from '../container/options.js';
import type { CgroupV2 } from '../primitives/cgroup/index.js';
import type { NamespaceKind } from '../primitives/namespace/kind.js';
import type { Namespace } from '../primitives/namespace/namespace.js';
import type { NamespaceOptions } from '../primitives/namespace/settings.js';

/** Options of a program on the host, or in namespaces of one's choice. */
export interface SpawnOptions extends Omit<ExecOptions, 'user' | 'cwd' | 'env' | 'entrypoint'>, NamespaceOptions {
  /**
   * Namespaces to enter, and kinds to get new ones of; each kind once. New ones belong to the user namespace that is entered,
   * if one is; a new user namespace cannot be had beside others that are entered: make it with `Namespace.create` first.
   * Default: those of this process.
   */
  readonly namespaces?: Namespace | readonly (Namespace | NamespaceKind)[];
  /**
   * Who it runs as: ids as the user namespace has them, or the name of an account of the host. Default: the user of this
   * process; in another user namespace its root, or the lowest id that there is.
   */
  readonly user?: string | number;
  /** Default: the current directory; `/` in another user namespace, or a mount namespace that is entered. */
  readonly cwd?: string;
  /** Its whole environment. Default: that of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** A filter of its system calls. Default: none. */
  readonly seccomp?: NonNullable<ContainerOptions['seccomp']>;
  /**
   * What it is started in: a `CgroupV2`, or the directory of a v2 cgroup. In another user namespace, or where controllers of
   * a `CgroupV2` are on cgroup v1, the process that starts it is in there too, and counts as one. Ending the program ends
   * nothing else in there.
   */
  readonly cgroup?: CgroupV2 | { readonly path: string };
}
