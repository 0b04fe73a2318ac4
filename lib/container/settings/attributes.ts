/** Attributes of a container's programs: what `limits` says of a single process, and the defaults, belong to them. */

import { OptionError } from '../../errors.js';
import type { Rlimit } from '../../primitives/rlimits.js';
import { type AttributeSettings, noAttributes } from '../../process/attributes/settings.js';
import { defaultLimits, type LimitSettings } from './limits.js';

/** No core files: where they are written is the host's affair (core(5)). */
const noCore: Rlimit = Object.freeze({ soft: 0, hard: 0 });
const defaultAttributes = complete(noAttributes, defaultLimits);

/**
 * The attributes, with the limits of `limits` and the default ones.
 * @throws OptionError for a resource that is given twice
 */
export function withLimits(attributes: AttributeSettings, limits: LimitSettings): AttributeSettings {
  if (attributes === noAttributes && limits === defaultLimits) return defaultAttributes;
  for (const [name, key] of [
    ['nofile', 'openFiles'],
    ['fsize', 'fileSize'],
  ] as const) {
    const limit = attributes.rlimits[name];
    if (limit && limits.explicit.has(key)) {
      throw new OptionError(`rlimits.${name}`, `no setting beside limits.${key}`, limit.soft, {
        hint: 'the two are the same limit',
      });
    }
  }
  return complete(attributes, limits);
}

function complete(attributes: AttributeSettings, { openFiles, fileSize }: LimitSettings): AttributeSettings {
  const both = (value: number): Rlimit => Object.freeze({ soft: value, hard: value });
  const rlimits = Object.freeze({
    nofile: both(openFiles),
    core: noCore,
    ...(fileSize === undefined ? {} : { fsize: both(fileSize) }),
    ...attributes.rlimits,
  });
  return Object.freeze({ ...attributes, rlimits });
}

/** Whether nothing was asked for. */
export function areDefault(attributes: AttributeSettings): boolean {
  return attributes === defaultAttributes;
}
