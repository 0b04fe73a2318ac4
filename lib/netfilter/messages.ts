/** Messages of nf_tables: what each part of a ruleset is on the wire (linux/netfilter/nf_tables.h). */

import type { AttributeNames } from '../netlink/acknowledgement.js';
import { AttributeWriter } from '../netlink/attributes.js';
import type { NetlinkRequest } from '../netlink/socket.js';
import { writeData, writeExpression, writeExpressionData, writeExpressions } from './attributes.js';
import type { DataType } from './data-types.js';
import { paddedLength, type RawElement, type SetShape } from './elements.js';
import type { Expression } from './expressions.js';
import { families } from './names.js';
import type { Family } from './ruleset.js';
import { commentData, setData } from './user-data.js';

const subsystem = 10;
export const batchBegin = 0x10;
export const batchEnd = 0x11;

const NEW = { CREATE: 0x400, EXCL: 0x200, REPLACE: 0x100, APPEND: 0x800 } as const;
export const newFlag = NEW;

export const nft = {
  NEWTABLE: 0,
  GETTABLE: 1,
  DELTABLE: 2,
  NEWCHAIN: 3,
  GETCHAIN: 4,
  DELCHAIN: 5,
  NEWRULE: 6,
  GETRULE: 7,
  DELRULE: 8,
  NEWSET: 9,
  GETSET: 10,
  DELSET: 11,
  NEWSETELEM: 12,
  GETSETELEM: 13,
  DELSETELEM: 14,
  NEWGEN: 15,
  GETGEN: 16,
  TRACE: 17,
  NEWOBJ: 18,
  GETOBJ: 19,
  DELOBJ: 20,
} as const;

export type NftMessage = keyof typeof nft;

export function messageNumber(message: NftMessage): number {
  return (subsystem << 8) | nft[message];
}

/** The message that a number of this subsystem is, or undefined. */
export function messageName(type: number): NftMessage | undefined {
  if (type >> 8 !== subsystem) return undefined;
  return (Object.keys(nft) as NftMessage[]).find((name) => nft[name] === (type & 0xff));
}

/** struct nfgenmsg. */
export function familyHeader(family: number, resource = 0): Uint8Array {
  return Uint8Array.of(family, 0, resource >> 8, resource & 0xff);
}
export const headerBytes = 4;

export const tableAttribute = { NAME: 1, FLAGS: 2, USE: 3, HANDLE: 4, USERDATA: 6, OWNER: 7 } as const;
export const tableFlag = { DORMANT: 1, OWNER: 2 } as const;
export const chainAttribute = {
  TABLE: 1,
  HANDLE: 2,
  NAME: 3,
  HOOK: 4,
  POLICY: 5,
  TYPE: 7,
  FLAGS: 10,
  USERDATA: 12,
} as const;
export const hookAttribute = { HOOKNUM: 1, PRIORITY: 2, DEV: 3, DEVS: 4 } as const;
export const ruleAttribute = {
  TABLE: 1,
  CHAIN: 2,
  HANDLE: 3,
  EXPRESSIONS: 4,
  POSITION: 6,
  USERDATA: 7,
} as const;
export const setAttribute = {
  TABLE: 1,
  NAME: 2,
  FLAGS: 3,
  KEY_TYPE: 4,
  KEY_LEN: 5,
  DATA_TYPE: 6,
  DATA_LEN: 7,
  DESC: 9,
  ID: 10,
  TIMEOUT: 11,
  USERDATA: 13,
  HANDLE: 16,
  EXPR: 17,
} as const;
export const setFlag = {
  ANONYMOUS: 1,
  CONSTANT: 2,
  INTERVAL: 4,
  MAP: 8,
  TIMEOUT: 16,
  EVAL: 32,
  CONCAT: 128,
} as const;
const descriptionAttribute = { SIZE: 1, CONCAT: 2 } as const;
const fieldLength = 1;
export const elementAttribute = {
  KEY: 1,
  DATA: 2,
  FLAGS: 3,
  TIMEOUT: 4,
  EXPIRATION: 5,
  USERDATA: 6,
  EXPR: 7,
  KEY_END: 10,
} as const;
export const elementFlag = { INTERVAL_END: 1, CATCHALL: 2 } as const;
export const elementListAttribute = { TABLE: 1, SET: 2, ELEMENTS: 3, SET_ID: 4 } as const;
export const objectAttribute = { TABLE: 1, NAME: 2, TYPE: 3, DATA: 4, HANDLE: 6 } as const;
export const verdictType = 0xffffff00;
const listElement = 1;

/** The bits of a concatenation's type number for each of its types. */
const typeBits = 6;

