/** Options of registries, copied once and checked. */

import {
  copyObject,
  defineSchema,
  optionName,
  readBoolean,
  readInteger,
  readList,
  readObject,
  readText,
} from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import { parseDuration } from '../../units.js';
import type { RegistryCredentials, RegistryTls } from './options.js';
import { chooseProxy, type ProxyChoice } from './proxy.js';

/** Where the content of a registry can be had: the registry itself, or a mirror. */
export interface Endpoint {
  /** The host as it is named in options: what credentials belong to. */
  readonly host: string;
  /** `https://registry-1.docker.io`. */
  readonly origin: string;
  /** What a mirror has before each repository, ending in a slash, or nothing. */
  readonly prefix: string;
}

export interface RegistrySettings {
  readonly credentials: ((host: string) => unknown) | undefined;
  readonly configFile: string | false | undefined;
  readonly credentialHelpers: boolean;
  readonly mirrors: ReadonlyMap<string, readonly Endpoint[]>;
  /** Hosts with their port. */
  readonly insecure: ReadonlySet<string>;
  readonly tls: ReadonlyMap<string, RegistryTls>;
  readonly proxy: ProxyChoice;
  readonly connect: number;
  readonly idle: number;
  readonly total: number | undefined;
  readonly retries: number;
  readonly parallel: number;
}

const keys = [
  'credentials',
  'configFile',
  'credentialHelpers',
  'mirrors',
  'insecure',
  'tls',
  'proxy',
  'timeouts',
  'retries',
  'parallel',
] as const;
const schema = defineSchema(keys);
const timeoutSchema = defineSchema(['connect', 'idle', 'total']);
const tlsSchema = defineSchema(['ca', 'cert', 'key', 'passphrase']);
const hostGrammar = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[0-9]{1,5})?$/i;

/** @throws OptionError naming what is wrong, below `option` */
export function readRegistryOptions(value: unknown, option = ''): RegistrySettings {
  const fields = readObject(value, option, schema);
  const at = (key: string): string => optionName(option, key);
  const timeouts = readObject(fields.timeouts ?? {}, at('timeouts'), timeoutSchema);
  const duration = <T>(key: 'connect' | 'idle' | 'total', fallback: T): number | T =>
    timeouts[key] === undefined ? fallback : parseDuration(timeouts[key], `${at('timeouts')}.${key}`, { min: 1 });
  return {
    credentials: readCredentialsOption(fields.credentials, at('credentials')),
    configFile: readConfigFile(fields.configFile, at('configFile')),
    credentialHelpers: readBoolean(fields.credentialHelpers, at('credentialHelpers'), false),
    mirrors: readMirrors(fields.mirrors, at('mirrors')),
    insecure: new Set(
      readList(fields.insecure ?? [], at('insecure'), 'an array of hosts', 1000).map((host, index) =>
        addressOf(readHost(host, `${at('insecure')}[${index}]`)),
      ),
    ),
    tls: readTls(fields.tls, at('tls')),
    proxy: chooseProxy(fields.proxy),
    connect: duration('connect', 10_000),
    idle: duration('idle', 30_000),
    total: duration('total', undefined),
    retries: fields.retries === undefined ? 4 : readInteger(fields.retries, at('retries'), 0, 100),
    parallel: fields.parallel === undefined ? 3 : readInteger(fields.parallel, at('parallel'), 1, 64),
  };
}

/** Docker's registry has another address than its name. */
function addressOf(host: string): string {
  const lower = host.toLowerCase();
  return lower === 'docker.io' || lower === 'index.docker.io' ? 'registry-1.docker.io' : lower;
}

/** The registry's own endpoint. */
export function endpointOf(host: string, settings: RegistrySettings): Endpoint {
  const address = addressOf(host);
  const protocol = settings.insecure.has(address) ? 'http' : 'https';
  return { host: host.toLowerCase(), origin: new URL(`${protocol}://${address}`).origin, prefix: '' };
}

/** What is asked, in this order, for content of the registry. */
export function endpointsOf(host: string, settings: RegistrySettings): readonly Endpoint[] {
  return [...(settings.mirrors.get(addressOf(host)) ?? []), endpointOf(host, settings)];
}

