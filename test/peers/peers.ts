/** Programs of other people that make and read images, the images that they make here, and trees to compare. */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import type { TestContext } from 'vitest';
import { snapshot } from '../support/tree.js';

/** Where the images are, which are made once. */
export const images = process.env.TSCONTAIN_PEERS ?? 'build/peers';

/** Why these tests cannot run here; undefined if they can. */
export function lacking(...programs: readonly string[]): string | undefined {
  const missing = programs.filter((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0);
  if (process.geteuid?.() !== 0) return 'needs root';
  return missing.length > 0 ? `not installed: ${missing.join(', ')}` : undefined;
}

/** What the program says. @throws with all that it has said, if it fails */
export function run(program: string, ...argv: readonly string[]): string {
  return execFileSync(program, argv, { encoding: 'utf8', maxBuffer: 2 ** 26, stdio: ['ignore', 'pipe', 'pipe'] });
}

/**
 * Runs a script of this directory that makes images.
 * @returns why they cannot be made here: a script ends with 75 if there is no network
 */
export function make(script: string): string | undefined {
  mkdirSync(images, { recursive: true });
  const { status, stderr } = spawnSync(join(import.meta.dirname, script), [images], { encoding: 'utf8' });
  if (status === 75) return `no packages can be had: ${stderr.trim().split('\n').at(-1)}`;
  if (status !== 0) throw new Error(`${script} ended with ${status}: ${stderr}`);
  return undefined;
}

/** Skip where the images could not be made. */
export function needsImages(context: TestContext, reason: string | undefined): void {
  context.skip(reason !== undefined, reason);
}

const overlayfs = 0x794c7630;

/** Whether overlays can be made of directories there; if not, other programs have to copy each layer (their driver vfs). */
export function takesOverlays(directory: string): boolean {
  return statfsSync(directory).type !== overlayfs;
}

/** A directory of one test file. */
export class Scratch {
  readonly path: string;

  constructor() {
    const made = mkdtempSync(join(tmpdir(), 'tscontain-peers-'));
    // Some programs take a layout's path for a name, which has no capital letters.
    this.path = join(tmpdir(), basename(made).toLowerCase());
    renameSync(made, this.path);
  }

  at(...names: readonly string[]): string {
    return join(this.path, ...names);
  }

  /** An empty directory. */
  make(name: string): string {
    const path = this.at(name);
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** The tree of a stack of layers, topmost first, through an overlay as containers have it. */
  merged(layers: readonly string[]): string[] {
    const target = this.make('merged');
    const lower = layers.length > 1 ? layers : [...layers, this.make('empty')];
    run('mount', '-t', 'overlay', '-o', `ro,userxattr,lowerdir=${lower.join(':')}`, 'overlay', target);
    try {
      return snapshot(target);
    } finally {
      run('umount', target);
    }
  }

  /** The tree that umoci unpacks of an image of a layout. */
  umoci(image: string): string[] {
    const bundle = this.at('umoci-bundle');
    run('umoci', 'unpack', '--image', image, bundle);
    const tree = snapshot(join(bundle, 'rootfs'));
    rmSync(bundle, { recursive: true, force: true });
    return tree;
  }

  dispose(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Lines of one listing that the other has not. */
export function differences(ours: readonly string[], theirs: readonly string[]): string[] {
  const [a, b] = [new Set(ours), new Set(theirs)];
  return [
    ...ours.filter((line) => !b.has(line)).map((line) => `ours:   ${line}`),
    ...theirs.filter((line) => !a.has(line)).map((line) => `theirs: ${line}`),
  ];
}
