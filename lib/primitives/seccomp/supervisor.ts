/**
 * Answers the calls of one program that its filter leaves to a handler, and those refused ones that are to be told of. The
 * program's filter is loaded just before its exec; its listener then comes here over a socket of its own, and stays until
 * the last process under the filter has ended.
 */

import { closeSync } from 'node:fs';
import { TscontainError } from '../../errors.js';
import { addon, type Descriptor, type NativeChannel, type NativeSeccompListener } from '../../launcher/native.js';
import { message } from '../../launcher/protocol.js';
import { decodeMessage } from '../../launcher/wire.js';
import { type CheckedDecision, type DescriptorSource, readDecision, type SeccompHandler } from './decision.js';
import type { SeccompFilter } from './filter.js';
import {
  type DeniedCall,
  decodeNotification,
  type Notification,
  SystemCall,
  type SystemCallFacts,
} from './notification.js';

/** What is answered, and who is asked. */
export interface SupervisorRules {
  /** What the profile says. The program that is loaded may notify of more: of its refusals too. */
  readonly filter: SeccompFilter;
  readonly handler: SeccompHandler | undefined;
}

export interface SupervisorEvents {
  /** A call was refused by the profile. */
  denied(call: DeniedCall): void;
  /** The handler failed, or answered what cannot be done; the call has failed with EPERM. */
  failed(error: TscontainError, call: SystemCallFacts): void;
  /** Nothing is filtered any more, or never was. */
  ended(): void;
}

const EPERM = 1;
const ENOSYS = 38;
const ENOENT = 2;
const EINVAL = 22;
const EMFILE = 24;
/** Calls answered before the event loop gets its turn. */
const burst = 32;

export class Supervisor {
  /** Goes to the program that is started, for its filter's listener to come back over; whoever sends it closes it. */
  readonly peer: Descriptor;
  readonly #channel: NativeChannel;
  readonly #rules: SupervisorRules;
  readonly #events: SupervisorEvents;
  #listener: NativeSeccompListener | undefined;
  #ended = false;

  constructor(rules: SupervisorRules, events: SupervisorEvents) {
    const native = addon();
    const [mine, peer] = native.socketPair();
    this.peer = peer;
    this.#rules = rules;
    this.#events = events;
    this.#channel = new native.Channel(
      mine,
      (bytes, descriptors) => this.#receive(bytes, descriptors),
      () => {
        if (!this.#listener) this.close();
      },
    );
  }

  /** Lets go of the listener: calls that wait, and all later ones, fail with ENOSYS. */
  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#channel.close();
    this.#listener?.close();
    this.#events.ended();
  }

  /** The one message that comes: a listener. */
  #receive(bytes: Buffer, [descriptor, ...others]: Descriptor[]): void {
    for (const other of others) other.close();
    if (this.#listener || this.#ended || decodeMessage(bytes)?.op !== message.LISTENER) descriptor?.close();
    else if (descriptor) this.#listener = new (addon().SeccompListener)(descriptor, () => this.#serve());
    this.#channel.close();
    if (!this.#listener) this.close();
  }

  #serve(): void {
    for (let answered = 0; answered < burst; answered++) {
      const bytes = this.#listener?.receive();
      if (bytes === null) this.close();
      if (!bytes || this.#ended) return;
      this.#decide(decodeNotification(bytes));
    }
  }

  #decide(notification: Notification): void {
    const { facts, machine } = notification;
    const verdict = this.#rules.filter.answer({
      arch: machine,
      nr: facts.number,
      args: facts.args,
      instructionPointer: facts.instructionPointer,
    });
    if (verdict.action === 'notify' && this.#rules.handler) {
      this.#ask(notification, this.#rules.handler);
      return;
    }
    const errno = verdict.action === 'errno' ? verdict.data : ENOSYS;
    // Told before it is answered: when the program goes on, what it was refused is known.
    try {
      if (verdict.errno) this.#events.denied(Object.freeze({ ...facts, errno: verdict.errno }));
    } finally {
      this.#send(notification, 0n, errno);
    }
  }

  #ask(notification: Notification, handler: SeccompHandler): void {
    const listener = this.#listener;
    if (!listener) return;
    const carryOut = (value: unknown) => {
      if (!this.#ended) this.#carryOut(notification, readDecision(value));
    };
    const fail = (cause: unknown) => this.#fail(notification, cause);
    try {
      const decision = handler(new SystemCall(notification, listener));
      if (isThenable(decision)) Promise.resolve(decision).then(carryOut).catch(fail);
      else carryOut(decision);
    } catch (cause) {
      fail(cause);
    }
  }

  #carryOut(notification: Notification, decision: CheckedDecision): void {
    switch (decision.kind) {
      case 'continue':
        this.#send(notification, 0n, 0, true);
        return;
      case 'errno':
        this.#send(notification, 0n, decision.errno);
        return;
      case 'value':
        this.#send(notification, decision.value, 0);
        return;
      case 'fd':
        this.#sendDescriptor(notification, decision);
    }
  }

  #sendDescriptor(notification: Notification, decision: CheckedDecision & { kind: 'fd' }): void {
    const { id } = notification;
    const { number, at, closeOnExec } = decision;
    try {
      let made = this.#listener?.addFd(id, number, at, closeOnExec, true) ?? -ENOENT;
      if (made === -EINVAL) {
        // Before 5.14 it takes two steps.
        made = this.#listener?.addFd(id, number, at, closeOnExec, false) ?? -ENOENT;
        if (made >= 0) this.#send(notification, BigInt(made), 0);
      }
      // The program's own limit of open files is its own failure.
      if (made === -EMFILE) this.#send(notification, 0n, EMFILE);
      else if (made < 0 && made !== -ENOENT) {
        throw new TscontainError('ERR_CALL_DESCRIPTOR', `descriptor ${number} could not be put into the caller`, {
          errno: -made,
          syscall: 'ioctl',
        });
      }
    } finally {
      if (decision.close) closeSource(decision.source, number);
    }
  }

  /** A handler that fails must not look like one that allows, and must not leave the program waiting. */
  #fail(notification: Notification, cause: unknown): void {
    this.#send(notification, 0n, EPERM);
    const { facts } = notification;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const name = facts.syscall ?? `system call ${facts.number}`;
    const text = `the handler of ${name} failed: ${reason}; the call has failed with EPERM`;
    this.#events.failed(new TscontainError('ERR_SECCOMP_HANDLER', text, { cause }), facts);
  }

  /** A caller that is gone meanwhile needs no answer; one that the kernel does not take is one of ours, so it is refused. */
  #send({ id }: Notification, value: bigint, errno: number, proceed = false): void {
    const failure = this.#listener?.send(id, value, errno, proceed) ?? 0;
    if (failure !== 0 && failure !== ENOENT) this.#listener?.send(id, 0n, EPERM, false);
  }
}

function isThenable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && typeof Reflect.get(value, 'then') === 'function';
}

function closeSource(source: DescriptorSource, number: number): void {
  if (typeof source !== 'object' || !source.close) closeSync(number);
  // A FileHandle closes by a promise; that it fails says nothing about the call.
  else Promise.resolve(source.close()).catch(() => {});
}
