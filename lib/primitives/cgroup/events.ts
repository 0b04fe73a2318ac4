/**
 * What happens to a cgroup, told by the kernel. Nothing is polled: kernfs tells inotify when an `*.events` file changes,
 * pressure triggers and v1's lack of memory have descriptors of their own. Counters are read when something has changed, so
 * that several events in a row may come as one, with their number.
 */

import { EventEmitter } from 'node:events';
import { type FSWatcher, watch } from 'node:fs';
import type TypedEmitter from 'typed-emitter';
import { defineSchema, readChoice, readObject } from '../../container/settings/schema.js';
import { TscontainError } from '../../errors.js';
import { addon, type NativePressureTrigger, type NativeStream } from '../../launcher/native.js';
import { type Duration, parseDuration } from '../../units.js';
import type { CgroupDirectory } from './directory.js';
import { cgroupFailure, errnoOf } from './failure.js';
import type { Placement } from './placement.js';
import { type Pressure, parsePressure, pressureResources } from './pressure.js';
import { tableOf } from './text.js';

/** A counter has gone up. */
export interface CounterEvent {
  /** The kernel's name of it, such as `oom_kill`. */
  readonly name: string;
  /** By how much since the last event, and since the cgroup was made. */
  readonly count: number;
  readonly total: number;
}

/** When to tell of pressure. */
export interface PressureThreshold {
  readonly resource: 'cpu' | 'io' | 'memory' | 'irq';
  /** `'some'`: at least one task waits; `'full'`: all do. `'some'` by default. */
  readonly level?: 'some' | 'full';
  /** Tell when tasks have waited this long… */
  readonly stall: Duration;
  /** …within a window of this length, 500 ms to 10 s, 2 s by default. Without CAP_SYS_RESOURCE a multiple of 2 s. */
  readonly window?: Duration;
}

/** What a cgroup tells of. A type, not an interface: typed-emitter asks for an index signature. */
export type CgroupEventMap = {
  /** A counter of memory.events: `low`, `high`, `max`, `oom`, `oom_kill`, `oom_group_kill`. On v1 only `oom`, counted from here on. */
  memory: (event: CounterEvent) => void;
  /** A counter of pids.events: `max`, a fork was refused. v2: the kernel tells of none on v1. */
  pids: (event: CounterEvent) => void;
  /** The first process has come, or the last one has gone; children count. */
  populated: (populated: boolean) => void;
  /** Every process has stopped, or they go on. */
  frozen: (frozen: boolean) => void;
  /** A threshold was passed; at most once in its window. */
  pressure: (threshold: PressureThreshold, pressure: Pressure) => void;
  /** The cgroup has been removed. Nothing else comes. */
  removed: () => void;
};

const schema = defineSchema(['resource', 'level', 'stall', 'window']);
const files = ['memory.events', 'pids.events', 'cgroup.events'] as const;
type EventFile = (typeof files)[number];

const TypedEvents = EventEmitter as new () => TypedEmitter.default<CgroupEventMap>;

/** Events of one cgroup, from {@link CgroupV2.watch}. It does not keep the process alive. */
export class CgroupEvents extends TypedEvents implements AsyncDisposable {
  readonly #placement: Placement;
  readonly #watchers = new Map<EventFile, FSWatcher>();
  readonly #counters = new Map<EventFile, ReadonlyMap<string, number>>();
  readonly #triggers = new Set<NativePressureTrigger>();
  #parent: FSWatcher | undefined;
  #v1Memory: NativeStream | undefined;
  readonly #busy = new Map<EventFile, Promise<void>>();
  #closed = false;

  /** @internal */
  private constructor(placement: Placement) {
    super();
    this.#placement = placement;
  }

  /** @internal Watches before it reads the counters, so that nothing comes in between. */
  static async open(placement: Placement): Promise<CgroupEvents> {
    const events = new CgroupEvents(placement);
    try {
      for (const file of files) await events.#watch(file);
      events.#watchRemoval();
      const memory = placement.find('memory');
      if (memory?.version === 1) await events.#watchV1Memory(memory);
    } catch (error) {
      await events.close();
      throw error;
    }
    return events;
  }

