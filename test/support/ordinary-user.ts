/**
 * Programs that an ordinary user runs with the library: Ada, in a mount namespace with accounts, subordinate ids and a home
 * of her own. The library runs from a copy that anyone may read. Takes root.
 */

import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'vitest';
import { buildOnce, packageRoot } from './build.js';
import { needsPrograms, needsRoot } from './requirements.js';

/** What a package needs to run, and what that needs, as names in node_modules, where they lie side by side. */
function dependenciesOf(folder: string): string[] {
  const { dependencies = {} } = JSON.parse(readFileSync(join(packageRoot, folder, 'package.json'), 'utf8')) as {
    dependencies?: Record<string, string>;
  };
  return Object.keys(dependencies).flatMap((name) => [name, ...dependenciesOf(`node_modules/${name}`)]);
}

/** Her ids, and the ranges that she may be granted. */
export const ada = { uid: 1234, gid: 1235, uids: 300_000, gids: 400_000 } as const;

/** Copies the library, as it is shipped, to a folder, with what it needs to run. */
export function copyLibrary(folder: string): void {
  buildOnce();
  const needed = dependenciesOf('').map((name) => `node_modules/${name}`);
  for (const name of ['package.json', 'dist', 'native/build/Release/tscontain.node', ...needed]) {
    cpSync(join(packageRoot, name), join(folder, name), { recursive: true, dereference: true });
  }
}

export interface RunAsOptions {
  /** Lines of /etc/subuid and /etc/subgid. Default none. */
  readonly subuid?: string;
  readonly subgid?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** What is done as root first, in the mount namespace: text for a shell. The folder is the directory it is in. */
  readonly prepare?: string;
}

/** The lines that grant her 65,536 of each. */
export const granted: RunAsOptions = { subuid: `ada:${ada.uids}:65536\n`, subgid: `ada:${ada.gids}:65536\n` };

/** A copy of the library that she can use, until it is disposed of. */
export class OrdinaryUser implements Disposable {
  readonly folder = mkdtempSync('/tmp/tscontain-user-');
  /** As text for an import. */
  readonly library = JSON.stringify(join(this.folder, 'dist/index.js'));

  /** Skips where this process cannot become someone else. */
  static needed(context: TestContext): void {
    needsRoot(context);
    needsPrograms(context, 'unshare', 'setpriv', 'mount');
  }

  constructor() {
    chmodSync(this.folder, 0o755);
    copyLibrary(this.folder);
    for (const name of ['home', 'etc']) mkdirSync(join(this.folder, name));
  }

  /**
   * Runs an ES module to its end, and returns what it has printed as JSON. Her home is an empty tmpfs, for this once.
   * @throws what the program wrote to its standard error
   */
  run(
    context: TestContext,
    program: string,
    { subuid = '', subgid = '', env = {}, prepare = ':' }: RunAsOptions = {},
  ): unknown {
    const { uid, gid } = ada;
    const file = (name: string, text: string) => writeFileSync(join(this.folder, 'etc', name), text);
    file('passwd', `root:x:0:0::/root:/bin/sh\nada:x:${uid}:${gid}::${this.folder}/home:/bin/sh\n`);
    file('group', `root:x:0:\nada:x:${gid}:\n`);
    file('subuid', subuid);
    file('subgid', subgid);
    const script = `set -e; cd ${this.folder}
      mount -t tmpfs -o mode=755,uid=${uid},gid=${gid},size=256m home home
      for name in passwd group subuid subgid; do [ ! -e /etc/$name ] || mount --bind etc/$name /etc/$name; done
      ${prepare}
      exec setpriv --reuid ${uid} --regid ${gid} --clear-groups -- "$@"`;
    const argv = ['-m', '--propagation', 'private', 'sh', '-c', script, 'sh'];
    const node = [process.execPath, '--input-type=module', '-e', program.replaceAll('LIBRARY', this.library)];
    const { stdout, stderr } = spawnSync('unshare', [...argv, ...node], {
      env: { PATH: process.env.PATH, HOME: `${this.folder}/home`, ...env },
      encoding: 'utf8',
      timeout: 60_000,
    });
    context.skip(
      /unprivileged user namespaces|may not make namespaces/.test(stderr),
      'ordinary users have no user namespaces here',
    );
    if (stderr !== '' || stdout === '') throw new Error(stderr || 'it has not ended in a minute');
    return JSON.parse(stdout);
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