function typeNumber(types: readonly DataType[]): number {
  return types.reduce((sum, type) => (sum << typeBits) | type.number, 0) >>> 0;
}

function keyLength(types: readonly DataType[]): number {
  const [only] = types;
  return types.length === 1 && only ? only.bytes : types.reduce((sum, type) => sum + paddedLength(type), 0);
}

/** Where a message belongs. */
export interface Place {
  readonly family: Family;
  readonly table: string;
}

function request(
  message: NftMessage,
  family: Family,
  flags: number,
  doing: string,
  names: AttributeNames,
  write: (writer: AttributeWriter) => void,
): NetlinkRequest {
  const writer = new AttributeWriter();
  write(writer);
  return {
    type: messageNumber(message),
    flags: flags | acknowledge,
    header: familyHeader(families[family]),
    attributes: writer.bytes(),
    doing,
    names,
  };
}

const acknowledge = 4;

const tableNames: AttributeNames = { 1: 'NFTA_TABLE_NAME', 2: 'NFTA_TABLE_FLAGS', 6: 'NFTA_TABLE_USERDATA' };
const chainNames: AttributeNames = {
  1: 'NFTA_CHAIN_TABLE',
  3: 'NFTA_CHAIN_NAME',
  4: ['NFTA_CHAIN_HOOK', { 1: 'NFTA_HOOK_HOOKNUM', 2: 'NFTA_HOOK_PRIORITY', 3: 'NFTA_HOOK_DEV', 4: 'NFTA_HOOK_DEVS' }],
  5: 'NFTA_CHAIN_POLICY',
  7: 'NFTA_CHAIN_TYPE',
};
const ruleNames: AttributeNames = {
  1: 'NFTA_RULE_TABLE',
  2: 'NFTA_RULE_CHAIN',
  3: 'NFTA_RULE_HANDLE',
  4: ['NFTA_RULE_EXPRESSIONS', { 1: ['NFTA_LIST_ELEM', { 1: 'NFTA_EXPR_NAME', 2: 'NFTA_EXPR_DATA' }] }],
  6: 'NFTA_RULE_POSITION',
};
const setNames: AttributeNames = {
  1: 'NFTA_SET_TABLE',
  2: 'NFTA_SET_NAME',
  3: 'NFTA_SET_FLAGS',
  5: 'NFTA_SET_KEY_LEN',
  6: 'NFTA_SET_DATA_TYPE',
  7: 'NFTA_SET_DATA_LEN',
  9: 'NFTA_SET_DESC',
};
const elementNames: AttributeNames = {
  1: 'NFTA_SET_ELEM_LIST_TABLE',
  2: 'NFTA_SET_ELEM_LIST_SET',
  3: ['NFTA_SET_ELEM_LIST_ELEMENTS', { 1: ['NFTA_LIST_ELEM', { 1: 'NFTA_SET_ELEM_KEY', 2: 'NFTA_SET_ELEM_DATA' }] }],
};
const objectNames: AttributeNames = { 1: 'NFTA_OBJ_TABLE', 2: 'NFTA_OBJ_NAME', 4: 'NFTA_OBJ_DATA' };

export interface TableSpec {
  readonly flags: number;
  readonly comment?: string | undefined;
}

export function newTable(
  { family, table }: Place,
  { flags, comment }: TableSpec,
  newFlags: number,
  doing: string,
): NetlinkRequest {
  return request('NEWTABLE', family, newFlags, doing, tableNames, (writer) => {
    writer.string(tableAttribute.NAME, table).u32be(tableAttribute.FLAGS, flags);
    if (comment !== undefined) writer.binary(tableAttribute.USERDATA, commentData(comment));
  });
}

export function deleteTable({ family, table }: Place, doing: string): NetlinkRequest {
  return request('DELTABLE', family, 0, doing, tableNames, (writer) => writer.string(tableAttribute.NAME, table));
}

export interface HookSpec {
  readonly type: string;
  readonly number: number;
  readonly priority: number;
  readonly policy: number;
  readonly devices: readonly string[];
}

export function newChain(
  { family, table }: Place,
  name: string,
  hook: HookSpec | undefined,
  comment: string | undefined,
  newFlags: number,
  doing: string,
): NetlinkRequest {
  return request('NEWCHAIN', family, newFlags, doing, chainNames, (writer) => {
    writer.string(chainAttribute.TABLE, table).string(chainAttribute.NAME, name);
    if (hook) {
      writer.nested(chainAttribute.HOOK, (inside) => writeHook(inside, hook));
      writer.string(chainAttribute.TYPE, hook.type).u32be(chainAttribute.POLICY, hook.policy);
    }
    if (comment !== undefined) writer.binary(chainAttribute.USERDATA, commentData(comment));
  });
}

