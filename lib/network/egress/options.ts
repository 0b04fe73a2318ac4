/** What a caller says about outgoing connections, and is told of them. Only types; `settings.ts` checks them. */

import type { Duplex } from 'node:stream';

/** A connection that a program has opened, before anything of it has left the container. */
export interface EgressConnection {
  /** Counts up in each container, from 1. */
  readonly id: number;
  /** The name that the program has asked for, lower case; undefined where it connected to an address of its own accord. */
  readonly name: string | undefined;
  /** What it connected to. With a name this is a stand-in that only means something in the container. */
  readonly address: string;
  readonly family: 'ipv4' | 'ipv6';
  readonly port: number;
  /** Aborts when the container has ended. */
  readonly signal: AbortSignal;
}

/** Serves a connection in place of its destination: what the program sends is read, what is written goes to it. */
export type EgressHandler = (stream: Duplex, connection: EgressConnection) => unknown;

/** What a connection leads to in place of its destination. It is the caller's choice, and not judged again. */
export type EgressTarget =
  /** A host of this process's network, an address or a name, such as `127.0.0.1`. */
  | { readonly host: string; readonly port: number }
  /** The path of a socket on this host (unix(7)). */
  | { readonly unix: string }
  | EgressHandler;

/** What becomes of a connection. */
export type EgressDecision = 'allow' | 'deny' | { readonly connect: EgressTarget };

/**
 * Decides a connection. What it throws is a refusal. `'allow'` leads to the destination itself; never to this host, its loopback
 * or its link, nor to the metadata of a cloud, and by name not to a private network: for these there is `connect`.
 */
export type EgressDecide = (connection: EgressConnection) => EgressDecision | Promise<EgressDecision>;

/** How names become addresses, on the host's side, when they are allowed. */
export interface EgressDns {
  /** Servers to ask, as `'192.0.2.53'` or `'192.0.2.53:5353'`. Default: those of this host (/etc/resolv.conf). */
  readonly servers?: readonly string[];
  /** Names whose addresses are given, and nobody is asked for. They may be any addresses. */
  readonly hosts?: Readonly<Record<string, string | readonly string[]>>;
}

/**
 * Where a container's programs may connect to. Exactly one of `allow` and `decide`.
 *
 * A pattern is a host and, after a colon, a port or a range of ports; without that it stands for every port. The host is a name
 * (`'api.example.com:443'`), the names below one (`'*.example.org'`), every name (`'*'`), an address or a network
 * (`'10.0.0.0/8:5432'`, `'[2001:db8::]/32:443'`).
 *
 * A pattern with a wide network does not open what is special inside it: private networks, this host's own addresses, link-local
 * and metadata addresses are reached only by a pattern that lies within them, as `'192.168.7.0/24'` does.
 */
export interface EgressOptions {
  /** At most 10,000. What fits none of them is refused. */
  readonly allow?: readonly string[];
  /** Refused, whatever else says; also an address that a name turns out to have. At most 10,000. */
  readonly deny?: readonly string[];
  readonly decide?: EgressDecide;
  readonly dns?: EgressDns;
  /** Connections at once; more are refused. Default 1024. Each takes two descriptors of this process. */
  readonly connections?: number;
  /** Hears of each refusal, also where there is no container to listen to (`Container.run`). */
  readonly onDenied?: (refusal: DeniedEgress) => void;
}

/** The rules, or the function that decides every connection. */
export type EgressPolicy = EgressOptions | EgressDecide;

/** The network of a container whose outgoing connections are decided in this process. */
export interface EgressNetwork {
  readonly egress: EgressPolicy;
}

/** Why something was refused. */
export type EgressReason =
  /** No pattern of `allow` is about it. */
  | 'not-allowed'
  /** A pattern of `deny` is. */
  | 'denied'
  /** The function has said so. */
  | 'decided'
  /** The function failed, or answered what cannot be done: `error` says how. */
  | 'failed'
  /** Its address is special (loopback, link-local, private, this host's, …), and no pattern names it. */
  | 'special-address'
  /** The name has no address. */
  | 'unresolved'
  /** Something that is no name of a host (RFC 1123). */
  | 'malformed'
  /** More at once than `connections`. */
  | 'limit';

/** A name that was not answered, or a connection that was not made. */
export interface DeniedEgress {
  readonly kind: 'name' | 'connection';
  readonly reason: EgressReason;
  readonly name: string | undefined;
  /** Of a connection: what the program connected to, or the address that its name has and may not have. */
  readonly address: string | undefined;
  readonly port: number | undefined;
  readonly error?: unknown;
}

/** A connection that was made and has ended, or has not. */
export interface EgressRecord {
  readonly connection: EgressConnection;
  /** What it was led to: `192.0.2.1:443`, the path of a socket, or `'handler'`. */
  readonly to: string;
  /** Bytes that the program has sent, and got. */
  readonly sent: number;
  readonly received: number;
  /** Milliseconds from the moment it was accepted. */
  readonly durationMs: number;
  /** What it ended with, where that was an error. */
  readonly error: Error | undefined;
}

/** Connections to one name, or to one address, and a port. */
export interface EgressDestination {
  /** The name, or the address where there was none. `'*'` is all beyond the first 4,096. */
  readonly host: string;
  readonly port: number;
  /** Connections until now, and those that are open. */
  readonly connections: number;
  readonly open: number;
  readonly sent: number;
  readonly received: number;
}

/** What has gone out of a container. */
export interface EgressStats {
  readonly connections: number;
  readonly open: number;
  /** Refusals, of names and of connections. */
  readonly denied: number;
  readonly sent: number;
  readonly received: number;
  readonly destinations: readonly EgressDestination[];
}
