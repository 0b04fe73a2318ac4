/**
 * One container as it runs: its plan sent, its init heard, its end awaited. `Container` is the public face of this; here are
 * the two sockets and what must happen in which order.
 */

import { AbortedError, TscontainError } from '../errors.js';
import { hostStatFiles, launcherConfiguration } from '../host/configuration.js';
import { containerMapping } from '../launcher/agent-steps.js';
import { type ExitFacts, type FileReply, Init, type ProcessListener, type StartRequest } from '../launcher/init.js';
import { type EncodedParts, type Launcher, launcher, launcherDied } from '../launcher/launcher.js';
import type { Descriptor } from '../launcher/native.js';
import type { ContainerNetwork } from '../network/bridge/container-network.js';
import { encodeFragments, encodeSteps, SlotNumbers } from '../plan/encode.js';
import { withFault } from '../plan/fault.js';
import type { Slot, Step } from '../plan/step.js';
import { type CgroupLayout, type ContainerStats, cgroupLayout, parseStats } from '../primitives/cgroup/index.js';
import { type DeniedCall, Supervisor, type SystemCallFacts } from '../primitives/seccomp/index.js';
import type { AttributeSettings } from '../process/attributes/settings.js';
import type { Blueprint } from './blueprint.js';
import { type ExecGroup, ExecGroups } from './exec-groups.js';
import { creationError, stepError } from './failure.js';
import { flatten, namespaces, type Parts } from './plan/compile.js';
import { compileProcess, type ProcessIdentity } from './plan/process.js';
import { ContainerProcess, type ProcessHost } from './process.js';
import type { ExitReason, Usage } from './result.js';
import type { ExecSettings } from './settings.js';

/** The end of a container. */
export interface InstanceEnd {
  readonly stats: ContainerStats | undefined;
  readonly launcherDied: boolean;
}

/** The end of a process that died with its container: by SIGKILL, and what it had used alone is not known. */
const killed: ExitFacts = { waitStatus: 9, userMs: 0, systemMs: 0, maxResident: 0, readBytes: 0, writeBytes: 0 };

/** Milliseconds after which a program that has not been executed never will be. */
const startPatience = 10_000;

export interface InstanceEvents {
  oom(): void;
  gone(end: InstanceEnd): void;
  denied(call: DeniedCall, process: ContainerProcess): void;
  handlerFailed(error: TscontainError, call: SystemCallFacts): void;
}

export interface ProcessEnvironment {
  readonly env: readonly (readonly [string, string])[];
  readonly cwd: string;
  /** The container's, with the process's own laid over them. */
  readonly attributes: AttributeSettings;
}

interface Resolved {
  readonly identity: ProcessIdentity;
  readonly environment: ProcessEnvironment;
}

interface Pending {
  readonly process: ContainerProcess;
  readonly refused: boolean;
  launch(resolved: Resolved, group: ExecGroup | undefined): void;
}

/** A process on its way: where it is started, and whether it is to end already. */
interface Attempt {
  number?: number;
  group?: ExecGroup | undefined;
  ended: boolean;
  watchdog?: NodeJS.Timeout;
}

export class Instance {
  readonly blueprint: Blueprint;
  /** Settles when init has run the plan; rejects with the step that failed. */
  readonly ready: Promise<void>;
  /** What init lends in the middle of its plan, where it does: see {@link giveBack}. The descriptor is the taker's. */
  readonly lent: Promise<Descriptor>;
  /** Settles when everything of the container is dead. */
  readonly gone: Promise<InstanceEnd>;
  /** What the launcher knows it by. */
  readonly number: number;
  /** Facts that the launcher reports. */
  pid: number | undefined;
  firstId: number | undefined;
  cgroup: string | undefined;
  /** How many times the kernel ran out of memory in it. */
  oomCount = 0;
  ending: ExitReason | undefined;
  /** Paused: nothing in it moves, init included. */
  frozen = false;
  /** Paused for a piece of work of ours, after which it goes on. */
  held = false;

