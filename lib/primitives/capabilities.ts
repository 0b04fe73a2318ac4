/**
 * Capabilities: root's power cut into 41 privileges that can be held or given up one by one. {@link Capabilities} is an
 * immutable set of them over one bit mask, the form in which the kernel keeps a thread's five sets.
 */

import { lstatSync, readFileSync } from 'node:fs';
import { defineSchema, readBoolean, readInteger, readObject, readText } from '../container/settings/schema.js';
import { OptionError, TscontainError } from '../errors.js';
import { capabilityAttribute, decodeFileCapabilities, encodeFileCapabilities } from './capability-files.js';
import { type Capability, type CapabilityName, knownMask, maskOf, namesOf } from './capability-names.js';
import { getXattr, removeXattr, setXattr } from './xattr.js';

export type { Capability, CapabilityName };

/** The five sets of a thread (capabilities(7)). */
export interface CapabilitySets {
  /** What can ever be gained by executing a program. */
  readonly bounding: Capabilities;
  /** What can be made effective. */
  readonly permitted: Capabilities;
  /** What the kernel looks at. */
  readonly effective: Capabilities;
  /** What files with inheritable capabilities pass on. */
  readonly inheritable: Capabilities;
  /** What a program without capabilities of its own keeps. */
  readonly ambient: Capabilities;
}

/** What a file gives to whoever executes it. */
export interface FileCapabilities {
  readonly permitted: Capabilities;
  /** Of these, the ones that the process has as inheritable too. */
  readonly inheritable: Capabilities;
  /** Whether they are in effect at once; else the program makes them so. */
  readonly effective: boolean;
  /** The root, by its id here, of the user namespace that they count in (version 3); absent where they count in all. */
  readonly rootId?: number;
}

/** Capabilities for a file. */
export interface FileCapabilitiesOption {
  readonly permitted?: Capabilities | readonly (Capability | string)[];
  /** Default: none. */
  readonly inheritable?: Capabilities | readonly (Capability | string)[];
  /** Default true. */
  readonly effective?: boolean;
  /** Default: none, so that they count in every user namespace that the file system belongs to. */
  readonly rootId?: number;
}

/**
 * An immutable set of capabilities; every method that changes something returns a new set. Iterates over the names in the
 * kernel's order.
 *
 * @example
 * ```ts
 * const bounding = Capabilities.default.drop('SETFCAP').add('net_raw');
 * bounding.has('CAP_NET_RAW'); // true
 * ```
 *
 * @see https://man7.org/linux/man-pages/man7/capabilities.7.html
 */
export class Capabilities implements Iterable<Capability> {
  /** The empty set. */
  static readonly none = new Capabilities(0n);
  /** All 41 that this library knows, `CAP_CHOWN` to `CAP_CHECKPOINT_RESTORE`. */
  static readonly all = Capabilities.of('ALL');
  /**
   * What a container's root needs to own, change and serve its own files and processes, and no more: Docker's set without
   * `NET_RAW` (forged packets), `MKNOD` (devices), `SYS_CHROOT` and `AUDIT_WRITE` (the host's audit log).
   */
  static readonly default = Capabilities.of(
    'CAP_CHOWN',
    'CAP_DAC_OVERRIDE',
    'CAP_FOWNER',
    'CAP_FSETID',
    'CAP_KILL',
    'CAP_SETGID',
    'CAP_SETUID',
    'CAP_SETPCAP',
    'CAP_SETFCAP',
    'CAP_NET_BIND_SERVICE',
  );
  /** The 14 that Docker and containerd give by default. */
  static readonly docker = Capabilities.default.add('CAP_NET_RAW', 'CAP_MKNOD', 'CAP_SYS_CHROOT', 'CAP_AUDIT_WRITE');

  /** The set as the kernel writes it: bit _n_ is the capability with number _n_. */
  readonly mask: bigint;

  private constructor(mask: bigint) {
    this.mask = mask;
    Object.freeze(this);
  }

  /**
   * The set of the capabilities named.
   * @throws OptionError at a name the kernel does not have
   */
  static of(...capabilities: readonly CapabilityName[]): Capabilities {
    return new Capabilities(maskOf(capabilities, 'capabilities'));
  }

  /**
   * The set that a user's option describes: a list of names, or a set already made. An unknown name is an error and never
   * skipped: a misspelt name to drop would otherwise leave the capability held.
   * @param option the option's path, for the error's text
   * @throws OptionError naming the entry, such as `capabilities[2]`
   */
  static from(capabilities: Iterable<CapabilityName> | Capabilities, option = 'capabilities'): Capabilities {
    if (capabilities instanceof Capabilities) return capabilities;
    // A string is iterable too; taken letter by letter, its error would puzzle.
    if (typeof capabilities === 'string' || !isIterable(capabilities)) {
      throw new OptionError(option, "a list of capability names such as ['NET_BIND_SERVICE']", capabilities);
    }
    return new Capabilities(maskOf(capabilities, option));
  }

