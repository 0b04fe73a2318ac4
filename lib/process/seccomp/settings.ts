/** The option `seccomp`: a profile, by name or in full, and who decides what it leaves open. */

import { type Copied, copyObject, defineSchema, optionName, readObject } from '../../container/settings/schema.js';
import { OptionError } from '../../errors.js';
import {
  type DeniedCall,
  defaultProfile,
  dockerProfile,
  handOver,
  hasNotify,
  isSyscallName,
  type SeccompHandler,
  type SeccompProfile,
  validateProfile,
} from '../../primitives/seccomp/index.js';

/** Calls that are decided, or told of, while a program runs. */
export interface SupervisionSettings {
  readonly handler: SeccompHandler | undefined;
  /** Whether refused calls are told of. */
  readonly audit: boolean;
  /** Hears of them, beside the container's event. */
  readonly onDenied: ((call: DeniedCall) => void) | undefined;
}

export interface SeccompSettings {
  readonly seccomp: SeccompProfile;
  readonly seccompName: 'default' | 'docker' | 'custom';
  readonly supervision?: SupervisionSettings | undefined;
}

const defaultSeccomp: SeccompSettings = { seccomp: defaultProfile, seccompName: 'default' };
const dockerSeccomp: SeccompSettings = { seccomp: dockerProfile, seccompName: 'docker' };
const schema = defineSchema(['profile', 'notify', 'audit']);

/** @throws OptionError, also for a profile that leaves calls to a handler where there is none */
export function readSeccomp(value: unknown, option: string): SeccompSettings {
  if (!isOptions(value)) return complete(readProfile(value, option), option);
  const { profile, notify, audit } = readObject(value, option, schema);
  const chosen = readProfile(profile, `${option}.profile`);
  const told = readAudit(audit, `${option}.audit`);
  if (notify === undefined) return complete(withSupervision(chosen, undefined, told), option);
  const { seccomp, handler } = readNotify(notify, chosen.seccomp, `${option}.notify`);
  return withSupervision({ ...chosen, seccomp }, handler, told);
}

/** A profile says what it does by default, or was meant to. */
function isOptions(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !('defaultAction' in value || 'syscalls' in value);
}

function readProfile(value: unknown, option: string): SeccompSettings {
  if (value === undefined || value === 'default') return defaultSeccomp;
  if (value === 'docker') return dockerSeccomp;
  if (typeof value !== 'object' || value === null) {
    const hint = value === 'unconfined' || value === false ? 'the filter cannot be turned off' : undefined;
    throw new OptionError(option, "'default', 'docker' or a profile in the OCI format", value, { hint });
  }
  return { seccomp: validateProfile(value, option), seccompName: 'custom' };
}

function complete(settings: SeccompSettings, option: string): SeccompSettings {
  if (!hasNotify(settings.seccomp)) return settings;
  throw new OptionError(`${option}.notify`, 'a handler, as the profile has SCMP_ACT_NOTIFY', undefined);
}

function withSupervision(
  settings: SeccompSettings,
  handler: SeccompHandler | undefined,
  { audit, onDenied }: Pick<SupervisionSettings, 'audit' | 'onDenied'>,
): SeccompSettings {
  if (!handler && !audit) return settings;
  return { ...settings, supervision: Object.freeze({ handler, audit, onDenied }) };
}

function readAudit(value: unknown, option: string): Pick<SupervisionSettings, 'audit' | 'onDenied'> {
  if (value === undefined || typeof value === 'boolean') return { audit: value ?? false, onDenied: undefined };
  if (typeof value === 'function') return { audit: true, onDenied: value as (call: DeniedCall) => void };
  throw new OptionError(option, 'true, false or a function', value);
}

/** One handler for what the profile leaves open, or handlers by name, which take over their calls. */
function readNotify(
  value: unknown,
  profile: SeccompProfile,
  option: string,
): { readonly seccomp: SeccompProfile; readonly handler: SeccompHandler } {
  if (typeof value === 'function') {
    if (hasNotify(profile)) return { seccomp: profile, handler: value as SeccompHandler };
    const hint = 'a profile says so with SCMP_ACT_NOTIFY; or give handlers by name: notify: { mkdirat: … }';
    throw new OptionError(option, 'a profile that leaves calls to the handler', value, { hint });
  }
  const handlers = readHandlers(copyObject(value, option), option);
  const seccomp = handOver(profile, [...handlers.keys()]);
  const open = (seccomp.syscalls ?? [])
    .filter(({ action }) => action === 'SCMP_ACT_NOTIFY')
    .flatMap(({ names }) => names)
    .find((name) => !handlers.has(name));
  if (open !== undefined || seccomp.defaultAction === 'SCMP_ACT_NOTIFY') {
    throw new OptionError(option, `a handler for ${open ?? 'all calls'} too, as the profile leaves that to one`, value);
  }
  const handler: SeccompHandler = (call) => {
    const own = handlers.get(call.syscall ?? '');
    return own ? own(call) : { errno: 'ENOSYS' };
  };
  return { seccomp, handler };
}

function readHandlers(copied: Copied, option: string): ReadonlyMap<string, SeccompHandler> {
  const entries = Object.entries(copied);
  if (entries.length === 0) throw new OptionError(option, 'a function, or functions by names of system calls', copied);
  return new Map(
    entries.map(([name, handler]) => {
      if (!isSyscallName(name)) throw new OptionError(optionName(option, name), 'the name of a system call', name);
      if (typeof handler !== 'function') throw new OptionError(optionName(option, name), 'a function', handler);
      return [name, handler as SeccompHandler];
    }),
  );
}

/** What is listed of it as a relaxation. */
export function relaxedSeccomp({ seccomp, seccompName, supervision }: SeccompSettings): readonly string[] {
  const decided = (seccomp.syscalls ?? []).flatMap(({ action, names }) => (action === 'SCMP_ACT_NOTIFY' ? names : []));
  const all = seccomp.defaultAction === 'SCMP_ACT_NOTIFY' ? ['all that no rule names'] : [];
  return [
    ...(seccompName === 'custom' ? ['seccomp custom profile'] : []),
    ...(supervision?.handler ? [`seccomp.notify decides ${[...decided, ...all].join(', ')}`] : []),
  ];
}
