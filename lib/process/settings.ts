/** Options of {@link spawn}, checked; what must be held until the program is started is opened here. */

import { statfsSync } from 'node:fs';
import { type ExecSettings, execKeys, readExec } from '../container/settings/exec.js';
import { readHostPath } from '../container/settings/paths.js';
import { defineSchema, readList, readObject } from '../container/settings/schema.js';
import { errnoName, OptionError, TscontainError } from '../errors.js';
import { addon, type Descriptor } from '../launcher/native.js';
import { type CgroupEntrance, CgroupV2 } from '../primitives/cgroup/index.js';
import { isNamespaceKind, type NamespaceKind, namespaceKinds } from '../primitives/namespace/kind.js';
import { Namespace } from '../primitives/namespace/namespace.js';
import { type NamespaceSettings, readNamespaceSettings } from '../primitives/namespace/settings.js';
import { expectConfinable } from './attributes/settings.js';
import { readSeccomp, type SeccompSettings } from './seccomp/settings.js';

/** Checked options of a program on the host. */
export interface SpawnSettings {
  readonly exec: ExecSettings;
  /** The whole environment. */
  readonly env: readonly (readonly [string, string])[];
  readonly namespaces: NamespaceSettings;
  /** Namespaces to enter: descriptors of our own. */
  readonly join: ReadonlyMap<NamespaceKind, Descriptor>;
  readonly seccomp: SeccompSettings | undefined;
  /** The ways into its cgroup: descriptors of our own. */
  readonly cgroup: CgroupEntrance;
}

const schema = defineSchema(
  [...execKeys, 'namespaces', 'idMap', 'timeOffsets', 'seccomp', 'cgroup'],
  new Map([['shell', "there is no shell; use ['sh', '-c', …] to ask for one"]]),
);

/**
 * The settings of a program on the host. The descriptors in them are the caller's to close.
 * @throws OptionError naming the option, UnsupportedError for confinement that this kernel does not have
 */
export function parseSpawnOptions(options: unknown): SpawnSettings {
  const { namespaces, idMap, timeOffsets, seccomp, cgroup, ...fields } = readObject(options, '', schema);
  const exec = readExec(fields, 'host');
  expectConfinable(exec.attributes);
  const { enter, create } = readNamespaces(namespaces, 'namespaces');
  const made = readNamespaceSettings(create, { idMap, timeOffsets });
  const filter = seccomp === undefined ? undefined : readSeccomp(seccomp, 'seccomp');
  const env = fields.env === undefined ? ownEnvironment() : exec.env;
  const way = cgroup === undefined ? nowhere : openCgroup(cgroup, 'cgroup');
  const entrance = made.create.includes('user') || enter.has('user') ? joined(way) : way;
  return { exec, env, namespaces: made, join: copyDescriptors(enter), seccomp: filter, cgroup: entrance };
}

function ownEnvironment(): readonly (readonly [string, string])[] {
  return Object.entries(process.env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
}

function readNamespaces(
  value: unknown,
  option: string,
): { readonly enter: ReadonlyMap<NamespaceKind, Descriptor>; readonly create: readonly NamespaceKind[] } {
  const expected = 'a Namespace, or a list of these and of kinds to get new ones of';
  if (value === undefined) return { enter: new Map(), create: [] };
  const list = value instanceof Namespace ? [value] : readList(value, option, expected, namespaceKinds.length);
  const enter = new Map<NamespaceKind, Descriptor>();
  const create: NamespaceKind[] = [];
  for (const [index, element] of list.entries()) {
    const kinds = element instanceof Namespace ? element.kinds : [element];
    for (const kind of kinds) {
      if (!isNamespaceKind(kind))
        throw new OptionError(`${option}[${index}]`, `a Namespace, or one of ${namespaceKinds.join(', ')}`, kind);
      if (enter.has(kind) || create.includes(kind)) throw new OptionError(option, 'each kind of namespace once', kind);
      if (element instanceof Namespace) enter.set(kind, element.descriptor(kind));
      else create.push(kind);
    }
  }
  if (enter.size > 0 && create.includes('user')) {
    throw new OptionError(option, 'no new user namespace beside namespaces to enter', 'user', {
      hint: "make it with Namespace.create(['user', …]), and enter that",
    });
  }
  return { enter, create };
}

/** The caller may close its own before the program is started. */
function copyDescriptors(namespaces: ReadonlyMap<NamespaceKind, Descriptor>): ReadonlyMap<NamespaceKind, Descriptor> {
  const copy = ({ number }: Descriptor) => addon().openNamespace(`/proc/self/fd/${number}`);
  return new Map([...namespaces].map(([kind, descriptor]) => [kind, copy(descriptor)]));
}

/** CGROUP2_SUPER_MAGIC. */
const cgroup2 = 0x63677270;
const cgroupSchema = defineSchema(['path']);
const nowhere: CgroupEntrance = { unified: undefined, tasks: [] };

/**
 * To be cloned into a cgroup takes the right to move processes there, which the root of another user namespace has not. But
 * a file of the cgroup's asks for the right of whoever has opened it.
 */
function joined({ unified, tasks }: CgroupEntrance): CgroupEntrance {
  if (!unified) return { unified, tasks };
  const file = `/proc/self/fd/${unified.number}/cgroup.procs`;
  try {
    // First, as by clone3: what is in any of its directories can be ended by the v2 one.
    return { unified: undefined, tasks: [opened(file, () => addon().openCgroup(file, 'write')), ...tasks] };
  } catch (error) {
    for (const descriptor of tasks) descriptor.close();
    throw error;
  } finally {
    unified.close();
  }
}

function openCgroup(value: unknown, option: string): CgroupEntrance {
  if (value instanceof CgroupV2) return value.entrance();
  if (typeof value !== 'object' || value === null) {
    throw new OptionError(option, 'a CgroupV2, or { path } of a cgroup’s directory', value);
  }
  const { path } = readObject(value, option, cgroupSchema);
  const directory = readHostPath(path, `${option}.path`);
  const unified = opened(directory, () => addon().openPath(Buffer.from(directory), true));
  if (statfsSync(`/proc/self/fd/${unified.number}`).type === cgroup2) return { unified, tasks: [] };
  unified.close();
  throw new OptionError(`${option}.path`, 'a directory of cgroup v2', directory, {
    hint: 'a CgroupV2 is joined wherever its controllers are',
  });
}

function opened(path: string, open: () => Descriptor): Descriptor {
  try {
    return open();
  } catch (cause) {
    const errno = errnoName(Number((cause as { errno?: unknown }).errno));
    throw new TscontainError('ERR_CGROUP', `the cgroup ${path} could not be opened: ${errno}`, {
      path,
      syscall: 'open',
      errno,
      hint: errno === 'ENOENT' ? 'there is none; CgroupV2.create makes one' : undefined,
      cause,
    });
  }
}
