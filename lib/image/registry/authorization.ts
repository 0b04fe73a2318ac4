/**
 * Who we are for one endpoint: nobody, a name with a password, or whoever holds a token that was given out for a scope
 * (distribution's "Token Authentication Specification"). What is found out holds for the endpoint's origin alone (row J1).
 */

import { ImageError } from '../../errors.js';
import { type Challenge, parseChallenges } from './challenge.js';
import { credentialsFromFile } from './config-file.js';
import { askCredentialHelper } from './credential-helper.js';
import { statusFailure } from './failure.js';
import type { RegistryCredentials } from './options.js';
import { Secret } from './secret.js';
import { readCredentials } from './settings.js';
import { discard, type Response, readAll, type Transport } from './transport.js';

/** What a token should allow: `repository:library/debian:pull`, several apart by spaces. */
export type Scope = string;

interface Token {
  readonly secret: Secret;
  /** On the clock of {@link performance}. */
  readonly until: number;
}

/** A header to send, or none. */
type Header = Secret | undefined;

export class Authorization {
  /** A challenge that was answered: what comes next is answered before it is asked. */
  #known: Challenge | undefined;
  readonly #tokens = new Map<Scope, Token>();
  readonly #asking = new Map<Scope, Promise<Token>>();
  #credentials: Promise<RegistryCredentials | undefined> | undefined;

  constructor(
    readonly transport: Transport,
    readonly repository: string,
  ) {}

  /** What to send with a request for the scope, as far as is known. */
  async header(scope: Scope, signal: AbortSignal): Promise<Header> {
    return this.#known && this.#answer(this.#known, scope, signal);
  }

  /**
   * What to send after a request was refused with 401.
   * @param sent what was sent with it: of no use any more
   * @returns undefined if there is nothing else to try
   */
  async refused(response: Response, scope: Scope, sent: Header, signal: AbortSignal): Promise<Header> {
    const challenges = parseChallenges(response.headers('www-authenticate'));
    const token = this.#tokens.get(scope);
    if (token && token.secret === sent) this.#tokens.delete(scope);
    const chosen =
      challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters.has('realm')) ??
      challenges.find(({ scheme }) => scheme === 'basic');
    if (!chosen) return undefined;
    const header = await this.#answer(chosen, scope, signal);
    if (header === undefined || header.reveal() === sent?.reveal()) return undefined;
    this.#known = chosen;
    return header;
  }

  async #answer(challenge: Challenge, scope: Scope, signal: AbortSignal): Promise<Header> {
    const credentials = await this.#ownCredentials(signal);
    if (credentials && 'token' in credentials) return new Secret(`Bearer ${credentials.token}`);
    if (challenge.scheme === 'basic') return credentials && basic(credentials);
    const known = this.#tokens.get(scope);
    if (known && known.until > performance.now()) return known.secret;
    const running = this.#asking.get(scope);
    if (running) return (await running).secret;
    const asking = this.#ask(challenge, scope, credentials, signal);
    this.#asking.set(scope, asking);
    try {
      const token = await asking;
      this.#tokens.set(scope, token);
      return token.secret;
    } finally {
      this.#asking.delete(scope);
    }
  }

  async #ask(
    challenge: Challenge,
    scope: Scope,
    credentials: RegistryCredentials | undefined,
    signal: AbortSignal,
  ): Promise<Token> {
    const doing = `asking for a token of ${this.transport.endpoint.host}`;
    const realm = this.#realm(challenge, doing);
    const service = challenge.parameters.get('service');
    const scopes = scope.split(' ').filter((part) => part !== '');
    let response: Response;
    if (credentials && 'identityToken' in credentials) {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        refresh_token: credentials.identityToken,
        client_id: 'tscontain',
        ...(service !== undefined && { service }),
        scope: scopes.join(' '),
      });
      const headers = { 'content-type': 'application/x-www-form-urlencoded' };
      const body = Buffer.from(form.toString());
      response = await this.transport.send({ method: 'POST', url: realm, headers, body, doing, signal });
    } else {
      if (service !== undefined) realm.searchParams.set('service', service);
      for (const part of scopes) realm.searchParams.append('scope', part);
      const authorization = credentials && basic(credentials)?.reveal();
      response = await this.transport.send({ method: 'GET', url: realm, authorization, doing, signal });
    }
    const bytes = await readAll(response, 1024 * 1024, doing, signal);
    if (response.status !== 200) {
      throw statusFailure(response.status, doing, bytes, response.header('retry-after'));
    }
    return readToken(bytes, doing);
  }

  /** The address that gives out tokens. It gets a password, so it is https, or a host that is spoken to in http anyway. */
  #realm(challenge: Challenge, doing: string): URL {
    const text = challenge.parameters.get('realm') ?? '';
    if (!URL.canParse(text)) {
      throw new ImageError(
        'ERR_REGISTRY',
        `${doing}: '${text.slice(0, 200)}' is no address (the realm of its challenge)`,
      );
    }
    const realm = new URL(text);
    this.transport.check(realm, doing);
    realm.hash = '';
    return realm;
  }

  #ownCredentials(signal: AbortSignal): Promise<RegistryCredentials | undefined> {
    this.#credentials ??= this.#findCredentials(signal);
    return this.#credentials;
  }

  async #findCredentials(signal: AbortSignal): Promise<RegistryCredentials | undefined> {
    const { settings, endpoint } = this.transport;
    const given: unknown = await settings.credentials?.(endpoint.host);
    if (given !== undefined) return readCredentials(given, 'credentials');
    if (settings.configFile === false) return undefined;
    const { host, prefix } = endpoint;
    const ask = (helper: string) => askCredentialHelper(helper, host, signal);
    const asked = settings.credentialHelpers ? ask : undefined;
    return credentialsFromFile(settings.configFile, host, `${prefix}${this.repository}`, process.env, asked);
  }
}

function basic(credentials: RegistryCredentials): Secret | undefined {
  if (!('username' in credentials)) return undefined;
  const text = `${credentials.username}:${credentials.password}`;
  return new Secret(`Basic ${Buffer.from(text).toString('base64')}`);
}

function readToken(bytes: Uint8Array, doing: string): Token {
  let answer: unknown;
  try {
    answer = JSON.parse(Buffer.from(bytes).toString());
  } catch {
    answer = undefined; // what it says may be secret
  }
  const { token, access_token, expires_in } = (answer ?? {}) as Record<string, unknown>;
  const text = typeof token === 'string' && token !== '' ? token : access_token;
  // It becomes a part of a header: visible characters (RFC 6750, section 2.1, has fewer).
  if (typeof text !== 'string' || !/^[\x21-\x7e]+$/.test(text)) {
    throw new ImageError('ERR_REGISTRY', `${doing}: there is no token in the answer`);
  }
  // A minute if nothing is said, as the specification has it; renewed a bit before its time.
  const seconds = typeof expires_in === 'number' && expires_in > 0 ? expires_in : 60;
  return { secret: new Secret(`Bearer ${text}`), until: performance.now() + seconds * 900 };
}

/** A request whose 401 is answered; at most twice, as a token may have run out, and its successor may need another scope. */
export async function authorized(
  authorization: Authorization,
  scope: Scope,
  signal: AbortSignal,
  send: (header: string | undefined) => Promise<Response>,
): Promise<Response> {
  let header = await authorization.header(scope, signal);
  for (let attempt = 0; ; attempt++) {
    const response = await send(header?.reveal());
    if (response.status !== 401 || attempt === 2) return response;
    const next = await authorization.refused(response, scope, header, signal);
    if (next === undefined) return response;
    discard(response);
    header = next;
  }
}
