/** Options of the parts of a ruleset: each is read once, and what is wrong is named. */

import { defineSchema, readChoice, readInteger, readList, readObject, readText } from '../container/settings/schema.js';
import { OptionError } from '../errors.js';
import { parseKey, verdictData } from './compile.js';
import { type DataType, type DataTypeName, dataTypes } from './data-types.js';
import { concatenate, type Entry, type SetShape } from './elements.js';
import { hookNumber, priorityNumber } from './hooks.js';
import { type HookSpec, type SetSpec, setFlag } from './messages.js';
import { families } from './names.js';
import type { BaseChain, ChainOptions, Family, RuleOptions, SetOptions, TableOptions } from './ruleset.js';
import { longestComment } from './user-data.js';
import { type Interval, isSingle } from './values.js';

/** NFT_NAME_MAXLEN, without the NUL. */
const longestName = 255;
const mostElements = 2 ** 24;
const dynamicSize = 65_535;

/** A name as nft(8) can write it too. */
export function readName(value: unknown, option: string): string {
  if (typeof value === 'string' && /^[A-Za-z][\w./-]*$/.test(value) && value.length <= longestName) return value;
  throw new OptionError(option, 'a name of letters, digits, _ . / and -, which begins with a letter', value);
}

export function readFamily(value: unknown, option: string): Family {
  return readChoice(value, option, Object.keys(families) as Family[]);
}

function readComment(value: unknown, option: string): string | undefined {
  if (value === undefined) return undefined;
  const text = readText(value, option, 'text');
  if (Buffer.byteLength(text) > longestComment) throw new OptionError(option, `at most ${longestComment} bytes`, value);
  return text;
}

const tableKeys = defineSchema(['owner', 'dormant', 'comment', 'exclusive']);

export interface TableSettings {
  readonly owner: boolean;
  readonly dormant: boolean;
  readonly exclusive: boolean;
  readonly comment?: string | undefined;
}

export function readTable(value: TableOptions | undefined, option: string): TableSettings {
  const { owner, dormant, comment, exclusive } = readObject(value ?? {}, option, tableKeys);
  return {
    owner: isTrue(owner, `${option}.owner`),
    dormant: isTrue(dormant, `${option}.dormant`),
    exclusive: isTrue(exclusive, `${option}.exclusive`),
    comment: readComment(comment, `${option}.comment`),
  };
}

function isTrue(value: unknown, option: string): boolean {
  if (value === undefined || typeof value === 'boolean') return value ?? false;
  throw new OptionError(option, 'true or false', value);
}

const chainKeys = defineSchema(['base', 'comment']);
const baseKeys = defineSchema(['type', 'hook', 'priority', 'policy', 'devices']);
const mostDevices = 256;

export function readChain(
  family: Family,
  value: ChainOptions | undefined,
  option: string,
): { readonly hook?: HookSpec; readonly comment: string | undefined } {
  const { base, comment } = readObject(value ?? {}, option, chainKeys);
  return {
    ...(base !== undefined && { hook: readBase(family, base, `${option}.base`) }),
    comment: readComment(comment, `${option}.comment`),
  };
}

function readBase(family: Family, value: unknown, option: string): HookSpec {
  const { type, hook, priority, policy, devices } = readObject(value, option, baseKeys);
  const number = hookNumber(family, hook, `${option}.hook`);
  const wantsDevices = family === 'netdev' || hook === 'ingress';
  const list = devices === undefined ? [] : readList(devices, `${option}.devices`, 'a list of interfaces', mostDevices);
  if (list.length > 0 !== wantsDevices) {
    throw new OptionError(
      `${option}.devices`,
      wantsDevices ? 'at least one interface for this hook' : 'nothing for this hook',
      devices,
    );
  }
  return {
    type: readChoice(type, `${option}.type`, ['filter', 'nat', 'route']),
    number,
    priority: priorityNumber(family, priority as BaseChain['priority'], `${option}.priority`),
    policy: readChoice(policy ?? 'accept', `${option}.policy`, ['accept', 'drop']) === 'accept' ? 1 : 0,
    devices: list.map((device, index) => {
      const place = `${option}.devices[${index}]`;
      dataTypes.ifname.parse(device, place);
      return device as string;
    }),
  };
}

const setKeys = defineSchema([
  'type',
  'map',
  'intervals',
  'timeout',
  'dynamic',
  'size',
  'counter',
  'elements',
  'comment',
]);
/** Milliseconds: a year. */
const longestTimeout = 365 * 24 * 60 * 60 * 1000;

export interface SetSettings extends Omit<SetSpec, 'name' | 'id'> {
  readonly elements: readonly Entry[];
}

