/**
 * Rules as data: each statement is what nft(8) calls one, with nft's words. The functions of {@link nft} write them; what
 * `list()` reads back has the same types.
 */

import type { Field, fields } from './fields.js';
import type * as names from './names.js';

type Word<N> = Extract<keyof N, string>;
/** A whole number, or two with a dash: both ends belong to it. */
export type NumberOrRange = number | `${number}-${number}`;

/** How values of each type are written. */
export interface ValuesByType {
  ipv4_addr: string;
  ipv6_addr: string;
  ether_addr: string;
  ifname: string;
  inet_service: NumberOrRange;
  inet_proto: Word<typeof names.inetProtocols> | NumberOrRange;
  nf_proto: Word<typeof names.nfProtocols>;
  ether_type: Word<typeof names.etherTypes> | number;
  arp_op: Word<typeof names.arpOperations> | number;
  icmp_type: Word<typeof names.icmpTypes> | NumberOrRange;
  icmp_code: Word<typeof names.icmpCodes> | NumberOrRange;
  icmpv6_type: Word<typeof names.icmp6Types> | NumberOrRange;
  icmpv6_code: Word<typeof names.icmp6Codes> | NumberOrRange;
  mark: NumberOrRange;
  iface_index: number;
  iface_type: Word<typeof names.interfaceTypes> | number;
  uid: NumberOrRange;
  gid: NumberOrRange;
  pkt_type: Word<typeof names.packetTypes>;
  devgroup: NumberOrRange;
  dscp: NumberOrRange;
  fib_addrtype: Word<typeof names.addressTypes>;
  boolean: Word<typeof names.presence>;
  ct_dir: Word<typeof names.trackingDirections>;
  ct_state: Word<typeof names.trackingStates>;
  ct_status: Word<typeof names.trackingStatus>;
  tcp_flag: Word<typeof names.tcpFlags>;
  integer8: NumberOrRange;
  integer16: NumberOrRange;
  integer32: NumberOrRange;
  integer16host: NumberOrRange;
}

/** How a value of this field is written. Addresses also as `10.0.0.0/8` and `10.0.0.1-10.0.0.9`, interfaces as `eth*`. */
export type ValueOf<F extends Field> = ValuesByType[(typeof fields)[F]['type']];
/** The name of a set or map of the same table, as nft writes it. */
export type SetReference = `@${string}`;
/** One value, as data. */
export type Value = string | number;
/** A value for each field of a concatenation. */
export type Tuple = readonly Value[];

export type Operator = '==' | '!=' | '<' | '<=' | '>' | '>=';

/** One field, or several looked at together (a concatenation). */
export type Key = Field | readonly Field[];

/** Compares; the statements after it are looked at only if it holds. */
export interface Match {
  readonly kind: 'match';
  readonly key: Key;
  readonly op: Operator;
  /**
   * A value; several, of which one must be it; or a set. Of fields whose values are flags (`ct state`, `tcp flags`), a list is
   * flags of which one must be there, or with `mask` exactly these; a list of lists has combinations of which one must be it.
   */
  readonly value: Value | readonly (Value | Tuple)[] | SetReference;
  /** The bits that are compared; others do not matter. Flags as a list of words. */
  readonly mask?: number | readonly string[];
}

/** What becomes of a packet. */
export type Verdict =
  | { readonly kind: 'accept' | 'drop' | 'continue' | 'return' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string };

/** A verdict by value. */
export interface VerdictMap {
  readonly kind: 'vmap';
  readonly key: Key;
  readonly map: readonly VerdictMapEntry[] | SetReference;
}

export interface VerdictMapEntry {
  /** A value; one for each field if the key has several; flags as a list; `'*'` for every other one. */
  readonly value: Value | Tuple;
  readonly verdict: Verdict;
}

/** Counts packets and bytes: by itself, or in a named counter. */
export type Counter =
  | { readonly kind: 'counter'; readonly packets: number; readonly bytes: number }
  | { readonly kind: 'counter'; readonly name: string };

/** Holds until `bytes` have passed, or after them (`over`). */
export type Quota =
  | { readonly kind: 'quota'; readonly bytes: number; readonly used: number; readonly over: boolean }
  | { readonly kind: 'quota'; readonly name: string };

export type LimitPeriod = 'second' | 'minute' | 'hour' | 'day' | 'week';

