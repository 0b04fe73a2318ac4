/** What an image says of itself, and cannot bring about by it, where a container is made of it. */

import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Container, Image, ImageStore } from '../../lib/index.js';
import { LayoutWriter, named, TemporaryDirectory } from '../support/layout.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { systemLayer } from '../support/system.js';
import { directory, file, symlink, type TarMember, tar } from '../support/tar.js';

checkResidue();

let temporary: TemporaryDirectory;
let layout: LayoutWriter;
let store: ImageStore;
let sentinel: string;
let count = 0;
beforeEach(async () => {
  temporary = new TemporaryDirectory();
  layout = new LayoutWriter(temporary);
  store = await ImageStore.open({ path: temporary.at('store') });
  sentinel = temporary.at('sentinel');
  mkdirSync(sentinel);
  writeFileSync(`${sentinel}/secret`, 'secret');
});
afterEach(async () => {
  await store.close();
  temporary.dispose();
});

/** An image of the system, with a link `/out` that is the sentinel's path. */
async function make(config: object, ...members: TarMember[]): Promise<Image> {
  const name = `made:${count++}`;
  const layers = [systemLayer(), tar(symlink('out', sentinel), ...members)];
  layout.image({ layers, config, annotations: named(name) });
  return Image.open(layout.path, name, { store, platform: 'linux/amd64' });
}

const steps = async (image: Image) => (await Container.plan({ image, hostname: 'same' })).steps;

