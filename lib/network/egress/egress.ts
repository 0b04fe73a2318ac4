/** The egress of one container: names answered, connections accepted, judged, and led out. */

import type { Socket as DatagramSocket } from 'node:dgram';
import { EventEmitter } from 'node:events';
import type { Server, Socket } from 'node:net';
import type TypedEmitter from 'typed-emitter';
import { defineSchema, readBoolean, readObject } from '../../container/settings/schema.js';
import { TscontainError } from '../../errors.js';
import { formatIp, parseIp } from '../address.js';
import { EgressCounts } from './counts.js';
import { answerQuery, type NameAnswer } from './dns.js';
import { type InsideSockets, openInside, type RunInside } from './inside.js';
import { judge, mayAsk } from './judge.js';
import type {
  DeniedEgress,
  EgressConnection,
  EgressHandler,
  EgressPolicy,
  EgressRecord,
  EgressStats,
} from './options.js';
import { connectOut, type Destination, join, reset } from './outgoing.js';
import { NameResolver } from './resolve.js';
import { expectNoCluster, listen, portOf, receive, serveMessages } from './servers.js';
import { type EgressSettings, readEgress } from './settings.js';
import { StandIns } from './stand-ins.js';

/** What is told of connections. A type, not an interface: typed-emitter asks for an index signature. */
export type EgressEvents = {
  /** A name was not answered, or a connection not made. The container tells of it too. */
  denied: (refusal: DeniedEgress) => void;
  /** A connection was made. */
  open: (record: EgressRecord) => void;
  /** It has ended; or could not be made, although it was allowed: then with `error`, and without `open` before. */
  close: (record: EgressRecord) => void;
};

const TypedEvents = EventEmitter as new () => TypedEmitter.default<EgressEvents>;
const updateSchema = defineSchema(['reset']);
/** Seconds that a program may keep an answer, where nobody has been asked yet. */
const standInFor = 60;
/** Queries that wait for an answer; more are not answered, and asked again. */
const mostQueries = 256;

/** Outgoing connections of a container with `network: { egress }`: `container.egress`. */
export class ContainerEgress extends TypedEvents {
  #settings: EgressSettings;
  #resolver: NameResolver;
  readonly #standIns = new StandIns();
  readonly #counts = new EgressCounts();
  readonly #ending = new AbortController();
  /** The programs' ends of connections, and ours. */
  readonly #open = new Set<Socket>();
  readonly #outer = new Set<Socket>();
  readonly #servers: (Server | DatagramSocket)[] = [];
  #ids = 0;
  #queries = 0;
  #ipv6 = false;

