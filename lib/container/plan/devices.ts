/** /dev: a tmpfs of ours with a fixed set of nodes, read-only at the end; terminals, shared memory and queues of its own. */

import { mountAttribute, openFlag, propagationPrivate, resolveFlag, type Step } from '../../plan/step.js';
import { attach, deviceNode, kernelOnly, newFileSystem, tmpfs } from '../../primitives/mount/steps.js';
import type { IdMode } from './compile.js';

const { NOSUID, NOEXEC, RDONLY, STRICTATIME } = mountAttribute;
const S_IFCHR = 0o020000;

/** Exactly the nodes of the OCI runtime specification, by number (Documentation/admin-guide/devices.txt). */
const nodes = [
  ['null', 1, 3],
  ['zero', 1, 5],
  ['full', 1, 7],
  ['random', 1, 8],
  ['urandom', 1, 9],
  ['tty', 5, 0],
] as const;

const links = [
  ['ptmx', 'pts/ptmx'],
  ['fd', '/proc/self/fd'],
  ['stdin', '/proc/self/fd/0'],
  ['stdout', '/proc/self/fd/1'],
  ['stderr', '/proc/self/fd/2'],
] as const;

const shmSize = 64 * 2 ** 20;
const maxTerminals = 64;

/** The host's nodes, each verified on the descriptor that will be mounted (security A1). */
export const deviceNodes: readonly Step[] = Object.freeze(
  nodes.flatMap(([name, major, minor]) => deviceNode(`/dev/${name}`, `/dev/${name}`, { type: S_IFCHR, major, minor })),
);

const make = (ids: IdMode): readonly Step[] =>
  Object.freeze<Step[]>([
    ...tmpfs('dev', { size: 65536, inodes: 64, mode: 0o755, attributes: NOSUID | NOEXEC | STRICTATIME }),
    attach('dev', 'stage', 'dev'),
    ...nodes.map(([name]) => attach(`/dev/${name}`, 'dev', name, false)),
    ...links.map(([path, target]): Step => ({ kind: 'symlink', under: 'dev', path, target, keep: false })),
    ...['pts', 'shm', 'mqueue'].map((path): Step => ({ kind: 'makeDirectory', under: 'dev', path, mode: 0o755 })),
    // The nodes are the host's own: written through, but not touched, so that not even their times can be changed.
    {
      kind: 'mountSetattr',
      on: 'dev',
      path: '',
      recursive: true,
      set: RDONLY | NOSUID | NOEXEC,
      clear: 0,
      propagation: propagationPrivate,
    },
    ...newFileSystem('devpts', 'devpts', NOSUID | NOEXEC, [
      ['newinstance'],
      ['ptmxmode', '0666'],
      ['mode', '0620'],
      // With a single id there is no group 5 (tty) to give terminals to.
      ...(ids !== 'single' ? [['gid', '5'] as const] : []),
      ['max', String(maxTerminals)],
    ]),
    attach('devpts', 'dev', 'pts'),
    ...tmpfs('shm', { size: shmSize, inodes: 16384, mode: 0o1777, attributes: kernelOnly }),
    attach('shm', 'dev', 'shm'),
    ...newFileSystem('mqueue', 'mqueue', kernelOnly),
    attach('mqueue', 'dev', 'mqueue'),
    // A descriptor of our own null device: masks and standard streams come from it, never from a path (A1).
    {
      kind: 'open',
      to: 'null',
      from: 'dev',
      path: 'null',
      flags: openFlag.RDWR,
      resolve: resolveFlag.BENEATH | resolveFlag.NO_SYMLINKS | resolveFlag.NO_MAGICLINKS,
    },
  ]);

export const devices: Readonly<Record<IdMode, readonly Step[]>> = {
  range: make('range'),
  subordinate: make('subordinate'),
  single: make('single'),
};
