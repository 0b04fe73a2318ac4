/**
 * A netlink socket: requests and their answers, dumps, batches, and the events of multicast groups.
 *
 * The kernel carries a request out before the call that sends it returns, and has queued its answer by then. So what has no
 * answer after that has lost it: nothing waits for ever. Only dumps go on, piece by piece, as they are read.
 */

import { TscontainError, UnsupportedError } from '../errors.js';
import { addon, type Descriptor, type NativeNetlinkSocket } from '../launcher/native.js';
import { NetlinkError } from './error.js';
import { decodeMessages, encodeMessage, messageFlag, type NetlinkMessage } from './message.js';
import { type NetlinkProtocol, openSockets, protocolNumber } from './open.js';
import { expectAnswers, type NetlinkRequest, Pending } from './pending.js';
import { type NetlinkListener, Subscriptions } from './subscriptions.js';

export type { NetlinkRequest } from './pending.js';

/** How often a list that changes while it is read is read again. */
const dumpAttempts = 16;
/** Datagrams that are read before the loop gets its turn. */
const burst = 32;
const defaultSendBuffer = 128 * 1024;

/** One socket of one protocol in one network namespace. It keeps Node alive only while an answer is waited for. */
export class NetlinkSocket implements AsyncDisposable {
  readonly protocol: NetlinkProtocol;
  readonly #native: NativeNetlinkSocket;
  readonly #pending = new Map<number, Pending>();
  readonly #subscriptions: Subscriptions;
  #sequence = 0;
  #sendBuffer = defaultSendBuffer;
  #overruns = 0;
  #closed = false;
  #kept = false;
  #dumps = 0;
  /** Settle when the last one has been sent, and when the last dump has ended: each waits for the one before. */
  #sending: Promise<unknown> = Promise.resolve();
  #dumping: Promise<unknown> = Promise.resolve();

  private constructor(protocol: NetlinkProtocol, descriptor: Descriptor) {
    this.protocol = protocol;
    this.#native = new (addon().NetlinkSocket)(descriptor, protocolNumber[protocol], () => this.#read(burst));
    this.#subscriptions = new Subscriptions(this.#native);
  }

  /**
   * Opens one in a network namespace, by its descriptor, which stays the caller's; or in that of this process.
   * @throws PermissionError, TscontainError where the namespace cannot be entered; UnsupportedError
   */
  static async open(protocol: NetlinkProtocol, namespace?: Descriptor): Promise<NetlinkSocket> {
    const [socket] = await NetlinkSocket.openAll([protocol], namespace);
    return socket as NetlinkSocket;
  }

  /** One that was opened before, by a step. Takes the descriptor over. */
  static of(protocol: NetlinkProtocol, descriptor: Descriptor): NetlinkSocket {
    return new NetlinkSocket(protocol, descriptor);
  }

  /** Opens several at once, which takes no longer than one. */
  static async openAll(protocols: readonly NetlinkProtocol[], namespace?: Descriptor): Promise<NetlinkSocket[]> {
    const descriptors = await openSockets(protocols, namespace);
    const sockets: NetlinkSocket[] = [];
    try {
      for (const [index, protocol] of protocols.entries()) {
        sockets.push(new NetlinkSocket(protocol, descriptors[index] as Descriptor));
      }
    } catch (error) {
      for (const socket of sockets) socket.close();
      for (const descriptor of descriptors) if (descriptor.open) descriptor.close();
      const { errno, syscall } = error as { readonly errno?: number; readonly syscall?: string };
      const text = 'a netlink socket could not be prepared: this kernel lacks an option of it';
      throw new UnsupportedError(text, { errno, syscall, cause: error, hint: 'this takes Linux 4.12' });
    }
    return sockets;
  }

  /** One that was opened elsewhere, in another namespace: it is taken over. */
  static adopt(protocol: NetlinkProtocol, descriptor: Descriptor): NetlinkSocket {
    try {
      return new NetlinkSocket(protocol, descriptor);
    } catch (error) {
      if (descriptor.open) descriptor.close();
      throw error;
    }
  }

