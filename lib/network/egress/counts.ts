/** What has gone where, for each destination. */

import type { Socket } from 'node:net';
import type { EgressDestination, EgressStats } from './options.js';

interface Count {
  readonly host: string;
  readonly port: number;
  connections: number;
  sent: number;
  received: number;
  /** The program's ends of those that are open. */
  readonly open: Set<Socket>;
}

/** A program can connect to any number of destinations; memory is bounded by counting the rest as one. */
const mostDestinations = 4096;

export class EgressCounts {
  readonly #counts = new Map<string, Count>();
  denied = 0;

  /** Counts a connection, whose bytes are those of the socket, until the returned function is called. */
  begin(host: string, port: number, socket: Socket): () => void {
    const count = this.#of(host, port);
    count.connections++;
    count.open.add(socket);
    return () => {
      if (!count.open.delete(socket)) return;
      count.sent += socket.bytesRead;
      count.received += socket.bytesWritten;
    };
  }

  #of(host: string, port: number): Count {
    const key = `${host} ${port}`;
    const known = this.#counts.get(key);
    if (known) return known;
    if (this.#counts.size >= mostDestinations && host !== '*') return this.#of('*', 0);
    const count: Count = { host, port, connections: 0, sent: 0, received: 0, open: new Set() };
    this.#counts.set(key, count);
    return count;
  }

  get stats(): EgressStats {
    const destinations = [...this.#counts.values()].map(read);
    const sum = (key: 'connections' | 'open' | 'sent' | 'received') =>
      destinations.reduce((total, one) => total + one[key], 0);
    return {
      connections: sum('connections'),
      open: sum('open'),
      denied: this.denied,
      sent: sum('sent'),
      received: sum('received'),
      destinations,
    };
  }
}

function read({ host, port, connections, open, ...bytes }: Count): EgressDestination {
  let { sent, received } = bytes;
  for (const socket of open) {
    sent += socket.bytesRead;
    received += socket.bytesWritten;
  }
  return { host, port, connections, open: open.size, sent, received };
}
