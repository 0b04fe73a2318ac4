/** A system call that waits for a decision (seccomp_unotify(2)): what it is, and the memory that its arguments lead to. */

import { errnoName, OptionError, PermissionError, TscontainError } from '../../errors.js';
import type { NativeSeccompListener } from '../../launcher/native.js';
import { auditArch } from './bpf.js';
import { type DescriptorSource, readDescriptor } from './decision.js';
import { type SeccompArch, syscallName } from './syscalls.js';

/** A system call as the filter saw it. */
export interface SystemCallFacts {
  /** Its name; undefined for a number that this library knows no name of. */
  readonly syscall: string | undefined;
  readonly number: number;
  /**
   * The six registers, unsigned. Where the kernel takes an `int`, only the lower 32 bits mean something: see
   * {@link SystemCall.int}.
   */
  readonly args: readonly bigint[];
  /** The thread that calls, as this process sees it; 0 if it does not. */
  readonly pid: number;
  /** `'x64'` or `'arm64'`; undefined for another. */
  readonly architecture: SeccompArch | undefined;
  /** Address of the instruction after the call. */
  readonly instructionPointer: bigint;
}

/** A call that the filter refused. */
export interface DeniedCall extends SystemCallFacts {
  /** Tells it from a refusal of the network (`DeniedEgress`), which has one. */
  readonly kind?: undefined;
  /** The error that it failed with, such as `'EPERM'`. */
  readonly errno: string;
}

/** A `struct seccomp_notif`, decoded. */
export interface Notification {
  readonly id: bigint;
  /** `AUDIT_ARCH_*`. */
  readonly machine: number;
  readonly facts: SystemCallFacts;
}

const notificationSize = 80;
const longestText = 4096;
const mostBytes = 2 ** 24;
const page = 4096n;
const ESRCH = 3;
const EFAULT = 14;

/** @throws TscontainError for fewer bytes than the structure has */
export function decodeNotification(bytes: Buffer): Notification {
  if (bytes.length < notificationSize) {
    throw new TscontainError('ERR_PROTOCOL', `a seccomp notification of ${bytes.length} bytes`);
  }
  const number = bytes.readInt32LE(16);
  const machine = bytes.readUInt32LE(20);
  const architecture = architectureOf(machine);
  const facts = Object.freeze({
    syscall: architecture && syscallName(architecture, number),
    number,
    args: Object.freeze([0, 1, 2, 3, 4, 5].map((index) => bytes.readBigUInt64LE(32 + 8 * index))),
    pid: bytes.readUInt32LE(8),
    architecture,
    instructionPointer: bytes.readBigUInt64LE(24),
  });
  return { id: bytes.readBigUInt64LE(0), machine, facts };
}

function architectureOf(machine: number): SeccompArch | undefined {
  if (machine === auditArch.x64) return 'x64';
  return machine === auditArch.arm64 ? 'arm64' : undefined;
}

/**
 * A system call of a container's program that waits for a handler's decision. Only good until the decision is made.
 *
 * Its memory is that of the caller at the moment of the reading: other threads of the program may change it at any time, and
 * so may whoever shares it. Read once, decide on that copy, and act on the copy: what is decided with `'continue'` is read
 * again by the kernel.
 */
export class SystemCall implements SystemCallFacts {
  readonly syscall: string | undefined;
  readonly number: number;
  readonly args: readonly bigint[];
  readonly pid: number;
  readonly architecture: SeccompArch | undefined;
  readonly instructionPointer: bigint;
  readonly #id: bigint;
  readonly #listener: NativeSeccompListener;

  /** @internal */
  constructor({ id, facts }: Notification, listener: NativeSeccompListener) {
    this.syscall = facts.syscall;
    this.number = facts.number;
    this.args = facts.args;
    this.pid = facts.pid;
    this.architecture = facts.architecture;
    this.instructionPointer = facts.instructionPointer;
    this.#id = id;
    this.#listener = listener;
  }

