/** Landlock: restrictions that a process takes upon itself, without any privilege (landlock(7)). The public face. */

import { defineSchema, readInteger, readObject } from '../../container/settings/schema.js';
import { addon } from '../../launcher/native.js';
import { type LandlockOptions, readLandlock } from './options.js';
import { fileRights, type LandlockRight, rightNames } from './rights.js';
import { type LandlockRuleset, makeRuleset } from './ruleset.js';

const schema = defineSchema(['abi']);
const mostAbi = 2 ** 31 - 1;
let known: number | undefined;

/** The kernel's ABI, asked once: it does not change while the kernel runs. */
export function landlockAbi(): number {
  known ??= Math.max(0, addon().landlockAbi());
  return known;
}

/**
 * What Landlock of the running kernel can do, and what options become with it. A program is put under it by the option
 * `landlock` of a container, an exec or a spawn; Node cannot be, as only the calling thread would come under it.
 *
 * ```ts
 * const { leftOut } = Landlock.ruleset({ read: ['/usr'], write: ['/tmp'], connect: [443], degrade: true });
 * ```
 */
export const Landlock = Object.freeze({
  /** The ABI of the running kernel; 0 where it has none, or where it is switched off. This library knows 1 to 7. */
  abi(): number {
    return landlockAbi();
  },

  /** Whether the running kernel has Landlock at all. */
  supported(): boolean {
    return landlockAbi() > 0;
  },

  /** The rights of files that the running kernel, or one of the given ABI, can restrict. */
  rights(abi?: number): readonly LandlockRight[] {
    const version = abi === undefined ? landlockAbi() : readInteger(abi, 'abi', 0, mostAbi);
    return rightNames.filter((name) => fileRights[name].abi <= version);
  },

  /**
   * The ruleset that options become, for the running kernel or one of the given ABI. Nothing is restricted by this.
   * @throws OptionError at options that are wrong, UnsupportedError at what the ABI lacks, unless `degrade` was given
   */
  ruleset(options: LandlockOptions, target: { readonly abi?: number } = {}): LandlockRuleset {
    const { abi } = readObject(target, 'target', schema);
    const settings = readLandlock(options, 'landlock');
    return makeRuleset(settings, abi === undefined ? landlockAbi() : readInteger(abi, 'target.abi', 0, mostAbi));
  },
});
