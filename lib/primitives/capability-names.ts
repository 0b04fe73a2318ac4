/** The names of capabilities, and the bits that they stand for. */

import { OptionError } from '../errors.js';
import { nearestOf } from '../nearest.js';

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
 * The bits of a list of names.
 * @throws OptionError naming the entry, with the name that was meant
 */
export function maskOf(capabilities: Iterable<unknown>, option: string): bigint {
  let mask = 0n;
  let index = 0;
  for (const name of capabilities) {
    const bit = typeof name === 'string' ? bits.get(name.toUpperCase().replace(/^CAP_/, '')) : undefined;
    if (bit === undefined) throw unknownName(name, `${option}[${index}]`);
    mask |= bit;
    index++;
  }
  return mask;
}

function unknownName(name: unknown, option: string): OptionError {
  const short = typeof name === 'string' ? name.toUpperCase().replace(/^CAP_/, '') : '';
  const nearest = short === '' ? undefined : nearestOf(short, [...bits.keys()]);
  return new OptionError(option, "the name of a capability such as 'NET_BIND_SERVICE', or 'ALL'", name, {
    hint: nearest === undefined ? undefined : `did you mean ${nearest === 'ALL' ? nearest : `CAP_${nearest}`}?`,
  });
}

/** The names of the bits that are set, in the kernel's order. */
export function namesOf(mask: bigint): Capability[] {
  return names.filter((_, number) => (mask >> BigInt(number)) & 1n);
}

/** The bits of all that this library knows. */
export const knownMask = (1n << BigInt(names.length)) - 1n;
