/** Group K of the catalogue: the two programs that the library has write id maps, and what an ordinary user's ids lead to. */

import { chmodSync, chownSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errnoName } from '../../lib/errors.js';
import { launcherConfiguration } from '../../lib/host/configuration.js';
import { findMapHelper } from '../../lib/host/ids.js';
import { launcher } from '../../lib/launcher/launcher.js';
import { addon } from '../../lib/launcher/native.js';
import { cloneFlag } from '../../lib/plan/step.js';
import { ada, granted, OrdinaryUser } from '../support/ordinary-user.js';
import { needsPrograms, needsRoot, needsSetuid } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

let user: OrdinaryUser | undefined;
let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tscontain-helpers-'));
  chmodSync(folder, 0o755);
  if (process.geteuid?.() === 0) user = new OrdinaryUser();
});
afterAll(() => {
  user?.[Symbol.dispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** How the launcher answers to a request for a user namespace whose map these programs are to write. */
function ask(helper: string, uid = '0 0 1\n'): Promise<string> {
  const [mine, peer] = addon().socketPair();
  const nothing = { common: new Uint8Array(0), own: new Uint8Array(0) };
  return new Promise((resolve) => {
    const to = launcher(launcherConfiguration);
    let number = 0;
    const end = (answer: string) => {
      mine.close();
      resolve(answer);
    };
    const request = {
      cloneFlags: cloneFlag.NEWUSER,
      hierarchies: [],
      ids: { uid, gid: '0 0 1\n', denySetgroups: false, helpers: { uid: helper, gid: '/usr/bin/newgidmap' } },
      agent: true,
      writes: [],
      host: nothing,
      init: nothing,
      socket: peer,
    };
    let answer = 'gone';
    number = to.create(request, {
      created: () => {
        answer = 'mapped';
        to.kill(number);
      },
      failed: ({ errno, text }) => end(`${errnoName(errno)} ${text}`),
      gone: () => end(answer),
      oom: () => {},
    });
    peer.close();
  });
}

/** What the map of a container is, and whether a program of another's was run for it. */
const map = `
import { existsSync } from 'node:fs';
import { Container } from LIBRARY;
const { exitCode, stdout } = await Container.run(['cat', '/proc/self/uid_map']);
const marks = existsSync(process.env.HOME + '/mark');
console.log(JSON.stringify({ exitCode, lines: stdout.trim().split('\\n').map((line) => line.trim().replace(/ +/g, ' ')), marks }));`;

/** Leaves a mark where it is run, and does what it stands for. */
const counterfeit = `mkdir -p evil; printf '#!/bin/sh\\ntouch ${'$'}HOME/mark /tmp/mark; exec /usr/bin/newuidmap "$@"\\n' > evil/newuidmap
  cp evil/newuidmap evil/newgidmap; chmod 755 evil evil/*;`;

describe('K: programs that write id maps', () => {
  it('K2: only what root alone can change, and what has the privilege, is taken for newuidmap', (context) => {
    needsRoot(context);
    needsPrograms(context, 'newuidmap');
    needsSetuid(context, tmpdir());
    const put = (name: string, { mode = 0o4755, uid = 0, folderMode = 0o755 }) => {
      const place = join(folder, name);
      mkdirSync(place);
      cpSync('/usr/bin/newuidmap', join(place, 'newuidmap'));
      chownSync(join(place, 'newuidmap'), uid, 0);
      chmodSync(join(place, 'newuidmap'), mode);
      chmodSync(place, folderMode);
      return place;
    };
    const good = put('good', {});
    const bad = [
      put('without-privilege', { mode: 0o755 }),
      put('of-another', { uid: 1234 }),
      put('for-the-group', { mode: 0o4775 }),
      put('for-all', { mode: 0o4757 }),
      put('in-a-shared-folder', { folderMode: 0o777 }),
    ];
    const linked = join(folder, 'linked');
    mkdirSync(linked);
    symlinkSync(join(good, 'newuidmap'), join(linked, 'newuidmap'));
    expect(findMapHelper('newuidmap', [good])).toBe(join(good, 'newuidmap'));
    for (const place of [...bad, linked, join(folder, 'none')])
      expect(findMapHelper('newuidmap', [place]), place).toBeUndefined();
    expect(findMapHelper('newuidmap', [...bad, linked, good])).toBe(join(good, 'newuidmap'));
  });

  it('K2: the launcher executes no other program, whatever it is told, and only with numbers', async (context) => {
    needsRoot(context);
    needsPrograms(context, 'newuidmap', 'newgidmap');
    needsSetuid(context, tmpdir());
    const place = join(folder, 'asked');
    mkdirSync(place, { mode: 0o755 });
    const copy = (name: string, mode: number, uid = 0) => {
      const path = join(place, name);
      cpSync('/usr/bin/newuidmap', path);
      chownSync(path, uid, 0);
      chmodSync(path, mode);
      return path;
    };
    const good = copy('good', 0o4755);
    expect(await ask(good)).toBe('mapped');
    symlinkSync(good, join(place, 'link'));
    expect(await ask(join(place, 'link'))).toBe('EACCES newuidmap');
    expect(await ask(copy('plain', 0o755))).toBe('EACCES newuidmap');
    expect(await ask(copy('shared', 0o4775))).toBe('EACCES newuidmap');
    expect(await ask(copy('of-another', 0o4755, 1234))).toBe('EACCES newuidmap');
    expect(await ask('newuidmap')).toBe('EINVAL newuidmap');
    expect(await ask(join(place, 'none'))).toBe('ENOENT newuidmap');
    expect(await ask(good, '0 0 1\n-h 1 1\n')).toBe('EINVAL newuidmap');
    expect(await ask(good, '0 0\n')).toBe('EINVAL newuidmap');
    expect(await ask(good, '0 0 1\n'.repeat(65))).toBe('E2BIG newuidmap');
    expect(await ask(good, '0 4000000000 5\n')).toMatch(/^EPERM newuidmap: uid range .* not allowed/);
    chmodSync(place, 0o777);
    expect(await ask(good)).toBe('EACCES newuidmap');
    chmodSync(place, 0o755);
    expect(await ask(good)).toBe('mapped');
  });

  it('K2: one that does not end is ended, and what the other has done counts for nothing', async (context) => {
    needsRoot(context);
    needsPrograms(context, 'newuidmap', 'newgidmap');
    needsSetuid(context, tmpdir());
    const place = join(folder, 'slow');
    mkdirSync(place, { mode: 0o755 });
    cpSync('/bin/sleep', join(place, 'sleep'));
    chmodSync(join(place, 'sleep'), 0o4755);
    // Its arguments are numbers of seconds, one of them the number of a process.
    const before = performance.now();
    expect(await ask(join(place, 'sleep'))).toBe('ETIMEDOUT newuidmap');
    expect(performance.now() - before).toBeGreaterThan(4900);
  });

  it('K2: a program of that name that comes first in PATH is not run', (context) => {
    OrdinaryUser.needed(context);
    needsPrograms(context, 'newuidmap', 'newgidmap');
    const path = `${user?.folder}/evil:${process.env.PATH}`;
    const options = { ...granted, env: { PATH: path }, prepare: counterfeit };
    const said = user?.run(context, map, options);
    const lines = [`0 ${ada.uid} 1`, `1 ${ada.uids} 65535`];
    expect(said).toEqual({ exitCode: 0, lines, marks: false });
    // Whoever asks PATH does run it.
    const asked = user?.run(
      context,
      `import { spawnSync } from 'node:child_process';
      import { existsSync } from 'node:fs';
      spawnSync('newuidmap', ['1', '0', '0', '1']);
      console.log(JSON.stringify(existsSync(process.env.HOME + '/mark')));`,
      options,
    );
    expect(asked).toBe(true);
  });

  it('K2: where the programs are of another, the next place counts, and without one there is a single id', (context) => {
    OrdinaryUser.needed(context);
    needsPrograms(context, 'newuidmap', 'newgidmap');
    const prepare = `${counterfeit} mkdir -p places; cp -a /usr/bin/newuidmap /usr/bin/newgidmap places; mount --bind places /usr/local/bin
      for name in newuidmap newgidmap; do mount --bind evil/$name /usr/bin/$name; done; chown ${ada.uid} evil evil/*`;
    const two = user?.run(context, map, { ...granted, prepare });
    expect(two).toEqual({ exitCode: 0, lines: [`0 ${ada.uid} 1`, `1 ${ada.uids} 65535`], marks: false });
    const none = user?.run(context, map, { ...granted, prepare: `${prepare}; chmod 755 places/*` });
    expect(none).toEqual({ exitCode: 0, lines: [`0 ${ada.uid} 1`], marks: false });
  });
});
