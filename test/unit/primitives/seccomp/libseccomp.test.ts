/**
 * The compiler against libseccomp: both make a program of the same profile, and both programs, run by the interpreter, must
 * answer alike. Random profiles have only rules that both understand alike: one condition on an argument, none on a 32-bit
 * one, and one rule for a call, since libseccomp 2.5 merges several into a tree and allows too much at times:
 * "a <= 2" or "a > 7031467000183729685 and (b & 2) == 2" allowed a = b = 4294967295.
 */

import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Capabilities } from '../../../../lib/primitives/capabilities.js';
import {
  defaultProfile,
  dockerProfile,
  Seccomp,
  type SeccompArch,
  type SeccompProfile,
  validateProfile,
} from '../../../../lib/primitives/seccomp/index.js';
import { maxKnown, syscallName, syscallNumber } from '../../../../lib/primitives/seccomp/syscalls.js';
import { type Libseccomp, openLibseccomp, rawAction, rulesOf } from '../../../support/libseccomp.js';
import { Random } from './evaluate.js';

/** Another one each time; that of a failure is in its message, and can be given again. */
const seed = Number(process.env.TSCONTAIN_TEST_SEED ?? randomInt(2 ** 31));
const rounds = 120;
const ops = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'] as const;
const names = ['mremap', 'mmap', 'lseek', 'pread64', 'read', 'write', 'munmap', 'getpid', 'splice', 'sendfile', 'tee'];
const edges = [0n, 1n, 2n, 0x7fffffffn, 0xffffffffn, 0x1_0000_0000n, 0x1_0000_0001n, 2n ** 64n - 1n];
const actions = [
  ['SCMP_ACT_ALLOW', undefined],
  ['SCMP_ACT_ERRNO', 1],
  ['SCMP_ACT_ERRNO', 4094],
  ['SCMP_ACT_KILL_PROCESS', undefined],
  ['SCMP_ACT_KILL_THREAD', undefined],
  ['SCMP_ACT_LOG', undefined],
  ['SCMP_ACT_NOTIFY', undefined],
  ['SCMP_ACT_TRACE', 77],
  ['SCMP_ACT_TRAP', undefined],
] as const;

let library: Libseccomp | undefined;
let missing = '';

beforeAll(() => {
  const opened = openLibseccomp();
  if ('missing' in opened) missing = opened.missing;
  else library = opened;
});
afterAll(() => library?.close());

const target = (arch: SeccompArch) => ({ arch, capabilities: Capabilities.docker, kernel: [6, 1] }) as const;

function bothOf(known: Libseccomp, arch: SeccompArch, profile: SeccompProfile, optimize: 1 | 2) {
  const valid = validateProfile(profile);
  const fallback = rawAction(valid.defaultAction, valid.defaultErrnoRet);
  const { program, omitted } = known.compile(arch, fallback, rulesOf(valid, target(arch)), optimize);
  return {
    ours: Seccomp.compile(valid, { architecture: arch, capabilities: Capabilities.docker, kernel: '6.1' }),
    theirs: Seccomp.load(program, { architecture: arch }),
    omitted,
  };
}

