/** Statements other than comparisons as the kernel's expressions. Pure. */

import {
  copyObject,
  defineSchema,
  expectKeys,
  readBoolean,
  readChoice,
  readInteger,
  readText,
} from '../container/settings/schema.js';
import { OptionError } from '../errors.js';
import {
  addAnonymous,
  anonymousMapName,
  compileMatch,
  compileVerdictMap,
  immediate,
  isReference,
  keyFields,
  load,
  namedShape,
  needIntervals,
  parseKey,
  type RuleContext,
  verdictData,
} from './compile.js';
import { type DataType, dataTypes, numberBytes } from './data-types.js';
import type { Entry, SetShape } from './elements.js';
import { type Expression, objectTypes, register, verdictRegister } from './expressions.js';
import { fieldSpec, metaKeys, trackingKeys } from './fields.js';
import { icmp6Codes, icmpCodes, icmpxCodes } from './names.js';
import type { NamedObject } from './ruleset.js';
import type {
  Counter,
  Limit,
  Log,
  LogLevel,
  Masquerade,
  Nat,
  NatFlag,
  NatLookup,
  NumberOrRange,
  Queue,
  Quota,
  Redirect,
  Reject,
  SetField,
  SetUpdate,
  Statement,
  Tproxy,
} from './statement.js';
import { type Interval, parseInterval } from './values.js';

/** Compiles the statements of a rule into `context.expressions`. */
export function compileStatements(context: RuleContext, statements: readonly Statement[], option: string): void {
  for (const [index, statement] of statements.entries()) {
    const place = `${option}[${index}]`;
    expectKnownKeys(statement, place);
    compileStatement(context, statement, place);
    if (index < statements.length - 1 && endsRule(statement)) {
      throw new OptionError(
        `${option}[${index + 1}]`,
        `nothing after '${statement.kind}', which ends the rule`,
        statements[index + 1],
      );
    }
  }
}

/** The keys of each kind of statement. */
const statementKeys: Readonly<Record<Exclude<Statement['kind'], 'unknown'>, readonly string[]>> = {
  match: ['key', 'op', 'value', 'mask'],
  vmap: ['key', 'map'],
  accept: [],
  drop: [],
  continue: [],
  return: [],
  jump: ['chain'],
  goto: ['chain'],
  counter: ['packets', 'bytes', 'name'],
  quota: ['bytes', 'used', 'over', 'name'],
  limit: ['rate', 'unit', 'per', 'burst', 'over', 'name'],
  'ct count': ['count', 'over'],
  log: ['prefix', 'level', 'group', 'snaplen', 'queueThreshold'],
  reject: ['with'],
  masquerade: ['port', 'flags'],
  redirect: ['port', 'flags'],
  snat: ['family', 'address', 'port', 'lookup', 'flags'],
  dnat: ['family', 'address', 'port', 'lookup', 'flags'],
  tproxy: ['family', 'address', 'port'],
  set: ['field', 'value'],
  notrack: [],
  add: ['set', 'key', 'timeout'],
  update: ['set', 'key', 'timeout'],
  delete: ['set', 'key', 'timeout'],
  queue: ['num', 'flags'],
};

function expectKnownKeys(statement: Statement, option: string): void {
  const copied = copyObject(statement, option);
  const kind = copied.kind;
  if (kind === 'unknown') return;
  const kinds = Object.keys(statementKeys) as (keyof typeof statementKeys)[];
  const keys = statementKeys[readChoice(kind, `${option}.kind`, kinds)];
  expectKeys(copied, option, defineSchema(['kind', ...keys]));
}

function endsRule({ kind }: Statement): boolean {
  return (
    kind === 'accept' || kind === 'drop' || kind === 'return' || kind === 'jump' || kind === 'goto' || kind === 'reject'
  );
}

