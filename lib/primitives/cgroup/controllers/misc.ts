/** The misc controller: countable things of the host that nothing else counts, such as keys for encrypted guests. */

import { copyObject, defineSchema, optionName, readInteger, readObject } from '../../../container/settings/schema.js';
import { OptionError } from '../../../errors.js';
import { known, limitOf, linesOf, tableOf } from '../text.js';
import { type ControllerKind, Writes } from './controller.js';

/** Keys are names from `misc.capacity` at the top of the tree, such as `sev`. */
export interface MiscSettings {
  readonly max?: Readonly<Record<string, number | 'max'>>;
}

const schema = defineSchema(['max']);

/** The controller, for {@link CgroupV2.misc}. */
export const misc: ControllerKind<MiscSettings, MiscSettings> = {
  name: 'misc',
  parse(settings, option) {
    const { max } = readObject(settings, option, schema);
    if (max === undefined) return {};
    const limits = Object.entries(copyObject(max, `${option}.max`)).map(([key, limit]) => {
      const name = optionName(`${option}.max`, key);
      if (!/^[a-z0-9_]{1,64}$/.test(key)) throw new OptionError(name, "a name such as 'sev'", key);
      return [key, limit === 'max' ? limit : readInteger(limit, name, 0, Number.MAX_SAFE_INTEGER)] as const;
    });
    return { max: Object.fromEntries(limits) };
  },
  writes({ max = {} }) {
    const writes = new Writes('misc');
    for (const [key, limit] of Object.entries(max)) writes.add('misc.max', `${key} ${limit}`);
    return writes.list;
  },
  onlyUnified: [],
  files: () => ['misc.max'],
  read(texts) {
    const text = texts.get('misc.max');
    const limits = linesOf(text).flatMap(([key, value]) => {
      const limit = limitOf(value);
      return key && limit !== undefined ? [[key, limit] as const] : [];
    });
    return known<MiscSettings>({ max: text === undefined ? undefined : Object.fromEntries(limits) });
  },
};

/** What is in use, by name. */
export function miscStats(text: string): Record<string, number> {
  return Object.fromEntries(tableOf(text));
}
