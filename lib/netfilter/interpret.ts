/**
 * The kernel's expressions as statements: what compile.ts does, backwards. Registers are followed, so that what was loaded is
 * known where it is compared; comparisons that only say which protocol a field belongs to are left out again.
 */

import { familyNetwork } from './compile.js';
import { logLevels, natFlagBits, periods, updateOps } from './compile-statements.js';
import { type DataType, dataTypes, flagWords } from './data-types.js';
import { type Entry, formatKey, type SetShape } from './elements.js';
import {
  compareOps,
  type Data,
  type Expression,
  type ExpressionOf,
  objectTypes,
  registerIndex,
  verdictCodes,
} from './expressions.js';
import {
  type Field,
  type FieldSpec,
  fieldSpec,
  fieldsLoadedBy,
  type Load,
  metaKeys,
  payloadBases,
  trackingKeys,
} from './fields.js';
import { icmp6Codes, icmpCodes, icmpxCodes, nameOf } from './names.js';
import type { Family } from './ruleset.js';
import type { Key, Match, NatFlag, NumberOrRange, Operator, Statement, Tuple, Value, Verdict } from './statement.js';
import { formatInterval, hostToBig, maskLength } from './values.js';

/** A set as rules refer to it. */
export interface KnownSet {
  readonly shape: SetShape;
  readonly anonymous: boolean;
  readonly entries: readonly Entry[];
}

/** What is in a register. */
type Content =
  | {
      readonly kind: 'field';
      readonly load: Load;
      readonly bytes: number;
      readonly mask?: Uint8Array;
      readonly swapped?: boolean;
    }
  | { readonly kind: 'constant'; readonly value: Uint8Array };

interface State {
  readonly family: Family;
  readonly sets: ReadonlyMap<string, KnownSet>;
  readonly registers: Map<number, Content>;
  readonly statements: Statement[];
  network: 'ip' | 'ip6' | 'arp' | undefined;
  transport: number | undefined;
}

/** Thrown where an expression is not one of ours; the rest of the rule is then shown as it is. */
class NotUnderstood extends Error {}

/** Statements of a rule. From the first expression on that is not understood, all that follow are one `unknown`. */
export function interpretRule(
  family: Family,
  expressions: readonly Expression[],
  sets: ReadonlyMap<string, KnownSet>,
): readonly Statement[] {
  const state: State = {
    family,
    sets,
    registers: new Map(),
    statements: [],
    network: familyNetwork(family),
    transport: undefined,
  };
  let done = 0;
  for (let index = 0; index < expressions.length; index++) {
    const before = state.statements.length;
    try {
      index += interpret(state, expressions, index);
    } catch (error) {
      if (!(error instanceof NotUnderstood)) throw error;
      state.statements.length = before;
      state.statements.push({ kind: 'unknown', expressions: expressions.slice(done).map(nameOfExpression) });
      return state.statements;
    }
    if (state.statements.length > before || !isLoad(expressions[index])) done = index + 1;
  }
  if (done < expressions.length) {
    state.statements.push({ kind: 'unknown', expressions: expressions.slice(done).map(nameOfExpression) });
  }
  return state.statements;
}

function isLoad(expression: Expression | undefined): boolean {
  const name = expression?.name;
  return (
    name === 'payload' ||
    name === 'meta' ||
    name === 'ct' ||
    name === 'fib' ||
    name === 'socket' ||
    name === 'bitwise' ||
    name === 'byteorder' ||
    name === 'immediate'
  );
}

function nameOfExpression(expression: Expression): string {
  return expression.name === 'other' ? expression.kind : expression.name;
}

