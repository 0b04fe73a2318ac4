/** What has changed in a container, and its files as a tar: `changes()` and `export()`. */

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AbortedError, Container, type ContainerOptions, OptionError, UnsupportedError } from '../../lib/index.js';
import { needsRoot, needsUpperOnDisk } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

let directory = '';
const secret = 'known to the host only';

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tscontain-changes-'));
  chmodSync(directory, 0o755);
  writeFileSync(join(directory, 'secret'), secret);
  for (const name of ['usr', 'etc', 'data/kept', 'data/gone/in', 'data/replaced']) {
    mkdirSync(join(directory, 'root', name), { recursive: true });
  }
  mkdirSync(join(directory, 'above/data'), { recursive: true });
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(directory, 'root', name));
  for (const name of ['modified', 'mode', 'deleted', 'replaced/old', 'read', 'other']) {
    writeFileSync(join(directory, 'root/data', name), 'old');
  }
  writeFileSync(join(directory, 'above/data/above'), 'old');
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const usr = { type: 'bind', source: '/usr', target: '/usr' } as const;
const options = (more: ContainerOptions = {}): ContainerOptions => ({
  image: { rootfs: join(directory, 'root') },
  ...more,
  mounts: [usr, ...(more.mounts ?? [])],
});
const stack = (): ContainerOptions => ({ ...options(), image: { layers: { directory, names: ['above', 'root'] } } });

const script = `cd /data && echo new > modified && chmod 600 mode && rm deleted && rm -r gone replaced && mkdir replaced &&
  echo b > replaced/new && echo a > added && ln -s /etc/passwd link && mkfifo fifo && rm other && mkdir other && cat read &&
  echo 1.2.3.4 host >> /etc/hosts`;
const changed = [
  'added fifo /data/fifo',
  'added file /data/added',
  'added file /data/replaced/new',
  'added symlink /data/link',
  'deleted directory /data/gone',
  'deleted file /data/deleted',
  'modified directory /data/other',
  'modified file /data/mode (metadata)',
  'modified file /data/modified',
  'opaque directory /data/replaced',
];

async function changesOf(box: Container): Promise<string[]> {
  const list: string[] = [];
  for await (const { kind, type, path, metadataOnly } of box.changes()) {
    list.push(`${kind} ${type} ${path}${metadataOnly ? ' (metadata)' : ''}`);
  }
  return list.sort();
}

async function sh(box: Container, text: string): Promise<string> {
  return (await box.exec(['/bin/sh', '-c', text], { check: true })).stdout;
}

async function collect(parts: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const list: Uint8Array[] = [];
  for await (const part of parts) list.push(part);
  return Buffer.concat(list);
}

describe('changes of a container', () => {
  it('tells each kind, and nothing of our own set-up', async () => {
    await using box = await Container.create(options({ cwd: '/job', mounts: [{ type: 'tmpfs', target: '/a/b' }] }));
    expect(await changesOf(box)).toEqual([]);
    await sh(box, script);
    await sh(box, 'echo into > /a/b/mounted; echo beside > /a/beside; echo > /job/file');
    expect(await changesOf(box)).toEqual(['added file /a/beside', ...changed, 'added file /job/file'].sort());
  });

  it('does the same on disk', async (context) => {
    needsUpperOnDisk(context);
    await using box = await Container.create(options({ storage: { upper: 'disk' } }));
    await sh(box, script);
    expect(await changesOf(box)).toEqual(changed);
  });

  it('does the same over several layers', async (context) => {
    needsRoot(context);
    await using box = await Container.create(stack());
    expect(await changesOf(box)).toEqual([]);
    await sh(box, script);
    await sh(box, 'rm /data/above');
    expect(await changesOf(box)).toEqual([...changed, 'deleted file /data/above'].sort());
  });

  it('tells of the accounts that we have made once they are other ones', async () => {
    await using box = await Container.create(options());
    expect(await changesOf(box)).toEqual([]);
    await sh(box, 'echo me:x:7:7::/:/bin/sh >> /etc/passwd');
    expect(await changesOf(box)).toEqual(['added file /etc/passwd']);
    await sh(box, 'cp /etc/passwd /etc/p && rm /etc/passwd && mkfifo /etc/passwd');
    expect(await changesOf(box)).toEqual(['added fifo /etc/passwd', 'added file /etc/p']);
  });

  it("is for roots of the container's own, while it runs and is not paused", async () => {
    await using host = await Container.create();
    await expect(changesOf(host)).rejects.toThrow(UnsupportedError);
    expect(() => host.export()).toThrow(UnsupportedError);
    const box = await Container.create(options());
    const paused = await box.pause().then(
      () => true,
      () => false, // no cgroup to freeze it in
    );
    if (paused) {
      await expect(changesOf(box)).rejects.toMatchObject({ code: 'ERR_PAUSED' });
      await expect(collect(box.export())).rejects.toMatchObject({ code: 'ERR_PAUSED' });
      await box.resume();
    }
    expect(await changesOf(box)).toEqual([]);
    await box.kill();
    await expect(changesOf(box)).rejects.toMatchObject({ code: 'ERR_CONTAINER_GONE' });
    await expect(collect(box.export())).rejects.toMatchObject({ code: 'ERR_CONTAINER_GONE' });
  });
});

