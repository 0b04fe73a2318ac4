/** Listeners on a stream that is not ours: this process's own, or a caller's. They are taken off again, each one. */

import type { EventEmitter } from 'node:events';

/**
 * Adds listeners, and returns what removes them. There may be as many at once as there are programs that share the
 * stream, so the number that Node takes for a leak is raised meanwhile.
 */
export function listen(stream: EventEmitter, listeners: Readonly<Record<string, (error: Error) => void>>): () => void {
  changeLimit(stream, 1);
  for (const [event, listener] of Object.entries(listeners)) stream.on(event, listener);
  let on = true;
  return () => {
    if (!on) return;
    on = false;
    for (const [event, listener] of Object.entries(listeners)) stream.off(event, listener);
    changeLimit(stream, -1);
  };
}

/** 0 is no limit, and stays. */
function changeLimit(stream: EventEmitter, by: number): void {
  const limit = stream.getMaxListeners();
  if (limit + by > 0 && limit !== 0) stream.setMaxListeners(limit + by);
}
