/** What of the network a container has: nothing, or one of several kinds, each with a key of its own. */

import { OptionError } from '../../errors.js';
import { type EgressSettings, readEgress } from '../../network/egress/settings.js';
import { defineSchema, readChoice, readObject } from './schema.js';

export type NetworkSettings = { readonly kind: 'none' } | { readonly kind: 'egress'; readonly egress: EgressSettings };

export const noNetwork: NetworkSettings = Object.freeze({ kind: 'none' });

const schema = defineSchema(['egress']);
const kinds = "'none', or { egress: … }";

/** @throws OptionError */
export function readNetworkOption(value: unknown, option: string): NetworkSettings {
  if (typeof value !== 'object') {
    readChoice(value, option, ['none'], { also: '{ egress: … }' });
    return noNetwork;
  }
  const { egress } = readObject(value, option, schema);
  if (egress === undefined) throw new OptionError(option, kinds, value);
  return Object.freeze({ kind: 'egress', egress: readEgress(egress, `${option}.egress`) });
}
