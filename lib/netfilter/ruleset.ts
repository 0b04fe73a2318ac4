/** A ruleset as data: tables with their chains, rules, sets and counters, as they are given and as `list()` reads them. */

import type { SetTypeName } from './data-types.js';
import type { Statement, Tuple, Value, Verdict } from './statement.js';

/** Which packets a table sees (nft(8), "ADDRESS FAMILIES"): `inet` those of IPv4 and IPv6. */
export type Family = 'inet' | 'ip' | 'ip6' | 'arp' | 'bridge' | 'netdev';

export type ChainType = 'filter' | 'nat' | 'route';

/** Where the kernel calls a chain (nft(8), "CHAINS"). */
export type Hook = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting' | 'ingress' | 'egress';

/** Names of priorities, as nft has them for the family and hook. Lower ones are called first. */
export type PriorityName = 'raw' | 'mangle' | 'dstnat' | 'filter' | 'security' | 'out' | 'srcnat';

/** What makes a chain one that the kernel calls. */
export interface BaseChain {
  readonly type: ChainType;
  readonly hook: Hook;
  /** A number, or a name that stands for one. Default `'filter'`. */
  readonly priority?: number | PriorityName;
  /** What becomes of a packet at the end of the chain. Default `'accept'`. */
  readonly policy?: 'accept' | 'drop';
  /** Interfaces, for the hooks `ingress` and `egress`. */
  readonly devices?: readonly string[];
}

export interface ChainOptions {
  /** Left out, the chain is called only by `jump` and `goto`. */
  readonly base?: BaseChain;
  readonly comment?: string;
}

export interface SetOptions {
  /** The type of its values, by nft's name; several for a concatenation. */
  readonly type: SetTypeName | readonly SetTypeName[];
  /** What a map gives for a value: verdicts, or values of these types. */
  readonly map?: 'verdict' | SetTypeName | readonly SetTypeName[];
  /** Whether elements may be ranges and prefixes. Default false. */
  readonly intervals?: boolean;
  /** Milliseconds after which an element is gone; 0 for elements that have times of their own only. Default: they stay. */
  readonly timeout?: number;
  /** Whether rules may put elements in (`add`, `update`). Default false. */
  readonly dynamic?: boolean;
  /** Most elements. Default: without a bound; 65535 for one that rules put elements into, as in nft. */
  readonly size?: number;
  /** Whether each element counts packets and bytes. Default false. */
  readonly counter?: boolean;
  readonly elements?: readonly ElementOptions[];
  readonly comment?: string;
}

/** An element: a value, a value for each field, or with more about it. */
export type ElementOptions = Value | Tuple | SetElement;

export interface SetElement {
  /** A value; one for each field; `'*'` in a map for every other value. */
  readonly value: Value | Tuple;
  /** What a verdict map gives. */
  readonly verdict?: Verdict;
  /** What another map gives: a value, or one for each of its types. */
  readonly data?: Value | Tuple;
  /** Milliseconds. */
  readonly timeout?: number;
  readonly comment?: string;
}

export interface RuleOptions {
  readonly comment?: string;
  /** Default: after all others. */
  readonly at?: 'last' | 'first' | { readonly after: number } | { readonly before: number };
}

export interface TableOptions {
  /**
   * The table is this socket's: nobody else can change it, and the kernel removes it with the socket, however this process
   * ends (Linux 5.12). Default false.
   */
  readonly owner?: boolean;
  /** Its chains are not called. Default false. */
  readonly dormant?: boolean;
  readonly comment?: string;
  /** Refuse if there is one of that name already. Default false: what there is stays, and is added to. */
  readonly exclusive?: boolean;
}

/** A rule, as it was read. */
export interface Rule {
  readonly handle: number;
  readonly statements: readonly Statement[];
  readonly comment?: string;
}

/** A chain, as it was read. */
export interface Chain {
  readonly name: string;
  readonly handle: number;
  readonly base?: Required<Omit<BaseChain, 'devices' | 'priority'>> & {
    readonly priority: number;
    readonly devices?: readonly string[];
  };
  readonly comment?: string;
  readonly rules: readonly Rule[];
}

/** An element, as it was read. */
export interface ListedElement extends SetElement {
  /** Milliseconds that are left. */
  readonly expires?: number;
  readonly counter?: { readonly packets: number; readonly bytes: number };
}

/** A named set or map, as it was read. */
export interface ListedSet extends Omit<SetOptions, 'elements'> {
  readonly name: string;
  readonly handle: number;
  readonly elements: readonly ListedElement[];
}

/** A named counter, quota or limit. */
export type NamedObject =
  | { readonly kind: 'counter'; readonly packets: number; readonly bytes: number }
  | { readonly kind: 'quota'; readonly bytes: number; readonly used: number; readonly over: boolean }
  | {
      readonly kind: 'limit';
      readonly rate: number;
      readonly unit: 'packets' | 'bytes';
      readonly per: 'second' | 'minute' | 'hour' | 'day' | 'week';
      readonly burst: number;
      readonly over: boolean;
    };

export type ListedObject = NamedObject & { readonly name: string; readonly handle: number };

/** A table, as it was read. */
export interface Table {
  readonly family: Family;
  readonly name: string;
  readonly handle: number;
  readonly dormant: boolean;
  /** The port of the socket that owns it. */
  readonly owner?: number;
  readonly comment?: string;
  readonly chains: readonly Chain[];
  readonly sets: readonly ListedSet[];
  readonly objects: readonly ListedObject[];
}

/** All tables of a namespace, as they were at one moment. */
export interface Ruleset {
  /** The kernel's number of this state: it changes with every transaction. */
  readonly generation: number;
  readonly tables: readonly Table[];
}
