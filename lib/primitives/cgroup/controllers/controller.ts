/**
 * What the controllers have in common. A controller is described by data and pure functions: which keys it has and how
 * they are checked, what they become in the files of cgroup v2 and of v1, how the files are read back. `Container` uses
 * the functions through `limits.ts` and `stats.ts`, `CgroupV2` through the object that `cgroup.memory` and its like are.
 */

import type { Controller } from '../layout.js';

/** One value for one file. */
export interface FileValue {
  readonly controller: Controller;
  readonly file: string;
  readonly value: string;
  /** Kernels may be built without this file; that it does not exist is then no failure. */
  readonly optional?: boolean;
}

/** What the files of one controller say, by name. */
export type FileTexts = ReadonlyMap<string, string>;

/** What is to be known of the cgroup for writing to v1, which wants more than one value at a time. */
export interface WriteContext {
  /** Whether there were values before: v1 then wants some of them to go out of the way. */
  readonly update: boolean;
  /** What an empty v1 cpuset is filled with. */
  readonly cpuset?: { readonly cpus: string; readonly mems: string } | undefined;
}

/** A controller as data; `Settings` is what a caller writes, `Values` the same checked, in bytes, ms and numbers. */
export interface ControllerKind<Settings extends object, Values extends object> {
  readonly name: Controller;
  /** The checked values. @throws OptionError naming the key */
  parse(settings: Settings, option: string): Values;
  /** Files and values, in the order of writing. Keys of `missing` are not among the values for v1. */
  writes(values: Values, version: 1 | 2, context: WriteContext): FileValue[];
  /** Keys that only cgroup v2 has. */
  readonly onlyUnified: readonly (keyof Values & string)[];
  /** The files that `read` wants. */
  files(version: 1 | 2, present: readonly string[]): readonly string[];
  /** What the files say. A key is absent where this kernel has no such file. */
  read(texts: FileTexts, version: 1 | 2): Values;
}

/** Collects writes for one controller. */
export class Writes {
  readonly list: FileValue[] = [];
  readonly #controller: Controller;

  constructor(controller: Controller) {
    this.#controller = controller;
  }

  /** Adds a write unless the value is undefined. */
  add(file: string, value: string | number | undefined, optional = false): void {
    if (value === undefined) return;
    this.list.push({ controller: this.#controller, file, value: `${value}`, ...(optional && { optional }) });
  }
}