function compileStatement(context: RuleContext, statement: Statement, option: string): void {
  const { expressions } = context;
  switch (statement.kind) {
    case 'match':
      compileMatch(context, statement, option);
      return;
    case 'vmap':
      compileVerdictMap(context, statement, option);
      return;
    case 'accept':
    case 'drop':
    case 'continue':
    case 'return':
    case 'jump':
    case 'goto':
      expressions.push({ name: 'immediate', dreg: verdictRegister, data: verdictData(statement, option) });
      return;
    case 'counter':
    case 'quota':
    case 'limit':
      if ('name' in statement) refer(context, statement.kind, statement.name, option);
      else expressions.push(objectExpression(statement, option));
      return;
    case 'ct count':
      expressions.push({
        name: 'connlimit',
        count: readInteger(statement.count, `${option}.count`, 0, most32),
        flags: inverted(statement.over, option),
      });
      return;
    case 'log':
      expressions.push(logExpression(statement, option));
      return;
    case 'reject':
      compileReject(context, statement, option);
      return;
    case 'masquerade':
    case 'redirect':
      compilePorts(context, statement, option);
      return;
    case 'snat':
    case 'dnat':
      compileNat(context, statement, option);
      return;
    case 'tproxy':
      compileTproxy(context, statement, option);
      return;
    case 'set':
      compileSetField(context, statement, option);
      return;
    case 'notrack':
      expressions.push({ name: 'notrack' });
      return;
    case 'add':
    case 'update':
    case 'delete':
      compileSetUpdate(context, statement, option);
      return;
    case 'queue':
      expressions.push(queueExpression(statement, option));
      return;
    case 'unknown':
      throw new OptionError(`${option}.kind`, 'a statement that this library can write', statement.kind);
    default:
      throw new OptionError(
        `${option}.kind`,
        "the kind of a statement, such as 'match'",
        (statement as { kind?: unknown }).kind,
      );
  }
}

const most32 = 2 ** 32 - 1;
const most64 = Number.MAX_SAFE_INTEGER;

function refer(context: RuleContext, kind: keyof typeof objectTypes, name: unknown, option: string): void {
  const object = readText(name, `${option}.name`, `the name of a ${kind}`);
  context.expressions.push({ name: 'objref', type: objectTypes[kind], object });
}

function inverted(over: unknown, option: string): number {
  return readBoolean(over, `${option}.over`, false) ? 1 : 0;
}

/** A counter, a quota or a limit: of a rule, or with a name, as an object of a table. */
export function objectExpression(object: NamedObject, option: string): Expression {
  switch (object.kind) {
    case 'counter':
      return counterExpression(object, option);
    case 'quota':
      return quotaExpression(object, option);
    case 'limit':
      return limitExpression(object, option);
    default:
      throw new OptionError(`${option}.kind`, "'counter', 'quota' or 'limit'", (object as { kind?: unknown }).kind);
  }
}

function counterExpression({ packets, bytes }: Exclude<Counter, { name: string }>, option: string): Expression {
  return {
    name: 'counter',
    bytes: readInteger(bytes, `${option}.bytes`, 0, most64),
    packets: readInteger(packets, `${option}.packets`, 0, most64),
  };
}

function quotaExpression({ bytes, used, over }: Exclude<Quota, { name: string }>, option: string): Expression {
  return {
    name: 'quota',
    bytes: readInteger(bytes, `${option}.bytes`, 0, most64),
    consumed: readInteger(used, `${option}.used`, 0, most64),
    flags: inverted(over, option),
  };
}

export const periods = { second: 1, minute: 60, hour: 3600, day: 86_400, week: 604_800 } as const;

function limitExpression(limit: Exclude<Limit, { name: string }>, option: string): Expression {
  const { rate, unit, per, burst, over } = limit;
  const words = Object.keys(periods) as (keyof typeof periods)[];
  return {
    name: 'limit',
    rate: readInteger(rate, `${option}.rate`, 1, most64),
    unit: periods[readChoice(per, `${option}.per`, words)],
    burst: readInteger(burst, `${option}.burst`, 0, most32),
    type: readChoice(unit, `${option}.unit`, ['packets', 'bytes']) === 'bytes' ? 1 : 0,
    flags: inverted(over, option),
  };
}

export const logLevels: readonly LogLevel[] = [
  'emerg',
  'alert',
  'crit',
  'err',
  'warn',
  'notice',
  'info',
  'debug',
  'audit',
];
/** NF_LOG_PREFIXLEN, without the NUL. */
const longestPrefix = 127;

function logExpression({ prefix, level, group, snaplen, queueThreshold }: Log, option: string): Expression {
  if (prefix !== undefined && Buffer.byteLength(readText(prefix, `${option}.prefix`, 'text')) > longestPrefix) {
    throw new OptionError(`${option}.prefix`, `at most ${longestPrefix} bytes`, prefix);
  }
  if (group !== undefined && level !== undefined)
    throw new OptionError(`${option}.level`, 'nothing beside a group', level);
  if (group === undefined && (snaplen !== undefined || queueThreshold !== undefined)) {
    throw new OptionError(`${option}.group`, 'a group, for what is handed on to it', group);
  }
  return {
    name: 'log',
    ...(prefix !== undefined && { prefix }),
    ...(group !== undefined && { group: readInteger(group, `${option}.group`, 0, 65_535) }),
    ...(snaplen !== undefined && { snaplen: readInteger(snaplen, `${option}.snaplen`, 0, most32) }),
    ...(queueThreshold !== undefined && {
      qthreshold: readInteger(queueThreshold, `${option}.queueThreshold`, 0, 65_535),
    }),
    ...(level !== undefined && { level: logLevels.indexOf(readChoice(level, `${option}.level`, logLevels)) }),
  };
}