  /** An argument as the C type `int`: its lower half, signed. `call.int(0)` of openat is -100 for AT_FDCWD. */
  int(index: number): number {
    return Number(BigInt.asIntN(32, this.#argument(index)));
  }

  /** Whether the call still waits: not after the caller was killed, or the decision made. */
  get valid(): boolean {
    return this.#listener.valid(this.#id);
  }

  /**
   * Bytes of the caller's memory.
   * @param where a number from 0 to 5: the argument that is a pointer; a bigint: an address
   * @param length at most 16 MiB
   * @throws TscontainError `ERR_CALL_MEMORY` for memory that is not there, `ERR_CALL_GONE` when the call waits no more
   * @throws PermissionError where this process may not look into the caller
   */
  readBytes(where: number | bigint, length: number): Buffer {
    if (!Number.isInteger(length) || length < 0 || length > mostBytes) {
      throw new OptionError('length', `a number of bytes from 0 to ${mostBytes}`, length);
    }
    const address = this.#address(where);
    const bytes = this.#read(address, length);
    if (bytes.length < length) throw this.#failure(EFAULT, address + BigInt(bytes.length));
    return bytes;
  }

  /**
   * Text that a NUL byte ends, such as a path.
   * @param where as for {@link readBytes}
   * @param maxBytes most bytes before the NUL; default 4096, the kernel's own limit for paths
   * @throws TscontainError as {@link readBytes}, and `ERR_CALL_TEXT` for more bytes than that, or bytes that are no UTF-8
   */
  readString(where: number | bigint, { maxBytes = longestText }: { maxBytes?: number } = {}): string {
    const start = this.#address(where);
    const parts: Buffer[] = [];
    for (let read = 0; read <= maxBytes; ) {
      // To the end of a page at most: the next one need not be there.
      const address = start + BigInt(read);
      const bytes = this.#read(address, Number(page - (address % page)));
      const end = bytes.indexOf(0);
      parts.push(end < 0 ? bytes : bytes.subarray(0, end));
      read += end < 0 ? bytes.length : end;
      if (end >= 0 && read <= maxBytes) return decodeText(Buffer.concat(parts));
    }
    throw new TscontainError('ERR_CALL_TEXT', `the text at 0x${start.toString(16)} is longer than ${maxBytes} bytes`);
  }

  /**
   * Writes into the caller's memory, for calls that fill a buffer.
   * @param where as for {@link readBytes}
   * @throws TscontainError and PermissionError as {@link readBytes}
   */
  writeBytes(where: number | bigint, bytes: Uint8Array): void {
    const address = this.#address(where);
    const wrote = bytes.length === 0 ? 0 : this.#listener.write(this.#id, this.pid, address, bytes);
    if (wrote < 0) throw this.#failure(-wrote, address);
    if (wrote < bytes.length) throw this.#failure(EFAULT, address + BigInt(wrote));
  }

  /**
   * Puts a descriptor of this process into the caller, which goes on waiting. Needs Linux 5.9.
   * @returns its number there
   * @throws TscontainError `ERR_CALL_DESCRIPTOR`, with the kernel's reason
   */
  addDescriptor(
    source: DescriptorSource,
    { at, closeOnExec = true }: { readonly at?: number; readonly closeOnExec?: boolean } = {},
  ): number {
    const target = at === undefined ? -1 : readDescriptor(at, 'at');
    const made = this.#listener.addFd(this.#id, readDescriptor(source, 'source'), target, closeOnExec, false);
    if (made >= 0) return made;
    throw new TscontainError('ERR_CALL_DESCRIPTOR', 'a descriptor could not be put into the caller', {
      errno: -made,
      syscall: 'ioctl',
    });
  }

  #read(address: bigint, length: number): Buffer {
    if (length === 0) return Buffer.alloc(0);
    const bytes = this.#listener.read(this.#id, this.pid, address, length);
    if (typeof bytes === 'number') throw this.#failure(-bytes, address);
    if (bytes.length === 0) throw this.#failure(EFAULT, address);
    return bytes;
  }

  #address(where: number | bigint): bigint {
    if (typeof where === 'number') return this.#argument(where);
    if (where === BigInt.asUintN(64, where)) return where;
    throw new OptionError('where', 'an argument from 0 to 5, or an address as a bigint', where);
  }

  #argument(index: number): bigint {
    const value = this.args[index];
    if (value === undefined) throw new OptionError('index', 'an argument position from 0 to 5', index);
    return value;
  }

  #failure(errno: number, address: bigint): TscontainError {
    const what = `memory of thread ${this.pid} at 0x${address.toString(16)}`;
    if (errno === ESRCH) return new TscontainError('ERR_CALL_GONE', 'the call does not wait any more', { errno });
    if (errnoName(errno) === 'EPERM' || errnoName(errno) === 'EACCES') {
      return new PermissionError(`this process may not reach ${what}`, {
        errno,
        hint: 'it asks for what ptrace(2) asks for: the same user and a dumpable program, or CAP_SYS_PTRACE',
      });
    }
    return new TscontainError('ERR_CALL_MEMORY', `${what} could not be reached`, { errno });
  }
}

function decodeText(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new TscontainError('ERR_CALL_TEXT', 'the text is no UTF-8', { cause, hint: 'read it with readBytes' });
  }
}
