/** Namespaces by themselves: made, opened, asked about, pinned, entered. */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { hostname, networkInterfaces, tmpdir } from 'node:os';
import { Worker } from 'node:worker_threads';
import { afterAll, describe, expect, it } from 'vitest';
import {
  IdMap,
  Namespace,
  type NamespaceEntry,
  type NamespaceKind,
  OptionError,
  TscontainError,
  UnsupportedError,
} from '../../../lib/index.js';
import { namespaceKinds as allKinds } from '../../../lib/primitives/namespace/kind.js';
import { needsRoot } from '../../support/requirements.js';
import { checkResidue, expectNoResidue, takeResidue } from '../../support/residue.js';

checkResidue();

const directory = mkdtempSync(process.geteuid?.() === 0 ? '/run/tscontain-test-' : `${tmpdir()}/tscontain-test-`);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Those that this kernel was built with. */
const namespaceKinds = allKinds.filter((kind) => existsSync(`/proc/self/ns/${kind}`));
const own = (kind: NamespaceKind) => Number(/\[(\d+)\]/.exec(readlinkSync(`/proc/self/ns/${kind}`))?.[1]);
const inodes = () => Object.fromEntries(namespaceKinds.map((kind) => [kind, own(kind)]));
const caught = async (action: () => unknown) => {
  try {
    return await action();
  } catch (error) {
    return error;
  }
};

describe('current', () => {
  it('has all the kinds that the kernel has, with the inodes that /proc shows', async () => {
    await using here = Namespace.current();
    expect([...here.kinds].sort()).toEqual([...namespaceKinds]);
    for (const kind of here.kinds) expect(here.inode(kind), kind).toBe(own(kind));
    await using again = Namespace.current();
    expect(here.equals(again)).toBe(true);
    await using net = Namespace.current('net');
    expect(net.inode()).toBe(own('net'));
    expect(here.equals(net)).toBe(false);
    expect(() => here.inode()).toThrow(OptionError);
    expect(() => net.inode('uts')).toThrow(OptionError);
  });
});

describe('a kind that the kernel was built without', () => {
  it('is named, before anything starts', async (context) => {
    const missing = allKinds.find((kind) => !namespaceKinds.includes(kind));
    if (missing === undefined) return context.skip('this kernel has all of them');
    const expected = { code: 'ERR_UNSUPPORTED', message: expect.stringContaining(`no ${missing} namespaces`) };
    expect(await caught(() => Namespace.create(missing))).toMatchObject(expected);
    expect(await caught(() => Namespace.current(missing))).toMatchObject(expected);
    expect(await caught(() => Namespace.open(missing, process.pid))).toMatchObject(expected);
  });
});

