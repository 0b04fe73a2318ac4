import { describe, expect, it } from 'vitest';
import { parseContainerOptions, parseRunOptions } from '../../../../lib/container/settings.js';
import { UnsupportedError } from '../../../../lib/errors.js';
import { Capabilities } from '../../../../lib/primitives/capabilities.js';
import { defaultProfile, dockerProfile } from '../../../../lib/primitives/seccomp/index.js';
import { refusal, shown } from './refusal.js';

describe('the settings of a container', () => {
  it('are safe when nothing is said', () => {
    const { limits, storage, ...rest } = parseContainerOptions({});
    expect(rest).toEqual({
      image: { kind: 'host' },
      user: { kind: 'ids', uid: 0, gid: 0 },
      cwd: '/',
      env: [],
      mounts: [],
      capabilities: Capabilities.default,
      seccomp: defaultProfile,
      seccompName: 'default',
      network: { kind: 'none' },
      relaxations: [],
      sysctl: [],
      attributes: { rlimits: { nofile: { soft: 1024, hard: 1024 }, core: { soft: 0, hard: 0 } }, scheduling: {} },
    });
    expect(limits.values.pids).toBe(512);
    expect(storage.upper).toBe('tmpfs');
  });

  it('of a run hold user, directory and variables once, and the signal for both', () => {
    const { signal } = new AbortController();
    const { container, exec } = parseRunOptions({
      user: 'a',
      cwd: '/b',
      env: { C: 'd' },
      signal,
      timeout: 5,
      name: 'job',
    });
    expect(container).toMatchObject({ user: { user: 'a' }, cwd: '/b', env: [['C', 'd']], name: 'job' });
    expect(exec).toMatchObject({ env: [], timeout: 5 });
    expect(exec).not.toHaveProperty('user');
    expect(exec).not.toHaveProperty('cwd');
    expect(container.signal).toBe(signal);
    expect(exec.signal).toBe(signal);
  });

  it('do not hold a property that was not given', () => {
    for (const key of ['name', 'hostname', 'signal']) expect(parseContainerOptions({})).not.toHaveProperty(key);
  });
});

describe('an image', () => {
  it('is the host, or an absolute, normalised directory', () => {
    expect(parseContainerOptions({ image: 'host' }).image).toEqual({ kind: 'host' });
    expect(parseContainerOptions({ image: { rootfs: '/srv/../root/./fs//' } }).image).toEqual({
      kind: 'rootfs',
      path: '/root/fs',
    });
    expect(parseContainerOptions({ image: { rootfs: 'fs' } }).image).toEqual({
      kind: 'rootfs',
      path: `${process.cwd()}/fs`,
    });
  });

  it.each(['', 'Host', 'a b', 'Alpine', null, 5, true, new URL('file:///')].map((image) => [shown(image), image]))(
    'is not %s',
    (_, image) => {
      refusal(() => parseContainerOptions({ image }), 'image');
    },
  );

  it('may be the name of one in a store, which gets a tag', () => {
    const { image } = parseContainerOptions({ image: 'alpine', pull: 'never', user: 5 });
    expect(image).toMatchObject({ kind: 'stored', pull: 'never', decided: { user: true, cwd: false } });
    expect(image.kind === 'stored' && String(image.image)).toBe('docker.io/library/alpine:latest');
    expect(parseContainerOptions({ image: 'ghcr.io/a/b:3' }).image).toMatchObject({ kind: 'stored', pull: 'missing' });
  });

  it('has no options of a name when it has none', () => {
    for (const image of [undefined, 'host', { rootfs: '/' }]) {
      refusal(() => parseContainerOptions({ image, pull: 'always' }), 'pull');
      refusal(() => parseContainerOptions({ image, registry: {} }), 'registry');
    }
    refusal(() => parseContainerOptions({ image: 'alpine', pull: 'sometimes' }), 'pull');
    refusal(() => parseContainerOptions({ image: 'alpine', store: {} }), 'store');
    refusal(() => parseContainerOptions({ image: 'alpine', registry: { retries: -1 } }), 'registry.retries');
    for (const image of ['host', { rootfs: '/r' }]) {
      for (const [key, value] of Object.entries({ platform: 'arm64', unpack: {}, onProgress: () => {} })) {
        refusal(() => parseContainerOptions({ image, [key]: value }), key);
      }
    }
    const bad = (options: object, option: string) =>
      refusal(() => parseContainerOptions({ image: 'alpine', ...options }), option);
    bad({ platform: 'linux/' }, 'platform');
    bad({ platform: 5 }, 'platform');
    bad({ unpack: { devices: 'include' } }, 'unpack.devices');
    bad({ unpack: { limits: { bytes: -1 } } }, 'unpack.limits.bytes');
    bad({ unpack: { limits: { memory: 1 } } }, 'unpack.limits.memory');
    bad({ unpack: { signal: AbortSignal.abort() } }, 'unpack.signal');
    bad({ unpack: null }, 'unpack');
    bad({ onProgress: 'bar' }, 'onProgress');
  });

  it('has a rootfs when it is an object', () => {
    refusal(() => parseContainerOptions({ image: {} }), 'image.rootfs');
    refusal(() => parseContainerOptions({ image: [] }), 'image');
  });
});

