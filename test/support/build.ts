/** Programs of their own that use the package as it is shipped: `dist/`, built when it is missing, and the fixtures. */

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const packageRoot = fileURLToPath(new URL('../..', import.meta.url));

/** Builds the TypeScript side unless it is there. */
export function buildOnce(): void {
  if (existsSync(`${packageRoot}dist/index.js`)) return;
  execFileSync('npm', ['run', '--silent', 'build:ts'], { cwd: packageRoot, stdio: 'inherit' });
}

/** The path of a program in test/fixtures. */
export function fixture(name: string): string {
  return `${packageRoot}test/fixtures/${name}`;
}
