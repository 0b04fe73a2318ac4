/** What a test needs of the host. One that lacks it is skipped, and says why. */

import type { TestContext } from 'vitest';
import { cgroupLayout } from '../../lib/primitives/cgroup/index.js';

/** Skip unless run as root. */
export function needsRoot(context: TestContext): void {
  context.skip(process.geteuid?.() !== 0, 'needs root');
}

/** Skip unless the controller can be used on this host. */
export function needsController(context: TestContext, controller: 'cpu' | 'cpuset' | 'io' | 'memory' | 'pids'): void {
  const availability = cgroupLayout().availability[controller];
  context.skip(
    !availability.usable,
    availability.usable ? undefined : `no ${controller} controller: ${availability.reason}`,
  );
}
