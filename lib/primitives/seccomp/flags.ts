/** Flags of a profile: how its filter is loaded (seccomp(2)). */

import { OptionError } from '../../errors.js';

// A filter is loaded on the only thread there is, and calls that a handler has seen are waited for anyway.
const bits = { TSYNC: 0, LOG: 2, SPEC_ALLOW: 4, WAIT_KILLABLE_RECV: 0 } as const;
const prefix = 'SECCOMP_FILTER_FLAG_';

/** A flag of seccomp(2), as libseccomp and the OCI specification name it. */
export type SeccompFlag = `${typeof prefix}${keyof typeof bits}`;

/** @throws OptionError for what is no flag's name */
export function readFlag(value: unknown, option: string): SeccompFlag {
  if (typeof value === 'string' && value.startsWith(prefix) && Object.hasOwn(bits, value.slice(prefix.length))) {
    return value as SeccompFlag;
  }
  throw new OptionError(
    option,
    `one of ${Object.keys(bits)
      .map((name) => `${prefix}${name}`)
      .join(', ')}`,
    value,
  );
}

/** The flags as the kernel takes them. */
export function filterFlags(flags: readonly SeccompFlag[] = []): number {
  return flags.reduce((sum, name) => sum | bits[name.slice(prefix.length) as keyof typeof bits], 0);
}
