/** The options of one process. Streams are known by their shape: they come from many classes, and from other realms. */

import { constants } from 'node:buffer';
import type { Readable, Writable } from 'node:stream';
import { OptionError } from '../../errors.js';
import { type CapabilitySettings, readCapabilitySets } from '../../process/attributes/capabilities.js';
import {
  type AttributeSettings,
  attributeKeys,
  type Confinement,
  readAttributes,
} from '../../process/attributes/settings.js';
import { parseDuration, parseSize } from '../../units.js';
import { readHostPath, readWorkingDirectory } from './paths.js';
import {
  defineSchema,
  type Fields,
  optionName,
  readBoolean,
  readChoice,
  readInteger,
  readObject,
  refuseLoneSurrogates,
} from './schema.js';
import { type EnvPairs, readEnv } from './strings.js';
import { largestHostId, readUser, type UserSpec } from './user.js';

/** What a process reads. Text has become bytes. */
export type StdinSettings =
  | { readonly kind: 'ignore' | 'pipe' | 'inherit' }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'stream'; readonly stream: Readable | AsyncIterable<string | Uint8Array> };

/** Where output goes. */
export type OutputSettings =
  | { readonly kind: 'buffer' | 'pipe' | 'inherit' | 'ignore' }
  | { readonly kind: 'stream'; readonly stream: Writable };

export interface TerminalSettings {
  readonly columns: number;
  readonly rows: number;
}

/** Checked, frozen options of one process. What is absent is the container's. */
export interface ExecSettings {
  readonly stdin: StdinSettings;
  readonly stdout: OutputSettings;
  readonly stderr: OutputSettings;
  /** Bytes kept of each stream. */
  readonly maxBuffer: number;
  readonly maxOutput?: number;
  readonly encoding: 'utf8' | 'buffer';
  readonly tty?: TerminalSettings;
  readonly user?: UserSpec;
  readonly cwd?: string;
  readonly env: EnvPairs;
  /** Milliseconds. */
  readonly timeout?: number;
  readonly signal?: AbortSignal;
  readonly check: boolean;
  /** What comes before the arguments that are given. */
  readonly entrypoint?: 'image' | readonly string[];
  readonly attributes: AttributeSettings;
  readonly capabilities: CapabilitySettings;
}

export const execKeys = [
  'stdin',
  'stdout',
  'stderr',
  'maxBuffer',
  'maxOutput',
  'encoding',
  'tty',
  'user',
  'cwd',
  'env',
  'timeout',
  'signal',
  'check',
  'capabilities',
  ...attributeKeys,
] as const;

/** What a tty has when nothing is said. */
const defaultTerminal: TerminalSettings = Object.freeze({ columns: 80, rows: 24 });
const terminalSchema = defineSchema(['columns', 'rows']);
const defaultMaxBuffer = 2 ** 20;
/** struct winsize has 16 bits for each. */
const widest = 65_535;

const ignore: StdinSettings = Object.freeze({ kind: 'ignore' });
const buffer: OutputSettings = Object.freeze({ kind: 'buffer' });

