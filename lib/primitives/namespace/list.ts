/**
 * Every namespace of the host with its processes, as lsns(8) shows them: what /proc says of each process, and what is pinned
 * by a bind mount. Processes come and go meanwhile, so what has vanished by the time it is read is left out.
 */

import { readdir, readFile, readlink } from 'node:fs/promises';
import { isNamespaceKind, type NamespaceKind, namespaceKinds } from './kind.js';

/** A namespace that something is in, or that is pinned. */
export interface NamespaceEntry {
  readonly kind: NamespaceKind;
  readonly inode: number;
  /** Ids of the processes in it, as this process sees them, in ascending order. */
  readonly processes: readonly number[];
  /** Command line of the first of them, or its name in brackets where it has none; undefined where there is no process. */
  readonly command: string | undefined;
  /** User id of the first of them. */
  readonly uid: number | undefined;
  /** Paths that it is bound to in this mount namespace. */
  readonly pins: readonly string[];
}

/** Processes that are read at the same time. */
const atOnce = 32;
const longestCommand = 4096;

interface Found {
  readonly processes: number[];
  readonly pins: string[];
}

/** Entries by kind, in it by the lowest process id; what only is pinned comes last. */
export async function listNamespaces(): Promise<NamespaceEntry[]> {
  const found = new Map<string, Found>();
  const at = (name: string): Found => {
    let entry = found.get(name);
    if (!entry) {
      entry = { processes: [], pins: [] };
      found.set(name, entry);
    }
    return entry;
  };
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const waiting = pids.values();
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (const pid of waiting) for (const name of await namespacesOf(pid)) at(name).processes.push(pid);
    }),
  );
  for (const { name, path } of await pinned()) at(name).pins.push(path);
  const entries = await Promise.all([...found].map(([name, entry]) => describe(name, entry)));
  return entries.sort(
    (a, b) =>
      namespaceKinds.indexOf(a.kind) - namespaceKinds.indexOf(b.kind) ||
      (a.processes[0] ?? Number.POSITIVE_INFINITY) - (b.processes[0] ?? Number.POSITIVE_INFINITY) ||
      a.inode - b.inode,
  );
}

/** Names such as `net:[4026531840]`; none of a process that has ended, or that this one may not look at. */
async function namespacesOf(pid: number): Promise<string[]> {
  const links = namespaceKinds.map((kind) => readlink(`/proc/${pid}/ns/${kind}`).catch(() => ''));
  return (await Promise.all(links)).filter((name) => parseName(name) !== undefined);
}

function parseName(name: string): { kind: NamespaceKind; inode: number } | undefined {
  const [, kind, inode] = /^([a-z]+):\[(\d{1,20})\]$/.exec(name) ?? [];
  return isNamespaceKind(kind) ? { kind, inode: Number(inode) } : undefined;
}

/** Namespaces that are bound to paths (proc_pid_mountinfo(5)): their root is their name. */
async function pinned(): Promise<{ name: string; path: string }[]> {
  const text = await readFile('/proc/self/mountinfo', 'utf8');
  return text.split('\n').flatMap((line) => {
    const [mount = '', source = ''] = line.split(' - ');
    const fields = mount.split(' ');
    const name = fields[3] ?? '';
    if (!source.startsWith('nsfs ') || parseName(name) === undefined) return [];
    return [{ name, path: unescapePath(fields[4] ?? '') }];
  });
}

/** Blanks, tabs, newlines and backslashes are written in octal there. */
function unescapePath(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

async function describe(name: string, { processes, pins }: Found): Promise<NamespaceEntry> {
  processes.sort((a, b) => a - b);
  const { kind, inode } = parseName(name) ?? { kind: 'net', inode: 0 };
  const first = processes[0];
  const [command, uid] = first === undefined ? [] : await Promise.all([commandOf(first), userOf(first)]);
  return Object.freeze({
    kind,
    inode,
    processes: Object.freeze(processes),
    command,
    uid,
    pins: Object.freeze(pins),
  });
}

async function commandOf(pid: number): Promise<string | undefined> {
  const line = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).slice(0, longestCommand);
  if (line !== '') return line.replace(/\0+$/, '').replaceAll('\0', ' ');
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => undefined);
  return name === undefined ? undefined : `[${name.trimEnd()}]`;
}

async function userOf(pid: number): Promise<number | undefined> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  const [, uid] = /^Uid:\t(\d+)/m.exec(status) ?? [];
  return uid === undefined ? undefined : Number(uid);
}
