/** Functions that write statements, so that rules read as in nft(8). */

import type { Field } from './fields.js';
import type {
  ConnectionCount,
  Counter,
  Key,
  Limit,
  LimitPeriod,
  Log,
  Masquerade,
  Match,
  Nat,
  NoTrack,
  Operator,
  Queue,
  Quota,
  Redirect,
  Reject,
  SetField,
  SetReference,
  SetUpdate,
  Tproxy,
  Tuple,
  ValueOf,
  Verdict,
  VerdictMap,
  VerdictMapEntry,
} from './statement.js';

/** What one field may be compared with: a value, several of which one must be it, or a set. */
export type Compared<F extends Field> = ValueOf<F> | readonly (ValueOf<F> | readonly ValueOf<F>[])[] | SetReference;

function match<F extends Field>(field: F, value: Compared<F>, options?: Pick<Match, 'mask'>): Match;
function match<F extends Field>(field: F, op: Operator, value: Compared<F>, options?: Pick<Match, 'mask'>): Match;
function match(fields: readonly Field[], value: readonly Tuple[] | SetReference): Match;
function match(fields: readonly Field[], op: '==' | '!=', value: readonly Tuple[] | SetReference): Match;
function match(key: Key, ...rest: readonly unknown[]): Match {
  const [op, value, options] = isOperator(rest[0]) && rest.length > 1 ? rest : ['==', ...rest];
  return {
    kind: 'match',
    key,
    op: op as Operator,
    value: value as Match['value'],
    ...(options as Pick<Match, 'mask'> | undefined),
  };
}

const operators: readonly unknown[] = ['==', '!=', '<', '<=', '>', '>='];

function isOperator(value: unknown): value is Operator {
  return operators.includes(value);
}

/**
 * Statements of rules, as nft(8) names them.
 *
 * ```ts
 * import { nft } from 'tscontain';
 *
 * const rule = [nft.match('ip saddr', '10.0.0.0/8'), nft.match('tcp dport', [80, 443]), nft.counter(), nft.accept];
 * ```
 */
export const nft = Object.freeze({
  /**
   * Compares a field, or several together. A list is values of which one must be it; of flags (`ct state`, `tcp flags`), those
   * of which one must be there. `'@name'` is a set. What a field belongs to, such as IPv4 or TCP, need not be compared before.
   */
  match,

  accept: Object.freeze({ kind: 'accept' }) as Verdict,
  drop: Object.freeze({ kind: 'drop' }) as Verdict,
  return: Object.freeze({ kind: 'return' }) as Verdict,
  continue: Object.freeze({ kind: 'continue' }) as Verdict,
  notrack: Object.freeze({ kind: 'notrack' }) as NoTrack,

  /** Goes on in another chain, and comes back after it. */
  jump: (chain: string): Verdict => ({ kind: 'jump', chain }),
  /** Goes on in another chain, and does not come back. */
  goto: (chain: string): Verdict => ({ kind: 'goto', chain }),

  /** A verdict by value: a list of entries, or the name of a map. */
  vmap: (key: Key, map: readonly VerdictMapEntry[] | SetReference): VerdictMap => ({ kind: 'vmap', key, map }),

  /** Counts, from 0; or in the counter of this name. */
  counter: (name?: string): Counter =>
    name === undefined ? { kind: 'counter', packets: 0, bytes: 0 } : { kind: 'counter', name },

  /** Holds until so many bytes have passed, or with `over` after that. */
  quota: (bytes: number, options: { readonly over?: boolean } = {}): Quota => ({
    kind: 'quota',
    bytes,
    used: 0,
    over: options.over ?? false,
  }),

  /** Holds for at most so many packets, or bytes, in a time; with `over` for those beyond. `burst` may come at once. */
  limit: (
    rate: number,
    per: LimitPeriod = 'second',
    options: { readonly unit?: 'packets' | 'bytes'; readonly burst?: number; readonly over?: boolean } = {},
  ): Limit => ({
    kind: 'limit',
    rate,
    unit: options.unit ?? 'packets',
    per,
    burst: options.burst ?? (options.unit === 'bytes' ? 0 : 5),
    over: options.over ?? false,
  }),

  /** Holds while no more than so many connections are tracked by this rule, or with `over` beyond. */
  connections: (count: number, options: { readonly over?: boolean } = {}): ConnectionCount => ({
    kind: 'ct count',
    count,
    over: options.over ?? false,
  }),

  /** Tells of the packet: in the kernel's log, or with `group` to a listener of nfnetlink. */
  log: (options: Omit<Log, 'kind'> = {}): Log => ({ kind: 'log', ...options }),

  /** Refuses with an answer. Default `icmpx port-unreachable`. */
  reject: (answer: Reject['with'] = 'icmpx port-unreachable'): Reject => ({ kind: 'reject', with: answer }),

  masquerade: (options: Omit<Masquerade, 'kind'> = {}): Masquerade => ({ kind: 'masquerade', ...options }),
  redirect: (options: Omit<Redirect, 'kind'> = {}): Redirect => ({ kind: 'redirect', ...options }),

  /** Another sender. */
  snat: (family: Nat['family'], to: Omit<Nat, 'kind' | 'family'>): Nat => ({ kind: 'snat', family, ...to }),
  /** Another destination: an address, a port, both, or what a map says. */
  dnat: (family: Nat['family'], to: Omit<Nat, 'kind' | 'family'>): Nat => ({ kind: 'dnat', family, ...to }),

  tproxy: (family: Tproxy['family'], to: Omit<Tproxy, 'kind' | 'family'>): Tproxy => ({
    kind: 'tproxy',
    family,
    ...to,
  }),

  /** Sets a mark. */
  set: (field: SetField['field'], value: SetField['value']): SetField => ({ kind: 'set', field, value }),

  /** Puts what the packet has into a set, if it is not there yet. */
  add: (set: SetReference, key: Key, options: { readonly timeout?: number } = {}): SetUpdate => ({
    kind: 'add',
    set,
    key,
    ...options,
  }),
  /** Puts it into a set, or begins its time anew. */
  update: (set: SetReference, key: Key, options: { readonly timeout?: number } = {}): SetUpdate => ({
    kind: 'update',
    set,
    key,
    ...options,
  }),
  /** Takes it out of a set. */
  delete: (set: SetReference, key: Key): SetUpdate => ({ kind: 'delete', set, key }),

  queue: (num: Queue['num'], options: Pick<Queue, 'flags'> = {}): Queue => ({ kind: 'queue', num, ...options }),
});
