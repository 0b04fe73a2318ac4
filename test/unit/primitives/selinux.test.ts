import { describe, expect, it } from 'vitest';
import { parseContainerOptions, parseExecOptions } from '../../../lib/container/settings.js';
import { Container, OptionError, SELinux } from '../../../lib/index.js';
import { describeStep } from '../../../lib/plan/describe.js';
import type { Step } from '../../../lib/plan/step.js';
import { newFileSystem } from '../../../lib/primitives/mount/steps.js';
import { labelFileSystems, readSELinux } from '../../../lib/primitives/selinux.js';
import { attributeSteps } from '../../../lib/process/attributes/steps.js';

const label = 'system_u:system_r:container_t:s0:c1,c2';

describe('labels of SELinux', () => {
  it.each([['u:r:t'], ['u:r:t:s0'], [label], ['u:r:t:s0-s15:c0.c1023'], ['u:r:t:s0:c1-s0:c1.c3,c5']])(
    '%s is one',
    (text) => {
      expect(readSELinux({ process: text }, 'selinux')).toEqual({ process: text });
    },
  );

  it.each([
    [''],
    ['u:r'],
    ['u:r:t:'],
    ['u:r:t:x0'],
    ['u:r:t:s0:c1,'],
    ['u:r:t\n'],
    ['u:r:t\0'],
    ['u:r:t:s0,context=x'],
    ['u:r:t"'],
    ['u r:t:s0'],
    [`u:r:${'t'.repeat(2000)}`],
    [1],
  ])('%j is none', (text) => {
    expect(() => readSELinux({ process: text }, 'selinux')).toThrow(OptionError);
    expect(() => readSELinux({ mount: text }, 'selinux')).toThrow(OptionError);
  });

  it('are given by their names, and that of mounts belongs to the container', () => {
    expect(() => readSELinux({}, 'selinux')).toThrow(OptionError);
    expect(() => readSELinux({ label }, 'selinux')).toThrow(OptionError);
    expect(() => readSELinux(label, 'selinux')).toThrow(OptionError);
    expect(() => parseExecOptions({ selinux: { mount: label } })).toThrow(/selinux\.mount/);
    expect(parseContainerOptions({ selinux: { mount: label } }).attributes.selinux).toEqual({ mount: label });
  });

  it('of a program are one step before it changes its user', () => {
    const { attributes } = parseContainerOptions({ selinux: { process: label, mount: label } });
    const step = attributeSteps(attributes).beforeIds.find(({ kind }) => kind === 'labelOnExec');
    expect(step).toEqual({ kind: 'labelOnExec', module: 'selinux', label, stack: false });
    expect(step && describeStep(step)).toMatchObject({ manual: 'selinux(8)' });
  });

  it('of mounts are an option of each file system whose files exist nowhere else', () => {
    const steps: Step[] = [...newFileSystem('scratch', 'tmpfs', 0), ...newFileSystem('proc', 'proc', 0)];
    const changed = labelFileSystems(steps, label);
    expect(changed.length).toBe(steps.length + 1);
    const [first, second, third] = changed;
    expect(first?.kind).toBe('fsopen');
    expect(second).toMatchObject({ kind: 'fsconfig', key: 'context', value: label });
    expect(second?.kind === 'fsconfig' && first?.kind === 'fsopen' && second.on === first.to).toBe(true);
    expect(third?.kind).toBe('fsconfigCreate');
  });

  it('start nothing where the kernel has none', async (context) => {
    context.skip(SELinux.enabled(), 'this kernel has SELinux');
    for (const selinux of [{ process: label }, { mount: label }]) {
      await expect(Container.run(['true'], { selinux })).rejects.toMatchObject({
        code: 'ERR_UNSUPPORTED',
        hint: expect.stringContaining('lsm='),
      });
    }
    expect(SELinux.enforcing()).toBe(false);
    expect(() => SELinux.current()).toThrow(/no SELinux/);
  });
});
