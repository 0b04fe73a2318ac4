import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { parseContainerOptions, parseExecOptions, parseRunOptions } from '../../../../lib/container/settings.js';
import { refusal, shown } from './refusal.js';

describe('K6: an unknown key is an error', () => {
  it.each([
    [{ hostnam: 'a' }, 'hostnam', 'did you mean hostname?'],
    [{ HostName: 'a' }, 'HostName', 'did you mean hostname?'],
    [{ environment: {} }, 'environment', 'did you mean env?'],
    [{ limits: { mem: 1 } }, 'limits.mem', 'did you mean memory?'],
    [{ limits: { memroy: 1 } }, 'limits.memroy', 'did you mean memory?'],
    [{ limits: { io: [{ device: '8:0', readbps: 1 }] } }, 'limits.io[0].readbps', 'did you mean readBps?'],
    [{ storage: { inode: 1 } }, 'storage.inode', 'did you mean inodes?'],
    [{ image: { rootFs: '/x' } }, 'image.rootFs', 'did you mean rootfs?'],
    [
      { mounts: [{ type: 'bind', source: '/a', target: '/b', readonyl: true }] },
      'mounts[0].readonyl',
      'did you mean readOnly?',
    ],
    [
      { mounts: [{ type: 'tmpfs', target: '/b', readOnly: true }] },
      'mounts[0].readOnly',
      'the options here are type, target',
    ],
    [{ zzzzzzzzzz: 1 }, 'zzzzzzzzzz', 'the options here are image, pull'],
    [{ readonyl: undefined }, 'readonyl', 'the options here are'],
    [{ 'a\nb': 1 }, '["a\\nb"]', 'the options here are'],
    [{ timeout: 5 }, 'timeout', 'timeout is an option of exec and run'],
    [{ privileged: true }, 'privileged', 'there is no such switch'],
  ])('%j is refused with a hint', (options, option, hint) => {
    expect(refusal(() => parseContainerOptions(options), option).hint).toContain(hint);
  });

  it('says of an option of the container that exec does not take it', () => {
    expect(refusal(() => parseExecOptions({ limits: {} }), 'limits').hint).toBe('limits is an option of the container');
  });

  it('names what came with the unknown key', () => {
    expect(refusal(() => parseContainerOptions({ hostnam: 'box' }), 'hostnam').message).toContain("'box' (string)");
  });

  it('K10: there is no switch that turns everything off', () => {
    for (const key of ['privileged', 'unsafe', 'unconfined']) refusal(() => parseRunOptions({ [key]: true }), key);
  });
});

