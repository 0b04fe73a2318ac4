/**
 * Messages of netlink(7): the header that all have, several of them in a datagram, and what follows the header, a structure
 * of the message's type and attributes. Numbers are in the order of this machine.
 */

import { endianness } from 'node:os';
import { malformed } from './error.js';

const little = endianness() === 'LE';

/** Reads and writes numbers in the order of this machine. The caller has checked the lengths. */
export const native = {
  readU16: (bytes: Buffer, at: number) => (little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at)),
  readU32: (bytes: Buffer, at: number) => (little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)),
  readI32: (bytes: Buffer, at: number) => (little ? bytes.readInt32LE(at) : bytes.readInt32BE(at)),
  readU64: (bytes: Buffer, at: number) => (little ? bytes.readBigUInt64LE(at) : bytes.readBigUInt64BE(at)),
  readI64: (bytes: Buffer, at: number) => (little ? bytes.readBigInt64LE(at) : bytes.readBigInt64BE(at)),
  writeU16: (bytes: Buffer, value: number, at: number) =>
    little ? bytes.writeUInt16LE(value, at) : bytes.writeUInt16BE(value, at),
  writeU32: (bytes: Buffer, value: number, at: number) =>
    little ? bytes.writeUInt32LE(value, at) : bytes.writeUInt32BE(value, at),
  writeI32: (bytes: Buffer, value: number, at: number) =>
    little ? bytes.writeInt32LE(value, at) : bytes.writeInt32BE(value, at),
  writeU64: (bytes: Buffer, value: bigint, at: number) =>
    little ? bytes.writeBigUInt64LE(value, at) : bytes.writeBigUInt64BE(value, at),
} as const;

/** Flags of a message (NLM_F_…). The same bit means different things in requests that get, make and delete. */
export const messageFlag = {
  REQUEST: 1,
  MULTI: 2,
  ACK: 4,
  ECHO: 8,
  DUMP_INTR: 0x10,
  DUMP_FILTERED: 0x20,
  DUMP: 0x300,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
  APPEND: 0x800,
  NONREC: 0x100,
  BULK: 0x200,
  CAPPED: 0x100,
  ACK_TLVS: 0x200,
} as const;

/** Types below 0x10 are netlink's own. */
export const messageType = { NOOP: 1, ERROR: 2, DONE: 3, OVERRUN: 4 } as const;

export const headerLength = 16;

/** A message as it came. */
export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** The port that it answers; 0 for one that answers nobody. */
  readonly port: number;
  /** What follows the header. */
  readonly body: Buffer;
}

/** A message to send. */
export interface OutgoingMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly port: number;
  /** The structure of its type. */
  readonly header: Uint8Array;
  readonly attributes?: Uint8Array | undefined;
}

/** The next multiple of 4, which everything in a message begins at. */
export function align(length: number): number {
  return (length + 3) & ~3;
}

export function encodeMessage(message: OutgoingMessage): Buffer {
  const start = headerLength + align(message.header.byteLength);
  const attributes = message.attributes ?? noBytes;
  const bytes = Buffer.alloc(align(start + attributes.byteLength));
  native.writeU32(bytes, start + attributes.byteLength, 0);
  native.writeU16(bytes, message.type, 4);
  native.writeU16(bytes, message.flags, 6);
  native.writeU32(bytes, message.sequence, 8);
  native.writeU32(bytes, message.port, 12);
  bytes.set(message.header, headerLength);
  bytes.set(attributes, start);
  return bytes;
}

const noBytes = new Uint8Array(0);

/**
 * The messages of a datagram. Their bodies share its memory.
 * @throws NetlinkError (`ERR_NETLINK_MESSAGE`) where a length leads out of it
 */
export function decodeMessages(datagram: Buffer): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at < datagram.length; ) {
    const left = datagram.length - at;
    if (left < headerLength) malformed(`${left} bytes are no header`);
    const length = native.readU32(datagram, at);
    if (length < headerLength || length > left) malformed(`a length of ${length} where ${left} bytes are left`);
    messages.push({
      type: native.readU16(datagram, at + 4),
      flags: native.readU16(datagram, at + 6),
      sequence: native.readU32(datagram, at + 8),
      port: native.readU32(datagram, at + 12),
      body: datagram.subarray(at + headerLength, at + length),
    });
    at += Math.min(left, align(length));
  }
  return messages;
}
