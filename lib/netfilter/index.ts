/** nf_tables: tables, chains, rules, sets and maps, typed, over netlink. */

export type { SetTypeName as NftSetType } from './data-types.js';
export type { Field as NftField } from './fields.js';
export type { MonitorOptions, RulesetEvent, TracedPacket, TraceEvent } from './monitor.js';
export { type ListOptions, Netfilter, type NetfilterOptions, type TransactionOptions } from './netfilter.js';
export { type Compared as NftCompared, nft } from './nft.js';
export type {
  BaseChain as NftBaseChain,
  Chain as NftChain,
  ChainOptions as NftChainOptions,
  ChainType as NftChainType,
  ElementOptions as NftElementOptions,
  Family as NftFamily,
  Hook as NftHook,
  ListedElement as NftListedElement,
  ListedObject as NftListedObject,
  ListedSet as NftSet,
  NamedObject as NftObject,
  PriorityName as NftPriority,
  Rule as NftRule,
  RuleOptions as NftRuleOptions,
  Ruleset as NftRuleset,
  SetElement as NftSetElement,
  SetOptions as NftSetOptions,
  Table as NftTable,
  TableOptions as NftTableOptions,
} from './ruleset.js';
export type {
  ConnectionCount as NftConnectionCount,
  Counter as NftCounter,
  Key as NftKey,
  Limit as NftLimit,
  LimitPeriod as NftLimitPeriod,
  Log as NftLog,
  LogLevel as NftLogLevel,
  Masquerade as NftMasquerade,
  Match as NftMatch,
  Nat as NftNat,
  NatFlag as NftNatFlag,
  NatLookup as NftNatLookup,
  NatMapEntry as NftNatMapEntry,
  NoTrack as NftNoTrack,
  NumberOrRange,
  Operator as NftOperator,
  Queue as NftQueue,
  Quota as NftQuota,
  Redirect as NftRedirect,
  Reject as NftReject,
  SetField as NftSetField,
  SetReference as NftSetReference,
  SetUpdate as NftSetUpdate,
  Statement as NftStatement,
  Tproxy as NftTproxy,
  Tuple as NftTuple,
  UnknownStatement as NftUnknownStatement,
  Value as NftValue,
  ValueOf as NftValueOf,
  ValuesByType as NftValuesByType,
  Verdict as NftVerdict,
  VerdictMap as NftVerdictMap,
  VerdictMapEntry as NftVerdictMapEntry,
} from './statement.js';
export type { ChainChanges, SetChanges, TableChanges, TableContents, Transaction } from './transaction.js';
