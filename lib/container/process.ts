/** One program in a container: awaited for its result, iterated for its output, disposed of to end it. */

import type { Readable, Writable } from 'node:stream';
import { OptionError, TscontainError } from '../errors.js';
import type { ExitFacts, ProcessListener } from '../launcher/init.js';
import { addon, type Descriptor } from '../launcher/native.js';
import { feed, NativeWritable, openInput } from './input.js';
import { BoundedBuffer, ChunkQueue, Output, readableOf } from './output.js';
import { decodeStatus, type ExitReason, exitError, type Result, type Usage } from './result.js';
import type { ExecSettings, OutputSettings } from './settings.js';
import { signalNumber } from './signals.js';
import { WritableSink } from './writable-sink.js';

/** A piece of output as it came. */
export interface OutputChunk {
  readonly stream: 'stdout' | 'stderr';
  readonly data: Buffer;
}

/** How a process reaches the container that it runs in. */
export interface ProcessHost {
  /** Send a signal to the process itself. */
  signal(signal: number): void;
  /** End the process and everything it has started. */
  killAll(): void;
  /** Why the container itself is ending, if it is. */
  endingBecause(): ExitReason | undefined;
  /** Whether processes of the container have been killed for want of memory since the process started. */
  outOfMemory(): boolean;
}

/** The ends of the process's standard streams that go into the container. */
export interface ProcessStreams {
  readonly descriptors: readonly Descriptor[];
  /** Slot names of stdin, stdout and stderr: `'0'` is the first descriptor, `'null'` the null device. */
  readonly slots: readonly [string, string, string];
}

const longestLine = 2 ** 20;
/** Milliseconds that a terminal may take to hand on what its program wrote last. */
const terminalGrace = 200;
const newline = 10;
const endOfInput = 4;

/** Use of the container as a whole, for a process that had it for itself. */
export type ContainerUsage = Usage | undefined;

export class ContainerProcess implements PromiseLike<Result>, AsyncIterable<OutputChunk>, AsyncDisposable {
  /** The program and its arguments. */
  readonly argv: readonly string[];
  /** The process id inside the container, once it runs. */
  pid: number | undefined;

  readonly #settings: ExecSettings;
  readonly #host: ProcessHost;
  readonly #startedAt = performance.now();
  readonly #promise: Promise<Result>;
  readonly #outputs: { stdout?: Output; stderr?: Output } = {};
  readonly #buffers: { stdout?: BoundedBuffer; stderr?: BoundedBuffer } = {};
  /** Writables of the caller; where one fails, so does the result. */
  readonly #sinks: { stdout?: WritableSink; stderr?: WritableSink } = {};
  readonly #streams: { stdin?: NativeWritable; stdout?: Readable; stderr?: Readable } = {};
  /** The ends that go into the container, until they do. */
  readonly #ends: ProcessStreams;
  #resolve: (result: Result) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  /** Settles when the program runs, or never will: its first output may be here before the word that it has started. */
  readonly #begun: Promise<void>;
  #begin: () => void = () => {};
  #cause: ExitReason | undefined;
  #inputFailure: Error | undefined;
  #timer: NodeJS.Timeout | undefined;
  #over = false;
  #running = true;

