/** The addon: its types, and loading it. Everything native goes through this file. */

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import nodeGypBuild from 'node-gyp-build';
import { UnsupportedError } from '../errors.js';

/** An owned file descriptor. Closing it twice, or using it after, throws. */
export interface Descriptor {
  readonly number: number;
  readonly open: boolean;
  close(): void;
}

/** A message socket on the event loop. Does not keep the process alive unless `ref()` is called. */
export interface NativeChannel {
  /** False when the other side is gone. The descriptors stay the caller's. */
  send(bytes: Uint8Array, descriptors: readonly Descriptor[]): boolean;
  /** Handles, now, what has already arrived. */
  drain(): void;
  ref(): void;
  unref(): void;
  close(): void;
}

/** One end of a pipe or a terminal on the event loop. */
export interface NativeStream {
  /** A chunk, null at the end, undefined when there is nothing now. */
  read(): Buffer | null | undefined;
  /** How many bytes were taken: 0 when full, -1 when the reader is gone. */
  write(bytes: Uint8Array, offset: number): number;
  watch(readable: boolean, writable: boolean): void;
  resize(columns: number, rows: number): boolean;
  ref(on: boolean): void;
  close(): void;
}

/**
 * The listener of a seccomp filter on the event loop. Ids are 64-bit numbers that the kernel gives to waiting calls. Does not
 * keep the process alive.
 */
export interface NativeSeccompListener {
  /** The bytes of a `struct seccomp_notif`; undefined when there is none now, null when nothing is filtered any more. */
  receive(): Buffer | undefined | null;
  /** Answers a call: 0, or the errno (ENOENT when it does not wait any more). `error` is positive, 0 for none. */
  send(id: bigint, value: bigint, error: number, proceed: boolean): number;
  valid(id: bigint): boolean;
  /** The number of the descriptor over there, or the negative errno; `target` -1 is the lowest free one. */
  addFd(id: bigint, source: number, target: number, closeOnExec: boolean, send: boolean): number;
  /** Memory of the caller, maybe less than was asked for; the negative errno where none could be read. */
  read(id: bigint, pid: number, address: bigint, length: number): Buffer | number;
  /** How many bytes were written, or the negative errno. */
  write(id: bigint, pid: number, address: bigint, bytes: Uint8Array): number;
  close(): void;
}

/** A netlink socket on the event loop, bound, in the namespace that it was made in. Keeps the process alive only with `ref(true)`. */
export interface NativeNetlinkSocket {
  readonly port: number;
  /** 0 or the errno, when the kernel has carried the request out. One at a time: others have no order. */
  send(bytes: Uint8Array): Promise<number>;
  /** A datagram of the kernel's and its multicast group, 0 for none; undefined when there is none now; else the errno. */
  receive(): [Buffer, number] | number | undefined;
  /** 0, or the errno. */
  membership(group: number, on: boolean): number;
  /** 0, or the errno. */
  buffers(send: number, receive: number): number;
  ref(on: boolean): void;
  close(): void;
}

/** A pressure trigger. Keeps the process alive until `ref(false)`. */
export interface NativePressureTrigger {
  ref(on: boolean): void;
  close(): void;
}

