/** The client of one container's init: programs are started, signalled and heard of over one socket. */

import { addon, type Descriptor, type NativeChannel } from './native.js';
import { execFlag, message } from './protocol.js';
import { decodeMessage, encodeRecord, type WireRecord } from './wire.js';

/** A step that failed, in the container's plan or in a process's. */
export interface StepFailure {
  /** Position from 0; undefined when it failed before the first. */
  readonly step: number | undefined;
  readonly errno: number;
  readonly detail: number;
  readonly text: string;
}

export interface ExitFacts {
  /** As wait(2) gives it. */
  readonly waitStatus: number;
  readonly userMs: number;
  readonly systemMs: number;
  /** Bytes of the largest process (getrusage(2), ru_maxrss). */
  readonly maxResident: number;
  /** Bytes, in blocks of 512. */
  readonly readBytes: number;
  readonly writeBytes: number;
}

export interface ProcessListener {
  started(facts: { readonly pid: number; readonly terminal: Descriptor | undefined }): void;
  failed(failure: StepFailure): void;
  exited(facts: ExitFacts): void;
}

export interface InitListener {
  ready(): void;
  failed(failure: StepFailure): void;
  /** The plan stands still until {@link Init.giveBack}. The descriptor is the listener's. */
  lent?(descriptor: Descriptor): void;
  /** The socket is closed: init has ended. */
  ended(): void;
}

export interface StartRequest {
  readonly steps: Uint8Array;
  readonly terminal: { readonly columns: number; readonly rows: number } | undefined;
  /** The user that owns the terminal. */
  readonly owner: number;
  /** The container ends with this process. */
  readonly last: boolean;
  /** Say when it has started. */
  readonly report: boolean;
  readonly descriptors: readonly Descriptor[];
  readonly cgroup: Descriptor | undefined;
}

/** One answer to a file operation; `more` says that others follow. */
export interface FileReply {
  readonly errno: number;
  readonly more: boolean;
  readonly values: readonly number[];
  readonly data: Buffer | undefined;
  readonly descriptor: Descriptor | undefined;
}

/** What became of steps that an agent ran. */
export interface RunReply {
  /** Undefined where all went well. */
  readonly failure: StepFailure | undefined;
  readonly descriptors: readonly Descriptor[];
}

interface PendingFile {
  readonly listener: (reply: FileReply | undefined) => void;
  bytes: number;
}

const lastStep = 2 ** 32 - 1;
/** More than init ever answers to one operation (file.c, MAX_ENTRIES_BYTES). */
const mostFileBytes = 32 * 2 ** 20;

export class Init {
  /** The end of the socket that goes to the container; closed once it has been sent. */
  readonly peer: Descriptor;
  readonly #channel: NativeChannel;
  readonly #listener: InitListener;
  readonly #processes = new Map<number, ProcessListener>();
  readonly #files = new Map<number, PendingFile>();
  readonly #runs = new Map<number, (reply: RunReply | undefined) => void>();
  #last = 0;
  #ended = false;