describe('K3, H4: a name', () => {
  it.each(['a', '0', 'job-1', 'A_b.c', 'a'.repeat(64)])('may be %j', (name) => {
    expect(parseContainerOptions({ name }).name).toBe(name);
  });

  const bad = [
    '',
    '.',
    '..',
    'a/b',
    '../a',
    '/a',
    'a..b',
    '-a',
    '_a',
    '.a',
    'a b',
    'a\n',
    'a\0',
    'ä',
    'a'.repeat(65),
    5,
    null,
    {},
  ];
  it.each(bad.map((name) => [shown(name), name]))('is not %s', (_, name) => {
    refusal(() => parseContainerOptions({ name }), 'name');
  });
});

describe('K1, K8, K11: a host name', () => {
  it.each(['a', 'box', 'Box-1', '1', 'a.b.example', 'a'.repeat(63)])('may be %j', (hostname) => {
    expect(parseContainerOptions({ hostname }).hostname).toBe(hostname);
  });

  const bad = [
    ...[
      '',
      '-a',
      'a-',
      '.a',
      'a.',
      'a..b',
      'a_b',
      'a b',
      'a\n',
      'a\n127.0.0.1 b',
      'a\r',
      'a\0',
      'ä',
      'a/b',
      '(none)',
      '\ud800',
    ],
    ...['a'.repeat(64), `${'a'.repeat(40)}.${'b'.repeat(23)}`, 'a.-b', 'a-.b', 5, null, {}, ['a']],
  ];
  it.each(bad.map((hostname) => [shown(hostname), hostname]))('is not %s', (_, hostname) => {
    refusal(() => parseContainerOptions({ hostname }), 'hostname');
  });
});

describe('C1: a working directory', () => {
  it.each([
    ['/', '/'],
    ['/job', '/job'],
    ['/job/', '/job'],
    ['/procs', '/procs'],
    ['/a/proc', '/a/proc'],
    ['/dev/shm', '/dev/shm'],
  ])('may be %s', (cwd, expected) => {
    expect(parseContainerOptions({ cwd }).cwd).toBe(expected);
  });

  const bad = [
    ...['/proc', '/proc/', '/proc/self/fd/7', '/proc/1/root', '/proc/self/cwd', '/dev/fd', '/dev/fd/7'],
    ...[
      '/a/../proc',
      '/../proc',
      '/./proc',
      '/a/.',
      '//proc',
      '/a//b',
      '',
      '.',
      'job',
      '/a\0',
      '\udc00',
      'x'.repeat(5000),
    ],
    ...[`/${'a'.repeat(256)}`, '/abcdefg'.repeat(512), 5, null, ['/']],
  ];
  it.each(bad.map((cwd) => [shown(cwd), cwd]))('is not %s', (_, cwd) => {
    refusal(() => parseContainerOptions({ cwd }), 'cwd');
    refusal(() => parseRunOptions({ cwd }), 'cwd');
  });
});

