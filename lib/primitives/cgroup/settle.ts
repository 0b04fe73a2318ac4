/** Waiting until a cgroup is in a state, told by the kernel through cgroup.events and not asked for again and again. */

import { TscontainError } from '../../errors.js';
import type { CgroupDirectory } from './directory.js';
import { errnoOf } from './failure.js';
import { tableOf } from './text.js';

/** Milliseconds between two times of what is done again and again. */
const pause = 50;

/**
 * Resolves when `key` of cgroup.events is `wanted`, or the cgroup is gone. `again` is done meanwhile, every 50 ms.
 * @throws TscontainError (`ERR_TIMEOUT`) after `timeout` milliseconds
 */
export async function settled(
  directory: CgroupDirectory,
  key: 'populated' | 'frozen',
  wanted: 0 | 1,
  timeout: number,
  again?: () => Promise<unknown>,
): Promise<void> {
  let wake: () => void = () => {};
  let woken = false;
  const watcher = directory.watch(
    'cgroup.events',
    () => {
      woken = true;
      wake();
    },
    true,
  );
  const deadline = performance.now() + timeout;
  try {
    for (;;) {
      woken = false;
      const text = await directory.read('cgroup.events').catch((error) => {
        if (errnoOf(error) === 'ENODEV') return undefined;
        throw error;
      });
      if (text === undefined || tableOf(text).get(key) === wanted) return;
      if (performance.now() >= deadline) {
        throw new TscontainError('ERR_TIMEOUT', `${directory.path} is not ${key} ${wanted} after ${timeout} ms`, {
          path: directory.path,
          hint: 'a process in an uninterruptible wait (state D, see ps) holds it up',
        });
      }
      if (woken) continue;
      await wokenOrLate(again ? Math.min(deadline, performance.now() + pause) : deadline, (resolve) => {
        wake = resolve;
      });
      if (!woken) await again?.();
    }
  } finally {
    watcher.close();
  }
}

function wokenOrLate(deadline: number, whenWoken: (resolve: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, Math.max(0, deadline - performance.now()));
    whenWoken(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
