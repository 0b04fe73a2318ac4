/** What is taken of an image's configuration, where Docker takes the same: users, variables. */

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Container, type ContainerOptions, Image, ImageStore } from '../../../lib/index.js';
import { LayoutWriter, named, TemporaryDirectory } from '../../support/layout.js';
import { needsRoot } from '../../support/requirements.js';
import { checkResidue } from '../../support/residue.js';
import { systemLayer } from '../../support/system.js';
import { file, symlink, type TarMember, tar } from '../../support/tar.js';

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
