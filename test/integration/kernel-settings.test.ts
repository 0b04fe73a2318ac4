/** Settings of the kernel for the container's namespaces: in force inside, and nowhere else. */

import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Argv, Container, TscontainError } from '../../lib/index.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const path = (key: string) => `/proc/sys/${key.replaceAll('.', '/')}`;
const read = (key: string) => readFileSync(path(key), 'utf8').trim().split(/\s+/).join(' ');

describe('sysctl', () => {
  const settings = {
    'kernel.sem': '250 32000 100 64',
    'kernel.shmmax': 65_536,
    'kernel.msgmax': 4097,
    'kernel.shm_rmid_forced': 1,
    'kernel.domainname': 'example.org',
    'fs.mqueue.msg_max': 21,
    'net.ipv4.ip_unprivileged_port_start': 81,
    'net.ipv4.ping_group_range': '0 1000',
    // A new network begins with the host's.
    'net.ipv4.conf.lo.forwarding': 1 - Number(read('net.ipv4.conf.lo.forwarding')),
  };
  const keys = Object.keys(settings) as (keyof typeof settings)[];

  it('is in force inside, read-only there, and the host’s own stays', async (context) => {
    needsRoot(context);
    const host = keys.map(read);
    const inside = async (options: object) => {
      const argv: Argv = ['sh', '-c', keys.map((key) => `cat ${path(key)}`).join(';')];
      const { stdout } = await Container.run(argv, options);
      return stdout
        .trim()
        .split('\n')
        .map((line) => line.split(/\s+/).join(' '));
    };
    expect(await inside({ sysctl: settings })).toEqual(keys.map((key) => String(settings[key])));
    expect(keys.map(read)).toEqual(host);
    const plain = await inside({});
    for (const [index, key] of keys.entries()) expect(plain[index], key).not.toBe(String(settings[key]));
    const write = await Container.run(['sh', '-c', 'echo 5 > /proc/sys/kernel/msgmax'], { sysctl: settings });
    expect(write.stderr).toContain('Read-only file system');
  });

  it('is felt: a port that takes no privilege, a segment that is too large', async (context) => {
    needsRoot(context);
    const bind = ['python3', '-c', 'import socket; socket.socket().bind(("127.0.0.1", 90)); print("bound")'] as Argv;
    expect((await Container.run(bind, { user: 1000 })).stderr).toContain('PermissionError');
    const sysctl = { 'net.ipv4.ip_unprivileged_port_start': 90, 'kernel.shmmax': 8192 };
    expect((await Container.run(bind, { user: 1000, sysctl })).stdout).toBe('bound\n');
    const segment = (size: number) =>
      ['python3', '-c', `import ctypes; print(ctypes.CDLL(None).shmget(0, ${size}, 0o1600) >= 0)`] as Argv;
    expect((await Container.run(segment(8192), { sysctl })).stdout).toBe('True\n');
    expect((await Container.run(segment(8193), { sysctl })).stdout).toBe('False\n');
    expect((await Container.run(segment(8193))).stdout).toBe('True\n');
  });

  it('that the kernel does not take is an error that names it', async () => {
    for (const sysctl of [
      { 'net.ipv4.no_such_thing.at_all': 1 },
      { 'net.ipv4.tcp_congestion_control': 'nothing' },
      { 'kernel.shmmni': 99_999_999_999 },
      // Taken as hexadecimal, and so not what a reader would think.
      { 'net.ipv4.tcp_fin_timeout': '0x10' },
    ]) {
      const [key = ''] = Object.keys(sysctl);
      const start = Container.create({ sysctl });
      await expect(start, key).rejects.toBeInstanceOf(TscontainError);
      await expect(start, key).rejects.toMatchObject({ step: { kind: 'sysctl' }, hint: expect.any(String) });
      await expect(start, key).rejects.toThrow(key);
    }
  });
});

describe('time offsets', () => {
  const clocks = [
    'python3',
    '-c',
    'import time; print(time.clock_gettime(1), time.clock_gettime(7), open("/proc/uptime").read().split()[0], time.time())',
  ] as Argv;
  const seconds = async (options: object, box?: Container) => {
    const { stdout } = box ? await box.exec(clocks) : await Container.run(clocks, options);
    return stdout.trim().split(' ').map(Number);
  };

  it('move the clocks of every program of the container, and not the date', async (context) => {
    context.skip(!existsSync('/proc/self/ns/time'), 'this kernel has no time namespaces (CONFIG_TIME_NS)');
    const hour = 3_600_000;
    const timeOffsets = { monotonic: 100 * hour, boottime: -1500.25 };
    await using box = await Container.create({ timeOffsets });
    const before = await seconds({});
    const [monotonic = 0, boot = 0, uptime = 0, date = 0] = await seconds({}, box);
    const after = await seconds({});
    const between = (value: number, index: number, offset: number) => {
      expect(value).toBeGreaterThanOrEqual((before[index] ?? 0) + offset - 0.02);
      expect(value).toBeLessThanOrEqual((after[index] ?? 0) + offset + 0.02);
    };
    between(monotonic, 0, 360_000);
    between(boot, 1, -1.500_25);
    between(uptime, 2, -1.500_25);
    between(date, 3, 0);
    expect(await seconds({ timeOffsets: {} })).toHaveLength(4);
  });

  it('are refused where a clock would be before 0', async () => {
    await expect(Container.create({ timeOffsets: { boottime: -1e12 } })).rejects.toMatchObject({
      option: 'timeOffsets.boottime',
    });
  });
});