  /**
   * Tells of pressure past a threshold, by a `pressure` event.
   * @returns what ends it
   * @throws UnsupportedError where this kernel has no pressure files; TscontainError (`ERR_CLOSED`) once these are closed
   */
  pressureAbove(threshold: PressureThreshold): () => void {
    const { resource, level, stall, window } = readThreshold(threshold);
    if (this.#closed) {
      throw new TscontainError('ERR_CLOSED', `the events of ${this.#placement.path} have been closed`, {
        path: this.#placement.path,
        hint: 'watch() opens them anew',
      });
    }
    const directory = this.#placement.needUnified('watch the pressure of');
    const file = `${resource}.pressure`;
    const { PressureTrigger } = addon();
    let trigger: NativePressureTrigger;
    const text = `${level} ${stall * 1000} ${window * 1000}`;
    try {
      trigger = new PressureTrigger(directory.fileThrough(file), text, (content) => {
        if (content !== null) this.emit('pressure', threshold, parsePressure(content));
      });
    } catch (cause) {
      throw cgroupFailure('write', `${directory.path}/${file}`, cause, text);
    }
    trigger.ref(false);
    this.#triggers.add(trigger);
    return () => {
      if (this.#triggers.delete(trigger)) trigger.close();
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const watcher of this.#watchers.values()) watcher.close();
    for (const trigger of this.#triggers) trigger.close();
    this.#parent?.close();
    this.#v1Memory?.close();
    this.#watchers.clear();
    this.#triggers.clear();
    this.#v1Memory = undefined;
    await Promise.all([...this.#busy.values()]);
    this.removeAllListeners();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #watch(file: EventFile): Promise<void> {
    const directory = this.#placement.unified;
    if (!directory || (await directory.read(file)) === undefined) return;
    this.#watchers.set(
      file,
      directory.watch(file, () => this.#changed(directory, file), false),
    );
    this.#counters.set(file, tableOf(await directory.read(file)));
  }

  /** The removal shows in the parent only: nothing is told of a directory that we keep open. */
  #watchRemoval(): void {
    const directory = this.#placement.unified;
    const at = directory?.path.lastIndexOf('/') ?? 0;
    if (!directory || !this.#watchers.has('cgroup.events')) return;
    const name = directory.path.slice(at + 1);
    const told = (_: string, changed: string | null): void => {
      if (changed === name) this.#changed(directory, 'cgroup.events');
    };
    this.#parent = watch(directory.path.slice(0, at), { persistent: false }, told);
  }

  /** One reading at a time, and one more if something changed meanwhile. */
  #changed(directory: CgroupDirectory, file: EventFile): void {
    if (this.#closed) return;
    const before = this.#busy.get(file) ?? Promise.resolve();
    const reading = before.then(() => this.#read(directory, file));
    this.#busy.set(file, reading);
  }

  async #read(directory: CgroupDirectory, file: EventFile): Promise<void> {
    if (this.#closed) return;
    let text: string | undefined;
    try {
      text = await directory.read(file);
    } catch (error) {
      if (errnoOf(error) !== 'ENODEV' && !(error instanceof TscontainError && error.code === 'ERR_CLOSED')) throw error;
    }
    if (this.#closed) return;
    if (text === undefined) {
      if (file === 'cgroup.events') this.emit('removed');
      return;
    }
    const now = tableOf(text);
    const then = this.#counters.get(file) ?? new Map<string, number>();
    this.#counters.set(file, now);
    for (const [name, total] of now) this.#tell(file, name, total, then.get(name) ?? 0);
  }

  #tell(file: EventFile, name: string, total: number, before: number): void {
    if (total === before) return;
    const event: CounterEvent = { name, count: total - before, total };
    if (file === 'memory.events') this.emit('memory', event);
    else if (file === 'pids.events') this.emit('pids', event);
    else if (name === 'populated') this.emit('populated', total === 1);
    else if (name === 'frozen') this.emit('frozen', total === 1);
  }

  /** v1: an eventfd, registered in cgroup.event_control, is signalled when there is no memory left. */
  async #watchV1Memory(directory: CgroupDirectory): Promise<void> {
    const { eventDescriptor, Stream } = addon();
    const event = eventDescriptor();
    const control = directory.openFile('memory.oom_control', 'read');
    try {
      await directory.write('cgroup.event_control', `${event.number} ${control.number}`);
    } catch (error) {
      event.close();
      throw error;
    } finally {
      control.close();
    }
    let total = 0;
    const stream = new Stream(
      event,
      () =>
        void this.#outOfMemory(directory, stream.read()).then((count) => {
          if (count === 0 || this.#closed) return;
          total += count;
          this.emit('memory', { name: 'oom', count, total });
        }),
      () => {},
    );
    stream.ref(false);
    stream.watch(true, false);
    this.#v1Memory = stream;
  }

  /** How often, by what the eventfd has counted. The removal of the cgroup signals it too. */
  async #outOfMemory(directory: CgroupDirectory, counted: Buffer | null | undefined): Promise<number> {
    const isThere = await directory.read('memory.oom_control').catch(() => undefined);
    return isThere === undefined || !counted ? 0 : Number(counted.readBigUInt64LE());
  }
}

function readThreshold(threshold: PressureThreshold) {
  const { resource, level = 'some', stall, window = 2000 } = readObject(threshold, 'threshold', schema);
  const length = parseDuration(window, 'threshold.window', { min: 500, max: 10_000 });
  return {
    resource: readChoice(resource, 'threshold.resource', pressureResources),
    level: readChoice(level, 'threshold.level', ['some', 'full']),
    stall: parseDuration(stall, 'threshold.stall', { min: 1, max: length }),
    window: length,
  };
}
