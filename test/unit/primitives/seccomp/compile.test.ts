import { describe, expect, it } from 'vitest';
import { Capabilities } from '../../../../lib/primitives/capabilities.js';
import { isNarrowArgument } from '../../../../lib/primitives/seccomp/arguments.js';
import {
  compileSeccomp,
  compileSeccompCached,
  defaultProfile,
  dockerProfile,
  type SeccompProfile,
  simulate,
  validateProfile,
} from '../../../../lib/primitives/seccomp/index.js';
import type { SeccompArgument, SeccompRule } from '../../../../lib/primitives/seccomp/profile.js';
import { type SeccompArch, syscallName, syscallNumber } from '../../../../lib/primitives/seccomp/syscalls.js';
import { ALLOW, ENOSYS, EPERM, evaluate, KILL_PROCESS, Random } from './evaluate.js';

const x64 = { arch: 'x64', capabilities: Capabilities.default, kernel: [6, 1] } as const;
const arm64 = { ...x64, arch: 'arm64' } as const;

function answer(
  profile: SeccompProfile,
  name: string,
  args: bigint[] = [],
  options: typeof x64 | typeof arm64 = x64,
): number {
  const nr = syscallNumber(options.arch, name);
  if (nr === undefined) throw new Error(`no ${name} on ${options.arch}`);
  return simulate(compileSeccomp(profile, options), { arch: options.arch, nr, args });
}

const one = (rule: Omit<SeccompRule, 'names'>, names = ['write']): SeccompProfile => ({
  defaultAction: 'SCMP_ACT_ERRNO',
  syscalls: [{ names, ...rule }],
});

