/** What bounds a container's writes to disk, and what is left of it. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Container, type ContainerOptions, UnsupportedError } from '../../lib/index.js';
import { needsLoopFiles } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

let lower: string;
beforeAll(() => {
  lower = mkdtempSync(join(tmpdir(), 'tscontain-storage-'));
});
afterAll(() => rmSync(lower, { recursive: true, force: true }));

const programs = ['/usr', '/bin', '/lib', '/lib64'].map(
  (path) => ({ type: 'bind', source: path, target: path }) as const,
);
const over = (): ContainerOptions => ({ image: { rootfs: lower }, mounts: programs });
const kinds: readonly (readonly [string, () => ContainerOptions])[] = [
  ["the host's programs", () => ({})],
  ['a directory', over],
];
const disk = (more: object) => ({ storage: { upper: 'disk', ...more } }) as const;

/** The files that loop devices are made of. The kernel's number tells one from the next at the same place (Linux 5.15). */
function loopFiles(): string[] {
  return readdirSync('/sys/block')
    .filter((name) => name.startsWith('loop'))
    .flatMap((name) => {
      try {
        const read = (file: string) => readFileSync(`/sys/block/${name}/${file}`, 'utf8').trim();
        return [`${name} ${read('diskseq')} ${read('loop/backing_file')}`];
      } catch {
        return [];
      }
    });
}

async function expectGone(files: readonly string[]): Promise<void> {
  expect(files.length).toBeGreaterThan(0);
  await expect.poll(() => loopFiles().filter((file) => files.includes(file)), { timeout: 5000 }).toEqual([]);
}

/** Loop files of ours that were not there before. */
function fresh(before: readonly string[]): string[] {
  return loopFiles().filter((file) => !before.includes(file) && file.includes('/var/lib/tscontain/containers/'));
}

describe('storage on disk', () => {
  it.for(kinds)('is bounded in bytes over %s', async ([, options], ctx) => {
    needsLoopFiles(ctx);
    const before = loopFiles();
    const box = await Container.create({ ...options(), ...disk({ size: '64MiB' }) });
    const files = fresh(before);
    const { stdout, stderr } = await box.exec([
      'sh',
      '-c',
      'mkdir -p /d; head -c 200M /dev/zero > /d/file; stat -c %s /d/file',
    ]);
    expect(stderr).toContain('No space left on device');
    expect(Number(stdout)).toBeLessThanOrEqual(64 * 2 ** 20);
    expect(Number(stdout)).toBeGreaterThan(60 * 2 ** 20);
    const inside = await box.exec(['sh', '-c', 'rm /d/file && echo again > /d/file && cat /d/file']);
    expect(inside.stdout).toBe('again\n');
    await box.kill();
    await expectGone(files);
  });

  it.for(kinds)('is bounded in files over %s', async ([, options], ctx) => {
    needsLoopFiles(ctx);
    const script =
      'i=0; mkdir -p /d; while touch /d/$i 2>/dev/null; do i=$((i+1)); done; ls /d | wc -l; touch /d/one-more';
    const { stdout, stderr } = await Container.run(['sh', '-c', script], {
      ...options(),
      ...disk({ size: '64MiB', inodes: 500 }),
    });
    expect(stderr).toContain('No space left on device');
    expect(Number(stdout)).toBeLessThan(500);
    expect(Number(stdout)).toBeGreaterThan(400);
  });

  it('may be large and takes only what is written', async (ctx) => {
    needsLoopFiles(ctx);
    const before = loopFiles();
    await using box = await Container.create(disk({ size: '1TiB' }));
    const { stdout } = await box.exec(['sh', '-c', 'df -B1 --output=avail / | tail -n 1; echo x > /file; cat /file']);
    const [free, text] = stdout.trim().split('\n');
    expect(Number(free)).toBeGreaterThan(0.999 * 2 ** 40);
    expect(text).toBe('x');
    expect(fresh(before).length).toBeGreaterThan(0);
  });

  it('belongs to the container, has neither set-user-ID files nor devices, and keeps attributes', async (ctx) => {
    needsLoopFiles(ctx);
    const script =
      'stat -c "%u %g %a" / /root; grep " / / \\|/upper / " /proc/self/mountinfo; ls -A /; touch /a && chown 7:8 /a && stat -c "%u %g" /a';
    const { stdout } = await Container.run(['sh', '-c', script], disk({ size: '64MiB' }));
    expect(stdout).toMatch(/^0 0 755\n0 0 700\n/);
    expect(stdout).toMatch(/\/upper \/ rw,nosuid,nodev\S* - ext4 \/dev\/loop\d+ rw/);
    expect(stdout).not.toContain('lost+found');
    expect(stdout).toMatch(/\n7 8\n$/);
  });

  it('says what bounds it', async (ctx) => {
    needsLoopFiles(ctx);
    await using bounded = await Container.create(disk({ size: '64MiB', inodes: 500 }));
    expect(bounded.inspect().storage).toMatchObject({ upper: 'disk', bound: 'loop file', size: 2 ** 26, inodes: 500 });
    await using memory = await Container.create({ storage: { size: '64MiB' } });
    expect(memory.inspect().storage).toMatchObject({ upper: 'tmpfs', bound: 'tmpfs', size: 2 ** 26 });
    await using free = await Container.create(disk({}));
    expect(free.inspect().storage).toMatchObject({ upper: 'disk', bound: 'none', size: undefined });
  });

  it('ends at once, however much was written', async (ctx) => {
    needsLoopFiles(ctx);
    const before = loopFiles();
    const box = await Container.create({ ...disk({ size: '1GiB' }), limits: { memory: '1GiB' } });
    const files = fresh(before);
    await box.exec(['sh', '-c', 'head -c 300M /dev/zero > /file']);
    const other = Container.create();
    await box.kill();
    await (await other).kill();
    await expectGone(files);
  });

  it('leaves nothing where a container could not be made', async (ctx) => {
    needsLoopFiles(ctx);
    const before = loopFiles();
    const made = Container.create({ ...disk({ size: 4096, inodes: 16 }) });
    await expect(made).rejects.toMatchObject({ code: 'ERR_STEP', errno: 'ENOSPC' });
    await expect.poll(() => fresh(before), { timeout: 5000 }).toEqual([]);
  });

  it('leaves nothing when this process is killed', async (ctx) => {
    needsLoopFiles(ctx);
    const before = loopFiles();
    const program = `
      import { Container } from '${new URL('../../dist/index.js', import.meta.url).href}';
      const box = await Container.create({ storage: { upper: 'disk', size: '64MiB' } });
      await box.exec(['sh', '-c', 'head -c 10M /dev/zero > /file']);
      console.log('ready');
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    const files = fresh(before);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await expectGone(files);
  });

  it('H5: cannot be bounded by an ordinary user, who is told so before anything starts', async (ctx) => {
    ctx.skip(process.geteuid?.() === 0, 'needs an ordinary user');
    await expect(Container.create(disk({ size: '64MiB' }))).rejects.toBeInstanceOf(UnsupportedError);
  });
});
