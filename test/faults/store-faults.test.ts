/**
 * Every call that an operation of the store makes of the file system fails once, and once is the last that its process makes:
 * afterwards the store is whole, and the same operation does what it should.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ImageStore } from '../../lib/index.js';
import { operations, prepare } from '../fixtures/store-operations.mjs';
import { buildOnce, fixture } from '../support/build.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

let directory: string;
beforeAll(() => {
  buildOnce();
  directory = mkdtempSync(join(tmpdir(), 'tscontain-store-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

const names = Object.keys(operations);
/** With TSCONTAIN_FAULTS=all, as in .ci/run, every call is the last one once; otherwise some are. */
const thorough = process.env.TSCONTAIN_FAULTS === 'all';

function faulty(path: string, ...argv: readonly string[]): string {
  const { stdout, stderr } = spawnSync(process.execPath, [fixture('store-faults.mjs'), path, ...argv], {
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  return stdout;
}

describe.each(names)('%s', (name) => {
  it.each(thorough ? ['EIO', 'ENOSPC'] : ['EIO'])(
    'fails with a typed error at %s, whichever call it is, and can be tried again',
    (error) => {
      const path = join(directory, `${name}-${error}`);
      mkdirSync(path);
      const { reached, wrong } = JSON.parse(faulty(path, name, error));
      expect(wrong).toEqual([]);
      expect(reached).toBeGreaterThan(2);
    },
    120_000,
  );

  it('may be killed between any two calls', async () => {
    const path = join(directory, `${name}-killed`);
    let points = 0;
    for (let n = 1; ; n += thorough ? 1 : 9) {
      await prepare(path);
      if (faulty(path, name, 'kill', String(n)) !== 'reached\n') break;
      points++;
      await using store = await ImageStore.open({ path });
      expect(readdirSync(join(path, 'tmp')), `call ${n}`).toEqual([]);
      expect(await store.verify({ content: true }), `call ${n}`).toEqual([]);
      const operation = operations[name];
      await operation?.run(store, await operation.before?.(store));
      await operation?.expect(store);
      await store.close();
      rmSync(path, { recursive: true });
    }
    expect(points).toBeGreaterThan(0);
  }, 300_000);
});