/** Returns how many expressions after this one belong to it. */
function interpret(state: State, expressions: readonly Expression[], index: number): number {
  const expression = expressions[index];
  if (!expression) return 0;
  switch (expression.name) {
    case 'payload':
      if (expression.sreg !== undefined) throw new NotUnderstood();
      put(state, expression.dreg, field(payloadLoad(expression), expression.len ?? 0));
      return 0;
    case 'meta':
      return interpretMeta(state, expression);
    case 'ct':
      return interpretTracking(state, expression);
    case 'fib':
      put(
        state,
        expression.dreg,
        field({ kind: 'fib', result: expression.result ?? 0, flags: expression.flags ?? 0 }, -1),
      );
      return 0;
    case 'socket':
      put(state, expression.dreg, field({ kind: 'socket', key: expression.key ?? -1 }, -1));
      return 0;
    case 'bitwise':
      return interpretBitwise(state, expression);
    case 'byteorder': {
      const content = fieldAt(state, expression.sreg);
      if (expression.sreg !== expression.dreg || expression.op !== 1) throw new NotUnderstood();
      put(state, expression.dreg, { ...content, swapped: true });
      return 0;
    }
    case 'cmp':
      return interpretCompare(state, expression, expressions[index + 1]);
    case 'range': {
      const op = expression.op === 1 ? '!=' : '==';
      pushRange(state, fieldAt(state, expression.sreg), op, constantOf(expression.from), constantOf(expression.to));
      return 0;
    }
    case 'lookup':
      return interpretLookup(state, expression, expressions[index + 1]);
    case 'immediate':
      return interpretImmediate(state, expression);
    default:
      state.statements.push(interpretStatement(state, expression));
      return 0;
  }
}

function field(load: Load, bytes: number): Content & { kind: 'field' } {
  return { kind: 'field', load, bytes };
}

function payloadLoad({ base, offset }: ExpressionOf<'payload'>): Load {
  const name = nameOf(payloadBases, base ?? -1);
  if (name === undefined || offset === undefined) throw new NotUnderstood();
  return { kind: 'payload', base: name, offset };
}

function interpretMeta(state: State, { key, dreg, sreg }: ExpressionOf<'meta'>): number {
  const name = nameOf(metaKeys, key ?? -1);
  if (name === undefined) throw new NotUnderstood();
  if (sreg === undefined) {
    put(state, dreg, field({ kind: 'meta', key: name }, -1));
    return 0;
  }
  const target =
    name === 'mark'
      ? 'meta mark'
      : name === 'priority'
        ? 'meta priority'
        : name === 'nftrace'
          ? 'meta nftrace'
          : undefined;
  if (target === undefined) throw new NotUnderstood();
  state.statements.push({ kind: 'set', field: target, value: sourceOf(state, sreg) });
  return 0;
}

function interpretTracking(state: State, { key, dreg, sreg, direction }: ExpressionOf<'ct'>): number {
  const name = nameOf(trackingKeys, key ?? -1);
  if (name === undefined) throw new NotUnderstood();
  if (sreg !== undefined) {
    if (name !== 'mark') throw new NotUnderstood();
    state.statements.push({ kind: 'set', field: 'ct mark', value: sourceOf(state, sreg) });
    return 0;
  }
  if (direction !== undefined && direction > 1) throw new NotUnderstood();
  const towards = direction as 0 | 1 | undefined;
  put(state, dreg, field({ kind: 'ct', key: name, ...(towards !== undefined && { direction: towards }) }, -1));
  return 0;
}

function sourceOf(state: State, sreg: number): number | 'meta mark' | 'ct mark' {
  const content = state.registers.get(indexOf(sreg));
  if (content?.kind === 'constant') return dataTypes.integer32.format(content.value) as number;
  if (content?.kind === 'field' && !content.mask && !content.swapped) {
    const { load } = content;
    if (load.kind === 'meta' && load.key === 'mark') return 'meta mark';
    if (load.kind === 'ct' && load.key === 'mark') return 'ct mark';
  }
  throw new NotUnderstood();
}

function interpretBitwise(state: State, expression: ExpressionOf<'bitwise'>): number {
  const content = fieldAt(state, expression.sreg);
  const mask = constantOf(expression.mask);
  const isMask = (expression.op ?? 0) === 0 && constantOf(expression.xor).every((byte) => byte === 0);
  if (!isMask || expression.sreg !== expression.dreg || content.mask || content.swapped) throw new NotUnderstood();
  put(state, expression.dreg, { ...content, mask });
  return 0;
}

function interpretCompare(state: State, expression: ExpressionOf<'cmp'>, next: Expression | undefined): number {
  const content = fieldAt(state, expression.sreg);
  const op = nameOf(compareOps, expression.op ?? -1);
  const value = constantOf(expression.data);
  if (op === undefined) throw new NotUnderstood();
  if (op === '>=' && next?.name === 'cmp' && next.sreg === expression.sreg && next.op === compareOps['<=']) {
    pushRange(state, content, '==', value, constantOf(next.data));
    return 1;
  }
  pushComparison(state, content, op, value);
  return 0;
}