/** Checks options that are copied already, of a program in a container or in namespaces of the caller's choice. */
export function readExec(
  fields: Fields<(typeof execKeys)[number]>,
  confinement: Confinement = 'container',
): ExecSettings {
  const contained = confinement === 'container';
  const tty = readTerminal(fields.tty, 'tty');
  const stderr = readOutput(fields.stderr, 'stderr');
  if (tty !== undefined && stderr.kind !== 'buffer') {
    throw new OptionError('stderr', 'no setting beside tty', fields.stderr, {
      hint: 'a terminal has one stream, which is stdout',
    });
  }
  const attributes = readAttributes(fields, confinement);
  if (attributes.selinux?.mount !== undefined) {
    throw new OptionError('selinux.mount', 'no setting beside a program', attributes.selinux.mount, {
      hint: 'it is an option of the container',
    });
  }
  const { maxBuffer, maxOutput, encoding, timeout, user, cwd, signal } = fields;
  return Object.freeze({
    stdin: readStdin(fields.stdin, 'stdin'),
    stdout: readOutput(fields.stdout, 'stdout'),
    stderr,
    // More could not become a string in the end.
    maxBuffer:
      maxBuffer === undefined
        ? defaultMaxBuffer
        : parseSize(maxBuffer, 'maxBuffer', { max: constants.MAX_STRING_LENGTH }),
    encoding: encoding === undefined ? 'utf8' : readChoice(encoding, 'encoding', ['utf8', 'buffer']),
    env: readEnv(fields.env, 'env'),
    check: readBoolean(fields.check, 'check', false),
    attributes,
    capabilities: readCapabilitySets(fields.capabilities, 'capabilities'),
    ...(maxOutput === undefined ? {} : { maxOutput: parseSize(maxOutput, 'maxOutput', { min: 1 }) }),
    ...(tty === undefined ? {} : { tty }),
    ...(user === undefined ? {} : { user: readUser(user, 'user', contained ? undefined : largestHostId) }),
    ...(cwd === undefined ? {} : { cwd: contained ? readWorkingDirectory(cwd, 'cwd') : readHostPath(cwd, 'cwd') }),
    ...(timeout === undefined ? {} : { timeout: parseDuration(timeout, 'timeout', { min: 1 }) }),
    ...(signal === undefined ? {} : { signal: readSignal(signal, 'signal') }),
  });
}

/** An AbortSignal, of any realm. The object itself: what it will say is the point of it. */
export function readSignal(value: unknown, option: string): AbortSignal {
  if (value instanceof AbortSignal) return value;
  if (has(value, 'addEventListener', 'removeEventListener') && typeof Reflect.get(value, 'aborted') === 'boolean') {
    return value as AbortSignal;
  }
  const hint = has(value, 'abort') ? 'give the signal of the AbortController' : undefined;
  throw new OptionError(option, 'an AbortSignal', value, { hint });
}

function readStdin(value: unknown, option: string): StdinSettings {
  if (value === undefined) return ignore;
  if (value === 'ignore' || value === 'pipe' || value === 'inherit') return Object.freeze({ kind: value });
  if (value instanceof Uint8Array) return Object.freeze({ kind: 'bytes', bytes: value });
  const expected = "'ignore', 'pipe', 'inherit', text, bytes, a Readable or an async iterable";
  if (typeof value === 'string') {
    // Data, not a name for the kernel: every character is legal, but half of one has no bytes.
    refuseLoneSurrogates(value, option, 'text');
    return Object.freeze({ kind: 'bytes', bytes: Buffer.from(value) });
  }
  if (!isReadable(value)) throw new OptionError(option, expected, value);
  return Object.freeze({ kind: 'stream', stream: value });
}

function isReadable(value: unknown): value is Readable | AsyncIterable<string | Uint8Array> {
  if (has(value, Symbol.asyncIterator)) return true;
  // A Writable has `pipe` too, which only fails; `readable` it has not.
  return has(value, 'pipe', 'on') && typeof Reflect.get(value, 'readable') === 'boolean';
}

function readOutput(value: unknown, option: string): OutputSettings {
  if (value === undefined || value === 'buffer') return buffer;
  if (has(value, 'write', 'on')) return Object.freeze({ kind: 'stream', stream: value as unknown as Writable });
  return Object.freeze({
    kind: readChoice(value, option, ['buffer', 'pipe', 'inherit', 'ignore'], { also: 'a Writable' }),
  });
}

function readTerminal(value: unknown, option: string): TerminalSettings | undefined {
  if (value === undefined || value === false) return undefined;
  if (value === true) return defaultTerminal;
  if (typeof value !== 'object' || value === null) {
    throw new OptionError(option, 'true, false, or { columns, rows }', value);
  }
  const { columns, rows } = readObject(value, option, terminalSchema);
  return Object.freeze({
    columns:
      columns === undefined ? defaultTerminal.columns : readInteger(columns, optionName(option, 'columns'), 1, widest),
    rows: rows === undefined ? defaultTerminal.rows : readInteger(rows, optionName(option, 'rows'), 1, widest),
  });
}

/** Whether the value is an object with all of these methods. */
function has(value: unknown, ...methods: readonly (string | symbol)[]): value is object {
  return (
    typeof value === 'object' &&
    value !== null &&
    methods.every((name) => typeof Reflect.get(value, name) === 'function')
  );
}