/** Holds while the rate is not reached, or beyond it (`over`). */
export type Limit =
  | {
      readonly kind: 'limit';
      readonly rate: number;
      readonly unit: 'packets' | 'bytes';
      readonly per: LimitPeriod;
      readonly burst: number;
      readonly over: boolean;
    }
  | { readonly kind: 'limit'; readonly name: string };

/** Holds while at most so many connections are tracked, or beyond (`over`). */
export interface ConnectionCount {
  readonly kind: 'ct count';
  readonly count: number;
  readonly over: boolean;
}

export type LogLevel = 'emerg' | 'alert' | 'crit' | 'err' | 'warn' | 'notice' | 'info' | 'debug' | 'audit';

/** Tells of the packet: in the kernel's log, or to whoever listens to a group of nfnetlink. */
export interface Log {
  readonly kind: 'log';
  readonly prefix?: string;
  readonly level?: LogLevel;
  readonly group?: number;
  /** Bytes of each packet that are handed on; all if it is left out. */
  readonly snaplen?: number;
  /** Packets that are gathered before they are handed on. */
  readonly queueThreshold?: number;
}

/** Refuses with an answer. */
export interface Reject {
  readonly kind: 'reject';
  readonly with:
    | 'tcp reset'
    | `icmp ${Word<typeof names.icmpCodes>}`
    | `icmpv6 ${Word<typeof names.icmp6Codes>}`
    | `icmpx ${Word<typeof names.icmpxCodes>}`;
}

export type NatFlag = 'random' | 'fully-random' | 'persistent';

/** The sender becomes the address of the interface that the packet leaves by. */
export interface Masquerade {
  readonly kind: 'masquerade';
  readonly port?: NumberOrRange;
  readonly flags?: readonly NatFlag[];
}

/** The packet goes to this host. */
export interface Redirect {
  readonly kind: 'redirect';
  readonly port?: NumberOrRange;
  readonly flags?: readonly NatFlag[];
}

/** Another sender or another destination. */
export interface Nat {
  readonly kind: 'snat' | 'dnat';
  readonly family: 'ip' | 'ip6';
  /** An address, or a range of them. */
  readonly address?: string;
  readonly port?: NumberOrRange;
  /** Address and port by value, instead. */
  readonly lookup?: NatLookup;
  readonly flags?: readonly NatFlag[];
}

export interface NatLookup {
  readonly key: Key;
  readonly gives: 'address' | 'address . port';
  readonly map: readonly NatMapEntry[] | SetReference;
}

export interface NatMapEntry {
  readonly value: Value | Tuple;
  readonly address: string;
  readonly port?: number;
}

/** Hands the packet to a local socket without changing it (`IP_TRANSPARENT`, ip(7)). */
export interface Tproxy {
  readonly kind: 'tproxy';
  readonly family: 'ip' | 'ip6';
  readonly address?: string;
  readonly port?: number;
}

/** Sets a mark or another property of the packet or its connection. */
export interface SetField {
  readonly kind: 'set';
  readonly field: 'meta mark' | 'ct mark' | 'meta priority' | 'meta nftrace';
  /** A number, or the other mark. */
  readonly value: number | 'meta mark' | 'ct mark';
}

/** No tracking of this packet's connection. */
export interface NoTrack {
  readonly kind: 'notrack';
}

/** Puts values of the packet into a set, keeps them there longer, or takes them out. */
export interface SetUpdate {
  readonly kind: 'add' | 'update' | 'delete';
  readonly set: SetReference;
  readonly key: Key;
  /** Milliseconds; the set's own if it is left out. */
  readonly timeout?: number;
}

/** Hands packets to a program that listens to a queue of nfnetlink. */
export interface Queue {
  readonly kind: 'queue';
  readonly num: NumberOrRange;
  readonly flags?: readonly ('bypass' | 'fanout')[];
}

/** What this library does not know. It is shown, and cannot be written. */
export interface UnknownStatement {
  readonly kind: 'unknown';
  /** The kernel's expressions, in their order. */
  readonly expressions: readonly string[];
}

export type Statement =
  | Match
  | VerdictMap
  | Verdict
  | Counter
  | Quota
  | Limit
  | ConnectionCount
  | Log
  | Reject
  | Masquerade
  | Redirect
  | Nat
  | Tproxy
  | SetField
  | NoTrack
  | SetUpdate
  | Queue
  | UnknownStatement;
