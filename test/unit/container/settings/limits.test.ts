import { describe, expect, it } from 'vitest';
import { parseContainerOptions } from '../../../../lib/container/settings.js';
import { refusal, shown } from './refusal.js';

const limitsOf = (limits: unknown) => parseContainerOptions({ limits }).limits;
const mib = 2 ** 20;

describe('limits', () => {
  it('have defaults, none of which counts as explicit', () => {
    const { values, explicit, openFiles, ...rest } = parseContainerOptions({}).limits;
    expect(values).toEqual({ memory: 1024 * mib, swap: 0, pids: 512 });
    expect([...explicit]).toEqual([]);
    expect(openFiles).toBe(1024);
    expect(rest).toEqual({});
  });

  it('are read in their units, and remembered as explicit', () => {
    const io = [
      { device: '8:0', readBps: '10MB', writeIops: 100 },
      { device: '/dev/vda', writeBps: 1 },
    ];
    const { values, explicit, openFiles, fileSize } = limitsOf({
      memory: '256MiB',
      swap: '1g',
      pids: 64,
      cpus: 0.5,
      cpuWeight: 10_000,
      cpuset: '3,0-1',
      io,
      ioWeight: 1,
      openFiles: 4096,
      fileSize: '1GiB',
    });
    expect(values).toEqual({
      memory: 256 * mib,
      swap: 1024 * mib,
      pids: 64,
      cpus: 0.5,
      cpuWeight: 10_000,
      cpuset: '0-1,3',
      io: [
        { device: '8:0', readBps: 10e6, writeIops: 100 },
        { device: '/dev/vda', writeBps: 1 },
      ],
      ioWeight: 1,
    });
    expect([...explicit].sort()).toEqual([
      'cpuWeight',
      'cpus',
      'cpuset',
      'fileSize',
      'io',
      'ioWeight',
      'memory',
      'openFiles',
      'pids',
      'swap',
    ]);
    expect([openFiles, fileSize]).toEqual([4096, 1024 * mib]);
  });

  it.each<[string, unknown]>([
    ['memory', 6 * mib],
    ['memory', 2 ** 52],
    ['swap', 0],
    ['swap', '0'],
    ['pids', 1],
    ['pids', 4_194_303],
    ['cpus', 0.01],
    ['cpus', 1024],
    ['cpuWeight', 1],
    ['openFiles', 1_048_576],
    ['fileSize', 0],
  ])('%s may be %j', (key, value) => {
    expect(limitsOf({ [key]: value }).explicit.has(key)).toBe(true);
  });

  it('say what the least memory is', () => {
    const error = refusal(() => limitsOf({ memory: '4MiB' }), 'limits.memory');
    expect(error.message).toContain("expected at least 6 MiB (6291456 bytes), got '4MiB' (string)");
  });
});

describe('K5: a number that is none, or out of range, is an error and never "unlimited"', () => {
  const never = [
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    Number('1e309'),
    -1,
    2 ** 53,
    null,
    true,
    {},
    [],
    [1],
    5n,
    () => 1,
  ];
  const text = [
    '',
    ' ',
    'NaN',
    'Infinity',
    'max',
    'unlimited',
    '-1',
    '1e9',
    '0x10',
    '1_000',
    ' 64',
    '64 ',
    '64\n',
    '1,5',
    '１',
  ];
  const rows: Record<string, readonly unknown[]> = {
    memory: [
      ...never,
      ...text,
      0,
      6 * mib - 1,
      6 * mib + 0.5,
      '64XB',
      '64 MiBs',
      '5MiB',
      '99999999999999999g',
      '8192TiB',
      '10000000.5',
    ],
    swap: [...never, ...text, 0.5, '64XB', '0.5'],
    fileSize: [...never, ...text, 0.5],
    pids: [...never, ...text, 0, 1.5, 4_194_304, '64', 2 ** 32 + 1],
    cpus: [...never, ...text, 0, 0.009, 1024.1, '0.5', 'all'],
    cpuWeight: [...never, ...text, 0, 10_001, 1.5, '100'],
    ioWeight: [...never, ...text, 0, 10_001, 1.5, '100'],
    openFiles: [...never, ...text, 0, 3, 1_048_577, 1.5, '1024'],
    cpuset: [
      ...never,
      ...text.filter((value) => value !== '1,5'),
      0,
      '0-9999999999',
      '3-1',
      '0,',
      '0-',
      '0--1',
      '0;1',
      '0\n1',
      '0-1:2',
    ],
  };
  const table = Object.entries(rows).flatMap(([key, values]) =>
    values.map((value) => [key, shown(value), value] as const),
  );
  it.each(table)('limits.%s is not %s', (key, _, value) => {
    expect(refusal(() => limitsOf({ [key]: value }), `limits.${key}`).message.length).toBeLessThan(400);
  });
});