function writeHook(writer: AttributeWriter, { number, priority, devices }: HookSpec): void {
  writer.u32be(hookAttribute.HOOKNUM, number).u32be(hookAttribute.PRIORITY, priority >>> 0);
  const [only] = devices;
  if (devices.length === 1 && only !== undefined) writer.string(hookAttribute.DEV, only);
  else if (devices.length > 1) {
    writer.nested(hookAttribute.DEVS, (list) => {
      for (const device of devices) list.string(1, device);
    });
  }
}

export function deleteChain({ family, table }: Place, name: string, doing: string): NetlinkRequest {
  return request('DELCHAIN', family, 0, doing, chainNames, (writer) =>
    writer.string(chainAttribute.TABLE, table).string(chainAttribute.NAME, name),
  );
}

export interface RuleSpec {
  readonly expressions: readonly Expression[];
  readonly comment?: string | undefined;
  /** The rule that this one replaces. */
  readonly replaces?: number | undefined;
  /** The rule beside which it is put. */
  readonly position?: number | undefined;
}

export function newRule(
  { family, table }: Place,
  chain: string,
  rule: RuleSpec,
  newFlags: number,
  doing: string,
): NetlinkRequest {
  return request('NEWRULE', family, newFlags, doing, ruleNames, (writer) => {
    writer.string(ruleAttribute.TABLE, table).string(ruleAttribute.CHAIN, chain);
    if (rule.replaces !== undefined) writer.u64be(ruleAttribute.HANDLE, BigInt(rule.replaces));
    if (rule.position !== undefined) writer.u64be(ruleAttribute.POSITION, BigInt(rule.position));
    writeExpressions(writer, ruleAttribute.EXPRESSIONS, rule.expressions);
    if (rule.comment !== undefined) writer.binary(ruleAttribute.USERDATA, commentData(rule.comment));
  });
}

/** One rule, or all of a chain, or of a table. */
export function deleteRule(
  { family, table }: Place,
  chain: string | undefined,
  handle: number | undefined,
  doing: string,
): NetlinkRequest {
  return request('DELRULE', family, 0, doing, ruleNames, (writer) => {
    writer.string(ruleAttribute.TABLE, table);
    if (chain !== undefined) writer.string(ruleAttribute.CHAIN, chain);
    if (handle !== undefined) writer.u64be(ruleAttribute.HANDLE, BigInt(handle));
  });
}

export interface SetSpec {
  readonly name: string;
  readonly id: number;
  readonly shape: SetShape;
  readonly flags: number;
  readonly size?: number | undefined;
  readonly timeout?: number | undefined;
  readonly counter?: boolean | undefined;
  readonly comment?: string | undefined;
}

export function newSet({ family, table }: Place, set: SetSpec, newFlags: number, doing: string): NetlinkRequest {
  const { shape } = set;
  const isConcatenation = shape.key.length > 1 && shape.intervals;
  return request('NEWSET', family, newFlags, doing, setNames, (writer) => {
    writer.string(setAttribute.TABLE, table).string(setAttribute.NAME, set.name);
    writer.u32be(setAttribute.FLAGS, set.flags | shapeFlags(shape));
    writer.u32be(setAttribute.KEY_TYPE, typeNumber(shape.key)).u32be(setAttribute.KEY_LEN, keyLength(shape.key));
    writer.u32be(setAttribute.ID, set.id);
    if (shape.data === 'verdict') writer.u32be(setAttribute.DATA_TYPE, verdictType);
    else if (shape.data) {
      writer.u32be(setAttribute.DATA_TYPE, typeNumber(shape.data)).u32be(setAttribute.DATA_LEN, keyLength(shape.data));
    }
    if (isConcatenation || set.size !== undefined)
      writer.nested(setAttribute.DESC, (inside) => describe(inside, set, isConcatenation));
    if (set.timeout) writer.u64be(setAttribute.TIMEOUT, BigInt(set.timeout));
    writer.binary(setAttribute.USERDATA, setData(shape, set.comment));
    if (set.counter)
      writer.nested(setAttribute.EXPR, (inside) => writeExpression(inside, { name: 'counter', bytes: 0, packets: 0 }));
  });
}

function shapeFlags(shape: SetShape): number {
  let flags = 0;
  if (shape.intervals) flags |= setFlag.INTERVAL;
  if (shape.data) flags |= setFlag.MAP;
  if (shape.intervals && shape.key.length > 1) flags |= setFlag.CONCAT;
  return flags;
}

