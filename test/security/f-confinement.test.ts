/** Rows of groups B and F that are about security modules: Landlock, AppArmor and SELinux around a program. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  AppArmor,
  Container,
  type RunOptions,
  SELinux,
  type SpawnOptions,
  spawn,
  TscontainError,
  UnsupportedError,
} from '../../lib/index.js';
import { failingStep, injectFault } from '../../lib/plan/fault.js';
import { needsAppArmor, needsLandlock } from '../support/requirements.js';
import { checkResidue, expectNoResidue, takeResidue } from '../support/residue.js';

checkResidue();
afterEach(() => injectFault(undefined));

describe('F: confinement by security modules', () => {
  it('B1: the host reads the label that was asked for', async (context) => {
    needsAppArmor(context);
    const name = `tscontain-b1-${process.pid}`;
    const directory = mkdtempSync('/run/tscontain-test-');
    const file = join(directory, 'profile');
    writeFileSync(file, AppArmor.profile({ name }));
    execFileSync('apparmor_parser', ['--skip-kernel-load', '--skip-cache', '--ofile', `${file}.bin`, file]);
    AppArmor.load(readFileSync(`${file}.bin`));
    try {
      await using box = await Container.create();
      const labels: (string | undefined)[] = [];
      for (const options of [{ appArmor: name }, {}]) {
        const sleeper = box.exec(['sleep', '60'], options);
        await box.exec(['true']); // requests are answered in order: the sleeper runs
        const init = box.inspect().pid;
        const children = readFileSync(`/proc/${init}/task/${init}/children`, 'utf8').trim().split(' ');
        labels.push(AppArmor.current(Number(children[0])).name);
        await sleeper[Symbol.asyncDispose]();
      }
      expect(labels).toEqual([name, 'unconfined']);
    } finally {
      AppArmor.remove(name);
      rmSync(directory, { recursive: true });
    }
  });

  it('F9: a failure of any step of confinement stops the start', async (context) => {
    needsLandlock(context, 1);
    const options: RunOptions = { landlock: { read: ['/usr', '/etc', '/dev'], write: ['/tmp'] } };
    const before = takeResidue();
    const steps = (await Container.plan(options)).steps.filter(({ where }) => where === 'process');
    const confining = [...steps.keys()].filter((index) => steps[index]?.step.kind.startsWith('landlock'));
    expect(confining.length).toBeGreaterThan(5);
    for (const index of confining) {
      injectFault({ part: 'process', index, replacement: failingStep });
      const failure = await Container.run(['/usr/bin/true'], options).catch((error) => error);
      expect(failure).toBeInstanceOf(TscontainError);
      expect(failure.step).toMatchObject({ index: index + 1, kind: failingStep.kind });
    }
    injectFault(undefined);
    await expectNoResidue(before);
    expect((await Container.run(['/usr/bin/true'], options)).exitCode).toBe(0);
  });

  it('F11: confinement that the kernel lacks is refused before anything starts', async (context) => {
    context.skip(SELinux.enabled() && AppArmor.enabled(), 'this kernel lacks neither SELinux nor AppArmor');
    const missing: RunOptions[] = [
      ...(SELinux.enabled() ? [] : [{ selinux: { process: 'u:r:t:s0' } }, { selinux: { mount: 'u:r:t:s0' } }]),
      ...(AppArmor.enabled() ? [] : [{ appArmor: 'any' }]),
    ];
    const before = takeResidue();
    for (const options of missing) {
      await expect(Container.run(['/bin/true'], options)).rejects.toBeInstanceOf(UnsupportedError);
      await expect(Container.create(options)).rejects.toBeInstanceOf(UnsupportedError);
      await using box = await Container.create();
      if (!options.selinux?.mount) {
        expect(() => box.exec(['/bin/true'], options)).toThrow(UnsupportedError);
        expect(() => spawn(['/bin/true'], options as SpawnOptions)).toThrow(UnsupportedError);
      }
      expect((await box.exec(['/bin/true'])).exitCode).toBe(0);
    }
    await expectNoResidue(before);
  });
});
