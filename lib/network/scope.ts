/** Words that the kernel has numbers for: scopes, tables, protocols and types of routes (rtnetlink(7)). */

import { readInteger } from '../container/settings/schema.js';
import { OptionError } from '../errors.js';

/** How far an address or a route reaches. */
export type RouteScope = 'global' | 'site' | 'link' | 'host' | 'nowhere' | number;
/** A routing table. */
export type RouteTable = 'default' | 'main' | 'local' | number;
/** Who has made a route. */
export type RouteProtocol = 'unspecified' | 'redirect' | 'kernel' | 'boot' | 'static' | 'ra' | 'dhcp' | number;
/** What becomes of a packet that a route is for. */
export type RouteType =
  | 'unicast'
  | 'local'
  | 'broadcast'
  | 'anycast'
  | 'multicast'
  | 'blackhole'
  | 'unreachable'
  | 'prohibit'
  | 'throw';

type Words<Name> = Readonly<Record<Extract<Name, string>, number>>;

export const scopeOf: Words<RouteScope> = { global: 0, site: 200, link: 253, host: 254, nowhere: 255 };
export const tableOf: Words<RouteTable> = { default: 253, main: 254, local: 255 };
export const protocolOf: Words<RouteProtocol> = {
  unspecified: 0,
  redirect: 1,
  kernel: 2,
  boot: 3,
  static: 4,
  ra: 9,
  dhcp: 16,
};
export const typeOf: Words<RouteType> = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
};

/** A word, or its number. */
function read(value: unknown, option: string, words: Readonly<Record<string, number>>, most: number): number {
  if (typeof value === 'number') return readInteger(value, option, 0, most);
  if (typeof value === 'string' && Object.hasOwn(words, value)) return words[value] ?? 0;
  throw new OptionError(option, `${Object.keys(words).join(', ')}, or a number`, value);
}

export const readScope = (value: unknown, option: string) => read(value, option, scopeOf, 255);
export const readTable = (value: unknown, option: string) => read(value, option, tableOf, 2 ** 32 - 1);
export const readProtocol = (value: unknown, option: string) => read(value, option, protocolOf, 255);

/** The word for a number; the number where there is none. */
export function wordOf<Name extends string>(words: Readonly<Record<Name, number>>, number: number): Name | number {
  for (const name in words) if (words[name] === number) return name;
  return number;
}
