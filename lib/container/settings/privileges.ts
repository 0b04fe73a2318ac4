/** Capabilities: what a container may be given at all, and which of it is a relaxation. */

import { OptionError } from '../../errors.js';
import { Capabilities, type Capability } from '../../primitives/capabilities.js';

/**
 * Beyond Docker's 14: what the kernel checks against namespaces that are the container's own, or what reaches its own
 * processes and files only.
 */
const grantable = Capabilities.docker.add(
  'CAP_IPC_LOCK',
  'CAP_IPC_OWNER',
  'CAP_LEASE',
  'CAP_LINUX_IMMUTABLE',
  'CAP_NET_ADMIN',
  'CAP_NET_BROADCAST',
  'CAP_SYS_NICE',
  'CAP_SYS_PTRACE',
);

const reasons: ReadonlyMap<Capability, string> = new Map<Capability, string>([
  ['CAP_SYS_ADMIN', 'it would let the container undo read-only mounts and masks, and make new namespaces'],
  ['CAP_DAC_READ_SEARCH', 'it would let the container open files by handle, outside its root'],
  ['CAP_SYS_MODULE', 'kernel modules belong to the host'],
  ['CAP_SYS_RAWIO', "the host's memory and ports belong to the host"],
  ['CAP_SYS_BOOT', 'a restart belongs to the host'],
  ['CAP_SYS_TIME', 'the clock belongs to the host'],
  ['CAP_SYSLOG', "the kernel's log belongs to the host"],
  ['CAP_BPF', 'programs in the kernel see the whole host'],
  ['CAP_PERFMON', 'performance events see the whole host'],
  ['CAP_MAC_ADMIN', 'it would let the container change the policy that confines it'],
  ['CAP_MAC_OVERRIDE', 'it would let the container pass over the policy that confines it'],
  ['CAP_SYS_RESOURCE', 'it would let the container raise its own limits'],
]);

/** The set, held as a copy of ours. @throws OptionError at one that no container gets, with the reason */
export function readCapabilities(value: unknown, option: string): Capabilities {
  if (value === undefined) return Capabilities.default;
  const wanted = Capabilities.none.union(Capabilities.from(value as Iterable<string>, option));
  for (const capability of wanted.without(grantable)) {
    const hint = reasons.get(capability) ?? 'it concerns the whole host, and has no use in a container';
    throw new OptionError(option, 'capabilities that a container may have', capability, { hint });
  }
  return wanted;
}

/** Those beyond Docker's, which are listed as relaxations. */
export function relaxedCapabilities(capabilities: Capabilities): readonly Capability[] {
  return capabilities === Capabilities.default ? [] : capabilities.without(Capabilities.docker).toArray();
}
