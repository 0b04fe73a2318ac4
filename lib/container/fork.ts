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
import { IdMap } from '../primitives/id-map.js';
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
  const written = viewUpper(source.instance);
  const starting = copy.created.then(() => startCopier(source.instance, copy));
  try {
    // Asked of the source before it stands still; and the launcher has been asked for the copier, before it stops it.
    await Promise.all([written, copy.created]);
    const fill = async () => {
      const [agent, from, to] = await Promise.all([starting, written, copy.lent]);
      await agent.run([copyTreeStep(['0'], '1', { keepMarks: true, shift: shiftOf(copy) })], {
        descriptors: [from, to],
        doing: 'copying what the container has written',
      });
      copy.giveBack();
    };
    await (pause ? whilePaused(source, fill) : fill());
  } finally {
    await Promise.all([letGo(written), letGo(copy.lent), starting.then((agent) => agent.close()).catch(() => {})]);
  }
}

function startCopier({ firstId: source = 0 }: Instance, copy: Instance): Promise<Agent> {
  const { firstId: target = 0 } = copy;
  if (shiftOf(copy) === 0) return Agent.start({ create: ['user'], ids: 'single' });
  const map = IdMap.of(
    { inside: 0, outside: target, count: rangeSize },
    { inside: rangeSize, outside: source, count: rangeSize },
  );
  return Agent.start({ create: ['user'], ids: { uid: map, gid: map } });
}

/** Containers of an ordinary user have the same one id. */
function shiftOf({ blueprint }: Instance): number {
  return blueprint.ids === 'range' ? rangeSize : 0;
}

async function letGo(taken: Promise<Descriptor>): Promise<void> {
  const descriptor = await taken.catch(() => undefined);
  if (descriptor?.open) descriptor.close();
}
