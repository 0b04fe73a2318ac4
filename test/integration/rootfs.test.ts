/** A root of one's own, and mounts: who owns what, what is writable, how much fits, and what stays on the host. */

import { createHash } from 'node:crypto';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Container, type ContainerOptions, type MountOption, OptionError, TscontainError } from '../../lib/index.js';
import { needsRoot, needsUpperOnDisk } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const sh = (script: string): [string, ...string[]] => ['/bin/sh', '-c', script];

/** A program that makes empty files until there are too many, and says how many there could be. */
const filesUntilFull = (path: string) =>
  `n = 0\ntry:\n  while True:\n    open("${path}/" + str(n), "x").close()\n    n += 1\nexcept OSError: print(n)`;

let host = '';
let rootfs = '';
let before = '';

/** A small system: the host's /usr is mounted into it, everything else is its own. */
function makeRoot(root: string): void {
  for (const directory of ['usr', 'etc', 'data/deep', 'var/log', 'tmp'])
    mkdirSync(join(root, directory), { recursive: true });
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(root, name));
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0::/root:/bin/sh\nworker:x:500:501::/home/worker:/bin/sh\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\nworkers:x:501:\nextra:x:700:worker\n');
  writeFileSync(join(root, 'etc/hostname'), 'of the image\n');
  writeFileSync(join(root, 'data/file'), 'lower');
  writeFileSync(join(root, 'data/deep/other'), 'other');
  symlinkSync('/etc', join(root, 'link'));
  chmodSync(join(root, 'tmp'), 0o1777);
}

/** One hash over names, kinds, modes, owners and contents of a tree. */
function hashTree(path: string): string {
  const hash = createHash('sha256');
  const visit = (at: string): void => {
    const facts = lstatSync(at);
    hash.update(`${at} ${facts.mode} ${facts.uid} ${facts.gid} ${facts.mtimeMs}\n`);
    if (facts.isDirectory()) for (const name of readdirSync(at).sort()) visit(join(at, name));
    else hash.update(facts.isSymbolicLink() ? readlinkSync(at) : readFileSync(at));
  };
  visit(path);
  return hash.digest('hex');
}

beforeAll(() => {
  host = mkdtempSync(join(tmpdir(), 'tscontain-root-'));
  chmodSync(host, 0o755);
  rootfs = join(host, 'rootfs');
  makeRoot(rootfs);
  before = hashTree(rootfs);
});
afterAll(() => rmSync(host, { recursive: true, force: true }));

const own = (more: ContainerOptions = {}): ContainerOptions => ({
  ...more,
  image: { rootfs },
  mounts: [{ type: 'bind', source: '/usr', target: '/usr' }, ...(more.mounts ?? [])],
});

/** A fresh directory on the host. */
function directory(name: string): string {
  const path = join(host, name);
  mkdirSync(path);
  return path;
}

const bind = (source: string, more: Partial<Extract<MountOption, { type: 'bind' }>> = {}): ContainerOptions => ({
  mounts: [{ type: 'bind', source, target: '/job', ...more }],
});

async function failure(promise: Promise<unknown>): Promise<TscontainError> {
  const outcome = await Promise.allSettled([promise]);
  if (outcome[0].status === 'fulfilled') throw new Error('did not fail');
  expect(outcome[0].reason).toBeInstanceOf(TscontainError);
  return outcome[0].reason as TscontainError;
}

