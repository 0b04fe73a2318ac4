/** What becomes of a connection: the rules, or the function, and in any case which addresses it may really lead to. */

import { OptionError } from '../../errors.js';
import { formatIp, type IpAddress, parseIp } from '../address.js';
import type { EgressConnection, EgressDecision, EgressReason, EgressTarget } from './options.js';
import { fitsAddress, fitsName } from './pattern.js';
import { specialRange } from './ranges.js';
import type { NameResolver } from './resolve.js';
import type { EgressSettings } from './settings.js';

export type Judgement =
  /** To one of these addresses, the first that answers. */
  | { readonly kind: 'addresses'; readonly addresses: readonly string[] }
  | { readonly kind: 'target'; readonly target: EgressTarget }
  | { readonly kind: 'refused'; readonly reason: EgressReason; readonly address?: string; readonly error?: unknown };

const refused = (reason: EgressReason, more: { address?: string; error?: unknown } = {}): Judgement => ({
  kind: 'refused',
  reason,
  ...more,
});

/** Whether a name may be asked for, before it is known what for. */
export function mayAsk({ allow, deny }: EgressSettings, name: string): 'yes' | 'not-allowed' | 'denied' {
  const whole = deny.some(
    (pattern) => pattern.ports.first === 1 && pattern.ports.last === 65535 && fitsName(pattern, name, undefined),
  );
  if (whole) return 'denied';
  return allow === undefined || allow.some((pattern) => fitsName(pattern, name, undefined)) ? 'yes' : 'not-allowed';
}

export async function judge(
  settings: EgressSettings,
  connection: EgressConnection,
  resolver: NameResolver,
): Promise<Judgement> {
  const { allow, deny, decide } = settings;
  const { name, port } = connection;
  const address = parseIp(connection.address);
  if (address === undefined) return refused('malformed');
  const about = name === undefined ? [address] : undefined;
  if (name !== undefined && deny.some((pattern) => fitsName(pattern, name, port))) return refused('denied');
  if (about && deny.some((pattern) => fitsAddress(pattern, address.bytes, port))) return refused('denied');
  if (decide) {
    const decision = await ask(decide, connection);
    if (decision.kind !== 'allowed') return decision;
  } else if (name !== undefined && !allow?.some((pattern) => fitsName(pattern, name, port))) {
    return refused('not-allowed');
  }
  if (about) return among(settings, about, connection, false);
  const { addresses, given } = await resolver.resolve(name ?? '');
  if (addresses.length === 0) return refused('unresolved');
  return among(settings, addresses, connection, given);
}

/** Those of the addresses that it may lead to. */
function among(
  settings: EgressSettings,
  addresses: readonly IpAddress[],
  { name, port }: EgressConnection,
  given: boolean,
): Judgement {
  const { allow, deny } = settings;
  const verdicts = addresses.map(({ bytes }): EgressReason | undefined => {
    if (deny.some((pattern) => fitsAddress(pattern, bytes, port))) return 'denied';
    if (given) return undefined;
    const special = specialRange(bytes);
    const named = allow?.some((pattern) => fitsAddress(pattern, bytes, port, special)) ?? false;
    if (special === undefined) return name !== undefined || allow === undefined || named ? undefined : 'not-allowed';
    // A function has seen the address of a connection without a name.
    if (named || (allow === undefined && name === undefined && special.decidable)) return undefined;
    return 'special-address';
  });
  const open = addresses.filter((_, index) => verdicts[index] === undefined).map(({ bytes }) => formatIp(bytes));
  if (open.length > 0) return { kind: 'addresses', addresses: open };
  const [first] = addresses;
  return refused(verdicts[0] ?? 'not-allowed', first && { address: formatIp(first.bytes) });
}

type Asked = { readonly kind: 'allowed' } | Extract<Judgement, { kind: 'target' | 'refused' }>;

async function ask(decide: NonNullable<EgressSettings['decide']>, connection: EgressConnection): Promise<Asked> {
  try {
    const decision = await decide(connection);
    if (decision === 'allow') return { kind: 'allowed' };
    if (decision === 'deny') return { kind: 'refused', reason: 'decided' };
    return { kind: 'target', target: readTarget(decision) };
  } catch (error) {
    return { kind: 'refused', reason: 'failed', error };
  }
}

/** @throws OptionError */
function readTarget(decision: Exclude<EgressDecision, string>): EgressTarget {
  const target: unknown = typeof decision === 'object' && decision !== null ? decision.connect : undefined;
  if (typeof target === 'function') return target as EgressTarget;
  if (typeof target === 'object' && target !== null) {
    const { host, port, unix } = target as { host?: unknown; port?: unknown; unix?: unknown };
    if (typeof unix === 'string' && unix !== '' && !unix.includes('\0')) return { unix };
    const isPort = typeof port === 'number' && Number.isInteger(port) && port > 0 && port < 65536;
    if (typeof host === 'string' && host !== '' && isPort) return { host, port };
  }
  throw new OptionError(
    'decide',
    "a function that answers 'allow', 'deny', or { connect: { host, port }, { unix } or a function }",
    decision,
  );
}
