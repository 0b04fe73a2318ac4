/** nf_tables of one network namespace: the public face. */

import { defineSchema, readInteger, readObject } from '../container/settings/schema.js';
import { OptionError, TscontainError } from '../errors.js';
import { Attributes } from '../netlink/attributes.js';
import { NetlinkError } from '../netlink/error.js';
import type { NetlinkMessage } from '../netlink/message.js';
import { NetlinkSocket } from '../netlink/socket.js';
import { type NetworkTarget, openNetwork } from '../network/target.js';
import {
  batchBegin,
  batchEnd,
  batchMessage,
  elementListAttribute,
  familyHeader,
  headerBytes,
  listRequest,
  messageNumber,
  type NftMessage,
} from './messages.js';
import {
  events,
  type MonitorOptions,
  type RulesetEvent,
  readRulesetEvent,
  readTraceEvent,
  type TraceEvent,
} from './monitor.js';
import { readFamily, readName } from './options.js';
import {
  assemble,
  type Part,
  readChainFacts,
  readElementsFacts,
  readObjectFacts,
  readPart,
  readRuleFacts,
  readSetFacts,
  readTableFacts,
  type SetFacts,
} from './read.js';
import type { Family, Ruleset } from './ruleset.js';
import { type KnownShapes, Transaction, tableKey } from './transaction.js';

const openKeys = defineSchema(['namespace']);
const transactionKeys = defineSchema(['generation']);
const listKeys = defineSchema(['family', 'table']);
const monitorKeys = defineSchema(['signal']);
/** How often a list is read again that changes while it is read. */
const attempts = 16;
const generationAttribute = 1;

/** Where a {@link Netfilter} works. */
export interface NetfilterOptions {
  /** The network namespace. Default: that of this process. */
  readonly namespace?: NetworkTarget;
}

/** How a transaction is committed. */
export interface TransactionOptions {
  /** Commit only if nothing has changed since this state, as `list()` and `generation()` tell. Default: whatever there is. */
  readonly generation?: number;
}

/** What `list()` is to read. */
export interface ListOptions {
  /** Default: all families. */
  readonly family?: Family;
  /** A table of that family. Default: all. */
  readonly table?: string;
}

/**
 * The packet filter of a network namespace, nf_tables: what nft(8) does, without running it. Changes are made in
 * transactions, of which all takes effect at once, or nothing. It takes CAP_NET_ADMIN in the user namespace that owns the
 * network namespace.
 *
 * @example
 * ```ts
 * import { Namespace, Netfilter, nft } from 'tscontain';
 *
 * await using net = await Namespace.create(['user', 'net']);
 * await using filter = await Netfilter.open({ namespace: net });
 * await filter.transaction((t) => {
 *   const table = t.table('inet', 'jobs', { owner: true });
 *   table.set('allowed', { type: 'ipv4_addr', intervals: true, elements: ['10.0.0.0/8'] });
 *   const input = table.chain('input', { base: { type: 'filter', hook: 'input', policy: 'drop' } });
 *   input.rule([nft.match('ct state', ['established', 'related']), nft.accept]);
 *   input.rule([nft.match('ip saddr', '@allowed'), nft.match('tcp dport', [80, 443]), nft.counter(), nft.accept]);
 * });
 * ```
 *
 * @see https://man7.org/linux/man-pages/man8/nft.8.html
 */
export class Netfilter implements AsyncDisposable {
  readonly #socket: NetlinkSocket;

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** @internal Over a socket that is there already, which is closed with it. */
  static of(socket: NetlinkSocket): Netfilter {
    return new Netfilter(socket);
  }

  /**
   * Opens the filter of a namespace. The namespace need not be kept open for it.
   * @throws OptionError, PermissionError, UnsupportedError
   */
  static async open(options: NetfilterOptions = {}): Promise<Netfilter> {
    const { namespace } = readObject(options, '', openKeys);
    if (namespace === undefined) return new Netfilter(await NetlinkSocket.open('netfilter'));
    const network = await openNetwork(namespace, 'namespace');
    try {
      return new Netfilter(await NetlinkSocket.open('netfilter', network));
    } finally {
      network.close();
    }
  }

  /**
   * Does everything that the function writes down, at one moment. The function is called once and does not wait.
   * @throws OptionError for what makes no sense, and then nothing was sent; NetlinkError for what the kernel refused, with
   *   the part that it refused, and then nothing was done (with errno ERESTART where `generation` was given and something
   *   has changed since)
   */
  async transaction(build: (transaction: Transaction) => void, options: TransactionOptions = {}): Promise<void> {
    const { generation } = readObject(options, 'options', transactionKeys);
    const since = generation === undefined ? undefined : readInteger(generation, 'options.generation', 0, 2 ** 32 - 1);
    const transaction = new Transaction();
    const answer: unknown = build(transaction);
    transaction.close();
    if (answer instanceof Promise) {
      answer.catch(() => {});
      throw new OptionError('build', 'a function that does not wait', 'an async function');
    }
    const requests = transaction.compile(await this.#shapes(transaction));
    if (requests.length === 0) return;
    await this.#commit([batchMessage(batchBegin, since), ...requests, batchMessage(batchEnd)]);
  }

  async #commit(requests: Parameters<NetlinkSocket['batch']>[0]): Promise<void> {
    try {
      await this.#socket.batch(requests);
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      throw withHint(error);
    }
  }