describe('a compiled filter', () => {
  it.each([
    ['i386 on x86_64', x64, 0x40000003],
    ['Arm on aarch64', arm64, 0x40000028],
    ['aarch64 on x86_64', x64, 0xc00000b7],
    ['nothing known', x64, 0],
  ])(
    'kills the process at a call of a foreign architecture, before it looks at the number: %s (F2)',
    (_, options, arch) => {
      for (const profile of [defaultProfile, dockerProfile, { defaultAction: 'SCMP_ACT_ALLOW' } as const]) {
        const program = compileSeccomp(profile, options);
        for (const nr of [0, 1, 41, 102, 435, 500, 0xffffffff]) {
          expect(simulate(program, { arch, nr, args: [] }), String(nr)).toBe(KILL_PROCESS);
        }
      }
    },
  );

  it('answers ENOSYS to every number of the x32 ABI, with and without its bit (F2)', () => {
    const program = compileSeccomp({ defaultAction: 'SCMP_ACT_ALLOW' }, x64);
    for (let nr = 0; nr < 600; nr++) {
      expect(simulate(program, { arch: 'x64', nr: (0x40000000 | nr) >>> 0, args: [] })).toBe(ENOSYS);
    }
    for (let nr = 512; nr < 548; nr++) expect(simulate(program, { arch: 'x64', nr, args: [] })).toBe(ENOSYS);
  });

  it('answers ENOSYS to a number that no known kernel has, whatever the default (F3)', () => {
    for (const defaultAction of ['SCMP_ACT_ALLOW', 'SCMP_ACT_ERRNO', 'SCMP_ACT_KILL_PROCESS'] as const) {
      const program = compileSeccomp({ defaultAction }, x64);
      for (const nr of [337, 423, 470, 600, 0x3fffffff, 0x7fffffff, 0xffffffff]) {
        expect(simulate(program, { arch: 'x64', nr, args: [] }), String(nr)).toBe(ENOSYS);
      }
    }
  });

  it.each([
    ['SCMP_ACT_ALLOW', undefined, 0x7fff0000],
    ['SCMP_ACT_LOG', undefined, 0x7ffc0000],
    ['SCMP_ACT_TRACE', 0xffff, 0x7ff0ffff],
    ['SCMP_ACT_ERRNO', undefined, 0x00050001],
    ['SCMP_ACT_ERRNO', 38, 0x00050026],
    ['SCMP_ACT_ERRNO', 0, 0x00050000],
    ['SCMP_ACT_TRAP', undefined, 0x00030000],
    ['SCMP_ACT_KILL', undefined, 0],
    ['SCMP_ACT_KILL_THREAD', undefined, 0],
    ['SCMP_ACT_KILL_PROCESS', undefined, 0x80000000],
  ] as const)('answers %s with %s as 0x%x', (action, errnoRet, value) => {
    expect(answer(one({ action, errnoRet }), 'write')).toBe(value);
    expect(answer({ defaultAction: action, defaultErrnoRet: errnoRet }, 'write')).toBe(value);
  });

  it('skips names that only another architecture has', () => {
    expect(answer(one({ action: 'SCMP_ACT_ALLOW' }, ['socketcall', 'open', 'write']), 'write', [], arm64)).toBe(ALLOW);
  });

  it('joins the rules of one call by or, the conditions of one rule by and', () => {
    const arg = (index: number, value: number): SeccompArgument => ({ index, value, op: 'SCMP_CMP_EQ' });
    const profile: SeccompProfile = {
      defaultAction: 'SCMP_ACT_ERRNO',
      syscalls: [
        { names: ['mremap'], action: 'SCMP_ACT_ALLOW', args: [arg(0, 1), arg(1, 2)] },
        { names: ['mremap'], action: 'SCMP_ACT_ALLOW', args: [arg(0, 3)] },
      ],
    };
    expect(answer(profile, 'mremap', [1n, 2n])).toBe(ALLOW);
    expect(answer(profile, 'mremap', [1n, 3n])).toBe(EPERM);
    expect(answer(profile, 'mremap', [3n, 9n])).toBe(ALLOW);
    expect(answer(profile, 'mremap', [2n, 2n])).toBe(EPERM);
  });

  it('lets the more restrictive of two matching rules win, in either order', () => {
    const allow: SeccompRule = { names: ['mremap'], action: 'SCMP_ACT_ALLOW' };
    const deny: SeccompRule = {
      names: ['mremap'],
      action: 'SCMP_ACT_KILL_PROCESS',
      args: [{ index: 0, value: 7, op: 'SCMP_CMP_EQ' }],
    };
    for (const syscalls of [
      [allow, deny],
      [deny, allow],
    ]) {
      const profile: SeccompProfile = { defaultAction: 'SCMP_ACT_ERRNO', syscalls };
      expect(answer(profile, 'mremap', [7n])).toBe(KILL_PROCESS);
      expect(answer(profile, 'mremap', [8n])).toBe(ALLOW);
    }
  });

  it('compares all 64 bits of an argument that has them', () => {
    const profile = one({ action: 'SCMP_ACT_ALLOW', args: [{ index: 2, value: 0x1_0000_0002, op: 'SCMP_CMP_LE' }] });
    expect(answer(profile, 'write', [0n, 0n, 0x1_0000_0002n])).toBe(ALLOW);
    expect(answer(profile, 'write', [0n, 0n, 0xffff_ffffn])).toBe(ALLOW);
    expect(answer(profile, 'write', [0n, 0n, 0x1_0000_0003n])).toBe(EPERM);
    expect(answer(profile, 'write', [0n, 0n, 0x2_0000_0000n])).toBe(EPERM);
  });

  it('ignores the upper half of an argument that the kernel takes as an int (F1)', () => {
    const op = 'SCMP_CMP_EQ';
    for (const name of ['socket', 'personality', 'ioctl', 'prctl', 'clone']) {
      const profile = one({ action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 5, op }] }, [name]);
      for (const upper of [0n, 1n, 0x80000000n, 0xffffffffn]) {
        expect(answer(profile, name, [(upper << 32n) | 5n]), name).toBe(ALLOW);
        expect(answer(profile, name, [(upper << 32n) | 4n]), name).toBe(EPERM);
      }
    }
  });

  it('takes a sign-extended value for an int', () => {
    const args = [{ index: 0, value: 0xffff_ffff_ffff_ffffn, op: 'SCMP_CMP_EQ' }] as const;
    const profile = one({ action: 'SCMP_ACT_ALLOW', args }, ['personality']);
    expect(answer(profile, 'personality', [0xffff_ffffn])).toBe(ALLOW);
    expect(answer(profile, 'personality', [0xffff_ffff_ffff_ffffn])).toBe(ALLOW);
  });

  it('evaluates conditions on capabilities, architecture and kernel', () => {
    const rule = (conditions: Partial<SeccompRule>): number =>
      answer(one({ action: 'SCMP_ACT_ALLOW', ...conditions }), 'write');
    expect(rule({ includes: { caps: ['CAP_CHOWN', 'CAP_KILL'] } })).toBe(ALLOW);
    expect(rule({ includes: { caps: ['CAP_CHOWN', 'CAP_SYS_ADMIN'] } })).toBe(EPERM);
    expect(rule({ excludes: { caps: ['CAP_SYS_ADMIN', 'CAP_BPF'] } })).toBe(ALLOW);
    expect(rule({ excludes: { caps: ['CAP_SYS_ADMIN', 'CAP_KILL'] } })).toBe(EPERM);
    expect(rule({ includes: { arches: ['arm64', 'amd64'] } })).toBe(ALLOW);
    expect(rule({ includes: { arches: ['arm64'] } })).toBe(EPERM);
    expect(rule({ excludes: { arches: ['amd64'] } })).toBe(EPERM);
    expect(rule({ includes: { minKernel: '6.1' } })).toBe(ALLOW);
    expect(rule({ includes: { minKernel: '6.2' } })).toBe(EPERM);
    expect(rule({ includes: { minKernel: '5.19' } })).toBe(ALLOW);
    expect(rule({ excludes: { minKernel: '4.8' } })).toBe(EPERM);
  });

  it('is refused above the kernel’s 4096 instructions', () => {
    const rules = (count: number): SeccompProfile => ({
      defaultAction: 'SCMP_ACT_ERRNO',
      syscalls: Array.from({ length: count }, (_, value) => ({
        names: ['mremap'],
        action: 'SCMP_ACT_ALLOW' as const,
        args: [{ index: 0, value, op: 'SCMP_CMP_EQ' as const }],
      })),
    });
    expect(answer(rules(900), 'mremap', [899n])).toBe(ALLOW);
    expect(answer(rules(900), 'mremap', [900n])).toBe(EPERM);
    expect(() => compileSeccomp(rules(1100), x64)).toThrow(/at most 4096 instructions/);
  });

  it('rejects a profile and a machine that it cannot be made for', () => {
    expect(() => compileSeccomp({ defaultAction: 'NOTIFY' } as never, x64)).toThrow(/option seccomp\.defaultAction/);
    expect(() => compileSeccomp(defaultProfile, { ...x64, arch: 'riscv64' as SeccompArch })).toThrow(/option arch/);
    expect(() => compileSeccomp(defaultProfile, { ...x64, kernel: [6, Number.NaN] })).toThrow(/option kernel/);
  });

  it('is small', () => {
    expect(compileSeccomp(dockerProfile, x64).length / 8).toBeLessThan(150);
  });
});

