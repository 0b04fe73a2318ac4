/** What is taken of an image's configuration, where Docker takes the same: users, variables, directories, volumes. */

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Container, type ContainerOptions, Image, ImageStore } from '../../../lib/index.js';
import { getXattr } from '../../../lib/primitives/xattr.js';
import { LayoutWriter, named, TemporaryDirectory } from '../../support/layout.js';
import { needsLoopFiles, needsRoot, needsUpperOnDisk } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';
import { systemLayer } from '../../support/system.js';
import { directory, file, hardLink, symlink, type TarMember, tar } from '../../support/tar.js';

checkResidue();

let temporary: TemporaryDirectory;
let layout: LayoutWriter;
let store: ImageStore;
let system: Buffer;
let count = 0;

beforeAll(async () => {
  temporary = new TemporaryDirectory();
  layout = new LayoutWriter(temporary);
  store = await ImageStore.open({ path: temporary.at('store') });
  system = systemLayer();
});
afterAll(async () => {
  await store.close();
  temporary.dispose();
});

/** An image of the system, with this configuration and these files over it. */
async function make(config: object = {}, ...members: TarMember[]): Promise<Image> {
  const name = `made:${count++}`;
  const layers = members.length > 0 ? [system, tar(...members)] : [system];
  layout.image({ layers, config, annotations: named(name) });
  return Image.open(layout.path, name, { store, platform: 'linux/amd64' });
}

const sh = (script: string): [string, ...string[]] => ['sh', '-c', script];

describe('the user of an image', () => {
  beforeEach(needsRoot);
  const passwd = 'root:x:0:0::/root:\nworker:x:500:501::/home/worker:\nnumbers:x:600:601::/n:\n';
  const accounts = [file('etc/passwd', passwd), file('etc/group', 'root:x:0:\nmore:x:700:numbers,root\n')];

  it.each([
    ['worker', '500:501:501:/home/worker'],
    ['500', '500:501:501:/home/worker'],
    ['numbers', '600:601:601 700:/n'],
    ['600:more', '600:700:700:/n'],
    ['1234', '1234:0:0:/'],
    ['1234:5', '1234:5:5:/'],
    [undefined, '0:0:0 700:/root'],
  ])('%s is who Docker makes of it', async (User, expected) => {
    const image = await make(User === undefined ? {} : { User }, ...accounts);
    const who = sh('echo $(id -u):$(id -g):$(id -G):$HOME');
    expect((await Container.run(who, { image })).stdout.trim()).toBe(expected);
    await using box = await Container.create({ image });
    expect((await box.exec(who)).stdout.trim()).toBe(expected);
    // A caller's own number is what it says, and no more.
    expect((await box.exec(who, { user: 600 })).stdout.trim()).toBe('600:600:600:/');
  });

  it('is found by a link, and in files that are not there', async () => {
    const linked = [file('etc/other', passwd), symlink('etc/passwd', 'other')];
    const who = sh('echo $(id -u):$(id -g)');
    expect((await Container.run(who, { image: await make({ User: 'worker' }, ...linked) })).stdout).toBe('500:501\n');
    const gone = [file('etc/.wh.passwd', ''), file('etc/.wh.group', '')];
    expect((await Container.run(who, { image: await make({ User: '9' }, ...gone) })).stdout).toBe('9:0\n');
    const image = await make({ User: 'worker' }, ...gone);
    await expect(Container.run(who, { image })).rejects.toMatchObject({ code: 'ERR_CONFIG' });
    await expect(Container.run(who, { image })).rejects.toThrow(/it has no account worker/);
  });

  it('is the one that a program has made meanwhile', async () => {
    await using box = await Container.create({ image: await make({ User: '77' }, ...accounts) });
    expect((await box.exec(['id', '-u'])).stdout).toBe('77\n');
    await box.fs.writeFile('/etc/passwd', 'late:x:80:81::/:\n');
    expect((await box.exec(sh('echo $(id -u):$(id -g)'), { user: 'late' })).stdout).toBe('80:81\n');
  });
});

