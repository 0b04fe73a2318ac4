/**
 * The configuration of an image (OCI image-spec, config.md): what it is for, which layers it has, and what its programs are
 * started with. Only the fields below are read. Labels are shown and kept, and nothing here follows them; whatever else a
 * configuration has is not even looked at.
 */

import { type Digest, parseDigest } from '../digest.js';
import { normalized } from '../platform.js';
import {
  expected,
  type Fields,
  optionalFields,
  optionalList,
  optionalText,
  optionalTexts,
  parseObject,
  place,
  readFields,
  readText,
  refuse,
  type Source,
} from './json.js';

/** How one layer, or a change of the configuration alone, came to be. */
export interface HistoryEntry {
  /** RFC 3339. */
  readonly created?: string;
  readonly createdBy?: string;
  readonly author?: string;
  readonly comment?: string;
  /** True for a step that made no layer. */
  readonly emptyLayer?: boolean;
}

/** What an image says of itself. */
export interface ImageConfig {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  /** RFC 3339. */
  readonly created?: string;
  readonly author?: string;
  /** The program that always runs; `cmd` are its arguments then. Empty for none. */
  readonly entrypoint: readonly string[];
  /** The program, or the arguments of `entrypoint`, where nobody gives any. */
  readonly cmd: readonly string[];
  /** Variables, without a prototype. */
  readonly env: Readonly<Record<string, string>>;
  /** Absolute. */
  readonly workingDir?: string;
  /** `user`, `uid`, `user:group`, `uid:gid` or a mixture. */
  readonly user?: string;
  /** Such as `80/tcp`. */
  readonly exposedPorts: readonly string[];
  /** Absolute paths without `.` and `..`. */
  readonly volumes: readonly string[];
  /** What ends it, such as `SIGTERM`. */
  readonly stopSignal?: string;
  /** For people; nothing follows them. Without a prototype. */
  readonly labels: Readonly<Record<string, string>>;
  /** Digests of the layers as tar archives, bottom first. */
  readonly diffIds: readonly Digest[];
  /** Oldest first. Older tools write none. */
  readonly history: readonly HistoryEntry[];
}

const most = { strings: 10_000, layers: 500, history: 2000 };
const longestString = 128 * 1024;
const topNames = ['architecture', 'os', 'variant', 'created', 'author', 'config', 'rootfs', 'history'];
const configNames = [
  'Entrypoint',
  'Cmd',
  'Env',
  'WorkingDir',
  'User',
  'ExposedPorts',
  'Volumes',
  'StopSignal',
  'Labels',
];
const historyNames = ['created', 'created_by', 'author', 'comment', 'empty_layer'];
const portGrammar = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i;
const timeGrammar = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,12})?([Zz]|[+-]\d\d:\d\d)$/;

/**
 * @param name for errors, such as `the configuration of busybox`
 * @throws ImageError `ERR_CONFIG`, or `ERR_DIGEST` for a digest in it that is none
 */
export function parseConfig(bytes: Uint8Array, name = 'the configuration'): ImageConfig {
  const source: Source = { name, code: 'ERR_CONFIG' };
  const fields = parseObject(bytes, source, topNames);
  const inner = optionalFields(fields, 'config', configNames) ?? readFields({}, source, 'config');
  const diffIds = readDiffIds(fields);
  const created = optionalTime(fields);
  const author = optionalText(fields, 'author');
  return {
    ...readPlatform(fields),
    ...(created !== undefined && { created }),
    ...(author !== undefined && { author }),
    entrypoint: readStrings(inner, 'Entrypoint'),
    cmd: readStrings(inner, 'Cmd'),
    env: readEnv(inner),
    ...readWorkingDir(inner),
    ...readUser(inner),
    exposedPorts: readPorts(inner),
    volumes: readVolumes(inner),
    ...readStopSignal(inner),
    labels: optionalTexts(inner, 'Labels') ?? Object.create(null),
    diffIds,
    history: readHistory(fields, diffIds.length),
  };
}

function readPlatform(fields: Fields): Pick<ImageConfig, 'os' | 'architecture' | 'variant'> {
  const os = optionalText(fields, 'os', 64);
  const architecture = optionalText(fields, 'architecture', 64);
  if (!os) throw expected(fields.source, 'os', 'the name of a system', fields.values.get('os'));
  if (!architecture) {
    throw expected(fields.source, 'architecture', 'the name of an architecture', fields.values.get('architecture'));
  }
  return normalized(os, architecture, optionalText(fields, 'variant', 64));
}

function readDiffIds(fields: Fields): readonly Digest[] {
  const rootfs = optionalFields(fields, 'rootfs', ['type', 'diff_ids']);
  const list = rootfs && optionalList(rootfs, 'diff_ids', most.layers);
  if (!rootfs || !list || rootfs.values.get('type') !== 'layers') {
    throw refuse(fields.source, 'rootfs should have the type `layers`, and a list `diff_ids`');
  }
  return list.map((value, index) => parseDigest(value, `${fields.source.name}, rootfs.diff_ids[${index}]`));
}

