/**
 * Agents: processes of ours outside of containers, in namespaces that the caller chooses, also the host's own. An agent runs
 * steps, hands back the descriptors that they have made, and starts programs; it is an init that is no container's, and is
 * made, spoken to and ended in the same way.
 */

import { cloneError, stepError } from '../container/failure.js';
import { errnoName, PermissionError, TscontainError } from '../errors.js';
import { isRoot, launcherConfiguration } from '../host/configuration.js';
import { encodeSteps, SlotNumbers } from '../plan/encode.js';
import type { Slot, Step } from '../plan/step.js';
import { flagsOf, type NamespaceKind } from '../primitives/namespace/kind.js';
import { type AgentOptions, enteringSteps, firstSteps, idMapping } from './agent-steps.js';
import { Init, type ProcessListener, type RunReply, type StartRequest } from './init.js';
import { type Launcher, launcher, launcherDied } from './launcher.js';
import type { Descriptor } from './native.js';
import { stage } from './protocol.js';

export type { AgentOptions } from './agent-steps.js';

/** What becomes of steps that an agent runs. */
export interface RunOptions {
  /** What the slots `'0'`, `'1'`… are while the steps run; at most eight. They stay the caller's. */
  readonly descriptors?: readonly Descriptor[];
  /** Slots whose descriptors are handed back when all steps have succeeded. */
  readonly take?: readonly Slot[];
  /** What the steps are for, for the error: `'making the namespaces'`. */
  readonly doing?: string;
}

const empty = new Uint8Array(0);

/**
 * A process of ours that runs steps and starts programs in namespaces that the caller chooses.
 *
 * Its privileges are the caller's, or those of the root of its own user namespace. It ends with {@link close}, and with this
 * process, however that ends; with it ends what its programs have started. One that nothing is asked of does not keep Node
 * alive.
 */
export class Agent implements AsyncDisposable {
  /** Settles when it has ended and been reaped. */
  readonly gone: Promise<void>;
  /** Its process id as this process sees it; of its parent, where it has become the first of a pid namespace by a step. */
  pid: number | undefined;
  /** The first host id of its user namespace, where that was given a range of its own. */
  firstId: number | undefined;

  readonly #launcher: Launcher;
  readonly #init: Init;
  readonly #number: number;
  readonly #ready: Promise<void>;
  #failure: TscontainError | undefined;
  #pending = 1; // until it is ready
  #idle = false;
  #isGone = false;
  #setReady: () => void = () => {};
  #setCreated: () => void = () => {};
  #setFailed: (error: TscontainError) => void = () => {};
  #setGone: () => void = () => {};