function compileReject(context: RuleContext, { with: answer }: Reject, option: string): void {
  const [kind, code] = split(answer);
  const place = `${option}.with`;
  if (answer === 'tcp reset') {
    if (context.transport !== 6) {
      if (context.transport !== undefined) throw new OptionError(place, "an answer of the packet's protocol", answer);
      context.expressions.push({ name: 'meta', key: metaKeys.l4proto, dreg: register(0) });
      context.expressions.push({ name: 'cmp', sreg: register(0), op: 0, data: { value: Uint8Array.of(6) } });
      context.transport = 6;
    }
    context.expressions.push({ name: 'reject', type: 1, code: 0 });
    return;
  }
  const codes = kind === 'icmp' ? icmpCodes : kind === 'icmpv6' ? icmp6Codes : icmpxCodes;
  const number = (codes as Readonly<Record<string, number>>)[code];
  if (number === undefined) throw new OptionError(place, "such as 'icmpx port-unreachable'", answer);
  if (kind === 'icmpx') {
    context.expressions.push({ name: 'reject', type: 2, code: number });
    return;
  }
  const wanted = kind === 'icmp' ? 'ip' : 'ip6';
  if (context.family === 'inet' && context.network === undefined) {
    context.expressions.push({ name: 'meta', key: metaKeys.nfproto, dreg: register(0) });
    context.expressions.push({
      name: 'cmp',
      sreg: register(0),
      op: 0,
      data: { value: Uint8Array.of(wanted === 'ip' ? 2 : 10) },
    });
    context.network = wanted;
  }
  if (context.network !== wanted) throw new OptionError(place, "an answer of the packet's family", answer);
  context.expressions.push({ name: 'reject', type: 0, code: number });
}

function split(answer: string): readonly [string, string] {
  const space = answer.indexOf(' ');
  return [answer.slice(0, space), answer.slice(space + 1)];
}

const natFlags: Readonly<Record<NatFlag, number>> = { random: 4, persistent: 8, 'fully-random': 16 };
const addressesGiven = 1;
const portsGiven = 2;

function flagSum(flags: readonly NatFlag[] | undefined, option: string): number {
  let sum = 0;
  for (const [index, flag] of (flags ?? []).entries()) {
    if (!Object.hasOwn(natFlags, flag))
      throw new OptionError(`${option}[${index}]`, Object.keys(natFlags).join(' or '), flag);
    sum |= natFlags[flag];
  }
  return sum;
}

export const natFlagBits = natFlags;

function compilePorts(context: RuleContext, statement: Masquerade | Redirect, option: string): void {
  const flags = flagSum(statement.flags, `${option}.flags`);
  const ports = loadPorts(context, statement.port, 0, `${option}.port`);
  const name = statement.kind === 'masquerade' ? 'masq' : 'redir';
  const sum = flags | (ports.protoMin === undefined ? 0 : portsGiven);
  if (statement.port !== undefined) requirePorts(context, statement.port, `${option}.port`);
  context.expressions.push({ name, ...ports, ...(sum !== 0 && { flags: sum }) });
}

/** Ports are there only in some protocols. */
function requirePorts(context: RuleContext, port: unknown, option: string): void {
  if (context.transport === undefined && !context.protocolSeen) {
    throw new OptionError(
      option,
      "a port only where the protocol is known, as after match('meta l4proto', 'tcp')",
      port,
    );
  }
}

function loadPorts(
  context: RuleContext,
  port: NumberOrRange | undefined,
  index: number,
  option: string,
): { protoMin?: number; protoMax?: number } {
  if (port === undefined) return {};
  const { from, to } = parseInterval(dataTypes.inet_service, port, option);
  const protoMin = immediate(context, index, from);
  if (Buffer.compare(from, to) === 0) return { protoMin };
  return { protoMin, protoMax: immediate(context, index + 1, to) };
}