describe('the variables of a container of an image', () => {
  it('are PATH, HOSTNAME and HOME as Docker gives them, unless the image or the caller does', async () => {
    const variables = async (config: object, options: ContainerOptions = {}) => {
      const image = await make(config);
      const { stdout } = await Container.run(['cat', '/proc/self/environ'], { image, hostname: 'own', ...options });
      return Object.fromEntries(stdout.split('\0').map((entry) => entry.split('=')));
    };
    const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    expect(await variables({})).toMatchObject({ PATH, HOSTNAME: 'own', HOME: '/root' });
    const Env = ['HOME=/mine', 'PATH=/bin', 'HOSTNAME=theirs'];
    expect(await variables({ Env })).toMatchObject({ PATH: '/bin', HOSTNAME: 'theirs', HOME: '/mine' });
    expect(await variables({ Env }, { env: { HOME: '/caller' } })).toMatchObject({ HOME: '/caller' });
  });
});

describe('the working directory of an image', () => {
  it.each([
    ['/made/deep', '/made/deep'],
    ['/a//b/../c/', '/a/c'],
    ['/linked/deep', '/run/deep'],
    ['/up/deep', '/run/deep'],
    ['/dangling/deep', '/not/there/deep'],
    ['/chain', '/not/there/at/all'],
    ['/there', '/there'],
  ])('%s is %s inside', async (WorkingDir, expected) => {
    const image = await make(
      { WorkingDir },
      directory('run/'),
      directory('there/', { mode: 0o700 }),
      symlink('linked', '/run'),
      symlink('up', '../../run'),
      symlink('dangling', 'not/there'),
      symlink('chain', '/dangling/../there/at/all'),
    );
    const { stdout } = await Container.run(sh('pwd -P; stat -c %u:%g:%a .'), { image });
    expect(stdout).toBe(`${expected}\n0:0:${expected === '/there' ? 700 : 755}\n`);
    // A caller's own is what it says.
    expect((await Container.run(sh('pwd -P'), { image, cwd: '/tmp' })).stdout).toBe('/tmp\n');
  });
});

