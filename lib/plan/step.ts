/**
 * The steps that a plan is made of. One step is close to one system call; a primitive contributes its own. Steps are plain
 * data: they can be printed, compared and sent, and nothing happens until the launcher or init runs them.
 */

import { constants } from 'node:fs';
import type { LandlockRight, LandlockScope } from '../primitives/landlock/rights.js';

/** A name for a descriptor that one step makes and later ones use. Null is the current directory (AT_FDCWD). */
export type Slot = string;

/** What kind of node a mount source must be, checked on the descriptor that is mounted. */
export interface NodeType {
  /** The S_IFMT bits of st_mode (inode(7)). */
  readonly type: number;
  readonly major: number;
  readonly minor: number;
}

export type Step =
  /** Take a mount, or a copy of one, as a descriptor: open_tree(2). An empty path is `from` itself. */
  | {
      readonly kind: 'openTree';
      readonly to: Slot;
      readonly from: Slot | null;
      readonly path: string;
      readonly recursive: boolean;
      readonly expect?: NodeType;
    }
  | { readonly kind: 'fsopen'; readonly to: Slot; readonly type: string }
  /** Set an option: a flag without a value, else text, or a file by its descriptor (overlays: since Linux 6.13). */
  | {
      readonly kind: 'fsconfig';
      readonly on: Slot;
      readonly key: string;
      readonly value?: string;
      readonly file?: Slot;
    }
  /** Set an option to the numbers of descriptors, each with the prefix before it, separated by colons. */
  | {
      readonly kind: 'fsconfigLayers';
      readonly on: Slot;
      readonly key: string;
      readonly prefix: string;
      readonly layers: readonly Slot[];
    }
  | { readonly kind: 'fsconfigCreate'; readonly on: Slot }
  | { readonly kind: 'fsmount'; readonly to: Slot; readonly from: Slot; readonly attributes: number }
  | {
      readonly kind: 'mountSetattr';
      readonly on: Slot | null;
      readonly path: string;
      readonly recursive: boolean;
      readonly set: number;
      readonly clear: number;
      readonly propagation: number;
      /** The user namespace whose ids the mount is shifted into (MOUNT_ATTR_IDMAP). */
      readonly idmap?: Slot;
      /** Go on without the shift where the file system cannot do it. */
      readonly idmapOptional?: boolean;
    }
  /** Attach a mount beneath `under`; the target is made if missing and no link is followed to it. */
  | {
      readonly kind: 'moveMount';
      readonly mount: Slot;
      readonly under: Slot | null;
      readonly path: string;
      readonly directory: boolean;
    }
  /** Unmount what is mounted at a name, if it is the mount of that number. */
  | { readonly kind: 'unmount'; readonly under: Slot; readonly name: string; readonly mountId: number }
  /** Take a mount, and all below it, out of the tree; it ends when nobody uses a file of it any more. */
  | { readonly kind: 'detach'; readonly mount: Slot }
  /** Empty the upper directory of an overlay, and its work directory. */
  | { readonly kind: 'discard'; readonly upper: Slot; readonly work: Slot }
  /** Write a tree, or what a list names of it, as a tar: see lib/image/layer/pack.ts. */
  | {
      readonly kind: 'pack';
      readonly tree: Slot;
      /** Pipes: for the tar, for what was counted, and with the list. */
      readonly to: Slot;
      readonly report: Slot;
      readonly list?: Slot;
      /** What is mounted in the tree stays out. */
      readonly sameMount: boolean;
      readonly devices: boolean;
      /** Whether the tree is a layer in overlay's form, whose marks become those of a layer's tar. */
      readonly marks: boolean;
      /** Relative paths that stay out, with all that is in them. */
      readonly omit: readonly string[];
    }
  /** Copy layers, merged, into a directory: see lib/image/layer/copy.ts. */
  | {
      readonly kind: 'copyTree';
      /** Topmost first. */
      readonly sources: readonly Slot[];
      readonly target: Slot;
      /** Overlay's marks are copied as they are; one source only. */
      readonly keepMarks: boolean;
      readonly devices: boolean;
      /** A pipe for what is counted. */
      readonly report?: Slot;
      /** What the ids of the source are more than those that the copy gets, as the process sees them. */
      readonly shift?: number;
    }
  /** Node gets the descriptor, and the plan stands still until it is done with it. */
  | { readonly kind: 'lend'; readonly slot: Slot }
  | { readonly kind: 'pivotRoot'; readonly to: Slot }
  /** Hide a path, or make it read-only, if it is there. */
  | {
      readonly kind: 'mask';
      readonly under: Slot;
      readonly path: string;
      readonly how: 'hide' | 'readOnly';
      readonly file: Slot;
      readonly directory: Slot;
    }
  | { readonly kind: 'makeDirectory'; readonly under: Slot; readonly path: string; readonly mode: number }
  /**
   * A directory of a root that no program runs in yet, made where it is missing. Links are followed as a program inside would
   * follow them. With `to` it is opened, to mount on, and the root itself is refused.
   */
  | {
      readonly kind: 'directoryInside';
      readonly to?: Slot;
      readonly root: Slot;
      readonly path: string;
      readonly mode: number;
      /** Which setting of an image asks for it. */
      readonly setting: 'Volumes' | 'WorkingDir';
    }
  | {
      readonly kind: 'writeFile';
      readonly under: Slot;
      readonly path: string;
      readonly mode: number;
      /** `keep`: what is there stays. `replace`: a file or link in its place is removed first. */
      readonly existing: 'refuse' | 'replace' | 'keep';
      readonly content: string;
    }
  /** Write a file of the kernel's that exists, on the very mount that `under` is. */
  | { readonly kind: 'writeKernelFile'; readonly under: Slot; readonly path: string; readonly value: string }
  | {
      readonly kind: 'symlink';
      readonly under: Slot;
      readonly path: string;
      readonly target: string;
      readonly keep: boolean;
    }
  | {
      readonly kind: 'open';
      readonly to: Slot;
      readonly from: Slot | null;
      readonly path: string;
      readonly flags: number;
      readonly resolve: number;
    }
  | { readonly kind: 'close'; readonly slot: Slot }
  | { readonly kind: 'fchdir'; readonly to: Slot }
  | { readonly kind: 'verifyRoot' }
  /**
   * The container's private directory on disk, owned by the container's root: as a mount, or only made. It is beneath `under`,
   * which must be this user's alone, or where containers usually have theirs.
   */
  | { readonly kind: 'stateDirectory'; readonly to: Slot; readonly detached: boolean; readonly under?: Slot }
  /** The same as a mount, by init: the launcher has `made` it in the directory `path`. */
  | { readonly kind: 'ownStateDirectory'; readonly to: Slot; readonly made: Slot; readonly path: string }
  /** A file in the directory of containers on disk, without a name: these bytes, and else holes. */
  | {
      readonly kind: 'sparseFile';
      readonly to: Slot;
      readonly size: number;
      readonly pieces: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
    }
  /** A file as a block device, which ends when nobody has it open or mounted any more. */
  | { readonly kind: 'loopDevice'; readonly to: Slot; readonly file: Slot }
  /** Set an option to the path of a loop device. */
  | { readonly kind: 'fsconfigDevice'; readonly on: Slot; readonly key: string; readonly device: Slot }
  /** `upper` and `work` in a mount that was made for the container, all three owned by the container's root. */
  | { readonly kind: 'layerDirectories'; readonly on: Slot }
  /** A new subvolume of btrfs beneath `under`, empty or a snapshot of another one. */
  | { readonly kind: 'subvolume'; readonly under: Slot; readonly name: string; readonly source?: Slot }
  /** How many bytes a subvolume may have to itself; takes quotas that are enabled. */
  | { readonly kind: 'subvolumeLimit'; readonly on: Slot; readonly bytes: number }
  /** Remove what is there by that name, and all below it. */
  | { readonly kind: 'removeTree'; readonly under: Slot; readonly name: string }
  /**
   * The container's own root on disk, as a mount: a snapshot of `source` beneath `under`. It gets the container's name, and is
   * removed with it.
   */
  | { readonly kind: 'rootDirectory'; readonly to: Slot; readonly under: Slot; readonly source: Slot }
  /** Remove what containers of dead launchers have left in a directory. */
  | { readonly kind: 'reclaim'; readonly on: Slot }
  | { readonly kind: 'setHostname'; readonly name: string }
  | { readonly kind: 'setDomainName'; readonly name: string }
  /** Set a value below /proc/sys of the very mount that `under` is, and read it back. `key` has dots. */
  | {
      readonly kind: 'sysctl';
      readonly under: Slot;
      readonly key: string;
      readonly value: string;
      /** Go on where the kernel refuses. */
      readonly tolerant: boolean;
    }
  /** Set the clocks of the time namespace that children will be in, in nanoseconds; read back. */
  | {
      readonly kind: 'timeOffsets';
      /** The process's own directory in a procfs. */
      readonly under: Slot;
      readonly monotonic: bigint;
      readonly boottime: bigint;
    }
  | { readonly kind: 'loopbackUp' }
  | { readonly kind: 'unshare'; readonly flags: number }
  /** Enter the namespace that a descriptor stands for: setns(2), with its kind as a flag of clone(2). */
  | { readonly kind: 'setns'; readonly namespace: Slot; readonly flags: number }
  /** A socket in the network namespace of the process: socket(2), with its numbers; closed on exec. */
  | {
      readonly kind: 'socket';
      readonly to: Slot;
      readonly domain: number;
      readonly type: number;
      readonly protocol: number;
    }
  /** Move to a cgroup, whose `tasks` (v1) or `cgroup.procs` (v2) the descriptor is. */
  | { readonly kind: 'joinCgroup'; readonly tasks: Slot }
  /** Go on as a child: the first process of a pid namespace that was made or entered before. */
  | { readonly kind: 'fork' }
  /** End with the process that started this one. */
  | { readonly kind: 'parentDeathSignal' }
  | { readonly kind: 'setGroups'; readonly groups: readonly number[] }
  | { readonly kind: 'setGid'; readonly gid: number }
  | { readonly kind: 'setUid'; readonly uid: number }
  | { readonly kind: 'boundingSet'; readonly mask: number }
  /** All but the bounding set: exactly these, read back. */
  | {
      readonly kind: 'capabilities';
      readonly effective: number;
      readonly permitted: number;
      readonly inheritable: number;
      readonly ambient: number;
    }
  /** Keep the permitted set over a change of user, until the program is executed. */
  | { readonly kind: 'keepCapabilities' }
  | { readonly kind: 'noNewPrivs' }
  | { readonly kind: 'sessionKeyring' }
  | {
      readonly kind: 'rlimit';
      readonly resource: number;
      readonly name: string;
      /** Infinity is RLIM_INFINITY. */
      readonly soft: number;
      readonly hard: number;
    }
  | { readonly kind: 'umask'; readonly mask: number }
  /** Times are nanoseconds. */
  | {
      readonly kind: 'scheduling';
      readonly policy: 'other' | 'batch' | 'idle' | 'fifo' | 'rr' | 'deadline';
      readonly nice: number;
      readonly priority: number;
      readonly runtime: number;
      readonly deadline: number;
      readonly period: number;
      readonly resetOnFork: boolean;
    }
  /** A list of processors such as `0-1,3`, exactly; or all, which the cpuset cgroup narrows. */
  | { readonly kind: 'affinity'; readonly processors: 'all' | (string & {}) }
  | {
      readonly kind: 'ioPriority';
      readonly class: 'none' | 'realtime' | 'best-effort' | 'idle';
      readonly level: number;
    }
  | { readonly kind: 'coreScheduling' }
  | { readonly kind: 'personality'; readonly value: number }
  /** Init gives it to the child as it is forked, or the process to itself; read back. */
  | { readonly kind: 'oomScoreAdjust'; readonly value: number }
  | {
      readonly kind: 'seccomp';
      readonly program: Uint8Array;
      /** SECCOMP_FILTER_FLAG_* of seccomp(2). */
      readonly flags?: number;
      /** The socket that the filter's listener is sent over, where calls are decided by a handler. */
      readonly listener?: Slot;
      /** Whether the program allows futex(2) for sure, so that one may sleep until the listener is sent. */
      readonly maySleep?: boolean;
    }
  /** A Landlock ruleset: what is denied where no rule gives it. */
  | {
      readonly kind: 'landlockRuleset';
      readonly to: Slot;
      readonly files: readonly LandlockRight[];
      readonly network: readonly ('bind' | 'connect')[];
      readonly scope: readonly LandlockScope[];
    }
  /** Rights at and below a path of the root that the program will have. */
  | {
      readonly kind: 'landlockPath';
      readonly on: Slot;
      readonly path: string;
      readonly rights: readonly LandlockRight[];
      readonly optional: boolean;
      /** On a file, rights that only directories have are an error; else they are left away there. */
      readonly exact: boolean;
    }
  | {
      readonly kind: 'landlockPort';
      readonly on: Slot;
      readonly port: number;
      readonly rights: readonly ('bind' | 'connect')[];
    }
  /** Come under a ruleset, which is closed. */
  | { readonly kind: 'landlockRestrict'; readonly on: Slot; readonly flags: number }
  /** Written to this process's own file of the private procfs; read back. */
  | {
      readonly kind: 'labelOnExec';
      readonly module: 'apparmor' | 'selinux';
      readonly label: string;
      /** On top of the label there is. */
      readonly stack: boolean;
    }
  /** Make what is in an archive, read from a pipe, beneath a directory, and write what became of it to another pipe. */
  | {
      readonly kind: 'unpack';
      readonly archive: Slot;
      readonly directory: Slot;
      readonly report: Slot;
      /** The layers below, topmost first. */
      readonly below: readonly Slot[];
      readonly mode: 'layer' | 'archive';
      readonly skipDevices: boolean;
      readonly fileCapabilities: boolean;
      readonly oneOwner: boolean;
      readonly limits: {
        readonly bytes: number;
        readonly entries: number;
        readonly depth: number;
        readonly header: number;
      };
    }
  | { readonly kind: 'stdio'; readonly stdin: Slot; readonly stdout: Slot; readonly stderr: Slot }
  | { readonly kind: 'setsid' }
  | { readonly kind: 'controllingTty'; readonly slot: Slot }
  /** All from `first` on, but for one that moves to `first` and is closed by the exec. */
  | { readonly kind: 'closeRange'; readonly first: number; readonly keep?: Slot }
  | { readonly kind: 'unblockSignals' }
  | { readonly kind: 'changeDirectory'; readonly path: string }
  | {
      readonly kind: 'exec';
      readonly program: string;
      readonly argv: readonly string[];
      readonly env: readonly (readonly [string, string])[];
      /** Directories to look the program up in, separated by colons; empty when `program` is a path. */
      readonly search: string;
    };

