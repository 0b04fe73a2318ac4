/** From what a caller says about outgoing connections to what is compared with: copied, checked, frozen. */

import { defineSchema, optionName, readInteger, readList, readObject } from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import { type IpAddress, readIp } from '../address.js';
import type { DeniedEgress, EgressDecide } from './options.js';
import { type EgressPattern, hostName, readPattern } from './pattern.js';

export interface EgressSettings {
  /** Undefined where a function decides. */
  readonly allow: readonly EgressPattern[] | undefined;
  readonly deny: readonly EgressPattern[];
  readonly decide: EgressDecide | undefined;
  /** As `dns.Resolver` takes them; none for those of the host. */
  readonly servers: readonly string[];
  readonly hosts: ReadonlyMap<string, readonly IpAddress[]>;
  readonly connections: number;
  readonly onDenied: ((refusal: DeniedEgress) => void) | undefined;
}

const schema = defineSchema(['allow', 'deny', 'decide', 'dns', 'connections', 'onDenied']);
const dnsSchema = defineSchema(['servers', 'hosts']);
const mostPatterns = 10_000;
const mostHosts = 10_000;
const mostAddresses = 16;
const mostServers = 16;
const defaultConnections = 1024;

/** @throws OptionError */
export function readEgress(value: unknown, option: string): EgressSettings {
  if (typeof value === 'function') return readOptions({ decide: value }, option);
  return readOptions(value, option);
}

function readOptions(value: unknown, option: string): EgressSettings {
  const { allow, deny, decide, dns, connections, onDenied } = readObject(value, option, schema);
  const name = (key: string) => optionName(option, key);
  if ((allow === undefined) === (decide === undefined)) {
    throw new OptionError(option, 'either allow, a list of patterns, or decide, a function', value, {
      hint: 'allow: [] lets nothing out',
    });
  }
  const { servers, hosts } = readDns(dns, name('dns'));
  return Object.freeze({
    allow: allow === undefined ? undefined : readPatterns(allow, name('allow')),
    deny: deny === undefined ? [] : readPatterns(deny, name('deny')),
    decide: readFunction<EgressDecide>(decide, name('decide')),
    servers,
    hosts,
    connections:
      connections === undefined ? defaultConnections : readInteger(connections, name('connections'), 1, 65536),
    onDenied: readFunction<(refusal: DeniedEgress) => void>(onDenied, name('onDenied')),
  });
}

function readFunction<T>(value: unknown, option: string): T | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'function') throw new OptionError(option, 'a function', value);
  return value as T;
}

function readPatterns(value: unknown, option: string): readonly EgressPattern[] {
  return readList(value, option, 'a list of patterns', mostPatterns).map((pattern, index) =>
    readPattern(pattern, `${option}[${index}]`),
  );
}

function readDns(value: unknown, option: string): Pick<EgressSettings, 'servers' | 'hosts'> {
  const { servers, hosts } = value === undefined ? {} : readObject(value, option, dnsSchema);
  return {
    servers:
      servers === undefined
        ? []
        : readList(servers, optionName(option, 'servers'), 'a list of addresses', mostServers).map((server, index) =>
            readServer(server, `${optionName(option, 'servers')}[${index}]`),
          ),
    hosts: hosts === undefined ? new Map() : readHosts(hosts, optionName(option, 'hosts')),
  };
}

function readServer(value: unknown, option: string): string {
  const parts = typeof value === 'string' ? /^(?:\[([^\]]*)\]|([^:]*)|(.*))(?::(\d{1,5}))?$/.exec(value) : null;
  if (parts === null) throw new OptionError(option, "an address such as '192.0.2.53:53'", value);
  readIp(parts[1] ?? parts[2] ?? parts[3], option);
  if (parts[4] !== undefined) readInteger(Number(parts[4]), option, 1, 65535);
  return String(value);
}

function readHosts(value: unknown, option: string): ReadonlyMap<string, readonly IpAddress[]> {
  if (typeof value !== 'object' || value === null) throw new OptionError(option, 'an object of names', value);
  const entries = Object.entries(value);
  if (entries.length > mostHosts) throw new OptionError(option, `at most ${mostHosts} names`, entries.length);
  return new Map(
    entries.map(([key, addresses]) => {
      const name = hostName(key);
      const own = optionName(option, key);
      if (name === undefined) throw new OptionError(own, 'the name of a host', key);
      const list = typeof addresses === 'string' ? [addresses] : readList(addresses, own, 'addresses', mostAddresses);
      if (list.length === 0) throw new OptionError(own, 'at least one address', addresses);
      return [name, list.map((address) => readIp(address, own))] as const;
    }),
  );
}