describe('a volume of an image', () => {
  const content = [
    directory('data/', { mode: 0o2770, uid: 500, gid: 501 }),
    file('data/file', 'of the image', {
      mode: 0o640,
      uid: 7,
      gid: 8,
      mtime: 1_000_000_000,
      xattrs: { 'user.note': 'kept' },
    }),
    hardLink('data/same', 'data/file'),
    symlink('data/link', '/etc/passwd'),
    directory('data/deep/'),
    file('data/deep/file', 'below'),
  ];
  const Volumes = { '/data': {} };
  const places = async (box: Container) => {
    const { stdout } = await box.exec(['cat', '/proc/self/mountinfo'], { user: 0 });
    return stdout.split('\n').map((line) => line.split(' ')[4]);
  };

  it('begins with what the image has there, to the attribute', async (context) => {
    needsRoot(context);
    await using box = await Container.create({ image: await make({ Volumes }, ...content) });
    expect(await places(box)).toContain('/data');
    const look = 'stat -c "%u:%g:%a %h %Y" /data /data/file /data/same; cat /data/deep/file; stat -c %N /data/link';
    const plain = await Container.run(sh(look), { image: await make({}, ...content) });
    const { stdout } = await box.exec(sh(look));
    expect(stdout).toBe(plain.stdout);
    expect(stdout).toMatch(/^500:501:2770 .*\n7:8:640 2 1000000000\n7:8:640 2 1000000000\nbelow/);
    const inside = `/proc/${box.inspect().pid}/root/data/file`;
    expect(getXattr(inside, 'user.note')?.toString()).toBe('kept');
  });

  it('is no part of the layer: neither changed, nor exported, nor committed, and of this container alone', async () => {
    const image = await make({ Volumes }, ...content);
    await using box = await Container.create({ image });
    await box.exec(sh('echo new > /data/file; echo more > /data/more; echo y > /tmp/y'), { check: true });
    const changed: string[] = [];
    for await (const { path } of box.changes()) changed.push(path);
    expect(changed).not.toEqual(expect.arrayContaining([expect.stringMatching(/^\/data/)]));
    expect(changed).toContain('/tmp/y');
    const tarBytes: Uint8Array[] = [];
    for await (const piece of box.export()) tarBytes.push(piece);
    const exported = Buffer.concat(tarBytes);
    expect(exported.includes('data/more')).toBe(false);
    expect(exported.includes('of the image')).toBe(true);
    const committed = await box.commit({ store, pause: false });
    expect(committed.config.volumes).toEqual(['/data']);
    for (const other of [image, committed]) {
      expect((await Container.run(sh('cat /data/file; ls /data'), { image: other })).stdout).not.toContain('more');
    }
  });

  it('is made where the image has nothing, behind links, and within another', async () => {
    const image = await make(
      { Volumes: { '/var/run/own': {}, '/data/deep': {}, '/data': {}, '/new/place': {} } },
      ...content,
      directory('run/'),
      symlink('var', 'lib'),
      symlink('lib/run', '/run'),
    );
    await using box = await Container.create({ image });
    expect(await places(box)).toEqual(expect.arrayContaining(['/data', '/data/deep', '/run/own', '/new/place']));
    const script = 'echo a > /new/place/a && echo b > /run/own/b && cat /data/file /data/deep/file && ls /var/run/own';
    expect((await box.exec(sh(script))).stdout).toBe('of the imagebelowb\n');
    expect((await box.exec(sh('stat -c %u:%g:%a /new/place'))).stdout).toBe('0:0:755\n');
  });

  it('gives way to a mount of the caller, there or above', async () => {
    const image = await make({ Volumes: { '/data': {}, '/data/deep': {}, '/other': {} } }, ...content);
    const own = { type: 'tmpfs', target: '/data' } as const;
    await using box = await Container.create({ image, mounts: [own] });
    expect((await places(box)).filter((path) => path?.startsWith('/data'))).toEqual(['/data']);
    expect((await box.exec(['ls', '/data'])).stdout).toBe('');
    await using below = await Container.create({ image, mounts: [{ ...own, target: '/data/deep' }] });
    expect((await places(below)).filter((path) => path?.startsWith('/data'))).toEqual(['/data', '/data/deep']);
    expect((await below.exec(sh('cat /data/file; ls /data/deep'))).stdout).toBe('of the image');
  });

  it('is bounded together with what else is written', async () => {
    const image = await make({ Volumes }, ...content);
    const storage = { upper: 'tmpfs', size: '1MiB' } as const;
    await using box = await Container.create({ image, storage });
    const fill = 'while echo "$0$0$0$0$0$0$0$0" 2>/dev/null; do :; done > "$1/fill"; stat -c %s "$1/fill"';
    const argument = 'x'.repeat(1000);
    const { stdout } = await box.exec(['sh', '-c', fill, argument, '/data']);
    expect(Number(stdout)).toBeGreaterThan(500_000);
    expect(Number(stdout)).toBeLessThan(1_048_576);
    expect(Number((await box.exec(['sh', '-c', fill, argument, '/tmp'])).stdout)).toBeLessThan(100_000);
    const large = await make({ Volumes }, file('data/large', randomBytes(3_000_000)));
    await expect(Container.create({ image: large, storage })).rejects.toMatchObject({
      code: 'ERR_STEP',
      errno: 'ENOSPC',
      hint: expect.stringContaining('storage.size'),
    });
    await using roomy = await Container.create({ image: large, storage: { ...storage, size: '5MiB' } });
    expect((await roomy.exec(sh('stat -c %s /data/large'))).stdout).toBe('3000000\n');
  });

  it.for([
    [{ upper: 'disk' }, needsUpperOnDisk],
    [{ upper: 'disk', size: '8MiB' }, needsLoopFiles],
  ] as const)('is on disk where the rest is: %j', async ([storage, needs], context) => {
    needsRoot(context);
    needs(context);
    const image = await make({ Volumes, User: '500' }, ...content);
    await using box = await Container.create({ image, storage });
    expect(await places(box)).toContain('/data');
    const { stdout } = await box.exec(sh('echo x > /data/own; stat -c %u:%g:%a /data /data/own'));
    expect(stdout).toBe('500:501:2770\n500:501:644\n');
    expect((await box.exec(['cat', '/data/file'], { user: 0 })).stdout).toBe('of the image');
  });
});

