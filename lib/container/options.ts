/**
 * What a caller may ask for: the option types of {@link Container.create}, {@link Container.run} and
 * {@link Container.exec}. Only types; `settings.ts` checks them and fills in the defaults.
 */

import type { Readable, Writable } from 'node:stream';
import type { Image, ImageStore, ImageUnpackOptions, OnProgress, RegistryOptions } from '../image/index.js';
import type { Network } from '../network/bridge/network.js';
import type { PublishOptions } from '../network/bridge/publish.js';
import type { EgressNetwork } from '../network/egress/options.js';
import type { Capabilities, Capability } from '../primitives/capabilities.js';
import type { SeccompProfile } from '../primitives/seccomp/index.js';
import type { CapabilitiesOption, CapabilitySetsOption, ProcessAttributes } from '../process/attributes/options.js';
import type { SeccompOptions } from '../process/seccomp/options.js';
import type { Duration, Size } from '../units.js';

/** A program and its arguments. Never a shell string: `['sh', '-c', '…']` asks for a shell. */
export type Argv = readonly [string, ...string[]];

/**
 * Where a container's root file system comes from. Whatever it is stays untouched.
 *
 * An {@link Image}, or the name of one, has a configuration too, of which is taken what Docker takes: `Env` (which
 * {@link ContainerOptions.env} overrides), `WorkingDir` and `User` (unless `cwd` and `user` are given), `Entrypoint` and `Cmd`
 * (where no program is given: `exec()`, `run(undefined, …)`; one that is given runs as it is, unless {@link ExecOptions.entrypoint} asks for the image's), and
 * `StopSignal` (for `stop()`). `ExposedPorts` are shown by `inspect()` only. Its `Volumes` are mounts with what the image has
 * there, bounded with `storage`, no part of the container's layer, and gone with it; a mount of yours at such a place, or above
 * it, is in its stead. A `WorkingDir` or volume that passes through a link is found inside the root. Labels change nothing.
 * `User` is looked up in the image's accounts, for its groups and its home; a number that is not there has group 0, and where
 * there is no `User` it is 0. `HOSTNAME` is set.
 */
export type ImageOption =
  /** The host's own programs (`/usr` and what belongs to it, read-only) around a fresh, minimal system. The default. */
  | 'host'
  /** An image of a store. Its layers are unpacked when it is used for the first time. */
  | Image
  /**
   * The name of an image, `[registry/]repository[:tag][@digest]`, such as `'debian:12'`: the one that the store has, else that
   * of the registry (see {@link ContainerOptions.pull}).
   */
  | (string & {})
  /** A directory that holds a root file system. It stays untouched: the container writes to an overlay over it. */
  | { readonly rootfs: string }
  /**
   * Layers as overlayfs has them, which stay untouched too: directories beneath one directory, topmost first, 1 to 500. A
   * character device 0:0 deletes what is below it, a directory with the attribute `user.overlay.opaque` = `y` hides it.
   * Names are relative paths without links; what is mounted in a layer is not seen.
   */
  | { readonly layers: { readonly directory: string; readonly names: readonly string[] } };

/** A host directory or file made visible in the container. */
export interface BindMountOption {
  readonly type: 'bind';
  /** Path on the host; relative ones are resolved against the current directory. Must exist. */
  readonly source: string;
  /** Absolute path in the container; made if missing. Not below `/proc`, `/sys` or `/dev`. */
  readonly target: string;
  /** A path below `source`, resolved without following any link: only that part is mounted. */
  readonly subPath?: string;
  /**
   * Read-only, with everything mounted below it. Default true. A container that may write to the host with shifted ids can
   * make no set-user-ID files and no file capabilities anywhere: on the host they would be root's.
   */
  readonly readOnly?: boolean;
  /** Allow programs of it to be executed. Default true. */
  readonly exec?: boolean;
  /**
   * Shift the ids of files so that the host's owner is the container's (the container's root sees files of host root as
   * its own). Default true; with false the host's ids stay what they are, which the container sees as `nobody`. Where the
   * file system cannot shift ids, a read-only mount goes without, unless true was given; a writable one is refused.
   */
  readonly idmap?: boolean;
  /**
   * Needed to mount a socket, a FIFO, a device, the host's `/`, or a directory below which a file system of the kernel is
   * mounted, such as the `/proc` of a chroot. Listed by `inspect()`. One of `/proc`, `/sys` or `/dev` itself is never
   * mounted.
   */
  readonly unsafeSource?: boolean;
}

