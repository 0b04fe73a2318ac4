/**
 * The execution domain of a program (personality(2)) from a closed list. What is not on it is refused with the reason: most
 * of the other flags undo a protection of memory, for programs of other systems that are not to be had any more.
 */

import { defineSchema, readBoolean, readChoice, readObject } from '../../container/settings/schema.js';
import { personalityFlag } from '../../primitives/personality.js';

const { LINUX32, UNAME26, ADDR_NO_RANDOMIZE } = personalityFlag;

const refused = new Map([
  ['noRandomize', 'its name is unsafeNoRandomize, as it makes weaknesses of a program easier to use'],
  ['readImpliesExec', 'it would make all memory that can be read executable'],
  ['mmapPageZero', 'it would map the page at address 0, which a null pointer of the kernel then finds'],
  ['addrCompatLayout', 'it would make the layout of memory predictable'],
  ['addrLimit3gb', 'it has no meaning for 64-bit programs'],
  ['addrLimit32bit', 'it has no meaning for 64-bit programs'],
  ['wholeSeconds', 'the kernel ignores it'],
  ['stickyTimeouts', 'it changes how long system calls may wait'],
]);
const schema = defineSchema(['domain', 'uname26', 'unsafeNoRandomize'], refused);

/** The value for personality(2). */
export function readPersonality(value: unknown, option: string): number | undefined {
  if (value === undefined) return undefined;
  const { domain, uname26, unsafeNoRandomize } = readObject(value, option, schema);
  const linux32 = domain !== undefined && readChoice(domain, `${option}.domain`, ['linux', 'linux32']) === 'linux32';
  return (
    (linux32 ? LINUX32 : 0) |
    (readBoolean(uname26, `${option}.uname26`, false) ? UNAME26 : 0) |
    (readBoolean(unsafeNoRandomize, `${option}.unsafeNoRandomize`, false) ? ADDR_NO_RANDOMIZE : 0)
  );
}

/** Whether memory is laid out at the same addresses each time. */
export function isPredictable(personality: number | undefined): boolean {
  return ((personality ?? 0) & ADDR_NO_RANDOMIZE) !== 0;
}
