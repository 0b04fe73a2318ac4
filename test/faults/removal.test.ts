/** Directories of containers that cannot be removed, or have been already. */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Container } from '../../lib/index.js';
import { needsRoot, needsUpperOnDisk } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const state = '/var/lib/tscontain/containers';
const names = () => new Set(existsSync(state) ? readdirSync(state) : []);

/** Ticks of the processor that this process's launchers have used, with the children that they have reaped. */
function launcherTicks(): number {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ');
  return children
    .filter((pid) => pid !== '')
    .map((pid) => readFileSync(`/proc/${pid}/stat`, 'utf8'))
    .filter((stat) => stat.includes('(tscontain)'))
    .map((stat) => stat.slice(stat.lastIndexOf(')') + 2).split(' '))
    .reduce((sum, fields) => sum + [11, 12, 13, 14].reduce((of, index) => of + Number(fields[index]), 0), 0);
}

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function made(): Promise<{ readonly box: Container; readonly path: string }> {
  const before = names();
  const box = await Container.create({ storage: { upper: 'disk' }, image: { rootfs: '/usr' } });
  const [name] = [...names()].filter((one) => !before.has(one));
  return { box, path: `${state}/${name}` };
}

describe('the directory of a container', () => {
  it('that is gone when it ends is no work for the launcher', { timeout: 20_000 }, async (context) => {
    needsRoot(context);
    needsUpperOnDisk(context);
    const { box, path } = await made();
    rmSync(path, { recursive: true });
    await box[Symbol.asyncDispose]();
    await later(300);
    const before = launcherTicks();
    await later(1000);
    // A hundredth of a second each. Trying again at once would be most of them.
    expect(launcherTicks() - before).toBeLessThan(10);
  });

  it('that cannot be removed is tried now and then, and removed once it can be', {
    timeout: 20_000,
  }, async (context) => {
    needsRoot(context);
    needsUpperOnDisk(context);
    const { box, path } = await made();
    const outside = mkdtempSync('/tmp/removal-');
    execFileSync('mount', ['--bind', outside, path]); // a mount in it is never crossed
    await box[Symbol.asyncDispose]();
    await later(300);
    const before = launcherTicks();
    await later(1000);
    expect(launcherTicks() - before).toBeLessThan(30);
    expect(existsSync(path)).toBe(true);
    execFileSync('umount', [path]);
    await expect.poll(() => existsSync(path), { timeout: 5000 }).toBe(false);
    rmSync(outside, { recursive: true });
  });
});
