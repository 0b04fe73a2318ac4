/** Which network namespace is meant, wherever one can be given. */

import type { Container } from '../container/container.js';
import { OptionError, TscontainError } from '../errors.js';
import { addon, type Descriptor } from '../launcher/native.js';
import { Namespace } from '../primitives/namespace/namespace.js';

/**
 * A network namespace: a {@link Namespace} that holds one, a container's, that of a process by its id, or one by its file
 * (`/run/netns/blue`).
 */
export type NetworkTarget = Namespace | Pick<Container, 'inspect'> | number | string;

/**
 * A descriptor of our own of what is meant.
 * @throws OptionError; PermissionError, TscontainError (`ERR_NAMESPACE`) where there is none
 */
export async function openNetwork(value: unknown, option: string): Promise<Descriptor> {
  if (value instanceof Namespace) {
    if (!value.kinds.includes('net')) throw new OptionError(option, 'a namespace of the kind net', value);
    return copyDescriptor(value.descriptor('net'));
  }
  if (typeof value === 'number' || typeof value === 'string') return opened(value);
  if (typeof value === 'object' && value !== null && 'inspect' in value && typeof value.inspect === 'function') {
    return ofContainer(value as Pick<Container, 'inspect'>);
  }
  throw new OptionError(option, 'a Namespace, a Container, a process id, or the path of a network namespace', value);
}

/**
 * Its init hands out its own: by a process id it might be another process's by now. Of a container that is paused, whose init
 * does nothing, it is opened by that id, which cannot have ended by itself then.
 */
async function ofContainer(container: Pick<Container, 'inspect'>): Promise<Descriptor> {
  expectRunning(container);
  try {
    if ('networkNamespace' in container) {
      return await (container as Pick<Container, 'networkNamespace'>).networkNamespace();
    }
  } catch (error) {
    if (!(error instanceof TscontainError && error.code === 'ERR_PAUSED')) throw error;
  }
  const network = opened(expectRunning(container));
  try {
    expectRunning(container);
  } catch (error) {
    network.close();
    throw error;
  }
  return network;
}

function expectRunning(container: Pick<Container, 'inspect'>): number {
  const { pid, state } = container.inspect();
  if (pid !== undefined && state === 'running') return pid;
  throw new TscontainError('ERR_CONTAINER_GONE', 'the container has ended, and its network with it');
}

function opened(from: number | string): Descriptor {
  const namespace = Namespace.open('net', from);
  try {
    return copyDescriptor(namespace.descriptor('net'));
  } finally {
    namespace.descriptor('net').close();
  }
}

/** Another descriptor of the same namespace. */
export function copyDescriptor(namespace: Descriptor): Descriptor {
  return addon().openNamespace(`/proc/self/fd/${namespace.number}`);
}