describe('create', () => {
  it.for(namespaceKinds)('makes a new %s namespace, and only that', async (kind, context) => {
    needsRoot(context);
    const before = inodes();
    await using made = await Namespace.create(kind);
    expect(made.kinds).toEqual([kind]);
    expect(made.inode()).not.toBe(before[kind]);
    expect(statSync(`/proc/self/ns/${kind}`).ino).toBe(before[kind]);
    expect(inodes()).toEqual(before);
    await using here = Namespace.current(kind);
    expect(made.equals(here)).toBe(false);
    await using another = await Namespace.create([kind]);
    expect(made.equals(another)).toBe(false);
  });

  it('leaves no process behind but for a pid namespace, which has one until it is closed', async (context) => {
    needsRoot(context);
    const before = takeResidue();
    const others = await Namespace.create(namespaceKinds.filter((kind) => kind !== 'pid'));
    await expectNoResidue({ ...before, descriptors: before.descriptors + 7 });
    await others.close();
    const pid = await Namespace.create('pid');
    expect(takeResidue().processes).toHaveLength(before.processes.length + 1);
    await pid.close();
    await pid.close();
    await expectNoResidue(before);
  });

  it('gives the user namespace to the others that are made with it', async (context) => {
    needsRoot(context);
    await using both = await Namespace.create(['user', 'net']);
    await using owner = both.owner('net');
    expect(owner?.inode()).toBe(both.inode('user'));
    await using above = both.parent('user');
    expect(above?.inode()).toBe(own('user'));
    await using alone = await Namespace.create('net');
    await using host = alone.owner();
    expect(host?.inode()).toBe(own('user'));
    expect(host?.parent()).toBeUndefined();
    await using pid = await Namespace.create('pid');
    await using pidAbove = pid.parent();
    expect(pidAbove?.inode()).toBe(own('pid'));
    expect(() => alone.parent()).toThrow(OptionError);
  });

  it('refuses what it does not know, before anything is started', async () => {
    const before = takeResidue();
    const wrong: [unknown, unknown][] = [
      ['network', {}],
      [[], {}],
      [['net', 'net'], {}],
      [42, {}],
      ['net', { idMap: 'single' }],
      ['user', { idMap: 'all' }],
      [
        'user',
        {
          idMap: [
            { inside: 0, outside: 0, count: 10 },
            { inside: 5, outside: 100, count: 10 },
          ],
        },
      ],
      ['user', { idMap: { uid: IdMap.identity } }],
      ['uts', { timeOffsets: { monotonic: 5 } }],
      ['time', { timeOffsets: { monotonic: Number.NaN } }],
      ['time', { timeOffsets: { realtime: 1 } }],
      ['net', { unknown: true }],
    ];
    for (const [kinds, options] of wrong) {
      expect(
        await caught(() => Namespace.create(kinds as NamespaceKind, options as object)),
        JSON.stringify([kinds, options]),
      ).toBeInstanceOf(OptionError);
    }
    await expectNoResidue(before);
  });

  it('says which clock cannot be set, and leaves nothing', async (context) => {
    needsRoot(context);
    context.skip(!namespaceKinds.includes('time'), 'this kernel has no time namespaces');
    const before = takeResidue();
    const error = await caught(() => Namespace.create('time', { timeOffsets: { boottime: -1e15 } }));
    expect(error).toBeInstanceOf(TscontainError);
    expect(error).toMatchObject({ errno: 'ERANGE', step: { kind: 'timeOffsets' } });
    await expectNoResidue(before);
  });
});

describe('open', () => {
  it('takes a process, a path or a descriptor, and verifies the kind', async () => {
    const child = spawn('sleep', ['60']);
    await once(child, 'spawn');
    const file = openSync('/proc/self/ns/uts', 'r');
    try {
      await using byPid = Namespace.open('uts', child.pid ?? 0);
      await using byPath = Namespace.open('uts', '/proc/self/ns/uts');
      await using byDescriptor = Namespace.open('uts', { fd: file });
      await using here = Namespace.current('uts');
      for (const opened of [byPid, byPath, byDescriptor]) expect(opened.equals(here)).toBe(true);
      expect(() => Namespace.open('net', '/proc/self/ns/uts')).toThrow(/it is one of the kind uts/);
      expect(() => Namespace.open('net', { fd: file })).toThrow(OptionError);
    } finally {
      closeSync(file);
      child.kill('SIGKILL');
    }
  });

  it('refuses what is no namespace, without touching it', async () => {
    writeFileSync(`${directory}/file`, 'x');
    execFileSync('mkfifo', [`${directory}/fifo`]);
    for (const path of [`${directory}/file`, `${directory}/fifo`, '/dev/null', '/', '/proc/self/status']) {
      expect(await caught(() => Namespace.open('net', path)), path).toMatchObject({
        code: 'ERR_NAMESPACE',
        errno: 'ENOTTY',
      });
    }
    expect(await caught(() => Namespace.open('net', '/not/there'))).toMatchObject({
      code: 'ERR_NAMESPACE',
      errno: 'ENOENT',
    });
    expect(await caught(() => Namespace.open('net', 4194304))).toMatchObject({ errno: 'ENOENT' });
    for (const wrong of [0, -1, 1.5, Number.NaN, {}, { fd: -1 }, null, '/proc/\0']) {
      expect(await caught(() => Namespace.open('net', wrong as number)), String(wrong)).toBeInstanceOf(OptionError);
    }
  });

  it('is compared with namespaces only', async () => {
    await using here = Namespace.current('net');
    for (const other of [{}, undefined, 'net'] as never[]) expect(() => here.equals(other)).toThrow(OptionError);
    expect(() => here.spawn(['true'], null as never)).toThrow(OptionError);
  });

  it('is refused once it is closed', async () => {
    const here = Namespace.current('net');
    await here.close();
    expect(() => here.inode()).toThrow(/has been closed/);
    expect(() => here.runSync('net', () => 1)).toThrow(/has been closed/);
  });
});