export type StepKind = Step['kind'];

/** Mount attributes of mount_setattr(2) and fsmount(2). */
export const mountAttribute = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  STRICTATIME: 0x20,
  IDMAP: 0x100000,
} as const;

/** Namespaces of clone(2). */
export const cloneFlag = {
  /** With unshare(2) only: in clone3(2) the new process is in it at once, and its clocks cannot be set any more. */
  NEWTIME: 0x00000080,
  NEWNS: 0x00020000,
  NEWCGROUP: 0x02000000,
  NEWUTS: 0x04000000,
  NEWIPC: 0x08000000,
  NEWUSER: 0x10000000,
  NEWPID: 0x20000000,
  NEWNET: 0x40000000,
} as const;

/** MS_PRIVATE of mount_namespaces(7), as mount_setattr(2) takes it. */
export const propagationPrivate = 0x40000;

/** Flags of openat2(2) and open(2) that plans use. */
export const openFlag = {
  RDONLY: 0,
  RDWR: 2,
  PATH: 0o10000000,
  DIRECTORY: constants.O_DIRECTORY,
  NOFOLLOW: constants.O_NOFOLLOW,
} as const;
export const resolveFlag = { NO_XDEV: 1, NO_MAGICLINKS: 2, NO_SYMLINKS: 4, BENEATH: 8, IN_ROOT: 16 } as const;

/** Slots that init keeps for the container's whole life, and the ones that it or the launcher fills. */
export const keptSlots: Readonly<Record<string, number>> = {
  null: 1000,
  devpts: 1001,
  proc: 1002,
  tty: 1003,
  oomScore: 1004,
  landlock: 1005,
  'own landlock': 1006,
  upper: 1007,
  below: 1008,
  'copied at': 1009,
  userns: 1010,
};
