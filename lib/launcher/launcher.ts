/**
 * The client of the launcher: one connection for each thread of the Node process. Requests are one message each and are
 * never waited for on the event loop; answers come back as messages.
 */

import { TscontainError } from '../errors.js';
import { addon, type Descriptor, type NativeChannel } from './native.js';
import { createFlag, mapMode, message } from './protocol.js';
import { decodeMessage, decodeRecords, encodeRecord, none, RecordWriter, type WireRecord } from './wire.js';

/** What the launcher must know about the host before the first container. */
export interface LauncherConfiguration {
  readonly ranges: { readonly first: number; readonly count: number; readonly size: number; readonly lockFile: string };
  /** Directories to make and files to write first, in order. */
  readonly prepare: readonly ({ readonly directory: string } | { readonly file: string; readonly value: string })[];
  readonly hierarchies: readonly {
    readonly base: string;
    readonly version: 1 | 2;
    readonly memory: boolean;
    readonly late: boolean;
  }[];
  readonly statFiles: readonly { readonly hierarchy: number; readonly file: string }[];
  /** Where directories of containers are made, or empty. */
  readonly stateDirectory: string;
}

/** What becomes of a container that was asked for. */
export interface ContainerListener {
  created(facts: { readonly pid: number; readonly firstId: number; readonly cgroup: string }): void;
  failed(failure: {
    readonly stage: number;
    readonly index: number;
    readonly errno: number;
    readonly text: string;
  }): void;
  /** Everything of it is dead. `stats` are the last contents of its cgroup files; undefined if the launcher died. */
  gone(end: { readonly waitStatus: number; readonly stats: ReadonlyMap<number, string> | undefined }): void;
  oom(): void;
}

/** Steps as bytes: those that containers of one kind have in common, byte for byte, and the container's own. */
export interface EncodedParts {
  readonly common: Uint8Array;
  readonly own: Uint8Array;
}

/**
 * Ids of the new user namespace: a range of its own, only this process's own id as 0, maps in the kernel's format, those of
 * the two containers that it copies between, or none where there is no new user namespace.
 */
export type IdMapping =
  | 'range'
  | 'single'
  | 'none'
  | 'both'
  | {
      readonly uid: string;
      readonly gid: string;
      /** Whether setgroups(2) is switched off first, as the kernel asks of whoever has no privilege (CVE-2014-8989). */
      readonly denySetgroups: boolean;
      /** Paths of newuidmap and newgidmap, which write them for whoever may not. */
      readonly helpers?: { readonly uid: string; readonly gid: string } | undefined;
    };

/** Two containers of this connection, by their numbers. */
export interface Between {
  readonly from: number;
  readonly into: number;
}

/** Asks the launcher to make a container, or an agent. */
export interface CreateRequest {
  readonly cloneFlags: number;
  /** Indexes of the hierarchies it is placed in. */
  readonly hierarchies: readonly number[];
  readonly ids: IdMapping;
  /** A process of ours that is no container: it may have any namespaces, and runs steps. */
  readonly agent?: boolean;
  /** The containers that an agent copies between, by their numbers. It is in the cgroups of `into`. */
  readonly between?: Between | undefined;
  readonly writes: readonly {
    readonly hierarchy: number;
    readonly file: string;
    readonly value: string;
    readonly optional: boolean;
  }[];
  readonly host: EncodedParts;
  readonly init: EncodedParts;
  /** Init's end of the container's socket. */
  readonly socket: Descriptor;
}

/** The answer to a request. */
export interface Reply {
  readonly errno: number;
  readonly value: number;
  readonly content: Buffer | undefined;
  readonly descriptor: Descriptor | undefined;
}

let current: Launcher | undefined;

/** This thread's connection, made at the first call and again if the launcher has died. */
export function launcher(configure: () => LauncherConfiguration): Launcher {
  current ??= new Launcher(configure());
  return current;
}

