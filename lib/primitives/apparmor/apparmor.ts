/** AppArmor of the host: whether it is there, its profiles, labels of processes, and loading of compiled policy (apparmor(7)). */

import { readFileSync, writeFileSync } from 'node:fs';
import { readInteger } from '../../container/settings/schema.js';
import { OptionError, PermissionError, TscontainError, UnsupportedError } from '../../errors.js';
import { noAppArmor, profileName } from './name.js';
import { type AppArmorProfileOptions, profileText } from './profile.js';

/** A profile, or a label that may be put together of several. */
export interface AppArmorLabel {
  readonly name: string;
  /** `'enforce'`, `'complain'`, `'kill'`, `'unconfined'` and what newer kernels have; undefined for a process that is unconfined. */
  readonly mode: string | undefined;
}

const parameters = '/sys/module/apparmor/parameters/enabled';
const policy = '/sys/kernel/security/apparmor';
/** A tagged u16 `version`, with which all compiled policy begins: type 4, length 8, the name, and a u32 of type 2. */
const header = Buffer.from('\x04\x08\x00version\x00\x02', 'latin1');
const mostPolicy = 16 * 2 ** 20;
const largestPid = 2 ** 22;

/**
 * AppArmor of the host. A program is put under a profile by the option `appArmor` of a container, an exec or a spawn.
 *
 * What this library cannot do is compile: the kernel takes binary policy, which `apparmor_parser` makes of text. So
 * `AppArmor.profile` writes text for it, and `AppArmor.load` takes what it has compiled
 * (`apparmor_parser --ofile FILE --skip-kernel-load`).
 */
export const AppArmor = Object.freeze({
  /** Whether the kernel has it, switched on. */
  enabled(): boolean {
    try {
      return readFileSync(parameters, 'utf8').startsWith('Y');
    } catch {
      return false;
    }
  },

  /**
   * The profiles that are loaded, as far as the AppArmor namespace of this process shows.
   * @throws UnsupportedError where there is no AppArmor, or no securityfs; PermissionError without CAP_MAC_ADMIN
   */
  profiles(): readonly AppArmorLabel[] {
    return kernelFile(`${policy}/profiles`, 'list the profiles of AppArmor', (path) =>
      readFileSync(path, 'utf8').split('\n').filter(Boolean).map(parseLabel),
    );
  },

  /** @internal The same; undefined where this process may not know. */
  listed(): readonly AppArmorLabel[] | undefined {
    try {
      return this.profiles();
    } catch {
      return undefined;
    }
  },

  /**
   * The label of a process, by default this one.
   * @throws UnsupportedError where there is no AppArmor, TscontainError where there is no such process
   */
  current(pid: number = process.pid): AppArmorLabel {
    const number = readInteger(pid, 'pid', 1, largestPid);
    const read = (path: string) => parseLabel(readFileSync(path, 'utf8').replace(/[\n\0]+$/, ''));
    return kernelFile(`/proc/${number}/attr/apparmor/current`, 'read the label', (path) => {
      try {
        return read(path);
      } catch (error) {
        // Before Linux 5.8 there is one file for whichever module comes first.
        if (!isErrno(error, 'ENOENT')) throw error;
        return read(`/proc/${number}/attr/current`);
      }
    });
  },

  /** Text of a profile for a container's programs, for apparmor_parser(8). Nothing is loaded by it. */
  profile(options: AppArmorProfileOptions): string {
    return profileText(options);
  },

  /**
   * Load compiled policy, in place of profiles of the same names.
   * @throws OptionError for what is not compiled policy, PermissionError without CAP_MAC_ADMIN, TscontainError where the
   *   kernel does not take it (EPROTONOSUPPORT: compiled for other features than it has)
   */
  load(compiled: Uint8Array): void {
    if (!(compiled instanceof Uint8Array)) throw new OptionError('compiled', 'bytes of compiled policy', compiled);
    const bytes = Buffer.from(compiled);
    if (bytes.length > mostPolicy || !bytes.subarray(0, header.length).equals(header)) {
      throw new OptionError('compiled', `compiled policy, at most ${mostPolicy} bytes`, compiled, {
        hint: 'text is compiled by apparmor_parser --ofile FILE --skip-kernel-load',
      });
    }
    kernelFile(`${policy}/.replace`, 'load the profile', (path) => writeFileSync(path, bytes, { flag: 'r+' }));
  },

  /**
   * Remove a profile. Processes under it are unconfined from then on.
   * @throws TscontainError where there is none of that name (ENOENT), PermissionError without CAP_MAC_ADMIN
   */
  remove(name: string): void {
    const text = profileName(name, 'name');
    kernelFile(`${policy}/.remove`, `remove the profile ${text}`, (path) => writeFileSync(path, text, { flag: 'r+' }));
  },
});

/** `name (mode)`, as the kernel writes it. */
function parseLabel(line: string): AppArmorLabel {
  const [, name = line, mode] = /^(.*) \(([^()]*)\)$/s.exec(line) ?? [];
  return { name, mode };
}

function kernelFile<T>(path: string, doing: string, use: (path: string) => T): T {
  if (!AppArmor.enabled()) throw noAppArmor();
  try {
    return use(path);
  } catch (cause) {
    const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
    const details = { path, errno, cause };
    const message = `cannot ${doing}: ${errno ?? 'failed'}`;
    if (errno === 'ENOENT' && path === `${policy}/profiles`) {
      throw new UnsupportedError(message, { ...details, hint: 'mount -t securityfs securityfs /sys/kernel/security' });
    }
    if (errno === 'EACCES' || errno === 'EPERM') {
      throw new PermissionError(message, { ...details, hint: 'it takes CAP_MAC_ADMIN in the host’s user namespace' });
    }
    throw new TscontainError('ERR_APPARMOR', message, details);
  }
}

function isErrno(error: unknown, errno: string): boolean {
  return error instanceof Error && 'code' in error && error.code === errno;
}
