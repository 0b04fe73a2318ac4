/** Names of profiles of AppArmor, as one word of a label. */

import { readText } from '../../container/settings/schema.js';
import { OptionError, UnsupportedError } from '../../errors.js';

const longestName = 255;

/**
 * The name of one profile of the namespace that this process is in. What has a meaning in a label (`//&`, `:ns:`, `&`, and
 * the mode that the kernel writes behind it) is refused, and so is what would end a line.
 */
export function profileName(value: unknown, option: string): string {
  const expected = 'the name of an AppArmor profile';
  const name = readText(value, option, expected);
  const plain = /^[^\p{Cc}\s:&()][^\p{Cc}&()]*$/u.test(name) && name.trim() === name && !name.includes('//&');
  if (!plain || Buffer.byteLength(name) > longestName) {
    throw new OptionError(
      option,
      `${expected}, of at most ${longestName} bytes, without ':', '&' or '(' in front`,
      value,
    );
  }
  return name;
}

export function noAppArmor(): UnsupportedError {
  return new UnsupportedError('this kernel has no AppArmor, or it is switched off', {
    path: '/sys/module/apparmor/parameters/enabled',
    hint: 'it is built with CONFIG_SECURITY_APPARMOR and started with apparmor in lsm=; without it leave the option out',
  });
}