export class Launcher {
  readonly #channel: NativeChannel;
  readonly #containers = new Map<number, ContainerListener>();
  readonly #requests = new Map<number, (reply: Reply | undefined) => void>();
  #lastId = 0;
  #lastRequest = 0;
  #busy = 0;
  /** The launcher's process id, known once it has answered. */
  pid: number | undefined;

  constructor(configuration: LauncherConfiguration) {
    const native = addon();
    this.#channel = new native.Channel(
      native.connect(),
      (bytes, descriptors) => this.#receive(bytes, descriptors),
      () => this.#end(),
    );
    this.#channel.send(encodeConfiguration(configuration), []);
  }

  /** Starts a container; `listener` hears of it from then on. Returns the number that other requests name it by. */
  create(request: CreateRequest, listener: ContainerListener): number {
    const id = ++this.#lastId;
    const writes = new RecordWriter();
    for (const { hierarchy, file, value, optional } of request.writes) {
      writes.put(1, [hierarchy, optional ? 1 : 0], [file, value]);
    }
    const mask = request.hierarchies.reduce((bits, hierarchy) => bits | (1 << hierarchy), 0);
    const bytes = encodeRecord(
      message.CREATE,
      [
        id,
        request.cloneFlags,
        mask,
        modeOf(request.ids),
        request.agent ? createFlag.AGENT : 0,
        request.between?.into ?? none,
        request.between?.from ?? none,
      ],
      [
        writes.bytes(),
        request.host.common,
        request.init.common,
        request.host.own,
        request.init.own,
        encodeMaps(request.ids),
      ],
    );
    this.#containers.set(id, listener);
    this.#hold();
    if (!this.#channel.send(bytes, [request.socket])) queueMicrotask(() => this.#end());
    return id;
  }

  /** Ends everything in the container. */
  kill(id: number): void {
    this.#channel.send(encodeRecord(message.KILL, [id]), []);
  }

  /** The contents of its statistics files, by index into the configuration's `statFiles`; undefined when it is gone. */
  async stats(id: number): Promise<ReadonlyMap<number, string> | undefined> {
    const reply = await this.#request((request) => encodeRecord(message.STATS, [id, request]));
    return reply?.errno === 0 && reply.content ? decodeStats(reply.content) : undefined;
  }

  /** Writes one of its cgroup files; the answer's errno is the kernel's. */
  write(id: number, hierarchy: number, file: string, value: string): Promise<Reply | undefined> {
    return this.#request((request) => encodeRecord(message.WRITE, [id, request, hierarchy], [file, value]));
  }

  /** A cgroup below the container's own, for one exec. The answer's value is its number, with a descriptor of it. */
  group(id: number): Promise<Reply | undefined> {
    return this.#request((request) => encodeRecord(message.GROUP, [id, request]));
  }

  ungroup(id: number, group: number): void {
    this.#channel.send(encodeRecord(message.UNGROUP, [id, group]), []);
  }

  /** Removes what launchers that are dead have left; how many things that were. */
  async reclaim(): Promise<number> {
    const reply = await this.#request((request) => encodeRecord(message.RECLAIM, [request]));
    return reply?.value ?? 0;
  }

  #request(encode: (request: number) => Buffer): Promise<Reply | undefined> {
    const request = ++this.#lastRequest;
    return new Promise((resolve) => {
      this.#requests.set(request, resolve);
      this.#hold();
      if (!this.#channel.send(encode(request), [])) queueMicrotask(() => this.#end());
    });
  }

  #receive(bytes: Buffer, descriptors: Descriptor[]): void {
    const record = decodeMessage(bytes);
    if (!record) {
      this.#end(); // what sends nonsense is not talked to any more
      return;
    }
    const [first = 0, second = 0, third = 0, fourth = 0] = record.ints;
    switch (record.op) {
      case message.WELCOME:
        this.pid = first;
        return;
      case message.CREATED:
        this.#containers.get(first)?.created({ pid: second, firstId: third, cgroup: text(record) });
        return;
      case message.CREATE_FAILED:
        this.#forget(first)?.failed({ stage: second, index: third, errno: fourth, text: text(record) });
        return;
      case message.GONE:
        this.#forget(first)?.gone({ waitStatus: second, stats: decodeStats(record.blobs[0] ?? Buffer.alloc(0)) });
        return;
      case message.OOM:
        this.#containers.get(first)?.oom();
        return;
      case message.REPLY: {
        const resolve = this.#requests.get(first);
        if (!resolve) return;
        this.#requests.delete(first);
        this.#release();
        resolve({ errno: second, value: third, content: record.blobs[0], descriptor: descriptors[0] });
      }
    }
  }

  #forget(id: number): ContainerListener | undefined {
    const listener = this.#containers.get(id);
    if (this.#containers.delete(id)) this.#release();
    return listener;
  }

  /** The launcher has died, and every container with it: init's parent-death signal is SIGKILL. */
  #end(): void {
    if (current === this) current = undefined;
    this.#channel.close();
    const listeners = [...this.#containers.values()];
    const requests = [...this.#requests.values()];
    this.#containers.clear();
    this.#requests.clear();
    for (const listener of listeners) listener.gone({ waitStatus: 9, stats: undefined });
    for (const resolve of requests) resolve(undefined);
  }

  /** Whether anyone waits for an answer decides whether the connection keeps Node alive. */
  #hold(): void {
    if (++this.#busy === 1) this.#channel.ref();
  }

  #release(): void {
    if (--this.#busy === 0) this.#channel.unref();
  }

  /** An idle container is no reason to keep Node running; its owner says when it is one. */
  idle(on: boolean): void {
    if (on) this.#release();
    else this.#hold();
  }
}

