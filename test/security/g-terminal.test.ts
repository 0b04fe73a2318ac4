/** Group G of the catalogue: terminals. */

import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Container, OptionError, TscontainError } from '../../lib/index.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { inside, insideOf, makeRoot, outside, over } from './probe.js';

checkResidue();

const ioctl = process.arch === 'x64' ? 16 : 29;

describe('G: terminals', () => {
  it('G1: no input can be pushed into a terminal, and the terminal inside is the container’s own', async (context) => {
    needsRoot(context);
    const push = `
byte = ctypes.create_string_buffer(b'x')
answer([call(${ioctl}, 0, 0x5412, byte), call(${ioctl}, 0, 0x541c, byte), call(${ioctl}, 0, 0x5412 | 1 << 32, byte),
        os.major(os.fstat(0).st_rdev), os.getsid(0) == os.getpid(), os.tcgetpgrp(0) == os.getpgrp()])`;
    await using box = await Container.create();
    const verdict = await insideOf<unknown[]>(box, push, { tty: true });
    expect(verdict).toEqual(['EPERM', 'EPERM', 'EPERM', 136, true, true]);
    // Outside, the same calls get past the filter: the one succeeds or is switched off by a sysctl, the other is for consoles.
    const control = outside<string[]>(`
import pty
master, slave = pty.openpty()
os.setsid()
fcntl.ioctl(slave, 0x540E, 0)
os.dup2(slave, 0)
${push.replace(/\n {8}os.major.*\)\]\)/, '])').replace('byte),])', 'byte)])')}`);
    expect(['OK', 'EIO']).toContain(control[0]);
    expect(['ENOTTY', 'EINVAL']).toContain(control[1]);
    // Without a terminal asked for there is none.
    expect(await inside(`answer([opens('/dev/tty', os.O_RDWR), os.isatty(0), os.isatty(1)])`)).toEqual([
      'ENXIO',
      false,
      false,
    ]);
  });

  it('G2: the pty comes from the container’s own devpts, whatever the root has as ptmx', async (context) => {
    needsRoot(context);
    const root = makeRoot();
    mkdirSync(`${root}/dev`);
    writeFileSync(`${root}/dev/ptmx`, 'not a terminal');
    await using box = await Container.create(over(root));
    const probe = `
s = os.fstat(0)
t = os.stat(os.ttyname(0))
m = os.stat('/dev/ptmx')
answer([os.minor(s.st_rdev), (s.st_dev, s.st_ino) == (t.st_dev, t.st_ino), os.major(m.st_rdev), os.minor(m.st_rdev), s.st_uid])`;
    expect(await insideOf(box, probe, { tty: true })).toEqual([0, true, 5, 2, 0]);
    expect(await insideOf(box, probe, { tty: true, user: 1000 })).toEqual([expect.any(Number), true, 5, 2, 1000]);
    expect(readFileSync(`${root}/dev/ptmx`, 'utf8')).toBe('not a terminal');
  });

  it('G3: the number of terminals is bounded, and the host gets its own back', async () => {
    const count = () => Number(readFileSync('/proc/sys/kernel/pty/nr', 'utf8'));
    const probe = `
masters = []
try:
    while len(masters) < 200: masters.append(os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY))
except OSError as error: pass
answer(len(masters))`;
    const before = count();
    expect(await inside(probe)).toBe(64);
    const deadline = Date.now() + 2000;
    while (count() > before && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(count()).toBeLessThanOrEqual(before);
    expect(outside(probe)).toBe(200);
  });

  it('G4: standard streams that are not terminals keep their owner', async (context) => {
    needsRoot(context);
    const facts = () => [statSync('/dev/null').uid, statSync('/dev/null').mode, statSync('/dev/null').ctimeMs];
    const before = facts();
    await using box = await Container.create();
    const owner = `answer([os.fstat(0).st_uid, os.major(os.fstat(0).st_rdev)])`;
    expect(await insideOf(box, owner, { user: 1000 })).toEqual([65534, 1]);
    expect(await insideOf(box, owner, { user: 1000, tty: true })).toEqual([1000, 136]);
    expect(facts()).toEqual(before);
  });

  it('G5: no byte of a name reaches the terminal as a command', async () => {
    const evil = '\x1b]0;owned\x07\n\r\x9b2J';
    const errors: unknown[] = [];
    const note = (error: unknown) => errors.push(error);
    await Container.plan({ name: evil }).catch(note);
    await Container.plan({ mounts: [{ type: 'bind', source: evil, target: '/x' }] }).catch(note);
    await Container.plan({ env: { [evil]: '1' } }).catch(note);
    await Container.run([`/bin/${evil}`]).catch(note);
    await Container.run(['/bin/true'], {
      cwd: `/${evil}`,
      user: 1000,
      mounts: [{ type: 'tmpfs', target: '/x' }],
    }).catch(note);
    await Container.run(['/bin/true'], { image: { rootfs: `/${evil}` } }).catch(note);
    expect(errors.length).toBeGreaterThanOrEqual(5);
    for (const error of errors) {
      expect(error).toBeInstanceOf(TscontainError);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
      if (error instanceof Error) expect(error.message).not.toMatch(/[\x00-\x1f\x7f-\x9f]/);
    }
    expect(errors[0]).toBeInstanceOf(OptionError);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
    expect(evil).toMatch(/[\x00-\x1f\x7f-\x9f]/);
  });
});
