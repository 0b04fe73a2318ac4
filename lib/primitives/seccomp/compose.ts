/** Profiles made of profiles: calls that a handler takes over, rules added to those of a container, answers made visible. */

import { isErrno, returnNotify } from './action.js';
import { decode, encode, opcode } from './bpf.js';
import { type SeccompProfile, validateProfile } from './profile.js';

const handled = new WeakMap<SeccompProfile, Map<string, SeccompProfile>>();
const joined = new WeakMap<SeccompProfile, Map<SeccompProfile, SeccompProfile>>();

/**
 * The profile with `names` left to a handler, whatever their arguments: what its own rules say of these calls no longer
 * counts. The same arguments give the same object.
 */
export function handOver(profile: SeccompProfile, names: readonly string[]): SeccompProfile {
  if (names.length === 0) return profile;
  const sorted = [...new Set(names)].sort();
  return remembered(handled, profile, sorted.join(), () => {
    const rules = (profile.syscalls ?? []).flatMap((rule) => {
      const kept = rule.names.filter((name) => !sorted.includes(name));
      return kept.length === 0 ? [] : [{ ...rule, names: kept }];
    });
    return validateProfile({ ...profile, syscalls: [...rules, { names: sorted, action: 'SCMP_ACT_NOTIFY' }] });
  });
}

/**
 * The rules of both: of several that hold for a call the most restrictive counts, as if the kernel ran two filters. For
 * where there can be only one, since a filter with a listener hears nothing of what another one refuses.
 */
export function join(profile: SeccompProfile, other: SeccompProfile): SeccompProfile {
  return remembered(joined, profile, other, () =>
    validateProfile({ ...profile, syscalls: [...(profile.syscalls ?? []), ...(other.syscalls ?? [])] }),
  );
}

/** The program with each refusal turned into a notification: whoever answers them knows of every refused call. */
export function withRefusalsNotified(program: Uint8Array): Uint8Array {
  const refusal = (code: number, k: number) => code === opcode.return && isErrno(k);
  return encode(decode(program).map((one) => (refusal(one.code, one.k) ? { ...one, k: returnNotify } : one)));
}

/** Whether the handler is ever asked. */
export function hasNotify({ defaultAction, syscalls = [] }: SeccompProfile): boolean {
  return defaultAction === 'SCMP_ACT_NOTIFY' || syscalls.some(({ action }) => action === 'SCMP_ACT_NOTIFY');
}

function remembered<K>(
  cache: WeakMap<SeccompProfile, Map<K, SeccompProfile>>,
  profile: SeccompProfile,
  key: K,
  make: () => SeccompProfile,
): SeccompProfile {
  const known = cache.get(profile) ?? new Map<K, SeccompProfile>();
  cache.set(profile, known);
  let made = known.get(key);
  if (!made) {
    made = make();
    known.set(key, made);
  }
  return made;
}