/** An empty in-memory file system. */
export interface TmpfsMountOption {
  readonly type: 'tmpfs';
  /** Absolute path in the container, as for a bind mount; `/dev/shm` too. */
  readonly target: string;
  /** Upper bound in bytes, at least 4096. Default `'64MiB'`. */
  readonly size?: Size;
  /** Upper bound on files and directories, at least 16. Default one for every 4 KiB of `size`, from 1024 to 1,048,576. */
  readonly inodes?: number;
  /** Permissions of its root, such as `0o755`. Default `0o1777`. */
  readonly mode?: number;
  /** Allow programs of it to be executed. Default true. */
  readonly exec?: boolean;
}

/** A private, writable view of host directories: writes go to memory and vanish with the container. */
export interface OverlayMountOption {
  readonly type: 'overlay';
  /** Host directories, topmost first; 1 to 500, each once, and 500 in all overlays together. They stay untouched. */
  readonly lower: readonly string[];
  readonly target: string;
  /** Upper bound in bytes of what is written. Default `'64MiB'`. */
  readonly size?: Size;
  readonly inodes?: number;
}

export type MountOption = BindMountOption | TmpfsMountOption | OverlayMountOption;

/** Rate limits of one block device (io.max of cgroup v2): at least one of the four. */
export interface IoLimitOption {
  /** A device node such as `/dev/sda`, or `'8:0'`. A whole disk: the kernel does not limit partitions. */
  readonly device: string;
  readonly readBps?: Size;
  readonly writeBps?: Size;
  readonly readIops?: number;
  readonly writeIops?: number;
}

/**
 * Resource limits of the whole container. One that is given is strict: a host that cannot enforce it refuses with an
 * {@link UnsupportedError} before anything starts. Defaults are best effort, and `inspect().relaxations` says what could
 * not be had.
 */
export interface LimitOptions {
  /** Memory of all processes, tmpfs included. Default `'1GiB'`, least `'6MiB'`. When it is used up, all are killed. */
  readonly memory?: Size;
  /** Swap on top of `memory`. Default 0. */
  readonly swap?: Size;
  /** Processes and threads of the container's programs; its init is not counted. Default 512. */
  readonly pids?: number;
  /** Processor time in processors: 0.5 is half of one. Default unlimited. */
  readonly cpus?: number;
  /** Share when processors are contended, 1 to 10000. Default 100. */
  readonly cpuWeight?: number;
  /** Processors it may run on, such as `'0-1,3'`. */
  readonly cpuset?: string;
  readonly io?: readonly IoLimitOption[];
  /** Share of block device time, 1 to 10000. */
  readonly ioWeight?: number;
  /** Open files of one process (RLIMIT_NOFILE). Default 1024. */
  readonly openFiles?: number;
  /** Largest file a process may write (RLIMIT_FSIZE), in bytes. Default unlimited. */
  readonly fileSize?: Size;
}

/** How the container's root is made, and where what it writes there goes. */
export interface StorageOptions {
  /**
   * How the root comes from an image of a store. `'overlay'`: the layers as they are, and what is written over them. `'btrfs'`: a
   * snapshot of a subvolume that they were merged into once, where the store is on btrfs. `'vfs'`: a copy for each container,
   * which shares contents with the store where the file system can do that. `'auto'` (default): the first of these that works
   * there, which is found out once. The last two take root. With any other `image` there is nothing to choose.
   */
  readonly driver?: 'auto' | 'overlay' | 'btrfs' | 'vfs';
  /**
   * `'tmpfs'` (default with overlay): memory, counted as the container's. `'disk'` (default with the others, and all that btrfs
   * can have): a private directory of the library's. With vfs all of the root is there.
   */
  readonly upper?: 'tmpfs' | 'disk';
  /**
   * Upper bound in bytes, at least 4096. Default: half of `limits.memory`, at most 1 GiB; with `'disk'` none. With vfs the copy
   * of the image counts too; where that alone is more, nothing starts.
   *
   * On disk it is enforced by a file system of the container's own, in a sparse file that has no name: root only, and an
   * {@link UnsupportedError} without loop devices. Nothing is reserved: where the disk itself is full before, programs
   * get input/output errors (EIO). With btrfs it is a limit of the snapshot (btrfs-qgroup(8)), an error where quotas are not
   * enabled.
   */
  readonly size?: Size;
  /**
   * Upper bound on files and directories, at least 16. Default: one for every 4 KiB of `size`, from 1024 to 1,048,576. On disk
   * only with `size`, and no more than one for every 4 KiB of it; each takes up to 256 bytes of the disk beyond `size`. Not with
   * btrfs.
   */
  readonly inodes?: number;
}

