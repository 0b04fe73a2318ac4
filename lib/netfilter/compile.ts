/** Statements as the kernel's expressions. Pure: nothing here talks to the kernel. */

import { OptionError } from '../errors.js';
import { nearestOf } from '../nearest.js';
import { type DataType, dataTypes, flagBits, flagWords, numberBytes } from './data-types.js';
import { type Entry, isSwapped, paddedLength, type SetShape } from './elements.js';
import {
  compareOps,
  type Data,
  type Expression,
  register,
  registerCount,
  verdictCodes,
  verdictRegister,
} from './expressions.js';
import {
  type Field,
  type FieldSpec,
  fieldSpec,
  fields,
  isField,
  metaKeys,
  payloadBases,
  trackingKeys,
} from './fields.js';
import type { Family } from './ruleset.js';
import type { Key, Match, SetReference, Value, Verdict, VerdictMap } from './statement.js';
import { hostToBig, type Interval, isSingle, maskLength, parseInterval } from './values.js';

/** A set without a name, which belongs to its rule. */
export interface AnonymousSet {
  /** Its number in the transaction. */
  readonly id: number;
  readonly shape: SetShape;
  readonly entries: readonly Entry[];
  readonly option: string;
}

/** What is known while one rule is compiled. */
export interface RuleContext {
  readonly family: Family;
  /** The shapes of the table's sets, by name. */
  readonly sets: ReadonlyMap<string, SetShape>;
  readonly expressions: Expression[];
  readonly anonymous: AnonymousSet[];
  /** A number for an anonymous set that no other one of the transaction has. */
  nextSetId(): number;
  /** What has been found out of the packet by the statements before. */
  network?: 'ip' | 'ip6' | 'arp' | undefined;
  transport?: number | undefined;
  link?: boolean | undefined;
  /** Whether the protocol has been looked at, be it one of several. */
  protocolSeen?: boolean;
}

export const anonymousSetName = '__set%d';
export const anonymousMapName = '__map%d';

const networkProtocols = { ip: 2, ip6: 10, arp: 3 } as const;
const etherTypes = { ip: 0x0800, ip6: 0x86dd, arp: 0x0806 } as const;

/** What a table of one family only sees. */
export function familyNetwork(family: Family): 'ip' | 'ip6' | 'arp' | undefined {
  return family === 'ip' || family === 'ip6' || family === 'arp' ? family : undefined;
}

export function compileMatch(context: RuleContext, match: Match, option: string): void {
  const list = keyFields(match.key, `${option}.key`);
  if (list.length > 1) {
    compileConcatenation(context, match, list, option);
    return;
  }
  const field = list[0] as Field;
  const spec = fieldSpec(field);
  const type = dataTypes[spec.type] as DataType;
  load(context, list, undefined, `${option}.key`);
  if (isReference(match.value)) lookupNamed(context, match, list, match.value, option);
  else if (type.flags) compareFlags(context, match, type, option);
  else if (Array.isArray(match.value)) lookupList(context, match, list, match.value as readonly Value[], option);
  else compareValue(context, match, spec, type, option);
  learn(context, field, match);
}

/** What a match says about the protocols of the packet, for those that follow. */
function learn(context: RuleContext, field: Field, { op, value, mask }: Match): void {
  if (op !== '==' || mask !== undefined || Array.isArray(value)) return;
  if (field === 'meta nfproto') context.network = value === 'ipv4' ? 'ip' : 'ip6';
  if (field === 'meta protocol' || field === 'ether type') {
    if (value === 'ip' || value === 'ip6' || value === 'arp') context.network = value;
  }
  if (field === 'iiftype' && value === 'ether') context.link = true;
  if (field === 'meta l4proto' || field === 'ip protocol' || field === 'ip6 nexthdr') {
    const protocol = dataTypes.inet_proto.parse(value, 'value')[0];
    if (field === 'meta l4proto' || field === 'ip protocol') context.transport = protocol;
  }
}

