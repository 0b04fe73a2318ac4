import { describe, expect, it } from 'vitest';
import { parseContainerOptions } from '../../../../lib/container/settings.js';
import { refusal, shown } from './refusal.js';

const mountsOf = (...mounts: unknown[]) => parseContainerOptions({ mounts }).mounts;
const bind = { type: 'bind', source: '/src', target: '/job' };

describe('mounts', () => {
  it('have safe defaults', () => {
    expect(mountsOf(bind, { type: 'tmpfs', target: '/t' }, { type: 'overlay', lower: ['/l'], target: '/o' })).toEqual([
      {
        ...bind,
        option: 'mounts[0]',
        readOnly: true,
        exec: true,
        idmap: 'optional',
        unsafeSource: false,
      },
      {
        type: 'tmpfs',
        option: 'mounts[1]',
        target: '/t',
        size: 64 * 2 ** 20,
        inodes: 16_384,
        mode: 0o1777,
        exec: true,
      },
      { type: 'overlay', option: 'mounts[2]', lower: ['/l'], target: '/o', size: 64 * 2 ** 20, inodes: 16_384 },
    ]);
  });

  it('resolve relative sources against the current directory', () => {
    expect(mountsOf({ ...bind, source: './in/../out' })).toMatchObject([{ source: `${process.cwd()}/out` }]);
    expect(mountsOf({ type: 'overlay', lower: ['.'], target: '/o' })).toMatchObject([{ lower: [process.cwd()] }]);
  });

  it('are ordered so that parents come first, and otherwise stay in order', () => {
    const targets = ['/a/b/c', '/z', '/a/b', '/b', '/a', '/a/b/a'];
    const mounts = mountsOf(...targets.map((target) => ({ type: 'tmpfs', target })));
    expect(mounts.map(({ target, option }) => `${option} ${target}`)).toEqual([
      'mounts[1] /z',
      'mounts[3] /b',
      'mounts[4] /a',
      'mounts[2] /a/b',
      'mounts[0] /a/b/c',
      'mounts[5] /a/b/a',
    ]);
  });

  it('drop one slash at the end of a target, and take every byte that a path may have', () => {
    expect(mountsOf({ ...bind, target: '/job/' })).toMatchObject([{ target: '/job' }]);
    const odd = '/a b/c:d,e\\f\n\x1b[2Jü';
    expect(mountsOf({ ...bind, source: odd, target: odd })).toMatchObject([{ source: odd, target: odd }]);
  });

  it.each(['/procs', '/sysroot', '/device', '/mnt/proc', '/etc/hosts'])('may land on %s', (target) => {
    expect(mountsOf({ ...bind, target })).toHaveLength(1);
  });

  it('may be a tmpfs on /dev/shm, and nothing else there', () => {
    expect(mountsOf({ type: 'tmpfs', target: '/dev/shm' })).toHaveLength(1);
    refusal(() => mountsOf({ ...bind, target: '/dev/shm' }), 'mounts[0].target');
    refusal(() => mountsOf({ type: 'tmpfs', target: '/dev/shm/x' }), 'mounts[0].target');
  });
});

describe('A19, K1, K11: a target is refused', () => {
  const bad: unknown[] = [
    ...[
      '/proc',
      '/proc/',
      '/proc/self',
      '/proc/sys/kernel',
      '/sys',
      '/sys/fs',
      '/sys/fs/cgroup',
      '/dev',
      '/dev/null',
      '/dev/pts',
    ],
    ...[
      '/',
      '//',
      '/.',
      '/..',
      '/a/../proc',
      '/./proc',
      '/a/.',
      '/a//b',
      '//proc',
      '/a//',
      '',
      'job',
      './job',
      '../job',
      '~',
    ],
    ...[
      '/a\0b',
      '/\ud800',
      `/${'a'.repeat(256)}`,
      `/${'ä'.repeat(128)}`,
      '/abcdefg'.repeat(512),
      undefined,
      null,
      5,
      ['/a'],
      {},
    ],
  ];
  it.each(bad.map((target) => [shown(target), target]))('when it is %s', (_, target) => {
    refusal(() => mountsOf({ ...bind, target }), 'mounts[0].target');
    refusal(() => mountsOf({ type: 'tmpfs', target }), 'mounts[0].target');
    refusal(() => mountsOf({ type: 'overlay', lower: ['/l'], target }), 'mounts[0].target');
  });

  it('when another mount has it', () => {
    const error = refusal(() => mountsOf(bind, { type: 'tmpfs', target: '/job/' }), 'mounts[1].target');
    expect(error.expected).toBe('a target other than that of mounts[0]');
  });

  it('not when it is exactly as long as a path may be', () => {
    const component = `/${'a'.repeat(255)}`;
    const longest = component.repeat(15) + component.slice(0, 255);
    expect(longest).toHaveLength(4095);
    expect(mountsOf({ ...bind, target: longest })).toHaveLength(1);
    refusal(() => mountsOf({ ...bind, target: `${longest}a` }), 'mounts[0].target');
  });
});

