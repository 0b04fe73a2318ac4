/**
 * A cgroup of its own for each program of a container that lives on, so that all that it starts can be ended at once. The
 * next one is always made ahead, so that a start does not wait for it.
 */

import type { Launcher } from '../launcher/launcher.js';
import type { Descriptor } from '../launcher/native.js';
import { type CgroupLayout, cgroupLayout } from '../primitives/cgroup/index.js';

/** A cgroup that one program is started in. */
export interface ExecGroup {
  readonly number: number;
  readonly descriptor: Descriptor;
}

export class ExecGroups {
  readonly #launcher: Launcher;
  readonly #container: number;
  readonly #unified: number;
  #next: Promise<ExecGroup | undefined> | undefined;
  #closed = false;

  /** @param container the launcher's number of the container */
  constructor(launcher: Launcher, container: number, layout: CgroupLayout = cgroupLayout()) {
    this.#launcher = launcher;
    this.#container = container;
    this.#unified = layout.hierarchies.findIndex(({ version, writable }) => version === 2 && writable);
  }

  /** Has the next one made. Without a cgroup v2 tree there are none, and programs share the container's cgroups. */
  prepare(): void {
    if (this.#unified < 0 || this.#closed) return;
    this.#next = this.#launcher.group(this.#container).then((reply) => {
      if (!reply?.descriptor) return undefined;
      if (!this.#closed) return { number: reply.value, descriptor: reply.descriptor };
      reply.descriptor.close();
      return undefined;
    });
  }

  /** Whether there is one to take, now or soon. */
  get available(): boolean {
    return this.#next !== undefined;
  }

  take(): Promise<ExecGroup | undefined> {
    const group = this.#next ?? Promise.resolve(undefined);
    this.prepare();
    return group;
  }

  /** cgroup.kill: ends everything in it, also what a program has detached. */
  kill(group: ExecGroup): void {
    this.#launcher.write(this.#container, this.#unified, `x${group.number}/cgroup.kill`, '1');
  }

  /** The program has ended. */
  release(group: ExecGroup): void {
    if (group.descriptor.open) group.descriptor.close();
    this.#launcher.ungroup(this.#container, group.number);
  }

  /** The container has ended. */
  close(): void {
    this.#closed = true;
    this.#next?.then((group) => group?.descriptor.open && group.descriptor.close());
  }
}