/** A place in a network: a link `eth0` with an address, and a default route unless the network is internal. */
export interface BridgeNetworkOption {
  readonly bridge: Network;
  /** Its IPv4 address there. Default: the one that has been free for the longest. */
  readonly address?: string;
  /** Ports of it that are reachable at the host, and from there. Not in an internal network. */
  readonly publish?: readonly PublishOptions[];
}

/** What of the network a container has. */
export type NetworkOption = 'none' | EgressNetwork | BridgeNetworkOption;

/** Options of a container, whatever runs in it. */
export interface ContainerOptions extends ProcessAttributes {
  /** Default `'host'`. */
  readonly image?: ImageOption;
  /**
   * Whether an image that is given by name is fetched from its registry: where the store has none of that name (`'missing'`,
   * the default), each time, or never.
   */
  readonly pull?: 'missing' | 'always' | 'never';
  /** Where an image that is given by name is kept. Default: that of {@link ImageStore.default}. */
  readonly store?: ImageStore;
  /** How the registry is reached. */
  readonly registry?: RegistryOptions;
  /**
   * Which image a name stands for where it stands for several, such as `'linux/arm64'`: one of the store that is for another
   * platform is not taken, and its name goes to the one that is fetched. Default: what the store has, else this host's. Programs
   * for another processor take an emulator that the kernel has open (binfmt_misc, flag F); without it they cannot be executed.
   */
  readonly platform?: string;
  /** How the layers of an image are unpacked, where they are not yet. These limits are those of a layer, not the container's. */
  readonly unpack?: Pick<ImageUnpackOptions, 'limits' | 'devices' | 'fileCapabilities'>;
  /**
   * Hears of an image being fetched and unpacked, as {@link Image.pull} and {@link Image.unpack} tell of it; of nothing where all
   * of it is there. What it throws ends the creation.
   */
  readonly onProgress?: OnProgress;
  /** A name for people and logs: `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}`. Default: generated. */
  readonly name?: string;
  /** Host name inside (RFC 1123). Default: the container's id. */
  readonly hostname?: string;
  /**
   * Who runs: a name of the container's own `/etc/passwd`, or ids, as `'name'`, `'name:group'`, `1000`, `'1000'`,
   * `'1000:100'`. Numbers are never looked up, unlike those of an image; without a group the group is the same number.
   * Default: the image's, or root (0), which is an unprivileged id of the host.
   */
  readonly user?: string | number;
  /** Absolute working directory. Default: the image's, or `/`. Not below `/proc`. */
  readonly cwd?: string;
  /** Variables of every process. A newline in a value is legal. The host's are never passed; PATH, HOME and (with a tty) TERM are set. */
  readonly env?: Readonly<Record<string, string>>;
  /** At most 200, the parents made before what is mounted in them, whatever their order here. */
  readonly mounts?: readonly MountOption[];
  readonly limits?: LimitOptions;
  readonly storage?: StorageOptions;
  /**
   * What root inside may do. Default {@link Capabilities.default}. Other users have none. Those of
   * {@link Capabilities.docker} may be given, and listed as relaxations `IPC_LOCK`, `IPC_OWNER`, `LEASE`,
   * `LINUX_IMMUTABLE`, `NET_ADMIN`, `NET_BROADCAST`, `SYS_NICE` and `SYS_PTRACE`; no others.
   */
  readonly capabilities?: Capabilities | readonly (Capability | string)[];
  /**
   * System calls allowed: `'default'`, `'docker'`, or a profile in the OCI format; or one of these with a handler that
   * decides calls, or with refusals told of.
   */
  readonly seccomp?: 'default' | 'docker' | SeccompProfile | SeccompOptions;
  /**
   * Settings of the kernel in the container's own namespaces, as `{ 'net.ipv4.ip_unprivileged_port_start': 0 }`: of the ipc
   * namespace (`kernel.msg…`, `kernel.shm…`, `kernel.sem`, `fs.mqueue.…`), `kernel.domainname`, and `net.…`. Each is read back,
   * and one that the kernel does not take is an error. Programs inside can read all of /proc/sys, and change nothing of it.
   */
  readonly sysctl?: Readonly<Record<string, string | number>>;
  /**
   * A time namespace, whose clocks are the host's with these milliseconds added (time_namespaces(7)); the clock of the
   * date is the host's in any case. An {@link UnsupportedError} before Linux 5.6.
   */
  readonly timeOffsets?: {
    /** CLOCK_MONOTONIC. Default 0; no clock may be before 0. */
    readonly monotonic?: number;
    /** CLOCK_BOOTTIME, and so /proc/uptime. Default 0. */
    readonly boottime?: number;
  };
  /**
   * A network namespace of its own. `'none'` (default): with loopback alone. `{ egress }`: every outgoing connection and name is
   * decided in this process (see {@link EgressOptions}). `{ bridge }`: a place in a {@link Network}.
   */
  readonly network?: NetworkOption;
  /** Ends the creation, also while an image is fetched or unpacked, and the container, when it aborts. */
  readonly signal?: AbortSignal;
}