export function readSet(value: SetOptions, option: string): SetSettings {
  const fields = readObject(value, option, setKeys);
  const { map, timeout, size } = fields;
  const dynamic = isTrue(fields.dynamic, `${option}.dynamic`);
  const shape: SetShape = {
    key: readTypes(fields.type, `${option}.type`),
    intervals: isTrue(fields.intervals, `${option}.intervals`),
    ...(map !== undefined && { data: map === 'verdict' ? map : readTypes(map, `${option}.map`) }),
  };
  const most = timeout === undefined ? undefined : readInteger(timeout, `${option}.timeout`, 0, longestTimeout);
  const list =
    fields.elements === undefined
      ? []
      : readList(fields.elements, `${option}.elements`, 'a list of elements', mostElements);
  return {
    shape,
    flags: (dynamic ? setFlag.EVAL : 0) | (most === undefined ? 0 : setFlag.TIMEOUT),
    size:
      size === undefined ? (dynamic ? dynamicSize : undefined) : readInteger(size, `${option}.size`, 1, mostElements),
    timeout: most,
    counter: isTrue(fields.counter, `${option}.counter`),
    comment: readComment(fields.comment, `${option}.comment`),
    elements: readElements(shape, list, `${option}.elements`),
  };
}

function readTypes(value: unknown, option: string): readonly DataType[] {
  const list = Array.isArray(value) ? value : [value];
  if (list.length === 0) throw new OptionError(option, 'at least one type', value);
  return list.map((name: unknown, index) => {
    const place = Array.isArray(value) ? `${option}[${index}]` : option;
    return dataTypes[readChoice(name, place, setTypes)];
  });
}

const internal: readonly DataTypeName[] = ['integer8', 'integer16', 'integer32', 'integer16host', 'boolean', 'dscp'];
const setTypes = (Object.keys(dataTypes) as DataTypeName[]).filter((name) => !internal.includes(name));

const elementKeys = defineSchema(['value', 'verdict', 'data', 'timeout', 'comment', 'expires', 'counter']);

/** What is read of a list of elements: values, or values with more about them. */
export function readElements(shape: SetShape, list: readonly unknown[], option: string): readonly Entry[] {
  return list.map((element, index) => readElement(shape, element, `${option}[${index}]`));
}

function readElement(shape: SetShape, element: unknown, option: string): Entry {
  const isPlain = typeof element !== 'object' || element === null || Array.isArray(element);
  const { value, verdict, data, timeout, comment } = isPlain
    ? { value: element as unknown, verdict: undefined, data: undefined, timeout: undefined, comment: undefined }
    : readObject(element, option, elementKeys);
  const place = isPlain ? option : `${option}.value`;
  const text = readComment(comment, `${option}.comment`);
  return {
    key: value === '*' && shape.data !== undefined ? 'others' : readKey(shape, value, place),
    ...elementData(shape, verdict, data, option),
    ...(timeout !== undefined && { timeout: readInteger(timeout, `${option}.timeout`, 1, longestTimeout) }),
    ...(text !== undefined && { comment: text }),
  };
}

function readKey(shape: SetShape, value: unknown, option: string): readonly Interval[] {
  const key = parseKey(shape.key, value, option);
  if (shape.intervals || key.every(isSingle)) return key;
  const hint = 'make it with intervals: true';
  throw new OptionError(option, 'a single value, as the set has no ranges', value, { hint });
}

function elementData(shape: SetShape, verdict: unknown, data: unknown, option: string): Pick<Entry, 'data'> {
  const types = shape.data;
  if (types === 'verdict') {
    if (verdict === undefined) throw new OptionError(`${option}.verdict`, 'a verdict', verdict);
    return { data: verdictData(verdict as never, `${option}.verdict`) };
  }
  if (verdict !== undefined)
    throw new OptionError(`${option}.verdict`, 'nothing, as this is no map of verdicts', verdict);
  if (types === undefined) {
    if (data !== undefined) throw new OptionError(`${option}.data`, 'nothing, as this is no map', data);
    return {};
  }
  if (data === undefined) throw new OptionError(`${option}.data`, 'what the map gives', data);
  const parts =
    types.length === 1 ? [data] : readList(data, `${option}.data`, `a list of ${types.length} values`, types.length);
  const bytes = types.map((type, index) =>
    type.parse(parts[index], types.length === 1 ? `${option}.data` : `${option}.data[${index}]`),
  );
  return { data: { value: concatenate(bytes, types) } };
}

const ruleKeys = defineSchema(['comment', 'at']);
const besideKeys = defineSchema(['after', 'before']);
const mostHandles = Number.MAX_SAFE_INTEGER;

export interface RuleSettings {
  readonly comment: string | undefined;
  readonly position: number | undefined;
  /** Before the others, or before the one of `position`. */
  readonly before: boolean;
}

export function readRule(value: RuleOptions | undefined, option: string): RuleSettings {
  const { comment, at } = readObject(value ?? {}, option, ruleKeys);
  return { comment: readComment(comment, `${option}.comment`), ...readPlace(at, `${option}.at`) };
}

function readPlace(at: unknown, option: string): Pick<RuleSettings, 'position' | 'before'> {
  if (at === undefined || at === 'last') return { position: undefined, before: false };
  if (at === 'first') return { position: undefined, before: true };
  const { after, before } = readObject(at, option, besideKeys);
  if ((after === undefined) === (before === undefined)) {
    throw new OptionError(option, "'first', 'last', { after: handle } or { before: handle }", at);
  }
  const [key, handle] = after === undefined ? ['before', before] : ['after', after];
  return { position: readHandle(handle, `${option}.${key}`), before: key === 'before' };
}

export function readHandle(value: unknown, option: string): number {
  return readInteger(value, option, 1, mostHandles);
}
