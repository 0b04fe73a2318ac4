/** Who hears of which multicast group of a socket. */

import type { NativeNetlinkSocket } from '../launcher/native.js';
import { NetlinkError } from './error.js';
import type { NetlinkMessage } from './message.js';

/** Hears of events. */
export interface NetlinkListener {
  /** A message of a multicast group. */
  message(message: NetlinkMessage, group: number): void;
  /** Events have been lost, because too many came at once: what is known may be out of date. */
  overrun(): void;
}

export class Subscriptions {
  readonly #socket: NativeNetlinkSocket;
  readonly #listeners = new Map<number, Set<NetlinkListener>>();

  constructor(socket: NativeNetlinkSocket) {
    this.#socket = socket;
  }

  /** Joins groups for a listener; what is returned leaves them. @throws NetlinkError where the kernel refuses one */
  add(groups: readonly number[], listener: NetlinkListener): () => void {
    const joined: number[] = [];
    const leave = () => {
      for (const group of joined.splice(0)) this.#leave(group, listener);
    };
    for (const group of groups) {
      const listeners = this.#listeners.get(group) ?? new Set();
      const errno = listeners.size === 0 ? this.#socket.membership(group, true) : 0;
      if (errno !== 0) {
        leave();
        throw new NetlinkError('ERR_NETLINK', `joining the multicast group ${group}`, { errno, syscall: 'setsockopt' });
      }
      this.#listeners.set(group, listeners.add(listener));
      joined.push(group);
    }
    return leave;
  }

  tell(message: NetlinkMessage, group: number): void {
    for (const listener of [...(this.#listeners.get(group) ?? [])]) callBack(() => listener.message(message, group));
  }

  lost(): void {
    const all = new Set([...this.#listeners.values()].flatMap((listeners) => [...listeners]));
    for (const listener of all) callBack(() => listener.overrun());
  }

  clear(): void {
    this.#listeners.clear();
  }

  #leave(group: number, listener: NetlinkListener): void {
    const listeners = this.#listeners.get(group);
    if (!listeners?.delete(listener) || listeners.size > 0) return;
    this.#listeners.delete(group);
    this.#socket.membership(group, false);
  }
}

/** What a listener throws is its own matter, and keeps nobody else from hearing. */
function callBack(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