  /** The number by which the kernel knows it. */
  get port(): number {
    return this.#native.port;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /**
   * Asks for something and waits until the kernel has acknowledged it. What it has answered before that is returned.
   * @throws NetlinkError
   */
  async request(request: NetlinkRequest): Promise<readonly NetlinkMessage[]> {
    const [answers] = await this.batch([{ ...request, flags: (request.flags ?? 0) | messageFlag.ACK }]);
    return answers ?? [];
  }

  /**
   * Sends several requests as one datagram, and returns the answers to each. Those with NLM_F_ACK among their flags must be
   * acknowledged; for others it is enough that none is refused. Whether they are carried out together or one by one, whatever
   * becomes of the others, is the protocol's matter.
   * @throws NetlinkError: the first that was refused, with its `index`, and all of them in `errors`
   */
  async batch(requests: readonly NetlinkRequest[]): Promise<readonly (readonly NetlinkMessage[])[]> {
    if (requests.length === 0) return [];
    const sent = await this.#inTurn(async () => {
      const entered = requests.map((request) => this.#enter(request, request.flags ?? 0));
      try {
        const overruns = this.#overruns;
        await this.#send(entered);
        this.#read(Number.POSITIVE_INFINITY);
        expectAnswers(entered, this.#overruns !== overruns);
        return entered;
      } finally {
        for (const { sequence } of entered) this.#pending.delete(sequence);
      }
    });
    const errors = sent.flatMap((one, index) => one.error(sent.length > 1 ? index : undefined) ?? []);
    const [first] = errors;
    if (first === undefined) return sent.map(({ answers }) => answers);
    if (errors.length === 1) throw first;
    throw new NetlinkError('ERR_NETLINK', first.message, { ...first, cause: undefined, errors });
  }

  /**
   * Asks for a list. One that has changed while it was read is read again.
   * @throws NetlinkError, with `ERR_NETLINK_INTERRUPTED` where it changed each time
   */
  dump(request: NetlinkRequest): Promise<readonly NetlinkMessage[]> {
    const mine = this.#dumping.then(async () => {
      for (let attempt = 0; attempt < dumpAttempts; attempt++) {
        const read = await this.#dumpOnce(request);
        const error = read.error();
        if (error !== undefined) throw error;
        if (!read.interrupted) return read.answers;
      }
      const text = `${request.doing}: the list changed while it was read, ${dumpAttempts} times`;
      throw new NetlinkError('ERR_NETLINK_INTERRUPTED', text, { hint: 'try again when less is going on' });
    });
    this.#dumping = mine.catch(() => {});
    return mine;
  }

  /**
   * Joins multicast groups. What they tell comes to the listener until the returned function is called. Node is kept alive
   * by that only after {@link ref}.
   */
  subscribe(groups: readonly number[], listener: NetlinkListener): () => void {
    this.#expectOpen();
    return this.#subscriptions.add(groups, listener);
  }

  /**
   * Room for what has not been read yet, in bytes. Above the host's limit (net.core.rmem_max) it takes CAP_NET_ADMIN.
   */
  setReceiveBuffer(bytes: number): void {
    this.#expectOpen();
    const errno = this.#native.buffers(0, bytes);
    if (errno !== 0) throw new NetlinkError('ERR_NETLINK', 'setting the buffer', { errno, syscall: 'setsockopt' });
  }

  /** Whether events keep Node alive. */
  ref(on: boolean): void {
    this.#kept = on;
    this.#keepAlive();
  }

  /** What is under way fails. Everything of which this socket is the owner ends with it. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#subscriptions.clear();
    this.#native.close();
    for (const pending of this.#pending.values()) pending.wake();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #inTurn<T>(call: () => Promise<T>): Promise<T> {
    const mine = this.#sending.then(call);
    this.#sending = mine.catch(() => {});
    return mine;
  }

  async #dumpOnce(request: NetlinkRequest): Promise<Pending> {
    let ended = () => {};
    const over = new Promise<void>((resolve) => {
      ended = resolve;
    });
    const pending = await this.#inTurn(async () => {
      const entered = this.#enter(request, (request.flags ?? 0) | messageFlag.DUMP, ended);
      try {
        await this.#send([entered]);
        this.#dumps++;
        this.#keepAlive();
        this.#read(burst);
      } catch (error) {
        this.#pending.delete(entered.sequence);
        throw error;
      }
      return entered;
    });
    await over;
    this.#dumps--;
    this.#keepAlive();
    this.#pending.delete(pending.sequence);
    if (!pending.isOver) this.#expectOpen();
    return pending;
  }

  #keepAlive(): void {
    if (!this.#closed) this.#native.ref(this.#kept || this.#dumps > 0);
  }

  #enter(request: NetlinkRequest, flags: number, ended?: () => void): Pending {
    this.#expectOpen();
    do this.#sequence = (this.#sequence % 0xffffffff) + 1;
    while (this.#pending.has(this.#sequence));
    const sequence = this.#sequence;
    const bytes = encodeMessage({
      type: request.type,
      flags: flags | messageFlag.REQUEST,
      sequence,
      port: this.port,
      header: request.header,
      attributes: request.attributes,
    });
    const pending = new Pending(request, sequence, bytes, ended);
    this.#pending.set(sequence, pending);
    return pending;
  }

  async #send(pending: readonly Pending[]): Promise<void> {
    const datagram = Buffer.concat(pending.map(({ bytes }) => bytes));
    // The kernel wants the whole datagram, and its own record of it, to fit.
    if (datagram.length * 2 > this.#sendBuffer && this.#native.buffers(datagram.length * 2, 0) === 0) {
      this.#sendBuffer = datagram.length * 2;
    }
    const errno = await this.#native.send(datagram);
    this.#expectOpen();
    if (errno === 0) return;
    const doing = pending[0]?.request.doing ?? 'sending';
    throw new NetlinkError('ERR_NETLINK', `${doing}: ${datagram.length} bytes could not be sent`, {
      errno,
      syscall: 'sendto',
      hint: 'a request has as much room as net.core.wmem_max gives',
    });
  }

  #expectOpen(): void {
    if (this.#closed) throw new TscontainError('ERR_CLOSED', 'the netlink socket has been closed');
  }

  /** Reads what is there; what goes on is told by the loop. */
  #read(most: number): void {
    for (let count = 0; count < most && !this.#closed; count++) {
      const received = this.#native.receive();
      if (received === undefined) return;
      if (typeof received === 'number') {
        this.#overruns++;
        this.#subscriptions.lost();
        continue;
      }
      const [datagram, group] = received;
      for (const message of this.#decode(datagram)) {
        if (group === 0) this.#answer(message);
        else this.#event(message, group);
      }
    }
  }

  /** Which request a malformed datagram was for is not known, and none waits for ever. */
  #decode(datagram: Buffer): readonly NetlinkMessage[] {
    try {
      return decodeMessages(datagram);
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      for (const pending of this.#pending.values()) pending.fail(error);
      return [];
    }
  }

  /** An event that was asked for with NLM_F_ECHO is an answer too. */
  #event(message: NetlinkMessage, group: number): void {
    const flags = this.#pending.get(message.sequence)?.request.flags ?? 0;
    if (flags & messageFlag.ECHO) this.#answer(message);
    this.#subscriptions.tell(message, group);
  }

  #answer(message: NetlinkMessage): void {
    if (message.port === this.port) this.#pending.get(message.sequence)?.take(message);
  }
}
