/**
 * libseccomp, the library that OCI runtimes make filters with, as a yardstick: a small program that is compiled where a test
 * or the bench runs, and exports the BPF program of a profile.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Capabilities, SeccompAction, SeccompProfile } from 'tscontain';

/** Reads `arch default optimize`, then rules: `action name count (index op value valueTwo)...`; names it has no number for
 * go to stderr. */
const source = `
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
int main(void) {
  uint32_t action, optimize; char name[64]; unsigned count;
  if (scanf("%63s %" SCNu32 " %" SCNu32, name, &action, &optimize) != 3) return 1;
  scmp_filter_ctx ctx = seccomp_init(action);
  if (!ctx) return 2;
  uint32_t arch = strcmp(name, "arm64") ? SCMP_ARCH_X86_64 : SCMP_ARCH_AARCH64;
  if (arch != seccomp_arch_native() && (seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE) || seccomp_arch_add(ctx, arch))) return 3;
  if (seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)) return 4;
  if (seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, optimize)) return 5;
  while (scanf("%" SCNu32 " %63s %u", &action, name, &count) == 3) {
    struct scmp_arg_cmp args[6];
    for (unsigned i = 0; i < count && i < 6; i++) {
      unsigned index, op; uint64_t a, b;
      if (scanf("%u %u %" SCNu64 " %" SCNu64, &index, &op, &a, &b) != 4) return 6;
      args[i] = (struct scmp_arg_cmp){.arg = index, .op = op, .datum_a = a, .datum_b = b};
    }
    int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) fprintf(stderr, "%s\\n", name);
    else if (seccomp_rule_add_array(ctx, action, number, count, args)) return 7;
  }
  return seccomp_export_bpf(ctx, 1) ? 8 : 0;
}
`;

/** `SECCOMP_RET_*`, written down once more, as this is what ours is compared with. */
const returns: Readonly<Record<SeccompAction, number>> = {
  SCMP_ACT_KILL_PROCESS: 0x80000000,
  SCMP_ACT_KILL_THREAD: 0,
  SCMP_ACT_KILL: 0,
  SCMP_ACT_TRAP: 0x00030000,
  SCMP_ACT_ERRNO: 0x00050000,
  SCMP_ACT_NOTIFY: 0x7fc00000,
  SCMP_ACT_TRACE: 0x7ff00000,
  SCMP_ACT_LOG: 0x7ffc0000,
  SCMP_ACT_ALLOW: 0x7fff0000,
};

/** The value that libseccomp knows an action by. */
export function rawAction(action: SeccompAction, errnoRet = 1): number {
  return returns[action] + (action === 'SCMP_ACT_ERRNO' || action === 'SCMP_ACT_TRACE' ? errnoRet : 0);
}

/** What rules depend on. */
export interface LibseccompTarget {
  readonly arch: 'x64' | 'arm64';
  readonly capabilities: Capabilities;
  readonly kernel: readonly [major: number, minor: number];
}

/** A rule as libseccomp takes it: the raw action, and arguments with the position of their operator in {@link ops}. */
export interface LibseccompRule {
  readonly action: number;
  readonly name: string;
  readonly args: readonly {
    readonly index: number;
    readonly op: string;
    readonly value: bigint;
    readonly valueTwo: bigint;
  }[];
}

// In the order of libseccomp's enum scmp_compare, from 1.
const ops = ['NE', 'LT', 'LE', 'EQ', 'GE', 'GT', 'MASKED_EQ'];

export interface Libseccomp {
  /** The program, and the calls left out: those of no known name, or with two conditions on one argument in a rule. */
  compile(
    arch: 'x64' | 'arm64',
    defaultAction: number,
    rules: readonly LibseccompRule[],
    optimize?: 1 | 2,
  ): { readonly program: Uint8Array; readonly omitted: ReadonlySet<string> };
  close(): void;
}

/** The compiled program, or why there is none. */
export function openLibseccomp(): Libseccomp | { readonly missing: string } {
  const folder = mkdtempSync(join(tmpdir(), 'libseccomp-'));
  const file = join(folder, 'program');
  writeFileSync(`${file}.c`, source);
  const close = () => rmSync(folder, { recursive: true });
  try {
    execFileSync(process.env.CC ?? 'cc', ['-o', file, `${file}.c`, '-lseccomp'], { stdio: 'pipe' });
  } catch (error) {
    close();
    return { missing: `no C compiler, or no libseccomp-dev: ${String(error).split('\n')[0]}` };
  }
  return {
    close,
    compile: (arch, defaultAction, rules, optimize = 1) => {
      const twice = rules.filter(({ args }) => new Set(args.map(({ index }) => index)).size < args.length);
      const omitted = new Set(twice.map(({ name }) => name));
      const lines = rules.flatMap(({ action, name, args }) => {
        if (omitted.has(name)) return [];
        const numbers = args.map(({ index, op, value, valueTwo }) => {
          return ` ${index} ${1 + ops.indexOf(op.replace('SCMP_CMP_', ''))} ${value} ${valueTwo}`;
        });
        return [`${action} ${name} ${args.length}${numbers.join('')}`];
      });
      const input = `${arch} ${defaultAction} ${optimize}\n${lines.join('\n')}\n`;
      const { status, stdout, stderr } = spawnSync(file, { input });
      if (status !== 0) throw new Error(`libseccomp's program ended with ${status} for\n${input}`);
      for (const name of stderr.toString().split('\n')) omitted.add(name);
      return { program: new Uint8Array(stdout), omitted };
    },
  };
}

/** The rules of a profile that take part on this machine, for libseccomp; those that answer as the default are left out. */
export function rulesOf(profile: SeccompProfile, { arch, capabilities, kernel }: LibseccompTarget): LibseccompRule[] {
  const goArch = arch === 'x64' ? 'amd64' : 'arm64';
  const reached = (version: string) => {
    const [major = 0, minor = 0] = version.split('.').map(Number);
    return kernel[0] > major || (kernel[0] === major && kernel[1] >= minor);
  };
  return (profile.syscalls ?? []).flatMap(({ names, action, errnoRet, args = [], includes = {}, excludes = {} }) => {
    const included =
      (includes.arches?.includes(goArch) ?? true) &&
      (includes.caps ?? []).every((cap) => capabilities.has(cap)) &&
      (includes.minKernel === undefined || reached(includes.minKernel));
    const excluded =
      (excludes.arches?.includes(goArch) ?? false) ||
      (excludes.caps ?? []).some((cap) => capabilities.has(cap)) ||
      (excludes.minKernel !== undefined && reached(excludes.minKernel));
    const value = rawAction(action, errnoRet);
    if (!included || excluded || value === rawAction(profile.defaultAction, profile.defaultErrnoRet)) return [];
    const numbers = args.map(({ index, op, value: one, valueTwo = 0 }) => {
      return { index, op, value: BigInt(one), valueTwo: BigInt(valueTwo) };
    });
    return names.map((name) => ({ action: value, name, args: numbers }));
  });
}
