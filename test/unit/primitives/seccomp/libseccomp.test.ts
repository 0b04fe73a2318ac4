/**
 * The compiler against libseccomp: both make a program of the same random profile, and both programs, run by the
 * interpreter, must answer alike. Only rules that both understand alike take part: one condition on an argument, none on a
 * 32-bit one, and one rule for a call, since libseccomp 2.5 merges several into a tree and allows too much at times:
 * "a <= 2" or "a > 7031467000183729685 and (b & 2) == 2" allowed a = b = 4294967295.
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Capabilities } from '../../../../lib/primitives/capabilities.js';
import { compileSeccomp, type SeccompProfile, simulate } from '../../../../lib/primitives/seccomp/index.js';
import { syscallName, syscallNumber } from '../../../../lib/primitives/seccomp/syscalls.js';
import { Random } from './evaluate.js';

/** Reads a rule a line, `action name count (index op value valueTwo)...`, after a line with the default action. */
const source = `
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
int main(void) {
  uint32_t action; char name[64]; unsigned count;
  if (scanf("%" SCNu32, &action) != 1) return 1;
  scmp_filter_ctx ctx = seccomp_init(action);
  if (!ctx) return 2;
  seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
  if (seccomp_arch_add(ctx, SCMP_ARCH_X86_64)) return 3;
  while (scanf("%" SCNu32 " %63s %u", &action, name, &count) == 3) {
    struct scmp_arg_cmp args[6];
    for (unsigned i = 0; i < count && i < 6; i++) {
      unsigned index, op; uint64_t a, b;
      if (scanf("%u %u %" SCNu64 " %" SCNu64, &index, &op, &a, &b) != 4) return 4;
      args[i] = (struct scmp_arg_cmp){.arg = index, .op = op, .datum_a = a, .datum_b = b};
    }
    if (seccomp_rule_add_array(ctx, action, seccomp_syscall_resolve_name(name), count, args)) return 5;
  }
  return seccomp_export_bpf(ctx, 1) ? 6 : 0;
}
`;

// In the order of libseccomp's enum scmp_compare, from 1.
const ops = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'] as const;
const names = ['mremap', 'mmap', 'lseek', 'pread64', 'read', 'write', 'munmap', 'getpid', 'splice', 'sendfile', 'tee'];
const edges = [0n, 1n, 2n, 0x7fffffffn, 0xffffffffn, 0x1_0000_0000n, 0x1_0000_0001n, 2n ** 64n - 1n];

let folder: string | undefined;
let binary: string | undefined;
let missing = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'libseccomp-'));
  const file = join(folder, 'program');
  writeFileSync(`${file}.c`, source);
  try {
    execFileSync('gcc', ['-o', file, `${file}.c`, '-lseccomp'], { stdio: 'pipe' });
    binary = file;
  } catch (error) {
    missing = `gcc or libseccomp-dev is not here: ${String(error).split('\n')[0]}`;
  }
});

afterAll(() => {
  if (folder) rmSync(folder, { recursive: true });
});

describe('a program of ours and one of libseccomp’s', () => {
  it('answer alike for random profiles and calls', ({ skip }) => {
    if (!binary) return skip(missing);
    const random = new Random(5);
    const value = (): bigint => (random.chance(0.6) ? random.pick(edges) : random.uint64());
    for (let round = 0; round < 150; round++) {
      const { profile, text } = randomProfile(random, value);
      const theirs = new Uint8Array(execFileSync(binary, { input: text }));
      const ours = compileSeccomp(profile, { arch: 'x64', capabilities: Capabilities.none, kernel: [6, 1] });
      const near = (profile.syscalls ?? []).flatMap(({ args = [] }) => args.map((one) => BigInt(one.value)));
      for (let call = 0; call < 60; call++) {
        const nr = syscallNumber('x64', random.pick(names)) ?? 0;
        const args = Array.from({ length: 6 }, () =>
          near.length > 0 && random.chance(0.6) ? random.pick(near) : value(),
        );
        const place = `round ${round}: ${syscallName('x64', nr)}(${args.join()}) of\n${text}`;
        expect(simulate(ours, { arch: 'x64', nr, args }), place).toBe(simulate(theirs, { arch: 'x64', nr, args }));
      }
    }
  });
});

function randomProfile(random: Random, value: () => bigint): { profile: SeccompProfile; text: string } {
  const action = 'SCMP_ACT_ALLOW';
  const chosen = new Set(Array.from({ length: 1 + random.below(8) }, () => random.pick(names)));
  const rules = Array.from(chosen, (name) => ({
    names: [name],
    action,
    args: [0, 1, 2]
      .filter(() => random.chance(0.4))
      .map((index) => {
        const op = random.pick(ops);
        const mask = value();
        // libseccomp does not treat a value outside of the mask as never equal.
        return {
          index,
          value: mask,
          valueTwo: op === 'MASKED_EQ' ? value() & mask : 0n,
          op: `SCMP_CMP_${op}`,
        } as const;
      }),
  })) satisfies SeccompProfile['syscalls'];
  const lines = rules.map(({ names: [name], args }) => {
    const numbers = args.map(({ index, op, value: one, valueTwo }) => {
      const code = 1 + ops.findIndex((known) => op === `SCMP_CMP_${known}`);
      return ` ${index} ${code} ${one} ${valueTwo}`;
    });
    return `${0x7fff0000} ${name} ${args.length}${numbers.join('')}`;
  });
  return {
    profile: { defaultAction: 'SCMP_ACT_ERRNO', syscalls: rules },
    text: `${0x00050001}\n${lines.join('\n')}\n`,
  };
}
