/** What changes in a network namespace, as it happens: multicast groups of rtnetlink(7). */

import { defineSchema, readList, readObject } from '../container/settings/schema.js';
import { AbortedError, OptionError } from '../errors.js';
import type { Descriptor } from '../launcher/native.js';
import { NetlinkError } from '../netlink/error.js';
import type { NetlinkMessage } from '../netlink/message.js';
import { NetlinkSocket } from '../netlink/socket.js';
import { type InterfaceAddress, readAddress } from './interface-addresses.js';
import type { Link } from './link/options.js';
import { readLink } from './link/read.js';
import { type Neighbour, readNeighbour } from './neighbours.js';
import { readRoute } from './route-message.js';
import type { Route } from './routes.js';
import { routeMessage } from './rtnetlink.js';
import { type RoutingRule, readRule } from './rules.js';

/** What is there now, or was, or that more has changed than could be told. */
export type NetworkEvent =
  | { readonly type: 'link'; readonly change: 'set' | 'removed'; readonly link: Link }
  | { readonly type: 'address'; readonly change: 'set' | 'removed'; readonly address: InterfaceAddress }
  | { readonly type: 'route'; readonly change: 'set' | 'removed'; readonly route: Route }
  | { readonly type: 'neighbour'; readonly change: 'set' | 'removed'; readonly neighbour: Neighbour }
  | { readonly type: 'rule'; readonly change: 'set' | 'removed'; readonly rule: RoutingRule }
  /** Events have been lost, so what is known may be out of date: list again. */
  | { readonly type: 'lost' };

export type NetworkEventType = Exclude<NetworkEvent['type'], 'lost'>;

export interface WatchOptions {
  /** Default all. */
  readonly types?: readonly NetworkEventType[];
  /** Ends the events with an AbortedError. */
  readonly signal?: AbortSignal;
}

/** RTNLGRP_… of linux/rtnetlink.h. */
const groupsOf: Readonly<Record<NetworkEventType, readonly number[]>> = {
  link: [1],
  neighbour: [3],
  address: [5, 9],
  route: [7, 11],
  rule: [8, 19],
};
const types = Object.keys(groupsOf) as NetworkEventType[];
const schema = defineSchema(['types', 'signal']);
/** Events that wait for a reader who is slow; then they are lost. */
const mostWaiting = 10_000;
/** Bytes that the kernel keeps while this thread is busy; less where the host's limit is lower. */
const receiveBuffer = 1024 * 1024;

interface WatchSettings {
  readonly types: readonly NetworkEventType[];
  readonly signal: AbortSignal | undefined;
}

/** @throws OptionError */
export function readWatchOptions(options: unknown): WatchSettings {
  const { types: given, signal } = readObject(options, '', schema);
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw new OptionError('signal', 'an AbortSignal', signal);
  if (given === undefined) return { types, signal };
  const list = readList(given, 'types', `a list of ${types.join(', ')}`, types.length);
  const wanted = list.map((value, index) => {
    const found = types.find((type) => type === value);
    if (found === undefined) throw new OptionError(`types[${index}]`, types.join(', '), value);
    return found;
  });
  return { types: wanted, signal };
}

/**
 * Events of one namespace, in their order, from when this was made. They are for one reader; waiting for the next one keeps
 * Node alive.
 */
export class NetworkEvents implements AsyncIterableIterator<NetworkEvent>, AsyncDisposable {
  readonly #socket: NetlinkSocket;
  readonly #signal: AbortSignal | undefined;
  readonly #waiting: NetworkEvent[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  readonly #onAbort = () => this.#end();

  private constructor(socket: NetlinkSocket, settings: WatchSettings) {
    this.#socket = socket;
    this.#signal = settings.signal;
    socket.setReceiveBuffer(receiveBuffer);
    socket.subscribe([...new Set(settings.types.flatMap((type) => groupsOf[type]))], {
      message: (message) => this.#push(eventOf(message)),
      overrun: () => this.#lose(),
    });
    settings.signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (settings.signal?.aborted) this.#end();
  }

  /** @internal */
  static async open(namespace: Descriptor | undefined, settings: WatchSettings): Promise<NetworkEvents> {
    const socket = await NetlinkSocket.open('route', namespace);
    try {
      return new NetworkEvents(socket, settings);
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  async next(): Promise<IteratorResult<NetworkEvent, undefined>> {
    while (this.#waiting.length === 0) {
      if (this.#signal?.aborted) {
        throw new AbortedError('watching the network was aborted', { cause: this.#signal.reason });
      }
      if (this.#ended) return { done: true, value: undefined };
      this.#socket.ref(true);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#socket.ref(false);
    }
    return { done: false, value: this.#waiting.shift() as NetworkEvent };
  }

  /** Ends the events. */
  async return(): Promise<IteratorResult<NetworkEvent, undefined>> {
    this.#waiting.length = 0;
    this.#end();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #push(event: NetworkEvent | undefined): void {
    if (event === undefined || this.#ended) return;
    if (this.#waiting.length >= mostWaiting) this.#lose();
    else this.#waiting.push(event);
    this.#wake?.();
  }

  /** What waits is no more use: whoever reads that something is lost looks at everything. */
  #lose(): void {
    this.#waiting.length = 0;
    this.#waiting.push({ type: 'lost' });
    this.#wake?.();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#socket.close();
    this.#wake?.();
  }
}

/** Undefined for what is not told of: other families, such as a bridge's view of its ports. */
function eventOf(message: NetlinkMessage): NetworkEvent | undefined {
  try {
    return decode(message);
  } catch (error) {
    // A message that cannot be read is one that is lost.
    if (error instanceof NetlinkError) return { type: 'lost' };
    throw error;
  }
}

function decode({ type, body }: NetlinkMessage): NetworkEvent | undefined {
  const unspecified = body.length > 0 && body.readUInt8(0) === 0;
  switch (type) {
    case routeMessage.NEWLINK:
    case routeMessage.DELLINK:
      return unspecified
        ? { type: 'link', change: type === routeMessage.NEWLINK ? 'set' : 'removed', link: readLink(body) }
        : undefined;
    case routeMessage.NEWADDR:
    case routeMessage.DELADDR: {
      const address = readAddress(body);
      return address && { type: 'address', change: type === routeMessage.NEWADDR ? 'set' : 'removed', address };
    }
    case routeMessage.NEWROUTE:
    case routeMessage.DELROUTE: {
      const route = readRoute(body);
      return route && { type: 'route', change: type === routeMessage.NEWROUTE ? 'set' : 'removed', route };
    }
    case routeMessage.NEWNEIGH:
    case routeMessage.DELNEIGH: {
      const neighbour = readNeighbour(body);
      return neighbour && { type: 'neighbour', change: type === routeMessage.NEWNEIGH ? 'set' : 'removed', neighbour };
    }
    case routeMessage.NEWRULE:
    case routeMessage.DELRULE: {
      const rule = readRule(body);
      return rule && { type: 'rule', change: type === routeMessage.NEWRULE ? 'set' : 'removed', rule };
    }
  }
  return undefined;
}
