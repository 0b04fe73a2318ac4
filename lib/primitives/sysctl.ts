/**
 * Settings of the kernel that belong to a namespace, and so can differ in a container (sysctl(8), proc_sys(5)). Only those
 * on this list: everything else below /proc/sys is the host's, and some of it starts programs of the host's (security B5).
 */

import { OptionError } from '../errors.js';

/** The namespace that a setting belongs to. */
export type SysctlNamespace = 'ipc' | 'uts' | 'net';

/** A setting that was checked. */
export interface Sysctl {
  /** The name with dots, as sysctl(8) writes it. */
  readonly key: string;
  readonly value: string;
  readonly namespace: SysctlNamespace;
}

/** Of the ipc namespace (ipc_namespaces(7)): System V limits and POSIX message queues. All are numbers. */
const ipc: ReadonlySet<string> = new Set([
  'kernel.msgmax',
  'kernel.msgmnb',
  'kernel.msgmni',
  'kernel.sem',
  'kernel.shmall',
  'kernel.shmmax',
  'kernel.shmmni',
  'kernel.shm_rmid_forced',
  'fs.mqueue.msg_default',
  'fs.mqueue.msg_max',
  'fs.mqueue.msgsize_default',
  'fs.mqueue.msgsize_max',
  'fs.mqueue.queues_max',
]);

/** The rest of `net.` is the network namespace's own: the kernel shows in a new one only what belongs to it. */
const net = /^net(?:\.[a-z0-9][a-z0-9_-]{0,63}){2,6}$/;
const numbers = /^(?:0|-?[1-9]\d{0,19})(?:[ \t](?:0|-?[1-9]\d{0,19})){0,3}$/;
/** One line of visible characters, without spaces at its ends. */
const line = /^[!-~](?:[ -~\t]*[!-~])?$/;
const longestValue = 1024;
/** __NEW_UTS_LEN. */
const domainName = /^[A-Za-z0-9(](?:[A-Za-z0-9._()-]{0,63})$/;

/**
 * One setting, its name and its value checked.
 * @param networkIsPrivate whether the container has a network namespace of its own
 * @throws OptionError for a name that is not on the list, or a value that is not one line
 */
export function checkSysctl(key: string, value: unknown, option: string, networkIsPrivate: boolean): Sysctl {
  const namespace = namespaceOf(key, option, value);
  if (namespace === 'net' && !networkIsPrivate) {
    const hint = "the container shares the host's network, so the setting would be the host's";
    throw new OptionError(option, 'no setting of the network', value, { hint });
  }
  const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
  if (typeof text !== 'string' || text.length > longestValue || !line.test(text)) {
    throw new OptionError(option, `a whole number, or one line of at most ${longestValue} visible characters`, value);
  }
  if (namespace === 'ipc' && !numbers.test(text)) {
    throw new OptionError(option, 'a decimal number, or up to four of them', value);
  }
  if (namespace === 'uts' && !domainName.test(text)) {
    throw new OptionError(option, 'a domain name of at most 64 letters, digits, dots and hyphens', value);
  }
  return Object.freeze({ key, value: text, namespace });
}

function namespaceOf(key: string, option: string, value: unknown): SysctlNamespace {
  if (ipc.has(key)) return 'ipc';
  if (key === 'kernel.domainname') return 'uts';
  if (net.test(key)) return 'net';
  const hint =
    key === 'kernel.hostname'
      ? 'the host name has an option of its own: hostname'
      : /[/]/.test(key)
        ? 'write names with dots, as sysctl -a does'
        : `those are ${[...ipc].join(', ')}, kernel.domainname, and what begins with net.`;
  throw new OptionError(option, 'a setting that belongs to a namespace of the container', value, { hint });
}

/** The file of a setting beneath a procfs. */
export function sysctlPath(key: string): string {
  return `sys/${key.replaceAll('.', '/')}`;
}