  constructor(argv: readonly string[], settings: ExecSettings, host: ProcessHost) {
    this.argv = argv;
    this.#settings = settings;
    this.#host = host;
    this.#begun = new Promise((resolve) => {
      this.#begin = resolve;
    });
    this.#promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever awaits the process gets the error; a handle that nobody awaits must not end the program.
    this.#promise.catch(() => {});
    this.#ends = settings.tty ? this.#openTerminal() : this.#openPipes();
    if (settings.timeout !== undefined) {
      this.#timer = setTimeout(() => this.#endBecause('timeout'), settings.timeout);
    }
    settings.signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Ends the process, or one that has not started yet, with a reason of its own. */
  #endBecause(reason: ExitReason): void {
    if (!this.#running) return;
    this.#cause ??= reason;
    this.#host.killAll();
  }

  readonly #onAbort = () => this.#endBecause('aborted');

  readonly #onInputFailure = (error: Error) => {
    this.#inputFailure ??= error;
  };

  /** @internal What goes into the container; whoever takes it closes it. */
  get streams(): ProcessStreams {
    return this.#ends;
  }

  /** The pipes, and the collectors at our ends of them. */
  #openPipes(): ProcessStreams {
    const { stdin, stdout, stderr } = this.#settings;
    const descriptors: Descriptor[] = [];
    const pass = (descriptor: Descriptor) => String(descriptors.push(descriptor) - 1);
    let input = 'null';
    if (stdin.kind !== 'ignore') {
      const [read, write] = addon().pipe();
      input = pass(read);
      const writable = openInput(stdin, write, this.#onInputFailure);
      if (writable) this.#streams.stdin = writable;
    }
    const out = this.#openOutput('stdout', stdout);
    const err = this.#openOutput('stderr', stderr);
    return { descriptors, slots: [input, out ? pass(out) : 'null', err ? pass(err) : 'null'] };
  }

  #openOutput(name: 'stdout' | 'stderr', settings: OutputSettings): Descriptor | undefined {
    if (settings.kind === 'ignore') return undefined;
    const [read, write] = addon().pipe();
    this.#collect(name, settings).open(read);
    return write;
  }

  #collect(name: 'stdout' | 'stderr', settings: OutputSettings): Output {
    const output = new Output(() => this.#checkVolume());
    this.#outputs[name] = output;
    if (settings.kind === 'buffer') {
      const buffer = new BoundedBuffer(this.#settings.maxBuffer);
      this.#buffers[name] = buffer;
      output.add(buffer);
    } else if (settings.kind === 'pipe') {
      this.#streams[name] = readableOf(output);
    } else if (settings.kind === 'stream') {
      const sink = new WritableSink(settings.stream);
      this.#sinks[name] = sink;
      output.add(sink);
    } else {
      output.add(new WritableSink(name === 'stdout' ? process.stdout : process.stderr));
    }
    return output;
  }

  #checkVolume(): void {
    const { maxOutput } = this.#settings;
    if (maxOutput === undefined || this.#over) return;
    const total = (this.#outputs.stdout?.bytes ?? 0) + (this.#outputs.stderr?.bytes ?? 0);
    if (total <= maxOutput) return;
    this.#over = true;
    this.#endBecause('output-limit');
  }

  /** The terminal itself is made inside and comes when the program has started; until then input waits. */
  #openTerminal(): ProcessStreams {
    const { stdin, stdout } = this.#settings;
    const output = this.#collect('stdout', stdout);
    const writable = new NativeWritable(output.terminalInput());
    output.onRoom = () => writable.ready();
    this.#streams.stdin = writable;
    // The end of the input is typed, as a person would: a terminal has no other. In the middle of a line the first ^D only
    // sends what was typed so far (termios(3), VEOF).
    const end = stdin.kind === 'bytes' && stdin.bytes.at(-1) !== newline ? [endOfInput, endOfInput] : [endOfInput];
    if (stdin.kind === 'bytes') writable.write(Buffer.concat([stdin.bytes, Buffer.from(end)]));
    else feed(stdin, writable, this.#onInputFailure);
    return { descriptors: [], slots: ['tty', 'tty', 'tty'] };
  }

  /** @internal What init reports. */
  listener(usage: () => Promise<ContainerUsage>): ProcessListener {
    return {
      started: ({ pid, terminal }) => {
        this.pid = pid;
        this.#begin();
        if (!terminal) return;
        this.#outputs.stdout?.open(terminal);
        this.#streams.stdin?.ready();
      },
      failed: () => {},
      exited: (facts) => {
        this.#running = false;
        this.#end();
        this.#finish(facts, usage).catch(this.#reject);
      },
    };
  }

  /** @internal It could not be started. */
  fail(error: TscontainError): void {
    if (!this.#running) return;
    this.#running = false;
    this.#end();
    this.#outputs.stdout?.destroy();
    this.#outputs.stderr?.destroy();
    this.#reject(error);
  }

  #end(): void {
    this.#begin();
    for (const descriptor of this.#ends.descriptors) if (descriptor.open) descriptor.close();
    clearTimeout(this.#timer);
    this.#settings.signal?.removeEventListener('abort', this.#onAbort);
    this.#streams.stdin?.destroy();
  }

  async #finish(facts: ExitFacts, usage: () => Promise<ContainerUsage>): Promise<void> {
    const container = await usage();
    const { stdout, stderr } = this.#outputs;
    stdout?.programEnded(this.#settings.tty ? terminalGrace : 0);
    stderr?.programEnded();
    await stdout?.done;
    await stderr?.done;
    await Promise.all([this.#sinks.stdout?.flushed, this.#sinks.stderr?.flushed]);
    const { exitCode, signal } = decodeStatus(facts.waitStatus);
    const text = (buffer: BoundedBuffer | undefined) => {
      const content = buffer?.content() ?? Buffer.alloc(0);
      return (this.#settings.encoding === 'utf8' ? content.toString() : content) as string;
    };
    const result: Result = {
      exitCode,
      signal,
      reason: this.#reason(signal),
      stdout: text(this.#buffers.stdout),
      stderr: text(this.#buffers.stderr),
      truncated: (this.#buffers.stdout?.truncated ?? false) || (this.#buffers.stderr?.truncated ?? false),
      durationMs: performance.now() - this.#startedAt,
      usage: container ?? ownUsage(facts),
    };
    const failure = this.#streamFailure(result);
    if (failure) this.#reject(failure);
    else if (this.#settings.check && (result.reason !== 'exited' || exitCode !== 0))
      this.#reject(exitError(this.argv, result));
    else this.#resolve(result);
  }

  /** The program read, or its reader got, less than there was: that must not look like a success. */
  #streamFailure({ reason, exitCode }: Result): TscontainError | undefined {
    const failures = [
      ['ERR_INPUT', 'reading the stream given as stdin', this.#inputFailure],
      ['ERR_OUTPUT', 'writing to the stream given as stdout', this.#sinks.stdout?.failure],
      ['ERR_OUTPUT', 'writing to the stream given as stderr', this.#sinks.stderr?.failure],
    ] as const;
    const end = reason === 'exited' ? `exit code ${exitCode}` : reason;
    for (const [code, what, cause] of failures) {
      if (!cause) continue;
      const message = `${what} of ${this.argv[0]} failed: ${cause.message}; the program has ended (${end})`;
      return new TscontainError(code, message, { cause });
    }
    return undefined;
  }

  /** A program that ended by itself did so, whatever was asked for at the same moment; only a kill has a cause. */
  #reason(signal: NodeJS.Signals | undefined): ExitReason {
    if (signal === undefined) return 'exited';
    if (signal === 'SIGTERM' && this.#host.endingBecause() === 'stopped') return 'stopped';
    if (signal !== 'SIGKILL') return 'signaled';
    if (this.#cause) return this.#cause;
    if (this.#host.outOfMemory()) return 'oom';
    return this.#host.endingBecause() ?? 'signaled';
  }

  /** What to write to, with `stdin: 'pipe'` or a terminal (there, once it has started). */
  get stdin(): Writable | undefined {
    return this.#streams.stdin;
  }

  /** What to read from, with `stdout: 'pipe'`. */
  get stdout(): Readable | undefined {
    return this.#streams.stdout;
  }

  get stderr(): Readable | undefined {
    return this.#streams.stderr;
  }

  /** Whether it has not ended yet. */
  get running(): boolean {
    return this.#running;
  }

  /**
   * Send a signal to the process, as `process.kill` would; `'SIGTERM'` by default. To end all that it started as well,
   * dispose of it. False when it has ended.
   * @throws OptionError for a signal that does not exist
   */
  kill(signal: NodeJS.Signals | number = 'SIGTERM'): boolean {
    const number = signalNumber(signal);
    if (!this.#running) return false;
    this.#host.signal(number);
    return true;
  }

  /** Tell the terminal its new size; false without one. */
  resize(columns: number, rows: number): boolean {
    for (const [name, value] of [
      ['columns', columns],
      ['rows', rows],
    ] as const) {
      if (!Number.isInteger(value) || value < 1 || value > 65535) {
        throw new OptionError(name, 'a whole number from 1 to 65535', value);
      }
    }
    return this.#settings.tty !== undefined && (this.#outputs.stdout?.resize(columns, rows) ?? false);
  }

  /**
   * Output as it comes. The loop sets the pace: while it is busy the program waits. What was buffered before the loop began
   * comes first. Only for output that is buffered (the default); a failure to start is thrown here.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<OutputChunk, void, undefined> {
    const queue = new ChunkQueue<OutputChunk>();
    const before: OutputChunk[] = [];
    for (const stream of ['stdout', 'stderr'] as const) {
      const buffer = this.#buffers[stream];
      if (!buffer) continue;
      before.push({ stream, data: buffer.content() });
      this.#outputs[stream]?.add(queue.sink((data) => ({ stream, data })));
    }
    await this.#begun;
    yield* before.filter(({ data }) => data.length > 0);
    yield* queue;
    await this.#promise;
  }

  /**
   * Lines of stdout as text, without their ends; the last one even where no newline ends it. A line of more than 1 MiB
   * comes in pieces.
   */
  async *lines(): AsyncGenerator<string, void, undefined> {
    const decoder = new TextDecoder();
    let rest = '';
    for await (const { stream, data } of this) {
      if (stream !== 'stdout') continue;
      const lines = (rest + decoder.decode(data, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
      if (rest.length > longestLine) {
        yield rest;
        rest = '';
      }
    }
    rest += decoder.decode();
    if (rest !== '') yield rest;
  }

  // biome-ignore lint/suspicious/noThenProperty: a process is awaited for its result
  then<A = Result, B = never>(
    fulfilled?: ((result: Result) => A | PromiseLike<A>) | null,
    rejected?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#promise.then(fulfilled, rejected);
  }

  catch<B = never>(rejected?: ((error: unknown) => B | PromiseLike<B>) | null): Promise<Result | B> {
    return this.#promise.catch(rejected);
  }

  finally(callback?: (() => void) | null): Promise<Result> {
    return this.#promise.finally(callback);
  }

  /** End it and everything it started, and wait until it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#endBecause('stopped');
    await this.#promise.catch(() => {});
  }
}

function ownUsage(facts: ExitFacts): Usage {
  return {
    cpuMs: facts.userMs + facts.systemMs,
    cpuUserMs: facts.userMs,
    cpuSystemMs: facts.systemMs,
    memoryPeak: facts.maxResident,
    pidsPeak: 0,
    ioReadBytes: facts.readBytes,
    ioWriteBytes: facts.writeBytes,
  };
}
