/** How the layers of a root are handed to the kernel. */

import { describe, expect, it } from 'vitest';
import { containerOverlay, passingOf } from '../../../../lib/container/plan/overlay.js';
import { UnsupportedError } from '../../../../lib/index.js';
import type { LayerPassing } from '../../../../lib/primitives/mount/steps.js';

const steps = (names: readonly string[], passing: LayerPassing) =>
  containerOverlay('root', 'stage', { lower: { under: 'lower', names }, upper: 'u', work: 'w' }, passing);

describe('the layers of a root', () => {
  it('are handed over in the best way that the kernel has', () => {
    const releases = ['5.15.0-1-generic', '6.7.12', '6.8.0', '6.12.9-amd64', '6.13.0', '7.0.0'];
    expect(releases.map(passingOf)).toEqual(['joined', 'joined', 'append', 'append', 'descriptor', 'descriptor']);
  });

  it.each(['descriptor', 'append', 'joined'] as const)('have no name in a value of an option (%s)', (passing) => {
    const names = ['top,a:b', 'middle\\', 'base'];
    const made = steps(names, passing);
    const opened = made.filter((step) => step.kind === 'open').map((step) => step.path);
    expect(opened.slice(0, 3)).toEqual(names);
    const values = made.flatMap((step) => ('value' in step ? [step.value] : []));
    expect(values.filter((value) => names.some((name) => String(value).includes(name)))).toEqual([]);
  });

  it('are opened one by one, and taken before the next', () => {
    const kinds = steps(['a', 'b'], 'descriptor').map((step) => ('key' in step ? step.key : step.kind));
    expect(kinds).toEqual([
      ...['fchdir', 'fsopen', 'open', 'lowerdir+', 'open', 'lowerdir+', 'upperdir', 'workdir', 'userxattr'],
      ...['fsconfigCreate', 'fsmount'],
    ]);
  });

  it('are refused where they are too many for one string', () => {
    const names = Array.from({ length: 65 }, (_, index) => `l${index}`);
    expect(() => steps(names, 'joined')).toThrow(UnsupportedError);
    expect(steps(names, 'append').filter((step) => step.kind === 'open')).toHaveLength(65);
  });
});