  readonly #layout: CgroupLayout = cgroupLayout();
  readonly #launcher: Launcher;
  readonly #init: Init;
  /** Those that have not ended, with who hears of their end. */
  readonly #processes = new Map<ContainerProcess, ProcessListener>();
  readonly #events: InstanceEvents;
  /** Answer waiting calls until nothing is under their filters. */
  readonly #supervisors = new Set<Supervisor>();
  readonly #single: boolean;
  readonly #groups: ExecGroups;
  #failure: TscontainError | undefined;
  #isReady = false;
  #hasLent = false;
  #networkLent = false;
  #isGone = false;
  #pendingFiles = 0;
  #awaited = false;
  #idle = false;
  #setReady: () => void = () => {};
  #setLent: (descriptor: Descriptor) => void = () => {};
  readonly #unsettled: ((error: unknown) => void)[] = [];
  #setGone: (end: InstanceEnd) => void = () => {};

  /** @param single the container ends with the first process started in it */
  constructor(blueprint: Blueprint, events: InstanceEvents, single: boolean) {
    this.blueprint = blueprint;
    this.#events = events;
    this.#single = single;
    this.ready = this.#outcome((resolve) => {
      this.#setReady = resolve;
    });
    this.lent = this.#outcome((resolve) => {
      this.#setLent = resolve;
    });
    this.gone = new Promise((resolve) => {
      this.#setGone = resolve;
    });
    this.#launcher = launcher(launcherConfiguration);
    this.#init = new Init({
      ready: () => this.#onReady(),
      failed: (failure) => {
        this.#failure ??= stepError(flatten(blueprint.steps.container), failure, 'making the container');
      },
      lent: (descriptor) => this.#onLent(descriptor),
      ended: () => {},
    });
    const slots = new SlotNumbers();
    // Where one process has the container to itself, all of it is killed at once, init included (cgroup v2). Else init
    // ends the processes and the container stays.
    const writes = single ? blueprint.writes : blueprint.writes.filter(({ file }) => file !== 'memory.oom.group');
    this.number = this.#launcher.create(
      {
        cloneFlags: namespaces,
        hierarchies: blueprint.hierarchies,
        ids: containerMapping(),
        writes,
        host: encodeParts(blueprint.steps.host, slots),
        init: encodeParts(blueprint.steps.container, slots),
        socket: this.#init.peer,
      },
      {
        created: (facts) => {
          this.pid = facts.pid;
          this.firstId = facts.firstId;
          this.cgroup = facts.cgroup;
        },
        failed: (failure) => {
          this.#failure ??= creationError(failure, flatten(blueprint.steps.host), writes, this.#layout);
          this.#end({ stats: undefined, launcherDied: false });
        },
        gone: ({ stats }) => {
          const end = { stats: stats && this.#parse(stats), launcherDied: stats === undefined };
          this.#end(end);
        },
        oom: () => {
          this.oomCount++;
          events.oom();
        },
      },
    );
    this.#init.peer.close();
    this.#groups = new ExecGroups(this.#launcher, this.number);
  }

  /** A promise that is rejected when the container ends before. */
  #outcome<Value>(settle: (resolve: (value: Value) => void) => void): Promise<Value> {
    const promise = new Promise<Value>((resolve, reject) => {
      settle(resolve);
      this.#unsettled.push(reject);
    });
    promise.catch(() => {});
    return promise;
  }

  /**
   * Each once, and before it is ready: of a hostile init no more is kept. The first that is lent by a container in a network is
   * a socket of its namespace.
   */
  #onLent(descriptor: Descriptor): void {
    const { network } = this.blueprint;
    if (network && !this.#networkLent && !this.#isReady) {
      this.#networkLent = true;
      this.#connect(network, descriptor);
    } else if (this.#hasLent || this.#isReady) {
      descriptor.close();
    } else {
      this.#hasLent = true;
      this.#setLent(descriptor);
    }
  }

  #connect(network: ContainerNetwork, socket: Descriptor): void {
    network.connect(socket).then(
      () => this.giveBack(),
      (error) => {
        this.#failure ??= error;
        this.#launcher.kill(this.number);
      },
    );
  }

  /** What was lent is not used any more; init goes on. */
  giveBack(): void {
    this.#init.giveBack();
  }

  #onReady(): void {
    if (this.#isReady) return;
    this.#isReady = true;
    this.#setReady();
    if (!this.#single) this.#groups.prepare();
    this.#noteIdle();
  }

  #end(end: InstanceEnd): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#init.close();
    if (this.#idle) this.#launcher.idle(false);
    const error = this.#failure ?? (end.launcherDied ? launcherDied() : undefined);
    const early = error ?? this.#endedEarly();
    for (const reject of this.#unsettled) reject(early);
    this.#setGone(end);
    this.#endProcesses(end, error);
    this.#groups.close();
    for (const supervisor of this.#supervisors) supervisor.close();
    this.#events.gone(end);
  }

  /** What was killed together with init, which so could not report it, on purpose or for want of memory, has a result. */
  #endProcesses(end: InstanceEnd, error: TscontainError | undefined): void {
    const outOfMemory = this.#isReady && (end.stats?.memory.oomKills ?? 0) > 0;
    for (const [process, listener] of this.#processes) {
      if (error === undefined && (this.ending !== undefined || outOfMemory)) listener.exited(killed);
      else process.fail(error ?? this.#endedEarly(end));
    }
    this.#processes.clear();
  }

  #endedEarly(end?: InstanceEnd): TscontainError {
    if (end?.stats?.memory.oomKills) {
      return new TscontainError(
        'ERR_OUT_OF_MEMORY',
        'the container ran out of memory before the process could report',
        {
          hint: 'raise limits.memory',
        },
      );
    }
    return new TscontainError('ERR_CONTAINER_GONE', 'the container has ended', {
      hint: this.ending ? `it was ended on purpose: ${this.ending}` : 'its init was killed from outside',
    });
  }

  /** Starts a process. Everything about it, failures included, comes through the handle. */
  start(
    argv: readonly string[],
    settings: ExecSettings,
    identity: ProcessIdentity,
    environment: ProcessEnvironment,
  ): ContainerProcess {
    const pending = this.#open(argv, settings);
    if (pending.refused) return pending.process;
    // As long as something of init's is lent, it does not listen to anything else.
    if (this.blueprint.network && !this.#isReady) {
      this.ready.then(
        () => pending.launch({ identity, environment }, undefined),
        () => {},
      );
    } else if (this.#single || !this.#groups.available) pending.launch({ identity, environment }, undefined);
    else this.#groups.take().then((group) => pending.launch({ identity, environment }, group));
    return pending.process;
  }

  /** The same, where who it runs as must be found out first, inside the container. */
  startLater(argv: readonly string[], settings: ExecSettings, find: () => Promise<Resolved>): ContainerProcess {
    const pending = this.#open(argv, settings);
    if (pending.refused) return pending.process;
    const go = async () => {
      await this.ready;
      const resolved = await find();
      pending.launch(resolved, this.#single ? undefined : await this.#groups.take());
    };
    go().catch((error) => {
      this.#forget(pending.process, undefined);
      pending.process.fail(error);
      if (this.#single) this.kill('stopped');
    });
    return pending.process;
  }

  /** A handle, and what starts the process behind it once everything about it is known. */
  #open(argv: readonly string[], settings: ExecSettings): Pending {
    const attempt: Attempt = { ended: false };
    const oomBefore = this.oomCount;
    const host: ProcessHost = {
      signal: (signal) => {
        if (attempt.number !== undefined) this.#init.signal(attempt.number, signal);
      },
      killAll: () => {
        attempt.ended = true;
        if (this.#single) this.kill(this.ending ?? 'stopped');
        else this.#killGroup(attempt);
      },
      endingBecause: () => this.ending,
      outOfMemory: () => this.oomCount > oomBefore,
    };
    const process = new ContainerProcess(argv, settings, host);
    const { signal } = settings;
    if (this.#isGone || signal?.aborted) {
      process.fail(
        signal?.aborted
          ? new AbortedError('aborted before the process was started', { cause: signal.reason })
          : (this.#failure ?? this.#endedEarly()),
      );
      return { process, refused: true, launch: () => {} };
    }
    const listener = process.listener(() => this.#usageOf());
    this.#processes.set(process, listener);
    this.#noteIdle();
    const launch = ({ identity, environment }: Resolved, own: ExecGroup | undefined) => {
      attempt.group = own;
      if (this.#isGone) return;
      if (attempt.ended) {
        this.#forget(process, own);
        listener.exited(killed);
        return;
      }
      this.#send(attempt, process, listener, argv, settings, identity, environment);
    };
    return { process, refused: false, launch };
  }

  #send(
    attempt: Attempt,
    process: ContainerProcess,
    listener: ProcessListener,
    argv: readonly string[],
    settings: ExecSettings,
    identity: ProcessIdentity,
    environment: ProcessEnvironment,
  ): void {
    const { group } = attempt;
    const { streams } = process;
    const [stdin, stdout, stderr] = streams.slots;
    const tty = settings.tty !== undefined;
    const supervisor = this.#supervise(process);
    const descriptors = supervisor ? [...streams.descriptors, supervisor.peer] : streams.descriptors;
    const compiled = compileProcess({
      profile: this.blueprint.profile,
      identity,
      capabilities: settings.capabilities,
      argv,
      tty,
      stdin,
      stdout,
      stderr,
      listener: supervisor && String(streams.descriptors.length),
      ...environment,
    });
    const steps = withFault('process', compiled);
    const request: StartRequest = {
      steps: encodeSteps(steps),
      terminal: settings.tty,
      owner: identity.uid,
      last: this.#single,
      report: !this.#single,
      descriptors,
      cgroup: group?.descriptor,
    };
    if (!this.#single) this.#watchStart(attempt, process);
    let begun = false;
    const handlers: ProcessListener = {
      started: ({ pid, terminal }) => {
        clearTimeout(attempt.watchdog);
        // A kill and a start go different ways, and the kill may have come first, to an empty cgroup.
        if (attempt.ended) this.#killGroup(attempt);
        const expected = tty && !begun;
        begun = true;
        if (!expected && terminal) terminal.close();
        listener.started({ pid, terminal: expected ? terminal : undefined });
      },
      failed: (failure) => {
        clearTimeout(attempt.watchdog);
        this.#forget(process, group);
        process.fail(stepError(steps, failure, `starting ${argv[0]}`, 'container', this.blueprint.foreign));
      },
      exited: (facts) => {
        clearTimeout(attempt.watchdog);
        this.#forget(process, group);
        listener.exited(facts);
      },
    };
    try {
      attempt.number = this.#init.start(request, handlers);
    } catch (cause) {
      clearTimeout(attempt.watchdog);
      this.#forget(process, group);
      process.fail(new TscontainError('ERR_START', `the request to start ${argv[0]} could not be sent`, { cause }));
    }
    for (const descriptor of descriptors) descriptor.close();
    if (group?.descriptor.open) group.descriptor.close();
  }

  /** Who answers for the program that is about to start, where anyone does. */
  #supervise(process: ContainerProcess): Supervisor | undefined {
    const { supervision } = this.blueprint;
    if (!supervision) return undefined;
    const supervisor: Supervisor = new Supervisor(supervision, {
      denied: (call) => this.#events.denied(call, process),
      failed: (error, call) => this.#events.handlerFailed(error, call),
      ended: () => this.#supervisors.delete(supervisor),
    });
    this.#supervisors.add(supervisor);
    return supervisor;
  }

  /**
   * Until it has executed its program, a process is one that root inside may stop; init would wait for it, and everything
   * else for init. So a start that takes this long is ended.
   */
  #watchStart(attempt: Attempt, process: ContainerProcess): void {
    attempt.watchdog = setTimeout(() => {
      if (this.frozen) {
        this.#watchStart(attempt, process);
        return;
      }
      this.#forget(process, attempt.group);
      process.fail(
        new TscontainError('ERR_START_TIMEOUT', `${process.argv[0]} did not start within ${startPatience / 1000} s`, {
          hint: 'a program in the container may be stopping new processes, or a file system does not answer',
        }),
      );
      if (attempt.group) this.#killGroup(attempt);
      else this.kill('stopped');
    }, startPatience).unref();
  }

  #forget(process: ContainerProcess, group: ExecGroup | undefined): void {
    this.#processes.delete(process);
    this.#noteIdle();
    if (group) this.#groups.release(group);
  }

  /** Use of the whole container, for a process that it ended with. */
  async #usageOf(): Promise<Usage | undefined> {
    if (!this.#single) {
      // An out-of-memory kill and its notice take different ways here; the launcher's answer comes after both.
      await this.#settleOom();
      return undefined;
    }
    const { stats } = await this.gone;
    if (!stats) return undefined;
    this.oomCount = Math.max(this.oomCount, stats.memory.oomKills);
    return {
      cpuMs: stats.cpu.usageMs,
      cpuUserMs: stats.cpu.userMs,
      cpuSystemMs: stats.cpu.systemMs,
      memoryPeak: stats.memory.peak,
      pidsPeak: Math.max(0, stats.pids.peak - 1),
      ioReadBytes: stats.io.readBytes,
      ioWriteBytes: stats.io.writeBytes,
    };
  }

  #oomSeen = 0;

  async #settleOom(): Promise<void> {
    const stats = await this.stats();
    if (stats && stats.memory.oomKills > this.#oomSeen) {
      this.#oomSeen = stats.memory.oomKills;
      this.oomCount++; // the notice may still be on its way; counted twice does no harm
    }
  }

  /** Where there is no cgroup of its own, the process itself is all we can name. */
  #killGroup({ group, number }: Attempt): void {
    if (group) this.#groups.kill(group);
    else if (number !== undefined) this.#init.signal(number, 9);
  }

  /** A file operation inside. */
  file(
    ints: readonly number[],
    paths: readonly (string | Uint8Array)[],
    listener: (reply: FileReply | undefined) => void,
  ): void {
    this.#pendingFiles++;
    this.#noteIdle();
    this.#init.file(ints, paths, (reply) => {
      if (!reply?.more) {
        this.#pendingFiles--;
        this.#noteIdle();
      }
      listener(reply);
    });
  }

  /**
   * Steps that init runs itself, and the descriptors of `take`, which are the caller's. It serves nothing else meanwhile, so
   * only short ones; and nothing at all while it is frozen.
   */
  run(steps: readonly Step[], take: readonly Slot[], doing: string): Promise<readonly Descriptor[]> {
    const slots = new SlotNumbers();
    const bytes = encodeSteps(steps, slots);
    const numbers = take.map((slot) => slots.of(slot));
    this.#pendingFiles++;
    this.#noteIdle();
    return new Promise((resolve, reject) => {
      this.#init.run(bytes, [], numbers, (reply) => {
        this.#pendingFiles--;
        this.#noteIdle();
        if (!reply) reject(this.#failure ?? this.#endedEarly());
        else if (reply.failure) reject(stepError(steps, reply.failure, doing));
        else resolve(reply.descriptors);
      });
    });
  }

  signalAll(signal: number): void {
    for (const process of this.#processes.keys()) process.kill(signal);
  }

  get processes(): readonly ContainerProcess[] {
    return [...this.#processes.keys()];
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  /** Ends everything in it. */
  kill(reason: ExitReason): void {
    this.ending ??= reason;
    if (!this.#isGone) this.#launcher.kill(this.number);
  }

  async stats(): Promise<ContainerStats | undefined> {
    const contents = this.#isGone ? undefined : await this.#launcher.stats(this.number);
    return contents && this.#parse(contents);
  }

  /** Writes a file of its cgroup; the errno of the answer, or undefined when it is gone. */
  async write(hierarchy: number, file: string, value: string): Promise<number | undefined> {
    if (this.#isGone) return undefined;
    return (await this.#launcher.write(this.number, hierarchy, file, value))?.errno;
  }

  #parse(contents: ReadonlyMap<number, string>): ContainerStats {
    const files = hostStatFiles();
    const named = [...contents].map(
      ([index, text]) => [`${files[index]?.hierarchy}/${files[index]?.file}`, text] as const,
    );
    return parseStats(this.#layout, new Map(named));
  }

  /** Waits for the end, and keeps Node alive until then. */
  wait(): Promise<InstanceEnd> {
    this.#awaited = true;
    this.#noteIdle();
    return this.gone;
  }

  /** A container that nothing runs in, and whose end nobody waits for, does not keep Node alive. */
  #noteIdle(): void {
    const waiting = this.#single || this.#awaited || this.#processes.size + this.#pendingFiles > 0;
    const idle = this.#isReady && !this.#isGone && !waiting;
    if (idle === this.#idle) return;
    this.#idle = idle;
    if (!this.#isGone) this.#launcher.idle(idle);
  }
}

function encodeParts(parts: Parts, slots: SlotNumbers): EncodedParts {
  return { common: encodeFragments(parts.common, slots), own: encodeFragments(parts.own, slots) };
}
