/** Resource limits as options: read, laid over the container's, and held against what this process may hand on. */

import { defineSchema, optionName, readInteger, readObject } from '../../container/settings/schema.js';
import { OptionError, PermissionError } from '../../errors.js';
import {
  type Resource,
  type Rlimit,
  type Rlimits,
  readRlimits,
  resourceFacts,
  resourceNames,
  rlimitEntries,
} from '../../primitives/rlimits.js';
import { parseSize } from '../../units.js';

const schema = defineSchema(
  resourceNames,
  new Map([
    ['openFiles', 'the kernel calls it nofile'],
    ['fileSize', 'the kernel calls it fsize'],
  ]),
);
const limitSchema = defineSchema(['soft', 'hard']);
export const noRlimits: Rlimits = Object.freeze({});
/** Standard streams, and one for the loader. */
const leastOpenFiles = 4;

export function readRlimitOptions(value: unknown, option: string): Rlimits {
  if (value === undefined) return noRlimits;
  const fields = readObject(value, option, schema);
  const limits: { [Name in Resource]?: Rlimit } = {};
  for (const name of resourceNames) {
    if (fields[name] !== undefined) limits[name] = readLimit(fields[name], optionName(option, name), name);
  }
  return Object.freeze(limits);
}

function readLimit(value: unknown, option: string, name: Resource): Rlimit {
  if (typeof value !== 'object' || value === null) {
    const both = readValue(value, option, name);
    return Object.freeze({ soft: both, hard: both });
  }
  const fields = readObject(value, option, limitSchema);
  const soft = readValue(fields.soft, `${option}.soft`, name);
  const hard = fields.hard === undefined ? soft : readValue(fields.hard, `${option}.hard`, name);
  if (soft > hard) throw new OptionError(`${option}.soft`, `at most the hard limit, ${shown(hard)}`, fields.soft);
  return Object.freeze({ soft, hard });
}

function readValue(value: unknown, option: string, name: Resource): number {
  if (value === 'unlimited') return Number.POSITIVE_INFINITY;
  const { unit, most = Number.MAX_SAFE_INTEGER, counts } = resourceFacts(name);
  try {
    return unit === 'size'
      ? parseSize(value, option)
      : readInteger(value, option, name === 'nofile' ? leastOpenFiles : 0, most);
  } catch (cause) {
    if (!(cause instanceof OptionError)) throw cause;
    const expected = unit === 'size' || counts === undefined ? cause.expected : `${cause.expected} (${counts})`;
    throw new OptionError(option, `${expected}, or 'unlimited'`, value);
  }
}

/**
 * An exec's limits over its container's. Both of its values stay at or below the container's hard limit, which is what
 * the kernel would hold a process to that had begun with the container's.
 * @throws OptionError at one that would be wider
 */
export function tightenRlimits(own: Rlimits, container: Rlimits, option: string): Rlimits {
  if (own === noRlimits) return container;
  for (const [name, limit] of rlimitEntries(own)) {
    const ceiling = container[name]?.hard ?? Number.POSITIVE_INFINITY;
    if (limit.hard > ceiling) {
      throw new OptionError(`${option}.${name}`, `at most the container's hard limit, ${shown(ceiling)}`, limit.hard, {
        hint: `a process may only have tighter limits than its container; give the container ${option}.${name}`,
      });
    }
  }
  return Object.freeze({ ...container, ...own });
}

/**
 * No process of ours can raise a hard limit: that takes CAP_SYS_RESOURCE on the host, which programs do not get.
 * @throws PermissionError naming what this process has, and so could hand on
 */
export function expectRlimitsWithinOwn(limits: Rlimits, option: string, own?: Rlimits): void {
  const most = own ?? readRlimits();
  for (const [name, { hard }] of rlimitEntries(limits)) {
    const ceiling = most[name]?.hard ?? Number.POSITIVE_INFINITY;
    if (hard <= ceiling) continue;
    throw new PermissionError(
      `option ${option}.${name}: the hard limit ${shown(hard)} is above that of this process, ${shown(ceiling)}`,
      {
        syscall: 'prlimit',
        errno: 'EPERM',
        hint: `ask for at most ${shown(ceiling)}, or raise the limit of this process (ulimit -H, prlimit(1), or Limit${name.toUpperCase()}= of its systemd unit)`,
      },
    );
  }
}

function shown(limit: number): string {
  return limit === Number.POSITIVE_INFINITY ? 'unlimited' : String(limit);
}
