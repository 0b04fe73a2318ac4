/** The controllers of one cgroup as objects: `get` what is set, `set` some of it. */

import { TscontainError, UnsupportedError } from '../../../errors.js';
import { parseSize, type Size } from '../../../units.js';
import type { CgroupDirectory } from '../directory.js';
import { errnoOf } from '../failure.js';
import type { Placement } from '../placement.js';
import type { ControllerKind, WriteContext } from './controller.js';
import { type MemorySettings, type MemoryValues, memory } from './memory.js';

/**
 * One controller of a cgroup. `Settings` takes sizes and durations as text too; `Values` are bytes, milliseconds and
 * numbers. What `get` returns, `set` takes.
 */
export class CgroupController<Settings extends object, Values extends object = Settings> {
  protected readonly placement: Placement;
  readonly #kind: ControllerKind<Settings, Values>;

  /** @internal */
  constructor(placement: Placement, kind: ControllerKind<Settings, Values>) {
    this.placement = placement;
    this.#kind = kind;
  }

  /** The controller's name as cgroup v2 has it. */
  get name(): string {
    return this.#kind.name;
  }

  /**
   * What is set now. A key is absent where this kernel has no such file.
   * @throws UnsupportedError where the controller is not in this cgroup
   */
  async get(): Promise<Values> {
    const directory = this.placement.of(this.#kind.name);
    const present = await directory.list('files');
    const files = this.#kind.files(directory.version, present).filter((file) => present.includes(file));
    const texts = new Map<string, string>();
    for (const file of files) {
      const text = await directory.read(file);
      if (text !== undefined) texts.set(file, text);
    }
    return this.#kind.read(texts, directory.version);
  }

  /**
   * Writes what is given, file by file, and leaves the rest as it is. All is checked before anything is written.
   * @throws OptionError for a wrong value
   * @throws UnsupportedError where this host has no such controller, file or, on cgroup v1, key
   * @throws TscontainError with file, value and the kernel's reason when it refuses
   */
  async set(settings: Settings): Promise<void> {
    await this.apply(this.check(settings), true);
  }

  /** @internal Checks without writing. */
  check(settings: Settings, option: string = this.#kind.name): Values {
    const values = this.#kind.parse(settings, option);
    const directory = this.placement.of(this.#kind.name);
    const missing =
      directory.version === 1 ? this.#kind.onlyUnified.find((key) => values[key] !== undefined) : undefined;
    if (missing !== undefined) throw onlyUnified(option, missing, directory);
    return values;
  }

  /** @internal Writes checked values. */
  async apply(values: Values, update: boolean): Promise<void> {
    const { name, writes } = this.#kind;
    const directory = this.placement.of(name);
    const { cpuset } = this.placement.layout.of(name) ?? {};
    const context: WriteContext = { update, cpuset };
    const list = writes(await this.complete(values, directory), directory.version, context);
    if (list.length > 0) await this.placement.enable(name);
    for (const { file, value, optional } of list) {
      try {
        await directory.write(file, value);
      } catch (error) {
        if (!optional || errnoOf(error) !== 'ENOENT') throw error;
      }
    }
  }

  /** Adds what v1 wants to be written together. */
  protected async complete(values: Values, _directory: CgroupDirectory): Promise<Values> {
    return values;
  }
}

/** The error for a key that cgroup v1 has no file for. */
function onlyUnified(option: string, key: string, directory: CgroupDirectory): UnsupportedError {
  return new UnsupportedError(
    `cannot set ${option}.${key}: the controller is bound to cgroup v1, which has nothing like it`,
    {
      path: directory.path,
      hint: 'boot with cgroup_no_v1=all, or systemd.unified_cgroup_hierarchy=1',
    },
  );
}

/** The memory controller, which can also do something. */
export class MemoryController extends CgroupController<MemorySettings, MemoryValues> {
  /** @internal */
  constructor(placement: Placement) {
    super(placement, memory);
  }

  /**
   * Has the kernel reclaim memory now (memory.reclaim, Linux 5.19, v2).
   * @returns whether it could reclaim all of it
   */
  async reclaim(size: Size): Promise<boolean> {
    const bytes = parseSize(size, 'size', { min: 1 });
    const directory = this.placement.of('memory');
    if (directory.version === 1) {
      throw new UnsupportedError(`cannot reclaim memory of ${directory.path}: cgroup v1 has no memory.reclaim`, {
        path: directory.path,
        hint: 'lower memory.max for a while',
      });
    }
    try {
      await directory.write('memory.reclaim', `${bytes}`);
      return true;
    } catch (error) {
      if (errnoOf(error) === 'EAGAIN') return false;
      throw error;
    }
  }

  /**
   * From now on `stats().memory.peak` is the most since now: for this object on v2 (Linux 6.12), for everyone on v1.
   */
  async resetPeak(): Promise<void> {
    const directory = this.placement.of('memory');
    if (directory.version === 1) return directory.write('memory.max_usage_in_bytes', '0');
    try {
      await directory.writeHeld('memory.peak', 'reset');
    } catch (error) {
      if (!['EBADF', 'EINVAL', 'EACCES'].includes(errnoOf(error) ?? '')) throw error;
      throw new UnsupportedError(`cannot reset ${directory.path}/memory.peak: this kernel has it for reading only`, {
        hint: 'Linux 6.12 lets it be reset',
      });
    }
  }

  /** v1 has one limit for memory and swap together: the one that is not given stays what it is. */
  protected override async complete(values: MemoryValues, directory: CgroupDirectory): Promise<MemoryValues> {
    if (directory.version === 2 || (values.max === undefined && values.swapMax === undefined)) return values;
    const now = await this.get();
    const max = values.max ?? now.max ?? 'max';
    const swapMax = values.swapMax ?? now.swapMax;
    if (values.swapMax !== undefined && values.swapMax !== 'max' && max === 'max') {
      throw new TscontainError(
        'ERR_CGROUP',
        `cannot set memory.swapMax of ${directory.path} without memory.max: cgroup v1 limits both as one sum`,
        {
          path: directory.path,
          hint: 'set memory.max too',
        },
      );
    }
    return { ...values, max, ...(swapMax !== undefined && { swapMax }) };
  }
}