function describe(writer: AttributeWriter, { size, shape }: SetSpec, isConcatenation: boolean): void {
  if (size !== undefined) writer.u32be(descriptionAttribute.SIZE, size);
  if (!isConcatenation) return;
  writer.nested(descriptionAttribute.CONCAT, (list) => {
    for (const type of shape.key) list.nested(listElement, (field) => field.u32be(fieldLength, type.bytes));
  });
}

export function deleteSet({ family, table }: Place, name: string, doing: string): NetlinkRequest {
  return request('DELSET', family, 0, doing, setNames, (writer) =>
    writer.string(setAttribute.TABLE, table).string(setAttribute.NAME, name),
  );
}

/** An attribute has at most 64 KiB, so elements travel in several messages. */
const elementBytesPerMessage = 48 * 1024;

export function changeElements(
  message: 'NEWSETELEM' | 'DELSETELEM',
  { family, table }: Place,
  set: { readonly name: string; readonly id?: number },
  elements: readonly RawElement[],
  newFlags: number,
  doing: string,
): readonly NetlinkRequest[] {
  const requests: NetlinkRequest[] = [];
  let start = 0;
  do {
    requests.push(
      request(message, family, newFlags, doing, elementNames, (writer) => {
        writer.string(elementListAttribute.TABLE, table).string(elementListAttribute.SET, set.name);
        if (set.id !== undefined) writer.u32be(elementListAttribute.SET_ID, set.id);
        writer.nested(elementListAttribute.ELEMENTS, (list) => {
          for (; start < elements.length && list.length < elementBytesPerMessage; start++) {
            const element = elements[start];
            if (element) list.nested(listElement, (inside) => writeElement(inside, element));
          }
        });
      }),
    );
  } while (start < elements.length);
  return requests;
}

function writeElement(writer: AttributeWriter, element: RawElement): void {
  if (element.key) writeData(writer, elementAttribute.KEY, { value: element.key });
  if (element.keyEnd) writeData(writer, elementAttribute.KEY_END, { value: element.keyEnd });
  const flags = (element.end ? elementFlag.INTERVAL_END : 0) | (element.key ? 0 : elementFlag.CATCHALL);
  if (flags !== 0) writer.u32be(elementAttribute.FLAGS, flags);
  if (element.data) writeData(writer, elementAttribute.DATA, element.data);
  if (element.timeout !== undefined) writer.u64be(elementAttribute.TIMEOUT, BigInt(element.timeout));
  if (element.expires !== undefined) writer.u64be(elementAttribute.EXPIRATION, BigInt(element.expires));
  if (element.comment !== undefined) writer.binary(elementAttribute.USERDATA, commentData(element.comment));
}

/** All elements of a set. */
export function flushElements({ family, table }: Place, set: string, doing: string): NetlinkRequest {
  return request('DELSETELEM', family, 0, doing, elementNames, (writer) =>
    writer.string(elementListAttribute.TABLE, table).string(elementListAttribute.SET, set),
  );
}

export function newObject(
  { family, table }: Place,
  name: string,
  type: number,
  expression: Expression,
  newFlags: number,
  doing: string,
): NetlinkRequest {
  return request('NEWOBJ', family, newFlags, doing, objectNames, (writer) => {
    writer.string(objectAttribute.TABLE, table).string(objectAttribute.NAME, name).u32be(objectAttribute.TYPE, type);
    // The data of an object is that of the expression of its name.
    writeExpressionData(writer, objectAttribute.DATA, expression);
  });
}

export function deleteObject({ family, table }: Place, name: string, type: number, doing: string): NetlinkRequest {
  return request('DELOBJ', family, 0, doing, objectNames, (writer) =>
    writer.string(objectAttribute.TABLE, table).string(objectAttribute.NAME, name).u32be(objectAttribute.TYPE, type),
  );
}

/** The beginning and the end of a transaction. With a generation, the kernel refuses it after any other (ERESTART). */
export function batchMessage(type: typeof batchBegin | typeof batchEnd, generation?: number): NetlinkRequest {
  const writer = new AttributeWriter();
  if (generation !== undefined) writer.u32be(1, generation);
  return {
    type,
    header: familyHeader(0, subsystem),
    attributes: writer.bytes(),
    doing: type === batchBegin ? 'beginning a transaction of nf_tables' : 'committing a transaction of nf_tables',
  };
}

/** A list of something, of one family or of all (0). */
export function listRequest(
  message: NftMessage,
  family: Family | undefined,
  doing: string,
  write?: (writer: AttributeWriter) => void,
): NetlinkRequest {
  const writer = new AttributeWriter();
  write?.(writer);
  return {
    type: messageNumber(message),
    header: familyHeader(family === undefined ? 0 : families[family]),
    attributes: writer.bytes(),
    doing,
  };
}