  /** @internal */
  constructor(settings: EgressSettings) {
    super();
    // Each connection that is being decided or made listens to it.
    EventEmitter.setMaxListeners(0, this.#ending.signal);
    this.#settings = settings;
    this.#resolver = new NameResolver(settings.servers, settings.hosts);
  }

  /** @internal Makes the namespace ready, before anything runs in it. */
  async start(run: RunInside): Promise<void> {
    expectNoCluster();
    const sockets = await openInside(run);
    try {
      await this.#serve(sockets);
      if (this.#ending.signal.aborted) throw new TscontainError('ERR_CONTAINER_GONE', 'the container has ended');
    } catch (error) {
      this.close();
      throw error;
    } finally {
      sockets.close();
    }
  }

  async #serve({ tcp, tcp6, dns, dnsTcp, open }: InsideSockets): Promise<void> {
    const accept = (socket: Socket) => void this.#accept(socket);
    const keep = <T extends Server | DatagramSocket>(server: T): T => {
      this.#servers.push(server);
      return server;
    };
    const own = keep(await listen(tcp, accept));
    const own6 = tcp6 && keep(await listen(tcp6, accept));
    this.#ipv6 = own6 !== undefined;
    keep(await receive(dns, (bytes, reply) => void this.#answer(bytes).then((answer) => answer && reply(answer))));
    keep(await listen(dnsTcp, (socket) => void this.#serveNames(socket)));
    await open(portOf(own), own6 && portOf(own6));
  }

  /**
   * Another policy, for every name and connection from now on. Connections that are open stay, or with `reset` are ended.
   * @throws OptionError
   */
  update(policy: EgressPolicy, options: { readonly reset?: boolean } = {}): void {
    const settings = readEgress(policy, 'policy');
    const { reset: all } = readObject(options, 'options', updateSchema);
    const isReset = readBoolean(all, 'options.reset', false);
    this.#resolver.close();
    this.#settings = settings;
    this.#resolver = new NameResolver(settings.servers, settings.hosts);
    if (isReset) for (const socket of this.#open) reset(socket);
  }

  /** What has gone out until now, for each destination. */
  stats(): EgressStats {
    return this.#counts.stats;
  }

  /** @internal The container has ended. */
  close(): void {
    if (!this.#ending.signal.aborted) this.#ending.abort();
    this.#resolver.close();
    for (const server of this.#servers.splice(0)) server.close();
    for (const socket of [...this.#open, ...this.#outer]) reset(socket);
  }

  #deny(refusal: DeniedEgress): void {
    this.#counts.denied++;
    tell(() => this.#settings.onDenied?.(refusal));
    tell(() => this.emit('denied', refusal));
  }

  #record(event: 'open' | 'close', record: EgressRecord): void {
    tell(() => this.emit(event, record));
  }

  /** A query's answer; undefined where there is none to give. Never rejects. */
  async #answer(bytes: Buffer): Promise<Buffer | undefined> {
    if (this.#queries >= mostQueries) return undefined;
    this.#queries++;
    try {
      return await answerQuery(bytes, (name) => this.#lookUp(name));
    } catch {
      return undefined; // what came was no query that can be answered
    } finally {
      this.#queries--;
    }
  }

  async #lookUp(name: string | undefined): Promise<NameAnswer> {
    const settings = this.#settings;
    const may = name === undefined ? 'malformed' : mayAsk(settings, name);
    if (name === undefined || may !== 'yes') {
      const reason = may === 'yes' ? 'malformed' : may;
      this.#deny({ kind: 'name', reason, name, address: undefined, port: undefined });
      return 'none';
    }
    // A function decides when there is a connection; until then nobody is asked, so that no name tells anything outside.
    if (settings.decide) return this.#standIn(name, standInFor);
    const { addresses, ttl, failed } = await this.#resolver.resolve(name);
    if (addresses.length === 0) return failed ? 'failed' : 'none';
    return this.#standIn(name, ttl);
  }

  #standIn(name: string, ttl: number): NameAnswer {
    const { ipv4, ipv6 } = this.#standIns.addressesOf(name);
    return { ipv4, ipv6: this.#ipv6 ? ipv6 : undefined, ttl };
  }

  async #serveNames(socket: Socket): Promise<void> {
    if (this.#open.size >= this.#settings.connections) {
      reset(socket);
      return;
    }
    track(socket, this.#open);
    await serveMessages(socket, (bytes) => this.#answer(bytes));
  }

  /** A program has connected to something. Never rejects. */
  async #accept(socket: Socket): Promise<void> {
    socket.on('error', () => {});
    const connection = this.#describe(socket);
    if (connection === undefined) {
      reset(socket);
      return;
    }
    const begun = performance.now();
    const refuse = (refusal: Pick<DeniedEgress, 'reason' | 'error'> & { readonly address?: string }) => {
      reset(socket);
      const { name, address, port } = connection;
      this.#deny({ kind: 'connection', name, address, port, ...refusal });
    };
    if (this.#open.size >= this.#settings.connections) return refuse({ reason: 'limit' });
    track(socket, this.#open);
    const judgement = await judge(this.#settings, connection, this.#resolver);
    if (this.#ending.signal.aborted) return reset(socket);
    if (judgement.kind === 'refused') {
      const { reason, address, error } = judgement;
      return refuse({ reason, ...(address !== undefined && { address }), ...(error !== undefined && { error }) });
    }
    await this.#lead(socket, connection, judgement, begun);
  }

  /** Undefined for one that was made to our own listener, on the loopback of the container. */
  #describe(socket: Socket): EgressConnection | undefined {
    const { localAddress = '', localPort: port = 0 } = socket;
    const ip = parseIp(localAddress.replace(/%.*$/, ''));
    if (ip === undefined || isLoopback(ip.bytes)) return undefined;
    return Object.freeze({
      id: ++this.#ids,
      name: this.#standIns.nameOf(ip.bytes),
      address: formatIp(ip.bytes),
      family: ip.family,
      port,
      signal: this.#ending.signal,
    });
  }

  async #lead(inner: Socket, connection: EgressConnection, destination: Destination, begun: number): Promise<void> {
    const record = (to: string, error?: Error): EgressRecord => ({
      connection,
      to,
      sent: inner.bytesRead,
      received: inner.bytesWritten,
      durationMs: performance.now() - begun,
      error,
    });
    const counted = this.#counts.begin(connection.name ?? connection.address, connection.port, inner);
    inner.once('close', counted);
    const target = destination.kind === 'target' ? destination.target : destination;
    if (typeof target === 'function') {
      this.#record('open', record('handler'));
      inner.once('close', () => this.#record('close', record('handler')));
      return this.#hand(target, inner, connection);
    }
    try {
      const { socket: outer, to } = await connectOut(target, connection);
      if (inner.destroyed) {
        outer.destroy();
        return;
      }
      track(outer, this.#outer);
      this.#record('open', record(to));
      join(inner, outer, (error) => this.#record('close', record(to, error)));
    } catch (error) {
      reset(inner);
      this.#record('close', record('', error as Error));
    }
  }

  /** What a handler throws ends the connection, and is told of. */
  async #hand(handler: EgressHandler, inner: Socket, connection: EgressConnection): Promise<void> {
    // Paused since it was accepted (net.Server, pauseOnConnect): as it is handed over it flows as soon as somebody listens.
    Object.assign(inner, { readableFlowing: null });
    try {
      await handler(inner, connection);
    } catch (error) {
      reset(inner);
      const { name, address, port } = connection;
      this.#deny({ kind: 'connection', reason: 'failed', name, address, port, error });
    }
  }
}

/** It does not keep the process alive; what runs in the container does. */
function track(socket: Socket, among: Set<Socket>): void {
  among.add(socket);
  socket.once('close', () => among.delete(socket));
  socket.unref();
}

/** What a listener throws is its own matter, and nothing of the connection's. */
function tell(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

function isLoopback(bytes: Buffer): boolean {
  return bytes.length === 4 ? bytes[0] === 127 : formatIp(bytes) === '::1';
}