function pushComparison(state: State, content: Content & { kind: 'field' }, op: Operator, value: Uint8Array): void {
  if (op === '==' && pushMerged(state, content, value)) return;
  const { name, spec, type } = resolve(state, content, value.length);
  const { mask } = content;
  if (spec.bits) {
    pushBits(state, name, spec.bits, mask, op, value);
    return;
  }
  if (type.flags) {
    pushFlags(state, name, type, mask, op, value);
    return;
  }
  if (type.name === 'ifname' && value.length < type.bytes) {
    pushMatch(state, name, { op, value: `${Buffer.from(value).toString()}*` });
    return;
  }
  const full = widened(type, value);
  const bytes = content.swapped ? hostToBig(full) : full;
  if (mask && type.name === 'mark' && !content.swapped) {
    pushMatch(state, name, { op, value: type.format(bytes), mask: type.format(mask) as number });
    return;
  }
  const length = prefixLength(type, mask, value);
  if (length !== undefined) {
    pushMatch(state, name, { op, value: `${type.format(bytes)}/${length}` });
    return;
  }
  if (mask || (content.swapped && type.order !== 'host')) throw new NotUnderstood();
  if (type.order === 'host' && !content.swapped && op !== '==' && op !== '!=') throw new NotUnderstood();
  pushMatch(state, name, { op, value: type.format(bytes) });
}

/** nft compares fields that are beside each other in the packet as one; here they are several again. */
function pushMerged(state: State, content: Content & { kind: 'field' }, value: Uint8Array): boolean {
  const { load, bytes, mask } = content;
  if (load.kind !== 'payload' || mask || value.length !== bytes || bytes < 2) return false;
  if (candidatesOf(load, bytes).some((one) => isCertain(state, one) || !fieldSpec(one).needs)) return false;
  const parts: { readonly name: Field; readonly value: Uint8Array }[] = [];
  for (let done = 0; done < bytes; ) {
    const part = { ...load, offset: load.offset + done };
    const size = [16, 6, 4, 2, 1].find((one) => one <= bytes - done && certainField(state, part, one) !== undefined);
    const name = size === undefined ? undefined : certainField(state, part, size);
    if (size === undefined || name === undefined) return false;
    parts.push({ name, value: value.slice(done, done + size) });
    done += size;
  }
  if (parts.length < 2) return false;
  for (const { name, value: part } of parts) {
    pushMatch(state, name, { op: '==', value: dataTypes[fieldSpec(name).type].format(part) });
  }
  return true;
}

/** A field that fills these bytes of the packet. */
function certainField(state: State, load: Load, bytes: number): Field | undefined {
  return candidatesOf(load, bytes).find((one) => isCertain(state, one) && fieldSpec(one).bits === undefined);
}

function candidatesOf(load: Load, bytes: number): readonly Field[] {
  return fieldsLoadedBy(load, (type) => dataTypes[type].bytes, bytes);
}

/** A prefix is a mask, or whole bytes of the address. */
function prefixLength(type: DataType, mask: Uint8Array | undefined, value: Uint8Array): number | undefined {
  if (!type.prefixes) return undefined;
  if (mask) return maskLength(mask) ?? fail();
  return value.length < type.bytes ? value.length * 8 : undefined;
}

function fail(): never {
  throw new NotUnderstood();
}

function widened(type: DataType, value: Uint8Array): Uint8Array {
  if (value.length === type.bytes) return value;
  if (!type.prefixes || value.length > type.bytes) throw new NotUnderstood();
  const bytes = new Uint8Array(type.bytes);
  bytes.set(value);
  return bytes;
}

function pushBits(
  state: State,
  name: Field,
  bits: { readonly mask: number; readonly shift: number },
  mask: Uint8Array | undefined,
  op: Operator,
  value: Uint8Array,
): void {
  if (mask?.length !== 1 || mask[0] !== bits.mask || (op !== '==' && op !== '!=')) throw new NotUnderstood();
  pushMatch(state, name, { op, value: (value[0] ?? 0) >> bits.shift });
}

function pushFlags(
  state: State,
  name: Field,
  type: DataType,
  mask: Uint8Array | undefined,
  op: Operator,
  value: Uint8Array,
): void {
  if (op !== '==' && op !== '!=') throw new NotUnderstood();
  const isZero = value.every((byte) => byte === 0);
  if (mask && isZero) {
    const words = flagWords(type, mask) ?? fail();
    pushMatch(state, name, {
      op: op === '!=' ? '==' : '!=',
      value: words.length === 1 && words[0] ? words[0] : words,
    });
    return;
  }
  const words = isZero ? [] : (flagWords(type, value) ?? fail());
  const among = mask ? (flagWords(type, mask) ?? fail()) : Object.keys(type.flags ?? {});
  pushMatch(state, name, { op, value: words.length === 1 && words[0] ? words[0] : words, mask: among });
}

