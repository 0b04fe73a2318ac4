/**
 * A container with the files of another one. The new one is made as any other, up to where its root is put together: there
 * its init lends the directory that is going to be written to, still empty. An agent copies into it what the other container
 * has written, and only that happens while the other one stands still.
 *
 * The agent's user namespace has the ids of both containers and no others. So it reads and writes with what their roots may,
 * and nothing more; nothing of either can reach it.
 */

import { copyTreeStep } from '../image/layer/copy.js';
import { Agent } from '../launcher/agent.js';
import type { Descriptor } from '../launcher/native.js';
import type { Instance } from './instance.js';
import { type Pausable, whilePaused } from './paused.js';
import { defineSchema, readBoolean, readObject } from './settings/schema.js';
import { viewUpper } from './views.js';

/** How a container is forked. */
export interface ForkOptions {
  /** Whether everything in the container stops while what it has written is copied. Default true. */
  readonly pause?: boolean;
}

const schema = defineSchema(['pause']);

/** @throws OptionError */
export function parseForkOptions(options: ForkOptions): Required<ForkOptions> {
  return { pause: readBoolean(readObject(options, '', schema).pause, 'pause', true) };
}

/** Ids of a container that has a range. */
const rangeSize = 65536;

/** Fills what the init of `copy` lends with what `source` has written. */
export async function copyWritten(source: Pausable, copy: Instance, { pause }: Required<ForkOptions>): Promise<void> {
  const { instance } = source;
  const ranges = copy.blueprint.ids === 'range';
  const between = { from: instance.number, into: copy.number };
  const starting = Agent.start({ create: ['user'], ids: ranges ? 'both' : 'container', between });
  starting.catch(() => {});
  const written = viewUpper(instance);
  try {
    // Asked of the source before it stands still. The launcher stops it once it has made the copier, as it was asked before.
    await written;
    const fill = async () => {
      const [to, agent, from] = await Promise.all([copy.lent, starting, written]);
      const step = copyTreeStep(['0'], '1', { keepMarks: true, shift: ranges ? rangeSize : 0 });
      await agent.run([step], { descriptors: [from, to], doing: 'copying what the container has written' });
      copy.giveBack();
    };
    await (pause ? whilePaused(source, fill) : fill());
  } finally {
    for (const taken of [written, copy.lent]) void letGo(taken);
    await starting.then((agent) => agent.close()).catch(() => {});
  }
}

async function letGo(taken: Promise<Descriptor>): Promise<void> {
  const descriptor = await taken.catch(() => undefined);
  if (descriptor?.open) descriptor.close();
}
