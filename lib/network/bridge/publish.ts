/** Published ports: options, and the hold on a port of the host, so that nobody else there gets it meanwhile. */

import { defineSchema, readChoice, readInteger, readObject } from '../../container/settings/schema.js';
import { errnoName, OptionError } from '../../errors.js';
import { addon } from '../../launcher/native.js';
import type { Namespace } from '../../primitives/namespace/namespace.js';
import { formatIp, parseIp } from '../address.js';

/** A port of a container that is reachable at the host. */
export interface PublishOptions {
  /** Inside, 1 to 65,535; or a range of them, `'8000-8010'`. */
  readonly port: number | `${number}-${number}`;
  /** At the host: as many as `port`, or 0 for any that are free. Default: the same. */
  readonly hostPort?: number | `${number}-${number}`;
  /**
   * At which address of the host. Default: every one, IPv6 too where the network has it. `'127.0.0.1'` is for programs of the
   * host alone; `'::1'` cannot be had, as the kernel routes nothing from there to another link.
   */
  readonly hostAddress?: string;
  /** Default `'tcp'`. */
  readonly protocol?: 'tcp' | 'udp';
}

/** A port that is published. */
export interface PublishedPort {
  readonly protocol: 'tcp' | 'udp';
  /** Undefined for every address. */
  readonly hostAddress: string | undefined;
  readonly hostPort: number;
  readonly port: number;
}

export interface PublishSettings {
  readonly protocol: 'tcp' | 'udp';
  readonly hostAddress: string | undefined;
  /** Ports of the host, 0 for any, and inside. */
  readonly ports: readonly { readonly hostPort: number; readonly port: number }[];
}

const schema = defineSchema(['port', 'hostPort', 'hostAddress', 'protocol']);
const mostPorts = 1024;

/** @throws OptionError */
export function readPublish(value: unknown, option: string, ipv6: boolean): PublishSettings {
  const { port, hostPort, hostAddress, protocol } = readObject(value, option, schema);
  const at = (key: string) => (option === '' ? key : `${option}.${key}`);
  const inside = readPorts(port, at('port'), 1);
  const outside = hostPort === undefined ? inside : readPorts(hostPort, at('hostPort'), 0);
  if (outside[0] !== 0 && outside.length !== inside.length) {
    throw new OptionError(at('hostPort'), `as many ports as ${at('port')}, which has ${inside.length}`, hostPort);
  }
  return {
    protocol: protocol === undefined ? 'tcp' : readChoice(protocol, at('protocol'), ['tcp', 'udp']),
    hostAddress: hostAddress === undefined ? undefined : readAddress(hostAddress, at('hostAddress'), ipv6),
    ports: inside.map((number, index) => ({ port: number, hostPort: outside[0] === 0 ? 0 : (outside[index] ?? 0) })),
  };
}

function readPorts(value: unknown, option: string, least: number): readonly number[] {
  if (typeof value !== 'string') return [readInteger(value, option, least, 65_535)];
  const [, from, to] = /^(\d{1,5})-(\d{1,5})$/.exec(value) ?? [];
  const first = Number(from);
  const last = Number(to);
  if (!(first >= 1 && first <= last && last <= 65_535 && last - first < mostPorts)) {
    throw new OptionError(option, `a port, or a range such as '8000-8010' of at most ${mostPorts}`, value);
  }
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function readAddress(value: unknown, option: string, ipv6: boolean): string | undefined {
  const address = typeof value === 'string' ? parseIp(value) : undefined;
  if (address === undefined) throw new OptionError(option, 'an IP address of the host', value);
  const text = formatIp(address.bytes);
  if (text === '0.0.0.0') return '0.0.0.0';
  if (address.family === 'ipv6') {
    if (!ipv6) throw new OptionError(option, 'an IPv4 address, as the network has no IPv6', value);
    const reason =
      'the kernel routes nothing from the loopback of IPv6 to another link; use 127.0.0.1, or an address of a link';
    if (text === '::1') throw new OptionError(option, 'another address than ::1', value, { hint: reason });
  }
  return text;
}

/** A port of the host that is held: nobody accepts there, as its packets go to the container. */
export interface HeldPort {
  readonly number: number;
  close(): void;
}

/**
 * Binds a socket to a port, 0 for any that is free.
 * @throws OptionError where something else has it, or the host has no such address
 */
export function holdPort(
  namespace: Namespace | undefined,
  protocol: 'tcp' | 'udp',
  address: string,
  port: number,
  option: string,
): HeldPort {
  const bytes = parseIp(address)?.bytes ?? Buffer.alloc(4);
  const bind = () => addon().holdPort(protocol === 'tcp', bytes, port);
  try {
    const [socket, number] = namespace === undefined ? bind() : namespace.runSync('net', bind);
    return { number, close: () => socket.close() };
  } catch (cause) {
    const errno = errnoName((cause as { errno?: number }).errno ?? 0);
    if (errno !== 'EADDRINUSE' && errno !== 'EADDRNOTAVAIL') throw cause;
    const hint = errno === 'EADDRINUSE' ? 'something else has it' : 'the host has no such address';
    throw new OptionError(option, 'a free port of the host', `${protocol} ${address} ${port}`, { hint, cause });
  }
}