describe('the program of an image', () => {
  const Entrypoint = ['/bin/sh', '-c', 'echo "$0 $*"', 'first'];
  const say = async (config: object, argv?: [string, ...string[]], entrypoint?: 'image' | [string, ...string[]]) => {
    const options = { image: await make(config), ...(entrypoint && { entrypoint }) };
    const { stdout } = await Container.run(argv, options);
    await using box = await Container.create({ image: options.image });
    expect((await box.exec(argv, entrypoint ? { entrypoint } : {})).stdout).toBe(stdout);
    return stdout.trim();
  };

  it('is Entrypoint with Cmd; what is given is a program of its own, or takes the place of Cmd', async () => {
    const config = { Entrypoint, Cmd: ['a', 'b'] };
    expect(await say(config)).toBe('first a b');
    expect(await say(config, ['cat', '/etc/group'])).not.toContain('first');
    expect(await say(config, ['c d'], 'image')).toBe('first c d');
    expect(await say(config, undefined, 'image')).toBe('first a b');
    expect(await say(config, ['x'], ['/bin/sh', '-c', 'echo own "$0"'])).toBe('own x');
    // With a program of the caller's, nothing of the image's is left.
    expect(await say(config, undefined, ['/bin/sh', '-c', 'echo own "$*"'])).toBe('own');
    expect(await say({ Cmd: ['/bin/sh', '-c', 'echo cmd'] })).toBe('cmd');
    expect(await say({ Cmd: ['sleep'] }, ['/bin/sh', '-c', 'echo alone'], 'image')).toBe('alone');
    expect(await say({ Entrypoint: '/bin/ls', Cmd: ['/etc/group'] })).toBe('/etc/group');
  });

  it('is an error that names the option where there is none', async () => {
    const option = (name: string) => expect.objectContaining({ code: 'ERR_OPTION', option: name });
    for (const config of [{}, { Entrypoint: [], Cmd: [] }, { Entrypoint: null, Cmd: null }]) {
      await expect(Container.run(undefined, { image: await make(config) })).rejects.toEqual(option('argv'));
      await expect(Container.run(undefined, { image: await make(config), entrypoint: 'image' })).rejects.toEqual(
        option('argv'),
      );
    }
    const empty = { image: await make({ Entrypoint: [''] }) };
    await expect(Container.run(undefined, empty)).rejects.toMatchObject({ code: 'ERR_CONFIG' });
    await expect(Container.run(['true'], { entrypoint: 'image' })).rejects.toEqual(option('entrypoint'));
    for (const entrypoint of ['/bin/sh', [], [''], 5, ['sh', 1]]) {
      const refused = Container.run(['true'], { entrypoint: entrypoint as never });
      await expect(refused, JSON.stringify(entrypoint)).rejects.toMatchObject({
        code: 'ERR_OPTION',
        option: expect.stringMatching(/^entrypoint/),
      });
    }
    await using box = await Container.create();
    expect(() => box.exec(['true'], { entrypoint: 'image' })).toThrow(/entrypoint/);
  });

  it('is not changed by what else a configuration says', async () => {
    const more = {
      Healthcheck: { Test: ['CMD', 'false'], Interval: 1 },
      ArgsEscaped: true,
      OnBuild: ['RUN false'],
      Shell: ['/none'],
      Hostname: 'theirs',
      Domainname: 'theirs',
      Tty: true,
      OpenStdin: true,
      NetworkDisabled: true,
      MacAddress: '02:00:00:00:00:01',
      Memory: 1,
      StopTimeout: 1,
      Volumes: null,
      Env: null,
      ExposedPorts: null,
      Labels: null,
    };
    const Cmd = ['/bin/sh', '-c', 'cat /etc/hostname; [ -t 0 ] || echo no terminal'];
    const image = await make({ Cmd, ...more });
    const { stdout } = await Container.run(undefined, { image, hostname: 'ours' });
    expect(stdout).toBe('ours\nno terminal\n');
  });
});
