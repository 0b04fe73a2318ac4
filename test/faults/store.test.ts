/** The image store, and processes that are killed while they work in it. */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ImageStore } from '../../lib/index.js';
import { buildOnce, fixture } from '../support/build.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

let directory: string;

beforeAll(() => {
  buildOnce();
  directory = mkdtempSync(join(tmpdir(), 'tscontain-store-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

async function started(path: string, number: number): Promise<ChildProcess> {
  const child = spawn(process.execPath, [fixture('store-worker.mjs'), path, String(number)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let errors = '';
  child.stderr?.on('data', (text: Buffer) => {
    errors += text;
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once('data', () => resolve());
    child.once('exit', () => reject(new Error(errors)));
  });
  child.removeAllListeners('exit');
  // One that ends by itself has met an error.
  child.once('exit', (code) => {
    if (code !== null) failures.push(errors);
  });
  return child;
}

const failures: string[] = [];
const gone = (child: ChildProcess) =>
  new Promise<void>((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else child.once('exit', () => resolve());
  });

describe('a store whose users are killed', () => {
  it('is whole at the next open, whenever that was', { timeout: 120_000 }, async () => {
    const path = join(directory, 'killed');
    let named = 0;
    for (let round = 0; round < 8; round++) {
      const children = await Promise.all([1, 2, 3].map((number) => started(path, number)));
      await new Promise((done) => setTimeout(done, 100 + Math.random() * 300));
      for (const child of children) child.kill('SIGKILL');
      await Promise.all(children.map(gone));
      await using store = await ImageStore.open({ path });
      expect(readdirSync(join(path, 'tmp'))).toEqual([]);
      expect(await store.verify({ content: true })).toEqual([]);
      named = (await store.list()).length;
      for (const { diffIds } of await store.list()) (await store.leaseLayers(diffIds)).release();
    }
    expect(named).toBeGreaterThan(0);
    expect(failures).toEqual([]);
    await using store = await ImageStore.open({ path });
    for (const { reference } of await store.references()) await store.untag(reference);
    await store.gc({ olderThan: 0 });
    for (const name of ['blobs/sha256', 'layers', 'references', 'partial', 'tmp']) {
      expect(readdirSync(join(path, name)), name).toEqual([]);
    }
  });
});
