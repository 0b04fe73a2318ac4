/** Programs started the way Node starts them, to compare with. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { duration } from './measure.js';

/** Starts a program with three pipes and waits until it has ended and its output is read: spawn(), then 'close'. */
export async function spawned(program: string, args: readonly string[] = []): Promise<void> {
  const child = spawn(program, args, { stdio: 'pipe' });
  child.stdout.resume();
  let message = '';
  child.stderr.on('data', (chunk: Buffer) => {
    message += chunk.toString();
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${[program, ...args].join(' ')} ended with ${code}: ${message.trim()}`);
}

/** The baseline of most tables. */
export const spawnTrue = {
  name: "child_process.spawn('/bin/true')",
  sample: () => duration(() => spawned('/bin/true')),
};
