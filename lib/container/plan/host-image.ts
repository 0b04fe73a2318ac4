/**
 * `image: 'host'`: which parts of the host's system a container sees. Programs and libraries, read-only; of `/etc` only
 * what programs need to start and what is no one's secret; nothing of `/home`, `/root`, `/var` or `/opt`.
 */

import { type Dirent, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { nsswitch } from './system-files.js';

/** What one container gets of the host. Found out once: a system does not change its layout while programs run. */
export interface HostImage {
  /** Directories that are mounted, at the same path. */
  readonly directories: readonly string[];
  /** Links of the root directory that are made again, such as `/bin` to `usr/bin`. */
  readonly links: readonly (readonly [path: string, target: string])[];
  /** Directories and files below /etc that are mounted. */
  readonly etc: readonly { readonly path: string; readonly directory: boolean }[];
  /** Text files that are written. */
  readonly files: readonly { readonly path: string; readonly content: string }[];
  /** What /etc/localtime points to, if it is a link into the zone database. */
  readonly localtime: string | undefined;
}

const systemDirectories = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32'];

/** Below /etc, mounted: the linker's cache, certificate authorities (no private keys), and alternatives. */
const etcMounted = ['ld.so.cache', 'alternatives', 'ssl/certs', 'pki/tls/certs', 'pki/ca-trust/extracted'];
/** Run-time configuration of Java, without which no `java` starts: /etc/java-17-openjdk and the like. */
const etcPatterns = [/^java-\d+-openjdk$/];
/** Below /etc, small and the same for everyone: copied as they were when the first container was made. */
const etcCopied = ['ssl/openssl.cnf', 'services', 'protocols'];
const largestCopy = 64 * 1024;

let found: HostImage | undefined;

/** The host's image, read from the host at the first call. */
export function hostImage(): HostImage {
  found ??= findHostImage();
  return found;
}

function findHostImage(): HostImage {
  const directories: string[] = [];
  const links: [string, string][] = [];
  for (const path of systemDirectories) {
    const kind = kindOf(path);
    if (kind === 'link') links.push([path, readlinkSync(path)]);
    else if (kind === 'directory') directories.push(path);
  }
  const matching = entriesOf('/etc')
    .map((entry) => entry.name)
    .filter((name) => etcPatterns.some((pattern) => pattern.test(name)));
  const etc = [...etcMounted, ...matching].flatMap((name) => {
    const kind = kindOf(`/etc/${name}`);
    return kind === 'directory' || kind === 'file' ? [{ path: `/etc/${name}`, directory: kind === 'directory' }] : [];
  });
  const localtime = kindOf('/etc/localtime') === 'link' ? readlinkSync('/etc/localtime') : undefined;
  const files = etcCopied.flatMap((name) => {
    const content = smallFile(`/etc/${name}`);
    return content === undefined ? [] : [{ path: `etc/${name}`, content }];
  });
  return { directories, links, etc, localtime, files: [...files, { path: 'etc/nsswitch.conf', content: nsswitch }] };
}

function kindOf(path: string): 'directory' | 'file' | 'link' | undefined {
  const facts = lstatSync(path, { throwIfNoEntry: false });
  if (facts?.isSymbolicLink()) return 'link';
  if (facts?.isDirectory()) return 'directory';
  return facts?.isFile() ? 'file' : undefined;
}

function entriesOf(path: string): Dirent[] {
  try {
    return readdirSync(path, { withFileTypes: true });
  } catch {
    return [];
  }
}

function smallFile(path: string): string | undefined {
  const facts = lstatSync(path, { throwIfNoEntry: false });
  return facts?.isFile() && facts.size <= largestCopy ? readFileSync(path, 'utf8') : undefined;
}
