import { describe, expect, it } from 'vitest';
import { stepError } from '../../../lib/container/failure.js';
import { UnsupportedError } from '../../../lib/errors.js';
import type { Step } from '../../../lib/plan/step.js';

const EPERM = 1;
const ENODEV = 19;
const EINVAL = 22;

function failing(step: Step, errno: number) {
  return stepError([step], { step: 0, errno, detail: 0, text: '' }, 'starting true');
}

describe('a step that failed', () => {
  it('says of processors that they must exist', () => {
    const error = failing({ kind: 'affinity', processors: '99' }, EINVAL);
    expect(error).toMatchObject({ code: 'ERR_STEP', syscall: 'sched_setaffinity', errno: 'EINVAL' });
    expect(error.hint).toMatch(/must exist/);
  });

  it.each([
    [EINVAL, /kernel/],
    [ENODEV, /hyper-threads/],
  ])('is a missing feature where core scheduling gives %i', (errno, reason) => {
    const error = failing({ kind: 'coreScheduling' }, errno);
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error.message).toMatch(reason);
  });

  it('names both reasons for which the kernel forbids to execute a file', () => {
    const step: Step = {
      kind: 'exec',
      program: 'true',
      argv: ['true'],
      env: [],
      search: '/usr/bin',
    };
    expect(failing(step, EPERM).hint).toMatch(/seccomp.*bounding/);
  });
});