function compareFlags(context: RuleContext, match: Match, type: DataType, option: string): void {
  const { op, value, mask } = match;
  if (op !== '==' && op !== '!=') throw new OptionError(`${option}.op`, "'==' or '!=', as these are flags", op);
  if (Array.isArray(value) && value.some((one) => Array.isArray(one))) {
    if (mask !== undefined)
      throw new OptionError(`${option}.mask`, 'nothing where one of several combinations must be it', mask);
    lookupEntries(
      context,
      op,
      [type],
      value.map((one, index) => ({ key: [bitsOf(type, one, `${option}.value[${index}]`)] })),
      option,
    );
    return;
  }
  const bits = flagBits(type, value, `${option}.value`);
  if (mask === undefined) {
    if (bits.every((byte) => byte === 0)) throw new OptionError(`${option}.value`, 'at least one flag', value);
    bitwise(context, bits);
    compare(context, op === '==' ? '!=' : '==', new Uint8Array(type.bytes));
    return;
  }
  if (!Array.isArray(mask)) throw new OptionError(`${option}.mask`, 'a list of flags', mask);
  const masked = flagBits(type, mask, `${option}.mask`);
  if (bits.some((byte, index) => byte & ~(masked[index] ?? 0))) {
    throw new OptionError(`${option}.value`, 'flags that are in the mask', value);
  }
  if (flagWords(type, masked)?.length !== Object.keys(type.flags ?? {}).length) bitwise(context, masked);
  compare(context, op, bits);
}

function bitsOf(type: DataType, value: unknown, option: string): Interval {
  const bits = flagBits(type, value, option);
  return { from: bits, to: bits };
}

function compareValue(context: RuleContext, match: Match, spec: FieldSpec, type: DataType, option: string): void {
  const { op, mask } = match;
  const interval = parseInterval(type, match.value, `${option}.value`);
  if (spec.bits) {
    compareBits(context, match, spec.bits, interval, option);
    return;
  }
  if (mask !== undefined) {
    if (type.name !== 'mark' || typeof mask !== 'number') {
      throw new OptionError(`${option}.mask`, type.name === 'mark' ? 'a whole number' : 'nothing for this field', mask);
    }
    bitwise(context, type.parse(mask, `${option}.mask`));
  }
  const isRange = !isSingle(interval);
  if (op === '==' || op === '!=') {
    if (!isRange) {
      compare(context, op, interval.from);
      return;
    }
    if (mask !== undefined) throw new OptionError(`${option}.value`, 'one number where there is a mask', match.value);
    compareInterval(context, op, type, interval);
    return;
  }
  if (isRange || !type.ranges) {
    throw new OptionError(
      isRange ? `${option}.value` : `${option}.op`,
      isRange ? 'one value to compare with' : "'==' or '!='",
      isRange ? match.value : op,
    );
  }
  compare(context, op, toPacketOrder(context, type, interval.from));
}

/** Numbers of this machine are compared in the packet's order. */
function toPacketOrder(context: RuleContext, type: DataType, bytes: Uint8Array): Uint8Array {
  if (type.order !== 'host') return bytes;
  swap(context, 0, type.bytes);
  return hostToBig(bytes);
}

function compareInterval(context: RuleContext, op: '==' | '!=', type: DataType, { from, to }: Interval): void {
  if (type.name === 'ifname') {
    const length = from.findIndex((byte, index) => byte !== to[index]);
    compare(context, op, from.subarray(0, length));
    return;
  }
  const mask = Uint8Array.from(from, (byte, index) => ~(byte ^ (to[index] ?? 0)) & 0xff);
  const length = type.prefixes ? maskLength(mask) : undefined;
  if (length !== undefined) {
    bitwise(context, mask);
    compare(context, op, from);
    return;
  }
  const swapped = type.order === 'host';
  if (swapped) swap(context, 0, type.bytes);
  context.expressions.push({
    name: 'range',
    sreg: register(0),
    op: op === '==' ? 0 : 1,
    from: { value: swapped ? hostToBig(from) : from },
    to: { value: swapped ? hostToBig(to) : to },
  });
}

function compareBits(
  context: RuleContext,
  { op, value }: Match,
  bits: { readonly mask: number; readonly shift: number },
  { from, to }: Interval,
  option: string,
): void {
  const most = bits.mask >> bits.shift;
  const number = from[0] ?? 0;
  if (op !== '==' && op !== '!=') throw new OptionError(`${option}.op`, "'==' or '!='", op);
  if (from[0] !== to[0] || number > most)
    throw new OptionError(`${option}.value`, `one whole number from 0 to ${most}`, value);
  bitwise(context, Uint8Array.of(bits.mask));
  compare(context, op, Uint8Array.of(number << bits.shift));
}