  private constructor(options: AgentOptions, kinds: readonly NamespaceKind[]) {
    const created = new Promise<void>((resolve) => {
      this.#setCreated = resolve;
    });
    // Who it is and that it is ready is told by two sockets, in any order.
    this.#ready = new Promise((resolve, reject) => {
      this.#setReady = () => created.then(resolve);
      this.#setFailed = reject;
    });
    this.gone = new Promise((resolve) => {
      this.#setGone = resolve;
    });
    const steps = firstSteps(kinds, options);
    this.#launcher = launcher(launcherConfiguration);
    this.#init = new Init({
      ready: () => this.#setReady(),
      failed: (failure) => {
        this.#failure ??= stepError(steps, failure, 'making namespaces', 'host');
      },
      ended: () => {},
    });
    this.#number = this.#launcher.create(
      {
        // Clocks can only be set before the first process is in the namespace, so a step makes that one.
        cloneFlags: flagsOf(kinds.filter((kind) => kind !== 'time')),
        hierarchies: [],
        ids: idMapping(kinds, options),
        agent: true,
        between: options.between,
        writes: [],
        host: { common: empty, own: encodeSteps(options.host ?? []) },
        init: { common: empty, own: encodeSteps(steps) },
        socket: this.#init.peer,
      },
      {
        created: ({ pid, firstId }) => {
          this.pid = pid;
          this.firstId = firstId;
          this.#setCreated();
        },
        failed: (failure) => {
          this.#failure ??= creationError(failure, options.host ?? []);
          this.#end();
        },
        gone: ({ stats }) => {
          if (stats === undefined) this.#failure ??= launcherDied();
          this.#end();
        },
        oom: () => {},
      },
    );
    this.#init.peer.close();
  }

  /**
   * Starts one, in the namespaces that it is to enter or has to itself.
   * @throws PermissionError, UnsupportedError where the host refuses; TscontainError for a step that failed
   */
  static async start(options: AgentOptions = {}): Promise<Agent> {
    const { create = [], join } = options;
    // What is made beside namespaces that are entered belongs to the user namespace that is entered, so it is made there.
    const joins = join !== undefined && join.size > 0;
    const agent = new Agent(options, joins ? [] : create);
    try {
      await agent.#ready;
      agent.#done();
      if (joins) {
        const { steps, descriptors } = enteringSteps(join, create, options);
        await agent.run(steps, { descriptors, doing: 'entering namespaces' });
      }
    } catch (error) {
      await agent.close();
      throw error;
    }
    return agent;
  }

  /** Whether it has ended. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /**
   * Runs steps in the agent itself, one after the other, and hands back the descriptors of the slots named in `take`, in that
   * order. What else the steps have put into slots is closed then, and also after a failure.
   * @throws TscontainError with the step, the call, the path and the kernel's answer
   */
  run(
    steps: readonly Step[],
    { descriptors = [], take = [], doing = 'running steps' }: RunOptions = {},
  ): Promise<Descriptor[]> {
    if (this.#isGone) return Promise.reject(this.#endedEarly());
    const slots = new SlotNumbers();
    const bytes = encodeSteps(steps, slots);
    this.#begin();
    return new Promise((resolve, reject) => {
      const listener = (reply: RunReply | undefined) => {
        this.#done();
        if (!reply) reject(this.#endedEarly());
        else if (reply.failure) reject(stepError(steps, reply.failure, doing, 'host'));
        else resolve([...reply.descriptors]);
      };
      this.#init.run(
        bytes,
        descriptors,
        take.map((slot) => slots.of(slot)),
        listener,
      );
    });
  }

  /**
   * Starts a program; `listener` hears of it. The number that this returns is what {@link signal} names it by. With `last` the
   * agent ends when the program does, and keeps Node alive until then.
   */
  execute(request: StartRequest, listener: ProcessListener): number {
    if (this.#isGone) throw this.#endedEarly();
    this.#begin();
    const done = () => {
      if (!request.last) this.#done();
    };
    try {
      return this.#init.start(request, {
        started: (facts) => listener.started(facts),
        failed: (failure) => {
          done();
          listener.failed(failure);
        },
        exited: (facts) => {
          done();
          listener.exited(facts);
        },
      });
    } catch (error) {
      this.#done();
      throw error;
    }
  }

  signal(number: number, signal: number): void {
    this.#init.signal(number, signal);
  }

  /** Ends it and everything that its programs have started, and waits until it has ended. */
  async close(): Promise<void> {
    if (this.#isGone) return;
    this.#begin();
    this.#launcher.kill(this.#number);
    await this.gone;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #endedEarly(): TscontainError {
    return (
      this.#failure ??
      new TscontainError('ERR_AGENT_GONE', 'the process that holds the namespaces has ended', {
        hint: 'it was closed, or killed from outside',
      })
    );
  }

  #end(): void {
    if (this.#isGone) return;
    this.#init.close();
    this.#isGone = true;
    if (this.#idle) this.#launcher.idle(false);
    this.#setFailed(this.#endedEarly());
    this.#setGone();
  }

  /** What is waited for keeps Node alive, an agent that only exists does not. */
  #begin(): void {
    if (++this.#pending === 1) this.#setIdle(false);
  }

  #done(): void {
    if (--this.#pending === 0) this.#setIdle(true);
  }

  #setIdle(idle: boolean): void {
    if (this.#isGone || this.#idle === idle) return;
    this.#idle = idle;
    this.#launcher.idle(idle);
  }
}

interface CreationFailure {
  readonly stage: number;
  readonly index: number;
  readonly errno: number;
  readonly text: string;
}

function creationError(failure: CreationFailure, host: readonly Step[]): TscontainError {
  const errno = errnoName(failure.errno);
  const details = { errno: failure.errno };
  switch (failure.stage) {
    case stage.CLONE:
      return cloneError(failure.errno);
    case stage.HOST_STEP:
      return stepError(host, { ...failure, step: failure.index, detail: 0 }, "preparing on the host's side", 'host');
    case stage.RANGE:
      return new TscontainError('ERR_NO_IDS', `no range of user ids could be had: ${errno}`, {
        ...details,
        hint: isRoot()
          ? 'every range is in use'
          : 'ranges are for root; give idMap, or leave it out for a map of one id',
      });
    case stage.MAP:
      return new PermissionError(
        `the id map of the new user namespace could not be written (${failure.text}): ${errno}`,
        {
          ...details,
          path: `/proc/<pid>/${failure.text}`,
          syscall: 'write',
          hint: 'ids outside must be mapped where this process is; more than its own need CAP_SETUID and CAP_SETGID (user_namespaces(7)), or grants in /etc/subuid and /etc/subgid, newuidmap and newgidmap',
        },
      );
  }
  return new TscontainError('ERR_LAUNCHER', `the launcher could not start the process: ${errno}`, details);
}
