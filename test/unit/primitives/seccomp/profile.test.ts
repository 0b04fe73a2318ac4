import { describe, expect, it } from 'vitest';
import { filterFlags, type SeccompProfile, validateProfile } from '../../../../lib/primitives/seccomp/index.js';

const allow = (rule: object): object => ({
  defaultAction: 'SCMP_ACT_ERRNO',
  syscalls: [
    { names: ['read'], action: 'SCMP_ACT_ALLOW' },
    { names: ['write'], action: 'SCMP_ACT_ALLOW', ...rule },
  ],
});
const argument = (fields: object): object => allow({ args: [{ index: 0, value: 1, op: 'SCMP_CMP_EQ', ...fields }] });

describe('a profile', () => {
  it('is read as Docker and Go write it, with nulls and empty parts', () => {
    const text = `{
      "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
      "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
                  { "architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null }],
      "syscalls": [
        { "names": ["read", "socketcall"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {}, "excludes": {} },
        { "names": ["clone"], "action": "SCMP_ACT_ALLOW", "errnoRet": null,
          "args": [{ "index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }],
          "includes": { "minKernel": "4.8", "arches": ["amd64"] }, "excludes": { "caps": ["CAP_SYS_ADMIN"] } }
      ] }`;
    expect(validateProfile(JSON.parse(text)).syscalls).toEqual([
      { names: ['read', 'socketcall'], action: 'SCMP_ACT_ALLOW' },
      {
        names: ['clone'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value: 2114060288, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
        includes: { minKernel: '4.8', arches: ['amd64'] },
        excludes: { caps: ['CAP_SYS_ADMIN'] },
      },
    ]);
  });

  it('is copied and frozen, so that what was checked is what is used', () => {
    const original = { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [{ names: ['read'], action: 'SCMP_ACT_ALLOW' }] };
    const profile = validateProfile(original);
    original.syscalls[0]?.names.push('bpf');
    expect(profile.syscalls?.[0]?.names).toEqual(['read']);
    expect(
      Object.isFrozen(profile) && Object.isFrozen(profile.syscalls) && Object.isFrozen(profile.syscalls?.[0]),
    ).toBe(true);
    expect(Object.isFrozen(profile.syscalls?.[0]?.names)).toBe(true);
    expect(validateProfile(profile)).toBe(profile);
  });

  it.each<[string, object | string | null, string]>([
    ['no object', null, 'seccomp'],
    ['text', '{}', 'seccomp'],
    ['no default action', {}, 'seccomp.defaultAction'],
    ['an unknown key', { defaultAction: 'SCMP_ACT_ALLOW', sycalls: [] }, 'seccomp.sycalls'],
    ['an unknown action', { defaultAction: 'ALLOW' }, 'seccomp.defaultAction'],
    ['an inherited name as the action', { defaultAction: 'toString' }, 'seccomp.defaultAction'],
    [
      'an error number beside ALLOW',
      { defaultAction: 'SCMP_ACT_ALLOW', defaultErrnoRet: 1 },
      'seccomp.defaultErrnoRet',
    ],
    [
      'an architecture misspelt',
      { defaultAction: 'SCMP_ACT_ALLOW', architectures: ['x86_64'] },
      'seccomp.architectures[0]',
    ],
    ['both kinds of architectures', { ...bothKinds() }, 'seccomp.archMap'],
    ['rules that are no list', { defaultAction: 'SCMP_ACT_ALLOW', syscalls: {} }, 'seccomp.syscalls'],
    ['a rule that is no object', { defaultAction: 'SCMP_ACT_ALLOW', syscalls: ['read'] }, 'seccomp.syscalls[0]'],
    ['a hole in the rules', { defaultAction: 'SCMP_ACT_ALLOW', syscalls: new Array(1) }, 'seccomp.syscalls[0]'],
    ['a call that no architecture has', allow({ names: ['write', 'wriet'] }), 'seccomp.syscalls[1].names[1]'],
    ['a number for a call', allow({ names: [1] }), 'seccomp.syscalls[1].names[0]'],
    ['a rule for nothing', allow({ names: [] }), 'seccomp.syscalls[1].names'],
    ['Docker’s old single name', allow({ name: 'write' }), 'seccomp.syscalls[1].name'],
    ['a rule’s unknown action', allow({ action: 'SCMP_ACT_DENY' }), 'seccomp.syscalls[1].action'],
    ['an error number beside a rule’s ALLOW', allow({ errnoRet: 1 }), 'seccomp.syscalls[1].errnoRet'],
    ['an error number above 4095', allow({ action: 'SCMP_ACT_ERRNO', errnoRet: 4096 }), 'seccomp.syscalls[1].errnoRet'],
    ['a negative error number', allow({ action: 'SCMP_ACT_ERRNO', errnoRet: -1 }), 'seccomp.syscalls[1].errnoRet'],
    ['a comment that is no text', allow({ comment: 5 }), 'seccomp.syscalls[1].comment'],
    ['a seventh argument', argument({ index: 6 }), 'seccomp.syscalls[1].args[0].index'],
    ['an unknown operator', argument({ op: 'SCMP_CMP_IN' }), 'seccomp.syscalls[1].args[0].op'],
    ['an operator without prefix', argument({ op: 'EQ' }), 'seccomp.syscalls[1].args[0].op'],
    ['a negative value', argument({ value: -1 }), 'seccomp.syscalls[1].args[0].value'],
    ['a value too great to be exact', argument({ value: 2 ** 53 }), 'seccomp.syscalls[1].args[0].value'],
    ['a value above 64 bits', argument({ value: 2n ** 64n }), 'seccomp.syscalls[1].args[0].value'],
    ['a value as text', argument({ value: '1' }), 'seccomp.syscalls[1].args[0].value'],
    ['an unknown key of an argument', argument({ mask: 1 }), 'seccomp.syscalls[1].args[0].mask'],
    ['an unknown capability', allow({ includes: { caps: ['CAP_TYPO'] } }), 'seccomp.syscalls[1].includes.caps[0]'],
    ['an unknown architecture', allow({ excludes: { arches: ['x86_64'] } }), 'seccomp.syscalls[1].excludes.arches[0]'],
    ['a version of three parts', allow({ includes: { minKernel: '4.8.1' } }), 'seccomp.syscalls[1].includes.minKernel'],
    ['an unknown condition', allow({ includes: { cap: [] } }), 'seccomp.syscalls[1].includes.cap'],
  ])('is rejected for %s, with its place', (_, profile, option) => {
    expect(() => validateProfile(profile)).toThrow(expect.objectContaining({ name: 'OptionError', option }));
  });

  it('is rejected where a 32-bit argument could never have the value', () => {
    const socket = (value: bigint): object =>
      allow({ names: ['socket'], args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }] });
    expect(() => validateProfile(socket(0x1_0000_0001n))).toThrow(/seccomp\.syscalls\[1\]\.args\[0\]\.value.*32-bit/);
    expect(() => validateProfile(socket(0xffff_ffff_ffff_ffffn))).not.toThrow();
  });

  it.each<[string, object]>([
    ['a listener', { defaultAction: 'SCMP_ACT_ALLOW', listenerPath: '/run/listener' }],
    ['a listener’s metadata', { defaultAction: 'SCMP_ACT_ALLOW', listenerMetadata: 'x' }],
  ])('with %s is not supported, and says so', (_, profile) => {
    expect(() => validateProfile(profile)).toThrow(expect.objectContaining({ name: 'UnsupportedError' }));
  });

  it('leaves calls to a handler, by a rule or by default', () => {
    expect(validateProfile(allow({ action: 'SCMP_ACT_NOTIFY' })).syscalls?.[1]?.action).toBe('SCMP_ACT_NOTIFY');
    expect(validateProfile({ defaultAction: 'SCMP_ACT_NOTIFY' })).toEqual({ defaultAction: 'SCMP_ACT_NOTIFY' });
    expect(() => validateProfile(allow({ action: 'SCMP_ACT_NOTIFY', errnoRet: 1 }))).toThrow(/carries no number/);
  });

  it('has flags that are those of seccomp(2)', () => {
    const flags = ['SECCOMP_FILTER_FLAG_LOG', 'SECCOMP_FILTER_FLAG_SPEC_ALLOW'] as const;
    const profile = validateProfile({ defaultAction: 'SCMP_ACT_ALLOW', flags });
    expect(profile.flags).toEqual(flags);
    expect(filterFlags(profile.flags)).toBe(6);
    expect(filterFlags(['SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV'])).toBe(0);
    expect(filterFlags()).toBe(0);
    for (const flag of ['SECCOMP_FILTER_FLAG_NEW_LISTENER', 'LOG', 'SECCOMP_FILTER_FLAG_', 4]) {
      const wrong = { defaultAction: 'SCMP_ACT_ALLOW', flags: [flag] };
      expect(() => validateProfile(wrong), String(flag)).toThrow(/option seccomp\.flags\[0\]/);
    }
  });

  it('names the option that it came from', () => {
    expect(() => validateProfile({}, 'security.seccomp')).toThrow(/option security\.seccomp\.defaultAction/);
  });

  it('type-checks as data', () => {
    const profile: SeccompProfile = { defaultAction: 'SCMP_ACT_ALLOW' };
    expect(validateProfile(profile)).toEqual({ defaultAction: 'SCMP_ACT_ALLOW' });
  });
});

function bothKinds(): object {
  const architecture = 'SCMP_ARCH_X86_64';
  return { defaultAction: 'SCMP_ACT_ALLOW', architectures: [architecture], archMap: [{ architecture }] };
}
