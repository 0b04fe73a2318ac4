/**
 * Names of what is not finished yet. They say whose it is in the same way as those that the launcher gives (identity.c): boot,
 * pid namespace, pid and start time. So what a process has left behind that is dead is swept, and nothing of a living one.
 */

import { randomBytes } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';

let prefix: Promise<string> | undefined;

/** A name that nothing else has, of this process. */
export async function unfinishedName(): Promise<string> {
  prefix ??= identity();
  return `${await prefix}-${randomBytes(6).toString('hex')}`;
}

async function identity(): Promise<string> {
  const [boot, text, namespace] = await Promise.all([
    readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
    readFile('/proc/self/stat', 'utf8'),
    stat('/proc/self/ns/pid'),
  ]);
  // Field 22, after the last parenthesis, since the name before it may hold anything (proc_pid_stat(5)).
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return `${boot.slice(0, 8)}-${namespace.ino}-${process.pid}-${fields[19]}`;
}