const nfFamilies = { ip: 2, ip6: 10 } as const;

function compileNat(context: RuleContext, statement: Nat, option: string): void {
  const { kind, family, address, port, lookup } = statement;
  if (family !== 'ip' && family !== 'ip6') throw new OptionError(`${option}.family`, "'ip' or 'ip6'", family);
  requireFamily(context, family, option);
  const flags = flagSum(statement.flags, `${option}.flags`);
  const common = { name: 'nat', type: kind === 'snat' ? 0 : 1, family: nfFamilies[family] } as const;
  if (lookup !== undefined) {
    if (address !== undefined || port !== undefined) {
      throw new OptionError(`${option}.lookup`, 'no address and no port beside it', lookup);
    }
    const registers = compileLookup(context, family, lookup, `${option}.lookup`);
    const sum = flags | addressesGiven | (registers.protoMin === undefined ? 0 : portsGiven);
    context.expressions.push({ ...common, ...registers, flags: sum });
    return;
  }
  if (address === undefined && port === undefined)
    throw new OptionError(`${option}.address`, 'an address, a port or both', address);
  if (port !== undefined) requirePorts(context, port, `${option}.port`);
  const addresses = loadAddresses(context, family, address, `${option}.address`);
  const ports = loadPorts(context, port, 8, `${option}.port`);
  const sum =
    flags | (addresses.addrMin === undefined ? 0 : addressesGiven) | (ports.protoMin === undefined ? 0 : portsGiven);
  context.expressions.push({ ...common, ...addresses, ...ports, flags: sum });
}

/** The kernel passes packets of the other family by here, so nothing has to be compared. */
function requireFamily(context: RuleContext, family: 'ip' | 'ip6', option: string): void {
  const possible = context.network === family || (context.network === undefined && context.family === 'inet');
  if (!possible) throw new OptionError(`${option}.family`, "the packet's own family", family);
}

function addressType(family: 'ip' | 'ip6'): DataType {
  return family === 'ip' ? dataTypes.ipv4_addr : dataTypes.ipv6_addr;
}

function loadAddresses(
  context: RuleContext,
  family: 'ip' | 'ip6',
  address: string | undefined,
  option: string,
): { addrMin?: number; addrMax?: number } {
  if (address === undefined) return {};
  const { from, to } = parseInterval(addressType(family), address, option);
  const addrMin = immediate(context, 0, from);
  if (Buffer.compare(from, to) === 0) return { addrMin };
  return { addrMin, addrMax: immediate(context, 4, to) };
}

function compileLookup(
  context: RuleContext,
  family: 'ip' | 'ip6',
  lookup: NatLookup,
  option: string,
): { addrMin: number; protoMin?: number } {
  const list = keyFields(lookup.key, `${option}.key`);
  const withPort = lookup.gives === 'address . port';
  const address = addressType(family);
  const data = withPort ? [address, dataTypes.inet_service] : [address];
  const set = isReference(lookup.map)
    ? namedMap(context, lookup, list, data, option)
    : anonymousMap(context, lookup, list, data, option);
  load(context, list, set.shape, `${option}.key`);
  if (withPort) requirePorts(context, lookup.gives, `${option}.gives`);
  context.expressions.push({
    name: 'lookup',
    set: set.name,
    ...(set.id !== undefined && { setId: set.id }),
    sreg: register(0),
    dreg: register(0),
  });
  return { addrMin: register(0), ...(withPort && { protoMin: register(address.bytes / 4) }) };
}

interface MapPlace {
  readonly name: string;
  readonly id?: number;
  readonly shape: SetShape;
}

type FieldList = ReturnType<typeof keyFields>;

function namedMap(
  context: RuleContext,
  lookup: NatLookup,
  list: FieldList,
  data: readonly DataType[],
  option: string,
): MapPlace {
  const reference = lookup.map as `@${string}`;
  const place = namedShape(context, reference, list, `${option}.map`);
  const given = place.shape.data;
  if (!Array.isArray(given) || given.length !== data.length || data.some((type, index) => type !== given[index])) {
    throw new OptionError(`${option}.map`, `a map that gives ${data.map((type) => type.name).join(' . ')}`, reference);
  }
  return place;
}

