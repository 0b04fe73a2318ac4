/**
 * Programs that keep credentials, as Docker's configuration names them: `docker-credential-<name> get` reads the address of a
 * registry and writes a name and a secret (docker-credential-helpers). They are run only where the caller has said so.
 */

import { AbortedError, ImageError } from '../../errors.js';
import type { RegistryCredentials } from './options.js';
import { readCredentials } from './settings.js';

/** Milliseconds: it may have to ask a person. */
const patience = 60_000;
const largest = 64 * 1024;
const grammar = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** What Docker's own registry is called there. */
const dockerHub = 'https://index.docker.io/v1/';

/**
 * Asks a helper for the credentials of a host. It is found in `PATH`, and has the rights of this process.
 * @returns undefined if it has none
 * @throws ImageError `ERR_CONFIG` for one that cannot be run, fails, or answers with something else; AbortedError
 */
export async function askCredentialHelper(
  name: string,
  host: string,
  signal: AbortSignal,
): Promise<RegistryCredentials | undefined> {
  const program = `docker-credential-${name}`;
  const refuse = (problem: string, cause?: unknown): ImageError =>
    new ImageError('ERR_CONFIG', `credentials of ${host}: ${problem}`, { cause });
  if (!grammar.test(name)) throw refuse(`'${name.slice(0, 64)}' is no name of a credential helper`);
  // Only who asks for this needs programs to be run.
  const { spawn } = await import('../../process/spawn.js');
  const stdin = Buffer.from(`${host === 'docker.io' ? dockerHub : host}\n`);
  let result: Awaited<ReturnType<typeof spawn>>;
  try {
    result = await spawn([program, 'get'], { stdin, signal, timeout: patience, maxOutput: largest });
  } catch (error) {
    if (error instanceof AbortedError) throw error;
    throw refuse(`${program} could not be run: ${error instanceof Error ? error.message : error}`, error);
  }
  if (result.reason === 'aborted') throw new AbortedError(`aborted while asking ${program}`, { cause: signal.reason });
  // What it has written may be secret, so it is not shown.
  if (result.reason !== 'exited') throw refuse(`${program} was ended (${result.reason})`);
  if (result.exitCode !== 0) {
    if (/credentials not found/i.test(String(result.stdout))) return undefined;
    throw refuse(`${program} ended with status ${result.exitCode}`);
  }
  try {
    const { Username, Secret } = JSON.parse(String(result.stdout)) as Record<string, unknown>;
    if (Username === '' && Secret === '') return undefined;
    if (Username === '<token>') return readCredentials({ identityToken: Secret }, 'credentials');
    return readCredentials({ username: Username, password: Secret }, 'credentials');
  } catch {
    throw refuse(`what ${program} has written is no name and secret`);
  }
}
