/** What {@link Namespace.create} is asked for, checked. */

import { defineSchema, optionName, readList, readObject } from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import type { TimeOffsets } from '../../launcher/agent-steps.js';
import { IdMap, type IdMaps, type IdRange } from '../id-map.js';
import { expectKernelKinds } from './kernel.js';
import { type NamespaceKind, namespaceKinds, readKind } from './kind.js';

/** Which ids a new user namespace has. */
export type IdMapOption =
  /** 65,536 ids of the host that no one else has. Root only, and its default. */
  | 'range'
  /** The ids of this process, as 0; setgroups(2) is switched off. The default of an ordinary user. */
  | 'single'
  /** The same map for users and groups. */
  | IdMap
  | readonly IdRange[]
  | { readonly uid: IdMap | readonly IdRange[]; readonly gid: IdMap | readonly IdRange[] };

/** Options of new namespaces. */
export interface NamespaceOptions {
  /** Ids of the new user namespace. */
  readonly idMap?: IdMapOption;
  /**
   * How far the clocks of the new time namespace are ahead of the host's, in milliseconds; behind where negative
   * (time_namespaces(7)). Boot time is what `uptime` shows. Neither clock may come out below zero.
   */
  readonly timeOffsets?: TimeOffsets;
}

/** Checked options of new namespaces. */
export interface NamespaceSettings {
  readonly create: readonly NamespaceKind[];
  readonly ids?: 'range' | 'single' | IdMaps;
  readonly timeOffsets?: TimeOffsets;
}

const mapsSchema = defineSchema(['uid', 'gid']);
const offsetsSchema = defineSchema(['monotonic', 'boottime']);

/** One kind or several, each once. */
export function readKinds(value: unknown, option: string): readonly NamespaceKind[] {
  if (typeof value === 'string') return [readKind(value, option)];
  const list = readList(value, option, `a list of ${namespaceKinds.join(', ')}`, namespaceKinds.length);
  if (list.length === 0) throw new OptionError(option, 'at least one kind of namespace', value);
  const kinds = list.map((kind, index) => readKind(kind, `${option}[${index}]`));
  if (new Set(kinds).size < kinds.length) throw new OptionError(option, 'each kind once', value);
  return kinds;
}

/** @throws OptionError also where an option is about a kind that is not made; UnsupportedError for a kind the kernel lacks */
export function readNamespaceSettings(
  create: readonly NamespaceKind[],
  fields: { readonly idMap?: unknown; readonly timeOffsets?: unknown },
): NamespaceSettings {
  const { idMap, timeOffsets } = fields;
  const expectKind = (kind: NamespaceKind, option: string, value: unknown) => {
    if (!create.includes(kind)) throw new OptionError(option, `no ${option} without a new ${kind} namespace`, value);
  };
  if (idMap !== undefined) expectKind('user', 'idMap', idMap);
  if (timeOffsets !== undefined) expectKind('time', 'timeOffsets', timeOffsets);
  const settings = {
    create,
    ...(idMap === undefined ? {} : { ids: readIdMap(idMap, 'idMap') }),
    ...(timeOffsets === undefined ? {} : { timeOffsets: readOffsets(timeOffsets, 'timeOffsets') }),
  };
  expectKernelKinds(create);
  return settings;
}

function readIdMap(value: unknown, option: string): 'range' | 'single' | IdMaps {
  if (value === 'range' || value === 'single') return value;
  if (typeof value === 'object' && value !== null && !(value instanceof IdMap) && !(Symbol.iterator in value)) {
    const { uid, gid } = readObject(value, option, mapsSchema);
    const read = (key: string, map: unknown) => IdMap.from(map as Iterable<IdRange>, optionName(option, key));
    return { uid: read('uid', uid), gid: read('gid', gid) };
  }
  if (typeof value !== 'object' || value === null) {
    throw new OptionError(option, "'range', 'single', or ranges of ids", value);
  }
  const map = IdMap.from(value as Iterable<IdRange>, option);
  return { uid: map, gid: map };
}

function readOffsets(value: unknown, option: string): TimeOffsets {
  const fields = readObject(value, option, offsetsSchema);
  const read = (clock: 'monotonic' | 'boottime') => {
    const offset = fields[clock];
    if (offset === undefined) return {};
    if (typeof offset !== 'number' || !Number.isFinite(offset) || !Number.isSafeInteger(Math.trunc(offset))) {
      throw new OptionError(optionName(option, clock), 'a finite number of milliseconds', offset);
    }
    return { [clock]: offset };
  };
  return { ...read('monotonic'), ...read('boottime') };
}