/** Whether http may be spoken there: a host that is listed, or an endpoint that was written so. */
export function mayBePlain(url: URL, endpoint: Endpoint, settings: RegistrySettings): boolean {
  if (url.origin === endpoint.origin) return true;
  return settings.insecure.has(url.host) || settings.insecure.has(`${url.hostname}:${url.port || '80'}`);
}

export function tlsOf(url: URL, settings: RegistrySettings): RegistryTls | undefined {
  return settings.tls.get(url.host) ?? settings.tls.get(`${url.hostname}:${url.port || '443'}`);
}

/** Checks credentials wherever they came from. @throws OptionError that does not show them */
export function readCredentials(value: unknown, option: string): RegistryCredentials {
  const expected = '{ username, password }, { identityToken } or { token }, each of visible text';
  const copied = copyObject(value, option);
  const names = Object.keys(copied).sort().join();
  const texts = Object.values(copied);
  const known = names === 'password,username' || names === 'identityToken' || names === 'token';
  if (!known || !texts.every(isHeaderText) || (typeof copied.username === 'string' && copied.username.includes(':'))) {
    throw new OptionError(option, expected, value);
  }
  return copied as unknown as RegistryCredentials;
}

/** Text without control characters; it becomes a part of a header. */
function isHeaderText(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && !/[\p{Cc}\p{Cs}]/u.test(value);
}

function readCredentialsOption(value: unknown, option: string): ((host: string) => unknown) | undefined {
  if (value === undefined) return undefined;
  if (typeof value === 'function') return (host) => value(host);
  const credentials = readCredentials(value, option);
  return () => credentials;
}

function readConfigFile(value: unknown, option: string): string | false | undefined {
  return value === undefined || value === false ? value : readText(value, option, 'the path of a file, or false');
}

export function readHost(value: unknown, option: string): string {
  const expected = "a host such as 'ghcr.io' or 'localhost:5000'";
  const text = readText(value, option, expected);
  const port = /:(\d+)$/.exec(text)?.[1];
  if (!hostGrammar.test(text) || Number(port ?? 1) > 65535) throw new OptionError(option, expected, value);
  return text;
}

function readMirrors(value: unknown, option: string): ReadonlyMap<string, readonly Endpoint[]> {
  const mirrors = new Map<string, readonly Endpoint[]>();
  for (const [host, list] of Object.entries(copyObject(value ?? {}, option))) {
    const name = optionName(option, host);
    const urls = readList(list, name, 'an array of URLs', 100);
    mirrors.set(
      addressOf(readHost(host, name)),
      urls.map((url, index) => readMirror(url, `${name}[${index}]`)),
    );
  }
  return mirrors;
}

function readMirror(value: unknown, option: string): Endpoint {
  const expected =
    "the URL of a registry, such as 'https://mirror.example' or 'http://127.0.0.1:5000', without credentials";
  const text = readText(value, option, expected);
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password || url.search || url.hash) {
    throw new OptionError(option, expected, url ? `${url.protocol}//${url.host}…` : value);
  }
  const path = url.pathname.replace(/^\/+|\/+$/g, '');
  if (!/^[a-z0-9._/-]*$/.test(path)) throw new OptionError(option, expected, value);
  return { host: url.host, origin: url.origin, prefix: path === '' ? '' : `${path}/` };
}

function readTls(value: unknown, option: string): ReadonlyMap<string, RegistryTls> {
  const hosts = new Map<string, RegistryTls>();
  for (const [host, entry] of Object.entries(copyObject(value ?? {}, option))) {
    const name = optionName(option, host);
    const fields = readObject(entry, name, tlsSchema);
    for (const [key, content] of Object.entries(fields)) {
      const fits = typeof content === 'string' || (key !== 'passphrase' && content instanceof Uint8Array);
      if (content !== undefined && !fits) throw new OptionError(`${name}.${key}`, 'text or bytes in PEM', content);
    }
    if ((fields.cert === undefined) !== (fields.key === undefined)) {
      throw new OptionError(name, 'cert and key together', entry);
    }
    hosts.set(addressOf(readHost(host, name)), fields as RegistryTls);
  }
  return hosts;
}