describe('a root file system', () => {
  it('of the host is on disk where that is asked for, without set-user-ID and devices', async (ctx) => {
    needsRoot(ctx);
    needsUpperOnDisk(ctx);
    const script =
      'echo kept > /file && cat /file && grep " / / \\|/upper / " /proc/self/mountinfo && id -u && ls /usr >/dev/null';
    const { stdout, exitCode } = await Container.run(sh(script), { storage: { upper: 'disk' } });
    expect({ exitCode, first: stdout.split('\n')[0] }).toEqual({ exitCode: 0, first: 'kept' });
    expect(stdout).toContain('rw,nosuid,nodev');
    expect(stdout).not.toContain('tmpfs');
    const onTmpfs = await Container.run(sh('grep " / / \\|/root / " /proc/self/mountinfo'));
    expect(onTmpfs.stdout).toContain('tmpfs');
  });

  it.for(['tmpfs', 'disk'] as const)('is written to in an overlay on %s and stays untouched', async (upper, ctx) => {
    needsRoot(ctx);
    if (upper === 'disk') needsUpperOnDisk(ctx);
    const script =
      'echo new > /data/file; rm /data/deep/other; mkdir /made; chmod 700 /etc; chown 5:5 /data; cat /data/file';
    const result = await Container.run(sh(script), own({ storage: { upper } }));
    expect(result).toMatchObject({ exitCode: 0, stdout: 'new\n', stderr: '' });
    expect(hashTree(rootfs)).toBe(before);
    expect((await Container.run(['cat', '/data/file'], own())).stdout).toBe('lower');
  });

  it('belongs to the root of the container', async (ctx) => {
    needsRoot(ctx);
    const { stdout } = await Container.run(['stat', '-c', '%u %g', '/', '/data', '/data/file'], own());
    expect(stdout).toBe('0 0\n0 0\n0 0\n');
  });

  it('has users of its own, with their groups and homes', async (ctx) => {
    needsRoot(ctx);
    const show = sh('echo $(id -u) $(id -g) $(id -G) $HOME');
    expect((await Container.run(show, { ...own(), user: 'worker' })).stdout).toBe('500 501 501 700 /home/worker\n');
    expect((await Container.run(show, { ...own(), user: 'worker:extra' })).stdout).toBe('500 700 700 /home/worker\n');
    const error = await failure(Container.run(['true'], { ...own(), user: 'nobody' }));
    expect(error).toMatchObject({ code: 'ERR_OPTION', option: 'user' });
    await using box = await Container.create({ ...own(), user: 'worker' });
    const two = await Promise.all([box.exec(['id', '-u']), box.exec(['id', '-u'], { user: 0 })]);
    expect(two.map(({ stdout }) => stdout)).toEqual(['500\n', '0\n']);
  });

  it('has the users that a program has just made, though they were asked for in vain before', async (ctx) => {
    needsRoot(ctx);
    await using box = await Container.create(own());
    await box.exec(['mv', '/etc/passwd', '/etc/kept'], { check: true });
    const missing = await failure(Promise.resolve(box.exec(['id', '-u'], { user: 'worker' })));
    expect(missing).toMatchObject({ code: 'ERR_OPTION', option: 'user' });
    await box.exec(sh('truncate -s 1T /etc/passwd'), { check: true });
    const endless = await failure(Promise.resolve(box.exec(['id', '-u'], { user: 'worker' })));
    expect(endless).toMatchObject({ code: 'ERR_USER_FILE', path: '/etc/passwd' });
    await box.exec(['mv', '/etc/kept', '/etc/passwd'], { check: true });
    expect((await box.exec(['id', '-u'], { user: 'worker' })).stdout).toBe('500\n');
  });

  it('is given the names of the container, whatever it had', async (ctx) => {
    needsRoot(ctx);
    const { stdout } = await Container.run(['cat', '/etc/hostname'], { ...own(), hostname: 'mine' });
    expect(stdout).toBe('mine\n');
  });

  it('that has not what the program needs is an error that says so', async (ctx) => {
    needsRoot(ctx);
    expect(await failure(Container.run(['/bin/sh'], { image: { rootfs } }))).toMatchObject({
      code: 'ERR_COMMAND_NOT_FOUND',
    });
  });

  it.for([
    ['/no/such/root', 'ENOENT'],
    ['/etc/hostname', undefined],
    ['/', undefined],
    ['/proc', undefined],
  ] as const)('cannot be %s', async ([path, errno]) => {
    const error = await failure(Container.run(['true'], { image: { rootfs: path } }));
    expect(error).toBeInstanceOf(OptionError);
    expect(error).toMatchObject({ option: 'image.rootfs', errno });
  });
});

