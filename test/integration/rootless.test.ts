/**
 * Containers and images of an ordinary user: which ids they have, where what they write is kept, what bounds it, and what is
 * left of it.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ada, granted, OrdinaryUser, type RunAsOptions } from '../support/ordinary-user.js';
import { needsPrograms } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { systemLayer } from '../support/system.js';
import { directory, file, tar } from '../support/tar.js';

checkResidue();

let user: OrdinaryUser | undefined;
beforeAll(() => {
  if (process.geteuid?.() === 0) user = new OrdinaryUser();
});
afterAll(() => user?.[Symbol.dispose]());

const preamble = `
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { Container, Image, ImageStore, IdMap, Namespace } from LIBRARY;
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

/** Every way to have ids that a user has. */
const grants: readonly (readonly [string, RunAsOptions])[] = [
  ['granted ids', granted],
  ['one id', {}],
];

describe('ids of an ordinary user', () => {
  it('are the user and those that are granted, with groups, on disk too', (context) => {
    OrdinaryUser.needed(context);
    needsPrograms(context, 'newuidmap', 'newgidmap');
    const said = user?.run(
      context,
      `${preamble}
      const box = await Container.create({ storage: disk });
      const { stdout } = await box.exec(sh('cat /proc/self/uid_map /proc/self/gid_map; mkdir /d; touch /d/own /d/other /d/last; chown 33:44 /d/other; chown 65535:65535 /d/last; stat -c %u:%g /d/*'), { check: true });
      const as = await box.exec(['id', '-G'], { user: '1000:1001' });
      const [name] = list(state);
      const owner = (file) => { const { uid, gid } = lstatSync(state + '/' + name + '/upper/d/' + file); return uid + ':' + gid; };
      const owners = ['own', 'other', 'last'].map(owner);
      const { ids, relaxations } = box.inspect();
      await box.kill();
      const own = { lines: stdout.trim().split('\\n').map((line) => line.trim().replace(/ +/g, ' ')), groups: as.stdout.trim(), owners };
      print({ ...own, ids, relaxed: relaxations.filter((text) => text.startsWith('ids: ')) });`,
      granted,
    );
    const { uid, gid, uids, gids } = ada;
    expect(said).toEqual({
      lines: [`0 ${uid} 1`, `1 ${uids} 65535`, `0 ${gid} 1`, `1 ${gids} 65535`, '65535:65535', '33:44', '0:0'],
      groups: '1001',
      owners: [`${uid}:${gid}`, `${uids + 32}:${gids + 43}`, `${uids + 65534}:${gids + 65534}`],
      ids: {
        first: uid,
        count: 65536,
        kind: 'subordinate',
        maps: {
          uid: [
            { inside: 0, outside: uid, count: 1 },
            { inside: 1, outside: uids, count: 65535 },
          ],
          gid: [
            { inside: 0, outside: gid, count: 1 },
            { inside: 1, outside: gids, count: 65535 },
          ],
        },
      },
      relaxed: [expect.stringContaining('all containers of this user have the same ids')],
    });
  });

  it.for<readonly [string, RunAsOptions, string]>([
    ['nothing is granted', {}, '/etc/subuid grants ada (1234) no ids; as root: usermod --add-subuids'],
    ['a file cannot be understood', { ...granted, subuid: 'ada:x:1\n' }, 'is not of the form name:first:count'],
    ['what is granted is too little', { ...granted, subgid: 'ada:400000:500\n' }, 'fewer than 1000 ids (500)'],
  ])('are one where %s, and it is said why', ([, options, why], context) => {
    OrdinaryUser.needed(context);
    const said = user?.run(
      context,
      `${preamble}
      const box = await Container.create();
      const { stdout, exitCode } = await box.exec(sh('cat /proc/self/uid_map; touch /f; chown 33 /f 2>/dev/null'));
      const { ids, relaxations } = box.inspect();
      await box.kill();
      print({ map: stdout.trim().split(/ +/), exitCode, ids, why: relaxations.find((text) => text.startsWith('ids: ')) });`,
      options,
    );
    expect(said).toEqual({
      map: ['0', String(ada.uid), '1'],
      exitCode: 1,
      ids: { first: ada.uid, count: 1, kind: 'single' },
      why: expect.stringContaining(why),
    });
  });

  it('are mapped in a Namespace too, as far as they are granted', (context) => {
    OrdinaryUser.needed(context);
    needsPrograms(context, 'newuidmap', 'newgidmap');
    const said = user?.run(
      context,
      `${preamble}
      const make = async (idMap) => {
        const namespace = await Namespace.create(['user'], { idMap }).catch((error) => error);
        if (namespace instanceof Error) return namespace.name + ': ' + namespace.message;
        await namespace[Symbol.asyncDispose]?.();
        return 'made';
      };
      const maps = IdMap.subordinate();
      const beyond = { ...maps, uid: [{ inside: 0, outside: 300000, count: 65537 }] };
      print([await make(maps), await make(beyond), await make({ ...maps, gid: [{ inside: 0, outside: 0, count: 1 }] })]);`,
      granted,
    ) as string[];
    expect(said[0]).toBe('made');
    expect(said[1]).toMatch(
      /^PermissionError: .*newuidmap: uid range \[0-65537\) -> \[300000-365537\) not allowed.*EPERM/,
    );
    expect(said[2]).toMatch(/^PermissionError: .*newgidmap: gid range \[0-1\) -> \[0-1\) not allowed.*EPERM/);
  });
});

