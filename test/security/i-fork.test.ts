/** `fork()` of a container that makes its own files a trap: the copy is made by a process with the rights of neither host nor caller. */

import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Container, TscontainError } from '../../lib/index.js';
import { Agent } from '../../lib/launcher/agent.js';
import { openFlag } from '../../lib/plan/step.js';
import { needsFreezer, needsPrograms, needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

let directory = '';

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tscontain-hostile-fork-'));
  chmodSync(directory, 0o755);
  for (const name of ['root/usr', 'root/data', 'host']) mkdirSync(join(directory, name), { recursive: true });
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(directory, 'root', name));
  writeFileSync(join(directory, 'host/secret'), "the host's\n", { mode: 0o644 });
  writeFileSync(join(directory, 'host/closed'), "the host root's\n", { mode: 0o600 });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function make(): Promise<Container> {
  const usr = { type: 'bind', source: '/usr', target: '/usr' } as const;
  return Container.create({ image: { rootfs: join(directory, 'root') }, mounts: [usr] });
}

const python = (box: Container, text: string) => box.exec(['/usr/bin/python3', '-c', text]);

describe('a fork of a hostile container', () => {
  it('A4, I2: is copied through no link, whatever is swapped for one meanwhile', async (context) => {
    needsPrograms(context, 'python3');
    await using box = await make();
    const swapping = python(
      box,
      `import os
os.chdir('/data'); os.mkdir('place'); open('place/secret', 'w').write("its own\\n"); os.symlink('${directory}/host', 'link')
open('begun', 'w').close()
while True:
    os.rename('place', 'kept'); os.rename('link', 'place'); os.rename('place', 'link'); os.rename('kept', 'place')`,
    );
    const found = { copied: 0, link: 0, failed: 0 };
    try {
      while (!(await box.fs.lstat('/data/begun').catch(() => undefined))) {}
      for (let i = 0; i < 20; i++) {
        const fork = await box.fork({ pause: false }).catch((error) => {
          expect(error).toBeInstanceOf(TscontainError);
          found.failed++;
        });
        if (!fork) continue;
        const script = 'cd /data; find . -type f -name secret -exec cat {} +; find . -type l -printf "%l\\n"';
        const { stdout } = await fork.exec(['/bin/sh', '-c', script], { check: true });
        await fork.kill();
        expect(stdout).not.toContain("the host's");
        found.copied++;
        if (stdout.includes(`${directory}/host`)) found.link++;
      }
    } finally {
      swapping.kill('SIGKILL');
      await swapping.catch(() => {});
    }
    // The control: the links did come with it, as links, and lead where they should lead.
    expect(found.copied).toBeGreaterThan(0);
    expect(found.link).toBeGreaterThan(0);
    expect(readFileSync(join(directory, 'host/secret'), 'utf8')).toBe("the host's\n");
  });

  it('I10: a tree that is too deep is an error with its path, and the container goes on', async (context) => {
    needsPrograms(context, 'python3');
    const deep = (levels: number) => `import os
os.chdir('/data')
for i in range(${levels}): os.mkdir('d'); os.chdir('d')
open('end', 'w').close()`;
    const pause = needsFreezer.has();
    await using box = await make();
    await python(box, deep(500));
    await using fork = await box.fork({ pause }); // the control
    const ends = await fork.exec(['/bin/sh', '-c', 'find /data -name end | wc -l'], { check: true });
    expect(ends.stdout).toBe('1\n');
    await box.exec(['/bin/rm', '-rf', '/data/d'], { check: true });
    await python(box, deep(10_000));
    await expect(box.fork({ pause })).rejects.toMatchObject({
      code: 'ERR_STEP',
      errno: 'ELOOP',
      message: expect.stringContaining('d/d/d'),
    });
    expect((await box.exec(['/bin/echo', 'on'])).stdout).toBe('on\n');
    await box.exec(['/usr/bin/python3', '-c', 'import shutil; shutil.rmtree("/data/d", ignore_errors=True)']);
  });

  it('is copied by a process that has the rights of the two containers, and none over the host', async (context) => {
    needsRoot(context);
    const steps = (path: string) => [
      { kind: 'open', to: 'mount 0', from: null, path, flags: openFlag.RDONLY, resolve: 0 } as const,
    ];
    await using first = await make();
    await using second = await make();
    expect(first.inspect().ids.first).not.toBe(second.inspect().ids.first);
    await using probe = await Agent.start();
    await probe.run(steps(join(directory, 'host/closed'))); // the control: root's own agent may read it
    // The launcher's numbers of the two follow each other; which they are is found out by asking.
    const start = (from: number) =>
      Agent.start({ create: ['user'], ids: 'both', between: { from, into: from + 1 } }).catch(() => undefined);
    let started: Agent | undefined;
    for (let from = 1; from < 500 && !started; from++) started = await start(from);
    if (!started) throw new Error('no agent could be started between the two');
    await using copier = started;
    const map = readFileSync(`/proc/${copier.pid}/uid_map`, 'utf8').trim().split(/\s+/).map(Number);
    expect(map).toEqual([0, second.inspect().ids.first, 65536, 65536, first.inspect().ids.first, 65536]);
    await expect(copier.run(steps(join(directory, 'host/closed')))).rejects.toMatchObject({ errno: 'EACCES' });
  });
});