describe('capabilities', () => {
  it('are taken as a set or as names', () => {
    const names = ['chown', 'CAP_KILL'];
    expect(parseContainerOptions({ capabilities: names }).capabilities.toArray()).toEqual(['CAP_CHOWN', 'CAP_KILL']);
    expect(parseContainerOptions({ capabilities: [] }).capabilities.size).toBe(0);
    expect(parseContainerOptions({ capabilities: Capabilities.docker }).capabilities).toEqual(Capabilities.docker);
  });

  it.each(['CAP_TYPO', '', 'CHOWN,KILL', 5, null, ' CHOWN'])('E9: have no %j', (name) => {
    refusal(() => parseContainerOptions({ capabilities: ['CAP_KILL', name] }), 'capabilities[1]');
  });

  it.each(['CAP_CHOWN', null, 5, {}, true].map((value) => [shown(value), value]))('are not %s', (_, capabilities) => {
    refusal(() => parseContainerOptions({ capabilities }), 'capabilities');
  });

  it.each([
    ['CAP_SYS_ADMIN', 'undo read-only mounts'],
    ['CAP_SYS_MODULE', 'belong to the host'],
    ['CAP_SYS_RAWIO', 'belong to the host'],
    ['CAP_SYS_BOOT', 'belongs to the host'],
    ['CAP_SYS_TIME', 'belongs to the host'],
    ['CAP_BPF', 'whole host'],
    ['CAP_PERFMON', 'whole host'],
    ['CAP_MAC_ADMIN', 'policy that confines it'],
    ['CAP_MAC_OVERRIDE', 'policy that confines it'],
    ['CAP_SYSLOG', 'belongs to the host'],
    ['CAP_DAC_READ_SEARCH', 'outside its root'],
    ['CAP_SYS_RESOURCE', 'its own limits'],
    ['CAP_AUDIT_CONTROL', 'whole host'],
    ['CAP_CHECKPOINT_RESTORE', 'whole host'],
  ])('never hold %s, and say why', (name, reason) => {
    const error = refusal(() => parseContainerOptions({ capabilities: [name] }), 'capabilities');
    expect(error.received).toContain(name);
    expect(error.hint).toContain(reason);
  });

  it('never hold all', () => {
    refusal(() => parseContainerOptions({ capabilities: ['ALL'] }), 'capabilities');
    refusal(() => parseContainerOptions({ capabilities: Capabilities.all }), 'capabilities');
  });
});

describe('seccomp', () => {
  it('is a name or a profile', () => {
    expect(parseContainerOptions({ seccomp: 'default' })).toMatchObject({
      seccompName: 'default',
      seccomp: defaultProfile,
    });
    expect(parseContainerOptions({ seccomp: 'docker' })).toMatchObject({
      seccompName: 'docker',
      seccomp: dockerProfile,
    });
    const seccomp = { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [{ names: ['read'], action: 'SCMP_ACT_ALLOW' }] };
    expect(parseContainerOptions({ seccomp })).toMatchObject({ seccompName: 'custom', seccomp });
  });

  it.each(['', 'Default', 'unconfined', '/etc/profile.json', null, false, 5].map((value) => [shown(value), value]))(
    'is not %s',
    (_, seccomp) => {
      refusal(() => parseContainerOptions({ seccomp }), 'seccomp');
    },
  );

  it('is checked inside', () => {
    refusal(() => parseContainerOptions({ seccomp: { defaultAction: 'ALLOW' } }), 'seccomp.defaultAction');
    refusal(() => parseContainerOptions({ seccomp: { syscalls: [] } }), 'seccomp.defaultAction');
    refusal(
      () => parseContainerOptions({ seccomp: { profile: { defaultAction: 'ALLOW' } } }),
      'seccomp.profile.defaultAction',
    );
    refusal(() => parseContainerOptions({ seccomp: { profile: 'unconfined' } }), 'seccomp.profile');
    refusal(() => parseContainerOptions({ seccomp: { handler: () => 'continue' } }), 'seccomp.handler');
    const listenerPath = '/run/listener';
    expect(() => parseContainerOptions({ seccomp: { defaultAction: 'SCMP_ACT_ALLOW', listenerPath } })).toThrow(
      UnsupportedError,
    );
  });

  it('leaves no call to a handler that is not there, and no handler without a call', () => {
    const handler = () => 'continue' as const;
    const defaultAction = 'SCMP_ACT_NOTIFY';
    refusal(() => parseContainerOptions({ seccomp: { defaultAction } }), 'seccomp.notify');
    refusal(() => parseContainerOptions({ seccomp: { profile: { defaultAction } } }), 'seccomp.notify');
    refusal(() => parseContainerOptions({ seccomp: { profile: { defaultAction }, audit: true } }), 'seccomp.notify');
    refusal(() => parseContainerOptions({ seccomp: { notify: handler } }), 'seccomp.notify');
    const profile = {
      defaultAction: 'SCMP_ACT_ERRNO',
      syscalls: [{ names: ['mkdir', 'rmdir'], action: 'SCMP_ACT_NOTIFY' }],
    };
    refusal(() => parseContainerOptions({ seccomp: { profile, notify: { mkdir: handler } } }), 'seccomp.notify');
    const both = { mkdir: handler, rmdir: handler };
    expect(parseContainerOptions({ seccomp: { profile, notify: both } }).relaxations).toEqual([
      'seccomp custom profile',
      'seccomp.notify decides mkdir, rmdir',
    ]);
    expect(parseContainerOptions({ seccomp: { profile, notify: handler } }).supervision?.handler).toBe(handler);
  });

  it.each([
    ['seccomp.notify', 'continue'],
    ['seccomp.notify', {}],
    ['seccomp.notify.mkdirr', { mkdirr: () => 'continue' }],
    ['seccomp.notify.mkdir', { mkdir: 'continue' }],
  ])('%s is not %j', (option, notify) => {
    refusal(() => parseContainerOptions({ seccomp: { notify } }), option);
  });

  it('is told of where asked', () => {
    expect(parseContainerOptions({ seccomp: { audit: false } }).supervision).toBeUndefined();
    expect(parseContainerOptions({ seccomp: { profile: 'docker' } })).toMatchObject({ seccompName: 'docker' });
    expect(parseContainerOptions({ seccomp: { audit: true } })).toMatchObject({
      seccompName: 'default',
      supervision: { audit: true },
      relaxations: [],
    });
    const audit = () => {};
    expect(parseContainerOptions({ seccomp: { audit } }).supervision?.onDenied).toBe(audit);
    refusal(() => parseContainerOptions({ seccomp: { audit: 'yes' } }), 'seccomp.audit');
  });

  it('takes the calls of handlers out of the profile', () => {
    const { seccomp } = parseContainerOptions({ seccomp: { notify: { clone3: () => ({ errno: 'ENOSYS' }) } } });
    const rules = (seccomp.syscalls ?? []).filter(({ names }) => names.includes('clone3'));
    expect(rules).toEqual([{ names: ['clone3'], action: 'SCMP_ACT_NOTIFY' }]);
  });
});