function compileConcatenation(context: RuleContext, match: Match, list: readonly Field[], option: string): void {
  if (match.mask !== undefined) throw new OptionError(`${option}.mask`, 'nothing for several fields', match.mask);
  if (isReference(match.value)) {
    lookupNamed(context, match, list, match.value, option);
    return;
  }
  if (!Array.isArray(match.value)) {
    throw new OptionError(`${option}.value`, 'a list of tuples, or the name of a set', match.value);
  }
  lookupList(context, match, list, match.value, option);
}

/** The statements' list of values, as a set without a name. */
function lookupList(
  context: RuleContext,
  match: Match,
  list: readonly Field[],
  values: readonly unknown[],
  option: string,
): void {
  const types = fieldTypes(list, `${option}.key`);
  if (values.length === 0) throw new OptionError(`${option}.value`, 'at least one value', values);
  if (match.mask !== undefined)
    throw new OptionError(`${option}.mask`, 'nothing where there are several values', match.mask);
  const entries = values.map((value, index) => ({ key: parseKey(types, value, `${option}.value[${index}]`) }));
  lookupEntries(context, match.op, types, entries, option, list);
}

function lookupEntries(
  context: RuleContext,
  op: Match['op'],
  types: readonly DataType[],
  entries: readonly Entry[],
  option: string,
  list?: readonly Field[],
): void {
  if (op !== '==' && op !== '!=')
    throw new OptionError(`${option}.op`, "'==' or '!=' where there are several values", op);
  const shape: SetShape = { key: types, intervals: needIntervals(entries) };
  const set = addAnonymous(context, shape, entries, `${option}.value`);
  if (types.length > 1 && list) load(context, list, shape, `${option}.key`);
  else swapForIntervals(context, shape);
  context.expressions.push({
    name: 'lookup',
    set: anonymousSetName,
    setId: set.id,
    sreg: register(0),
    ...(op === '!=' && { flags: 1 }),
  });
}

function lookupNamed(
  context: RuleContext,
  match: Match,
  list: readonly Field[],
  reference: SetReference,
  option: string,
): void {
  const { op, mask } = match;
  if (op !== '==' && op !== '!=') throw new OptionError(`${option}.op`, "'==' or '!=' for a set", op);
  if (mask !== undefined) throw new OptionError(`${option}.mask`, 'nothing for a set', mask);
  const { name, shape } = namedShape(context, reference, list, `${option}.value`);
  if (list.length > 1) load(context, list, shape, `${option}.key`);
  else swapForIntervals(context, shape);
  context.expressions.push({ name: 'lookup', set: name, sreg: register(0), ...(op === '!=' && { flags: 1 }) });
}

export function compileVerdictMap(context: RuleContext, { key, map }: VerdictMap, option: string): void {
  const list = keyFields(key, `${option}.key`);
  if (isReference(map)) {
    const { name, shape } = namedShape(context, map, list, `${option}.map`);
    if (shape.data !== 'verdict') throw new OptionError(`${option}.map`, 'the name of a map of verdicts', map);
    load(context, list, shape, `${option}.key`);
    context.expressions.push({ name: 'lookup', set: name, sreg: register(0), dreg: verdictRegister });
    return;
  }
  const types = fieldTypes(list, `${option}.key`);
  if (!Array.isArray(map) || map.length === 0)
    throw new OptionError(`${option}.map`, "a list of entries, or the name of a map ('@name')", map);
  const entries = map.map(({ value, verdict }, index): Entry => {
    const place = `${option}.map[${index}]`;
    const parsed = value === '*' ? 'others' : parseKey(types, value, `${place}.value`);
    return { key: parsed, data: verdictData(verdict, `${place}.verdict`) };
  });
  const shape: SetShape = { key: types, intervals: needIntervals(entries), data: 'verdict' };
  load(context, list, shape, `${option}.key`);
  const set = addAnonymous(context, shape, entries, `${option}.map`);
  context.expressions.push({
    name: 'lookup',
    set: anonymousMapName,
    setId: set.id,
    sreg: register(0),
    dreg: verdictRegister,
  });
}

