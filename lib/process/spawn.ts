/** Programs without a container: on the host, or in namespaces of the caller's choice, with the same handle as an exec. */

import { seccompTarget } from '../container/blueprint.js';
import { stepError } from '../container/failure.js';
import type { Argv } from '../container/options.js';
import { compileProcess } from '../container/plan/process.js';
import { ContainerProcess, type ProcessHost } from '../container/process.js';
import { parseArgv } from '../container/settings.js';
import { AbortedError, TscontainError } from '../errors.js';
import { Agent } from '../launcher/agent.js';
import type { ExitFacts, ProcessListener } from '../launcher/init.js';
import type { Descriptor } from '../launcher/native.js';
import { encodeSteps } from '../plan/encode.js';
import { withFault } from '../plan/fault.js';
import { openFlag, type Step } from '../plan/step.js';
import { Supervisor, type SupervisorRules } from '../primitives/seccomp/index.js';
import { expectCapabilitiesWithin } from './attributes/capabilities.js';
import type { SpawnOptions } from './options.js';
import { powersOf } from './own.js';
import { compileFilters } from './seccomp/filters.js';
import { parseSpawnOptions, type SpawnSettings } from './settings.js';

const SIGKILL = 9;
/** Milliseconds after which a program that has not been executed never will be. */
const startPatience = 10_000;
/** It was ended before it ran, or with its agent. */
const killed: ExitFacts = { waitStatus: SIGKILL, userMs: 0, systemMs: 0, maxResident: 0, readBytes: 0, writeBytes: 0 };

/**
 * Start a program on the host, or in namespaces of one's choice, without a container. The handle is that of an exec: awaited
 * for the result, iterated for output, disposed of to end the program. What is not said is as `child_process` has it: the
 * environment, the current directory, the user; but it is a session of its own, with the umask 022, and it never gains
 * privileges by executing a program (no_new_privs).
 *
 * When it ends, or is ended by a timeout, `signal` or disposal, so does all that it has started, in the background too.
 * Certain is that only in a new pid namespace (`namespaces: ['pid']`). Without one, processes that are made faster than they
 * can be ended may stay; and in a pid namespace that is entered, what has lost its parent stays until that namespace ends.
 *
 * @example
 * ```ts
 * const { stdout } = await spawn(['ip', 'link'], { namespaces: ['user', 'net'] });
 * ```
 *
 * @throws OptionError and UnsupportedError at once, for options that are wrong or cannot be had; all other errors come through the handle
 */
export function spawn(argv: Argv, options: SpawnOptions = {}): ContainerProcess {
  const program = parseArgv(argv);
  const settings = parseSpawnOptions(options);
  const start = new Start(program, settings);
  start.go();
  return start.process;
}

/** One program on its way, with an agent of its own. */
class Start {
  readonly process: ContainerProcess;
  readonly #argv: readonly string[];
  readonly #settings: SpawnSettings;
  readonly #listener: ProcessListener;
  #agent: Agent | undefined;
  #supervisor: Supervisor | undefined;
  /** The agent's number of the program, once it has been asked to start it. */
  #number: number | undefined;
  /** Signals for a program that is not there yet. */
  readonly #signals: number[] = [];
  #ended = false;
  #settled = false;