describe('forks of an ordinary user', () => {
  it.for(grants)('have the files and their owners, with %s', ([, options], context) => {
    OrdinaryUser.needed(context);
    const subordinate = options === granted;
    if (subordinate) needsPrograms(context, 'newuidmap', 'newgidmap');
    const said = user?.run(
      context,
      `${preamble}
      const box = await Container.create({ ...over, storage: disk });
      await box.exec(sh('mkdir /d; echo a > /d/a; ${subordinate ? 'chown 33:44 /d/a; ' : ''}chmod 640 /d/a'), { check: true });
      const fork = await box.fork({ pause: false });
      await box.kill();
      const { stdout } = await fork.exec(sh('cat /d/a; stat -c %u:%g:%a /d/a'), { check: true });
      await fork.kill();
      print(stdout);`,
      options,
    );
    expect(said).toBe(subordinate ? 'a\n33:44:640\n' : 'a\n0:0:640\n');
  });
});

describe('images of an ordinary user', () => {
  const owned = () =>
    tar(
      systemLayer().subarray(0, -1024),
      file('a', 'a', { uid: 33, gid: 44, mode: 0o4755 }),
      directory('closed/', { uid: 500, gid: 501, mode: 0o700 }),
      directory('shared/', { mode: 0o1777 }),
      file('closed/b', 'b', { uid: 500, gid: 501, mode: 0o600 }),
    );

  it.for(grants)(
    'have owners as far as there are ids, with %s, and end with what is left of them',
    ([, options], context) => {
      OrdinaryUser.needed(context);
      const subordinate = options === granted;
      if (subordinate) needsPrograms(context, 'newuidmap', 'newgidmap');
      if (!user) return;
      writeFileSync(join(user.folder, 'image.tar'), owned());
      const said = user.run(
        context,
        `${preamble}
      const store = await ImageStore.default();
      await Image.fromTar('${user.folder}/image.tar', { as: 'own', config: { cmd: ['/bin/sh'] } });
      const box = await Container.create({ image: 'own', storage: disk, pull: 'never' });
      const stat = await box.exec(['stat', '-c', '%n %u:%g %a', '/a', '/closed', '/closed/b'], { check: true });
      const [name, ...others] = list(store.path + '/layers');
      const top = store.path + '/layers/' + name + '/root/';
      const disks = ['a', 'closed'].map((file) => { const { uid, gid, mode } = lstatSync(top + file); return [uid, gid, (mode & 0o7777).toString(8)].join(':'); });
      const worker = await box.exec(sh('cat /closed/b; id -u; id -G; echo new > /shared/new'), ${subordinate ? "{ user: 'worker' }" : '{}'});
      const changes = [];
      for await (const { kind, path } of box.changes()) changes.push(kind + ' ' + path);
      const next = await box.commit({ reference: 'next', pause: false });
      await box.kill();
      const again = await Container.run(['stat', '-c', '%n %u:%g', '/shared/new', '/closed/b'], { image: 'next', pull: 'never' });
      const usage = await store.diskUsage();
      const problems = await store.verify({ content: true });
      for (const reference of ['own', 'next']) await store.remove(reference, { force: true });
      for (let i = 0; i < 100 && list(state).length > 0; i++) await new Promise((resolve) => setTimeout(resolve, 20));
      await store.close();
      const left = [list(store.path + '/layers'), list(store.path + '/tmp'), list(state)];
      print({ stat: stat.stdout, variant: name.slice(64), others, disks, worker: worker.stdout, changes, again: again.stdout, problems, left });`,
        options,
      );
      const { uid, gid, uids, gids } = ada;
      const all = {
        others: [],
        changes: ['added /shared/new'],
        problems: [],
        left: [[], [], []],
      };
      expect(said).toEqual(
        subordinate
          ? {
              ...all,
              stat: '/a 33:44 4755\n/closed 500:501 700\n/closed/b 500:501 600\n',
              variant: expect.stringMatching(/^\.ids-[0-9a-f]{16}$/),
              disks: [`${uids + 32}:${gids + 43}:4755`, `${uids + 499}:${gids + 500}:700`],
              worker: 'b500\n501\n',
              again: '/shared/new 500:501\n/closed/b 500:501\n',
            }
          : {
              ...all,
              stat: '/a 0:0 4755\n/closed 0:0 700\n/closed/b 0:0 600\n',
              variant: '',
              disks: [`${uid}:${gid}:4755`, `${uid}:${gid}:700`],
              worker: 'b0\n0\n',
              again: '/shared/new 0:0\n/closed/b 0:0\n',
            },
      );
    },
  );
});
