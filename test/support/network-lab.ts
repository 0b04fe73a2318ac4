/**
 * A host and its neighbourhood, played by two network namespaces with a cable between them: 192.0.2.1 and 2001:db8::1 are the
 * host's, 192.0.2.2 and 2001:db8::2 the world's, by way of which everything else is. Servers tell whoever connects under which
 * address they see him.
 */

import { existsSync } from 'node:fs';
import { type Container, type ContainerProcess, Links, Namespace } from '../../lib/index.js';

/** Where a program can run: a namespace, or a container. */
export type Where = Namespace | Container;

const server = `
import socket, sys
protocol, host, port = sys.argv[1:]
family = socket.AF_INET6 if ':' in host else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if protocol == 'tcp' else socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((host, int(port)))
if protocol == 'tcp': s.listen(64)
print('ready', flush=True)
while True:
    if protocol == 'tcp':
        c, peer = s.accept()
        c.sendall(peer[0].encode())
        c.close()
    else:
        _, peer = s.recvfrom(100)
        s.sendto(peer[0].encode(), peer)
`;

const client = `
import errno, socket, sys
protocol, host, port = sys.argv[1:]
family = socket.AF_INET6 if ':' in host else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if protocol == 'tcp' else socket.SOCK_DGRAM)
s.settimeout(1)
try:
    s.connect((host, int(port)))
    if protocol == 'udp': s.send(b'?')
    print(s.recv(100).decode())
except TimeoutError:
    print('timeout')
except OSError as e:
    print(errno.errorcode[e.errno])
`;

const python = '/usr/bin/python3';

function start(where: Where, argv: readonly [string, ...string[]]): ContainerProcess {
  const options = { stdout: 'pipe', stderr: 'inherit' } as const;
  return where instanceof Namespace ? where.spawn([...argv], options) : where.exec([...argv], options);
}

/** A server that is there when this returns. */
export async function serve(
  where: Where,
  port: number,
  { protocol = 'tcp', host = '0.0.0.0' }: { readonly protocol?: 'tcp' | 'udp'; readonly host?: string } = {},
): Promise<AsyncDisposable> {
  const program = start(where, [python, '-c', server, protocol, host, String(port)]);
  program.catch(() => {});
  await new Promise((resolve) => program.stdout?.once('data', resolve));
  return {
    async [Symbol.asyncDispose]() {
      await program[Symbol.asyncDispose]();
    },
  };
}

/** What a server answers, or why there is no answer: `'timeout'`, or an errno's name. */
export async function ask(where: Where, host: string, port: number, protocol: 'tcp' | 'udp' = 'tcp'): Promise<string> {
  const argv = [python, '-c', client, protocol, host, String(port)] as const;
  const { stdout, stderr } = await (where instanceof Namespace ? where.spawn([...argv]) : where.exec([...argv]));
  return stdout.trim() || stderr;
}

/** The host and the world. */
export class NetworkLab implements AsyncDisposable {
  readonly host: Namespace;
  readonly world: Namespace;
  readonly hostLinks: Links;
  readonly worldLinks: Links;

  private constructor(host: Namespace, world: Namespace, hostLinks: Links, worldLinks: Links) {
    this.host = host;
    this.world = world;
    this.hostLinks = hostLinks;
    this.worldLinks = worldLinks;
  }

  static async make(): Promise<NetworkLab> {
    const host = await Namespace.create('net');
    const world = await Namespace.create('net');
    const links = await Links.open({ namespace: host });
    const others = await Links.open({ namespace: world });
    for (const side of [links, others]) {
      await side.set('lo', { up: true });
      await side.sysctl.set({ 'net.ipv4.ip_forward': 0, 'net.ipv6.conf.default.accept_dad': 0 });
    }
    await links.add({ kind: 'veth', name: 'uplink', up: true, peer: { name: 'host', namespace: world, up: true } });
    await links.addresses.add('uplink', '192.0.2.1/24');
    await links.addresses.add('uplink', '2001:db8::1/64', { noDad: true });
    await links.routes.add({ to: 'default', via: '192.0.2.2' });
    await links.routes.add({ to: 'default', via: '2001:db8::2' });
    await others.addresses.add('host', '192.0.2.2/24');
    await others.addresses.add('host', '2001:db8::2/64', { noDad: true });
    // Before Linux 6.17 a host forwards IPv6 as a router, or not at all: nothing else can switch it on.
    if (!existsSync('/proc/sys/net/ipv6/conf/all/force_forwarding')) {
      await links.sysctl.set({ 'net.ipv6.conf.all.forwarding': 1 });
    }
    return new NetworkLab(host, world, links, others);
  }

  /** The links of the host, without those that some kernels put into every namespace. */
  async linkNames(): Promise<readonly string[]> {
    return (await this.hostLinks.list()).map(({ name }) => name).filter((name) => name !== 'sit0');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.hostLinks.close(), this.worldLinks.close()]);
    await Promise.all([this.host.close(), this.world.close()]);
  }
}