  constructor(listener: InitListener) {
    const native = addon();
    const [mine, peer] = native.socketPair();
    this.peer = peer;
    this.#listener = listener;
    this.#channel = new native.Channel(
      mine,
      (bytes, descriptors) => this.#receive(bytes, descriptors),
      () => this.#end(),
    );
  }

  /** Starts a process; may be called before init is ready, the request waits in the socket. */
  start(request: StartRequest, listener: ProcessListener): number {
    const number = ++this.#last;
    const { terminal, cgroup } = request;
    const flags =
      (terminal ? execFlag.TTY : 0) |
      (request.last ? execFlag.LAST : 0) |
      (cgroup ? execFlag.GROUP : 0) |
      (request.report ? execFlag.REPORT : 0);
    const ints = [number, flags, terminal?.columns ?? 0, terminal?.rows ?? 0, request.owner];
    this.#processes.set(number, listener);
    const descriptors = cgroup ? [...request.descriptors, cgroup] : request.descriptors;
    if (!this.#channel.send(encodeRecord(message.EXEC, ints, [request.steps]), descriptors)) {
      queueMicrotask(() => this.close());
    }
    return number;
  }

  /** What was lent is not used any more: the plan goes on. */
  giveBack(): void {
    if (!this.#ended) this.#channel.send(encodeRecord(message.RETURN, []), []);
  }

  signal(number: number, signal: number): void {
    if (!this.#ended) this.#channel.send(encodeRecord(message.SIGNAL, [number, signal]), []);
  }

  /** A file operation inside; `listener` gets one reply or several, and undefined if init ended before the last. */
  file(
    ints: readonly number[],
    paths: readonly (string | Uint8Array)[],
    listener: (reply: FileReply | undefined) => void,
  ): void {
    if (this.#ended) {
      queueMicrotask(() => listener(undefined));
      return;
    }
    const number = ++this.#last;
    this.#files.set(number, { listener, bytes: 0 });
    const sent = this.#channel.send(encodeRecord(message.FILE, [number, ...ints], paths), []);
    if (!sent) queueMicrotask(() => this.close());
  }

  /**
   * Steps that an agent runs itself. `take` are the numbers of the slots whose descriptors come back; `listener` gets
   * undefined if the agent ended before it could answer.
   */
  run(
    steps: Uint8Array,
    descriptors: readonly Descriptor[],
    take: readonly number[],
    listener: (reply: RunReply | undefined) => void,
  ): void {
    if (this.#ended) {
      queueMicrotask(() => listener(undefined));
      return;
    }
    const number = ++this.#last;
    this.#runs.set(number, listener);
    const sent = this.#channel.send(encodeRecord(message.RUN, [number, ...take], [steps]), descriptors);
    if (!sent) queueMicrotask(() => this.close());
  }

  /** Lets go of the container: init ends, and everything in it. What it has said before is heard first. */
  close(): void {
    if (!this.#ended) this.#channel.drain();
    this.#end();
  }

  /** What sends nonsense is not talked to any more: a program inside may have got hold of the socket. */
  #receive(bytes: Buffer, descriptors: Descriptor[]): void {
    const record = decodeMessage(bytes);
    if (!record) {
      this.#end();
      return;
    }
    try {
      this.#dispatch(record, descriptors);
    } catch {
      this.#end();
    }
  }

  #dispatch(record: WireRecord, descriptors: Descriptor[]): void {
    const [first = 0] = record.ints;
    switch (record.op) {
      case message.RAN:
        this.#ran(record, descriptors);
        return;
      case message.LENT:
        this.#lent(onlyOne(descriptors));
        return;
      case message.STARTED:
        this.#started(first, record.ints[1] ?? 0, onlyOne(descriptors));
        return;
      case message.FILE_REPLY:
        this.#fileReply(record, onlyOne(descriptors));
        return;
    }
    closeAll(descriptors);
    switch (record.op) {
      case message.READY:
        this.#listener.ready();
        return;
      case message.FAILED:
        this.#listener.failed(stepFailure(record));
        return;
      case message.EXEC_FAILED:
        this.#forget(first)?.failed(stepFailure(record));
        return;
      case message.EXITED:
        this.#forget(first)?.exited(exitFacts(record));
    }
  }

  #started(number: number, pid: number, terminal: Descriptor | undefined): void {
    const process = this.#processes.get(number);
    if (process) process.started({ pid, terminal });
    else terminal?.close();
  }

  #fileReply(record: WireRecord, descriptor: Descriptor | undefined): void {
    const [number = 0, errno = 0, more = 0, ...values] = record.ints;
    const pending = this.#files.get(number);
    if (more === 0) this.#files.delete(number);
    if (!pending) {
      descriptor?.close();
      return;
    }
    pending.bytes += record.blobs[0]?.length ?? 0;
    if (pending.bytes > mostFileBytes) {
      this.#end();
      return;
    }
    pending.listener({ errno, more: more !== 0, values, data: record.blobs[0], descriptor });
  }

  #ran(record: WireRecord, descriptors: readonly Descriptor[]): void {
    const [number = 0, , errno = 0] = record.ints;
    const listener = this.#runs.get(number);
    this.#runs.delete(number);
    if (!listener) {
      closeAll(descriptors);
      return;
    }
    listener({ failure: errno === 0 ? undefined : stepFailure(record), descriptors });
  }

  #lent(descriptor: Descriptor | undefined): void {
    if (descriptor && this.#listener.lent) this.#listener.lent(descriptor);
    else descriptor?.close();
  }

  #forget(number: number): ProcessListener | undefined {
    const listener = this.#processes.get(number);
    this.#processes.delete(number);
    return listener;
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#channel.close();
    this.#listener.ended();
    const files = [...this.#files.values()];
    this.#files.clear();
    for (const { listener } of files) listener(undefined);
    const runs = [...this.#runs.values()];
    this.#runs.clear();
    for (const listener of runs) listener(undefined);
  }
}

/** What nobody has asked for is closed at once: a hostile init could fill this process's table of descriptors otherwise. */
function onlyOne([first, ...others]: readonly Descriptor[]): Descriptor | undefined {
  closeAll(others);
  return first;
}

function closeAll(descriptors: readonly Descriptor[]): void {
  for (const descriptor of descriptors) descriptor.close();
}

function stepFailure(record: WireRecord): StepFailure {
  const [, step = 0, errno = 0, detail = 0] = record.ints;
  return { step: step === lastStep ? undefined : step, errno, detail, text: record.blobs[0]?.toString() ?? '' };
}

function exitFacts(record: WireRecord): ExitFacts {
  const [, waitStatus = 0, user = 0, system = 0, resident = 0, read = 0, write = 0] = record.ints;
  return {
    waitStatus,
    userMs: user / 1000,
    systemMs: system / 1000,
    maxResident: resident * 1024,
    readBytes: read * 512,
    writeBytes: write * 512,
  };
}
