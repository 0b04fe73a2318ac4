/** Credentials of `docker login` and `podman login`: config.json(5) of Docker, containers-auth.json(5). */

import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ImageError } from '../../errors.js';
import type { RegistryCredentials } from './options.js';
import { readCredentials } from './settings.js';

const largest = 1024 * 1024;

/**
 * The credentials that the file has for the repository of a host, if any.
 * @param file a path; undefined: where the programs have theirs, if there is one
 * @param ask asks the helper that the file names for the host, before what is in the file itself; undefined: none is asked
 * @throws ImageError `ERR_CONFIG` for a file that cannot be read or understood
 */
export async function credentialsFromFile(
  file: string | undefined,
  host: string,
  repository: string,
  environment: NodeJS.ProcessEnv = process.env,
  ask?: (helper: string) => Promise<RegistryCredentials | undefined>,
): Promise<RegistryCredentials | undefined> {
  const path =
    file ??
    (environment.REGISTRY_AUTH_FILE || join(environment.DOCKER_CONFIG || join(homedir(), '.docker'), 'config.json'));
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (file === undefined && (code === 'ENOENT' || code === 'ENOTDIR')) return undefined;
    throw new ImageError('ERR_CONFIG', `reading credentials from ${path}: ${code}`, { path, errno: code, cause });
  }
  const helper = ask && findHelper(bytes, path, host);
  const told = helper === undefined ? undefined : await ask?.(helper);
  return told ?? findCredentials(bytes, path, host, repository);
}

/** The program that has the credentials of a host, `credHelpers` before `credsStore`. */
function findHelper(bytes: Uint8Array, path: string, host: string): string | undefined {
  const { credHelpers = {}, credsStore } = parseFile(bytes, path);
  if (!isRecord(credHelpers)) throw malformed(path, 'credHelpers is no object');
  const key = Object.keys(credHelpers).find((name) => entryName(name) === canonical(host));
  const helper = key === undefined ? credsStore : credHelpers[key];
  if (helper === undefined || helper === '') return undefined;
  if (typeof helper !== 'string') throw malformed(path, 'a credential helper is named by a text');
  return helper;
}

/** The entry for the longest matching name: `host/namespace` before `host`. */
export function findCredentials(
  bytes: Uint8Array,
  path: string,
  host: string,
  repository: string,
): RegistryCredentials | undefined {
  const auths = parseAuths(bytes, path);
  const wanted = `${canonical(host)}/${repository}/`;
  let best: { name: string; key: string } | undefined;
  for (const key of Object.keys(auths)) {
    const name = entryName(key);
    if (wanted.startsWith(`${name}/`) && name.length > (best?.name.length ?? 0)) best = { name, key };
  }
  return best && readEntry(auths[best.key], path, best.key);
}

function parseAuths(bytes: Uint8Array, path: string): Readonly<Record<string, unknown>> {
  const { auths = {} } = parseFile(bytes, path);
  if (!isRecord(auths)) throw malformed(path, 'no object with `auths`');
  return auths;
}

/** The text is secret, so neither it nor what JSON.parse says of it is shown. */
function parseFile(bytes: Uint8Array, path: string): Readonly<Record<string, unknown>> {
  if (bytes.length > largest) throw malformed(path, `more than ${largest} bytes`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(bytes).toString());
  } catch {
    throw malformed(path, 'not JSON');
  }
  if (!isRecord(parsed)) throw malformed(path, 'no object with `auths`');
  return parsed;
}

function malformed(path: string, problem: string): ImageError {
  return new ImageError('ERR_CONFIG', `credentials in ${path}: ${problem}`, { path });
}

/** The name of an entry: Docker writes URLs for some, `https://index.docker.io/v1/`. */
function entryName(key: string): string {
  const url = /^https?:\/\/([^/]+)/.exec(key);
  if (url) return canonical(url[1] ?? '');
  const [host = '', ...path] = key.split('/');
  return [canonical(host), ...path.filter((part) => part !== '')].join('/');
}

function canonical(host: string): string {
  const lower = host.toLowerCase();
  return lower === 'index.docker.io' || lower === 'registry-1.docker.io' ? 'docker.io' : lower;
}

function readEntry(entry: unknown, path: string, key: string): RegistryCredentials | undefined {
  if (!isRecord(entry)) return undefined;
  const { identitytoken, registrytoken, auth, username, password } = entry;
  const check = (value: unknown): RegistryCredentials => {
    try {
      return readCredentials(value, `auths['${key}']`);
    } catch {
      throw new ImageError('ERR_CONFIG', `credentials in ${path}: the entry of '${key}' is malformed`, { path });
    }
  };
  if (identitytoken) return check({ identityToken: identitytoken });
  if (registrytoken) return check({ token: registrytoken });
  if (username && password) return check({ username, password });
  if (!auth) return undefined; // a credential store has them
  const text = typeof auth === 'string' ? Buffer.from(auth, 'base64').toString().replace(/\0+$/, '') : '';
  const colon = text.indexOf(':');
  return check({ username: text.slice(0, Math.max(colon, 0)), password: text.slice(colon + 1) });
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
