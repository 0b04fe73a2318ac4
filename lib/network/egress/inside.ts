/**
 * A network namespace in which every connection leads to a socket of ours. Every address is this host's own (one local route for
 * each family), and the packet filter hands all TCP to two listeners, unchanged (tproxy): the address that a connection was made to
 * is that of the socket which is accepted. Nothing is translated and nothing tracked. All other packets are refused. There is no
 * link but `lo`, so whatever becomes of these rules, nothing leaves by itself.
 */

import { TscontainError } from '../../errors.js';
import type { Descriptor } from '../../launcher/native.js';
import { addon } from '../../launcher/native.js';
import { Netfilter } from '../../netfilter/netfilter.js';
import { nft } from '../../netfilter/nft.js';
import { protocolNumber } from '../../netlink/open.js';
import { NetlinkSocket } from '../../netlink/socket.js';
import type { Slot, Step } from '../../plan/step.js';
import { anyAddress, parseIp } from '../address.js';
import { Routes } from '../routes.js';
import { Rtnetlink } from '../rtnetlink.js';
import { nameServer } from './name-server.js';

/** Runs steps in the namespace, and hands out the descriptors of slots. */
export type RunInside = (
  steps: readonly Step[],
  take: readonly Slot[],
  doing: string,
) => Promise<readonly Descriptor[]>;

const dnsPort = 53;
/** The index of `lo`, the first link of every namespace. */
const loopback = 1;

const inet = { AF_INET: 2, AF_INET6: 10, AF_NETLINK: 16, STREAM: 1, DGRAM: 2, RAW: 3 } as const;
const doing = 'opening the sockets of its network';

/** Sockets in the namespace, bound; and what is still to be done once the listeners have their ports. */
export interface InsideSockets {
  readonly tcp: Descriptor;
  /** Undefined where the kernel has no IPv6. */
  readonly tcp6: Descriptor | undefined;
  readonly dns: Descriptor;
  readonly dnsTcp: Descriptor;
  /** Lets connections through to the ports of the listeners. */
  open(port: number, port6: number | undefined): Promise<void>;
  /** Those that nobody has taken. */
  close(): void;
}

const socket = (to: Slot, domain: number, type: number, protocol = 0): Step => ({
  kind: 'socket',
  to,
  domain,
  type,
  protocol,
});

const steps: readonly Step[] = [
  socket('route', inet.AF_NETLINK, inet.RAW, protocolNumber.route),
  socket('filter', inet.AF_NETLINK, inet.RAW, protocolNumber.netfilter),
  socket('tcp', inet.AF_INET, inet.STREAM),
  socket('dns', inet.AF_INET, inet.DGRAM),
  socket('dns tcp', inet.AF_INET, inet.STREAM),
];
const taken: readonly Slot[] = ['route', 'filter', 'tcp', 'dns', 'dns tcp'];

async function openAll(run: RunInside): Promise<readonly Descriptor[]> {
  try {
    return await run([...steps, socket('tcp6', inet.AF_INET6, inet.STREAM)], [...taken, 'tcp6'], doing);
  } catch (error) {
    if (!(error instanceof TscontainError) || error.errno !== 'EAFNOSUPPORT') throw error;
    return run(steps, taken, doing);
  }
}

/** @throws UnsupportedError where the kernel lacks nf_tables or its tproxy; TscontainError */
export async function openInside(run: RunInside): Promise<InsideSockets> {
  const descriptors = await openAll(run);
  const close = () => {
    for (const descriptor of descriptors) if (descriptor.open) descriptor.close();
  };
  try {
    const [route, filter, tcp, dns, dnsTcp, tcp6] = descriptors;
    if (!route || !filter || !tcp || !dns || !dnsTcp)
      throw new TscontainError('ERR_PROTOCOL', `${doing}: some are missing`);
    const server = parseIp(nameServer)?.bytes ?? anyAddress('ipv4');
    addon().bindSocket(tcp, anyAddress('ipv4'), 0, true);
    if (tcp6) addon().bindSocket(tcp6, anyAddress('ipv6'), 0, true);
    addon().bindSocket(dns, server, dnsPort, false);
    addon().bindSocket(dnsTcp, server, dnsPort, false);
    const ipv6 = await makeRoutes(route, tcp6 !== undefined);
    return {
      tcp,
      tcp6: ipv6 ? tcp6 : undefined,
      dns,
      dnsTcp,
      close,
      open: (port, port6) => divert(filter, port, port6),
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** Every address is here. Whether those of IPv6 are too: it can be switched off. */
async function makeRoutes(descriptor: Descriptor, ipv6: boolean): Promise<boolean> {
  const rtnetlink = Rtnetlink.of(NetlinkSocket.of('route', descriptor));
  try {
    const routes = new Routes(rtnetlink, async () => loopback);
    const local = { to: 'default', type: 'local', link: loopback, protocol: 'static' } as const;
    await routes.add({ ...local, source: '127.0.0.1' });
    if (!ipv6) return false;
    return await routes.add({ ...local, source: '::1' }).then(
      () => true,
      () => false,
    );
  } finally {
    rtnetlink.close();
  }
}

/** Until this has been done, packets for other addresses than the loopback's are lost. */
async function divert(descriptor: Descriptor, port: number, port6: number | undefined): Promise<void> {
  await using filter = Netfilter.of(NetlinkSocket.of('netfilter', descriptor));
  await filter.transaction((t) => {
    const table = t.table('inet', 'egress');
    const tcp = nft.match('meta l4proto', 'tcp');
    const arriving = table.chain('arriving', { base: { type: 'filter', hook: 'prerouting', priority: 'mangle' } });
    arriving.rule([nft.match('ip daddr', '!=', '127.0.0.0/8'), tcp, nft.tproxy('ip', { port }), nft.accept]);
    if (port6 !== undefined) {
      arriving.rule([nft.match('ip6 daddr', '!=', '::1'), tcp, nft.tproxy('ip6', { port: port6 }), nft.accept]);
    }
    const leaving = table.chain('leaving', { base: { type: 'filter', hook: 'output', priority: 'filter' } });
    leaving.rule([nft.match('ip daddr', '127.0.0.0/8'), nft.accept]);
    leaving.rule([nft.match('ip6 daddr', '::1'), nft.accept]);
    leaving.rule([nft.match('meta nfproto', 'ipv4'), tcp, nft.accept]);
    if (port6 !== undefined) leaving.rule([nft.match('meta nfproto', 'ipv6'), tcp, nft.accept]);
    leaving.rule([nft.reject('icmpx admin-prohibited')]);
  });
}
