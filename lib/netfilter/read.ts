/** What the kernel tells of a ruleset, as data. Pure: messages in, tables out. */

import { Attributes } from '../netlink/attributes.js';
import type { NetlinkMessage } from '../netlink/message.js';
import { readData, readExpression, readExpressionData, readExpressions } from './attributes.js';
import type { SetTypeName } from './data-types.js';
import { type DataType, dataTypes } from './data-types.js';
import {
  type ElementFacts,
  type Entry,
  formatKey,
  paddedLength,
  type RawElement,
  readElements,
  type SetShape,
} from './elements.js';
import { type Data, type Expression, objectTypes } from './expressions.js';
import { hookName } from './hooks.js';
import { interpretRule, type KnownSet, limitOf, verdictOf } from './interpret.js';
import {
  chainAttribute,
  elementAttribute,
  elementFlag,
  elementListAttribute,
  headerBytes,
  hookAttribute,
  objectAttribute,
  ruleAttribute,
  setAttribute,
  setFlag,
  tableAttribute,
  tableFlag,
  verdictType,
} from './messages.js';
import { families, nameOf } from './names.js';
import type { Chain, Family, ListedElement, ListedObject, ListedSet, Rule, Table } from './ruleset.js';
import { readComment, readSetComment } from './user-data.js';

/** A message of nf_tables taken apart: its family and its attributes. */
export interface Part {
  readonly family: Family;
  readonly attributes: Attributes;
}

/** Undefined for a family that this library does not know. */
export function readPart(message: NetlinkMessage): Part | undefined {
  const family = nameOf(families, message.body[0] ?? 0);
  return family && { family, attributes: Attributes.after(message.body, headerBytes) };
}

/** Handles are counted from 1, and no kernel has made 2^53 of them. */
function handleOf(attributes: Attributes, type: number): number {
  return Number(attributes.u64be(type) ?? 0n);
}

export interface TableFacts {
  readonly family: Family;
  readonly name: string;
  readonly handle: number;
  readonly dormant: boolean;
  readonly owner?: number;
  readonly comment?: string;
}

export function readTableFacts({ family, attributes }: Part): TableFacts {
  const flags = attributes.u32be(tableAttribute.FLAGS) ?? 0;
  const owner = attributes.u32be(tableAttribute.OWNER);
  const comment = readComment(attributes.binary(tableAttribute.USERDATA));
  return {
    family,
    name: attributes.string(tableAttribute.NAME) ?? '',
    handle: handleOf(attributes, tableAttribute.HANDLE),
    dormant: (flags & tableFlag.DORMANT) !== 0,
    ...(owner !== undefined && { owner }),
    ...(comment !== undefined && { comment }),
  };
}

export interface ChainFacts extends Omit<Chain, 'rules'> {
  readonly family: Family;
  readonly table: string;
}

export function readChainFacts({ family, attributes }: Part): ChainFacts {
  const base = readBase(family, attributes);
  const comment = readComment(attributes.binary(chainAttribute.USERDATA));
  return {
    family,
    table: attributes.string(chainAttribute.TABLE) ?? '',
    name: attributes.string(chainAttribute.NAME) ?? '',
    handle: handleOf(attributes, chainAttribute.HANDLE),
    ...(base && { base }),
    ...(comment !== undefined && { comment }),
  };
}

function readBase(family: Family, attributes: Attributes): Chain['base'] {
  const hook = attributes.nested(chainAttribute.HOOK);
  const type = attributes.string(chainAttribute.TYPE);
  const name = hook && hookName(family, hook.u32be(hookAttribute.HOOKNUM) ?? -1);
  if (!name || (type !== 'filter' && type !== 'nat' && type !== 'route')) return undefined;
  const one = hook.string(hookAttribute.DEV);
  const listed = hook
    .nested(hookAttribute.DEVS)
    ?.each()
    .map(({ value }) => value.toString('utf8', 0, Math.max(0, value.indexOf(0))));
  const devices = listed ?? (one === undefined ? undefined : [one]);
  return {
    type,
    hook: name,
    priority: (hook.u32be(hookAttribute.PRIORITY) ?? 0) | 0,
    policy: attributes.u32be(chainAttribute.POLICY) === 0 ? 'drop' : 'accept',
    ...(devices && { devices }),
  };
}

export interface RuleFacts {
  readonly family: Family;
  readonly table: string;
  readonly chain: string;
  readonly handle: number;
  readonly expressions: readonly Expression[];
  readonly comment?: string;
}

export function readRuleFacts({ family, attributes }: Part): RuleFacts {
  const list = attributes.nested(ruleAttribute.EXPRESSIONS);
  const comment = readComment(attributes.binary(ruleAttribute.USERDATA));
  return {
    family,
    table: attributes.string(ruleAttribute.TABLE) ?? '',
    chain: attributes.string(ruleAttribute.CHAIN) ?? '',
    handle: handleOf(attributes, ruleAttribute.HANDLE),
    expressions: list ? readExpressions(list) : [],
    ...(comment !== undefined && { comment }),
  };
}

