/**
 * Capabilities: root's power cut into 41 privileges that can be held or given up one by one. {@link Capabilities} is an
 * immutable set of them over one bit mask, the form in which the kernel keeps a thread's five sets.
 */

import { OptionError } from '../errors.js';

/** In the kernel's order: the position is the capability's number (`linux/capability.h`). */
const names = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_DAC_READ_SEARCH',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETPCAP',
  'CAP_LINUX_IMMUTABLE',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_BROADCAST',
  'CAP_NET_ADMIN',
  'CAP_NET_RAW',
  'CAP_IPC_LOCK',
  'CAP_IPC_OWNER',
  'CAP_SYS_MODULE',
  'CAP_SYS_RAWIO',
  'CAP_SYS_CHROOT',
  'CAP_SYS_PTRACE',
  'CAP_SYS_PACCT',
  'CAP_SYS_ADMIN',
  'CAP_SYS_BOOT',
  'CAP_SYS_NICE',
  'CAP_SYS_RESOURCE',
  'CAP_SYS_TIME',
  'CAP_SYS_TTY_CONFIG',
  'CAP_MKNOD',
  'CAP_LEASE',
  'CAP_AUDIT_WRITE',
  'CAP_AUDIT_CONTROL',
  'CAP_SETFCAP',
  'CAP_MAC_OVERRIDE',
  'CAP_MAC_ADMIN',
  'CAP_SYSLOG',
  'CAP_WAKE_ALARM',
  'CAP_BLOCK_SUSPEND',
  'CAP_AUDIT_READ',
  'CAP_PERFMON', // 5.8
  'CAP_BPF', // 5.8
  'CAP_CHECKPOINT_RESTORE', // 5.9
] as const;

/** One capability, as capabilities(7) names it. */
export type Capability = (typeof names)[number];

/** What is read as a capability: its name in upper or lower case, with or without `CAP_`, or `'ALL'` for all of them. */
export type CapabilityName = Capability | 'ALL' | (string & Record<never, never>);

const bits: ReadonlyMap<string, bigint> = new Map([
  ...names.map((name, number): [string, bigint] => [name.slice('CAP_'.length), 1n << BigInt(number)]),
  ['ALL', (1n << BigInt(names.length)) - 1n],
]);

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

  /** The capabilities in this set, in `other`, or in both. */
  union(other: Capabilities): Capabilities {
    return new Capabilities(this.mask | other.mask);
  }

  /** The capabilities in this set and in `other`. */
  intersect(other: Capabilities): Capabilities {
    return new Capabilities(this.mask & other.mask);
  }

  /** The capabilities in this set that are not in `other`. */
  without(other: Capabilities): Capabilities {
    return new Capabilities(this.mask & ~other.mask);
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
    return this.mask === other.mask;
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
    return names.filter((_, number) => (this.mask >> BigInt(number)) & 1n);
  }

  [Symbol.iterator](): Iterator<Capability> {
    return this.toArray()[Symbol.iterator]();
  }

  toJSON(): Capability[] {
    return this.toArray();
  }
}

function maskOf(capabilities: Iterable<unknown>, option: string): bigint {
  let mask = 0n;
  let index = 0;
  for (const name of capabilities) {
    const bit = typeof name === 'string' ? bits.get(name.toUpperCase().replace(/^CAP_/, '')) : undefined;
    if (bit === undefined) {
      throw new OptionError(
        `${option}[${index}]`,
        "the name of a capability such as 'NET_BIND_SERVICE', or 'ALL'",
        name,
      );
    }
    mask |= bit;
    index++;
  }
  return mask;
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.iterator in value;
}
