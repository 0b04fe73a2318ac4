/** Patterns of destinations, `host:port`: read strictly, and compared with names, addresses and ports. */

import { OptionError } from '../../errors.js';
import { type IpPrefix, parseIp, readNetwork } from '../address.js';
import { isWithin, type SpecialRange } from './ranges.js';

type Host =
  | { readonly kind: 'name'; readonly name: string }
  /** Names that end so; all names with `''`. */
  | { readonly kind: 'below'; readonly suffix: string }
  | { readonly kind: 'network'; readonly prefix: IpPrefix };

export interface EgressPattern {
  readonly host: Host;
  readonly ports: { readonly first: number; readonly last: number };
}

const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const example =
  "a host and a port, such as 'api.example.com:443', '*.example.org', '10.0.0.0/8:5432' or '[2001:db8::]/32:443'";
const everyPort = { first: 1, last: 65535 };

/** The name of a host as DNS has it (RFC 1123, with underscores), lower case and without the last dot; undefined for others. */
export function hostName(text: string): string | undefined {
  const name = text.toLowerCase().replace(/\.$/, '');
  const labels = name.split('.');
  const isNumber = /^(?:\d+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? '');
  return name.length <= 253 && !isNumber && labels.every((part) => label.test(part)) ? name : undefined;
}

/** @throws OptionError */
export function readPattern(value: unknown, option: string): EgressPattern {
  if (typeof value !== 'string') throw new OptionError(option, example, value);
  const { host, ports } = split(value);
  if (host === undefined) throw new OptionError(option, example, value);
  return {
    host: readHost(host, value, option),
    ports: ports === undefined ? everyPort : readPorts(ports, value, option),
  };
}

/** An IPv6 address is in brackets where a port follows, as in a URL; its prefix is outside or inside of them. */
function split(text: string): { readonly host?: string; readonly ports?: string | undefined } {
  const bracketed = /^\[([^[\]]*:[^[\]]*)\](\/\d+)?(?::(.*))?$/.exec(text);
  if (bracketed) return { host: `${bracketed[1]}${bracketed[2] ?? ''}`, ports: bracketed[3] };
  const parts = text.split(':');
  if (parts.length > 2) return { host: text };
  return { host: parts[0] ?? '', ports: parts[1] };
}

function readHost(host: string, value: string, option: string): Host {
  if (host === '*') return { kind: 'below', suffix: '' };
  const [address = ''] = host.split('/');
  if (parseIp(address) || host.includes('/')) {
    try {
      return { kind: 'network', prefix: readNetwork(host, option) };
    } catch (cause) {
      const hint = cause instanceof OptionError ? (cause.hint ?? `the network is ${host}`) : undefined;
      throw new OptionError(option, example, value, { hint, cause });
    }
  }
  const below = host.startsWith('*.');
  const name = hostName(below ? host.slice(2) : host);
  if (name === undefined || host.endsWith('.')) {
    throw new OptionError(option, example, value, {
      hint: host.includes('*') ? "a star stands for all that is before a name, as in '*.example.org'" : undefined,
    });
  }
  return below ? { kind: 'below', suffix: `.${name}` } : { kind: 'name', name };
}

function readPorts(text: string, value: string, option: string): EgressPattern['ports'] {
  const match = /^([1-9]\d{0,4})(?:-([1-9]\d{0,4}))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (match && last <= 65535 && first <= last) return { first, last };
  throw new OptionError(option, 'a port from 1 to 65535, or a range of them, after the host', value);
}

function hasPort({ ports }: EgressPattern, port: number): boolean {
  return port >= ports.first && port <= ports.last;
}

/** @param port undefined where any will do */
export function fitsName(pattern: EgressPattern, name: string, port: number | undefined): boolean {
  if (port !== undefined && !hasPort(pattern, port)) return false;
  const { host } = pattern;
  if (host.kind === 'name') return host.name === name;
  return host.kind === 'below' && name.endsWith(host.suffix);
}

/** Whether it is about the address: of a special range, only where it lies within that. */
export function fitsAddress(pattern: EgressPattern, bytes: Uint8Array, port: number, special?: SpecialRange): boolean {
  const { host } = pattern;
  if (host.kind !== 'network' || !hasPort(pattern, port) || !isWithin(bytes, host.prefix)) return false;
  return special === undefined || host.prefix.length >= special.prefix.length;
}