function modeOf(ids: IdMapping): number {
  if (ids === 'range') return mapMode.RANGE;
  if (ids === 'single') return mapMode.SINGLE;
  if (ids === 'both') return mapMode.BOTH;
  if (ids === 'none') return mapMode.NONE;
  return ids.helpers ? mapMode.HELPED : mapMode.GIVEN;
}

function encodeMaps(ids: IdMapping): Uint8Array {
  if (typeof ids === 'string') return noMaps;
  const { uid, gid, denySetgroups, helpers } = ids;
  return encodeRecord(1, [denySetgroups ? 1 : 0], [uid, gid, ...(helpers ? [helpers.uid, helpers.gid] : [])]);
}

const noMaps = new Uint8Array(0);

function text(record: WireRecord): string {
  return record.blobs[0]?.toString() ?? '';
}

function decodeStats(content: Buffer): ReadonlyMap<number, string> {
  return new Map(decodeRecords(content).map((record) => [record.ints[0] ?? -1, text(record)]));
}

function encodeConfiguration(configuration: LauncherConfiguration): Buffer {
  const { ranges } = configuration;
  const prepare = new RecordWriter();
  for (const step of configuration.prepare) {
    if ('directory' in step) prepare.put(1, [0o755], [step.directory]);
    else prepare.put(2, [], [step.file, step.value]);
  }
  const hierarchies = new RecordWriter();
  for (const { base, version, memory, late } of configuration.hierarchies) {
    hierarchies.put(1, [version, (memory ? 1 : 0) | (late ? 2 : 0)], [base]);
  }
  const files = new RecordWriter();
  for (const { hierarchy, file } of configuration.statFiles) files.put(1, [hierarchy], [file]);
  return encodeRecord(
    message.HELLO,
    [ranges.first, ranges.count, ranges.size],
    [prepare.bytes(), hierarchies.bytes(), files.bytes(), ranges.lockFile, configuration.stateDirectory],
  );
}

/** Thrown where an answer never came because the launcher ended. */
export function launcherDied(): TscontainError {
  return new TscontainError('ERR_LAUNCHER_DIED', 'the launcher process ended, and every container with it', {
    hint: 'it was killed from outside, or ran out of memory; the next container starts a new one',
  });
}