describe('storage', () => {
  it.for(['host', 'rootfs'])('is full at its size, and not before: %s', async (kind, ctx) => {
    if (kind === 'rootfs') needsRoot(ctx);
    const storage = { size: '4MiB' };
    const options = kind === 'host' ? { storage } : own({ storage });
    const { stdout, stderr } = await Container.run(
      sh('head -c 2M /dev/zero > /var/x && head -c 4M /dev/zero > /var/y; stat -c %s /var/x'),
      options,
    );
    expect(stderr).toContain('No space left on device');
    expect(stdout).toBe(`${2 * 2 ** 20}\n`);
  });

  it('is full when its files are too many', async () => {
    const { stdout } = await Container.run(['python3', '-c', filesUntilFull('/tmp')], {
      storage: { size: '64MiB', inodes: 500 },
    });
    const count = Number(stdout);
    expect(count).toBeGreaterThan(300);
    expect(count).toBeLessThan(500);
  });

  it('that is too small for the container itself is an error with a hint', async () => {
    const error = await failure(Container.run(['true'], { storage: { size: 4096 } }));
    expect(error.hint).toContain('storage');
  });
});

describe('a bind mount', () => {
  it('is read-only unless asked otherwise, set-id and devices never count', async () => {
    const source = directory('read-only');
    writeFileSync(join(source, 'file'), 'content');
    const { stdout, stderr } = await Container.run(
      sh('cat /job/file; echo x > /job/file; grep " /job " /proc/self/mounts'),
      bind(source),
    );
    expect(stdout).toMatch(/^content.* ro,nosuid,nodev/s);
    expect(stderr).toContain('Read-only file system');
  });

  it('that is writable gives files to the owner that its directory has on the host', async (ctx) => {
    needsRoot(ctx);
    const source = directory('writable');
    writeFileSync(join(source, 'old'), 'mine');
    await Container.run(
      sh('stat -c %u /job/old; echo x > /job/new; chown 1000 /job/old'),
      bind(source, { readOnly: false }),
    );
    expect(statSync(join(source, 'new')).uid).toBe(0);
    expect(statSync(join(source, 'old')).uid).toBe(1000);
  });

  it('without idmap shows the ids of the host as nobody, and cannot write as root', async (ctx) => {
    needsRoot(ctx);
    const source = directory('unshifted');
    const { stdout, exitCode } = await Container.run(
      sh('stat -c %u /job; echo x > /job/new'),
      bind(source, { readOnly: false, idmap: false }),
    );
    expect(stdout).toBe('65534\n');
    expect(exitCode).not.toBe(0);
    expect(readdirSync(source)).toEqual([]);
  });

  it('may be a single file', async () => {
    const file = join(directory('single'), 'file');
    writeFileSync(file, 'one file');
    expect((await Container.run(['cat', '/job'], bind(file))).stdout).toBe('one file');
    expect(
      (
        await Container.run(['cat', '/etc/of/mine'], {
          mounts: [{ type: 'bind', source: file, target: '/etc/of/mine' }],
        })
      ).stdout,
    ).toBe('one file');
  });

  it('may be a part of its source, which no link leads to', async () => {
    const source = directory('parts');
    mkdirSync(join(source, 'a/b'), { recursive: true });
    writeFileSync(join(source, 'a/b/file'), 'part');
    symlinkSync('/etc', join(source, 'link'));
    expect((await Container.run(['cat', '/job/file'], bind(source, { subPath: 'a/b' }))).stdout).toBe('part');
    for (const subPath of ['link', 'a/missing']) {
      expect(await failure(Container.run(['true'], bind(source, { subPath })))).toMatchObject({
        option: 'mounts[0].subPath',
      });
    }
  });

  it('lies on another one in the order of their targets', async () => {
    const outer = directory('outer');
    const inner = directory('inner');
    writeFileSync(join(outer, 'file'), 'outer');
    mkdirSync(join(outer, 'sub'));
    writeFileSync(join(inner, 'file'), 'inner');
    const mounts: MountOption[] = [
      { type: 'bind', source: inner, target: '/job/sub' },
      { type: 'bind', source: outer, target: '/job' },
    ];
    expect((await Container.run(sh('cat /job/file /job/sub/file'), { mounts })).stdout).toBe('outerinner');
  });

  it('of a source that is missing, or is of the kernel, or a socket, is an error before anything starts', async () => {
    for (const source of ['/no/such', '/proc', '/sys/kernel', '/dev/null', '/']) {
      expect(await failure(Container.run(['true'], bind(source)))).toMatchObject({ option: 'mounts[0].source' });
    }
  });

  it('on a target that leads through a link is an error with the step', async (ctx) => {
    needsRoot(ctx);
    const source = directory('through');
    const options = own({ mounts: [{ type: 'bind', source, target: '/link/x' }] });
    const error = await failure(Container.run(['true'], options));
    expect(error).toMatchObject({ code: 'ERR_STEP', step: { kind: 'moveMount' } });
    expect(error.hint).toContain('link');
  });

  it('of a directory on a file of the image is an error with the step', async (ctx) => {
    needsRoot(ctx);
    const options = own({ mounts: [{ type: 'bind', source: directory('onfile'), target: '/data/file' }] });
    expect(await failure(Container.run(['true'], options))).toMatchObject({ code: 'ERR_STEP', errno: 'ENOTDIR' });
  });

  it('on a target that would have to be made where it is read-only is an error with a hint', async () => {
    const error = await failure(Container.run(['true'], { mounts: [{ type: 'tmpfs', target: '/usr/no/such' }] }));
    expect(error).toMatchObject({ code: 'ERR_STEP', errno: 'EROFS' });
    expect(error.hint).toContain('another target');
  });
});