describe('containers of images of others', () => {
  it('A6, A11: a working directory or a volume of an image that leads through a link stays inside', async () => {
    const before = statSync(sentinel);
    const look = ['sh', '-c', `pwd -P; echo inside > made; cat secret; ls ${sentinel} ${sentinel}/deep`] as const;
    for (const path of ['/out/deep', '/out', '/up/deep', '/up']) {
      const inside = path.endsWith('/deep') ? `${sentinel}/deep` : sentinel;
      const links = [symlink('up', `../../../../../..${sentinel}`)];
      const image = await make({ WorkingDir: path }, ...links);
      const { stdout } = await Container.run(look, { image });
      expect(stdout.split('\n')[0], path).toBe(inside);
      expect(stdout, path).toContain('made');
      await using box = await Container.create({ image: await make({ Volumes: { [path]: {} } }, ...links) });
      await box.fs.writeFile(`${path}/made`, 'x');
      const mounts = (await box.exec(['cat', '/proc/self/mountinfo'])).stdout;
      expect(mounts.split('\n').map((line) => line.split(' ')[4])).toContain(inside);
    }
    const { uid, mode, mtimeMs } = statSync(sentinel);
    expect({ uid, mode, mtimeMs }).toEqual({ uid: before.uid, mode: before.mode, mtimeMs: before.mtimeMs });
    expect(readdirSync(sentinel)).toEqual(['secret']);
    // Whoever follows the link on the host gets there.
    const layers = readdirSync(`${store.path}/layers`).map((name) => `${store.path}/layers/${name}/root`);
    const linked = layers.filter((root) => readdirSync(root).includes('out'));
    expect(readFileSync(`${linked[0]}/out/secret`, 'utf8')).toBe('secret');
  });

  it('A9: no source on the host is ever an image’s to name', async () => {
    const binds = [`${sentinel}:/stolen`];
    const mount = { type: 'bind', source: sentinel, Source: sentinel, target: '/stolen', Destination: '/stolen' };
    const image = await make({
      Volumes: { [`${sentinel}:/stolen`]: {}, '/plain': { source: sentinel, Source: sentinel, device: sentinel } },
      Binds: binds,
      Mounts: [mount],
      HostConfig: { Binds: binds, Mounts: [mount] },
      Labels: { 'org.opencontainers.image.mounts': JSON.stringify([mount]), Binds: binds.join() },
    });
    const look = ['sh', '-c', 'cat /stolen/secret /plain/secret; ls -d /stolen'] as const;
    const { stdout } = await Container.run(look, { image });
    expect(stdout).toBe('');
    expect(JSON.stringify(await steps(image))).not.toContain(`"${sentinel}"`);
    // The caller may.
    const given = await Container.run(look, { image, mounts: [{ type: 'bind', source: sentinel, target: '/stolen' }] });
    expect(given.stdout).toBe('secret/stolen\n');
  });

  it('A6, A11: what an image has in the place of its own directories is an error that names the setting', async () => {
    const members = [
      file('plain', 'x'),
      symlink('loop', 'loop'),
      symlink('here', '.'),
      symlink('top', '/'),
      ...Array.from({ length: 50 }, (_, index) => symlink(`l${index}`, `l${index + 1}/${'x'.repeat(200)}`)),
    ];
    const wrong: [object, RegExp][] = [
      [{ WorkingDir: '/plain' }, /WorkingDir of the image names \/plain: it has a file there/],
      [{ WorkingDir: '/plain/deep' }, /WorkingDir of the image names \/plain\/deep: it has a file/],
      [{ WorkingDir: '/loop/deep' }, /too many links/],
      [{ WorkingDir: '/l0/deep' }, /WorkingDir of the image names .*(too many links|too long)/],
      [{ Volumes: { '/plain': {} } }, /Volumes of the image names \/plain: it has a file there/],
      [{ Volumes: { '/loop': {} } }, /too many links/],
      [{ Volumes: { '/here': {} } }, /it is the root itself/],
      [{ Volumes: { '/top': {} } }, /it is the root itself/],
      [{ Volumes: { '/proc/x': {} } }, /Volumes/],
      [{ Volumes: { '/dev': {} } }, /Volumes/],
      [{ Volumes: Object.fromEntries(Array.from({ length: 101 }, (_, index) => [`/v${index}`, {}])) }, /at most 100/],
    ];
    for (const [config, message] of wrong) {
      const error = await Container.create({ image: await make(config, ...members) }).then(
        async (box) => void (await box.kill()),
        (reason) => reason,
      );
      expect(error, JSON.stringify(config).slice(0, 80)).toMatchObject({ code: 'ERR_CONFIG' });
      expect(error.message).toMatch(message);
    }
    // The same paths where nothing is in their place.
    const good = await make({ WorkingDir: '/plain', Volumes: { '/loop': {}, '/here': {}, '/top': {} } });
    expect((await Container.run(['sh', '-c', 'pwd'], { image: good })).stdout).toBe('/plain\n');
  });

  it('A19: a volume of an image that leads below /proc, /sys or /dev stands in for none of ours', async () => {
    const members = ['proc', 'sys', 'dev'].flatMap((name) => [
      directory(`${name}/`),
      file(`${name}/planted`, 'x'),
      symlink(`to-${name}`, name),
    ]);
    const plain = await make({});
    const hostile = await make({ Volumes: { '/to-proc': {}, '/to-sys/kernel': {}, '/to-dev': {} } }, ...members);
    const seen = async (image: Image) => {
      const places = ['/proc', '/sys', '/dev', '/dev/pts', '/dev/shm', '/sys/fs/cgroup'];
      return (await Container.run(['stat', '-f', '-c', '%T', ...places], { image })).stdout.trim().split('\n');
    };
    expect(await seen(hostile)).toEqual(await seen(plain));
    expect((await seen(plain)).slice(0, 3)).toEqual(['proc', 'sysfs', 'tmpfs']);
    for (const path of ['/proc/planted', '/sys/planted', '/dev/planted', '/sys/kernel/planted']) {
      expect((await Container.run(['cat', path], { image: hostile })).exitCode, path).not.toBe(0);
    }
  });

  it('C7: variables of an image are what they say, whatever the host has', async () => {
    process.env.SENTINEL = 'of the host';
    try {
      const image = await make({ Env: ['A=$SENTINEL', 'B=SENT*', 'C=%SENTINEL%', 'D='] });
      const { stdout } = await Container.run(['cat', '/proc/self/environ'], { image });
      const found = stdout.split('\0').filter((entry) => /^([A-D]|SENTINEL)=/.test(entry));
      expect(found).toEqual(['A=$SENTINEL', 'B=SENT*', 'C=%SENTINEL%', 'D=']);
      await expect(make({ Env: ['SENTINEL'] })).rejects.toMatchObject({ code: 'ERR_CONFIG' });
    } finally {
      delete process.env.SENTINEL;
    }
  });

  it('D3: the user of an image is parsed as a whole, or the image is refused', async () => {
    for (const User of ['1000x', '+0', '1:', ':1', '0x0', '1000 ', '65536', '-1', '1:2:3']) {
      const image = await make({ User });
      await expect(Container.create({ image }), User).rejects.toMatchObject({ code: 'ERR_CONFIG' });
    }
    const image = await make({ User: '0:0' });
    expect((await Container.run(['id', '-u'], { image })).stdout).toBe('0\n');
  });

  it('E3: accounts of an image decide no id, hold nothing up, and are not looked for outside', async (context) => {
    needsRoot(context);
    const who = ['sh', '-c', 'echo $(id -u):$(id -g):$HOME'] as const;
    writeFileSync(`${sentinel}/passwd`, 'host:x:44:44::/:\n');
    const lines = (count: number) => Array.from({ length: count }, (_, id) => `g${id}:x:${id}:x`).join('\n');
    const hostile: Record<string, TarMember> = {
      'a FIFO': { name: 'etc/passwd', type: '6' },
      'a directory': directory('etc/passwd/'),
      'a link to itself': symlink('etc/passwd', 'passwd'),
      'too large': file('etc/passwd', '#'.repeat(2 ** 20 + 1)),
    };
    for (const [what, member] of Object.entries(hostile)) {
      const image = await make({ User: '7' }, member);
      await expect(Container.run(who, { image }), what).rejects.toMatchObject({ code: 'ERR_USER_FILE' });
      // A number of the caller's own needs none of it.
      expect((await Container.run(who, { image, user: 7 })).stdout, what).toBe('7:7:/\n');
    }
    const outside = await make({ User: 'host' }, symlink('etc/passwd', `${sentinel}/passwd`));
    await expect(Container.run(who, { image: outside })).rejects.toMatchObject({ code: 'ERR_CONFIG' });
    const passwd = '77:x:0:0::/:\nx:x:77:5::/a\0EVIL=1:\n';
    const image = await make({ User: '77' }, file('etc/passwd', passwd), file('etc/group', lines(50_000)));
    expect((await Container.run(who, { image })).stdout).toBe('77:5:/\n');
    expect((await Container.run(['cat', '/proc/self/environ'], { image })).stdout).not.toContain('EVIL');
    // The same file where nothing is wrong with it.
    const good = await make({ User: 'host' }, file('etc/passwd', readFileSync(`${sentinel}/passwd`)));
    expect((await Container.run(who, { image: good })).stdout).toBe('44:44:/\n');
  });

  it('J8: labels of an image change nothing of a container', async () => {
    const options = [
      'privileged',
      'capabilities',
      'mounts',
      'devices',
      'seccomp',
      'user',
      'cwd',
      'env',
      'rootfs',
      'network',
    ];
    const prefixes = [
      '',
      'tscontain.',
      'io.containers.',
      'io.kubernetes.cri.',
      'run.oci.',
      'org.opencontainers.image.',
    ];
    const Labels = Object.fromEntries(prefixes.flatMap((prefix) => options.map((name) => [prefix + name, 'true'])));
    const plain = await make({ Cmd: ['/bin/sh'] });
    const labelled = await make({ Cmd: ['/bin/sh'], Labels });
    expect(Object.keys(labelled.config.labels)).toHaveLength(60);
    expect(await steps(labelled)).toEqual(await steps(plain));
    expect(await steps(await make({ WorkingDir: '/other' }))).not.toEqual(await steps(plain));
  });
});
