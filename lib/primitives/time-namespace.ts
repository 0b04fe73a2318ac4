/**
 * A new time namespace as steps (time_namespaces(7)). It begins with the first child of whoever made it, or with who enters
 * it; until then its clocks can be set. So it is made, set and entered, in this order, by a process that is alone.
 */

import { cloneFlag, openFlag, type Step } from '../plan/step.js';

/** What is added to the clocks, in nanoseconds. */
export interface ClockOffsets {
  readonly monotonic: bigint;
  readonly boottime: bigint;
}

/** The process's own directory in the procfs that it sees now, held open for {@link newClocks}. */
export const openOwnProcess: readonly Step[] = Object.freeze([
  { kind: 'open', to: 'own process', from: null, path: '/proc/self', flags: openFlag.PATH, resolve: 0 },
]);

/** After {@link openOwnProcess}, and while the process is still the user whose directory that is. */
export function newClocks({ monotonic, boottime }: ClockOffsets): readonly Step[] {
  const under = 'own process';
  return [
    { kind: 'unshare', flags: cloneFlag.NEWTIME },
    ...(monotonic === 0n && boottime === 0n ? [] : [{ kind: 'timeOffsets', under, monotonic, boottime } as const]),
    { kind: 'open', to: 'clocks', from: under, path: 'ns/time_for_children', flags: 0, resolve: 0 },
    { kind: 'setns', namespace: 'clocks', flags: cloneFlag.NEWTIME },
  ];
}

/** Nanoseconds of milliseconds, a fraction of which counts. */
export function nanoseconds(milliseconds: number): bigint {
  const whole = Math.trunc(milliseconds);
  return BigInt(whole) * 1_000_000n + BigInt(Math.round((milliseconds - whole) * 1e6));
}