describe('the rest', () => {
  it.each(['host', 'bridge', '', null, true, {}, []].map((value) => [shown(value), value]))(
    'network is not %s',
    (_, network) => {
      refusal(() => parseContainerOptions({ network }), 'network');
    },
  );

  it('network has one kind, whose options are named as its own', () => {
    refusal(() => parseContainerOptions({ network: { egres: { allow: [] } } }), 'network.egres');
    refusal(() => parseContainerOptions({ network: { egress: { allow: ['a:b'] } } }), 'network.egress.allow[0]');
    expect(parseContainerOptions({ network: { egress: { allow: [] } } }).network).toMatchObject({ kind: 'egress' });
  });

  it.each([null, true, {}, new AbortController(), { aborted: false }].map((value) => [shown(value), value]))(
    'signal is not %s',
    (_, signal) => {
      refusal(() => parseContainerOptions({ signal }), 'signal');
    },
  );

  it('points from an AbortController to its signal', () => {
    const error = refusal(() => parseContainerOptions({ signal: new AbortController() }), 'signal');
    expect(error.hint).toBe('give the signal of the AbortController');
  });
});

describe('K10, C13: relaxations', () => {
  it('are none by default, nor with what Docker gives', () => {
    expect(parseContainerOptions({}).relaxations).toEqual([]);
    expect(parseContainerOptions({ capabilities: Capabilities.docker, seccomp: 'docker' }).relaxations).toEqual([]);
  });

  it('list every unsafe option by the place the caller gave it, and what goes beyond Docker', () => {
    const bind = { type: 'bind', source: '/s' };
    const { relaxations } = parseContainerOptions({
      mounts: [
        { ...bind, target: '/a/b', unsafeSource: true },
        { ...bind, target: '/c' },
        { ...bind, target: '/a', unsafeSource: true },
        { ...bind, target: '/d', unsafeSource: false },
      ],
      capabilities: ['CAP_SYS_PTRACE', 'CAP_KILL', 'CAP_NET_ADMIN'],
      seccomp: { defaultAction: 'SCMP_ACT_ALLOW' },
    });
    expect(relaxations).toEqual([
      'mounts[2].unsafeSource',
      'mounts[0].unsafeSource',
      'capabilities CAP_NET_ADMIN',
      'capabilities CAP_SYS_PTRACE',
      'seccomp custom profile',
    ]);
  });
});