export interface Addon {
  connect(): Descriptor;
  pipe(): [Descriptor, Descriptor];
  socketPair(): [Descriptor, Descriptor];
  /** The ABI of Landlock, or the negative errno. */
  landlockAbi(): number;
  /** Extended attributes: of a path, whose last component is not followed, or of a descriptor. See lib/primitives/xattr.ts. */
  getXattr(file: Buffer | Descriptor, name: string): Buffer | undefined;
  listXattr(file: Buffer | Descriptor): Buffer;
  setXattr(file: Buffer | Descriptor, name: string, value: Uint8Array, flags: number): void;
  /** Stands for the file without opening it (O_PATH). */
  openPath(path: Buffer, follow: boolean): Descriptor;
  /** The number of the mount that a path, whose last component is not followed, or a descriptor is on. */
  mountId(file: Buffer | Descriptor): number;
  /** Entries of one directory of an overlay, on a thread of the pool: see lib/primitives/mount/changes.ts. */
  readLayer(
    rest: Descriptor | undefined,
    upper: Descriptor | undefined,
    merged: Descriptor,
    below: Descriptor | undefined,
    path: Buffer,
    prefix: string,
  ): Promise<{ readonly records: Buffer; readonly rest?: Descriptor }>;
  /**
   * Opens and locks a file without waiting (flock(2)): undefined where another holds it. The lock ends with the descriptor,
   * and counts only while the path leads to that file. A file of kind `'create'` is made where there is none.
   */
  lockFile(path: string, kind: 'directory' | 'file' | 'create', exclusive: boolean): Descriptor | undefined;
  /** Removes what is at the path with all below it, by descriptors, following no link and entering no other mount. */
  removeTree(path: string): Promise<void>;
  /** Brings the file system of a directory to disk (syncfs(2)). */
  syncFileSystem(directory: string): Promise<void>;
  removeXattr(file: Buffer | Descriptor, name: string): boolean;
  /** A namespace by the path of its file; an error with `errno` ENOTTY for a file that is none. */
  openNamespace(path: string): Descriptor;
  /** The user namespace that owns it, or the one above it. */
  relatedNamespace(namespace: Descriptor, which: 'user' | 'parent'): Descriptor;
  /** Its kind as a flag of clone(2), its inode, the device of that. */
  namespaceFacts(namespace: Descriptor): [number, number, number];
  /** Binds it over a file that is made for it. */
  pinNamespace(namespace: Descriptor, path: string): void;
  unpinNamespace(path: string): void;
  /** Calls the function while this thread is in the namespace; `file` is the kind's name in /proc/thread-self/ns. */
  inNamespace<T>(namespace: Descriptor, flag: number, file: string, call: () => T): T;
  /** A netlink socket of this process's network namespace, not bound yet. */
  netlinkSocket(protocol: number): Descriptor;
  /** Binds an inet or inet6 socket, in its own namespace; `transparent` as in ip(7). */
  bindSocket(socket: Descriptor, address: Uint8Array, port: number, transparent: boolean): void;
  /** The number of a descriptor that is the caller's from now on: for what closes it itself. */
  releaseDescriptor(descriptor: Descriptor): number;
  /** A socket that is bound to an address, of 4 or 16 bytes, and a port, and the port that it has. */
  holdPort(tcp: boolean, address: Uint8Array, port: number): [Descriptor, number];
  /** A directory or a file of a cgroup file system; EXDEV where it is in none. */
  openCgroup(path: string, as: 'directory' | 'read' | 'write'): Descriptor;
  eventDescriptor(): Descriptor;
  /** Loads eBPF instructions and attaches them to a cgroup, in place of an earlier program of ours where that is given. */
  attachDeviceProgram(directory: Descriptor, instructions: Uint8Array, replaced?: Descriptor): Descriptor;
  detachDeviceProgram(directory: Descriptor, program: Descriptor): void;
  readonly PressureTrigger: new (
    path: string,
    trigger: string,
    onEvent: (text: string | null) => void,
  ) => NativePressureTrigger;
  readonly Channel: new (
    descriptor: Descriptor,
    onMessage: (bytes: Buffer, descriptors: Descriptor[]) => void,
    onEnd: (errno: number) => void,
  ) => NativeChannel;
  /** Takes the descriptor over. */
  readonly NetlinkSocket: new (
    descriptor: Descriptor,
    protocol: number,
    onReady: () => void,
  ) => NativeNetlinkSocket;
  readonly SeccompListener: new (descriptor: Descriptor, onReady: () => void) => NativeSeccompListener;
  readonly Stream: new (descriptor: Descriptor, onReadable: () => void, onWritable: () => void) => NativeStream;
}

let loaded: Addon | undefined;

/**
 * The addon, loaded at the first call: a build of this checkout if there is one, else the prebuild for this platform.
 * @throws UnsupportedError on another operating system, or where no build fits
 */
export function addon(): Addon {
  loaded ??= load();
  return loaded;
}

function load(): Addon {
  if (process.platform !== 'linux') {
    throw new UnsupportedError(`tscontain isolates with the Linux kernel, and this is ${process.platform}`, {
      hint: 'run it on Linux, or in a Linux virtual machine',
    });
  }
  const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
  const checkout = join(root, 'native');
  try {
    return nodeGypBuild(existsSync(join(checkout, 'build', 'Release', 'tscontain.node')) ? checkout : root) as Addon;
  } catch (cause) {
    throw new UnsupportedError(`no build of the native part fits this platform (${process.platform} ${process.arch})`, {
      hint: 'in a checkout run `npm run build:native`; on an architecture without a prebuild, build from source',
      cause,
    });
  }
}
