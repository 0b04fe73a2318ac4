/** A request on its way, and what becomes of it. */

import {
  type Acknowledgement,
  type AttributeNames,
  type Refused,
  readAcknowledgement,
  refusal,
} from './acknowledgement.js';
import { NetlinkError } from './error.js';
import { align, headerLength, messageFlag, messageType, type NetlinkMessage } from './message.js';

/** Something to ask of the kernel. */
export interface NetlinkRequest {
  readonly type: number;
  /** Besides NLM_F_REQUEST, and what the way of asking adds. */
  readonly flags?: number;
  /** The structure that messages of this type begin with. */
  readonly header: Uint8Array;
  readonly attributes?: Uint8Array | undefined;
  /** What is being done, for errors: `adding the link eth0`. */
  readonly doing: string;
  /** Names of the attributes, for errors. */
  readonly names?: AttributeNames;
}

const noNames: AttributeNames = {};
const EBADMSG = 74;
const ENOBUFS = 105;

export class Pending {
  readonly request: NetlinkRequest;
  readonly sequence: number;
  /** The whole message. */
  readonly bytes: Buffer;
  readonly answers: NetlinkMessage[] = [];
  /** Whether what a list is of has changed while it was read. */
  interrupted = false;
  readonly #ended: (() => void) | undefined;
  #end: Acknowledgement | undefined;

  /** @param ended called at its end, which for a dump is after it was sent */
  constructor(request: NetlinkRequest, sequence: number, bytes: Buffer, ended?: () => void) {
    this.request = request;
    this.sequence = sequence;
    this.bytes = bytes;
    this.#ended = ended;
  }

  /** Whether the kernel has acknowledged it, or refused. */
  get isOver(): boolean {
    return this.#end !== undefined;
  }

  get isRefused(): boolean {
    return this.#end !== undefined && this.#end.errno !== 0;
  }

  /** Takes a message of the kernel that is for this request. */
  take(message: NetlinkMessage): void {
    if (message.flags & messageFlag.DUMP_INTR) this.interrupted = true;
    if (message.type === messageType.ERROR || message.type === messageType.DONE) this.finish(endOf(message));
    else if (message.type >= 0x10) this.answers.push(message);
  }

  /** What was for it could not be read. */
  fail({ message }: NetlinkError): void {
    this.finish({ errno: EBADMSG, kernel: message });
  }

  /** Whoever waits for it goes on, without an end where it has none. */
  wake(): void {
    this.#ended?.();
  }

  finish(end: Acknowledgement): void {
    this.#end ??= end;
    this.wake();
  }

  /** The refusal, undefined where there is none. `index` is its place in a batch. */
  error(index?: number): NetlinkError | undefined {
    if (this.#end === undefined || this.#end.errno === 0) return undefined;
    const { doing, header, names = noNames } = this.request;
    const refused: Refused = { doing, bytes: this.bytes, start: headerLength + align(header.byteLength), names };
    return refusal(refused, this.#end, index === undefined ? {} : { index });
  }
}

function endOf(message: NetlinkMessage): Acknowledgement {
  try {
    return readAcknowledgement(message);
  } catch (error) {
    if (error instanceof NetlinkError) return { errno: EBADMSG, kernel: error.message };
    throw error;
  }
}

/**
 * Everything that was sent has been answered by now, as far as it ever will be. Of a batch that was refused some answers may be
 * lost: why it was, is known.
 * @throws NetlinkError (`ERR_NETLINK_OVERRUN`)
 */
export function expectAnswers(sent: readonly Pending[], overrun: boolean): void {
  const missing = sent.find(({ request, isOver }) => !isOver && ((request.flags ?? 0) & messageFlag.ACK) !== 0);
  if (missing === undefined || sent.some(({ isRefused }) => isRefused)) return;
  throw new NetlinkError(
    'ERR_NETLINK_OVERRUN',
    `${missing.request.doing}: the kernel's answer was lost${overrun ? ', as too much was waiting to be read' : ''}`,
    { errno: overrun ? ENOBUFS : undefined, hint: 'the request may have been carried out: look' },
  );
}
