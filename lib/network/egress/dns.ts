/**
 * A name server's side of DNS (RFC 1035): from the bytes of a query to those of an answer. What a name is answered with is
 * decided elsewhere; nothing is passed on, so no byte of a query reaches another server but the name itself, once it is allowed.
 */

import { type Answer, decode, encode, type Packet } from 'dns-packet';
import { formatIp } from '../address.js';
import { hostName } from './pattern.js';

/** What there is to say of a name. */
export type NameAnswer =
  /** There is no such name, or it is nobody's business here. */
  | 'none'
  /** Nobody knows, for now. */
  | 'failed'
  | { readonly ipv4: Buffer; readonly ipv6: Buffer | undefined; readonly ttl: number };

const rcode = { noError: 0, formatError: 1, serverFailure: 2, noName: 3, notImplemented: 4 } as const;
/** Recursion desired, and available. */
const flags = { desired: 0x100, available: 0x80 } as const;
const longestQuery = 512 * 8;

/**
 * The answer to a query; undefined for what is none, and gets none.
 * @param ask what a name is answered with; undefined for something that is no host's name
 */
export async function answerQuery(
  bytes: Buffer,
  ask: (name: string | undefined) => NameAnswer | Promise<NameAnswer>,
): Promise<Buffer | undefined> {
  const query = read(bytes);
  if (query === undefined || query.type !== 'query') return undefined;
  const [question] = query.questions ?? [];
  if (query.opcode !== undefined && query.opcode !== 'QUERY') return write(query, rcode.notImplemented);
  if (question === undefined || query.questions?.length !== 1) return write(query, rcode.formatError);
  if (question.class !== undefined && question.class !== 'IN') return write(query, rcode.notImplemented);
  const answer = await ask(hostName(question.name));
  if (answer === 'none') return write(query, rcode.noName);
  if (answer === 'failed') return write(query, rcode.serverFailure);
  const { name, type } = question;
  const address = type === 'A' ? answer.ipv4 : type === 'AAAA' ? answer.ipv6 : undefined;
  // Of any other type a name has nothing.
  if (address === undefined || (type !== 'A' && type !== 'AAAA')) return write(query, rcode.noError);
  return write(query, rcode.noError, [{ name, type, ttl: answer.ttl, class: 'IN', data: formatIp(address) }]);
}

function read(bytes: Buffer): (Packet & { readonly opcode?: unknown }) | undefined {
  if (bytes.length > longestQuery) return undefined;
  try {
    return decode(bytes);
  } catch {
    return undefined;
  }
}

function write(query: Packet, code: number, answers: Answer[] = []): Buffer {
  return encode({
    type: 'response',
    id: query.id ?? 0,
    flags: flags.available | ((query.flags ?? 0) & flags.desired) | code,
    questions: query.questions ?? [],
    answers,
  });
}
