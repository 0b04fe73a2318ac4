/** The pids controller: how many processes and threads there may be. Both versions have the same files. */

import { defineSchema, readInteger, readObject } from '../../../container/settings/schema.js';
import { known, limitOf, numberOf, tableOf } from '../text.js';
import { type ControllerKind, type FileTexts, type FileValue, Writes } from './controller.js';

/** The limit of processes. */
export interface PidsSettings {
  /** Processes and threads; a fork beyond it fails with EAGAIN. */
  readonly max?: number | 'max';
}

/** Counts of processes and threads. */
export interface PidsStats {
  readonly current: number;
  /** The most that `current` has been; where the kernel keeps none (before 6.1), `current`. */
  readonly peak: number;
  /** How often a fork was refused by the limit. */
  readonly limitHits: number;
}

/** PID_MAX_LIMIT, which pids.max may not pass. */
const mostPids = 2 ** 22;
const schema = defineSchema(['max']);

export function pidsWrites({ max }: PidsSettings): FileValue[] {
  const writes = new Writes('pids');
  writes.add('pids.max', max);
  return writes.list;
}

/** The controller, for {@link CgroupV2.pids}. */
export const pids: ControllerKind<PidsSettings, PidsSettings> = {
  name: 'pids',
  parse(settings, option) {
    const { max } = readObject(settings, option, schema);
    if (max === undefined || max === 'max') return known<PidsSettings>({ max });
    return { max: readInteger(max, `${option}.max`, 0, mostPids) };
  },
  writes: pidsWrites,
  onlyUnified: [],
  files: () => ['pids.max'],
  read: (texts) => known<PidsSettings>({ max: limitOf(texts.get('pids.max')) }),
};

export const pidsStatFiles = ['pids.current', 'pids.peak', 'pids.events'] as const;

export function pidsStats(unified: FileTexts, v1: FileTexts): PidsStats {
  const number = (file: string): number => numberOf(unified.get(file)) ?? numberOf(v1.get(file)) ?? 0;
  const current = number('pids.current');
  const limitHits = tableOf(unified.get('pids.events')).get('max') ?? tableOf(v1.get('pids.events')).get('max') ?? 0;
  return { current, peak: Math.max(number('pids.peak'), current), limitHits };
}
