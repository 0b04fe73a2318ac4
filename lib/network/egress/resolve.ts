/** Names to addresses, on the host's side: by the servers of the host or of the caller, kept as long as they say. */

import { Resolver } from 'node:dns/promises';
import { type IpAddress, parseIp } from '../address.js';

export interface Resolved {
  readonly addresses: readonly IpAddress[];
  /** The caller has given them, so they may be any. */
  readonly given: boolean;
  /** Seconds for which they may be kept. */
  readonly ttl: number;
  /** No server has said whether there are any. */
  readonly failed: boolean;
}

interface Kept {
  readonly until: number;
  readonly resolved: Promise<Resolved>;
}

const mostKept = 10_000;
/** Seconds. */
const longest = 3600;
const shortest = 1;
const nothingFor = 5;
const givenFor = 60;
const patience = { timeout: 3000, tries: 2 };
/** The server has answered: there is no such name, or it has no such address. */
const answered: ReadonlySet<unknown> = new Set(['ENOTFOUND', 'ENODATA']);

export class NameResolver {
  readonly #resolver: Resolver;
  readonly #hosts: ReadonlyMap<string, readonly IpAddress[]>;
  readonly #kept = new Map<string, Kept>();

  constructor(servers: readonly string[], hosts: ReadonlyMap<string, readonly IpAddress[]>) {
    this.#resolver = new Resolver(patience);
    if (servers.length > 0) this.#resolver.setServers(servers);
    this.#hosts = hosts;
  }

  /** Never rejects. Who asks for a name that is being asked for already gets the same answer. */
  resolve(name: string): Promise<Resolved> {
    const given = this.#hosts.get(name);
    if (given) return Promise.resolve({ addresses: given, given: true, ttl: givenFor, failed: false });
    const known = this.#kept.get(name);
    if (known && performance.now() < known.until) return known.resolved;
    const resolved = this.#ask(name);
    this.#keep(name, Number.POSITIVE_INFINITY, resolved);
    resolved.then(({ ttl, failed }) => {
      if (failed) this.#kept.delete(name);
      else this.#keep(name, performance.now() + ttl * 1000, resolved);
    });
    return resolved;
  }

  #keep(name: string, until: number, resolved: Promise<Resolved>): void {
    this.#kept.delete(name);
    this.#kept.set(name, { until, resolved });
    if (this.#kept.size <= mostKept) return;
    for (const oldest of this.#kept.keys()) {
      this.#kept.delete(oldest);
      return;
    }
  }

  async #ask(name: string): Promise<Resolved> {
    const [ipv4, ipv6] = await Promise.allSettled([
      this.#resolver.resolve4(name, { ttl: true }),
      this.#resolver.resolve6(name, { ttl: true }),
    ]);
    const records = [ipv4, ipv6].flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    const addresses = records.flatMap(({ address }) => parseIp(address) ?? []);
    const failed = [ipv4, ipv6].some(
      (answer) => answer.status === 'rejected' && !answered.has((answer.reason as { code?: unknown }).code),
    );
    const ttl = Math.min(longest, ...records.map((record) => record.ttl));
    return {
      addresses,
      given: false,
      ttl: addresses.length === 0 ? nothingFor : Math.max(shortest, ttl),
      failed: failed && addresses.length === 0,
    };
  }

  /** What is being asked for has no answer. */
  close(): void {
    this.#resolver.cancel();
    this.#kept.clear();
  }
}