describe('the cache', () => {
  it('answers a repeated call alike', () => {
    const first = compileSeccompCached(defaultProfile, x64);
    expect(compileSeccompCached(defaultProfile, { ...x64 })).toEqual(first);
  });

  it('tells capabilities, kernels, architectures and profiles apart', () => {
    const variants = [
      compileSeccompCached(dockerProfile, x64),
      compileSeccompCached(dockerProfile, { ...x64, capabilities: Capabilities.all }),
      compileSeccompCached(dockerProfile, { ...x64, kernel: [4, 7] }),
      compileSeccompCached(dockerProfile, arm64),
      compileSeccompCached(defaultProfile, x64),
    ];
    expect(new Set(variants.map((program) => Buffer.from(program).toString('hex'))).size).toBe(variants.length);
    expect(variants[1]).toEqual(compileSeccomp(dockerProfile, { ...x64, capabilities: Capabilities.all }));
  });

  it('is not poisoned by changes to what it returned', () => {
    compileSeccompCached(defaultProfile, x64).fill(0);
    expect(compileSeccompCached(defaultProfile, x64)).toEqual(compileSeccomp(defaultProfile, x64));
  });

  it('never returns an old program for an object that changed', () => {
    const profile = { defaultAction: 'SCMP_ACT_ALLOW' as SeccompProfile['defaultAction'] };
    const before = compileSeccompCached(profile, x64);
    profile.defaultAction = 'SCMP_ACT_ERRNO';
    expect(compileSeccompCached(profile, x64)).not.toEqual(before);
  });
});