describe('K7: options are copied once', () => {
  it.each(
    [null, 5, 'host', true, [], [{}], new Map(), new Date(), () => ({}), Symbol('s')].map((value) => [
      shown(value),
      value,
    ]),
  )('%s are not options', (_, value) => {
    refusal(() => parseContainerOptions(value), 'options');
  });

  it('takes no options for the defaults', () => {
    expect(parseContainerOptions(undefined)).toEqual(parseContainerOptions({}));
  });

  it('treats undefined as not given', () => {
    expect(parseContainerOptions({ user: undefined, limits: { memory: undefined } })).toEqual(
      parseContainerOptions({ limits: {} }),
    );
    expect(parseContainerOptions({ limits: { memory: undefined } }).limits.explicit.size).toBe(0);
  });

  it('takes objects without a prototype and of another realm', () => {
    const options = Object.assign(Object.create(null), { limits: runInNewContext('({ pids: 7 })') });
    expect(parseContainerOptions(options).limits.values.pids).toBe(7);
  });

  it('refuses an object that inherits, as what it inherits would be ignored', () => {
    refusal(() => parseContainerOptions(Object.create({ limits: { pids: 7 } })), 'options');
    refusal(() => parseContainerOptions({ limits: Object.create({ pids: 7 }) }), 'limits');
    refusal(() => parseContainerOptions({ limits: new (class Limits {})() }), 'limits');
  });

  it('does not see what was put on Object.prototype', () => {
    Object.defineProperty(Object.prototype, 'unsafeSource', {
      value: true,
      configurable: true,
      enumerable: true,
      writable: true,
    });
    try {
      const { mounts, relaxations } = parseContainerOptions({ mounts: [{ type: 'bind', source: '/a', target: '/b' }] });
      expect(Object.getOwnPropertyDescriptor(mounts[0], 'unsafeSource')?.value).toBe(false);
      expect(relaxations).toEqual([]);
    } finally {
      Reflect.deleteProperty(Object.prototype, 'unsafeSource');
    }
  });

  it('refuses __proto__ from JSON like any unknown key, and pollutes nothing', () => {
    refusal(() => parseContainerOptions(JSON.parse('{"__proto__":{"x":1}}')), '__proto__');
    refusal(() => parseContainerOptions(JSON.parse('{"limits":{"__proto__":{"x":1}}}')), 'limits.__proto__');
    expect(Reflect.get({}, 'x')).toBeUndefined();
  });

  it('refuses symbols as keys', () => {
    refusal(() => parseContainerOptions({ [Symbol('user')]: 'root' }), 'options');
  });

  it('reads a getter that alternates once, so what is used is what was checked', () => {
    const reads: string[] = [];
    const alternating = <T>(key: string, first: T, later: unknown): PropertyDescriptor => ({
      enumerable: true,
      get: () => {
        reads.push(key);
        return reads.filter((read) => read === key).length === 1 ? first : later;
      },
    });
    const bind = Object.defineProperties(
      { type: 'bind', source: '/a' },
      { target: alternating('target', '/job', '/proc'), readOnly: alternating('readOnly', true, false) },
    );
    const options = Object.defineProperties(
      {},
      { mounts: alternating('mounts', [bind], []), user: alternating('user', 5, 'x') },
    );
    const settings = parseContainerOptions(options);
    expect(settings.mounts).toMatchObject([{ target: '/job', readOnly: true }]);
    expect(settings.user).toEqual({ kind: 'ids', uid: 5, gid: 5 });
    expect(reads.sort()).toEqual(['mounts', 'readOnly', 'target', 'user']);
  });

  it('reads every element of an array once', () => {
    let reads = 0;
    const mounts = new Proxy([{ type: 'tmpfs', target: '/a' }], {
      get: (target, key) => {
        if (key === '0') reads++;
        return Reflect.get(target, key);
      },
    });
    parseContainerOptions({ mounts });
    expect(reads).toBe(1);
  });

  it('reports a getter that throws, and a revoked proxy, as options', () => {
    const failure = new Error('no');
    const error = refusal(
      () =>
        parseContainerOptions({
          get user() {
            throw failure;
          },
        }),
      'options',
    );
    expect(error.cause).toBe(failure);
    const { proxy, revoke } = Proxy.revocable({}, {});
    const { proxy: list, revoke: revokeList } = Proxy.revocable([], {});
    revoke();
    revokeList();
    refusal(() => parseContainerOptions(proxy), 'options');
    refusal(() => parseContainerOptions({ mounts: list }), 'mounts');
  });

  it('freezes what it returns, throughout', () => {
    const settings = parseContainerOptions({
      user: 'a:b',
      env: { A: 'b' },
      mounts: [{ type: 'overlay', lower: ['/l'], target: '/o' }],
      limits: { io: [{ device: '8:0', readBps: 1 }] },
      image: { rootfs: '/r' },
      storage: {},
      rlimits: { stack: { soft: 1, hard: 2 } },
      scheduling: { nice: 1, io: { class: 'idle' } },
    });
    const queue: unknown[] = [settings, parseRunOptions({ env: { A: 'b' }, tty: true, stdin: 'x' })];
    for (const value of queue) {
      if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) continue;
      expect(Object.isFrozen(value) || value instanceof Set).toBe(true);
      // The profile is frozen by the one who checks it.
      for (const [key, content] of Object.entries(value)) if (key !== 'seccomp') queue.push(content);
    }
    expect(queue.length).toBeGreaterThan(40);
  });

  it('leaves the options of the caller as they were', () => {
    const options = {
      mounts: [
        { type: 'tmpfs', target: '/b' },
        { type: 'tmpfs', target: '/a/b' },
      ],
      env: { A: '1' },
    };
    const before = structuredClone(options);
    parseContainerOptions(options);
    expect(options).toEqual(before);
    expect(Object.isFrozen(options.mounts)).toBe(false);
  });
});