  /**
   * The set that text describes: names separated by commas or spaces, upper or lower case, with or without `CAP_`.
   * @throws OptionError at a name the kernel does not have
   */
  static parse(text: string): Capabilities {
    if (typeof text !== 'string') throw new OptionError('text', 'names of capabilities', text);
    return new Capabilities(maskOf(text.split(/[\s,]+/).filter(Boolean), 'capabilities'));
  }

  /**
   * The set of a bit mask: bit _n_ is the capability with number _n_.
   * @throws OptionError where a bit stands for none of the 41: whoever took it along would hold what has no name
   */
  static fromMask(mask: bigint): Capabilities {
    if (typeof mask !== 'bigint' || mask < 0n || (mask & ~knownMask) !== 0n) {
      throw new OptionError('mask', `a bit mask from 0n to 0x${knownMask.toString(16)}n`, mask);
    }
    return new Capabilities(mask);
  }

  /** The set of a mask in hexadecimal digits, as `/proc/<pid>/status` has it, with or without `0x`. @throws OptionError */
  static fromHex(text: string): Capabilities {
    if (typeof text !== 'string' || !/^(?:0x)?[0-9a-f]{1,16}$/i.test(text)) {
      throw new OptionError('text', 'one to 16 hexadecimal digits', text);
    }
    return Capabilities.fromMask(BigInt(/^0x/i.test(text) ? text : `0x${text}`));
  }

  /** Those that the running kernel has, by /proc/sys/kernel/cap_last_cap; an older one has fewer than {@link all}. */
  static ofHost(): Capabilities {
    return new Capabilities(((1n << BigInt(Capabilities.lastOfHost() + 1)) - 1n) & knownMask);
  }

  /** The number of the last capability that the running kernel has: 40, CAP_CHECKPOINT_RESTORE, since Linux 5.9. */
  static lastOfHost(): number {
    return Number(readFileSync('/proc/sys/kernel/cap_last_cap', 'utf8'));
  }

  /**
   * The five sets of a process's main thread. Of a kernel newer than this library, only what has a name here.
   * @throws TscontainError (`ERR_CAPABILITIES`) where there is no such process
   */
  static ofProcess(pid: number | 'self'): CapabilitySets {
    if (pid !== 'self' && !(Number.isSafeInteger(pid) && pid > 0)) {
      throw new OptionError('pid', "a process id, or 'self'", pid);
    }
    const path = `/proc/${pid}/status`;
    let status: string;
    try {
      status = readFileSync(path, 'utf8');
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      throw new TscontainError('ERR_CAPABILITIES', `the capabilities in ${path} could not be read: ${code}`, {
        path,
        errno: code,
        hint: 'there is no such process, or /proc is not mounted',
        cause,
      });
    }
    const set = (name: string): Capabilities => {
      const [, digits = '0'] = new RegExp(`^Cap${name}:\\s+([0-9a-f]{1,16})$`, 'm').exec(status) ?? [];
      return new Capabilities(BigInt(`0x${digits}`) & knownMask);
    };
    return Object.freeze({
      bounding: set('Bnd'),
      permitted: set('Prm'),
      effective: set('Eff'),
      inheritable: set('Inh'),
      ambient: set('Amb'),
    });
  }

  /**
   * What a file gives to whoever executes it; undefined where it gives nothing. A link is not followed.
   * @throws TscontainError (`ERR_XATTR`) where there is no such file, (`ERR_FILE_CAPABILITIES`) for an unknown form
   */
  static ofFile(path: string): FileCapabilities | undefined {
    const bytes = getXattr(readPath(path), capabilityAttribute);
    if (!bytes) return undefined;
    const { permitted, inheritable, effective, rootId } = decodeFileCapabilities(bytes, path);
    return Object.freeze({
      permitted: new Capabilities(permitted & knownMask),
      inheritable: new Capabilities(inheritable & knownMask),
      effective,
      ...(rootId === undefined ? {} : { rootId }),
    });
  }