/**
 * What a process reads: `'ignore'` (nothing, the default), text, bytes, a stream of either, `'inherit'` (what this process
 * reads), or `'pipe'` to write to `process.stdin`. To send one of these three words as text, give its bytes.
 *
 * A stream or iterable that fails, or is closed before its end, ends the input; the program is not killed, and when it has
 * ended its result rejects with `ERR_INPUT`, whose `cause` is the stream's error: what it read was not all. A program that
 * stops reading early is no failure: a stream is then only let go of, an iteration is ended (a generator's `finally` runs).
 */
export type StdinOption =
  | 'ignore'
  | 'pipe'
  | 'inherit'
  | (string & {})
  | Uint8Array
  | Readable
  | AsyncIterable<string | Uint8Array>;

/**
 * Where output goes. `'buffer'` (default) collects it into the result; `'pipe'` is read from `process.stdout`;
 * `'inherit'` copies to this process's own; a Writable gets it with back-pressure, and is not ended.
 *
 * Where a Writable fails, the rest of the output is dropped and the program goes on; when it has ended its result rejects
 * with `ERR_OUTPUT`, whose `cause` is the stream's error. What was written last is given a second to fail. A Writable that
 * is closed without an error, and this process's own streams (a reader that has gone, EPIPE), just get no more.
 */
export type OutputOption = 'buffer' | 'pipe' | 'inherit' | 'ignore' | Writable;

/** Options of one process. */
export interface ExecOptions extends ProcessAttributes {
  readonly stdin?: StdinOption;
  readonly stdout?: OutputOption;
  readonly stderr?: OutputOption;
  /**
   * Bytes of each of stdout and stderr that are kept when buffered; more is dropped from the middle (head and tail stay)
   * and `truncated` is set. Default `'1MiB'`, at most what fits a string (512 MiB less 24).
   */
  readonly maxBuffer?: Size;
  /**
   * Bytes of stdout and stderr together after which the process is ended with reason `'output-limit'`. Default: none.
   */
  readonly maxOutput?: Size;
  /** `'utf8'` (default) gives strings, `'buffer'` gives Buffers. */
  readonly encoding?: 'utf8' | 'buffer';
  /** A terminal of its own, 80 by 24: stdout and stderr are one stream, which is stdout. Default false. */
  readonly tty?: boolean | { readonly columns?: number; readonly rows?: number };
  readonly user?: string | number;
  readonly cwd?: string;
  /** Added to the container's variables. */
  readonly env?: Readonly<Record<string, string>>;
  /** Ends the process and everything it started, with reason `'timeout'`. Default: none. */
  readonly timeout?: Duration;
  /** Ends the process and everything it started, with reason `'aborted'`. */
  readonly signal?: AbortSignal;
  /**
   * What the program may do, within what its container has: a list is what root may do, and another user has none; sets by
   * name are given to any user, as execve(2) leaves them. Default: the container's for root, none for another user.
   */
  readonly capabilities?: CapabilitiesOption | CapabilitySetsOption;
  /**
   * What comes before the program's arguments, as in `docker run`: `'image'`, the image's own, so that what is given are its
   * arguments (in place of `Cmd`); or a program, and then nothing of the image's runs. Default: what is given is the program.
   */
  readonly entrypoint?: 'image' | Argv;
  /** Throw an {@link ExitError} when the program fails (exit code not 0, a signal, or any other reason). */
  readonly check?: boolean;
}

/** Options of {@link Container.run}: a container for one program. */
export interface RunOptions extends ContainerOptions, Omit<ExecOptions, 'capabilities'> {}
