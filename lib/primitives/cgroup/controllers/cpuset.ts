/** The cpuset controller: which processors and memory nodes may be used. */

import { defineSchema, readChoice, readObject } from '../../../container/settings/schema.js';
import { parseCpuset } from '../cpuset.js';
import { known } from '../text.js';
import { type ControllerKind, type FileValue, type WriteContext, Writes } from './controller.js';

/** Lists as the kernel writes them: `'0-3,5'`. */
export interface CpusetSettings {
  readonly cpus?: string;
  readonly mems?: string;
  /** Whether the processors are taken out of the parent's: `'root'`, and `'isolated'` from load balancing too. v2. */
  readonly partition?: 'member' | 'root' | 'isolated';
}

/** {@link CpusetSettings} as read: what is in effect as well, which is the parent's where nothing is set. */
export interface CpusetValues extends CpusetSettings {
  readonly effectiveCpus?: string;
  readonly effectiveMems?: string;
}

const schema = defineSchema(['cpus', 'mems', 'partition']);

export function cpusetWrites(
  { cpus, mems, partition }: CpusetSettings,
  version: 1 | 2,
  { update, cpuset: parent }: WriteContext,
): FileValue[] {
  const writes = new Writes('cpuset');
  // A v1 cpuset starts empty and then takes no task, so it is filled also where only a neighbour in the same hierarchy
  // is wanted.
  const filled = version === 1 && !update ? parent : undefined;
  writes.add('cpuset.mems', mems ?? filled?.mems);
  writes.add('cpuset.cpus', cpus ?? filled?.cpus);
  writes.add('cpuset.cpus.partition', partition);
  return writes.list;
}

/** The controller, for {@link CgroupV2.cpuset}. */
export const cpuset: ControllerKind<CpusetSettings, CpusetValues> = {
  name: 'cpuset',
  parse(settings, option) {
    const { cpus, mems, partition } = readObject(settings, option, schema);
    return known<CpusetValues>({
      cpus: cpus === undefined ? undefined : parseCpuset(cpus, `${option}.cpus`),
      mems: mems === undefined ? undefined : parseCpuset(mems, `${option}.mems`),
      partition:
        partition === undefined
          ? undefined
          : readChoice(partition, `${option}.partition`, ['member', 'root', 'isolated']),
    });
  },
  writes: cpusetWrites,
  onlyUnified: ['partition'],
  files: (version) => [
    ...['cpuset.cpus', 'cpuset.mems'],
    ...(version === 2
      ? ['cpuset.cpus.effective', 'cpuset.mems.effective', 'cpuset.cpus.partition']
      : ['cpuset.effective_cpus', 'cpuset.effective_mems']),
  ],
  read(texts) {
    const list = (...files: string[]): string | undefined =>
      files.map((file) => texts.get(file)?.trim()).find((text) => text !== undefined && text !== '');
    // `root invalid (reason)` is a partition that does not hold.
    const partition = (['member', 'root', 'isolated'] as const).find((word) => word === list('cpuset.cpus.partition'));
    return known<CpusetValues>({
      cpus: list('cpuset.cpus'),
      mems: list('cpuset.mems'),
      effectiveCpus: list('cpuset.cpus.effective', 'cpuset.effective_cpus'),
      effectiveMems: list('cpuset.mems.effective', 'cpuset.effective_mems'),
      partition,
    });
  },
};
