/** Failures of requests as errors of the library: what was asked of whom, what came back, whether to try again. */

import { AbortedError, ImageError, type ImageErrorDetails, TscontainError } from '../../errors.js';

/** A failure that may pass: worth another attempt. */
export class TransientError extends ImageError {
  constructor(
    code: `ERR_${string}`,
    message: string,
    details: ImageErrorDetails,
    /** Milliseconds that the registry asks to wait for. */
    readonly retryAfter?: number,
  ) {
    super(code, message, details);
  }
}

const timeouts = new Set(['UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);
/** Failures to reach somebody, or in the middle of it. What is not here (TLS, malformed answers) does not pass by itself. */
const passing =
  /^(UND_ERR_SOCKET|ECONNRESET|ECONNREFUSED|ECONNABORTED|EPIPE|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|EHOSTUNREACH|ENETDOWN)$/;

/** What failed below HTTP. */
export function connectionFailure(error: unknown, doing: string, signal: AbortSignal): TscontainError {
  if (signal.aborted) {
    const reason: unknown = signal.reason;
    return reason instanceof TscontainError ? reason : new AbortedError(`aborted while ${doing}`, { cause: reason });
  }
  if (error instanceof TscontainError) return error;
  const { code, message } = innermost(error);
  if (timeouts.has(code)) return new TransientError('ERR_TIMEOUT', `${doing}: no answer in time`, { cause: error });
  const details = { cause: error, ...(code.startsWith('E') && { errno: code }) };
  if (passing.test(code)) return new TransientError('ERR_REGISTRY', `${doing}: ${message}`, details);
  return new ImageError('ERR_REGISTRY', `${doing}: ${message}`, { ...details, hint: hints.get(code) });
}

const hints: ReadonlyMap<string, string> = new Map([
  ['ENOTFOUND', 'there is no host of this name; is the name of the registry right?'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'give the authority in tls: { host: { ca } }'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'give the certificate in tls: { host: { ca } }'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'give the authority in tls: { host: { ca } }'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'give the authority in tls: { host: { ca } }'],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'it does not speak TLS; list the host in `insecure` if that is meant'],
]);

function innermost(error: unknown): { code: string; message: string } {
  // An AggregateError of several addresses says nothing itself.
  const first = error instanceof AggregateError && error.message === '' ? error.errors[0] : error;
  const code = typeof first === 'object' && first !== null && 'code' in first ? String(first.code) : '';
  return { code, message: first instanceof Error ? first.message : String(first) };
}

/** Milliseconds of a `Retry-After`: seconds, or a date. At most two minutes are waited for. */
export function parseRetryAfter(header: string | undefined, now = Date.now()): number | undefined {
  if (header === undefined) return undefined;
  const milliseconds = /^\d{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isNaN(milliseconds) ? undefined : Math.min(Math.max(milliseconds, 0), 120_000);
}

/**
 * An answer that is no success.
 * @param body its beginning: registries explain themselves in JSON (OCI distribution-spec, "Error Codes")
 */
export function statusFailure(
  status: number,
  doing: string,
  body: Uint8Array,
  retryAfter: string | undefined,
): ImageError {
  const said = explanation(body);
  const message = `${doing}: the registry answered ${status}${said === '' ? '' : ` (${said})`}`;
  if (status === 429 || status === 408 || (status >= 500 && status !== 501)) {
    return new TransientError('ERR_REGISTRY', message, { status }, parseRetryAfter(retryAfter));
  }
  if (status === 401 || status === 403) {
    return new ImageError('ERR_UNAUTHORIZED', message, {
      status,
      hint: 'are there credentials for this registry, and may they do this?',
    });
  }
  return new ImageError(status === 404 ? 'ERR_NOT_FOUND' : 'ERR_REGISTRY', message, { status });
}

function explanation(body: Uint8Array): string {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(body).toString());
    const errors = (parsed as { errors?: unknown } | null)?.errors;
    const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
    const { code, message } = (first ?? {}) as { code?: unknown; message?: unknown };
    return [code, message]
      .filter((part): part is string => typeof part === 'string' && part !== '')
      .join(': ')
      .slice(0, 300);
  } catch {
    return '';
  }
}
