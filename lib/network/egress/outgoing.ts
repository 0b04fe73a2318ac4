/** One allowed connection: made on the host's side, and joined to the program's, byte for byte, each direction ending by itself. */

import { connect, type Socket } from 'node:net';
import { TscontainError } from '../../errors.js';
import type { Judgement } from './judge.js';
import type { EgressConnection, EgressTarget } from './options.js';

/** Where a connection may be led. */
export type Destination = Exclude<Judgement, { kind: 'refused' }>;

/** Milliseconds in which a connection has to be made. */
const patience = 30_000;

/** A connection that has been made, and what to. */
export interface Outgoing {
  readonly socket: Socket;
  readonly to: string;
}

/**
 * Connects to the first address that answers, in their order, or to the target.
 * @throws what the last one failed with; TscontainError `ERR_EGRESS_TIMEOUT`
 */
export async function connectOut(
  destination:
    | { readonly kind: 'addresses'; readonly addresses: readonly string[] }
    | Exclude<EgressTarget, (...args: never) => unknown>,
  { port, signal }: EgressConnection,
): Promise<Outgoing> {
  if ('unix' in destination) {
    const path = destination.unix;
    return { socket: await connected({ path }, path, signal), to: path };
  }
  if ('host' in destination) {
    const to = `${destination.host}:${destination.port}`;
    return { socket: await connected({ host: destination.host, port: destination.port }, to, signal), to };
  }
  let failure: unknown;
  for (const host of destination.addresses) {
    const to = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
    try {
      return { socket: await connected({ host, port }, to, signal), to };
    } catch (error) {
      failure = error;
      if (signal.aborted) break;
    }
  }
  throw failure;
}

function connected(
  where: { readonly path: string } | { readonly host: string; readonly port: number },
  to: string,
  signal: AbortSignal,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...where, allowHalfOpen: true, noDelay: true, signal });
    const late = () =>
      socket.destroy(new TscontainError('ERR_EGRESS_TIMEOUT', `no connection to ${to} within ${patience / 1000} s`));
    const timer = setTimeout(late, patience);
    timer.unref();
    socket.once('error', reject);
    socket.once('close', () => clearTimeout(timer));
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

/**
 * Joins two sockets until both directions have ended, or one has failed, which resets the other. What one sends is read no
 * faster than the other takes it.
 */
export function join(inner: Socket, outer: Socket, ended: (error: Error | undefined) => void): void {
  let failure: Error | undefined;
  let open = 2;
  const watch = (socket: Socket, other: Socket) => {
    socket.once('error', (error) => {
      failure ??= error;
    });
    socket.once('close', (failed) => {
      // One that was read to its end has had the other end too, which may still be sending what is left.
      if (failed || !socket.readableEnded) reset(other);
      if (--open === 0) ended(failure);
    });
    socket.pipe(other);
  };
  watch(inner, outer);
  watch(outer, inner);
}

/** As a program that has died leaves it: the other side is told, and does not take it for the end of what was sent. */
export function reset(socket: Socket): void {
  if (!socket.destroyed) socket.resetAndDestroy();
}