describe('a source is refused', () => {
  const bad = ['', '/a\0b', '\udc00', `/${'a'.repeat(256)}`, '/abcdefg'.repeat(512), undefined, null, 5, ['/a'], {}];
  it.each(bad.map((source) => [shown(source), source]))('when it is %s', (_, source) => {
    refusal(() => mountsOf({ ...bind, source }), 'mounts[0].source');
    refusal(() => mountsOf({ type: 'overlay', lower: [source], target: '/o' }), 'mounts[0].lower[0]');
    refusal(() => parseContainerOptions({ image: { rootfs: source } }), 'image.rootfs');
  });

  it('A16: not for characters that a mount option string could not hold', () => {
    const odd = ['/a:b', '/a,b', '/a\\b', '/a=b', '/a b'];
    expect(mountsOf({ type: 'overlay', lower: odd, target: '/o' })).toMatchObject([{ lower: odd }]);
  });
});

describe('A8: a sub-path is refused', () => {
  const bad = [
    '',
    '/',
    '/a',
    '.',
    '..',
    '../a',
    'a/..',
    'a/../b',
    './a',
    'a//b',
    'a/',
    'a\0',
    '\ud800',
    'a'.repeat(256),
    5,
    null,
  ];
  it.each(bad.map((subPath) => [shown(subPath), subPath]))('when it is %s', (_, subPath) => {
    refusal(() => mountsOf({ ...bind, subPath }), 'mounts[0].subPath');
  });

  it('not when it is plain', () => {
    expect(mountsOf({ ...bind, subPath: 'a/b.c/..d' })).toMatchObject([{ subPath: 'a/b.c/..d' }]);
  });
});

describe('A10: mounts are a closed set of options', () => {
  it.each(
    ['proc', 'sysfs', 'devpts', 'bind,ro', 'Bind', '', 'none', undefined, null, 5].map((type) => [shown(type), type]),
  )('%s is no type', (_, type) => {
    refusal(() => mountsOf({ ...bind, type }), 'mounts[0].type');
  });

  it.each(['options', 'data', 'flags', 'propagation'])('there is no %s', (key) => {
    refusal(() => mountsOf({ ...bind, [key]: 'ro,suid' }), `mounts[0].${key}`);
  });

  it.each(['readOnly', 'exec', 'idmap', 'unsafeSource'])('%s is true or false and nothing else', (key) => {
    for (const value of ['false', 'true', 0, 1, null, 'ro', {}]) {
      refusal(() => mountsOf({ ...bind, [key]: value }), `mounts[0].${key}`);
    }
  });

  it.each<[string, unknown]>([
    ['size', 0],
    ['size', '0'],
    ['size', 4095],
    ['size', '64MiB,nr_inodes=0'],
    ['size', '50%'],
    ['inodes', 0],
    ['inodes', '100'],
    ['inodes', 2 ** 31],
    ['mode', -1],
    ['mode', 0o4755],
    ['mode', '755'],
    ['mode', 1.5],
    ['exec', 'noexec'],
  ])('a tmpfs does not take %s: %j, which the kernel could read as unlimited or as another option', (key, value) => {
    refusal(() => mountsOf({ type: 'tmpfs', target: '/t', [key]: value }), `mounts[0].${key}`);
  });

  it('an overlay has 1 to 500 different lower directories', () => {
    const overlay = (lower: unknown) => mountsOf({ type: 'overlay', lower, target: '/o' });
    refusal(() => overlay([]), 'mounts[0].lower');
    refusal(() => overlay('/a:/b'), 'mounts[0].lower');
    refusal(() => overlay(['/a', '/b', '/a/']), 'mounts[0].lower[2]');
    const many = Array.from({ length: 501 }, (_, index) => `/l/${index}`);
    refusal(() => overlay(many), 'mounts[0].lower');
    expect(overlay(many.slice(1))).toHaveLength(1);
  });
});

describe('H13: a list of mounts', () => {
  const many = Array.from({ length: 10_000 }, (_, index) => ({ type: 'tmpfs', target: `/t/${index}` }));
  it('of 200 is accepted, of more refused', () => {
    expect(mountsOf(...many.slice(0, 200))).toHaveLength(200);
    refusal(() => mountsOf(...many.slice(0, 201)), 'mounts');
    const error = refusal(() => mountsOf(...many), 'mounts');
    expect(error.message).toContain('at most 200 elements, got an array of 10000');
  });

  const overlay = (index: number, layers: number) => ({
    type: 'overlay',
    target: `/o/${index}`,
    lower: Array.from({ length: layers }, (_, layer) => `/l/${index}/${layer}`),
  });
  it('has at most 500 lower directories in all overlays together', () => {
    expect(mountsOf(overlay(0, 250), overlay(1, 250))).toHaveLength(2);
    const error = refusal(() => mountsOf(overlay(0, 250), overlay(1, 251)), 'mounts');
    expect(error.expected).toContain('at most 500 lower directories');
  });

  it('never needs more descriptors than a plan has slots for', () => {
    const parts = Array.from({ length: 200 }, (_, index) => ({ ...bind, target: `/b/${index}`, subPath: 'part' }));
    expect(mountsOf(...parts)).toHaveLength(200);
    expect(mountsOf(overlay(0, 97), ...parts.slice(1))).toHaveLength(200);
    const error = refusal(() => mountsOf(overlay(0, 101), ...parts.slice(1)), 'mounts');
    expect(error.expected).toBe('mounts that take at most 700 descriptors');
  });

  it.each([null, {}, 'bind', 5, new Set()].map((mounts) => [shown(mounts), mounts]))('is not %s', (_, mounts) => {
    refusal(() => parseContainerOptions({ mounts }), 'mounts');
  });

  it.each([null, 'bind', undefined, []].map((mount) => [shown(mount), mount]))('does not hold %s', (_, mount) => {
    refusal(() => mountsOf(bind, mount), 'mounts[1]');
  });
});
