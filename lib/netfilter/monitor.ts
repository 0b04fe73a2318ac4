/** What the kernel tells of while it happens: changes of a ruleset, and the way of packets that are traced. */

import { AbortedError } from '../errors.js';
import { Attributes } from '../netlink/attributes.js';
import { NetlinkError } from '../netlink/error.js';
import type { NetlinkMessage } from '../netlink/message.js';
import type { NetlinkSocket } from '../netlink/socket.js';
import { formatIp } from '../network/address.js';
import type { readData } from './attributes.js';
import { verdictOf } from './interpret.js';
import { headerBytes, messageName } from './messages.js';
import { inetProtocols, nameOf } from './names.js';
import {
  type Part,
  readChainFacts,
  readElementsFacts,
  readObjectFacts,
  readPart,
  readRuleFacts,
  readSetFacts,
  readTableFacts,
} from './read.js';
import type { Family } from './ruleset.js';
import type { Verdict } from './statement.js';

/** NFNLGRP_NFTABLES and NFNLGRP_NFTRACE. */
const group = { ruleset: 7, trace: 9 } as const;
/** Events that may wait for whoever reads them. */
const mostWaiting = 65_536;

/** Something of a ruleset that is there now, or is gone. */
export type RulesetEvent =
  | {
      readonly event: 'added' | 'removed';
      readonly what: 'table';
      readonly family: Family;
      readonly table: string;
      readonly handle: number;
    }
  | {
      readonly event: 'added' | 'removed';
      readonly what: 'chain' | 'set' | 'object';
      readonly family: Family;
      readonly table: string;
      readonly name: string;
      readonly handle: number;
    }
  | {
      readonly event: 'added' | 'removed';
      readonly what: 'rule';
      readonly family: Family;
      readonly table: string;
      readonly chain: string;
      readonly handle: number;
      readonly comment?: string;
    }
  | {
      readonly event: 'added' | 'removed';
      readonly what: 'elements';
      readonly family: Family;
      readonly table: string;
      readonly set: string;
      readonly count: number;
    }
  /** A transaction was committed: what has been told since the last one belongs to it. */
  | {
      readonly event: 'committed';
      readonly generation: number;
      /** Who has committed it, by its process id in the first pid namespace, and the name of its program. */
      readonly pid: number;
      readonly program: string;
    };

/** A rule, or the policy of a chain, that a traced packet has come by. A packet is traced by `nft.set('meta nftrace', 1)`. */
export interface TraceEvent {
  /** The same for one packet. */
  readonly id: number;
  readonly family: Family;
  readonly table: string;
  readonly chain: string;
  readonly kind: 'rule' | 'return' | 'policy';
  readonly verdict: Verdict;
  /** The rule, where it was one. */
  readonly handle?: number;
  /** Interfaces by index. */
  readonly iif?: number;
  readonly oif?: number;
  readonly mark?: number;
  /** With the first event of a packet. */
  readonly packet?: TracedPacket;
}

export interface TracedPacket {
  readonly source: string;
  readonly destination: string;
  readonly protocol: string | number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
}

