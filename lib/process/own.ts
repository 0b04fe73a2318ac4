/** Who programs run as, and what they may, when nothing is said: as an agent is, in the namespaces that it has got into. */

import { readFileSync } from 'node:fs';
import type { ProcessIdentity } from '../container/plan/process.js';
import type { UserSpec } from '../container/settings/user.js';
import { namedUser, numericUser } from '../container/users.js';
import { TscontainError } from '../errors.js';
import { isRoot } from '../host/configuration.js';
import { Capabilities, type Capability } from '../primitives/capabilities.js';
import { IdMap } from '../primitives/id-map.js';

/** What an agent can give its programs. */
export interface Powers {
  readonly identity: ProcessIdentity;
  /** Whether setgroups(2) may be called. */
  readonly setGroups: boolean;
  /** The bounding set. */
  readonly capabilities: Capabilities;
}

/**
 * @param pid of the agent
 * @param mapped whether it is in another user namespace than this process
 */
export function powersOf(pid: number, mapped: boolean, user: UserSpec | undefined): Powers {
  const status = readProcessFile(pid, 'status');
  const [, bounding = '0'] = /^CapBnd:\t([0-9a-f]{1,16})$/m.exec(status) ?? [];
  const setGroups = (mapped || isRoot()) && readProcessFile(pid, 'setgroups').trim() === 'allow';
  return {
    identity: user ? identityOf(user) : mapped ? firstIdentity(pid) : ownIdentity(),
    setGroups,
    capabilities: fromMask(BigInt(`0x${bounding}`)),
  };
}

function readProcessFile(pid: number, file: string): string {
  const path = `/proc/${pid}/${file}`;
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new TscontainError('ERR_AGENT_GONE', `${path} cannot be read: the process that starts programs has ended`, {
      path,
      cause,
    });
  }
}

function identityOf(user: UserSpec): ProcessIdentity {
  if (user.kind === 'ids') return numericUser(user);
  const read = (path: string) => readFileSync(path, 'utf8');
  return namedUser(user, { passwd: read('/etc/passwd'), group: read('/etc/group') }, 'host');
}

/** Root where there is one. */
function firstIdentity(pid: number): ProcessIdentity {
  const maps = IdMap.ofProcess(pid);
  const gid = maps.gid.ranges[0]?.inside ?? 0;
  return { uid: maps.uid.ranges[0]?.inside ?? 0, gid, groups: [gid] };
}

function ownIdentity(): ProcessIdentity {
  const gid = process.getegid?.() ?? 0;
  return { uid: process.geteuid?.() ?? 0, gid, groups: process.getgroups?.() ?? [gid] };
}

/** What the kernel has and this library does not know yet is left out. */
function fromMask(mask: bigint): Capabilities {
  const known = Capabilities.all.toArray().filter((_: Capability, bit: number) => (mask >> BigInt(bit)) & 1n);
  return Capabilities.of(...known);
}
