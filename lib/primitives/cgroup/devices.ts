/** The device rules of one cgroup. */

import { readList } from '../../container/settings/schema.js';
import { addon, type Descriptor } from '../../launcher/native.js';
import { type CheckedDeviceRule, compileDeviceRules, type DeviceRule, readDeviceRule } from './device-program.js';
import { cgroupFailure } from './failure.js';
import type { Placement } from './placement.js';

/** A rule takes at most nine instructions; far below the kernel's limit of 4096 for a program. */
const mostRules = 256;

/**
 * What a program may do without being more than one that has no devices of the host: `null`, `zero`, `full`, `random`,
 * `urandom`, `tty`, and the terminals of its own devpts.
 */
export const standardDevices: readonly DeviceRule[] = Object.freeze([
  ...[3, 5, 7, 8, 9].map((minor) => ({ type: 'char', major: 1, minor, access: 'rw' }) as const),
  { type: 'char', major: 5, minor: 0, access: 'rw' },
  { type: 'char', major: 5, minor: 2, access: 'rw' },
  { type: 'char', major: 136, access: 'rw' },
] as const);

/**
 * Which devices the processes of a cgroup may use, by an eBPF program on its v2 directory; the host may have its
 * controllers on v1. What is not allowed is EPERM. A cgroup without rules has only those of the cgroups above, which hold
 * in any case. The program stays with the cgroup until that is removed, also when this object is gone.
 */
export class DeviceController {
  readonly #placement: Placement;
  #rules: readonly CheckedDeviceRule[] | undefined;
  #program: Descriptor | undefined;

  /** @internal */
  constructor(placement: Placement) {
    this.#placement = placement;
  }

  /** The rules that were set by this object, undefined when it has set none: the kernel keeps instructions, not rules. */
  get(): readonly DeviceRule[] | undefined {
    return this.#rules;
  }

  /** Allows these and nothing else, at once. Rules that another object has set hold too. */
  async set(rules: readonly DeviceRule[]): Promise<void> {
    const checked = DeviceController.check(rules, 'devices');
    const directory = this.#placement.needUnified('set device rules of');
    await directory.use(async () => {
      let program: Descriptor;
      try {
        program = addon().attachDeviceProgram(directory.descriptor, compileDeviceRules(checked), this.#program);
      } catch (cause) {
        throw cgroupFailure('bpf', directory.path, cause);
      }
      this.#program?.close();
      this.#program = program;
      this.#rules = checked;
    });
  }

  /** Takes the rules of this object off. */
  async clear(): Promise<void> {
    const program = this.#program;
    if (!program) return;
    const directory = this.#placement.needUnified('clear device rules of');
    try {
      addon().detachDeviceProgram(directory.descriptor, program);
    } catch (cause) {
      throw cgroupFailure('bpf', directory.path, cause);
    }
    this.release();
  }

  /** @internal */
  static check(rules: unknown, option: string): readonly CheckedDeviceRule[] {
    const list = readList(rules, option, 'an array of device rules', mostRules);
    return Object.freeze(list.map((rule, index) => Object.freeze(readDeviceRule(rule, `${option}[${index}]`))));
  }

  /** @internal Forgets the program, which stays attached. */
  release(): void {
    this.#program?.close();
    this.#program = undefined;
    this.#rules = undefined;
  }
}
