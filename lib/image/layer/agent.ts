/**
 * The agent that unpacks a layer, and what it has of the host: the layer's directory, through a mount that shows it with the
 * archive's ids, and the layers below. Several of these are seen as one, an overlay of the agent's own: it costs one mount
 * however many there are, and the directory that they are all in is closed before the first byte of an archive comes.
 */

import { dirname, relative } from 'node:path';
import { lowerView } from '../../container/plan/overlay.js';
import { TscontainError, UnsupportedError } from '../../errors.js';
import { isRoot } from '../../host/configuration.js';
import { Agent } from '../../launcher/agent.js';
import type { Descriptor } from '../../launcher/native.js';
import { openFlag, type Slot, type Step } from '../../plan/step.js';
import { attach, hostTree } from '../../primitives/mount/steps.js';

/** What a layer is unpacked with. */
export interface UnpackPlan {
  readonly agent: Agent;
  /** Steps that come first in the request. */
  readonly steps: readonly Step[];
  /** Slots, in the request, of the layer's directory and of the layers below, topmost first. */
  readonly directory: Slot;
  readonly below: readonly Slot[];
  /** What the request brings for slots `2` and on; closed with the agent. */
  readonly descriptors: readonly Descriptor[];
}

/**
 * The caller closes the agent, and the descriptors.
 * @throws UnsupportedError for a directory whose file system cannot shift ids, or more layers than can be shown
 */
export async function startAgent(directory: string, parents: readonly string[]): Promise<UnpackPlan> {
  if (parents.length < 2) return await separate([directory, ...parents]);
  try {
    return await merged(directory, parents);
  } catch (error) {
    // Where no overlay can be mounted containers have another driver, and layers are needed all the same.
    if (!(error instanceof TscontainError) || !error.step || error.step.kind === 'mountSetattr') throw error;
    if (parents.length > mostMounts) throw tooMany(parents.length, error);
    return await separate([directory, ...parents]);
  }
}

/** A mount for each. */
async function separate(paths: readonly string[]): Promise<UnpackPlan> {
  const [directory = layer(0), ...below] = paths.map((_, index) => layer(index));
  return { agent: await start(paths), steps: opening(paths), directory, below, descriptors: [] };
}

async function merged(path: string, parents: readonly string[]): Promise<UnpackPlan> {
  const common = commonDirectory(parents);
  const names = parents.map((parent) => relative(common, parent));
  const paths = [path, common];
  const agent = await start(paths);
  const steps: Step[] = [
    ...opening(paths),
    // An overlay takes mounts of this namespace only (clone_private_mount). Over the root of all it is in nobody's way.
    ...(isRoot() ? [attach(layer(1), null, '/')] : []),
    ...lowerView('mount below', layer(1), { under: layer(1), names }),
    // From here on nothing that the agent has leads to other layers.
    ...(isRoot() ? [{ kind: 'detach', mount: layer(1) } as const] : []),
    { kind: 'fchdir', to: layer(0) },
  ];
  try {
    const descriptors = await agent.run(steps, { take: [layer(0), 'mount below'], doing: 'unpacking' });
    return { agent, steps: [], directory: '2', below: ['3'], descriptors };
  } catch (error) {
    await agent.close();
    throw error;
  }
}

/** As root the launcher opens the directories, and shows them with the agent's ids. */
async function start(paths: readonly string[]): Promise<Agent> {
  const host = isRoot()
    ? paths.flatMap((path, index) => hostTree(layer(index), { path, readOnly: index > 0, idmap: true, ...plainMount }))
    : [];
  try {
    return await Agent.start({ create: ['user', 'mnt', 'pid', 'net', 'ipc'], ids: 'container', host });
  } catch (error) {
    throw unshifted(error, paths) ?? error;
  }
}

/** An ordinary user's agent has that user's ids, and opens them itself. */
function opening(paths: readonly string[]): Step[] {
  if (isRoot()) return [];
  const flags = openFlag.PATH | openFlag.DIRECTORY | openFlag.NOFOLLOW;
  return paths.map((path, index) => ({ kind: 'open', to: layer(index), from: null, path, flags, resolve: 0 }));
}

/** Each mount takes about a millisecond when it ends. */
const mostMounts = 127;
const plainMount = { recursive: false, exec: false } as const;
const layer = (index: number): Slot => `layer ${index}`;

function commonDirectory(paths: readonly string[]): string {
  let common = dirname(paths[0] ?? '/');
  for (const path of paths)
    while (!`${path}/`.startsWith(common === '/' ? '/' : `${common}/`)) common = dirname(common);
  return common;
}

/** mount_setattr(2), MOUNT_ATTR_IDMAP: EINVAL, and nothing more, is what a file system says that has no such mounts. */
function unshifted(error: unknown, paths: readonly string[]): UnsupportedError | undefined {
  if (!(error instanceof TscontainError) || error.step?.kind !== 'mountSetattr') return undefined;
  const { errno, syscall, step } = error;
  if (errno !== 'EINVAL' && errno !== 'ENOSYS') return undefined;
  const path = paths[step.index / 2 - 1]; // two steps for each
  return new UnsupportedError(`unpacking: '${path}' cannot be mounted with other ids: ${syscall} gave ${errno}`, {
    ...{ path, errno, syscall, step, cause: error },
    hint: 'its file system has no idmapped mounts: keep images on ext4 or xfs (Linux 5.12), btrfs (5.15) or tmpfs (6.3)',
  });
}

function tooMany(layers: number, cause: TscontainError): UnsupportedError {
  return new UnsupportedError(`unpacking: a layer above ${layers} others takes an overlay of those: ${cause.message}`, {
    ...{ path: cause.path, errno: cause.errno, syscall: cause.syscall, cause },
    hint: `before Linux 6.8, or without overlays, at most ${mostMounts + 1} layers are unpacked`,
  });
}