export interface MonitorOptions {
  /** Ends the iteration, with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Events as they come, until the iteration is left. What comes while nobody reads waits. */
export function events<T>(
  socket: NetlinkSocket,
  which: keyof typeof group,
  read: (message: NetlinkMessage) => T | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, undefined> {
  const waiting: T[] = [];
  let failure: Error | undefined;
  let wake = () => {};
  const fail = (error: Error) => {
    failure ??= error;
    wake();
  };
  // Joined here and not when the first event is asked for: nothing that happens from now on is missed.
  const leave = socket.subscribe([group[which]], {
    message(message) {
      const event = read(message);
      if (event === undefined) return;
      if (waiting.push(event) > mostWaiting) fail(lost('too many events were waiting to be read'));
      wake();
    },
    overrun: () => fail(lost('events were lost, as too many came at once')),
  });
  return iterate();

  async function* iterate(): AsyncGenerator<T, void, undefined> {
    const abort = () => fail(new AbortedError('the monitor was ended', { cause: signal?.reason }));
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort, { once: true });
    socket.ref(true);
    try {
      for (;;) {
        const next = waiting.shift();
        if (next !== undefined) {
          yield next;
          continue;
        }
        if (failure) throw failure;
        if (socket.isClosed) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      signal?.removeEventListener('abort', abort);
      leave();
      socket.ref(false);
    }
  }
}

function lost(text: string): NetlinkError {
  return new NetlinkError('ERR_NETLINK_OVERRUN', `monitoring the ruleset: ${text}`, {
    hint: 'list the ruleset, and begin anew',
  });
}

/** Undefined for what this library does not know. */
export function readRulesetEvent(message: NetlinkMessage): RulesetEvent | undefined {
  const name = messageName(message.type);
  if (name === 'NEWGEN') return readGeneration(Attributes.after(message.body, headerBytes));
  const part = readPart(message);
  if (!part || !name) return undefined;
  const event = name.startsWith('NEW') ? 'added' : name.startsWith('DEL') ? 'removed' : undefined;
  return event && readChange(event, name.slice(3), part);
}

function readGeneration(attributes: Attributes): RulesetEvent {
  return {
    event: 'committed',
    generation: attributes.u32be(1) ?? 0,
    pid: attributes.u32be(2) ?? 0,
    program: attributes.string(3) ?? '',
  };
}

function readChange(event: 'added' | 'removed', what: string, part: Part): RulesetEvent | undefined {
  const { family } = part;
  switch (what) {
    case 'TABLE': {
      const { name, handle } = readTableFacts(part);
      return { event, what: 'table', family, table: name, handle };
    }
    case 'CHAIN': {
      const { table, name, handle } = readChainFacts(part);
      return { event, what: 'chain', family, table, name, handle };
    }
    case 'RULE': {
      const { table, chain, handle, comment } = readRuleFacts(part);
      return { event, what: 'rule', family, table, chain, handle, ...(comment !== undefined && { comment }) };
    }
    case 'SET': {
      const { table, name, handle } = readSetFacts(part);
      return { event, what: 'set', family, table, name, handle };
    }
    case 'SETELEM': {
      const { table, set, elements } = readElementsFacts(part);
      return { event, what: 'elements', family, table, set, count: elements.filter(({ end }) => !end).length };
    }
    case 'OBJ': {
      const { table, object } = readObjectFacts(part);
      return object && { event, what: 'object', family, table, name: object.name, handle: object.handle };
    }
    default:
      return undefined;
  }
}

const trace = {
  TABLE: 1,
  CHAIN: 2,
  RULE_HANDLE: 3,
  TYPE: 4,
  VERDICT: 5,
  ID: 6,
  NETWORK_HEADER: 8,
  TRANSPORT_HEADER: 9,
  IIF: 10,
  OIF: 12,
  MARK: 14,
  POLICY: 16,
} as const;
const traceKinds = { policy: 1, return: 2, rule: 3 } as const;

export function readTraceEvent(message: NetlinkMessage): TraceEvent | undefined {
  const part = messageName(message.type) === 'TRACE' ? readPart(message) : undefined;
  if (!part) return undefined;
  const { family, attributes } = part;
  const kind = nameOf(traceKinds, attributes.u32be(trace.TYPE) ?? -1);
  const verdict = readVerdict(attributes, kind);
  if (!kind || !verdict) return undefined;
  const handle = attributes.u64be(trace.RULE_HANDLE);
  const iif = attributes.u32be(trace.IIF);
  const oif = attributes.u32be(trace.OIF);
  const mark = attributes.u32be(trace.MARK);
  const packet = readPacket(attributes);
  return {
    id: attributes.u32be(trace.ID) ?? 0,
    family,
    table: attributes.string(trace.TABLE) ?? '',
    chain: attributes.string(trace.CHAIN) ?? '',
    kind,
    verdict,
    ...(handle !== undefined && { handle: Number(handle) }),
    ...(iif !== undefined && { iif }),
    ...(oif !== undefined && { oif }),
    ...(mark !== undefined && { mark }),
    ...(packet && { packet }),
  };
}

function readVerdict(attributes: Attributes, kind: TraceEvent['kind'] | undefined): Verdict | undefined {
  if (kind === 'policy') {
    const policy = attributes.u32be(trace.POLICY);
    return policy === undefined ? undefined : { kind: policy === 0 ? 'drop' : 'accept' };
  }
  const verdict = attributes.nested(trace.VERDICT);
  const code = verdict?.u32be(1);
  if (verdict === undefined || code === undefined) return undefined;
  const chain = verdict.string(2);
  try {
    return verdictOf(readVerdictData(code, chain));
  } catch {
    return undefined; // stolen, queued: no verdict of a rule
  }
}

function readVerdictData(code: number, chain: string | undefined): ReturnType<typeof readData> {
  return { verdict: code | 0, ...(chain !== undefined && { chain }) };
}

/** Only as much of the headers as the kernel hands over. */
function readPacket(attributes: Attributes): TracedPacket | undefined {
  const network = attributes.binary(trace.NETWORK_HEADER);
  const isIp = network !== undefined && network.length >= 20 && (network[0] ?? 0) >> 4 === 4;
  const isIp6 = network !== undefined && network.length >= 40 && (network[0] ?? 0) >> 4 === 6;
  if (!network || !(isIp || isIp6)) return undefined;
  const protocol = network[isIp ? 9 : 6] ?? 0;
  const [source, destination] = isIp
    ? [network.subarray(12, 16), network.subarray(16, 20)]
    : [network.subarray(8, 24), network.subarray(24, 40)];
  const transport = attributes.binary(trace.TRANSPORT_HEADER);
  const hasPorts = protocol === inetProtocols.tcp || protocol === inetProtocols.udp;
  return {
    source: formatIp(source ?? network),
    destination: formatIp(destination ?? network),
    protocol: nameOf(inetProtocols, protocol) ?? protocol,
    ...(hasPorts &&
      transport &&
      transport.length >= 4 && {
        sourcePort: transport.readUInt16BE(0),
        destinationPort: transport.readUInt16BE(2),
      }),
  };
}
