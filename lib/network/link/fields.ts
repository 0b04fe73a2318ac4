/**
 * Settings of bridges, ports and kinds of links as tables: the attribute of each, and what its value is. One table is read
 * three ways: to check options, to write them, and to read what the kernel has.
 */

import {
  defineSchema,
  optionName,
  readBoolean,
  readChoice,
  readInteger,
  readObject,
} from '../../container/settings/schema.js';
import type { AttributeNames } from '../../netlink/acknowledgement.js';
import { type Attributes, AttributeWriter } from '../../netlink/attributes.js';
import { parseDuration } from '../../units.js';

type Value = boolean | number | string;

interface FieldType {
  /** The number that is written for a value of the options. */
  readonly parse: (value: unknown, option: string) => number;
  readonly write: (to: AttributeWriter, attribute: number, value: number) => void;
  readonly read: (from: Attributes, attribute: number) => Value | undefined;
}

type Field = FieldType & { readonly attribute: number; readonly name: string };

/** The fields of one nest of attributes, by the names of options. */
export type Fields = Readonly<Record<string, Field>>;

const width = {
  u8: {
    write: (to: AttributeWriter, at: number, value: number) => void to.u8(at, value),
    read: (from: Attributes, at: number) => from.u8(at),
  },
  u16: {
    write: (to: AttributeWriter, at: number, value: number) => void to.u16(at, value),
    read: (from: Attributes, at: number) => from.u16(at),
  },
  u16be: {
    write: (to: AttributeWriter, at: number, value: number) => void to.u16be(at, value),
    read: (from: Attributes, at: number) => from.u16be(at),
  },
  u32: {
    write: (to: AttributeWriter, at: number, value: number) => void to.u32(at, value),
    read: (from: Attributes, at: number) => from.u32(at),
  },
} as const;
type Width = keyof typeof width;

export function number(of: Width, min: number, max: number): FieldType {
  return { ...width[of], parse: (value, option) => readInteger(value, option, min, max) };
}

export function boolean(of: Width = 'u8'): FieldType {
  const read = (from: Attributes, at: number) => {
    const value = width[of].read(from, at);
    return value === undefined ? undefined : value !== 0;
  };
  return { ...width[of], read, parse: (value, option) => (readBoolean(value, option, false) ? 1 : 0) };
}

/** Hundredths of a second (USER_HZ), as milliseconds. */
export function time(min: number, max: number): FieldType {
  const read = (from: Attributes, at: number) => {
    const value = from.u32(at);
    return value === undefined ? undefined : value * 10;
  };
  return { ...width.u32, read, parse: (value, option) => Math.round(parseDuration(value, option, { min, max }) / 10) };
}

export function choice(of: Width, numbers: Readonly<Record<string, number>>): FieldType {
  const words = Object.keys(numbers);
  const read = (from: Attributes, at: number) => {
    const value = width[of].read(from, at);
    return words.find((word) => numbers[word] === value);
  };
  return { ...width[of], read, parse: (value, option) => numbers[readChoice(value, option, words)] ?? 0 };
}

/** A field of a table. */
export function field(attribute: number, name: string, type: FieldType): Field {
  return { attribute, name, ...type };
}

/** Values that were checked, to be written. */
export type Written = ReadonlyMap<Field, number>;

/** @throws OptionError */
export function readFields(value: unknown, option: string, fields: Fields, needed: readonly string[] = []): Written {
  const given = readObject(value, option, defineSchema(Object.keys(fields)));
  const written = new Map<Field, number>();
  for (const [key, one] of Object.entries(fields)) {
    if (given[key] !== undefined || needed.includes(key))
      written.set(one, one.parse(given[key], optionName(option, key)));
  }
  return written;
}

export function writeFields(written: Written, to = new AttributeWriter()): AttributeWriter {
  for (const [one, value] of written) one.write(to, one.attribute, value);
  return to;
}

/** What the kernel has; what it has not, or has otherwise, is left out. */
export function valuesOf(attributes: Attributes, fields: Fields): Record<string, Value> {
  const values: Record<string, Value> = {};
  for (const [key, one] of Object.entries(fields)) {
    const value = one.read(attributes, one.attribute);
    if (value !== undefined) values[key] = value;
  }
  return values;
}

export function namesOf(fields: Fields): AttributeNames {
  return Object.fromEntries(Object.values(fields).map(({ attribute, name }) => [attribute, name]));
}
