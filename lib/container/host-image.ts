/**
 * `image: 'host'`: which parts of the host's system a container sees. Programs and libraries, read-only; of `/etc` only
 * what programs need to start and what is no one's secret; nothing of `/home`, `/root`, `/var` or `/opt`.
 */

import { type Dirent, lstatSync, readdirSync, readlinkSync } from 'node:fs';

/** What one container gets of the host. Found out once: a system does not change its layout while programs run. */
export interface HostImage {
  /** Directories that are mounted, at the same path. */
  readonly directories: readonly string[];
  /** Links of the root directory that are made again, such as `/bin` to `usr/bin`. */
  readonly links: readonly (readonly [path: string, target: string])[];
  /** Directories and files below /etc that are mounted. */
  readonly etc: readonly { readonly path: string; readonly directory: boolean }[];
  /** What /etc/localtime points to, if it is a link into the zone database. */
  readonly localtime: string | undefined;
}

const systemDirectories = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32'];

/** Below /etc: the linker's cache, certificate authorities (no private keys), alternatives, and names of services. */
const etcEntries = [
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'alternatives',
  'ssl/certs',
  'ssl/openssl.cnf',
  'ca-certificates',
  'pki/tls/certs',
  'pki/ca-trust/extracted',
  'services',
  'protocols',
  'mime.types',
  'python3',
  'perl',
];
/** Run-time configuration of Java, without which no `java` starts: /etc/java-17-openjdk and the like. */
const etcPatterns = [/^java-\d+-openjdk$/, /^python3\.\d+$/];

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
  const etc = [...etcEntries, ...matching].flatMap((name) => {
    const kind = kindOf(`/etc/${name}`);
    return kind === 'directory' || kind === 'file' ? [{ path: `/etc/${name}`, directory: kind === 'directory' }] : [];
  });
  const localtime = kindOf('/etc/localtime') === 'link' ? readlinkSync('/etc/localtime') : undefined;
  return { directories, links, etc, localtime };
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
