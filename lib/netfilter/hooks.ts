/** Where the kernel calls chains, and in which order: numbers and names of hooks and priorities (nft(8), "CHAINS"). */

import { OptionError } from '../errors.js';
import { nameOf } from './names.js';
import type { Family, Hook, PriorityName } from './ruleset.js';

const inet = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4, ingress: 5 } as const;
const bridge = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;
const arp = { input: 0, output: 1 } as const;
const netdev = { ingress: 0, egress: 1 } as const;
const ip = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;

const hooks: Readonly<Record<Family, Readonly<Partial<Record<Hook, number>>>>> = {
  inet,
  ip,
  ip6: ip,
  arp,
  netdev,
  bridge,
};

export function hookNumber(family: Family, hook: unknown, option: string): number {
  const known = hooks[family];
  const number = typeof hook === 'string' && Object.hasOwn(known, hook) ? known[hook as Hook] : undefined;
  if (number !== undefined) return number;
  throw new OptionError(
    option,
    `${Object.keys(known)
      .map((word) => `'${word}'`)
      .join(' or ')} in the family ${family}`,
    hook,
  );
}

export function hookName(family: Family, number: number): Hook | undefined {
  return nameOf(hooks[family] as Readonly<Record<Hook, number>>, number);
}

const common = { raw: -300, mangle: -150, dstnat: -100, filter: 0, security: 50, srcnat: 100 } as const;
const inBridge = { dstnat: -300, filter: -200, out: 100, srcnat: 300 } as const;

export function priorityNumber(family: Family, priority: number | PriorityName | undefined, option: string): number {
  const known: Readonly<Record<string, number>> = family === 'bridge' ? inBridge : common;
  if (typeof priority === 'number' && Number.isInteger(priority) && Math.abs(priority) < 2 ** 31) return priority;
  const name = priority ?? 'filter';
  const number = typeof name === 'string' && Object.hasOwn(known, name) ? known[name] : undefined;
  if (number !== undefined) return number;
  throw new OptionError(option, `a whole number, or ${Object.keys(known).join(', ')}`, priority);
}
