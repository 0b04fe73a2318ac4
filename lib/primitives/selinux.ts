/**
 * SELinux (selinux(8)): the label of a program, and that of files in the mounts of a container. Both are words of the host's
 * policy, which alone says what they mean.
 */

import { existsSync, readFileSync } from 'node:fs';
import { defineSchema, readInteger, readObject, readText } from '../container/settings/schema.js';
import { OptionError, TscontainError, UnsupportedError } from '../errors.js';
import type { Step } from '../plan/step.js';

/** Labels such as `system_u:system_r:container_t:s0:c1,c2`. */
export interface SELinuxOptions {
  /** Of the program, from its execution on. The policy must allow the transition. */
  readonly process?: string;
  /** Of all files in the memory and overlay file systems that a container is made of (the mount option `context`). */
  readonly mount?: string;
}

export interface SELinuxSettings {
  readonly process?: string;
  readonly mount?: string;
}

const schema = defineSchema(['process', 'mount']);
const word = '[A-Za-z0-9_.]+';
const categories = 'c\\d{1,4}(?:[.,]c\\d{1,4})*';
const level = `s\\d{1,3}(?::${categories})?`;
const grammar = new RegExp(`^${word}:${word}:${word}(?::${level}(?:-${level})?)?$`);
const longestLabel = 1000;
const largestPid = 2 ** 22;
const mounted = '/sys/fs/selinux';

/**
 * Checks the option.
 * @throws OptionError naming it
 */
export function readSELinux(value: unknown, option: string): SELinuxSettings {
  const { process, mount } = readObject(value, option, schema);
  if (process === undefined && mount === undefined) throw new OptionError(option, 'process or mount', value);
  return Object.freeze({
    ...(process === undefined ? {} : { process: readLabel(process, `${option}.process`) }),
    ...(mount === undefined ? {} : { mount: readLabel(mount, `${option}.mount`) }),
  });
}

function readLabel(value: unknown, option: string): string {
  const expected = "a label 'user:role:type' or 'user:role:type:level'";
  const text = readText(value, option, expected);
  if (!grammar.test(text) || text.length > longestLabel) throw new OptionError(option, expected, value);
  return text;
}

/** SELinux of the host. A program gets a label by the option `selinux` of a container, an exec or a spawn. */
export const SELinux = Object.freeze({
  /** Whether the kernel has it switched on, with a policy to be asked. */
  enabled(): boolean {
    return existsSync(`${mounted}/enforce`);
  },

  /** Whether what the policy denies is refused, and not only logged. */
  enforcing(): boolean {
    try {
      return readFileSync(`${mounted}/enforce`, 'utf8').startsWith('1');
    } catch {
      return false;
    }
  },

  /**
   * The label of a process, by default this one.
   * @throws UnsupportedError where there is no SELinux, TscontainError where there is no such process
   */
  current(pid: number = globalThis.process.pid): string {
    const path = `/proc/${readInteger(pid, 'pid', 1, largestPid)}/attr/current`;
    expectSELinux();
    try {
      return readFileSync(path, 'utf8').replace(/[\n\0]+$/, '');
    } catch (cause) {
      throw new TscontainError('ERR_SELINUX', `cannot read the label of process ${pid}`, { path, cause });
    }
  },
});

/** @throws UnsupportedError where the kernel has no SELinux, or no policy */
export function expectSELinux(): void {
  if (SELinux.enabled()) return;
  throw new UnsupportedError('this kernel has no SELinux, or no policy is loaded', {
    path: `${mounted}/enforce`,
    hint: 'it is built with CONFIG_SECURITY_SELINUX, started with selinux in lsm=, and selinuxfs is mounted by the host; without it leave the option out',
  });
}

/** File systems whose files exist nowhere else, so that they can get their label from the mount. */
const labelled: ReadonlySet<string> = new Set(['tmpfs', 'overlay', 'devpts']);

/** The same steps, each of these file systems made with the label. */
export function labelFileSystems(steps: readonly Step[], label: string): Step[] {
  return steps.flatMap((step): Step[] => {
    if (step.kind !== 'fsopen' || !labelled.has(step.type)) return [step];
    return [step, { kind: 'fsconfig', on: step.to, key: 'context', value: label }];
  });
}
