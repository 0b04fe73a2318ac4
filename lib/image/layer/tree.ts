/** Where a tree of files is, and who walks it; and pipes to and from the steps that do. */

import { Agent, type RunOptions } from '../../launcher/agent.js';
import { addon, type Descriptor } from '../../launcher/native.js';
import { openFlag, type Slot, type Step } from '../../plan/step.js';

/**
 * Whoever runs steps on a tree: an {@link Agent}, or something that has a container's init run them. The steps must have been
 * sent, and the descriptors with them, when `run` returns its promise.
 */
export interface StepRunner {
  run(steps: readonly Step[], options: RunOptions): Promise<Descriptor[]>;
}

/** Directories in slots. A runner takes eight descriptors at most, and three of them are for pipes. */
export interface TreePlace {
  /** Default: an agent of this process's user, for this once. */
  readonly by?: StepRunner;
  /** Slots `'0'`, `'1'`…; they stay the caller's. */
  readonly descriptors?: readonly Descriptor[];
  /** What puts directories into other slots. */
  readonly steps?: readonly Step[];
}

/** A step that opens a directory of the runner's mount namespace, whose path the caller trusts. */
export function openDirectory(to: Slot, path: string): Step {
  return { kind: 'open', to, from: null, path, flags: openFlag.PATH | openFlag.DIRECTORY, resolve: 0 };
}

/** Runs `use` with the runner of a place, or with one of its own that ends after it. */
export async function* withRunner<Part>(
  place: TreePlace,
  use: (by: StepRunner) => AsyncGenerator<Part, void, undefined>,
): AsyncGenerator<Part, void, undefined> {
  if (place.by) return yield* use(place.by);
  await using agent = await Agent.start();
  yield* use(agent);
}

/** What comes out of a pipe, as fast as it is taken and no faster. The descriptor is closed at the end. */
export async function* readPipe(descriptor: Descriptor, signal?: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  let wake: () => void = () => {};
  const stream = new (addon().Stream)(
    descriptor,
    () => wake(),
    () => {},
  );
  const onAbort = () => wake();
  signal?.addEventListener('abort', onAbort);
  try {
    stream.ref(true);
    while (!signal?.aborted) {
      const chunk = stream.read();
      if (chunk === null) return;
      if (chunk) {
        yield chunk;
        continue;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
        stream.watch(true, false);
      });
      stream.watch(false, false);
    }
  } finally {
    signal?.removeEventListener('abort', onAbort);
    stream.close();
  }
}

/** Writes all parts into a pipe, waiting for its reader, and closes it. A reader that is gone is no error. */
export async function writePipe(descriptor: Descriptor, parts: Iterable<Uint8Array>): Promise<void> {
  let wake: () => void = () => {};
  const stream = new (addon().Stream)(
    descriptor,
    () => wake(),
    () => wake(),
  );
  try {
    for (const part of parts) {
      for (let offset = 0; offset < part.length; ) {
        const wrote = stream.write(part, offset);
        if (wrote < 0) return;
        offset += wrote;
        if (wrote > 0) continue;
        await new Promise<void>((resolve) => {
          wake = resolve;
          stream.watch(false, true);
        });
        stream.watch(false, false);
      }
    }
  } finally {
    stream.close();
  }
}

/** The numbers of the last report in a pipe: 64 bits each, as the native side has counted them. */
export async function lastReport(
  descriptor: Descriptor,
  count: number,
  signal?: AbortSignal,
): Promise<readonly number[]> {
  const size = count * 8;
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of readPipe(descriptor, signal)) {
    rest = Buffer.concat([rest, chunk]);
    const whole = rest.length - (rest.length % size);
    // Reports come one after another; one that is not whole yet is kept behind the last that is.
    if (whole > size) rest = rest.subarray(whole - size);
  }
  return Array.from({ length: count }, (_, i) => (rest.length >= size ? Number(rest.readBigUInt64LE(i * 8)) : 0));
}