  /**
   * Gives a file capabilities, in place of those that it had (setcap(8)); read back. It takes CAP_SETFCAP. A link is not
   * followed, and a change of the file's content removes them.
   * @throws OptionError, PermissionError; UnsupportedError where the file system keeps none; TscontainError (`ERR_XATTR`)
   *   where there is no such file
   */
  static setFile(path: string, capabilities: FileCapabilitiesOption): void {
    const wanted = readFileOption(capabilities);
    // What is not there, or cannot be reached, is told by the call that follows.
    if (lstatOf(readPath(path))?.isFile() === false) throw new OptionError('path', 'a regular file', path);
    setXattr(path, capabilityAttribute, encodeFileCapabilities(wanted));
    const now = Capabilities.ofFile(path);
    const same =
      now?.permitted.mask === wanted.permitted &&
      now.inheritable.mask === wanted.inheritable &&
      now.effective === wanted.effective;
    if (!same) throw new TscontainError('ERR_FILE_CAPABILITIES', `${path} did not keep its capabilities`, { path });
  }

  /** Takes a file's capabilities away. Whether it had any. @throws PermissionError */
  static removeFile(path: string): boolean {
    return removeXattr(readPath(path), capabilityAttribute);
  }

  /** The operand of the algebra: a set, and no list or name, whose mask would be `undefined`. */
  static #maskOf(other: unknown): bigint {
    if (other instanceof Capabilities) return other.mask;
    throw new OptionError('other', 'a set of capabilities', other, { hint: 'Capabilities.of(…) makes one of names' });
  }

  /** The capabilities in this set, in `other`, or in both. @throws OptionError for anything else than a set */
  union(other: Capabilities): Capabilities {
    return new Capabilities(this.mask | Capabilities.#maskOf(other));
  }

  /** The capabilities in this set and in `other`. */
  intersect(other: Capabilities): Capabilities {
    return new Capabilities(this.mask & Capabilities.#maskOf(other));
  }

  /** The capabilities in this set that are not in `other`. */
  without(other: Capabilities): Capabilities {
    return new Capabilities(this.mask & ~Capabilities.#maskOf(other));
  }

  /** This set and the capabilities named. @throws OptionError at an unknown name */
  add(...capabilities: readonly CapabilityName[]): Capabilities {
    return this.union(Capabilities.of(...capabilities));
  }

  /** This set without the capabilities named. @throws OptionError at an unknown name */
  drop(...capabilities: readonly CapabilityName[]): Capabilities {
    return this.without(Capabilities.of(...capabilities));
  }

  /** Whether the capability is in the set; for `'ALL'`, whether every one is. @throws OptionError at an unknown name */
  has(capability: CapabilityName): boolean {
    const mask = maskOf([capability], 'capabilities');
    return (this.mask & mask) === mask;
  }

  equals(other: Capabilities): boolean {
    return this.mask === Capabilities.#maskOf(other);
  }

  /** Whether every capability of this set is in `other`. */
  isSubsetOf(other: Capabilities): boolean {
    return (this.mask & ~Capabilities.#maskOf(other)) === 0n;
  }

  /** How many capabilities the set has. */
  get size(): number {
    return this.toArray().length;
  }

  /** 16 hexadecimal digits, as `CapBnd` and its siblings in `/proc/<pid>/status`. */
  toHex(): string {
    return this.mask.toString(16).padStart(16, '0');
  }

  /** The names, in the kernel's order. */
  toArray(): Capability[] {
    return namesOf(this.mask);
  }

  [Symbol.iterator](): Iterator<Capability> {
    return this.toArray()[Symbol.iterator]();
  }

  toJSON(): Capability[] {
    return this.toArray();
  }
}

const fileSchema = defineSchema(['permitted', 'inheritable', 'effective', 'rootId']);
/** (uid_t) -1 is no id. */
const mostId = 2 ** 32 - 2;

function readFileOption(option: FileCapabilitiesOption): {
  permitted: bigint;
  inheritable: bigint;
  effective: boolean;
  rootId?: number;
} {
  const { permitted = [], inheritable = [], effective, rootId } = readObject(option, 'capabilities', fileSchema);
  const mask = (value: unknown, name: string) =>
    Capabilities.from(value as Iterable<CapabilityName>, `capabilities.${name}`).mask;
  return {
    permitted: mask(permitted, 'permitted'),
    inheritable: mask(inheritable, 'inheritable'),
    effective: readBoolean(effective, 'capabilities.effective', true),
    ...(rootId === undefined ? {} : { rootId: readInteger(rootId, 'capabilities.rootId', 0, mostId) }),
  };
}

function readPath(path: unknown): string {
  return readText(path, 'path', 'a path');
}

function lstatOf(path: string): ReturnType<typeof lstatSync> | undefined {
  try {
    return lstatSync(path);
  } catch {
    return undefined;
  }
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value;
}
