/** Rules that choose the routing table for a packet (rtnetlink(7), RTM_NEWRULE; ip-rule(8)). */

import { defineSchema, readChoice, readInteger, readObject } from '../container/settings/schema.js';
import { OptionError } from '../errors.js';
import { Attributes, AttributeWriter } from '../netlink/attributes.js';
import { messageFlag } from '../netlink/message.js';
import { familyNumber, familyOf, formatPrefix, type IpFamily, type IpPrefix, readNetwork } from './address.js';
import { readFamily } from './interface-addresses.js';
import { readLinkName } from './link/settings.js';
import { routeLength, writeRouteHeader } from './route-message.js';
import { fra, type Rtnetlink, routeMessage, ruleNames } from './rtnetlink.js';
import { type RouteTable, readTable, tableOf, wordOf } from './scope.js';

export type RoutingRuleAction = 'table' | 'blackhole' | 'unreachable' | 'prohibit';

/** A rule: what packets it is for, and what becomes of them. */
export interface RoutingRuleOptions {
  /** Default that of `from` and `to`, else `'ipv4'`. */
  readonly family?: IpFamily;
  /** Rules are asked in ascending order. Default one before the first that is not 0. */
  readonly priority?: number;
  readonly from?: string;
  readonly to?: string;
  /** The name of the link that it came in by; `'lo'` for what is made here. */
  readonly inputLink?: string;
  readonly outputLink?: string;
  /** Its mark (nft `meta mark`), of the bits in `mask`, which is all by default. */
  readonly mark?: number;
  readonly mask?: number;
  /** Default `'table'`. */
  readonly action?: RoutingRuleAction;
  /** The table that is looked in. Default `'main'`. */
  readonly table?: RouteTable;
  /** Routes with so long a prefix, or a shorter one, do not count. */
  readonly suppressPrefixLength?: number;
}

export interface RoutingRule {
  readonly family: IpFamily;
  readonly priority: number;
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly inputLink: string | undefined;
  readonly outputLink: string | undefined;
  readonly mark: number | undefined;
  readonly mask: number | undefined;
  readonly action: RoutingRuleAction | number;
  readonly table: RouteTable | undefined;
  readonly suppressPrefixLength: number | undefined;
}

/** FR_ACT_… of linux/fib_rules.h. */
const actionOf: Readonly<Record<RoutingRuleAction, number>> = { table: 1, blackhole: 6, unreachable: 7, prohibit: 8 };
const actions = Object.keys(actionOf) as RoutingRuleAction[];
const schema = defineSchema([
  'family',
  'priority',
  'from',
  'to',
  'inputLink',
  'outputLink',
  'mark',
  'mask',
  'action',
  'table',
  'suppressPrefixLength',
]);
const listSchema = defineSchema(['family']);
const all32 = 2 ** 32 - 1;

/** Rules of a namespace. */
export class RoutingRules {
  readonly #rtnetlink: Rtnetlink;

  /** @internal */
  constructor(rtnetlink: Rtnetlink) {
    this.#rtnetlink = rtnetlink;
  }

  async list(options: { readonly family?: IpFamily } = {}): Promise<RoutingRule[]> {
    const { family } = readObject(options, '', listSchema);
    const number = family === undefined ? 0 : familyNumber[readFamily(family, 'family')];
    const messages = await this.#rtnetlink.dump({
      type: routeMessage.GETRULE,
      header: writeRouteHeader({ family: number }),
      doing: 'listing rules',
      names: ruleNames,
    });
    return messages.flatMap(({ body }) => readRule(body) ?? []);
  }

  /** @throws OptionError; NetlinkError with `errno` EEXIST where there is the same; PermissionError */
  async add(rule: RoutingRuleOptions): Promise<void> {
    await this.#send(routeMessage.NEWRULE, messageFlag.CREATE | messageFlag.EXCL, rule, 'adding');
  }

  /** Removes the first that fits. @throws NetlinkError with `errno` ENOENT where there is none */
  async remove(rule: RoutingRuleOptions): Promise<void> {
    await this.#send(routeMessage.DELRULE, 0, rule, 'removing');
  }

  async #send(type: number, flags: number, options: RoutingRuleOptions, doing: string): Promise<void> {
    const { header, attributes } = readRuleOptions(options, type === routeMessage.DELRULE);
    await this.#rtnetlink.request({ type, flags, header, attributes, doing: `${doing} a rule`, names: ruleNames });
  }
}

