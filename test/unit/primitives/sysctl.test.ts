import { describe, expect, it } from 'vitest';
import { parseContainerOptions } from '../../../lib/container/settings.js';
import { OptionError } from '../../../lib/errors.js';
import { checkSysctl, sysctlPath } from '../../../lib/primitives/sysctl.js';

const check = (key: string, value: unknown, networkIsPrivate = true) =>
  checkSysctl(key, value, 'sysctl', networkIsPrivate);

describe('a setting of the kernel', () => {
  it.each([
    ['kernel.shmmax', 65_536, '65536', 'ipc'],
    ['kernel.shmmax', '18446744073692774399', '18446744073692774399', 'ipc'],
    ['kernel.sem', '250 32000 100 64', '250 32000 100 64', 'ipc'],
    ['fs.mqueue.queues_max', 0, '0', 'ipc'],
    ['kernel.domainname', '(none)', '(none)', 'uts'],
    ['net.ipv4.ping_group_range', '0\t1000', '0\t1000', 'net'],
    ['net.ipv4.conf.lo.forwarding', 1, '1', 'net'],
    ['net.ipv6.conf.all.disable_ipv6', '1', '1', 'net'],
    ['net.core.somaxconn', 4096, '4096', 'net'],
  ])('%s = %j belongs to a namespace', (key, value, text, namespace) => {
    expect(check(key, value)).toEqual({ key, value: text, namespace });
  });

  it.each([
    'kernel.core_pattern',
    'kernel.modprobe',
    'kernel.hostname',
    'kernel.msgmax+kernel.core_pattern',
    'kernel.msgmax=1',
    'kernel.shm',
    'kernel.shm_next_id',
    'kernel/msgmax',
    'kernel.msgmax ',
    'kernel.msgmax\n',
    'kernel.msgmax\0',
    'Kernel.msgmax',
    'fs.mqueue',
    'fs.mqueue.',
    'fs.file-max',
    'vm.overcommit_memory',
    'user.max_user_namespaces',
    'net',
    'net.',
    'net.ipv4',
    'net..ipv4',
    'net.ipv4.',
    'net.ipv4.x=y',
    'net.ipv4.conf.a/b.forwarding',
    'net.ipv4.../kernel',
    'net.ipv4.conf...forwarding',
    'net.ipv4.é',
    'network.ipv4.x',
    '.net.ipv4.x',
    '',
    '__proto__',
  ])('%j is none', (key) => {
    expect(() => check(key, 1)).toThrow(OptionError);
  });

  it.each([
    ['kernel.msgmax', '1\n2'],
    ['kernel.msgmax', '1\r'],
    ['kernel.msgmax', '1\0'],
    ['kernel.msgmax', ''],
    ['kernel.msgmax', ' 1'],
    ['kernel.msgmax', '1 '],
    ['kernel.msgmax', '0x10'],
    ['kernel.msgmax', '010'],
    ['kernel.msgmax', '1 2 3 4 5'],
    ['kernel.msgmax', 'many'],
    ['kernel.msgmax', 1.5],
    ['kernel.msgmax', Number.NaN],
    ['kernel.msgmax', Number.POSITIVE_INFINITY],
    ['kernel.msgmax', 2 ** 60],
    ['kernel.msgmax', true],
    ['kernel.msgmax', null],
    ['kernel.msgmax', [1]],
    ['kernel.domainname', 'a b'],
    ['kernel.domainname', 'x'.repeat(66)],
    ['net.ipv4.tcp_congestion_control', 'cubic\nreno'],
    ['net.ipv4.tcp_congestion_control', '\x1b[2J'],
    ['net.ipv4.tcp_congestion_control', 'é'],
    ['net.ipv4.tcp_congestion_control', 'x'.repeat(1025)],
  ])('%s cannot be %j', (key, value) => {
    expect(() => check(key, value)).toThrow(OptionError);
  });

  it('of the network asks for a network of one’s own', () => {
    expect(() => check('net.ipv4.ip_forward', 1, false)).toThrow(/would be the host's/);
    expect(check('kernel.msgmax', 1, false).namespace).toBe('ipc');
  });

  it('is a file below /proc/sys', () => {
    expect(sysctlPath('net.ipv4.conf.lo.forwarding')).toBe('sys/net/ipv4/conf/lo/forwarding');
  });
});

describe('the options of a container', () => {
  it('hold settings in their order, each named by its key', () => {
    const sysctl = { 'net.core.somaxconn': 5, 'kernel.msgmax': 1 };
    expect(parseContainerOptions({ sysctl }).sysctl.map(({ key }) => key)).toEqual(Object.keys(sysctl));
    expect(() => parseContainerOptions({ sysctl: { 'kernel.panic': 1 } })).toThrow(/option sysctl\["kernel\.panic"\]/);
    expect(() => parseContainerOptions({ sysctl: [1] })).toThrow(OptionError);
    expect(() => parseContainerOptions({ sysctl: new Map() })).toThrow(OptionError);
    const many = Object.fromEntries(Array.from({ length: 129 }, (_, i) => [`net.ipv4.conf.v${i}.forwarding`, 1]));
    expect(() => parseContainerOptions({ sysctl: many })).toThrow(/at most 128/);
  });

  it('hold offsets of clocks in nanoseconds', () => {
    const offsets = (timeOffsets: object) => parseContainerOptions({ timeOffsets }).timeOffsets;
    expect(offsets({})).toEqual({ monotonic: 0n, boottime: 0n });
    expect(offsets({ monotonic: 1.5, boottime: -0.25 })).toEqual({ monotonic: 1_500_000n, boottime: -250_000n });
    expect(offsets({ boottime: 4_611_686_018_000 })?.boottime).toBe(4_611_686_018_000_000_000n);
    expect(parseContainerOptions({}).timeOffsets).toBeUndefined();
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, '1s', 1n, 4_611_686_018_001, -1e12, null, true]) {
      expect(() => offsets({ monotonic: value }), String(value)).toThrow(OptionError);
    }
    expect(() => offsets({ realtime: 5 })).toThrow(/timeOffsets\.realtime/);
  });
});
