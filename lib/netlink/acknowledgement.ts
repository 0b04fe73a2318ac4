/**
 * What the kernel says of a request: an error number, 0 for done, and with it, where it knows more, its own words, the place
 * in the request that it objects to, and what it misses (NETLINK_EXT_ACK, Linux 4.12; what is missing, 6.1).
 */

import { type ErrorDetails, errnoName } from '../errors.js';
import { Attributes } from './attributes.js';
import { malformed, NetlinkError } from './error.js';
import { align, headerLength, messageFlag, messageType, type NetlinkMessage, native } from './message.js';

/** Names of the attributes of a request, for errors; with those inside, where they nest. */
export type AttributeNames = {
  readonly [type: number]: string | readonly [name: string, inside: AttributeNames];
};

export interface Acknowledgement {
  /** Positive; 0 for done. */
  readonly errno: number;
  readonly kernel?: string | undefined;
  /** The offset of an attribute in the request, its header included. */
  readonly offset?: number | undefined;
  readonly missingType?: number | undefined;
  /** The offset of the attribute in which it is missing; of none at the top. */
  readonly missingNest?: number | undefined;
  readonly cookie?: Buffer | undefined;
}

const attribute = { MSG: 1, OFFS: 2, COOKIE: 3, MISS_TYPE: 5, MISS_NEST: 6 } as const;

/** Reads a message of type ERROR or DONE. */
export function readAcknowledgement({ type, flags, body }: NetlinkMessage): Acknowledgement {
  // The kernel ends some dumps with nothing behind the header.
  if (type === messageType.DONE && body.length < 4) return { errno: 0 };
  if (body.length < 4) malformed(`${body.length} bytes are no acknowledgement`);
  const errno = 0 - native.readI32(body, 0);
  if (errno < 0 || errno > 4095) malformed(`an error of ${-errno}`);
  if ((flags & messageFlag.ACK_TLVS) === 0) return { errno };
  const attributes = Attributes.after(body, type === messageType.DONE ? 4 : echoed(flags, body));
  return {
    errno,
    kernel: attributes.string(attribute.MSG),
    offset: attributes.u32(attribute.OFFS),
    missingType: attributes.u32(attribute.MISS_TYPE),
    missingNest: attributes.u32(attribute.MISS_NEST),
    cookie: attributes.binary(attribute.COOKIE),
  };
}

/** The error is followed by the header of the request, or by all of it. */
function echoed(flags: number, body: Buffer): number {
  if (body.length < 4 + headerLength) malformed(`${body.length} bytes are no acknowledgement`);
  if (flags & messageFlag.CAPPED) return 4 + headerLength;
  const length = native.readU32(body, 4);
  if (length < headerLength || length > body.length - 4)
    malformed(`a request of ${length} bytes in an acknowledgement`);
  return 4 + length;
}

/** The request that was refused. */
export interface Refused {
  /** What was being done, such as `adding the link eth0`. */
  readonly doing: string;
  /** The whole message. */
  readonly bytes: Buffer;
  /** Where its attributes begin. */
  readonly start: number;
  readonly names: AttributeNames;
}

/** The error for a refusal. */
export function refusal(
  request: Refused,
  acknowledgement: Acknowledgement,
  details: ErrorDetails & { readonly index?: number } = {},
): NetlinkError {
  const { errno, kernel } = acknowledgement;
  const attributeName = attributeAt(request, acknowledgement.offset)?.name;
  const missing = missingName(request, acknowledgement);
  const words = [kernel, attributeName && `at ${attributeName}`, missing && `${missing} is missing`];
  const said = words.filter(Boolean).join(', ');
  const message = `${request.doing}: the kernel answered ${errnoName(errno)}${said === '' ? '' : `: ${said}`}`;
  return new NetlinkError('ERR_NETLINK', message, {
    errno,
    kernel: kernel === undefined || kernel === '' ? undefined : kernel,
    attribute: attributeName,
    missing,
    ...details,
  });
}

interface Found {
  readonly name: string;
  readonly inside: AttributeNames;
}

const nothing: AttributeNames = {};

/** The innermost attribute of a request that begins at the offset or has it inside. */
function attributeAt({ bytes, start, names }: Refused, offset: number | undefined): Found | undefined {
  if (offset === undefined) return undefined;
  let found: Found | undefined;
  let inside = names;
  let end = bytes.length;
  for (let at = start; at + 4 <= end; ) {
    const length = native.readU16(bytes, at);
    if (length < 4 || at + length > end) return found;
    if (offset < at || offset >= at + length) {
      at += align(length);
      continue;
    }
    const type = native.readU16(bytes, at + 2);
    const entry = inside[type & 0x3fff];
    const name = entry === undefined ? `attribute ${type & 0x3fff}` : typeof entry === 'string' ? entry : entry[0];
    inside = typeof entry === 'object' ? entry[1] : nothing;
    found = { name: found === undefined ? name : `${found.name}.${name}`, inside };
    if (offset === at || (type & 0x8000) === 0) return found;
    end = at + length;
    at += 4;
  }
  return found;
}

function missingName(request: Refused, { missingType, missingNest }: Acknowledgement): string | undefined {
  if (missingType === undefined) return undefined;
  const nest = attributeAt(request, missingNest);
  const entry = (nest?.inside ?? request.names)[missingType];
  const name = entry === undefined ? `attribute ${missingType}` : typeof entry === 'string' ? entry : entry[0];
  return nest === undefined ? name : `${nest.name}.${name}`;
}
