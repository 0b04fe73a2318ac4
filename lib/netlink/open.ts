/**
 * Opening sockets in a network namespace. One of another namespace is made by an agent that enters it and hands the socket
 * back: no thread of Node is ever in it, and the socket stays there wherever it is used.
 */

import { TscontainError, UnsupportedError } from '../errors.js';
import { isRoot } from '../host/configuration.js';
import { Agent } from '../launcher/agent.js';
import { addon, type Descriptor } from '../launcher/native.js';
import type { Step } from '../plan/step.js';
import type { NamespaceKind } from '../primitives/namespace/kind.js';

/** Families of netlink that are spoken here (netlink(7)). */
export type NetlinkProtocol = 'route' | 'netfilter' | 'generic';

/** NETLINK_… of linux/netlink.h. */
export const protocolNumber: Readonly<Record<NetlinkProtocol, number>> = { route: 0, netfilter: 12, generic: 16 };

const AF_NETLINK = 16;
const SOCK_RAW = 3;

/** One socket for each protocol, in the namespace whose descriptor is given, or in that of this process. */
export async function openSockets(
  protocols: readonly NetlinkProtocol[],
  namespace: Descriptor | undefined,
): Promise<Descriptor[]> {
  expectOpen(namespace);
  if (namespace === undefined || isOwn(namespace, 'net')) return openHere(protocols);
  const to = (protocol: NetlinkProtocol) => `netlink ${protocol}`;
  const steps = protocols.map(
    (protocol): Step => ({
      kind: 'socket',
      to: to(protocol),
      domain: AF_NETLINK,
      type: SOCK_RAW,
      protocol: protocolNumber[protocol],
    }),
  );
  return inNetwork(namespace, (agent) =>
    agent.run(steps, { take: protocols.map(to), doing: 'opening a netlink socket' }),
  );
}

/**
 * Asks an agent that is in the namespace, or in that of this process, for something, and ends it.
 *
 * Root enters any network namespace below its own user namespace. An ordinary user has rights only where he has made the user
 * namespace that owns it, which the agent enters first. What may be asked over a socket afterwards depends on who sends, and
 * that is this process: it has the rights of an owner over every user namespace that its user has made here.
 */
export async function inNetwork<T>(namespace: Descriptor | undefined, ask: (agent: Agent) => Promise<T>): Promise<T> {
  expectOpen(namespace);
  const owner = isRoot() || namespace === undefined ? undefined : foreignOwner(namespace);
  try {
    const join = new Map<NamespaceKind, Descriptor>(namespace === undefined ? [] : [['net', namespace]]);
    if (owner !== undefined) join.set('user', owner);
    await using agent = await Agent.start({ join });
    return await ask(agent);
  } finally {
    owner?.close();
  }
}

function expectOpen(namespace: Descriptor | undefined): void {
  if (namespace?.open === false) throw new TscontainError('ERR_CLOSED', 'the network namespace has been closed');
}

/** The user namespace that owns it, unless this process is in that, or may not know. */
function foreignOwner(namespace: Descriptor): Descriptor | undefined {
  let owner: Descriptor;
  try {
    owner = addon().relatedNamespace(namespace, 'user');
  } catch {
    return undefined; // above this process's own: entering will be refused, with the reason
  }
  if (!isOwn(owner, 'user')) return owner;
  owner.close();
  return undefined;
}

function isOwn(namespace: Descriptor, kind: 'net' | 'user'): boolean {
  const own = addon().openNamespace(`/proc/thread-self/ns/${kind}`);
  try {
    return addon().namespaceFacts(own).join() === addon().namespaceFacts(namespace).join();
  } finally {
    own.close();
  }
}

function openHere(protocols: readonly NetlinkProtocol[]): Descriptor[] {
  const opened: Descriptor[] = [];
  try {
    for (const protocol of protocols) opened.push(addon().netlinkSocket(protocolNumber[protocol]));
  } catch (cause) {
    for (const descriptor of opened) descriptor.close();
    throw new UnsupportedError(`this kernel has no netlink for ${protocols.join(', ')}`, {
      errno: (cause as { errno?: number }).errno,
      syscall: 'socket',
      cause,
    });
  }
  return opened;
}