export function addAnonymous(
  context: RuleContext,
  shape: SetShape,
  entries: readonly Entry[],
  option: string,
): AnonymousSet {
  const set: AnonymousSet = { id: context.nextSetId(), shape, entries, option };
  context.anonymous.push(set);
  return set;
}

export function needIntervals(entries: readonly Entry[]): boolean {
  return entries.some(({ key }) => key !== 'others' && key.some((interval) => !isSingle(interval)));
}

/** A value for each field. */
export function parseKey(types: readonly DataType[], value: unknown, option: string): readonly Interval[] {
  const [only] = types;
  if (types.length === 1 && only) return [parseInterval(only, value, option)];
  if (!Array.isArray(value) || value.length !== types.length) {
    throw new OptionError(option, `a list of ${types.length} values, one for each field`, value);
  }
  return types.map((type, index) => parseInterval(type, value[index], `${option}[${index}]`));
}

export function verdictData(verdict: Verdict, option: string): Data {
  const kind: unknown = verdict?.kind;
  if (typeof kind !== 'string' || !Object.hasOwn(verdictCodes, kind)) {
    throw new OptionError(
      `${option}.kind`,
      Object.keys(verdictCodes)
        .map((word) => `'${word}'`)
        .join(' or '),
      kind,
    );
  }
  const code = verdictCodes[kind as Verdict['kind']];
  return verdict.kind === 'jump' || verdict.kind === 'goto'
    ? { verdict: code, chain: verdict.chain }
    : { verdict: code };
}

export function isReference(value: unknown): value is SetReference {
  return typeof value === 'string' && value.startsWith('@');
}

/** The shape of a named set, which must fit what is looked up in it. */
export function namedShape(
  context: RuleContext,
  reference: SetReference,
  list: readonly Field[],
  option: string,
): { readonly name: string; readonly shape: SetShape } {
  const name = reference.slice(1);
  const shape = context.sets.get(name);
  if (!shape) {
    throw new OptionError(option, 'the name of a set or map of this table', reference, {
      hint: `there are ${[...context.sets.keys()].map((one) => `@${one}`).join(', ') || 'none'}`,
    });
  }
  const types = fieldTypes(list, option);
  if (types.length !== shape.key.length || types.some((type, index) => type.bytes !== shape.key[index]?.bytes)) {
    const wanted = shape.key.map((type) => type.name).join(' . ');
    throw new OptionError(option, `a set of ${types.map((type) => type.name).join(' . ')}`, `one of ${wanted}`);
  }
  return { name, shape };
}

export function keyFields(key: Key, option: string): readonly Field[] {
  if (!Array.isArray(key)) return [readField(key, option)];
  if (key.length === 0) throw new OptionError(option, 'at least one field', key);
  return key.map((field, index) => readField(field, `${option}[${index}]`));
}

function readField(field: unknown, option: string): Field {
  if (isField(field)) return field;
  const nearest = typeof field === 'string' ? nearestOf(field, Object.keys(fields)) : undefined;
  const hint = nearest === undefined ? undefined : `did you mean '${nearest}'?`;
  throw new OptionError(option, "a field of a packet, such as 'ip saddr'", field, { hint });
}

function fieldTypes(list: readonly Field[], option: string): readonly DataType[] {
  return list.map((field, index) => {
    const spec = fieldSpec(field);
    if (spec.bits) throw new OptionError(`${option}[${index}]`, 'a field that fills whole bytes, in sets', field);
    return dataTypes[spec.type];
  });
}

const protocolFields: readonly Field[] = ['meta l4proto', 'ip protocol', 'ip6 nexthdr'];

/** Puts the fields into registers one after the other, as a set's keys have them. */
export function load(context: RuleContext, list: readonly Field[], shape: SetShape | undefined, option: string): void {
  for (const field of list) {
    require(context, field, option);
    if (protocolFields.includes(field)) context.protocolSeen = true;
  }
  let index = 0;
  for (const [place, field] of list.entries()) {
    const spec = fieldSpec(field);
    const type = dataTypes[spec.type];
    if (index + paddedLength(type) / 4 > registerCount)
      throw new OptionError(option, 'fields of 64 bytes at most', list);
    context.expressions.push(loadExpression(spec, type, register(index)));
    if (shape && isSwapped(shape, shape.key[place])) swap(context, index, type.bytes);
    index += paddedLength(type) / 4;
  }
}