function readRuleOptions(
  options: unknown,
  removing: boolean,
): { readonly header: Buffer; readonly attributes: Buffer } {
  const fields = readObject(options, '', schema);
  const from = fields.from === undefined ? undefined : readNetwork(fields.from, 'from');
  const to = fields.to === undefined ? undefined : readNetwork(fields.to, 'to');
  const family =
    fields.family === undefined ? (from?.family ?? to?.family ?? 'ipv4') : readFamily(fields.family, 'family');
  expectFamily(from, family, 'from', fields.from);
  expectFamily(to, family, 'to', fields.to);
  const attributes = new AttributeWriter();
  if (from !== undefined) attributes.binary(fra.SRC, from.bytes);
  if (to !== undefined) attributes.binary(fra.DST, to.bytes);
  const put = (key: 'priority' | 'mark' | 'mask', attribute: number) => {
    if (fields[key] !== undefined) attributes.u32(attribute, readInteger(fields[key], key, 0, all32));
  };
  put('priority', fra.PRIORITY);
  put('mark', fra.FWMARK);
  put('mask', fra.FWMASK);
  if (fields.inputLink !== undefined) attributes.string(fra.IIFNAME, readLinkName(fields.inputLink, 'inputLink'));
  if (fields.outputLink !== undefined) attributes.string(fra.OIFNAME, readLinkName(fields.outputLink, 'outputLink'));
  if (fields.suppressPrefixLength !== undefined) {
    const length = readInteger(fields.suppressPrefixLength, 'suppressPrefixLength', 0, family === 'ipv4' ? 32 : 128);
    attributes.u32(fra.SUPPRESS_PREFIXLEN, length);
  }
  const action = fields.action === undefined ? undefined : readChoice(fields.action, 'action', actions);
  const table = readRuleTable(fields.table, action, removing);
  if (table !== undefined) attributes.u32(fra.TABLE, table);
  const header = writeRouteHeader({
    family: familyNumber[family],
    length: to?.length ?? 0,
    table: table !== undefined && table < 256 ? table : 0,
    type: action === undefined && removing ? 0 : actionOf[action ?? 'table'],
  });
  header.writeUInt8(from?.length ?? 0, 2);
  return { header, attributes: attributes.bytes() };
}

function readRuleTable(value: unknown, action: RoutingRuleAction | undefined, removing: boolean): number | undefined {
  if (action !== undefined && action !== 'table') {
    if (value !== undefined) throw new OptionError('table', `no table for the action ${action}`, value);
    return undefined;
  }
  if (value === undefined) return removing ? undefined : tableOf.main;
  return readTable(value, 'table');
}

function expectFamily(prefix: IpPrefix | undefined, family: IpFamily, option: string, value: unknown): void {
  if (prefix !== undefined && prefix.family !== family) throw new OptionError(option, `a network of ${family}`, value);
}

/** Undefined for another family's. `struct fib_rule_hdr` is laid out as `struct rtmsg`. */
export function readRule(body: Buffer): RoutingRule | undefined {
  const attributes = Attributes.after(body, routeLength);
  const family = familyOf(body.readUInt8(0));
  if (family === undefined) return undefined;
  const prefix = (attribute: number, length: number) => {
    const bytes = attributes.binary(attribute);
    return bytes && formatPrefix({ bytes, length });
  };
  const action = wordOf(actionOf, body.readUInt8(7));
  const suppressed = attributes.u32(fra.SUPPRESS_PREFIXLEN);
  return {
    family,
    priority: attributes.u32(fra.PRIORITY) ?? 0,
    from: prefix(fra.SRC, body.readUInt8(2)),
    to: prefix(fra.DST, body.readUInt8(1)),
    inputLink: attributes.string(fra.IIFNAME),
    outputLink: attributes.string(fra.OIFNAME),
    mark: attributes.u32(fra.FWMARK),
    mask: attributes.u32(fra.FWMASK),
    action,
    table:
      action === 'table' ? (wordOf(tableOf, attributes.u32(fra.TABLE) ?? body.readUInt8(4)) as RouteTable) : undefined,
    suppressPrefixLength: suppressed === all32 ? undefined : suppressed,
  };
}