describe('pin', () => {
  it('keeps a namespace when nothing else does, until unpin', async (context) => {
    needsRoot(context);
    const path = `${directory}/pinned net`;
    const made = await Namespace.create('net');
    const inode = made.inode();
    made.pin('net', path);
    expect(() => made.pin('net', path)).toThrow(expect.objectContaining({ errno: 'EEXIST' }));
    await made.close();
    await using opened = Namespace.open('net', path);
    expect(opened.inode()).toBe(inode);
    // iproute2 and nsenter see it as theirs.
    expect(execFileSync('nsenter', [`--net=${path}`, 'readlink', '/proc/self/ns/net']).toString()).toBe(
      `net:[${inode}]\n`,
    );
    const entry = (await Namespace.list()).find((candidate) => candidate.inode === inode);
    expect(entry).toMatchObject({ kind: 'net', processes: [], pins: [path], command: undefined });
    Namespace.unpin(path);
    expect(existsSync(path)).toBe(false);
    expect(() => Namespace.unpin(path)).toThrow(TscontainError);
  });

  it('leaves no file where the kernel refuses, and takes away nothing that is no pin', async (context) => {
    needsRoot(context);
    const path = `${directory}/mnt`;
    await using here = Namespace.current('mnt');
    expect(() => here.pin('mnt', path)).toThrow(expect.objectContaining({ errno: 'EINVAL' }));
    expect(existsSync(path)).toBe(false);
    writeFileSync(`${directory}/mine`, '');
    expect(() => Namespace.unpin(`${directory}/mine`)).toThrow(/is no namespace/);
    expect(() => Namespace.unpin('/proc')).toThrow(/is no namespace/);
    expect(existsSync(`${directory}/mine`)).toBe(true);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(directory);
  });
});