function pushRange(
  state: State,
  content: Content & { kind: 'field' },
  op: '==' | '!=',
  from: Uint8Array,
  to: Uint8Array,
): void {
  const { name, spec, type } = resolve(state, content, from.length);
  if (content.mask || spec.bits || !type.ranges || from.length !== type.bytes || to.length !== type.bytes)
    throw new NotUnderstood();
  if ((type.order === 'host') !== (content.swapped ?? false)) throw new NotUnderstood();
  const order = (bytes: Uint8Array) => (content.swapped ? hostToBig(bytes) : bytes);
  const value = formatRange(type, order(from), order(to));
  pushMatch(state, name, { op, value });
}

/** A comparison with a range is written as one, also where a prefix would be the same. */
function formatRange(type: DataType, from: Uint8Array, to: Uint8Array): string {
  if (type.prefixes || type.name === 'ether_addr') return `${type.format(from)}-${type.format(to)}`;
  const written = formatInterval(type, { from, to });
  return typeof written === 'string' ? written : `${written}-${written}`;
}

interface Resolved {
  readonly name: Field;
  readonly spec: FieldSpec;
  readonly type: DataType;
}

/** Which field a load means, by what is known of the packet. */
function resolve(state: State, content: Content & { kind: 'field' }, bytes: number): Resolved {
  const size = content.load.kind === 'payload' ? content.bytes : -1;
  const candidates = fieldsLoadedBy(content.load, (type) => dataTypes[type].bytes, size);
  const name =
    candidates.find((one) => isCertain(state, one)) ??
    candidates.find((one) => fieldSpec(one).needs === undefined) ??
    shorterField(state, content, bytes);
  if (name === undefined) throw new NotUnderstood();
  const spec = fieldSpec(name);
  return { name, spec, type: dataTypes[spec.type] };
}

/** nft loads only the first bytes of an address where its prefix ends with a byte. */
function shorterField(state: State, content: Content & { kind: 'field' }, bytes: number): Field | undefined {
  if (content.load.kind !== 'payload' || bytes !== content.bytes) return undefined;
  for (const size of [4, 16]) {
    if (size <= content.bytes) continue;
    const found = fieldsLoadedBy(content.load, (type) => dataTypes[type].bytes, size).find(
      (one) => isCertain(state, one) && dataTypes[fieldSpec(one).type].prefixes,
    );
    if (found) return found;
  }
  return undefined;
}

function isCertain(state: State, name: Field): boolean {
  const { needs } = fieldSpec(name);
  if (!needs) return false;
  if (needs.network !== undefined && needs.network !== state.network) return false;
  return needs.transport === undefined || needs.transport === state.transport;
}

type MatchRest = Pick<Match, 'op' | 'value' | 'mask'>;

function pushMatch(state: State, name: Key, rest: MatchRest): void {
  const list = typeof name === 'string' ? [name] : name;
  dropImplied(state, list);
  state.statements.push({ kind: 'match', key: name, ...rest });
  if (typeof name === 'string') learn(state, name, rest);
}

function learn(state: State, name: Field, { op, value, mask }: MatchRest): void {
  if (op !== '==' || mask !== undefined) return;
  if (name === 'meta nfproto') state.network = value === 'ipv4' ? 'ip' : 'ip6';
  if ((name === 'meta protocol' || name === 'ether type') && (value === 'ip' || value === 'ip6' || value === 'arp')) {
    state.network = value;
  }
  if (name === 'meta l4proto' || name === 'ip protocol') {
    if (!Array.isArray(value)) state.transport = numberOf(value);
  }
}

function numberOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  try {
    return dataTypes.inet_proto.parse(value, 'value')[0];
  } catch {
    return undefined; // a range
  }
}

/** Comparisons right before that only say what these fields imply. */
function dropImplied(state: State, list: readonly Field[]): void {
  const needs = list.flatMap((name) => fieldSpec(name).needs ?? []);
  for (let last = state.statements.at(-1); last; last = state.statements.at(-1)) {
    const statement = last;
    if (!needs.some((need) => isImplied(state, statement, need))) return;
    state.statements.pop();
  }
}