export interface SetFacts {
  readonly family: Family;
  readonly table: string;
  readonly name: string;
  readonly handle: number;
  readonly flags: number;
  /** Undefined where it has a type that this library does not know. */
  readonly shape: SetShape | undefined;
  readonly size?: number;
  readonly timeout?: number;
  readonly counter: boolean;
  readonly comment?: string;
}

export function readSetFacts({ family, attributes }: Part): SetFacts {
  const flags = attributes.u32be(setAttribute.FLAGS) ?? 0;
  const size = attributes.nested(setAttribute.DESC)?.u32be(1);
  const timeout = attributes.u64be(setAttribute.TIMEOUT);
  const each = attributes.nested(setAttribute.EXPR);
  const comment = readSetComment(attributes.binary(setAttribute.USERDATA));
  return {
    family,
    table: attributes.string(setAttribute.TABLE) ?? '',
    name: attributes.string(setAttribute.NAME) ?? '',
    handle: handleOf(attributes, setAttribute.HANDLE),
    flags,
    shape: readShape(attributes, flags),
    ...(size !== undefined && { size }),
    ...(timeout !== undefined && { timeout: Number(timeout) }),
    counter: each !== undefined && readExpression(each).name === 'counter',
    ...(comment !== undefined && { comment }),
  };
}

function readShape(attributes: Attributes, flags: number): SetShape | undefined {
  const key = typesOf(attributes.u32be(setAttribute.KEY_TYPE), attributes.u32be(setAttribute.KEY_LEN));
  if (!key) return undefined;
  const intervals = (flags & setFlag.INTERVAL) !== 0;
  if ((flags & setFlag.MAP) === 0) return { key, intervals };
  const number = attributes.u32be(setAttribute.DATA_TYPE);
  if (number === verdictType) return { key, intervals, data: 'verdict' };
  const data = typesOf(number, attributes.u32be(setAttribute.DATA_LEN));
  return data && { key, intervals, data };
}

const allTypes: readonly DataType[] = Object.values(dataTypes);

/** The types of a number of nft's: six bits for each, the last one lowest. */
function typesOf(number: number | undefined, bytes: number | undefined): readonly DataType[] | undefined {
  if (!number || bytes === undefined) return undefined;
  const numbers: number[] = [];
  for (let rest = number; rest > 0; rest = Math.floor(rest / 64)) numbers.unshift(rest % 64);
  const isOne = numbers.length === 1;
  const types = numbers.map((one) => allTypes.find((type) => type.number === one && (!isOne || type.bytes === bytes)));
  if (!types.every((type) => type !== undefined)) return undefined;
  const length = isOne ? types[0]?.bytes : types.reduce((sum, type) => sum + paddedLength(type), 0);
  return length === bytes ? types : undefined;
}

export interface ElementsFacts {
  readonly family: Family;
  readonly table: string;
  readonly set: string;
  readonly elements: readonly RawElement[];
}

export function readElementsFacts({ family, attributes }: Part): ElementsFacts {
  const list = attributes.nested(elementListAttribute.ELEMENTS);
  return {
    family,
    table: attributes.string(elementListAttribute.TABLE) ?? '',
    set: attributes.string(elementListAttribute.SET) ?? '',
    elements: list?.each().map(({ value }) => readElement(new Attributes(value))) ?? [],
  };
}

function readElement(attributes: Attributes): RawElement {
  const flags = attributes.u32be(elementAttribute.FLAGS) ?? 0;
  const key = valueIn(attributes, elementAttribute.KEY);
  const keyEnd = valueIn(attributes, elementAttribute.KEY_END);
  return {
    ...((flags & elementFlag.CATCHALL) === 0 && key && { key }),
    ...(keyEnd && { keyEnd }),
    ...((flags & elementFlag.INTERVAL_END) !== 0 && { end: true }),
    ...elementFacts(attributes),
  };
}

function elementFacts(attributes: Attributes): ElementFacts {
  const data = attributes.nested(elementAttribute.DATA);
  const timeout = attributes.u64be(elementAttribute.TIMEOUT);
  const expires = attributes.u64be(elementAttribute.EXPIRATION);
  const comment = readComment(attributes.binary(elementAttribute.USERDATA));
  const each = attributes.nested(elementAttribute.EXPR);
  const expression = each && readExpression(each);
  return {
    ...(data && { data: readData(data) }),
    ...(timeout !== undefined && { timeout: Number(timeout) }),
    ...(expires !== undefined && { expires: Number(expires) }),
    ...(comment !== undefined && { comment }),
    ...(expression?.name === 'counter' && {
      counter: { packets: expression.packets ?? 0, bytes: expression.bytes ?? 0 },
    }),
  };
}

function valueIn(attributes: Attributes, type: number): Uint8Array | undefined {
  const inside = attributes.nested(type);
  const data = inside && readData(inside);
  return data && 'value' in data ? data.value : undefined;
}

export interface ObjectFacts {
  readonly family: Family;
  readonly table: string;
  /** Undefined for a kind that this library does not know. */
  readonly object: ListedObject | undefined;
}

