/**
 * Reading of the documents of others: JSON of a bounded size and depth in which no name stands twice, since two programs
 * could then read two documents in it. What is read of one is what a document's own file asks for; everything else is inert.
 */

import { ImageError } from '../../errors.js';
import { type Digest, parseDigest } from '../digest.js';

/** Bytes of one document, the bound that registries have too (OCI distribution-spec, "Pushing Manifests"). */
export const largestDocument = 4 * 1024 * 1024;
const deepest = 64;

/** Which document is read, for errors: `{ name: 'the manifest sha256:…', code: 'ERR_MANIFEST' }`. */
export interface Source {
  readonly name: string;
  readonly code: 'ERR_MANIFEST' | 'ERR_CONFIG';
}

/** An object of a document, with its place. */
export interface Fields {
  readonly source: Source;
  /** Where in the document, such as `config.Env`; empty at its top. */
  readonly at: string;
  readonly values: ReadonlyMap<string, unknown>;
}

export function refuse(source: Source, problem: string, details: { hint?: string; cause?: unknown } = {}): ImageError {
  return new ImageError(source.code, `${source.name}: ${problem}`, details);
}

/**
 * The object that a document is.
 * @param known names that are read of it; one that differs from these only by its case is refused, as other readers take it
 */
export function parseObject(bytes: Uint8Array, source: Source, known: readonly string[]): Fields {
  if (bytes.length > largestDocument) {
    throw refuse(source, `it has ${bytes.length} bytes, and at most ${largestDocument} are allowed`);
  }
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw refuse(source, 'it is not JSON in UTF-8', { cause });
  }
  checkNames(text, source);
  return readFields(value, source, '', known);
}

/** The object at a place of a document. */
export function readFields(value: unknown, source: Source, at: string, known: readonly string[] = []): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw expected(source, at, 'an object', value);
  const values = new Map<string, unknown>(Object.entries(value));
  const folded = new Set(known.map((name) => name.toLowerCase()));
  for (const name of values.keys()) {
    if (folded.has(name.toLowerCase()) && !known.includes(name)) {
      throw refuse(source, `${place(at, name)} differs from a name that is read only in its case`);
    }
  }
  return { source, at, values };
}

/** An object within an object; absent and null are the same, as Go writes what is empty. */
export function optionalFields(fields: Fields, name: string, known: readonly string[] = []): Fields | undefined {
  const value = fields.values.get(name);
  return value === undefined || value === null
    ? undefined
    : readFields(value, fields.source, place(fields.at, name), known);
}

/** A list; absent and null are undefined. */
export function optionalList(fields: Fields, name: string, most: number): readonly unknown[] | undefined {
  const value = fields.values.get(name);
  if (value === undefined || value === null) return undefined;
  const at = place(fields.at, name);
  if (!Array.isArray(value)) throw expected(fields.source, at, 'an array', value);
  if (value.length > most) {
    throw refuse(fields.source, `${at} has ${value.length} elements, and at most ${most} are allowed`);
  }
  return value;
}

/** Text of a bounded length that has a UTF-8 form and no NUL byte; absent and null are undefined. */
export function optionalText(fields: Fields, name: string, most = 4096): string | undefined {
  const value = fields.values.get(name);
  return value === undefined || value === null
    ? undefined
    : readText(value, fields.source, place(fields.at, name), most);
}

export function readText(value: unknown, source: Source, at: string, most = 4096): string {
  if (typeof value !== 'string') throw expected(source, at, 'text', value);
  if (value.length > most)
    throw refuse(source, `${at} has ${value.length} characters, and at most ${most} are allowed`);
  if (/[\0\p{Cs}]/u.test(value)) throw refuse(source, `${at} has NUL bytes or halves of characters`);
  return value;
}

export function requiredDigest(fields: Fields, name: string): Digest {
  return parseDigest(fields.values.get(name), `${fields.source.name}, ${place(fields.at, name)}`);
}

/** A map of texts, such as labels and annotations: for people, never followed. Without a prototype. */
export function optionalTexts(fields: Fields, name: string): Readonly<Record<string, string>> | undefined {
  const entries = optionalFields(fields, name);
  if (!entries) return undefined;
  if (entries.values.size > 10_000) throw refuse(fields.source, `${entries.at} has ${entries.values.size} entries`);
  const texts: Record<string, string> = Object.create(null);
  for (const [key, value] of entries.values) {
    // Docker writes null for a label without a value.
    texts[key] = value === null ? '' : readText(value, fields.source, place(entries.at, key), largestDocument);
  }
  return texts;
}

export function place(at: string, name: string | number): string {
  if (typeof name === 'number') return `${at}[${name}]`;
  const shown = /^[\w.$-]{1,64}$/.test(name) ? name : JSON.stringify(name.slice(0, 64));
  return at === '' ? shown : `${at}.${shown}`;
}

export function expected(source: Source, at: string, what: string, value: unknown): ImageError {
  const found = value === null ? 'null' : Array.isArray(value) ? 'an array' : typeof value;
  return refuse(
    source,
    `${at === '' ? 'it' : at} should be ${what} and is ${found === 'undefined' ? 'missing' : found}`,
  );
}

/**
 * Refuses a name that stands twice in one object, and nesting without end. JSON.parse, which has found the text to be well
 * formed, tells of neither: it takes the last of two.
 */
function checkNames(text: string, source: Source): void {
  // One for each value that is open: names of an object, nothing for an array.
  const open: (Set<string> | undefined)[] = [];
  const token = /"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g;
  for (let match = token.exec(text); match !== null; match = token.exec(text)) {
    const [found, colon] = match;
    if (found === '{' || found === '[') {
      open.push(found === '{' ? new Set() : undefined);
      if (open.length > deepest) throw refuse(source, `it is nested deeper than ${deepest} times`);
    } else if (found === '}' || found === ']') open.pop();
    else if (colon !== undefined) {
      const name: string = JSON.parse(found.slice(0, found.length - colon.length));
      const names = open.at(-1);
      if (names?.has(name)) throw refuse(source, `it has ${JSON.stringify(name.slice(0, 64))} twice in one object`);
      names?.add(name);
    }
  }
}