  constructor(argv: readonly string[], settings: SpawnSettings) {
    this.#argv = argv;
    this.#settings = settings;
    const host: ProcessHost = {
      signal: (signal) => this.#signal(signal),
      killAll: () => {
        this.#ended = true;
        this.#signal(SIGKILL);
      },
      endingBecause: () => undefined,
      outOfMemory: () => false,
    };
    this.process = new ContainerProcess(argv, settings.exec, host);
    this.#listener = this.process.listener(async () => {
      // The agent ends with its program, and only then has everything ended that the program has started.
      await this.#agent?.gone;
      return undefined;
    });
  }

  #signal(signal: number): void {
    if (this.#number === undefined) this.#signals.push(signal);
    else this.#agent?.signal(this.#number, signal);
  }

  async go(): Promise<void> {
    const { signal } = this.#settings.exec;
    try {
      if (signal?.aborted) {
        throw new AbortedError('aborted before the process was started', { cause: signal.reason });
      }
      const { namespaces, join } = this.#settings;
      const agent = await Agent.start({ ...namespaces, join });
      this.#agent = agent;
      agent.gone.then(() => this.#lost());
      if (this.#ended) {
        await agent.close();
        this.#settle(() => this.#listener.exited(killed));
      } else {
        await this.#execute(agent);
      }
    } catch (error) {
      this.#settle(() => this.process.fail(asOurs(error)));
      await this.#agent?.close();
    } finally {
      this.#release();
    }
  }

  async #execute(agent: Agent): Promise<void> {
    const { exec, namespaces, cgroup } = this.#settings;
    if (exec.tty) await agent.run([terminals], { doing: 'opening a terminal' });
    const mapped = namespaces.create.includes('user') || this.#settings.join.has('user');
    const { steps, identity, descriptors } = this.#compile(agent.pid ?? 0, mapped);
    const watchdog = setTimeout(() => this.#giveUp(), startPatience).unref();
    this.#number = agent.execute(
      {
        steps: encodeSteps(steps),
        terminal: exec.tty,
        owner: identity.uid,
        last: true,
        report: true,
        descriptors,
        cgroup: cgroup.unified,
      },
      {
        started: (facts) => {
          clearTimeout(watchdog);
          if (this.#settled) facts.terminal?.close();
          else this.#listener.started(facts);
        },
        failed: (failure) => {
          clearTimeout(watchdog);
          this.#settle(() => this.process.fail(stepError(steps, failure, `starting ${this.#argv[0]}`, 'host')));
        },
        exited: (facts) => {
          clearTimeout(watchdog);
          this.#settle(() => this.#listener.exited(facts));
        },
      },
    );
    // They follow the request in the same socket.
    for (const signal of this.#signals.splice(0)) agent.signal(this.#number, signal);
  }

  #compile(
    pid: number,
    mapped: boolean,
  ): { steps: readonly Step[]; identity: { uid: number }; descriptors: readonly Descriptor[] } {
    const { exec, env, join, seccomp, cgroup } = this.#settings;
    const powers = powersOf(pid, mapped, exec.user);
    expectCapabilitiesWithin(exec.capabilities, powers.capabilities, 'capabilities', 'host');
    const filters = seccomp && compileFilters(seccomp, false, seccompTarget(powers.capabilities));
    const { slots, descriptors } = this.process.streams;
    const [stdin, stdout, stderr] = slots;
    this.#supervisor = filters?.supervision && this.#supervise(filters.supervision);
    const listener = this.#supervisor ? [this.#supervisor.peer] : [];
    const own = compileProcess({
      profile: {
        capabilities: powers.capabilities,
        filters: filters?.filters ?? [],
        attributes: exec.attributes,
        setGroups: powers.setGroups,
        endsWithParent: true,
      },
      identity: powers.identity,
      attributes: exec.attributes,
      capabilities: exec.capabilities,
      argv: this.#argv,
      env: exec.tty && !env.some(([name]) => name === 'TERM') ? [...env, ['TERM', 'xterm']] : env,
      // What is here need not be there, nor be open to other ids.
      cwd: exec.cwd ?? (mapped || join.has('mnt') ? '/' : process.cwd()),
      tty: exec.tty !== undefined,
      stdin,
      stdout,
      stderr,
      listener: this.#supervisor && String(descriptors.length),
    });
    const steps = [...joinCgroups(cgroup.tasks, descriptors.length + listener.length), ...own];
    return {
      steps: withFault('process', steps),
      identity: powers.identity,
      descriptors: [...descriptors, ...listener, ...cgroup.tasks],
    };
  }

  #supervise(rules: SupervisorRules): Supervisor {
    const onDenied = this.#settings.seccomp?.supervision?.onDenied;
    return new Supervisor(rules, {
      denied: (call) => onDenied?.(call),
      failed: (error) => process.emitWarning(error),
      ended: () => {},
    });
  }

  /** Whoever can stop the agent's child before it has executed its program holds up the agent too. */
  #giveUp(): void {
    const message = `${this.#argv[0]} did not start within ${startPatience / 1000} s`;
    this.#settle(() =>
      this.process.fail(new TscontainError('ERR_START_TIMEOUT', message, { hint: 'a file system may not answer' })),
    );
    this.#agent?.close();
  }

  /** The agent has ended. What it had to say of its program has been heard by now. */
  #lost(): void {
    this.#supervisor?.close();
    this.#settle(() => {
      if (this.#ended) this.#listener.exited(killed);
      else {
        const message = `the process that started ${this.#argv[0]} has ended, and the program with it`;
        this.process.fail(new TscontainError('ERR_AGENT_GONE', message, { hint: 'it was killed from outside' }));
      }
    });
  }

  #settle(how: () => void): void {
    if (this.#settled) return;
    this.#settled = true;
    how();
  }

  /** What was needed to start it. */
  #release(): void {
    const { join, cgroup } = this.#settings;
    const mine = [...join.values(), cgroup.unified, ...cgroup.tasks, this.#supervisor?.peer];
    for (const descriptor of [...mine, ...this.process.streams.descriptors]) if (descriptor?.open) descriptor.close();
  }
}

/** Where a terminal is made: the program's /dev, or what stands for it there. */
const terminals: Step = { kind: 'open', to: 'devpts', from: null, path: '/dev', flags: openFlag.PATH, resolve: 0 };

/**
 * The kernel clones into a v2 cgroup only. Where controllers are on v1 the program's own process goes there before all else:
 * the agent stays outside, where it is not counted, and does not keep the cgroup from being removed.
 */
function joinCgroups(tasks: readonly Descriptor[], first: number): Step[] {
  return tasks.map((_, index) => ({ kind: 'joinCgroup', tasks: String(first + index) }));
}

function asOurs(error: unknown): TscontainError {
  if (error instanceof TscontainError) return error;
  return new TscontainError('ERR_START', 'the program could not be started', { cause: error });
}