  /** The sets of the tables that a transaction uses. */
  async #shapes(transaction: Transaction): Promise<KnownShapes> {
    const shapes: KnownShapes = new Map();
    if (transaction.places.length === 0) return shapes;
    for (const set of await this.#read('GETSET', readSetFacts)) {
      const key = tableKey(set);
      const known = shapes.get(key) ?? new Map();
      if (set.shape) known.set(set.name, set.shape);
      shapes.set(key, known);
    }
    return shapes;
  }

  /** The number of the state that the ruleset is in. Every transaction makes another one. */
  async generation(): Promise<number> {
    const [answer] = await this.#socket.request({
      type: messageNumber('GETGEN'),
      header: familyHeader(0),
      doing: 'asking for the generation',
    });
    return (answer && Attributes.after(answer.body, headerBytes).u32be(generationAttribute)) ?? 0;
  }

  /**
   * All tables, or those of one family, or one, as they are at one moment. What can be written reads back the same.
   * @throws NetlinkError, with the code `ERR_NETLINK_INTERRUPTED` where it kept changing
   */
  async list(options: ListOptions = {}): Promise<Ruleset> {
    const { family, table } = readObject(options, 'options', listKeys);
    const only = family === undefined ? undefined : readFamily(family, 'options.family');
    const name = table === undefined ? undefined : readName(table, 'options.table');
    if (name !== undefined && only === undefined)
      throw new OptionError('options.family', 'the family of the table', family);
    for (let attempt = 0; attempt < attempts; attempt++) {
      const generation = await this.generation();
      const tables = await this.#tables(only, name).catch(goneMeanwhile);
      if (tables && generation === (await this.generation())) return { generation, tables };
    }
    throw new NetlinkError(
      'ERR_NETLINK_INTERRUPTED',
      `listing the ruleset: it changed ${attempts} times while it was read`,
      {
        hint: 'try again when less is going on',
      },
    );
  }

  async #tables(family: Family | undefined, name: string | undefined): Promise<Ruleset['tables']> {
    const wanted = (part: { readonly family: Family; readonly table?: string; readonly name?: string }) =>
      name === undefined || (part.table ?? part.name) === name;
    const tables = (await this.#read('GETTABLE', readTableFacts, family)).filter(wanted);
    const chains = (await this.#read('GETCHAIN', readChainFacts, family)).filter(wanted);
    const rules = (await this.#read('GETRULE', readRuleFacts, family)).filter(wanted);
    const sets = (await this.#read('GETSET', readSetFacts, family)).filter(wanted);
    const objects = (await this.#read('GETOBJ', readObjectFacts, family)).filter(wanted);
    const elements = [];
    for (const set of sets) elements.push(...(await this.#elements(set)));
    return assemble({ tables, chains, rules, sets, elements, objects });
  }

  async #elements(set: SetFacts) {
    const doing = `listing the elements of ${set.family} ${set.table} ${set.name}`;
    const messages = await this.#socket.dump(
      listRequest('GETSETELEM', set.family, doing, (writer) =>
        writer.string(elementListAttribute.TABLE, set.table).string(elementListAttribute.SET, set.name),
      ),
    );
    return messages.map(readPart).flatMap((part) => (part ? [readElementsFacts(part)] : []));
  }

  async #read<T>(message: NftMessage, read: (part: Part) => T, family?: Family): Promise<readonly T[]> {
    const messages: readonly NetlinkMessage[] = await this.#socket.dump(
      listRequest(message, family, `listing the ruleset (${message})`),
    );
    return messages.map(readPart).flatMap((part) => (part ? [read(part)] : []));
  }

  /**
   * Changes of the ruleset, whoever makes them, from this call on until the iteration is left.
   * @throws NetlinkError (`ERR_NETLINK_OVERRUN`) where events were lost; AbortedError
   */
  monitor(options: MonitorOptions = {}): AsyncIterableIterator<RulesetEvent> {
    return events(this.#socket, 'ruleset', readRulesetEvent, readSignal(options));
  }

  /**
   * The way of packets through rules, for those that a rule has marked for it (`nft.set('meta nftrace', 1)`), from this call on
   * until the iteration is left.
   * @throws NetlinkError (`ERR_NETLINK_OVERRUN`) where events were lost; AbortedError
   */
  trace(options: MonitorOptions = {}): AsyncIterableIterator<TraceEvent> {
    return events(this.#socket, 'trace', readTraceEvent, readSignal(options));
  }

  /** Tables whose owner this is are gone with it. */
  close(): void {
    this.#socket.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}

function readSignal(options: MonitorOptions): AbortSignal | undefined {
  const { signal } = readObject(options, 'options', monitorKeys);
  if (signal === undefined || signal instanceof AbortSignal) return signal;
  throw new OptionError('options.signal', 'an AbortSignal', signal);
}

/** A table or set that went away between two lists: the whole is read again. */
function goneMeanwhile(error: unknown): undefined {
  if (error instanceof TscontainError && error.errno === 'ENOENT') return undefined;
  throw error;
}

const hints: Readonly<Record<string, string>> = {
  EPERM: "it takes CAP_NET_ADMIN in the namespace, and a table with an owner is only its socket's",
  ENOENT: 'what it names does not exist, or this kernel lacks an expression (modules nft_…)',
  EOPNOTSUPP: 'not in this family or hook, or this kernel lacks an expression (modules nft_…)',
  EBUSY: 'something still uses it',
  EEXIST: 'there is one already that differs',
  ERESTART: 'the ruleset has changed since that generation',
};

function withHint(error: NetlinkError): NetlinkError {
  const hint = error.hint ?? (error.errno === undefined ? undefined : hints[error.errno]);
  if (hint === undefined) return error;
  const { errno, kernel, attribute, missing, errors } = error;
  // The beginning of the transaction is no part of it to whoever wrote it.
  const index = error.index === undefined || error.index === 0 ? undefined : error.index - 1;
  return new NetlinkError('ERR_NETLINK', error.message, {
    errno,
    kernel,
    attribute,
    missing,
    index,
    errors,
    hint,
    cause: error,
  });
}