function isImplied(state: State, statement: Statement, needs: NonNullable<FieldSpec['needs']>): boolean {
  if (statement.kind !== 'match' || statement.op !== '==' || typeof statement.key !== 'string') return false;
  const { key, value } = statement;
  if (needs.transport !== undefined && key === 'meta l4proto') return numberOf(value) === needs.transport;
  if (needs.link && key === 'iiftype') return value === 'ether';
  // What is above a network protocol is looked at in both, where it is not said which.
  if (needs.network === undefined) return false;
  if (key === 'meta nfproto') return state.family === 'inet' && value === (needs.network === 'ip' ? 'ipv4' : 'ipv6');
  const isFrame = state.family === 'bridge' || state.family === 'netdev';
  return (key === 'meta protocol' || key === 'ether type') && isFrame && value === needs.network;
}

function interpretLookup(state: State, expression: ExpressionOf<'lookup'>, next: Expression | undefined): number {
  const set = state.sets.get(expression.set ?? '');
  if (!set) throw new NotUnderstood();
  const key = keyAt(state, expression.sreg, set.shape);
  const name = `@${expression.set ?? ''}` as const;
  if (expression.dreg === undefined) {
    const op = (expression.flags ?? 0) & 1 ? '!=' : '==';
    pushMatch(state, key, { op, value: set.anonymous ? listValues(set) : name });
    return 0;
  }
  const list = typeof key === 'string' ? [key] : key;
  dropImplied(state, list);
  if (expression.dreg === 0) {
    if (set.shape.data !== 'verdict') throw new NotUnderstood();
    state.statements.push({ kind: 'vmap', key, map: set.anonymous ? verdictEntries(set) : name });
    return 0;
  }
  if (next?.name !== 'nat') throw new NotUnderstood();
  state.statements.push(natByLookup(next, key, set, name));
  return 1;
}

/** The fields that a set's key is made of. */
function keyAt(state: State, sreg: number | undefined, shape: SetShape): Key {
  let index = indexOf(sreg);
  const list = shape.key.map((type): Field => {
    const content = state.registers.get(index);
    if (content?.kind !== 'field' || content.mask) throw new NotUnderstood();
    index += Math.ceil(type.bytes / 4);
    const found = resolve(state, content, type.bytes);
    if (found.type.bytes !== type.bytes) throw new NotUnderstood();
    return found.name;
  });
  const [only] = list;
  return list.length === 1 && only ? only : list;
}

function listValues(set: KnownSet): readonly (Value | Tuple)[] {
  const isFlags = set.shape.key.length === 1 && set.shape.key[0]?.flags !== undefined;
  return set.entries.map(({ key }) => {
    if (key === 'others') throw new NotUnderstood();
    const value = formatKey(set.shape.key, key) as Value | Tuple;
    return isFlags && !Array.isArray(value) ? [value as Value] : value;
  });
}

function entryValue(set: KnownSet, { key }: Entry): Value | Tuple {
  return key === 'others' ? '*' : (formatKey(set.shape.key, key) as Value | Tuple);
}

function verdictEntries(set: KnownSet): readonly { value: Value | Tuple; verdict: Verdict }[] {
  return set.entries.map((entry) => ({ value: entryValue(set, entry), verdict: verdictOf(entry.data) }));
}

/** The verdict that data is. */
export function verdictOf(data: Data | undefined): Verdict {
  if (!data || !('verdict' in data)) throw new NotUnderstood();
  const kind = nameOf(verdictCodes, data.verdict);
  if (kind === undefined) throw new NotUnderstood();
  if (kind === 'jump' || kind === 'goto') return { kind, chain: data.chain ?? fail() };
  return { kind };
}

function natByLookup(nat: ExpressionOf<'nat'>, key: Key, set: KnownSet, name: `@${string}`): Statement {
  const types = set.shape.data;
  if (!Array.isArray(types)) throw new NotUnderstood();
  const withPort = types.length === 2;
  const map = set.anonymous
    ? set.entries.map((entry) => ({
        value: entryValue(set, entry),
        ...natTarget(types as readonly DataType[], entry.data),
      }))
    : name;
  const flags = natFlagList(nat.flags);
  return {
    kind: nat.type === 0 ? 'snat' : 'dnat',
    family: nat.family === 2 ? 'ip' : 'ip6',
    lookup: { key, gives: withPort ? 'address . port' : 'address', map },
    ...(flags && { flags }),
  };
}

