/** What is known when a program has ended. */

import { constants } from 'node:os';
import { ExitError } from '../errors.js';

/**
 * Why a program ended. `'exited'`: by itself, whatever the code. `'signaled'`: by a signal that was not one of ours.
 * `'timeout'`, `'aborted'`, `'output-limit'`: its own options ended it. `'oom'`: the memory limit was used up.
 * `'stopped'`: the container was stopped, killed or disposed of.
 */
export type ExitReason = 'exited' | 'signaled' | 'timeout' | 'aborted' | 'oom' | 'output-limit' | 'stopped';

/** What a program, or a container, has used. */
export interface Usage {
  /** Processor time in milliseconds: user and system together, and each. */
  readonly cpuMs: number;
  readonly cpuUserMs: number;
  readonly cpuSystemMs: number;
  /**
   * Bytes of memory at most. For `Container.run`, of the whole container, tmpfs included; for `exec`, resident memory of the
   * largest single process.
   */
  readonly memoryPeak: number;
  /** Processes and threads at most; only for `Container.run`, and 0 where the kernel does not count them. */
  readonly pidsPeak: number;
  /** Bytes read from and written to block devices. */
  readonly ioReadBytes: number;
  readonly ioWriteBytes: number;
}

export interface Result<Output extends string | Buffer = string> {
  /** The exit code, or undefined if a signal ended it. */
  readonly exitCode: number | undefined;
  /** The signal that ended it, such as `'SIGKILL'`. */
  readonly signal: NodeJS.Signals | undefined;
  readonly reason: ExitReason;
  /** What it wrote, if buffered, else empty. With a terminal, everything is in stdout. */
  readonly stdout: Output;
  readonly stderr: Output;
  /** True where bytes in the middle of stdout or stderr were dropped to keep within `maxBuffer`. */
  readonly truncated: boolean;
  /** From the request until the end, in milliseconds. */
  readonly durationMs: number;
  readonly usage: Usage;
}

const signalNames = new Map<number, NodeJS.Signals>();
for (const [name, number] of Object.entries(constants.signals)) {
  if (!signalNames.has(number)) signalNames.set(number, name as NodeJS.Signals);
}

/** The exit code or the signal in a wait status (wait(2)). */
export function decodeStatus(status: number): { exitCode: number | undefined; signal: NodeJS.Signals | undefined } {
  const number = status & 0x7f;
  if (number === 0) return { exitCode: (status >> 8) & 0xff, signal: undefined };
  return { exitCode: undefined, signal: signalNames.get(number) ?? (`SIG${number}` as NodeJS.Signals) };
}

/** The error of `check: true`. */
export function exitError(
  argv: readonly string[],
  result: Result<string | Buffer>,
): ExitError<Result<string | Buffer>> {
  const how = {
    exited: `exited with code ${result.exitCode}`,
    signaled: `was ended by ${result.signal}`,
    timeout: 'ran out of time',
    aborted: 'was aborted',
    oom: 'ran out of memory',
    'output-limit': 'wrote more than maxOutput',
    stopped: 'was stopped',
  }[result.reason];
  const last = result.stderr.toString().trim().split('\n').at(-1);
  return new ExitError(`${argv[0]} ${how}${last ? `: ${last.slice(0, 200)}` : ''}`, result);
}
