/**
 * Settings of the kernel that a network namespace has of its own (`net.` of sysctl(8)). Procfs shows those of the namespace
 * that a process is in, so an agent in it opens their files.
 */

import { readSync } from 'node:fs';
import { copyObject, optionName } from '../container/settings/schema.js';
import { OptionError } from '../errors.js';
import type { Descriptor } from '../launcher/native.js';
import { inNetwork } from '../netlink/open.js';
import { openFlag, resolveFlag, type Step } from '../plan/step.js';
import { checkSysctl, type Sysctl, sysctlPath } from '../primitives/sysctl.js';

const procfs = 'procfs';
const openProcfs: Step = {
  kind: 'open',
  to: procfs,
  from: null,
  path: '/proc',
  flags: openFlag.PATH | openFlag.DIRECTORY,
  resolve: resolveFlag.NO_SYMLINKS,
};
const longest = 64 * 1024;

/** Settings of one network namespace, by their names with dots. */
export class NetworkSysctl {
  readonly #namespace: Descriptor | undefined;

  /** @internal */
  constructor(namespace: Descriptor | undefined) {
    this.#namespace = namespace;
  }

  /**
   * The value of a setting, as sysctl(8) shows it.
   * @throws OptionError for a name that does not begin with `net.`; TscontainError with `errno` ENOENT for one that this
   *   kernel has not
   */
  async get(key: string): Promise<string> {
    checkNetwork(key, '0', 'key');
    const to = 'setting';
    const { NO_SYMLINKS, NO_MAGICLINKS } = resolveFlag;
    const path = `/proc/${sysctlPath(key)}`;
    const resolve = NO_SYMLINKS | NO_MAGICLINKS;
    const steps: Step[] = [{ kind: 'open', to, from: null, path, flags: openFlag.RDONLY, resolve }];
    const [file] = await inNetwork(this.#namespace, (agent) =>
      agent.run(steps, { take: [to], doing: `reading ${key}` }),
    );
    const descriptor = file as Descriptor;
    try {
      const bytes = Buffer.alloc(longest);
      return bytes.toString('utf8', 0, readSync(descriptor.number, bytes)).trimEnd();
    } finally {
      descriptor.close();
    }
  }

  /**
   * Sets one or several, in their order, each read back: `{ 'net.ipv4.ip_forward': 1 }`.
   * @throws OptionError; TscontainError with the step and the kernel's `errno`: those before it are set
   */
  async set(settings: Readonly<Record<string, number | string>>): Promise<void> {
    const values = Object.entries(copyObject(settings, 'settings'));
    const checked = values.map(([key, value]) => checkNetwork(key, value, optionName('settings', key)));
    if (checked.length === 0) return;
    const steps = checked.map(
      ({ key, value }): Step => ({ kind: 'sysctl', under: procfs, key, value, tolerant: false }),
    );
    await inNetwork(this.#namespace, (agent) =>
      agent.run([openProcfs, ...steps], { doing: 'setting values of the network' }),
    );
  }
}

function checkNetwork(key: string, value: unknown, option: string): Sysctl {
  const setting = typeof key === 'string' ? checkSysctl(key, value, option, true) : undefined;
  if (setting?.namespace !== 'net') throw new OptionError(option, 'a setting that begins with net.', key);
  return setting;
}