function anonymousMap(
  context: RuleContext,
  lookup: NatLookup,
  list: FieldList,
  data: readonly DataType[],
  option: string,
): MapPlace {
  const types = list.map((field) => dataTypes[fieldSpec(field).type] as DataType);
  const map = lookup.map;
  if (!Array.isArray(map) || map.length === 0)
    throw new OptionError(`${option}.map`, "a list of entries, or the name of a map ('@name')", map);
  const entries = map.map(({ value, address, port }, index): Entry => {
    const place = `${option}.map[${index}]`;
    const parts: unknown[] = data.length > 1 ? [address, port] : [address];
    const bytes = parts.map(
      (part, at) => data[at]?.parse(part, `${place}.${at === 0 ? 'address' : 'port'}`) ?? new Uint8Array(0),
    );
    return {
      key: value === '*' ? 'others' : parseKey(types, value, `${place}.value`),
      data: { value: joined(bytes, data) },
    };
  });
  const shape: SetShape = { key: types, intervals: needIntervals(entries), data };
  return { name: anonymousMapName, id: addAnonymous(context, shape, entries, `${option}.map`).id, shape };
}

function joined(parts: readonly Uint8Array[], types: readonly DataType[]): Uint8Array {
  if (types.length === 1) return parts[0] ?? new Uint8Array(0);
  return Buffer.concat(parts.map((part) => Buffer.concat([part], Math.ceil(part.length / 4) * 4)));
}

function compileTproxy(context: RuleContext, { family, address, port }: Tproxy, option: string): void {
  requireFamily(context, family, option);
  if (address === undefined && port === undefined)
    throw new OptionError(`${option}.port`, 'an address, a port or both', port);
  requirePorts(context, port, `${option}.port`);
  const addr =
    address === undefined ? undefined : immediate(context, 0, addressType(family).parse(address, `${option}.address`));
  const proto =
    port === undefined ? undefined : immediate(context, 4, dataTypes.inet_service.parse(port, `${option}.port`));
  context.expressions.push({
    name: 'tproxy',
    family: nfFamilies[family],
    ...(addr !== undefined && { addr }),
    ...(proto !== undefined && { port: proto }),
  });
}

function compileSetField(context: RuleContext, { field, value }: SetField, option: string): void {
  const { expressions } = context;
  if (value === 'meta mark') expressions.push({ name: 'meta', key: metaKeys.mark, dreg: register(0) });
  else if (value === 'ct mark') expressions.push({ name: 'ct', key: trackingKeys.mark, dreg: register(0) });
  else {
    const most = field === 'meta nftrace' ? 1 : 2 ** 32 - 1;
    if (!Number.isSafeInteger(value) || value < 0 || value > most) {
      throw new OptionError(`${option}.value`, `a whole number from 0 to ${most}`, value);
    }
    immediate(context, 0, numberBytes(value, field === 'meta nftrace' ? 1 : 4, 'host'));
  }
  const sreg = register(0);
  if (field === 'ct mark') expressions.push({ name: 'ct', key: trackingKeys.mark, sreg });
  else if (field === 'meta mark') expressions.push({ name: 'meta', key: metaKeys.mark, sreg });
  else if (field === 'meta priority') expressions.push({ name: 'meta', key: metaKeys.priority, sreg });
  else if (field === 'meta nftrace') expressions.push({ name: 'meta', key: metaKeys.nftrace, sreg });
  else throw new OptionError(`${option}.field`, "'meta mark', 'ct mark', 'meta priority' or 'meta nftrace'", field);
}

export const updateOps = { add: 0, update: 1, delete: 2 } as const;

function compileSetUpdate(context: RuleContext, { kind, set, key, timeout }: SetUpdate, option: string): void {
  if (!isReference(set)) throw new OptionError(`${option}.set`, "the name of a set ('@name')", set);
  const list = keyFields(key, `${option}.key`);
  const { name, shape } = namedShape(context, set, list, `${option}.set`);
  load(context, list, shape, `${option}.key`);
  context.expressions.push({
    name: 'dynset',
    set: name,
    op: updateOps[kind],
    sregKey: register(0),
    ...(timeout !== undefined && { timeout: readInteger(timeout, `${option}.timeout`, 1, most64) }),
  });
}

function queueExpression({ num, flags }: Queue, option: string): Expression {
  const { from, to } = parseInterval(dataTypes.inet_service, num, `${option}.num`) as Interval;
  const first = ((from[0] ?? 0) << 8) | (from[1] ?? 0);
  const last = ((to[0] ?? 0) << 8) | (to[1] ?? 0);
  const sum = (flags?.includes('bypass') ? 1 : 0) | (flags?.includes('fanout') ? 2 : 0);
  return { name: 'queue', num: first, total: last - first + 1, flags: sum };
}