describe('the files of a container as a tar', () => {
  it('is what tar(1) makes the same tree of, without what is mounted', async () => {
    await using box = await Container.create(options({ mounts: [{ type: 'tmpfs', target: '/data/kept' }] }));
    await sh(box, `${script}; echo mounted > /data/kept/mounted`);
    const tar = await collect(box.export());
    const out = mkdtempSync(join(directory, 'out-'));
    execFileSync('tar', ['xpf', '-', '-C', out, '--no-same-owner'], { input: tar });
    const theirs = await sh(box, 'cd / && find . -xdev ! -path "./data/kept/*" -printf "%p %y %m %l\\n" | sort');
    const ours = execFileSync('sh', ['-c', 'find . -printf "%p %y %m %l\\n" | sort'], { cwd: out, encoding: 'utf8' });
    // What is mounted shows its own mode.
    const modes = (text: string) => text.replace(/^(\.\/(?:proc|sys|dev|usr|data\/kept) d) \d+/gm, '$1');
    const skipped = (text: string) => text.split('\n').filter((line) => !/^\.\/(?:proc|sys|dev|usr)\//.test(line));
    expect(skipped(modes(ours))).toEqual(skipped(modes(theirs)));
    expect(readFileSync(join(out, 'data/modified'), 'utf8')).toBe('new\n');
    expect(readlinkSync(join(out, 'data/link'))).toBe('/etc/passwd');
    expect(await collect(box.export())).toEqual(tar);
  });

  it("has the container's ids", async (context) => {
    needsRoot(context);
    await using box = await Container.create(options());
    await sh(box, 'echo > /data/theirs && chown 5:6 /data/theirs');
    const listing = execFileSync('tar', ['tvf', '-', '--numeric-owner', 'data/theirs'], {
      input: await collect(box.export()),
      encoding: 'utf8',
    });
    expect(listing).toMatch(/ 5\/6 /);
  });

  it('waits for its reader, and ends with its signal', async () => {
    await using box = await Container.create(options({ storage: { size: '64MiB' } }));
    await sh(box, 'head -c 32000000 /dev/zero | tr "\\0" x > /data/large');
    const controller = new AbortController();
    const parts = box.export({ signal: controller.signal });
    expect((await parts.next()).done).toBe(false);
    controller.abort();
    await expect(collect(parts)).rejects.toThrow(AbortedError);
    const left = box.export();
    await left.next();
    await left.return();
    await expect(collect(box.export({ signal: controller.signal }))).rejects.toThrow(AbortedError);
    expect(() => box.export({ signal: 1 as never })).toThrow(OptionError);
  });

  it('follows no link that a program puts in the place of a directory meanwhile, and stays a tar', async () => {
    await using box = await Container.create(options());
    const outside = directory;
    await sh(
      box,
      `mkdir -p /data/x /data/y && echo in > /data/x/secret && ln -s ${outside} /data/l && ln -s / /data/m`,
    );
    const swapper = box.exec([
      '/bin/sh',
      '-c',
      'cd /data; while :; do mv x z; mv l x; mv x l; mv z x; mv y w; mv m y; mv y m; mv w y; echo $RANDOM > x/grown; done',
    ]);
    try {
      for (let round = 0; round < 30; round++) {
        const tar = await collect(box.export());
        expect(tar.includes(secret)).toBe(false);
        execFileSync('tar', ['tf', '-'], { input: tar, stdio: ['pipe', 'ignore', 'pipe'] });
        await changesOf(box);
      }
    } finally {
      swapper.kill('SIGKILL');
      await swapper.catch(() => {});
    }
  });

  it('lets the container work meanwhile, which then goes on', async () => {
    await using box = await Container.create(options());
    const parts = box.export();
    await parts.next();
    expect(await sh(box, 'echo works')).toBe('works\n');
    await parts.return();
    expect(lstatSync(join(directory, 'root/data/deleted')).isFile()).toBe(true);
    expect(await changesOf(box)).toEqual([]);
  });
});
