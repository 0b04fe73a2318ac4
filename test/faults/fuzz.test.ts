/** A few seconds of `npm run fuzz`: all seeds, and what comes of them. */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, type TestContext } from 'vitest';
import { needsPrograms } from '../support/requirements.js';

const directory = join(import.meta.dirname, '../fuzz');

/** libFuzzer is a package of its own in many distributions. */
function needsLibFuzzer(context: TestContext): void {
  needsPrograms(context, 'clang');
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  const libraries = ['lib/linux/libclang_rt.fuzzer', 'lib/linux/libclang_rt.asan'].map((name) => {
    return spawnSync('clang', [`-print-file-name=${name}-${machine}.a`], { encoding: 'utf8' }).stdout.trim();
  });
  const missing = libraries.filter((path) => !existsSync(path));
  context.skip(missing.length > 0, `clang has no libFuzzer or AddressSanitizer here (${missing.join(', ')})`);
}

describe('fuzzing', () => {
  it('finds nothing wrong with the tar parser in a few seconds', { timeout: 60_000 }, (context) => {
    needsLibFuzzer(context);
    const out = mkdtempSync(join(tmpdir(), 'tscontain-fuzz-'));
    try {
      const { status, stderr } = spawnSync(join(directory, 'run'), ['tar', '4'], {
        encoding: 'utf8',
        env: { ...process.env, FUZZ_OUT: out },
      });
      expect(readdirSync(join(out, 'failures')), stderr.slice(-4000)).toEqual([]);
      expect(status, stderr.slice(-4000)).toBe(0);
      const seeds = readdirSync(join(directory, 'seeds/tar')).length;
      const executed = Number(/number_of_executed_units: (\d+)/.exec(stderr)?.[1]);
      expect(executed).toBeGreaterThan(seeds);
    } finally {
      rmSync(out, { recursive: true, force: true });
    }
  });

  it('has a dictionary of what the parser knows', () => {
    const launcher = join(import.meta.dirname, '../../native/launcher');
    const [parser, sparse] = ['tar.c', 'tar_sparse.c'].map((name) => readFileSync(join(launcher, name), 'utf8'));
    const words = readFileSync(join(directory, 'tar.dict'), 'utf8');
    const keysOf = (text = '', prefix = '') =>
      [...text.matchAll(/(?:same|starts)\(key, key_length, "([^"]+)"/g)].map(([, key = '']) => `${prefix}${key}`);
    const keys = [...keysOf(parser), ...keysOf(sparse, 'GNU.sparse.')];
    expect(keys.length).toBeGreaterThan(16);
    expect(keys.filter((key) => !words.includes(`"${key}`))).toEqual([]);
  });
});
