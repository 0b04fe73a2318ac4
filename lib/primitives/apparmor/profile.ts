/**
 * Text of a profile for programs of a container (apparmor.d(5)). It is a second line behind the namespaces, the filter and
 * the masks: what a container does not need of the kernel is denied by name, whatever else failed.
 */

import { readContainerPath } from '../../container/settings/paths.js';
import { defineSchema, readBoolean, readChoice, readList, readObject } from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import { Capabilities } from '../capabilities.js';
import { profileName } from './name.js';

/** What may be done with a file, or must not. `'execute'` is under the same profile. */
export type AppArmorAccess = 'read' | 'write' | 'append' | 'execute' | 'map' | 'lock' | 'link';

export interface AppArmorFileRule {
  /** An absolute path as the program sees it; no pattern. */
  readonly path: string;
  /** All that is below it too. Default false. */
  readonly below?: boolean;
  readonly access: readonly AppArmorAccess[];
}

export interface AppArmorProfileOptions {
  readonly name: string;
  /** `'complain'` only logs what it would deny. Default `'enforce'`. */
  readonly mode?: 'enforce' | 'complain';
  /** Files that may be used. Default: all, as far as their permissions go. */
  readonly files?: readonly AppArmorFileRule[];
  /** Files that may not, whatever `files` says. */
  readonly denyFiles?: readonly AppArmorFileRule[];
  /** Capabilities that may be used. Default: all that the program has. */
  readonly capabilities?: Capabilities | readonly string[];
  /** Families of sockets that may be made, such as `['inet', 'inet6']`. Default: all. */
  readonly network?: readonly AppArmorNetwork[];
}

export type AppArmorNetwork = 'unix' | 'inet' | 'inet6' | 'netlink' | 'packet';

const schema = defineSchema(['name', 'mode', 'files', 'denyFiles', 'capabilities', 'network']);
const ruleSchema = defineSchema(['path', 'below', 'access']);
const letters = { read: 'r', write: 'w', append: 'a', execute: 'ix', map: 'm', lock: 'k', link: 'l' } as const;
const accesses = Object.keys(letters) as readonly AppArmorAccess[];
const families = ['unix', 'inet', 'inet6', 'netlink', 'packet'] as const;
const mostRules = 1000;

/** Writing to these reaches the host, or tells the kernel to run something there. */
const always = [
  'deny mount,',
  'deny umount,',
  'deny pivot_root,',
  'deny @{PROC}/sysrq-trigger rwklx,',
  'deny @{PROC}/kcore rwklx,',
  'deny @{PROC}/sys/kernel/{core_pattern,modprobe,hotplug} wklx,',
  'deny @{PROC}/{acpi,asound,bus,fs,irq,scsi}/** wklx,',
  'deny /sys/firmware/** rwklx,',
  'deny /sys/devices/virtual/powercap/** rwklx,',
  'deny /sys/kernel/security/** rwklx,',
];

export function profileText(options: AppArmorProfileOptions): string {
  const fields = readObject(options, '', schema);
  const name = quoted(profileName(fields.name, 'name'), 'name');
  const mode = fields.mode === undefined ? 'enforce' : readChoice(fields.mode, 'mode', ['enforce', 'complain']);
  const flags = ['attach_disconnected', 'mediate_deleted', ...(mode === 'complain' ? ['complain'] : [])].join(',');
  const rules = [
    ...(fields.files === undefined ? ['file,'] : fileRules(fields.files, 'files', '')),
    ...(fields.denyFiles === undefined ? [] : fileRules(fields.denyFiles, 'denyFiles', 'deny ')),
    ...capabilityRules(fields.capabilities),
    ...networkRules(fields.network),
    // From whoever starts and ends it; among its own processes.
    'signal (receive) peer=unconfined,',
    `signal (send, receive) peer=${name},`,
    `ptrace (trace, read, tracedby, readby) peer=${name},`,
    ...always,
  ];
  const lines = rules.map((rule) => `  ${rule}\n`).join('');
  return `abi <abi/3.0>,\n@{PROC}=/proc/\nprofile ${name} flags=(${flags}) {\n${lines}}\n`;
}

function capabilityRules(value: unknown): string[] {
  if (value === undefined) return ['capability,'];
  const set = Capabilities.from(value as Iterable<string>, 'capabilities');
  return [...set].map((capability) => `capability ${capability.replace(/^CAP_/, '').toLowerCase()},`);
}

function networkRules(value: unknown): string[] {
  if (value === undefined) return ['network,', 'unix,'];
  const names = readList(value, 'network', 'a list of families of sockets', families.length);
  return names.flatMap((one, index) => {
    const family = readChoice(one, `network[${index}]`, families);
    return family === 'unix' ? ['network unix,', 'unix,'] : [`network ${family},`];
  });
}

function fileRules(value: unknown, option: string, prefix: 'deny ' | ''): string[] {
  return readList(value, option, 'a list of rules', mostRules).flatMap((one, index) => {
    const at = `${option}[${index}]`;
    const { path, below, access } = readObject(one, at, ruleSchema);
    const given = readList(access, `${at}.access`, 'a list of accesses', accesses.length).map((word, position) =>
      readChoice(word, `${at}.access[${position}]`, accesses),
    );
    if (given.length === 0) throw new OptionError(`${at}.access`, 'at least one access', access);
    const file = readContainerPath(path, `${at}.path`);
    const letter = permissions(given, prefix);
    const tree = readBoolean(below, `${at}.below`, false);
    const root = file === '/' ? '' : file;
    const patterns = tree ? [`${root}/`, `${root}/**`, ...(root === '' ? [] : [root])] : [file];
    return patterns.map((pattern) => {
      const literal = tree && pattern.endsWith('/**') ? `${escaped(root, at)}/**` : escaped(pattern, at);
      return `${prefix}"${literal}" ${letter},`;
    });
  });
}

/** A denied execution has no kind; and whoever may write may append. */
function permissions(given: readonly AppArmorAccess[], prefix: string): string {
  const set = new Set(given);
  if (set.has('write')) set.delete('append');
  return [...set].map((word) => (word === 'execute' && prefix !== '' ? 'x' : letters[word])).join('');
}

function quoted(text: string, option: string): string {
  return `"${escaped(text, option)}"`;
}

/** Literally, in quotes: what would be a pattern is escaped; what has a meaning to the parser beyond that is refused. */
function escaped(text: string, option: string): string {
  if (/["\\@#\p{Cc}]/u.test(text)) {
    throw new OptionError(option, "text without '\"', '\\', '@', '#' and control characters", text);
  }
  return text.replace(/[*?[\]{}^]/g, '\\$&');
}
