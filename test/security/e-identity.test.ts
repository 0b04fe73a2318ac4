/** Group E of the catalogue: users, groups, capabilities, user namespaces. */

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Capabilities, Container, IdMap, OptionError, TscontainError } from '../../lib/index.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { inside, insideOf, makeRoot, outside, over, run, scratch } from './probe.js';

checkResidue();

describe('E: identity', () => {
  it('E1: supplementary groups are exactly those of the user', async (context) => {
    needsRoot(context);
    const root = makeRoot();
    writeFileSync(`${root}/etc/passwd`, 'root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\n');
    writeFileSync(`${root}/etc/group`, 'root:x:0:\nann:x:1000:\nteam:x:2000:bob,ann\nother:x:3000:bob\n');
    await using box = await Container.create(over(root));
    const groups = async (user: string | number) => (await box.exec(['id', '-G'], { user })).stdout.trim();
    expect(await groups('ann')).toBe('1000 2000');
    expect(await groups('ann:other')).toBe('3000');
    expect(await groups(1000)).toBe('1000');
    expect(await groups('1000:5')).toBe('5');
    expect(await groups('root')).toBe('0');
    expect(outside<number[]>('os.setgroups([4, 24]); answer(os.getgroups())')).toEqual([4, 24]);
  });

  const status = `
answer([line for line in open('/proc/self/status').read().splitlines() if line.startswith(('Cap', 'NoNewPrivs', 'Seccomp:', 'SigBlk', 'Umask'))])`;
  const golden = readFileSync(`${import.meta.dirname}/golden/status.txt`, 'utf8')
    .trim()
    .split('\n');

  it('E2, E9: sets of capabilities are those of the golden list', async () => {
    expect(await inside(status)).toEqual(golden);
    expect(outside<string[]>(status)).not.toEqual(golden);
  });

  it('E2, E9: sets of capabilities are empty for other users', async (context) => {
    needsRoot(context);
    const other = await inside<string[]>(status, { user: 1000 });
    for (const name of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb']) expect(other).toContain(`${name}:\t0000000000000000`);
    expect(other).toContain(golden.find((line) => line.startsWith('CapBnd')));
  });

  it('E2, E9: an exec has exactly the sets that were asked for, and none beyond the container’s', async (context) => {
    needsRoot(context);
    const status = `
import re
answer(dict(re.findall(r'^Cap(...):\\s+(\\w+)$', open('/proc/self/status').read(), re.M)))`;
    await using box = await Container.create();
    const kill = '0000000000000020';
    const other = { user: 1000, capabilities: { bounding: ['KILL', 'CHOWN'], ambient: ['KILL'] } } as const;
    const bounded = { Inh: kill, Prm: kill, Eff: kill, Bnd: '0000000000000021', Amb: kill };
    expect(await insideOf(box, status, other)).toEqual(bounded);
    const none = '0'.repeat(16);
    const root = await insideOf(box, status, { capabilities: ['KILL'] });
    expect(root).toEqual({ Inh: none, Prm: kill, Eff: kill, Bnd: kill, Amb: none });
    for (const capabilities of [
      ['SYS_ADMIN'],
      { ambient: ['NET_RAW'] },
      { effective: ['KILLS'] },
      { ambient: 'KILL' },
    ]) {
      const start = () => box.exec(['/bin/true'], { capabilities: capabilities as never });
      expect(start, JSON.stringify(capabilities)).toThrow(OptionError);
    }
    // The next one has what it always had: nothing stays of what one exec gave up or was given.
    expect(await insideOf(box, status, { user: 1000 })).toMatchObject({ Inh: none, Prm: none, Eff: none, Amb: none });
    expect(await insideOf<object>(box, status)).toMatchObject({ Bnd: Capabilities.default.toHex() });
    expect(outside<{ Bnd: string }>(status).Bnd).not.toBe(Capabilities.default.toHex());
  });

  it('E3: a number is an id within the container’s range, and never a name', async (context) => {
    needsRoot(context);
    const root = makeRoot();
    writeFileSync(
      `${root}/etc/passwd`,
      'root:x:0:0::/:/bin/sh\n1000:x:0:0::/:/bin/sh\nname:x:4294967296:0::/:/bin/sh\n',
    );
    await using box = await Container.create(over(root));
    for (const user of ['4294967296', '2147483648', '65536', 4294967296, -1, 1.5, Number.NaN]) {
      expect(() => box.exec(['/bin/true'], { user }), String(user)).toThrow(OptionError);
    }
    await expect(box.exec(['/bin/true'], { user: 'name' })).rejects.toBeInstanceOf(OptionError);
    expect((await box.exec(['id', '-u'], { user: '1000' })).stdout).toBe('1000\n');
    expect((await box.exec(['id', '-u'], { user: 'root' })).stdout).toBe('0\n');
  });

  it('E5, E6: each container has a range of its own, and its root is an ordinary id of the host', async (context) => {
    needsRoot(context);
    const maps = `answer([open('/proc/self/uid_map').read().split(), open('/proc/self/gid_map').read().split()])`;
    await using first = await Container.create();
    await using second = await Container.create();
    const bases: number[] = [];
    for (const box of [first, second]) {
      const base = box.inspect().ids.first ?? 0;
      bases.push(base);
      const line = ['0', String(base), '65536'];
      expect(await insideOf(box, maps)).toEqual([line, line]);
      expect(base).toBeGreaterThanOrEqual(65536);
    }
    const [a = 0, b = 0] = bases;
    expect(Math.abs(a - b)).toBeGreaterThanOrEqual(65536);
    await first.fs.writeFile('/tmp/file', 'x');
    await first.exec(['touch', '/tmp/other']);
    for (const name of ['file', 'other']) expect(statSync(`/proc/${first.inspect().pid}/root/tmp/${name}`).uid).toBe(a);
    expect(outside<string[][]>(maps)[0]).toEqual(['0', '0', '4294967295']);
  });

  it('E5: maps are taken exactly where the kernel takes them, and read back as they are', async (context) => {
    needsRoot(context);
    await using box = await Container.create();
    const { pid, ids } = box.inspect();
    const own = IdMap.of({ inside: 0, outside: ids.first ?? 0, count: ids.count });
    expect(IdMap.ofProcess(pid ?? 0).uid.equals(own)).toBe(true);
    expect(IdMap.ofProcess(pid ?? 0).gid.equals(own)).toBe(true);
    let state = 20_261_125;
    const next = (below: number) => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) % below;
    };
    const last = 2 ** 32 - 1;
    const near = () => (next(3) === 0 ? last - 12 : 0) + next(12);
    const maps = Array.from({ length: 400 }, () =>
      Array.from({ length: 1 + next(3) }, () => ({ inside: near(), outside: near(), count: next(6) })),
    );
    const text = (map: (typeof maps)[number]) =>
      map.map((one) => `${one.inside} ${one.outside} ${one.count}\n`).join('');
    const kernel = outside<boolean[]>(`
def takes(text):
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        libc.unshare(0x10000000)
        os.write(ready[1], b'x')
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    file = os.open('/proc/%d/uid_map' % child, os.O_WRONLY)
    verdict = attempt(lambda: os.write(file, text.encode()))
    os.write(done[1], b'x')
    os.waitpid(child, 0)
    for fd in ready + done + (file,): os.close(fd)
    return verdict == 'OK'
answer([takes(text) for text in ${JSON.stringify(maps.map(text))}])`);
    const ours = maps.map((map) => {
      try {
        return IdMap.from(map).size > 0;
      } catch (error) {
        if (!(error instanceof OptionError)) throw error;
        return false;
      }
    });
    for (const [index, map] of maps.entries()) expect(ours[index], text(map)).toBe(kernel[index]);
    expect(ours.filter(Boolean).length).toBeGreaterThan(50);
    expect(ours.filter((taken) => !taken).length).toBeGreaterThan(50);
  });

  it('E8, F4: no new namespaces inside', async () => {
    const clone3 = 435;
    const [unshare, clone, setns] = process.arch === 'x64' ? [272, 56, 308] : [97, 220, 268];
    const kinds = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80];
    const probe = `answer([[call(${unshare}, k) for k in ${JSON.stringify(kinds)}], call(${clone3}, None, 0), call(${setns}, -1, 0)])`;
    const refused = await inside<[string[], string, string]>(probe);
    expect(new Set(refused[0])).toEqual(new Set(['EPERM']));
    expect(refused.slice(1)).toEqual(['ENOSYS', 'EPERM']);
    const clones = `answer([call(${clone}, k | 17, None, None, None, None) for k in ${JSON.stringify(kinds)}])`;
    expect(new Set(await inside<string[]>(clones))).toEqual(new Set(['EPERM']));
    const control = outside<[string[], string, string]>(probe);
    expect(control[0]).toContain('OK');
    expect(control.slice(1)).toEqual(['EINVAL', 'EBADF']);
    // Threads still start: the C library falls back on clone.
    const threads = `
import threading
seen = []
threads = [threading.Thread(target=lambda: seen.append(1)) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
answer(len(seen))`;
    expect(await inside(threads)).toBe(8);
  });

  it('E9: an unknown capability is an error, not skipped', async () => {
    for (const name of ['CAP_TYPO', 'CHOWNN', '', 'cap_']) {
      await expect(Container.plan({ capabilities: [name] }), name).rejects.toBeInstanceOf(OptionError);
    }
    await expect(Container.plan({ capabilities: ['chown'] })).resolves.toBeDefined();
  });

  it('E10: a set-user-ID program of the root gives nothing', async (context) => {
    needsRoot(context);
    const root = makeRoot();
    const program = `${root}/id`;
    copyFileSync('/usr/bin/id', program);
    chmodSync(program, 0o4755);
    chmodSync(root, 0o755);
    await using box = await Container.create(over(root));
    expect((await box.exec(['/id', '-u'], { user: 1000 })).stdout).toBe('1000\n');
    await box.exec(['sh', '-c', 'cp /usr/bin/id /tmp/id && chmod 4755 /tmp/id']);
    expect((await box.exec(['/tmp/id', '-u'], { user: 1000 })).stdout).toBe('1000\n');
    expect(statSync(program).mode & 0o7777).toBe(0o4755);
    const nosuid = readFileSync('/proc/self/mountinfo', 'utf8').match(/ \/run [^ ]*nosuid/);
    if (nosuid) context.skip('the control needs a file system without nosuid, and /run has it');
    expect(execFileSync(program, ['-u'], { uid: 65534, cwd: '/', encoding: 'utf8' })).toBe('0\n');
  });

  it('E11: user files of the root that are a FIFO, a link or huge are refused at once', async (context) => {
    needsRoot(context);
    const secret = `${scratch()}/passwd`;
    writeFileSync(secret, 'intruder:x:0:0::/:/bin/sh\n');
    const cases: [string, (path: string) => void][] = [
      ['fifo', (path) => run('mkfifo', path)],
      ['link', (path) => symlinkSync(secret, path)],
      ['huge', (path) => run('truncate', '-s', '100M', path)],
      ['directory', (path) => mkdirSync(path)],
    ];
    for (const [name, make] of cases) {
      const root = makeRoot();
      make(`${root}/etc/passwd`);
      const before = process.memoryUsage.rss();
      const startedAt = Date.now();
      await expect(Container.run(['/bin/true'], { ...over(root), user: 'intruder' }), name).rejects.toBeInstanceOf(
        TscontainError,
      );
      expect(Date.now() - startedAt, name).toBeLessThan(1000);
      expect(process.memoryUsage.rss() - before, name).toBeLessThan(32 * 2 ** 20);
      rmSync(`${root}/etc/passwd`, { recursive: true });
      writeFileSync(`${root}/etc/passwd`, 'intruder:x:7:7::/:/bin/sh\n');
      expect((await Container.run(['id', '-u'], { ...over(root), user: 'intruder' })).stdout).toBe('7\n');
    }
  });

  it('E12: a set-user-ID file that a container leaves on its own storage is not root’s on the host', async (context) => {
    needsRoot(context);
    await using box = await Container.create();
    await box.exec(['sh', '-c', 'cp /usr/bin/id /tmp/id && chmod 6755 /tmp/id']);
    const facts = statSync(`/proc/${box.inspect().pid}/root/tmp/id`);
    expect(facts.mode & 0o7777).toBe(0o6755);
    expect([facts.uid, facts.gid]).toEqual([box.inspect().ids.first, box.inspect().ids.first]);
  });

  it('E12: nor is one that it leaves in a writable bind mount, or one with capabilities', async (context) => {
    needsRoot(context);
    const source = scratch();
    const probe = `
import shutil
for name in ('id', 'capable'): shutil.copy('/usr/bin/id', '/m/' + name)
capabilities = struct.pack('<IIIII', 0x02000001, 1 << 21, 0, 0, 0)
answer([attempt(lambda: os.chmod('/m/id', 0o4755)), attempt(lambda: os.setxattr('/m/capable', 'security.capability', capabilities))])`;
    const mounts = [{ type: 'bind', source, target: '/m', readOnly: false }] as const;
    await inside(probe, { mounts });
    const id = statSync(`${source}/id`);
    const capable = outside<string>(`
try: answer(os.getxattr('${source}/capable', 'security.capability').hex()[:8])
except OSError: answer('none')`);
    expect([id.uid === 0 && (id.mode & 0o4000) !== 0, capable]).toEqual([false, 'none']);
  });
});