export function readObjectFacts({ family, attributes }: Part): ObjectFacts {
  const kind = nameOf(objectTypes, attributes.u32be(objectAttribute.TYPE) ?? -1);
  const table = attributes.string(objectAttribute.TABLE) ?? '';
  if (!kind) return { family, table, object: undefined };
  const name = attributes.string(objectAttribute.NAME) ?? '';
  const handle = handleOf(attributes, objectAttribute.HANDLE);
  const expression = readExpressionData(kind, attributes.nested(objectAttribute.DATA));
  return { family, table, object: { ...objectOf(expression), name, handle } as ListedObject };
}

function objectOf(expression: Expression): object {
  switch (expression.name) {
    case 'counter':
      return { kind: 'counter', packets: expression.packets ?? 0, bytes: expression.bytes ?? 0 };
    case 'quota': {
      const { bytes = 0, consumed = 0, flags = 0 } = expression;
      return { kind: 'quota', bytes, used: consumed, over: (flags & 1) !== 0 };
    }
    case 'limit':
      return limitOf(expression);
    default:
      return {};
  }
}

/** All that was read of a ruleset. */
export interface Facts {
  readonly tables: readonly TableFacts[];
  readonly chains: readonly ChainFacts[];
  readonly rules: readonly RuleFacts[];
  readonly sets: readonly SetFacts[];
  readonly elements: readonly ElementsFacts[];
  readonly objects: readonly ObjectFacts[];
}

/** Puts the parts together. */
export function assemble(facts: Facts): readonly Table[] {
  return facts.tables.map((table) => assembleTable(facts, table));
}

function assembleTable(facts: Facts, table: TableFacts): Table {
  const isHere = (part: { readonly family: Family; readonly table: string }) =>
    part.family === table.family && part.table === table.name;
  const known = new Map<string, KnownSet>();
  const sets: ListedSet[] = [];
  for (const set of facts.sets.filter(isHere)) {
    if (!set.shape) continue;
    const raw = facts.elements
      .filter((part) => isHere(part) && part.set === set.name)
      .flatMap(({ elements }) => elements);
    const entries = readElements(set.shape, raw);
    const anonymous = (set.flags & setFlag.ANONYMOUS) !== 0;
    known.set(set.name, { shape: set.shape, anonymous, entries });
    if (!anonymous) sets.push(listedSet(set, set.shape, entries));
  }
  const rules = facts.rules.filter(isHere);
  return {
    ...table,
    chains: facts.chains.filter(isHere).map((chain) => listedChain(chain, rules, known)),
    sets,
    objects: facts.objects.filter(isHere).flatMap(({ object }) => object ?? []),
  };
}

function listedChain(
  { family, table: _, ...chain }: ChainFacts,
  rules: readonly RuleFacts[],
  sets: ReadonlyMap<string, KnownSet>,
): Chain {
  const own = rules.filter((rule) => rule.chain === chain.name);
  return { ...chain, rules: own.map((rule) => listedRule(family, rule, sets)) };
}

function listedRule(family: Family, rule: RuleFacts, sets: ReadonlyMap<string, KnownSet>): Rule {
  const statements = interpretRule(family, rule.expressions, sets);
  return { handle: rule.handle, statements, ...(rule.comment !== undefined && { comment: rule.comment }) };
}

function listedSet(facts: SetFacts, shape: SetShape, entries: readonly Entry[]): ListedSet {
  const { flags, size, timeout, counter, comment } = facts;
  return {
    name: facts.name,
    handle: facts.handle,
    type: typeNames(shape.key),
    ...(shape.data && { map: shape.data === 'verdict' ? 'verdict' : typeNames(shape.data) }),
    ...(shape.intervals && { intervals: true }),
    ...((flags & setFlag.EVAL) !== 0 && { dynamic: true }),
    ...((flags & setFlag.TIMEOUT) !== 0 && { timeout: timeout ?? 0 }),
    ...(size !== undefined && { size }),
    ...(counter && { counter: true }),
    ...(comment !== undefined && { comment }),
    elements: entries.map((entry) => listedElement(shape, entry)),
  };
}

function typeNames(types: readonly DataType[]): SetTypeName | readonly SetTypeName[] {
  const names = types.map((type) => type.name as SetTypeName);
  const [only] = names;
  return names.length === 1 && only ? only : names;
}

function listedElement(shape: SetShape, { key, data, ...facts }: Entry): ListedElement {
  const value = key === 'others' ? '*' : (formatKey(shape.key, key) as ListedElement['value']);
  if (shape.data === undefined) return { value, ...facts };
  if (shape.data === 'verdict') return { value, verdict: verdictOf(data), ...facts };
  return { value, data: formatData(shape.data, data), ...facts };
}

function formatData(types: readonly DataType[], data: Data | undefined): NonNullable<ListedElement['data']> {
  const bytes = data && 'value' in data ? data.value : new Uint8Array(0);
  let offset = 0;
  const values = types.map((type) => {
    const value = type.format(bytes.slice(offset, offset + type.bytes));
    offset += paddedLength(type);
    return value;
  });
  const [only] = values;
  return values.length === 1 && only !== undefined ? only : values;
}