describe('runSync', () => {
  it.for(['net', 'uts', 'ipc', 'cgroup'] as const)(
    'runs a function in another %s namespace, and comes back',
    async (kind, context) => {
      needsRoot(context);
      const before = inodes();
      await using made = await Namespace.create(kind);
      const link = () => readlinkSync(`/proc/thread-self/ns/${kind}`);
      expect(made.runSync(kind, link)).toBe(`${kind}:[${made.inode()}]`);
      expect(link()).toBe(`${kind}:[${before[kind]}]`);
      const thrown = new Error('mine');
      expect(() =>
        made.runSync(kind, () => {
          throw thrown;
        }),
      ).toThrow(thrown);
      expect(link()).toBe(`${kind}:[${before[kind]}]`);
      expect(inodes()).toEqual(before);
    },
  );

  it('shows the function what is there, and nested ones too', async (context) => {
    needsRoot(context);
    await using first = await Namespace.create(['net', 'uts']);
    const outside = Object.keys(networkInterfaces());
    expect(outside).toContain('lo');
    // Loopback is down in a new one, and so no interface has an address.
    expect(first.runSync('net', () => Object.keys(networkInterfaces()))).toEqual([]);
    expect(first.runSync('net', () => first.runSync('uts', () => readlinkSync('/proc/thread-self/ns/uts')))).toBe(
      `uts:[${first.inode('uts')}]`,
    );
    expect(Object.keys(networkInterfaces())).toEqual(outside);
    expect(hostname()).toBe(readFileSync('/proc/sys/kernel/hostname', 'utf8').trim());
  });

  it('refuses the kinds that a thread cannot enter, with the reason', async () => {
    await using here = Namespace.current();
    for (const kind of ['user', 'mnt', 'pid', 'time'] as const) {
      const error = await caught(() => here.runSync(kind, () => 1));
      expect(error, kind).toBeInstanceOf(UnsupportedError);
      expect(String(error), kind).toMatch(/threads|began in/);
    }
  });

  it('refuses functions that go on after they have returned', async (context) => {
    needsRoot(context);
    await using here = Namespace.current('uts');
    let ran = false;
    const action = async () => {
      ran = true;
    };
    expect(() => here.runSync('uts', action)).toThrow(OptionError);
    expect(ran).toBe(false);
    expect(() => here.runSync('uts', () => Promise.reject(new Error('lost')))).toThrow(/returns|returned/);
    expect(() => here.runSync('uts', 42 as unknown as () => void)).toThrow(OptionError);
    expect(own('uts')).toBe(here.inode());
  });

  it('enters with the calling thread only', async (context) => {
    needsRoot(context);
    const shared = new Int32Array(new SharedArrayBuffer(8));
    const worker = new Worker(
      `const { workerData, parentPort } = require('node:worker_threads');
       const { readlinkSync } = require('node:fs');
       Atomics.wait(workerData, 0, 0, 5000);
       const seen = readlinkSync('/proc/thread-self/ns/uts');
       parentPort.postMessage(seen);
       Atomics.store(workerData, 1, 1);
       Atomics.notify(workerData, 1);`,
      { eval: true, workerData: shared },
    );
    await once(worker, 'online');
    await using made = await Namespace.create('uts');
    const answer = once(worker, 'message');
    made.runSync('uts', () => {
      Atomics.store(shared, 0, 1);
      Atomics.notify(shared, 0);
      expect(Atomics.wait(shared, 1, 0, 5000)).not.toBe('timed-out');
    });
    expect((await answer)[0]).toBe(`uts:[${own('uts')}]`);
    await worker.terminate();
  });
});

describe('list', () => {
  it('shows what lsns shows', async (context) => {
    needsRoot(context);
    await using made = await Namespace.create(['pid', 'net', 'user']);
    interface Node {
      readonly ns: number;
      readonly type: string;
      readonly children?: readonly Node[];
    }
    const flat = (nodes: readonly Node[]): Node[] => nodes.flatMap((node) => [node, ...flat(node.children ?? [])]);
    const lsns = () => {
      const text = execFileSync('lsns', ['-J', '-o', 'NS,TYPE'], { encoding: 'utf8' });
      return new Set(flat(JSON.parse(text).namespaces).map(({ ns, type }) => `${type} ${ns}`));
    };
    const names = (entries: readonly NamespaceEntry[]) => new Set(entries.map(({ kind, inode }) => `${kind} ${inode}`));
    // Others start and end processes meanwhile: what one of the two has before and after, the other has in between.
    const first = lsns();
    const list = await Namespace.list();
    const theirs = lsns();
    const last = names(await Namespace.list());
    const ours = names(list);
    for (const entry of first) if (theirs.has(entry)) expect(ours).toContain(entry);
    for (const entry of ours) if (last.has(entry)) expect(theirs).toContain(entry);
    for (const kind of namespaceKinds) expect(ours).toContain(`${kind} ${own(kind)}`);
    for (const kind of made.kinds) {
      const entry = list.find(({ inode }) => inode === made.inode(kind));
      expect(entry, kind).toMatchObject({ kind, processes: [expect.any(Number)] });
      expect(theirs).toContain(`${kind} ${made.inode(kind)}`);
    }
    const host = list.find(({ inode }) => inode === own('net'));
    expect(host?.processes).toContain(process.pid);
    expect(host?.uid).toBe(0);
    expect(host?.command).not.toBe('');
  });
});