describe.each(['x64', 'arm64'] as const)('on %s a program of ours and one of libseccomp’s', (arch) => {
  it('answer alike for random profiles: every call, random arguments, and the neighbours of what rules compare', ({
    skip,
  }) => {
    if (!library) return skip(missing);
    const random = new Random(seed + (arch === 'x64' ? 0 : 1));
    const value = (): bigint => (random.chance(0.6) ? random.pick(edges) : random.uint64());
    for (let round = 0; round < rounds; round++) {
      const profile = randomProfile(random, value);
      const place = () => `TSCONTAIN_TEST_SEED=${seed}, round ${round}: ${describeProfile(profile)}`;
      const { ours, theirs } = bothOf(library, arch, profile, random.chance(0.5) ? 1 : 2);
      const agree = (nr: number, args: readonly bigint[]) => {
        const [one, other] = [ours.simulate(nr, args).value, theirs.simulate(nr, args).value];
        if (one !== other) expect(one, `${syscallName(arch, nr)}(${args.join()}), ${place()}`).toBe(other);
      };
      const near = (profile.syscalls ?? [])
        .flatMap(({ args = [] }) => args.map((one) => BigInt(one.value)))
        .flatMap((one) => [one - 1n, one, one + 1n].map((each) => BigInt.asUintN(64, each)));
      const args = () =>
        Array.from({ length: 6 }, () => (near.length > 0 && random.chance(0.6) ? random.pick(near) : value()));
      for (let nr = 0; nr <= maxKnown(arch); nr++) if (syscallName(arch, nr) !== undefined) agree(nr, args());
      for (let call = 0; call < 60; call++) agree(syscallNumber(arch, random.pick(names)) ?? 0, args());
      foreignAgree(random, arch, ours, theirs, place);
    }
  });

  it.for([
    ['Docker’s profile', dockerProfile],
    ['our default profile', defaultProfile],
  ] as const)('answer alike for %s', ([, profile], { skip }) => {
    if (!library) return skip(missing);
    const random = new Random(seed + 2);
    const { ours, theirs, omitted } = bothOf(library, arch, profile, 2);
    const numbers = Array.from({ length: maxKnown(arch) + 1 }, (_each, nr) => nr);
    const compared = numbers.filter((nr) => {
      const name = syscallName(arch, nr);
      return name !== undefined && !omitted.has(name);
    });
    expect(compared.length).toBeGreaterThan(280);
    // Small numbers, as libseccomp compares the upper halves of int arguments too, which the kernel ignores; and one rule
    // after the other on one argument is where it goes wrong: see above.
    const small = () => (random.chance(0.5) ? BigInt(random.below(64)) : BigInt(random.uint32()));
    for (const nr of compared) {
      for (let call = 0; call < 25; call++) {
        const args = Array.from({ length: 6 }, small);
        const place = `TSCONTAIN_TEST_SEED=${seed}: ${syscallName(arch, nr)}(${args.join()})`;
        expect(ours.simulate(nr, args).value, place).toBe(theirs.simulate(nr, args).value);
      }
    }
  });
});

/** Calls by another convention: neither lets any of them through, and a foreign architecture is killed by both. */
function foreignAgree(
  random: Random,
  arch: SeccompArch,
  ours: ReturnType<typeof Seccomp.compile>,
  theirs: ReturnType<typeof Seccomp.load>,
  place: () => string,
): void {
  for (const architecture of [arch === 'x64' ? 'arm64' : 'x64', 'i386', 'arm', random.uint32()] as const) {
    const nr = random.below(500);
    const [one, other] = [ours, theirs].map((filter) => filter.simulate(nr, [], { architecture }).action);
    expect([one, other], place()).toEqual(['kill_process', 'kill_process']);
  }
  if (arch !== 'x64') return;
  for (let call = 0; call < 10; call++) {
    const nr = random.below(600);
    // libseccomp kills at the x32 ABI; ours is a kernel without it.
    const [one, other] = [ours, theirs].map((filter) => filter.simulate(nr, [], { architecture: 'x32' }));
    expect([one?.errno, other?.action], place()).toEqual(['ENOSYS', 'kill_process']);
  }
}

function randomProfile(random: Random, value: () => bigint): SeccompProfile {
  const [defaultAction, defaultErrnoRet] = random.pick(actions);
  const chosen = new Set(Array.from({ length: 1 + random.below(8) }, () => random.pick(names)));
  const rules = Array.from(chosen, (name) => {
    const [action, errnoRet] = random.pick(actions);
    const args = [0, 1, 2]
      .filter(() => random.chance(0.4))
      .map((index) => {
        const op = random.pick(ops);
        const mask = value();
        // libseccomp does not treat a value outside of the mask as never equal.
        const valueTwo = op === 'MASKED_EQ' ? value() & mask : 0n;
        return { index, value: mask, valueTwo, op: `SCMP_CMP_${op}` } as const;
      });
    return { names: [name], action, errnoRet, args };
  });
  return { defaultAction, defaultErrnoRet, syscalls: rules };
}

function describeProfile(profile: SeccompProfile): string {
  return JSON.stringify(profile, (_key, value) => (typeof value === 'bigint' ? `${value}n` : value));
}
