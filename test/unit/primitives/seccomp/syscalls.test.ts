import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { isSyscallName, maxKnown, syscallName, syscallNumber } from '../../../../lib/primitives/seccomp/syscalls.js';

describe('system call numbers', () => {
  it.each([
    ['read', 0, 63],
    ['openat', 257, 56],
    ['ioctl', 16, 29],
    ['clone', 56, 220],
    ['socket', 41, 198],
    ['personality', 135, 92],
    ['ptrace', 101, 117],
    ['chroot', 161, 51],
    ['renameat', 264, 38],
    ['newfstatat', 262, 79],
    ['fstat', 5, 80],
    ['mmap', 9, 222],
    ['fadvise64', 221, 223],
    ['getrlimit', 97, 163],
    ['accept4', 288, 242],
    ['wait4', 61, 260],
    ['rseq', 334, 293],
    ['kexec_file_load', 320, 294],
    ['pidfd_send_signal', 424, 424],
    ['io_uring_setup', 425, 425],
    ['clone3', 435, 435],
    ['memfd_secret', 447, 447],
    ['cachestat', 451, 451],
    ['mseal', 462, 462],
    ['file_setattr', 469, 469],
  ])('%s is %i on x86_64 and %i on aarch64', (name, x64, arm64) => {
    expect(syscallNumber('x64', name)).toBe(x64);
    expect(syscallNumber('arm64', name)).toBe(arm64);
    expect(syscallName('x64', x64)).toBe(name);
    expect(syscallName('arm64', arm64)).toBe(name);
  });

  it('leaves out on aarch64 what only x86_64 has', () => {
    for (const name of ['open', 'fork', 'pipe', 'stat', 'arch_prctl', 'modify_ldt', 'iopl', 'uretprobe']) {
      expect(syscallNumber('arm64', name), name).toBeUndefined();
      expect(syscallNumber('x64', name), name).toBeTypeOf('number');
    }
  });

  it('has gaps where the kernel has them', () => {
    expect(syscallName('x64', 337)).toBeUndefined();
    expect(syscallName('x64', 423)).toBeUndefined();
    expect(syscallName('arm64', 244)).toBeUndefined();
    expect(syscallName('arm64', 295)).toBeUndefined();
    expect(syscallName('x64', 470)).toBeUndefined();
  });

  it.each(['x64', 'arm64'] as const)('knows %s up to 469, Linux 6.17', (arch) => {
    expect(maxKnown(arch)).toBe(469);
  });

  it.each(['x64', 'arm64'] as const)('names each call of %s once', (arch) => {
    for (let number = 0; number <= maxKnown(arch); number++) {
      const name = syscallName(arch, number);
      if (name !== undefined) expect(syscallNumber(arch, name), name).toBe(number);
    }
  });

  it('tells a name of another architecture from none', () => {
    expect(isSyscallName('socketcall')).toBe(true);
    expect(isSyscallName('riscv_flush_icache')).toBe(true);
    expect(isSyscallName('opne')).toBe(false);
    expect(isSyscallName('constructor')).toBe(false);
  });

  it('agrees with this machine’s kernel headers', ({ skip }) => {
    const header = readHeader('/usr/include/x86_64-linux-gnu/asm/unistd_64.h');
    if (header === undefined) return skip('no x86_64 kernel headers here (linux-libc-dev)');
    const defined = Array.from(header.matchAll(/#define __NR_(\w+) (\d+)/g));
    expect(defined.length).toBeGreaterThan(300);
    for (const [, name = '', number] of defined)
      expect(syscallNumber('x64', name) ?? Number(number), name).toBe(Number(number));
  });
});

function readHeader(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