/** Docker once wrote a program without arguments as text instead of a list; it means a list of one, not a shell. */
function readStrings(fields: Fields, name: string): readonly string[] {
  const value = fields.values.get(name);
  const at = place(fields.at, name);
  if (typeof value === 'string') return [readText(value, fields.source, at, longestString)];
  const list = optionalList(fields, name, most.strings) ?? [];
  return list.map((entry, index) => readText(entry, fields.source, place(at, index), longestString));
}

/**
 * An entry that is a name alone would mean, to some readers, the value that this variable has on the host; one with a
 * wildcard, all that match. So each has to be a name and a value.
 */
function readEnv(fields: Fields): Readonly<Record<string, string>> {
  const env: Record<string, string> = Object.create(null);
  for (const [index, entry] of (optionalList(fields, 'Env', most.strings) ?? []).entries()) {
    const at = place(place(fields.at, 'Env'), index);
    const text = readText(entry, fields.source, at, longestString);
    const equals = text.indexOf('=');
    const name = text.slice(0, Math.max(0, equals));
    if (name === '' || /\p{Cc}/u.test(name)) {
      const shown = text.length > 80 ? `${text.slice(0, 77)}...` : text;
      throw refuse(fields.source, `${at} should be NAME=value and is '${shown}'`);
    }
    env[name] = text.slice(equals + 1);
  }
  return env;
}

function readWorkingDir(fields: Fields): { workingDir?: string } {
  const value = optionalText(fields, 'WorkingDir', 4095);
  if (value === undefined || value === '') return {};
  if (!value.startsWith('/')) throw refuse(fields.source, `${place(fields.at, 'WorkingDir')} is not an absolute path`);
  return { workingDir: value };
}

function readUser(fields: Fields): { user?: string } {
  const value = optionalText(fields, 'User', 256);
  if (value === undefined || value === '') return {};
  if (/\p{Cc}/u.test(value)) throw refuse(fields.source, `${place(fields.at, 'User')} has control characters`);
  return { user: value };
}

function readPorts(fields: Fields): readonly string[] {
  const ports = optionalFields(fields, 'ExposedPorts');
  return [...(ports?.values.keys() ?? [])].map((text) => {
    const [, first = '', last = first, protocol = 'tcp'] = portGrammar.exec(text) ?? [];
    const valid = Number(first) >= 1 && Number(last) >= Number(first) && Number(last) <= 65535;
    if (!valid) throw refuse(fields.source, `${place(ports?.at ?? '', text)} is no port such as 80/tcp`);
    return `${first === last ? Number(first) : `${Number(first)}-${Number(last)}`}/${protocol.toLowerCase()}`;
  });
}

/** What would have to be brought to a normal form first is refused: the path then means the same to every reader. */
function readVolumes(fields: Fields): readonly string[] {
  const volumes = optionalFields(fields, 'Volumes');
  const paths = [...(volumes?.values.keys() ?? [])].map((key) => {
    const path = readText(key, fields.source, place(volumes?.at ?? '', key), 4095).replace(/(?<=.)\/+$/, '');
    const parts = path.split('/').slice(1);
    if (path.startsWith('/') && parts.every((part) => part !== '' && part !== '.' && part !== '..')) return path;
    throw refuse(fields.source, `${place(volumes?.at ?? '', key)} is no absolute path in normal form below /`);
  });
  return [...new Set(paths)];
}

function readStopSignal(fields: Fields): { stopSignal?: string } {
  const value = optionalText(fields, 'StopSignal', 32);
  if (value === undefined || value === '') return {};
  if (!/^(\d{1,2}|[A-Za-z][A-Za-z0-9]*([+-]\d{1,2})?)$/.test(value)) {
    throw refuse(fields.source, `${place(fields.at, 'StopSignal')} is no signal such as SIGTERM`);
  }
  return { stopSignal: value };
}

function optionalTime(fields: Fields): string | undefined {
  const value = optionalText(fields, 'created', 64);
  if (value === undefined || value === '') return undefined;
  if (!timeGrammar.test(value)) throw refuse(fields.source, `${place(fields.at, 'created')} is no time of RFC 3339`);
  return value;
}

function readHistory(fields: Fields, layers: number): readonly HistoryEntry[] {
  const history = (optionalList(fields, 'history', most.history) ?? []).map((value, index) => {
    const entry = readFields(value, fields.source, place('history', index), historyNames);
    const created = optionalTime(entry);
    const createdBy = optionalText(entry, 'created_by', longestString);
    const author = optionalText(entry, 'author');
    const comment = optionalText(entry, 'comment', longestString);
    return {
      ...(created !== undefined && { created }),
      ...(createdBy !== undefined && { createdBy }),
      ...(author !== undefined && { author }),
      ...(comment !== undefined && { comment }),
      ...(entry.values.get('empty_layer') === true && { emptyLayer: true }),
    };
  });
  const made = history.filter(({ emptyLayer }) => !emptyLayer).length;
  if (made > layers) throw refuse(fields.source, `history tells of ${made} layers, and there are ${layers}`);
  return history;
}