function natTarget([address, port]: readonly DataType[], data: Data | undefined): { address: string; port?: number } {
  if (!data || !('value' in data) || !address) throw new NotUnderstood();
  const text = address.format(data.value.subarray(0, address.bytes)) as string;
  if (!port) return { address: text };
  return { address: text, port: port.format(data.value.subarray(address.bytes, address.bytes + port.bytes)) as number };
}

function interpretImmediate(state: State, { dreg, data }: ExpressionOf<'immediate'>): number {
  if (dreg === 0) state.statements.push(verdictOf(data));
  else put(state, dreg, { kind: 'constant', value: constantOf(data) });
  return 0;
}

function interpretStatement(state: State, expression: Expression): Statement {
  switch (expression.name) {
    case 'counter':
      return { kind: 'counter', packets: expression.packets ?? 0, bytes: expression.bytes ?? 0 };
    case 'quota':
      return {
        kind: 'quota',
        bytes: expression.bytes ?? 0,
        used: expression.consumed ?? 0,
        over: isInverted(expression.flags),
      };
    case 'limit':
      return limitOf(expression);
    case 'connlimit':
      return { kind: 'ct count', count: expression.count ?? 0, over: isInverted(expression.flags) };
    case 'objref': {
      const kind = nameOf(objectTypes, expression.type ?? -1);
      if (kind === undefined) throw new NotUnderstood();
      return { kind, name: expression.object ?? fail() } as Statement;
    }
    case 'log':
      return logOf(expression);
    case 'reject':
      return rejectOf(state, expression);
    case 'masq':
    case 'redir': {
      const port = portAt(state, expression.protoMin, expression.protoMax);
      const flags = natFlagList(expression.flags);
      const kind = expression.name === 'masq' ? 'masquerade' : 'redirect';
      return { kind, ...(port !== undefined && { port }), ...(flags && { flags }) };
    }
    case 'nat':
      return natOf(state, expression);
    case 'tproxy':
      return tproxyOf(state, expression);
    case 'notrack':
      return { kind: 'notrack' };
    case 'dynset':
      return setUpdateOf(state, expression);
    case 'queue': {
      const { num = 0, total = 1, flags = 0 } = expression;
      const list = [...(flags & 1 ? ['bypass' as const] : []), ...(flags & 2 ? ['fanout' as const] : [])];
      return {
        kind: 'queue',
        num: total > 1 ? `${num}-${num + total - 1}` : num,
        ...(list.length > 0 && { flags: list }),
      };
    }
    default:
      throw new NotUnderstood();
  }
}

function isInverted(flags: number | undefined): boolean {
  return ((flags ?? 0) & 1) === 1;
}

export function limitOf({ rate, unit, burst, type, flags }: ExpressionOf<'limit'>): Statement & { kind: 'limit' } {
  const per = nameOf(periods, unit ?? -1);
  if (per === undefined) throw new NotUnderstood();
  return {
    kind: 'limit',
    rate: rate ?? 0,
    unit: type === 1 ? 'bytes' : 'packets',
    per,
    burst: burst ?? 0,
    over: isInverted(flags),
  };
}

function logOf({ prefix, group, snaplen, qthreshold, level, flags }: ExpressionOf<'log'>): Statement {
  if (flags) throw new NotUnderstood();
  // The kernel tells of its defaults too.
  const word = group === undefined && level !== undefined && level !== 4 ? (logLevels[level] ?? fail()) : undefined;
  return {
    kind: 'log',
    ...(prefix !== undefined && { prefix }),
    ...(word !== undefined && { level: word }),
    ...(group !== undefined && { group }),
    ...(snaplen !== undefined && snaplen > 0 && { snaplen }),
    ...(qthreshold !== undefined && qthreshold > 0 && { queueThreshold: qthreshold }),
  };
}

function rejectOf(state: State, { type, code }: ExpressionOf<'reject'>): Statement {
  if (type === 1) {
    dropReset(state);
    return { kind: 'reject', with: 'tcp reset' };
  }
  if (type === 2) return { kind: 'reject', with: `icmpx ${nameOf(icmpxCodes, code ?? -1) ?? fail()}` };
  const isIp = state.network === 'ip';
  const last = state.statements.at(-1);
  if (state.family === 'inet' && last?.kind === 'match' && last.key === 'meta nfproto' && last.op === '==')
    state.statements.pop();
  if (isIp) return { kind: 'reject', with: `icmp ${nameOf(icmpCodes, code ?? -1) ?? fail()}` };
  if (state.network !== 'ip6') throw new NotUnderstood();
  return { kind: 'reject', with: `icmpv6 ${nameOf(icmp6Codes, code ?? -1) ?? fail()}` };
}

