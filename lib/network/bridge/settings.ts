/** Options of a network, read once. */

import { isIP } from 'node:net';
import { defineSchema, readBoolean, readInteger, readList, readObject } from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import { Namespace } from '../../primitives/namespace/namespace.js';
import { formatPrefix, type IpPrefix, parsePrefix, readNetwork } from '../address.js';
import { overlap } from './pool.js';

/** What a network of containers is like. */
export interface NetworkOptions {
  /** A name for people, `[a-z][a-z0-9_-]{0,14}`. Links of the host have names of their own, `tsc` and random digits. */
  readonly name?: string;
  /**
   * Its IPv4 addresses, such as `'10.20.0.0/24'`, from /8 to /30. Default: a /24 of 10.192.0.0/10 that no route of the host and
   * no other network has.
   */
  readonly subnet?: string;
  /** IPv6 as well: true for a unique local network (RFC 4193) made up at random, or one, from /48 to /96. Default false. */
  readonly ipv6?: boolean | string;
  /** No way out and no published ports: containers reach each other, and the host reaches them. Default false. */
  readonly internal?: boolean;
  /** Containers do not reach each other, but for published ports. Default false. */
  readonly isolation?: boolean;
  /** The largest packet, 1280 to 65,535 bytes. Default: that of the link of the default route, or 1500. */
  readonly mtu?: number;
  /** Name servers of its containers, at most 3. Default: those of the host that are not on its loopback; none if `internal`. */
  readonly dns?: readonly string[];
  /** The network namespace that it leads to. Default: that of this process. */
  readonly namespace?: Namespace;
}

export interface NetworkSettings {
  readonly name: string | undefined;
  readonly subnet: IpPrefix | undefined;
  readonly ipv6: IpPrefix | boolean;
  readonly internal: boolean;
  readonly isolation: boolean;
  readonly mtu: number | undefined;
  readonly dns: readonly string[] | undefined;
  readonly namespace: Namespace | undefined;
}

const schema = defineSchema(['name', 'subnet', 'ipv6', 'internal', 'isolation', 'mtu', 'dns', 'namespace']);

/** Destinations that are never a network of containers', nor what a container may send to through the host. */
export const special4 = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '240.0.0.0/4'];
/** The last is where a cloud tells machines about themselves over IPv6. */
export const special6 = ['::/127', 'fe80::/10', 'ff00::/8', 'fd00:ec2::254/128'];

const smallestMtu = 1280;
/** MAXNS of resolv.conf(5). */
const mostServers = 3;

/** @throws OptionError */
export function readNetworkSettings(options: unknown): NetworkSettings {
  const { name, subnet, ipv6, internal, isolation, mtu, dns, namespace } = readObject(options, '', schema);
  if (namespace !== undefined && !(namespace instanceof Namespace && namespace.kinds.includes('net'))) {
    throw new OptionError('namespace', 'a Namespace with a network namespace', namespace);
  }
  return {
    name: name === undefined ? undefined : readName(name),
    subnet: subnet === undefined ? undefined : readPrefix(subnet, 'subnet', 'ipv4', [8, 30], special4),
    ipv6:
      typeof ipv6 === 'boolean' || ipv6 === undefined
        ? ipv6 === true
        : readPrefix(ipv6, 'ipv6', 'ipv6', [48, 96], special6),
    internal: readBoolean(internal, 'internal', false),
    isolation: readBoolean(isolation, 'isolation', false),
    mtu: mtu === undefined ? undefined : readInteger(mtu, 'mtu', smallestMtu, 65_535),
    dns: dns === undefined ? undefined : readServers(dns),
    namespace,
  };
}

function readName(value: unknown): string {
  if (typeof value === 'string' && /^[a-z][a-z0-9_-]{0,14}$/.test(value) && value !== 'all' && value !== 'default')
    return value;
  throw new OptionError('name', 'a name of at most 15 of a-z, 0-9, _ and -, which begins with a letter', value);
}

function readPrefix(
  value: unknown,
  option: string,
  family: 'ipv4' | 'ipv6',
  [shortest, longest]: readonly [number, number],
  special: readonly string[],
): IpPrefix {
  const prefix = readNetwork(value, option);
  if (prefix.family !== family || prefix.length < shortest || prefix.length > longest) {
    throw new OptionError(
      option,
      `an ${family === 'ipv4' ? 'IPv4' : 'IPv6'} network from /${shortest} to /${longest}`,
      value,
    );
  }
  for (const text of special) {
    const other = parsePrefix(text);
    if (other && overlap(prefix, other)) {
      throw new OptionError(option, 'a network of ordinary addresses', value, {
        hint: `${text} has a meaning of its own`,
      });
    }
  }
  return prefix;
}

function readServers(value: unknown): readonly string[] {
  return readList(value, 'dns', 'a list of IP addresses', mostServers).map((server, index) => {
    if (typeof server === 'string' && isIP(server) !== 0 && !server.includes('%')) return server;
    throw new OptionError(`dns[${index}]`, 'an IP address', server);
  });
}

/** The first part of a table's name says whose it is, the rest which network: of two at the same place one is refused. */
export function tableName(subnet: IpPrefix): string {
  return `tscontain-${formatPrefix(subnet).replace('/', '-')}`;
}
