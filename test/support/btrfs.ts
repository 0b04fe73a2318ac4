/** A btrfs in a file, mounted for a test. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'vitest';
import { needsLoopFiles, needsPrograms } from './requirements.js';

export interface Btrfs {
  readonly path: string;
  remove(): void;
}

/** Skip where the test cannot have one. */
export function needsBtrfs(context: TestContext): void {
  needsLoopFiles(context);
  needsPrograms(context, 'mkfs.btrfs', 'mount');
  context.skip(!/\tbtrfs$/m.test(readFileSync('/proc/filesystems', 'utf8')), 'this kernel has no btrfs');
}

/** Made by the tools, as an administrator would. */
export function mountBtrfs(): Btrfs {
  const directory = mkdtempSync(join(tmpdir(), 'tscontain-btrfs-'));
  const [image, path] = [join(directory, 'image'), join(directory, 'mount')];
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  const run = (program: string, ...argv: string[]) => execFileSync(program, argv, { env, stdio: 'pipe' });
  run('truncate', '-s', '512M', image);
  run('mkfs.btrfs', '-q', image);
  run('mkdir', path);
  run('mount', '-o', 'loop', image, path);
  return {
    path,
    remove() {
      // What containers had is still being removed, maybe, by the launcher.
      for (let tries = 1; ; tries++) {
        try {
          run('umount', path);
          break;
        } catch (error) {
          if (tries === 50) throw error;
          run('sleep', '0.1');
        }
      }
      rmSync(directory, { recursive: true });
    },
  };
}

/** Subvolumes, as paths from the top of the file system. */
export function subvolumes({ path }: Btrfs): string[] {
  const list = execFileSync('btrfs', ['subvolume', 'list', path], { encoding: 'utf8' });
  return [...list.matchAll(/ path (.+)$/gm)].map(([, name = '']) => name);
}