/** That the packet is of TCP is implied by the answer. */
function dropReset(state: State): void {
  const last = state.statements.at(-1);
  if (last?.kind === 'match' && last.key === 'meta l4proto' && last.op === '==' && last.value === 'tcp')
    state.statements.pop();
}

function natFlagList(bits: number | undefined): readonly NatFlag[] | undefined {
  const known = Object.entries(natFlagBits) as [NatFlag, number][];
  const given = bits ?? 0;
  const rest = known.reduce((sum, [, bit]) => sum & ~bit, given & ~3);
  if (rest !== 0) throw new NotUnderstood();
  const list = known.filter(([, bit]) => given & bit).map(([flag]) => flag);
  return list.length > 0 ? list : undefined;
}

function portAt(state: State, min: number | undefined, max: number | undefined): NumberOrRange | undefined {
  if (min === undefined) return undefined;
  const type = dataTypes.inet_service;
  const from = constantAt(state, min, 2);
  return formatInterval(type, { from, to: max === undefined ? from : constantAt(state, max, 2) }) as NumberOrRange;
}

function natOf(
  state: State,
  { type, family, addrMin, addrMax, protoMin, protoMax, flags }: ExpressionOf<'nat'>,
): Statement {
  const isIp = family === 2;
  const kind = isIp ? dataTypes.ipv4_addr : dataTypes.ipv6_addr;
  const from = addrMin === undefined ? undefined : constantAt(state, addrMin, kind.bytes);
  const to = addrMax === undefined ? from : constantAt(state, addrMax, kind.bytes);
  const port = portAt(state, protoMin, protoMax);
  const list = natFlagList(flags);
  return {
    kind: type === 0 ? 'snat' : 'dnat',
    family: isIp ? 'ip' : 'ip6',
    ...(from &&
      to && {
        address: Buffer.compare(from, to) === 0 ? String(kind.format(from)) : `${kind.format(from)}-${kind.format(to)}`,
      }),
    ...(port !== undefined && { port }),
    ...(list && { flags: list }),
  };
}

function tproxyOf(state: State, { family, addr, port }: ExpressionOf<'tproxy'>): Statement {
  const isIp = family === 2;
  if (family !== 2 && family !== 10) throw new NotUnderstood();
  const type = isIp ? dataTypes.ipv4_addr : dataTypes.ipv6_addr;
  return {
    kind: 'tproxy',
    family: isIp ? 'ip' : 'ip6',
    ...(addr !== undefined && { address: type.format(constantAt(state, addr, type.bytes)) as string }),
    ...(port !== undefined && { port: dataTypes.inet_service.format(constantAt(state, port, 2)) as number }),
  };
}

function setUpdateOf(state: State, expression: ExpressionOf<'dynset'>): Statement {
  const set = state.sets.get(expression.set ?? '');
  const kind = nameOf(updateOps, expression.op ?? 0);
  if (!set || kind === undefined || expression.sregData !== undefined || expression.expressions?.length)
    throw new NotUnderstood();
  const key = keyAt(state, expression.sregKey, set.shape);
  dropImplied(state, typeof key === 'string' ? [key] : key);
  const { timeout } = expression;
  return { kind, set: `@${expression.set ?? ''}`, key, ...(timeout !== undefined && timeout > 0 && { timeout }) };
}

function put(state: State, dreg: number | undefined, content: Content): void {
  state.registers.set(indexOf(dreg), content);
}

function indexOf(register: number | undefined): number {
  return (register === undefined ? undefined : registerIndex(register)) ?? fail();
}

function fieldAt(state: State, register: number | undefined): Content & { kind: 'field' } {
  const content = state.registers.get(indexOf(register));
  return content?.kind === 'field' ? content : fail();
}

function constantAt(state: State, register: number, bytes: number): Uint8Array {
  const content = state.registers.get(indexOf(register));
  if (content?.kind !== 'constant' || content.value.length < bytes) throw new NotUnderstood();
  return content.value.subarray(0, bytes);
}

function constantOf(data: Data | undefined): Uint8Array {
  return data && 'value' in data ? data.value : fail();
}
