import { describe, expect, it } from 'vitest';
import { AppArmor, type AppArmorProfileOptions, Container, OptionError } from '../../../../lib/index.js';
import { describeStep } from '../../../../lib/plan/describe.js';
import { labelOf, readAppArmor, stackProfiles } from '../../../../lib/primitives/apparmor/index.js';
import { overlayAttributes, readAttributes } from '../../../../lib/process/attributes/settings.js';
import { attributeSteps } from '../../../../lib/process/attributes/steps.js';

function optionOf(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof OptionError) return error.option;
    throw error;
  }
  throw new Error('accepted');
}

describe('AppArmor', () => {
  it.each([
    [''],
    [' a'],
    ['a '],
    ['a\nb'],
    ['a\0b'],
    ['a//&b'],
    ['&a'],
    [':ns:a'],
    ['a (enforce)'],
    ['a'.repeat(256)],
    [7],
    [{}],
    [{ profile: 'a', stack: 1 }],
    [{ name: 'a' }],
  ])('refuses %j as a profile, before anything is asked of the kernel', (value) => {
    expect(optionOf(() => readAppArmor(value, 'appArmor'))).toMatch(/^appArmor/);
  });

  it('takes names as the kernel lists them', () => {
    for (const name of ['docker-default', '/usr/bin/man', 'a profile', 'x//y']) {
      expect(labelOf(readAppArmor(name, 'appArmor'))).toBe(name);
    }
  });

  it('stacks the profile of an exec on that of its container', () => {
    const outer = readAppArmor({ profile: 'outer', stack: true }, 'appArmor');
    const inner = readAppArmor('inner', 'appArmor');
    expect(stackProfiles(outer, inner)).toEqual({ profiles: ['outer', 'inner'], stack: true });
    expect(stackProfiles(outer, undefined)).toBe(outer);
    expect(stackProfiles(inner, readAppArmor('inner', 'appArmor'))?.profiles).toEqual(['inner']);
    const attributes = overlayAttributes(
      readAttributes({ appArmor: 'outer' }, 'container'),
      readAttributes({ appArmor: 'inner' }, 'container'),
    );
    const step = attributeSteps(attributes).beforeIds.find(({ kind }) => kind === 'labelOnExec');
    expect(step).toEqual({ kind: 'labelOnExec', module: 'apparmor', label: 'outer//&inner', stack: false });
    expect(step && describeStep(step)).toMatchObject({ manual: 'apparmor(7)', call: 'write' });
  });

  it('starts nothing where the kernel has none', async (context) => {
    context.skip(AppArmor.enabled(), 'this kernel has AppArmor');
    await expect(Container.run(['true'], { appArmor: 'any' })).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      hint: expect.stringContaining('lsm='),
    });
    for (const act of [() => AppArmor.profiles(), () => AppArmor.current(), () => AppArmor.remove('x')]) {
      expect(act).toThrow(/no AppArmor/);
    }
  });

  it('loads compiled policy only', () => {
    expect(optionOf(() => AppArmor.load(Buffer.from('profile x { }')))).toBe('compiled');
    expect(optionOf(() => AppArmor.load('text' as unknown as Uint8Array))).toBe('compiled');
  });
});

describe('the text of a profile', () => {
  it('denies what no container needs, whatever it allows', () => {
    const text = AppArmor.profile({ name: 'box' });
    expect(text).toContain('profile "box" flags=(attach_disconnected,mediate_deleted) {\n  file,\n  capability,\n');
    expect(text).toContain('  deny mount,\n');
    expect(text).toContain('  signal (send, receive) peer="box",\n');
  });

  it('has a rule for each file, with patterns only where they were meant', () => {
    const text = AppArmor.profile({
      name: 'box',
      mode: 'complain',
      files: [
        { path: '/data[1]/*', access: ['read'] },
        { path: '/usr', below: true, access: ['read', 'execute', 'map'] },
      ],
      denyFiles: [{ path: '/usr/bin/su', access: ['execute'] }],
      capabilities: ['CAP_CHOWN'],
      network: ['unix', 'inet'],
    });
    expect(text).toContain('complain');
    expect(text).not.toContain('  file,\n');
    expect(text).toContain('  "/data\\[1\\]/\\*" r,\n');
    expect(text).toContain('  "/usr/" rixm,\n  "/usr/**" rixm,\n');
    expect(text).toContain('  deny "/usr/bin/su" x,\n');
    expect(text).toContain('  capability chown,\n  network unix,\n  unix,\n  network inet,\n');
  });

  it.each([
    [{}, 'name'],
    [{ name: 'a"b' }, 'name'],
    [{ name: 'a', mode: 'off' }, 'mode'],
    [{ name: 'a', files: [{ path: 'x', access: ['read'] }] }, 'files[0].path'],
    [{ name: 'a', files: [{ path: '/x"', access: ['read'] }] }, 'files[0]'],
    [{ name: 'a', files: [{ path: '/@{HOME}', access: ['read'] }] }, 'files[0]'],
    [{ name: 'a', files: [{ path: '/x', access: [] }] }, 'files[0].access'],
    [{ name: 'a', files: [{ path: '/x', access: ['rw'] }] }, 'files[0].access[0]'],
    [{ name: 'a', capabilities: ['CAP_NOTHING'] }, 'capabilities'],
    [{ name: 'a', network: ['tcp'] }, 'network[0]'],
    [{ name: 'a', rules: [] }, 'rules'],
  ])('is not made of %j', (options, option) => {
    expect(optionOf(() => AppArmor.profile(options as unknown as AppArmorProfileOptions))).toContain(option);
  });
});
