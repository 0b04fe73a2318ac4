/** Node's servers over sockets that were bound in another namespace. They do not keep the process alive. */

import cluster from 'node:cluster';
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { UnsupportedError } from '../../errors.js';
import { addon, type Descriptor } from '../../launcher/native.js';

/** In a worker of node:cluster Node would have the primary listen, on a descriptor of the same number there. */
export function expectNoCluster(): void {
  if (!cluster.isWorker) return;
  throw new UnsupportedError('a worker of node:cluster cannot have a container with network.egress', {
    hint: 'its primary can, and so can a worker of node:worker_threads',
  });
}

/** Accepts on a socket that is bound; nothing is read of what is accepted. Takes the descriptor over. */
export async function listen(descriptor: Descriptor, accepted: (socket: Socket) => void): Promise<Server> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, accepted);
  const listening = once(server, 'listening');
  server.listen({ fd: addon().releaseDescriptor(descriptor) });
  await listening;
  // What cannot be accepted, as for want of descriptors, is the next connection's matter.
  server.on('error', () => {});
  return server.unref();
}

export function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** Receives on a socket that is bound. Takes the descriptor over. */
export async function receive(
  descriptor: Descriptor,
  received: (bytes: Buffer, answer: (bytes: Buffer) => void) => void,
): Promise<DatagramSocket> {
  const socket = createSocket('udp4');
  socket.on('message', (bytes, { address, port }) => {
    received(bytes, (answer) => {
      // One who has gone, or whose socket is full, asks again.
      if (!closed) socket.send(answer, port, address, () => {});
    });
  });
  let closed = false;
  socket.once('close', () => {
    closed = true;
  });
  // Told of while bind is called, where there is a descriptor.
  const listening = once(socket, 'listening');
  socket.bind({ fd: addon().releaseDescriptor(descriptor) });
  await listening;
  socket.on('error', () => {});
  return socket.unref();
}

const longestMessage = 4096;
/** Milliseconds after which nobody is asking any more. */
const silence = 10_000;

/** DNS over TCP: each message after its length, one at a time (RFC 7766). */
export async function serveMessages(
  socket: Socket,
  answer: (bytes: Buffer) => Promise<Buffer | undefined>,
): Promise<void> {
  socket.setTimeout(silence, () => socket.destroy());
  socket.on('error', () => {});
  let waiting = Buffer.alloc(0);
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      waiting = Buffer.concat([waiting, chunk]);
      while (waiting.length >= 2 && waiting.length >= 2 + waiting.readUInt16BE(0)) {
        const length = waiting.readUInt16BE(0);
        const reply = length > longestMessage ? undefined : await answer(waiting.subarray(2, 2 + length));
        if (reply === undefined) return;
        waiting = waiting.subarray(2 + length);
        const size = Buffer.alloc(2);
        size.writeUInt16BE(reply.length);
        socket.write(Buffer.concat([size, reply]));
      }
    }
    socket.end();
  } catch {
    // It has gone, or was silent.
  } finally {
    socket.destroySoon();
  }
}