describe('a tmpfs mount', () => {
  it('is writable, bounded in bytes and in files', async () => {
    const mounts: MountOption[] = [{ type: 'tmpfs', target: '/scratch', size: '1MiB', inodes: 20, mode: 0o700 }];
    const script = `stat -c %a /scratch; head -c 2M /dev/zero > /scratch/x; rm /scratch/x; python3 -c '${filesUntilFull('/scratch')}'`;
    const { stdout, stderr } = await Container.run(sh(script), { mounts });
    expect(stdout.startsWith('700\n')).toBe(true);
    expect(Number(stdout.split('\n')[1])).toBe(19);
    expect(stderr).toContain('No space left on device');
  });

  it('may forbid programs', async () => {
    const run = (exec: boolean) =>
      Container.run(sh('cp /usr/bin/true /scratch/; /scratch/true'), {
        mounts: [{ type: 'tmpfs', target: '/scratch', exec }],
      });
    expect((await run(true)).exitCode).toBe(0);
    expect((await run(false)).exitCode).toBe(126);
  });

  it('may lie on /dev/shm', async () => {
    const mounts: MountOption[] = [{ type: 'tmpfs', target: '/dev/shm', size: '1MiB' }];
    expect((await Container.run(sh('df -k --output=size /dev/shm | tail -1'), { mounts })).stdout.trim()).toBe('1024');
  });
});

describe('an overlay mount', () => {
  it('shows its directories together, and takes writes that vanish', async (ctx) => {
    needsRoot(ctx);
    const top = directory('top');
    const bottom = directory('bottom');
    writeFileSync(join(top, 'both'), 'top');
    writeFileSync(join(bottom, 'both'), 'bottom');
    writeFileSync(join(bottom, 'only'), 'only');
    const hashes = [hashTree(top), hashTree(bottom)];
    const mounts: MountOption[] = [{ type: 'overlay', lower: [top, bottom], target: '/merged', size: '1MiB' }];
    const script =
      'cat /merged/both /merged/only; echo x > /merged/both; rm /merged/only; ls /merged; head -c 2M /dev/zero > /merged/x';
    const { stdout, stderr } = await Container.run(sh(script), { mounts });
    expect(stdout).toBe('toponlyboth\n');
    expect(stderr).toContain('No space left on device');
    expect([hashTree(top), hashTree(bottom)]).toEqual(hashes);
  });

  it('of a directory that is missing is an error that names it', async () => {
    const mounts: MountOption[] = [{ type: 'overlay', lower: [host, '/no/such'], target: '/merged' }];
    expect(await failure(Container.run(['true'], { mounts }))).toMatchObject({ option: 'mounts[0].lower[1]' });
  });
});
