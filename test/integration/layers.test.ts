/** A root of several layers: which one wins, what deletes and hides, and that none of them is ever written to. */

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Container, type ContainerOptions, OptionError } from '../../lib/index.js';
import { needsRoot, needsUpperOnDisk } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

let directory = '';

function write(path: string, content: string): void {
  mkdirSync(join(directory, path, '..'), { recursive: true });
  writeFileSync(join(directory, path), content);
}

/** Names that would mean something in an option string, but for how they are handed over. */
const base = 'base,a:b';
const top = 'top\\:c';

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tscontain-layers-'));
  chmodSync(directory, 0o755);
  for (const name of ['usr', 'etc', 'tmp']) mkdirSync(join(directory, base, name), { recursive: true });
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(directory, base, name));
  for (const file of ['both', 'deleted', 'hidden/old']) write(`${base}/data/${file}`, 'base');
  write('middle/data/both', 'middle');
  write('middle/data/middle', 'middle');
  write(`${top}/data/both`, 'top');
  write(`${top}/data/hidden/new`, 'top');
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const show = 'cd /data; for f in $(find . -type f | sort); do echo $f $(cat $f); done';
const stack = (names = [top, 'middle', base]): ContainerOptions => ({
  image: { layers: { directory, names } },
  mounts: [{ type: 'bind', source: '/usr', target: '/usr' }],
});
const run = (script: string, options = stack()) => Container.run(['/bin/sh', '-c', script], options);

describe('a root of layers', () => {
  it('shows the topmost of each file, whatever the names of the layers', async () => {
    const { stdout, stderr } = await run(show);
    expect({ stdout, stderr }).toEqual({
      stdout: './both top\n./deleted base\n./hidden/new top\n./hidden/old base\n./middle middle\n',
      stderr: '',
    });
    expect((await run('cat /data/both', stack([base, 'middle', top]))).stdout).toBe('base');
  });

  it('knows what a layer deletes, and which directory hides the one below', async (ctx) => {
    needsRoot(ctx);
    const edit = 'mkdir -p "$1/data/hidden" && mknod "$1/data/deleted" c 0 0 && echo new > "$1/data/hidden/only"';
    execFileSync('/bin/sh', ['-c', edit, 'sh', join(directory, 'edit')]);
    execFileSync('python3', [
      '-c',
      'import os, sys; os.setxattr(sys.argv[1], "user.overlay.opaque", b"y")',
      join(directory, 'edit/data/hidden'),
    ]);
    expect((await run(show, stack(['edit', base]))).stdout).toBe('./both base\n./hidden/only new\n');
  });

  it('belongs to the root of the container, in every layer', async (ctx) => {
    needsRoot(ctx);
    expect((await run('stat -c %u:%g /data /data/both /data/middle /data/deleted')).stdout).toBe('0:0\n'.repeat(4));
  });

  for (const upper of ['tmpfs', 'disk'] as const) {
    it(`is written to in ${upper}, and no layer is`, async (ctx) => {
      if (upper === 'disk') {
        needsRoot(ctx);
        needsUpperOnDisk(ctx);
      }
      const before = readdirSync(join(directory, base, 'data')).join();
      const script = 'echo own > /data/both; rm /data/middle /data/deleted; touch /data/fresh; cd /data; echo *';
      const { stdout } = await run(script, { ...stack(), storage: { upper } });
      expect(stdout).toBe('both fresh hidden\n');
      expect(readdirSync(join(directory, base, 'data')).join()).toBe(before);
      expect(readFileSync(join(directory, top, 'data/both'), 'utf8')).toBe('top');
      expect(readdirSync(join(directory, 'middle/data'))).toEqual(['both', 'middle']);
    });
  }

  it('may have fifty of them, each seen', async () => {
    const names = Array.from({ length: 50 }, (_, index) => `many/${index}`);
    for (const [index, name] of names.entries()) write(`${name}/data/f${index}`, String(index));
    const { stdout } = await run('ls /data | wc -l; cat /data/f0 /data/f49', stack([...names, base]));
    expect(stdout).toBe('53\n049');
  });

  it('is one mount, which shows nothing of the layers’ directory', async () => {
    const { stdout } = await run('cat /proc/self/mountinfo');
    const roots = stdout.split('\n').filter((line) => line.split(' ')[4] === '/');
    expect(roots).toHaveLength(1);
    expect(roots[0]).toMatch(/ rw,nosuid,nodev,.* - overlay /);
    expect(stdout).not.toContain(directory);
  });
});

describe('layers that cannot be', () => {
  it.each([
    ['none', { names: [] }, 'image.layers.names'],
    ['above', { names: ['../x'] }, 'image.layers.names[0]'],
    ['absolute', { names: ['/etc'] }, 'image.layers.names[0]'],
    ['twice', { names: ['middle', 'middle'] }, 'image.layers.names[1]'],
    ['not there', { names: ['none'] }, 'image.layers.names[0]'],
    ['an unknown key', { names: ['middle'], name: 1 }, 'image.layers.name'],
    ['too many', { names: Array.from({ length: 501 }, (_, index) => `l${index}`) }, 'image.layers.names'],
  ])('are an error that names the option (%s)', async (_, layers, option) => {
    const error = await Container.create({ image: { layers: { directory, ...layers } } }).catch((reason) => reason);
    expect(error).toBeInstanceOf(OptionError);
    expect(error).toMatchObject({ option });
  });

  it('are refused where a name leads through a link', async () => {
    rmSync(join(directory, 'link'), { force: true });
    symlinkSync('middle', join(directory, 'link'));
    const error = await Container.create(stack(['link', base])).catch((reason) => reason);
    expect(error).toMatchObject({ code: 'ERR_STEP', errno: expect.stringMatching(/ELOOP|ENOTDIR/) });
  });
});
