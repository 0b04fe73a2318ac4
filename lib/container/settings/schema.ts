/**
 * Reading of untyped options: every property is read once into data without a prototype, unknown keys are errors that
 * suggest the nearest known one, and each kind of value has one strict reader that names the option.
 */

import { OptionError } from '../../errors.js';
import { nearestOf } from '../../nearest.js';

/** Options copied out of the caller's object: no prototype, no getters, every property read exactly once. */
export type Copied = { readonly [key: string]: unknown };

/** The keys of one kind of object. */
export interface Schema<Key extends string> {
  readonly keys: ReadonlySet<string>;
  /** Hints for keys that belong somewhere else. */
  readonly hints: ReadonlyMap<string, string>;
  /** Never set; carries the type of the keys. */
  readonly key?: Key;
}

/** Copied options of which every key is known. */
export type Fields<Key extends string> = { readonly [K in Key]?: unknown };

const noHints: ReadonlyMap<string, string> = new Map();
const noFields: Copied = Object.freeze(Object.create(null));

export function defineSchema<const Key extends string>(
  keys: readonly Key[],
  hints: ReadonlyMap<string, string> = noHints,
): Schema<Key> {
  return { keys: new Set(keys), hints };
}

/** The name of a property for messages: `limits.memory`, or `env["a b"]` where the key is no identifier. */
export function optionName(parent: string, key: string): string {
  if (!/^[A-Za-z_$][\w$]{0,63}$/.test(key)) return `${parent}[${JSON.stringify(key.slice(0, 64))}]`;
  return parent === '' ? key : `${parent}.${key}`;
}

/**
 * Copies the own properties of a plain object. Class instances and objects with a prototype chain of their own are
 * refused: what they inherit would be ignored silently.
 * @param option the object's name; `''` for the options themselves
 */
export function copyObject(value: unknown, option: string): Copied {
  if (value === undefined && option === '') return noFields;
  const name = option === '' ? 'options' : option;
  if (typeof value !== 'object' || value === null) throw new OptionError(name, 'a plain object', value);
  try {
    return copyProperties(value, name);
  } catch (cause) {
    if (cause instanceof OptionError) throw cause;
    throw new OptionError(name, 'an object whose properties can be read', value, { cause });
  }
}

function copyProperties(value: object, name: string): Copied {
  if (!isPlain(value)) throw new OptionError(name, 'a plain object', value, { hint: 'copy it: { ...value }' });
  const copy: Record<string, unknown> = Object.create(null);
  for (const key of Reflect.ownKeys(value)) {
    if (typeof key === 'symbol') throw new OptionError(name, 'an object without symbols as keys', value);
    copy[key] = Reflect.get(value, key);
  }
  return copy;
}

/** Checks that a copied object has no other keys than the schema's. */
export function expectKeys<Key extends string>(copied: Copied, option: string, schema: Schema<Key>): Fields<Key> {
  for (const key in copied) {
    if (!schema.keys.has(key)) throw unknownKey(copied, key, option, schema);
  }
  return copied as Fields<Key>;
}

/** Copies an object and checks its keys. */
export function readObject<Key extends string>(value: unknown, option: string, schema: Schema<Key>): Fields<Key> {
  return expectKeys(copyObject(value, option), option, schema);
}

/** Copies an array, each element once. */
export function readList(value: unknown, option: string, expected: string, max: number): readonly unknown[] {
  if (!isArray(value)) throw new OptionError(option, expected, value);
  const length = value.length;
  if (length > max) throw new OptionError(option, `at most ${max} elements`, value);
  const copy: unknown[] = [];
  for (let index = 0; index < length; index++) copy.push(value[index]);
  return copy;
}

export function readBoolean(value: unknown, option: string, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value !== 'boolean') throw new OptionError(option, 'true or false', value);
  return value;
}

/** A whole number of the range. Text is refused, however numeric it looks. */
export function readInteger(value: unknown, option: string, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
    throw new OptionError(option, `a whole number from ${min} to ${max}`, value);
  }
  return value;
}

/** One of a closed set of words. */
export function readChoice<const Choice extends string>(
  value: unknown,
  option: string,
  choices: readonly Choice[],
  details: { readonly also?: string; readonly hint?: string } = {},
): Choice {
  for (const choice of choices) if (value === choice) return choice;
  const words = [...choices.map((choice) => `'${choice}'`), ...(details.also ? [details.also] : [])];
  const nearest = typeof value === 'string' ? nearestOf(value, choices) : undefined;
  const hint = details.hint ?? (nearest === undefined ? undefined : `did you mean '${nearest}'?`);
  throw new OptionError(option, words.join(' or '), value, { hint });
}

/**
 * Text that can be handed to the kernel as it is. A NUL byte would end it early, and half of a surrogate pair has no
 * UTF-8 form: Node would write U+FFFD, so what runs would not be what was checked.
 */
export function readText(value: unknown, option: string, expected: string): string {
  if (typeof value !== 'string') throw new OptionError(option, expected, value);
  if (value.includes('\0')) throw new OptionError(option, `${expected} without NUL bytes`, value);
  refuseLoneSurrogates(value, option, expected);
  return value;
}

export function refuseLoneSurrogates(text: string, option: string, expected: string): void {
  if (!/\p{Cs}/u.test(text)) return;
  const hint = 'a lone surrogate has no UTF-8 form';
  throw new OptionError(option, `${expected} of whole Unicode characters`, text, { hint });
}

/** Bytes of the text as the kernel sees it. */
export function byteLength(text: string): number {
  return Buffer.byteLength(text);
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return true;
  // Object.prototype of another realm (node:vm, some test runners).
  return (
    typeof prototype === 'object' &&
    Object.getPrototypeOf(prototype) === null &&
    Object.hasOwn(prototype, 'isPrototypeOf') &&
    !Array.isArray(value)
  );
}

function isArray(value: unknown): value is readonly unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false; // a revoked proxy
  }
}

function unknownKey(copied: Copied, key: string, option: string, schema: Schema<string>): OptionError {
  const keys = [...schema.keys];
  const nearest = nearestOf(key, keys);
  const hint =
    schema.hints.get(key) ??
    (nearest === undefined ? `the options here are ${keys.join(', ')}` : `did you mean ${nearest}?`);
  return new OptionError(optionName(option, key), 'a known option', copied[key], { hint });
}
