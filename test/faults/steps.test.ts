/** A failure of every step of a plan, one after the other: an error that names it, no program, nothing left. */

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Container, type RunOptions, TscontainError } from '../../lib/index.js';
import { failingStep, injectFault, type PlanPart } from '../../lib/plan/fault.js';
import type { Step } from '../../lib/plan/step.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue, expectNoResidue, takeResidue } from '../support/residue.js';

checkResidue();

const isRoot = process.geteuid?.() === 0;
let directory = '';
let options: RunOptions = {};

beforeAll(async () => {
  directory = mkdtempSync('/run/tscontain-test-');
  options = { mounts: [{ type: 'bind', source: directory, target: '/marker', readOnly: false }] };
  if (isRoot) await Container.run(['/bin/true'], options);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));
afterEach(() => injectFault(undefined));

const program = ['/bin/sh', '-c', 'echo ran > /marker/ran'] as const;
const ran = () => existsSync(`${directory}/ran`);

async function steps(part: PlanPart): Promise<readonly Step[]> {
  const plan = await Container.plan(options);
  return plan.steps.filter(({ where }) => where === part).map(({ step }) => step);
}

describe('faults', () => {
  it.for(['launcher', 'init', 'process'] as const)(
    'N4: a failure of any step of the %s part ends in an error that names it, and nothing runs or stays',
    { timeout: 60_000 },
    async (part, context) => {
      needsRoot(context);
      const before = takeResidue();
      const all = await steps(part);
      expect(all.length).toBeGreaterThan(10);
      for (const index of all.keys()) {
        injectFault({ part, index, replacement: failingStep });
        const failure = await Container.run([...program], options).then(
          () => undefined,
          (error: unknown) => error,
        );
        expect(failure, `step ${index}`).toBeInstanceOf(TscontainError);
        expect(failure, `step ${index}`).toMatchObject({
          code: 'ERR_STEP',
          errno: 'ENOENT',
          path: '/tscontain-fault',
          step: { index: index + 1, of: all.length, kind: failingStep.kind },
        });
        expect(ran()).toBe(false);
      }
      injectFault(undefined);
      await expectNoResidue(before);
      expect((await Container.run([...program], options)).exitCode).toBe(0);
      expect(ran()).toBe(true);
      rmSync(`${directory}/ran`);
    },
  );

  it('N4: a failure in a running container leaves the container usable', async (context) => {
    needsRoot(context);
    await using box = await Container.create(options);
    for (const index of (await steps('process')).keys()) {
      injectFault({ part: 'process', index, replacement: failingStep });
      await expect(box.exec([...program]), `step ${index}`).rejects.toMatchObject({ step: { index: index + 1 } });
    }
    injectFault(undefined);
    expect(ran()).toBe(false);
    expect((await box.exec([...program])).exitCode).toBe(0);
    rmSync(`${directory}/ran`);
  });

  it('E7, F9: a drop of privilege or a filter that cannot be applied stops the start', async (context) => {
    needsRoot(context);
    const all = await steps('process');
    const capabilities = (sets: object): Step => ({
      kind: 'capabilities',
      effective: 0,
      permitted: 0,
      inheritable: 0,
      ambient: 0,
      ...sets,
    });
    const at = (kind: Step['kind']) => all.findIndex((step) => step.kind === kind);
    const cases: [PlanPart, number, Step][] = [
      // A mask that the user does not have: the kernel refuses it.
      ['process', at('capabilities'), capabilities({ effective: 2 ** 21, permitted: 2 ** 21 })],
      ['process', at('capabilities'), capabilities({ ambient: 1 })],
      // Ids that are not mapped.
      ['process', at('setUid'), { kind: 'setUid', uid: 70_000 }],
      ['process', at('setGid'), { kind: 'setGid', gid: 70_000 }],
      ['process', at('setGroups'), { kind: 'setGroups', groups: [70_000] }],
      // A program that the kernel's verifier refuses: it does not end in a return.
      ['process', at('seccomp'), { kind: 'seccomp', program: new Uint8Array(8) }],
    ];
    for (const [part, index, replacement] of cases) {
      expect(index, replacement.kind).toBeGreaterThanOrEqual(0);
      injectFault({ part, index, replacement });
      await expect(Container.run([...program], { ...options, user: 1000 }), replacement.kind).rejects.toMatchObject({
        code: 'ERR_STEP',
        step: { kind: replacement.kind },
      });
    }
    expect(ran()).toBe(false);
  });

  it('F9: a program starts only once the listener of its filter is on its way', async (context) => {
    needsRoot(context);
    const seccomp = { notify: { getpgid: () => ({ value: 1 }) } };
    const all = [...(await Container.plan({ ...options, seccomp })).steps].filter(({ where }) => where === 'process');
    const index = all.findIndex(({ step }) => step.kind === 'seccomp' && step.listener !== undefined);
    const loaded = all[index]?.step;
    expect(loaded).toMatchObject({ kind: 'seccomp' });
    if (loaded?.kind !== 'seccomp') return;
    const before = takeResidue();
    await using box = await Container.create({ ...options, seccomp });
    // Descriptors that are closed by then, and a program that the kernel refuses; with the streams, the socket comes third.
    const wrong: readonly [Step, string][] = [
      [{ ...loaded, listener: '0' }, 'EBADF'],
      [{ ...loaded, listener: 'proc' }, 'EBADF'],
      [{ ...loaded, listener: '2', program: new Uint8Array(8) }, 'EINVAL'],
    ];
    for (const [replacement, errno] of wrong) {
      injectFault({ part: 'process', index, replacement });
      const refused = { code: 'ERR_STEP', errno, step: { kind: 'seccomp' } };
      await expect(box.exec([...program])).rejects.toMatchObject(refused);
      await expect(Container.run([...program], { ...options, seccomp })).rejects.toMatchObject(refused);
      injectFault(undefined);
    }
    expect(ran()).toBe(false);
    expect((await box.exec([...program])).exitCode).toBe(0);
    expect(ran()).toBe(true);
    rmSync(`${directory}/ran`);
    await box.kill();
    await expectNoResidue(before);
  });

  it('N4: programs that are ended while they start leave nothing in the way of the next', {
    timeout: 60_000,
  }, async (context) => {
    needsRoot(context);
    const notify = { getpgid: () => ({ value: 1 }) };
    await using box = await Container.create({ seccomp: { notify, audit: true } });
    const reasons = new Set<string>();
    for (let i = 0; i < 150; i++) {
      const controller = new AbortController();
      const started = box.exec(['/bin/sleep', '10'], { signal: controller.signal });
      setTimeout(() => controller.abort(), (i % 30) / 10);
      reasons.add((await started).reason);
    }
    expect([...reasons]).toEqual(['aborted']);
    expect((await box.exec(['/bin/echo', 'next'])).stdout).toBe('next\n');
  });

  it('N4: whatever root inside kills while programs with a handler start, each start settles', {
    timeout: 60_000,
  }, async (context) => {
    needsRoot(context);
    await using box = await Container.create({ seccomp: { notify: { getpgid: () => ({ value: 1 }) } } });
    const hostile = `
import os, signal
own = os.getpid()
while True:
    for name in os.listdir('/proc'):
        if name.isdigit() and int(name) not in (1, own):
            try: os.kill(int(name), signal.SIGKILL)
            except OSError: pass`;
    const attacker = box.exec(['python3', '-I', '-c', hostile]);
    const ends = new Map<string, number>();
    for (let i = 0; i < 300; i++) {
      const end = await box.exec(['/bin/true']).then(
        ({ reason }) => reason,
        (error: unknown) => (error instanceof TscontainError ? `${error.code} ${error.errno}` : String(error)),
      );
      ends.set(end, (ends.get(end) ?? 0) + 1);
    }
    // A courier that was killed has sent nothing, so its program has not run.
    const known = ['exited', 'signaled', 'ERR_STEP EPIPE'];
    expect([...ends.keys()].filter((end) => !known.includes(end))).toEqual([]);
    expect(ends.get('signaled') ?? 0).toBeGreaterThan(0);
    attacker.kill('SIGKILL');
    await attacker;
    expect((await box.exec(['/bin/echo', 'next'])).stdout).toBe('next\n');
  });
});
