/** What tests of egress need on the outside: a name server, and programs that try something inside. */

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { type Answer, decode, encode } from 'dns-packet';
import type { Container } from '../../lib/index.js';

/** A name server on this machine's loopback. */
export interface TestNameServer extends AsyncDisposable {
  /** As `dns.servers` takes it. */
  readonly address: string;
  /** Names that it was asked for, one for each query. */
  readonly asked: readonly string[];
  /** Addresses by name; may change at any time. */
  readonly records: Map<string, readonly string[]>;
}

export async function nameServer(
  records: Readonly<Record<string, readonly string[]>>,
  ttl = 60,
): Promise<TestNameServer> {
  const known = new Map(Object.entries(records));
  const asked: string[] = [];
  const socket = createSocket('udp4');
  socket.on('message', (bytes, from) => {
    const query = decode(bytes);
    const [question] = query.questions ?? [];
    const { name = '', type = 'A' } = question ?? {};
    asked.push(name);
    const addresses = known.get(name.toLowerCase());
    const answers = (addresses ?? [])
      .filter((address) => (type === 'AAAA') === address.includes(':'))
      .map((data): Answer => ({ name, type: type === 'AAAA' ? 'AAAA' : 'A', ttl, data }));
    const flags = 0x180 | (addresses ? 0 : 3);
    const reply = encode({ type: 'response', id: query.id ?? 0, flags, questions: query.questions ?? [], answers });
    socket.send(reply, from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    address: `127.0.0.1:${socket.address().port}`,
    asked,
    records: known,
    async [Symbol.asyncDispose]() {
      socket.close();
    },
  };
}

export interface TestServer extends AsyncDisposable {
  readonly port: number;
  readonly server: Server;
  readonly accepted: Socket[];
}

/** A server on an address of this machine. By default it says `hello` and ends. */
export async function serve(
  accepted: (socket: Socket) => void = (socket) => socket.resume().end('hello'),
  host = '127.0.0.1',
): Promise<TestServer> {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    sockets.push(socket);
    accepted(socket);
  });
  server.listen(0, host);
  await once(server, 'listening');
  return {
    port: (server.address() as { port: number }).port,
    server,
    accepted: sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** What a program inside reads from a destination: the text, or the name of the error. */
export async function fetchInside(box: Container, host: string, port: number): Promise<string> {
  const code = `
import socket, sys, errno
try:
    family, kind, protocol, _, to = socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), type=socket.SOCK_STREAM)[0]
    s = socket.socket(family, kind, protocol)
    s.settimeout(10)
    s.connect(to)
    data = b''
    while True:
        more = s.recv(65536)
        if not more: break
        data += more
    print(data.decode())
except socket.gaierror: print('EAI')
except OSError as e: print(errno.errorcode.get(e.errno, str(e)))
`;
  return (await box.exec(['python3', '-c', code, host, String(port)], { check: true })).stdout.trim();
}
