/** Containers of an ordinary user: where what they write is kept, what bounds it, and what is left of it. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OrdinaryUser } from '../support/ordinary-user.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

let user: OrdinaryUser | undefined;
beforeAll(() => {
  if (process.geteuid?.() === 0) user = new OrdinaryUser();
});
afterAll(() => user?.[Symbol.dispose]());

const preamble = `
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { Container } from LIBRARY;
const home = process.env.HOME;
const state = (process.env.XDG_DATA_HOME ?? home + '/.local/share') + '/tscontain/containers';
const list = (path) => existsSync(path) ? readdirSync(path) : undefined;
const sh = (text) => ['sh', '-c', text];
const refusal = (promise) => promise.then(() => 'none', ({ name, message, hint }) => ({ name, message: message.split(' (hint')[0], hint }));
const print = (value) => console.log(JSON.stringify(value));
const disk = { upper: 'disk' };
mkdirSync(home + '/root');
const usr = ['/usr', '/bin', '/lib', '/lib64'].map((path) => ({ type: 'bind', source: path, target: path }));
const over = { image: { rootfs: home + '/root' }, mounts: usr };
`;

describe('storage on disk, as an ordinary user', () => {
  it('is a directory of the user’s, removed with all that a container has closed in it', (context) => {
    OrdinaryUser.needed(context);
    const said = user?.run(
      context,
      `${preamble}
      const seen = [];
      for (const more of [{}, over]) {
        const box = await Container.create({ storage: disk, ...more });
        const { stdout } = await box.exec(sh('mkdir -p /d/closed; echo hi > /d/closed/file; cat /d/closed/file; chmod 0 /d/closed'), { check: true });
        const within = list(state);
        await box.kill();
        for (let i = 0; i < 100 && list(state).length > 0; i++) await new Promise((resolve) => setTimeout(resolve, 20));
        const { upper, bound } = box.inspect().storage;
        seen.push({ stdout, within: within.length, after: list(state), upper, bound });
      }
      print(seen);`,
    );
    const one = { stdout: 'hi\n', within: 1, after: [], upper: 'disk', bound: 'none' };
    expect(said).toEqual([one, one]);
  });

  it('is swept when the program that had the container was killed', (context) => {
    OrdinaryUser.needed(context);
    const said = user?.run(
      context,
      `${preamble}
      const child = spawn(process.execPath, ['--input-type=module', '-e', \`
        import { Container } from LIBRARY;
        const box = await Container.create({ storage: { upper: 'disk' } });
        await box.exec(['sh', '-c', 'mkdir -p /d/closed; touch /d/closed/file; chmod 0 /d/closed'], { check: true });
        console.log('ready');
        setInterval(() => {}, 1000);
      \`], { stdio: ['ignore', 'pipe', 'inherit'] });
      await new Promise((resolve) => child.stdout.once('data', resolve));
      const box = await Container.create({ storage: disk });
      const running = await Container.sweep();
      const children = readFileSync('/proc/' + child.pid + '/task/' + child.pid + '/children', 'utf8').trim().split(' ').map(Number);
      // The launcher too, or it would clear away itself.
      for (const pid of [...children, child.pid]) process.kill(pid, 'SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
      for (let i = 0; i < 100 && children.some((pid) => existsSync('/proc/' + pid + '/exe')); i++) await new Promise((resolve) => setTimeout(resolve, 20));
      const left = list(state).length;
      const swept = await Container.sweep();
      print({ running, left, swept, after: list(state).length });
      await box.kill();`,
    );
    expect(said).toEqual({ running: 0, left: 2, swept: 1, after: 1 });
  });

  it('is refused with a size, which takes root, and nothing is started or made', (context) => {
    OrdinaryUser.needed(context);
    const said = user?.run(
      context,
      `${preamble}
      print({ error: await refusal(Container.create({ storage: { upper: 'disk', size: '1MiB' } })), state: list(state) ?? [] });`,
    );
    expect(said).toEqual({
      error: {
        name: 'UnsupportedError',
        message: "option storage.size: with upper: 'disk' it takes root, who may mount a file system",
        hint: "leave storage.size out, or use upper: 'tmpfs'",
      },
      state: [],
    });
  });

  it('is bounded in memory, in bytes and in files', (context) => {
    OrdinaryUser.needed(context);
    const said = user?.run(
      context,
      `${preamble}
      const seen = [];
      for (const more of [{}, over]) {
        const storage = { upper: 'tmpfs', size: '4MiB', inodes: 400 };
        const { stdout, stderr } = await Container.run(sh('mkdir -p /d; head -c 16M /dev/zero > /d/file; stat -c %s /d/file; rm /d/file; i=0; while touch /d/$i; do i=$((i+1)); done; echo $i'), { storage, ...more });
        const [bytes, files] = stdout.trim().split('\\n').map(Number);
        seen.push([bytes > 3e6 && bytes <= 4 * 2 ** 20, files > 250 && files < 400, stderr.match(/No space left/g)?.length]);
      }
      print(seen);`,
    );
    expect(said).toEqual([
      [true, true, 2],
      [true, true, 2],
    ]);
  });

  it('is refused with what to do where the user has no directory for it', (context) => {
    OrdinaryUser.needed(context);
    const said = user?.run(
      context,
      `${preamble}
      const before = await refusal(Container.run(['/bin/true'], { storage: disk }));
      print({ before, other: (await Container.run(['/bin/true'])).exitCode });`,
      { env: { XDG_DATA_HOME: '/nowhere' } },
    );
    expect(said).toEqual({
      before: {
        name: 'TscontainError',
        message: expect.stringContaining('EBADF'),
        hint: "there is no private directory for storage on disk: set XDG_DATA_HOME, or upper: 'tmpfs'",
      },
      other: 0,
    });
  });
});