describe('io limits', () => {
  const devices = [
    '',
    'sda',
    '/sda',
    '8',
    '8:',
    ':0',
    '8:0:0',
    '08:0',
    '8:00',
    '-8:0',
    '4096:0',
    '8:1048576',
    '8:0\n',
    '/dev/../etc',
    '/dev/a\0',
    8,
    null,
  ];
  it.each(devices.map((device) => [shown(device), device]))('are not for device %s', (_, device) => {
    refusal(() => limitsOf({ io: [{ device, readBps: 1 }] }), 'limits.io[0].device');
  });

  it.each<[string, unknown]>([
    ['readBps', 0],
    ['writeBps', '0'],
    ['readIops', 0],
    ['writeIops', 2 ** 32],
    ['readIops', '10'],
    ['readBps', Number.NaN],
  ])('do not take %s: %j, as cgroup v1 takes 0 for no limit', (key, value) => {
    refusal(() => limitsOf({ io: [{ device: '8:0', [key]: value }] }), `limits.io[0].${key}`);
  });

  it('limit something, and are not too many', () => {
    refusal(() => limitsOf({ io: [{ device: '8:0' }] }), 'limits.io[0]');
    refusal(() => limitsOf({ io: '8:0' }), 'limits.io');
    refusal(() => limitsOf({ io: Array(65).fill({ device: '8:0', readBps: 1 }) }), 'limits.io');
  });
});

describe('storage', () => {
  it('is half of the memory, at most 1 GiB, with one inode for every page', () => {
    expect(parseContainerOptions({}).storage).toEqual({
      driver: 'auto',
      asked: {},
      upper: 'tmpfs',
      size: 512 * mib,
      inodes: 131_072,
    });
    expect(parseContainerOptions({ limits: { memory: '6MiB' } }).storage).toMatchObject({
      size: 3 * mib,
      inodes: 1024,
    });
    expect(parseContainerOptions({ limits: { memory: '64GiB' } }).storage).toMatchObject({
      size: 1024 * mib,
      inodes: 262_144,
    });
    expect(parseContainerOptions({ storage: { size: '64GiB' } }).storage.inodes).toBe(1_048_576);
    expect(parseContainerOptions({ storage: { size: 4096, inodes: 16 } }).storage).toMatchObject({
      size: 4096,
      inodes: 16,
    });
  });

  it.each(
    [Number.NaN, -1, 0, '0', 4095, Number('1e309'), '1e9', '50%', '64MiB,mode=777', null, {}].map((size) => [
      shown(size),
      size,
    ]),
  )('K5: has no size %s', (_, size) => {
    refusal(() => parseContainerOptions({ storage: { size } }), 'storage.size');
  });

  it.each([Number.NaN, -1, 0, 15, 1.5, '1000', 2 ** 31, null].map((inodes) => [shown(inodes), inodes]))(
    'K5: has no %s inodes',
    (_, inodes) => {
      refusal(() => parseContainerOptions({ storage: { inodes } }), 'storage.inodes');
    },
  );

  it('is on tmpfs or disk', () => {
    expect(parseContainerOptions({ storage: { upper: 'disk' } }).storage.upper).toBe('disk');
    for (const upper of ['ram', '/var/lib', 'Disk', null, true]) {
      refusal(() => parseContainerOptions({ storage: { upper } }), 'storage.upper');
    }
    refusal(() => parseContainerOptions({ storage: 'disk' }), 'storage');
  });

  it('has a bound on disk only where one is asked for', () => {
    const parse = (storage: object) => parseContainerOptions({ storage: { upper: 'disk', ...storage } }).storage.disk;
    expect(parse({})).toBeUndefined();
    expect(parse({ size: '64MiB' })).toEqual({ size: 2 ** 26, inodes: 2 ** 14 });
    expect(parse({ size: '10GiB', inodes: 100 })).toEqual({ size: 10 * 2 ** 30, inodes: 100 });
  });

  it('H5: refuses inodes on disk without a size, or more than can be had, and a size that no file can have', () => {
    const parse = (storage: object) => () => parseContainerOptions({ storage: { upper: 'disk', ...storage } });
    refusal(parse({ inodes: 100 }), 'storage.inodes');
    refusal(parse({ size: '64MiB', inodes: 2 ** 14 + 1 }), 'storage.inodes');
    for (const size of [4095, '5TiB', -1, 'much']) refusal(parse({ size }), 'storage.size');
  });
});