function swapForIntervals(context: RuleContext, shape: SetShape): void {
  const [type] = shape.key;
  if (type && isSwapped(shape, type)) swap(context, 0, type.bytes);
}

function loadExpression({ load: from }: FieldSpec, type: DataType, dreg: number): Expression {
  switch (from.kind) {
    case 'payload':
      return { name: 'payload', dreg, base: payloadBases[from.base], offset: from.offset, len: type.bytes };
    case 'meta':
      return { name: 'meta', key: metaKeys[from.key], dreg };
    case 'ct': {
      const { direction } = from;
      return { name: 'ct', key: trackingKeys[from.key], dreg, ...(direction !== undefined && { direction }) };
    }
    case 'fib':
      return { name: 'fib', result: from.result, flags: from.flags, dreg };
    case 'socket':
      return { name: 'socket', key: from.key, dreg };
  }
}

/** What must hold before a field can be looked at is compared first, as nft does. */
function require(context: RuleContext, field: Field, option: string): void {
  const { needs } = fieldSpec(field);
  if (!needs) return;
  if (needs.link) requireLink(context, field, option);
  if (needs.network) requireNetwork(context, needs.network, field, option);
  if (needs.transport !== undefined) requireTransport(context, needs.transport, field, option);
}

function requireLink(context: RuleContext, field: Field, option: string): void {
  if (context.link || context.family === 'bridge' || context.family === 'netdev') return;
  if (context.family !== 'inet' && context.family !== 'ip' && context.family !== 'ip6') {
    throw new OptionError(option, `a field that packets of family ${context.family} have`, field);
  }
  context.expressions.push({ name: 'meta', key: metaKeys.iiftype, dreg: register(0) });
  compare(context, '==', dataTypes.iface_type.parse('ether', option));
  context.link = true;
}

function requireNetwork(context: RuleContext, wanted: 'ip' | 'ip6' | 'arp', field: Field, option: string): void {
  const known = context.network;
  if (known === wanted) return;
  const possible =
    context.family === 'inet' ? wanted !== 'arp' : context.family === 'bridge' || context.family === 'netdev';
  if (known !== undefined || !possible) {
    throw new OptionError(option, `a field of ${known ?? context.family}, which the packet is here`, field);
  }
  if (context.family === 'inet') {
    context.expressions.push({ name: 'meta', key: metaKeys.nfproto, dreg: register(0) });
    compare(context, '==', Uint8Array.of(networkProtocols[wanted]));
  } else {
    context.expressions.push({ name: 'meta', key: metaKeys.protocol, dreg: register(0) });
    compare(context, '==', numberBytes(etherTypes[wanted], 2, 'big'));
  }
  context.network = wanted;
}

function requireTransport(context: RuleContext, wanted: number, field: Field, option: string): void {
  if (context.transport === wanted) return;
  if (context.transport !== undefined) {
    const name = dataTypes.inet_proto.format(Uint8Array.of(context.transport));
    throw new OptionError(option, `a field of ${name}, which the packet is here`, field);
  }
  context.expressions.push({ name: 'meta', key: metaKeys.l4proto, dreg: register(0) });
  compare(context, '==', Uint8Array.of(wanted));
  context.transport = wanted;
}

function compare(context: RuleContext, op: keyof typeof compareOps, value: Uint8Array): void {
  context.expressions.push({ name: 'cmp', sreg: register(0), op: compareOps[op], data: { value } });
}

function bitwise(context: RuleContext, mask: Uint8Array): void {
  const zero = new Uint8Array(mask.length);
  context.expressions.push({
    name: 'bitwise',
    sreg: register(0),
    dreg: register(0),
    len: mask.length,
    mask: { value: mask },
    xor: { value: zero },
  });
}

function swap(context: RuleContext, index: number, bytes: number): void {
  const place = register(index);
  context.expressions.push({ name: 'byteorder', sreg: place, dreg: place, op: 1, len: bytes, size: bytes });
}

/** Puts a constant into a register. */
export function immediate(context: RuleContext, index: number, value: Uint8Array): number {
  const dreg = register(index);
  context.expressions.push({ name: 'immediate', dreg, data: { value } });
  return dreg;
}