describe('for random profiles and calls', () => {
  const ops = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'] as const;
  const actions = [
    'ALLOW',
    'ALLOW',
    'ALLOW',
    'ERRNO',
    'ERRNO',
    'LOG',
    'TRACE',
    'TRAP',
    'KILL_THREAD',
    'KILL_PROCESS',
  ] as const;
  const names = [...Array(470).keys()].flatMap((nr) =>
    [syscallName('x64', nr) ?? [], syscallName('arm64', nr) ?? []].flat(),
  );
  const edges = [0n, 1n, 2n, 0x7fffffffn, 0x80000000n, 0xffffffffn, 0x1_0000_0000n, 0x1_0000_0001n, 2n ** 64n - 1n];

  const value = (random: Random): bigint => (random.chance(0.7) ? random.pick(edges) : random.uint64());

  function randomArgument(random: Random, syscalls: readonly string[]): SeccompArgument {
    const index = random.below(3);
    const narrow = syscalls.some((name) => isNarrowArgument(name, index));
    const op = `SCMP_CMP_${random.pick(ops)}` as const;
    const cut = (number: bigint): bigint => (narrow ? number & 0xffffffffn : number);
    if (op !== 'SCMP_CMP_MASKED_EQ') return { index, value: cut(value(random)), op };
    const mask = value(random) | value(random);
    return { index, value: mask, valueTwo: cut(random.chance(0.9) ? mask & value(random) : value(random)), op };
  }

  function randomProfile(random: Random): SeccompProfile {
    const rules = Array.from({ length: random.below(12) }, (): SeccompRule => {
      const chosen = Array.from({ length: 1 + random.below(random.chance(0.2) ? 60 : 4) }, () => random.pick(names));
      if (random.chance(0.5)) chosen.push('mremap', 'socket');
      const action = `SCMP_ACT_${random.pick(actions)}` as const;
      const takesNumber = action === 'SCMP_ACT_ERRNO' || action === 'SCMP_ACT_TRACE';
      const condition = { caps: [random.pick(['CAP_CHOWN', 'CAP_SYS_ADMIN'] as const)] };
      return {
        names: chosen,
        action,
        errnoRet: takesNumber && random.chance(0.7) ? random.below(4096) : undefined,
        args: random.chance(0.7)
          ? Array.from({ length: 1 + random.below(3) }, () => randomArgument(random, chosen))
          : undefined,
        includes: random.chance(0.1) ? condition : random.chance(0.1) ? { minKernel: '6.0' } : undefined,
        excludes: random.chance(0.1) ? condition : random.chance(0.1) ? { arches: ['arm64'] } : undefined,
      };
    });
    return { defaultAction: `SCMP_ACT_${random.pick(actions)}`, syscalls: rules };
  }

  it.each(['x64', 'arm64'] as const)('the program on %s answers what a plain reading of the profile does', (arch) => {
    const random = new Random(arch === 'x64' ? 1 : 2);
    for (let round = 0; round < 1500; round++) {
      const profile = validateProfile(randomProfile(random));
      const options = {
        arch,
        capabilities: Capabilities.of('CHOWN'),
        kernel: [random.pick([5, 6]), 2] as [number, number],
      };
      const program = compileSeccomp(profile, options);
      const named = (profile.syscalls ?? []).flatMap((rule) =>
        rule.names.map((name) => syscallNumber(arch, name) ?? 0),
      );
      // Values of the rules themselves and their neighbours are where mistakes show.
      const near = (profile.syscalls ?? []).flatMap((rule) =>
        (rule.args ?? []).flatMap((argument) =>
          [argument.value, argument.valueTwo ?? 0].flatMap((number) => [
            BigInt(number) - 1n,
            BigInt(number),
            BigInt(number) + 1n,
          ]),
        ),
      );
      for (let call = 0; call < 30; call++) {
        const nr = named.length > 0 && random.chance(0.8) ? random.pick(named) : random.below(520);
        const args = Array.from({ length: 6 }, () =>
          BigInt.asUintN(64, near.length > 0 && random.chance(0.7) ? random.pick(near) : value(random)),
        );
        const actual = simulate(program, { arch, nr, args });
        const expected = evaluate(profile, options, nr, args);
        if (actual !== expected)
          expect.fail(`round ${round}: ${nr}(${args.join()}) gave ${actual}, expected ${expected}`);
      }
    }
  });

  it('any upper bits of an int argument leave the verdict as it is (F1)', () => {
    const random = new Random(3);
    const narrow = names.filter((name) => isNarrowArgument(name, 0) && syscallNumber('x64', name) !== undefined);
    for (let round = 0; round < 1500; round++) {
      const name = random.pick(narrow);
      const argument = { ...randomArgument(random, [name]), index: 0 };
      const low = BigInt.asUintN(32, random.chance(0.5) ? BigInt(argument.value) : value(random));
      const profile = { ...argument, value: BigInt.asUintN(32, BigInt(argument.value)) };
      const two = argument.valueTwo === undefined ? {} : { valueTwo: BigInt.asUintN(32, BigInt(argument.valueTwo)) };
      const rule: SeccompProfile = one({ action: 'SCMP_ACT_ALLOW', args: [{ ...profile, ...two }] }, [name]);
      const program = compileSeccomp(rule, x64);
      const verdict = (upper: bigint): number =>
        simulate(program, { arch: 'x64', nr: syscallNumber('x64', name) ?? 0, args: [(upper << 32n) | low] });
      const expected = verdict(0n);
      for (const upper of [1n, 0x80000000n, 0xffffffffn, BigInt(random.uint32())])
        expect(verdict(upper)).toBe(expected);
    }
  });

  it('the built-in profiles answer what a plain reading of them does, for all calls', () => {
    const random = new Random(4);
    for (const profile of [defaultProfile, dockerProfile]) {
      for (const arch of ['x64', 'arm64'] as const) {
        for (const capabilities of [Capabilities.none, Capabilities.default, Capabilities.docker, Capabilities.all]) {
          const options = { arch, capabilities, kernel: [6, 1] as const };
          const program = compileSeccomp(profile, options);
          for (let nr = 0; nr < 520; nr++) {
            const args = Array.from({ length: 6 }, () => value(random));
            expect(simulate(program, { arch, nr, args })).toBe(evaluate(profile, options, nr, args));
          }
        }
      }
    }
  });
});
