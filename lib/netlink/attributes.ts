/**
 * Attributes of netlink messages: u16 length, u16 type, the value, zeros up to a multiple of 4. They nest. What a value is,
 * only its type says, so there is a writer and a strict reader for each kind of value. What each type means is decided by who
 * uses this.
 */

import { TscontainError } from '../errors.js';
import { malformed } from './error.js';
import { align, native } from './message.js';

const attributeHeader = 4;
const NESTED = 0x8000;
const typeMask = 0x3fff;
const longest = 0xffff;

/** Writes attributes one after another. */
export class AttributeWriter {
  #bytes = Buffer.alloc(256);
  #length = 0;

  /** How many bytes have been written. An attribute, with all that it nests, has at most 65,535. */
  get length(): number {
    return this.#length;
  }

  /** What has been written: a copy. */
  bytes(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#length));
  }

  /** An attribute without a value: that it is there says it. */
  flag(type: number): this {
    this.#reserve(type, 0);
    return this;
  }

  u8(type: number, value: number): this {
    return this.#put(type, 1, (at) => this.#bytes.writeUInt8(value, at));
  }

  u16(type: number, value: number): this {
    return this.#put(type, 2, (at) => native.writeU16(this.#bytes, value, at));
  }

  /** In network order. */
  u16be(type: number, value: number): this {
    return this.#put(type, 2, (at) => this.#bytes.writeUInt16BE(value, at));
  }

  u32(type: number, value: number): this {
    return this.#put(type, 4, (at) => native.writeU32(this.#bytes, value, at));
  }

  i32(type: number, value: number): this {
    return this.#put(type, 4, (at) => native.writeI32(this.#bytes, value, at));
  }

  /** In network order. */
  u32be(type: number, value: number): this {
    return this.#put(type, 4, (at) => this.#bytes.writeUInt32BE(value, at));
  }

  u64(type: number, value: bigint): this {
    return this.#put(type, 8, (at) => native.writeU64(this.#bytes, value, at));
  }

  /** In network order. */
  u64be(type: number, value: bigint): this {
    return this.#put(type, 8, (at) => this.#bytes.writeBigUInt64BE(value, at));
  }

  /** UTF-8, ended by a NUL. The text has none. */
  string(type: number, text: string): this {
    return this.binary(type, Buffer.from(`${text}\0`));
  }

  binary(type: number, bytes: Uint8Array): this {
    return this.#put(type, bytes.byteLength, (at) => this.#bytes.set(bytes, at));
  }

  /** Attributes in an attribute. */
  nested(type: number, write: (inside: this) => void): this {
    const start = this.#length;
    this.#reserve(type | NESTED, 0);
    write(this);
    const length = this.#length - start;
    expectLength(type, length);
    native.writeU16(this.#bytes, length, start);
    return this;
  }

  /** Attributes that have been written before, as they are. */
  append(attributes: Uint8Array): this {
    const at = this.#grow(align(attributes.byteLength));
    this.#bytes.set(attributes, at);
    return this;
  }

  #put(type: number, length: number, write: (at: number) => void): this {
    write(this.#reserve(type, length));
    return this;
  }

  #reserve(type: number, length: number): number {
    expectLength(type, attributeHeader + length);
    const at = this.#grow(align(attributeHeader + length));
    native.writeU16(this.#bytes, attributeHeader + length, at);
    native.writeU16(this.#bytes, type, at + 2);
    return at + attributeHeader;
  }

  #grow(by: number): number {
    const at = this.#length;
    if (at + by > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(this.#bytes.length * 2, at + by));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
    }
    this.#length += by;
    return at;
  }
}

function expectLength(type: number, length: number): void {
  if (length > longest) {
    const text = `an attribute of ${length} bytes (type ${type & typeMask}) is too long: netlink has ${longest}`;
    throw new TscontainError('ERR_NETLINK_TOO_LONG', text);
  }
}

/** An attribute as it came. */
export interface Attribute {
  readonly type: number;
  readonly value: Buffer;
}

/**
 * Attributes that have been read. Of several of one type the last counts, as in the kernel; {@link each} has all. A reader
 * gives undefined where there is none, and throws where the value is not what it reads.
 */
export class Attributes {
  readonly #all: readonly Attribute[];

  /** @throws NetlinkError (`ERR_NETLINK_MESSAGE`) where a length leads out of the bytes */
  constructor(bytes: Buffer) {
    const all: Attribute[] = [];
    for (let at = 0; at < bytes.length; ) {
      const left = bytes.length - at;
      if (left < attributeHeader) malformed(`${left} bytes are no attribute`);
      const length = native.readU16(bytes, at);
      if (length < attributeHeader || length > left)
        malformed(`an attribute of ${length} bytes where ${left} are left`);
      const type = native.readU16(bytes, at + 2) & typeMask;
      all.push({ type, value: bytes.subarray(at + attributeHeader, at + length) });
      at += Math.min(left, align(length));
    }
    this.#all = all;
  }

  /** The attributes that follow a structure of `length` bytes. */
  static after(body: Buffer, length: number): Attributes {
    if (body.length < length) malformed(`${body.length} bytes where a structure has ${length}`);
    return new Attributes(body.subarray(Math.min(body.length, align(length))));
  }

  /** All, in the order in which they came. */
  each(): readonly Attribute[] {
    return this.#all;
  }

  has(type: number): boolean {
    return this.#find(type) !== undefined;
  }

  u8(type: number): number | undefined {
    return this.#read(type, 1, (value) => value.readUInt8(0));
  }

  u16(type: number): number | undefined {
    return this.#read(type, 2, (value) => native.readU16(value, 0));
  }

  /** In network order. */
  u16be(type: number): number | undefined {
    return this.#read(type, 2, (value) => value.readUInt16BE(0));
  }

  u32(type: number): number | undefined {
    return this.#read(type, 4, (value) => native.readU32(value, 0));
  }

  i32(type: number): number | undefined {
    return this.#read(type, 4, (value) => native.readI32(value, 0));
  }

  /** In network order. */
  u32be(type: number): number | undefined {
    return this.#read(type, 4, (value) => value.readUInt32BE(0));
  }

  u64(type: number): bigint | undefined {
    return this.#read(type, 8, (value) => native.readU64(value, 0));
  }

  /** In network order. */
  u64be(type: number): bigint | undefined {
    return this.#read(type, 8, (value) => value.readBigUInt64BE(0));
  }

  /** UTF-8 up to the NUL that ends it, or without one. */
  string(type: number): string | undefined {
    const value = this.#find(type);
    if (value === undefined) return undefined;
    const end = value.indexOf(0);
    return value.toString('utf8', 0, end < 0 ? value.length : end);
  }

  /** The bytes, at least so many of them: a newer kernel's structures are longer. */
  binary(type: number, atLeast = 0): Buffer | undefined {
    const value = this.#find(type);
    if (value !== undefined && value.length < atLeast) wrongLength(type, value, atLeast);
    return value;
  }

  /** Attributes in an attribute. */
  nested(type: number): Attributes | undefined {
    const value = this.#find(type);
    return value === undefined ? undefined : new Attributes(value);
  }

  #find(type: number): Buffer | undefined {
    return this.#all.findLast((attribute) => attribute.type === type)?.value;
  }

  #read<T>(type: number, length: number, read: (value: Buffer) => T): T | undefined {
    const value = this.#find(type);
    if (value === undefined) return undefined;
    if (value.length !== length) wrongLength(type, value, length);
    return read(value);
  }
}

function wrongLength(type: number, value: Buffer, expected: number): never {
  malformed(`the attribute ${type} has ${value.length} bytes where ${expected} are expected`);
}
