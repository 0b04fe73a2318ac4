/** A container made of another one that runs: `fork()`. */

import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Container, type ContainerOptions, ImageStore, OptionError, UnsupportedError } from '../../lib/index.js';
import {
  needsController,
  needsFreezer,
  needsLoopFiles,
  needsPrograms,
  needsRoot,
  needsUpperOnDisk,
} from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

let directory = '';

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tscontain-fork-'));
  chmodSync(directory, 0o755);
  for (const name of ['usr', 'etc', 'data/gone/in', 'data/replaced']) {
    mkdirSync(join(directory, 'root', name), { recursive: true });
  }
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(directory, 'root', name));
  for (const name of ['modified', 'deleted', 'replaced/old']) writeFileSync(join(directory, 'root/data', name), 'old');
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const usr = { type: 'bind', source: '/usr', target: '/usr' } as const;
const options = (): ContainerOptions => ({
  image: { rootfs: join(directory, 'root') },
  mounts: [usr],
  env: { A: 'b' },
});
const script = `cd /data && echo new > modified && rm deleted && rm -r gone replaced && mkdir replaced && echo b > replaced/new &&
  echo a > added && ln added again && chmod 640 added && ln -s /etc/passwd link && mkfifo fifo`;
const shown = 'cd /data && find . -printf "%p %y %m %U %G %n %l %T@\\n" | sort && cat added modified replaced/new';

async function sh(box: Container, text: string): Promise<string> {
  return (await box.exec(['/bin/sh', '-c', text], { check: true })).stdout;
}

async function changesOf(box: Container): Promise<string[]> {
  const list: string[] = [];
  for await (const { kind, type, path } of box.changes()) list.push(`${kind} ${type} ${path}`);
  return list.sort();
}

describe('fork', () => {
  it('has the same files and options, and each goes its own way', async () => {
    await using box = await Container.create(options());
    await sh(box, script);
    if (process.geteuid?.() === 0) await sh(box, 'chown 5:6 /data/added; chown 7:8 /data/replaced');
    const pause = needsFreezer.has();
    await using fork = await box.fork({ pause });
    expect(await sh(fork, shown)).toBe(await sh(box, shown));
    expect(await changesOf(fork)).toEqual(await changesOf(box));
    expect(await sh(fork, 'echo $A; hostname')).toBe(`b\n${fork.id}\n`);
    await sh(fork, 'echo theirs > /data/added; rm /data/link');
    expect(await sh(box, 'cat /data/added; readlink /data/link')).toBe('a\n/etc/passwd\n');
    await box.kill();
    await using again = await fork.fork({ pause });
    expect(await sh(again, 'cat /data/again')).toBe('theirs\n');
  });

  const details = `cd /data && mkdir shut && chmod 700 shut && echo a > shut/file && chmod 4755 added && setcap cap_net_raw+ep again &&
    setfattr -n user.note -v text modified && truncate -s 16M sparse && printf x | dd of=sparse bs=1 seek=9M conv=notrunc 2> shut/dd &&
    touch -d @1.123456789 modified && python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")' && chmod 1777 .`;
  const detailed = `cd /data && find . -printf "%p %y %m %U %G %s %n %l %T@\n" | sort && getcap again &&
    getfattr -d modified 2>&1 && [ $(du -k sparse | cut -f1) -lt 100 ] && cmp -n 1 -i 9M:0 sparse /data/x`;

  it('keeps set-user-ID bits, capabilities, attributes, holes, sockets, and times to the nanosecond', async (context) => {
    needsRoot(context);
    needsPrograms(context, 'setcap', 'setfattr', 'python3');
    await using box = await Container.create(options());
    await sh(box, `printf x > /data/x; ${script}; ${details}`);
    await using fork = await box.fork({ pause: needsFreezer.has() });
    const found = await sh(fork, detailed);
    expect(found).toBe(await sh(box, detailed));
    expect(found).toContain('again cap_net_raw=ep');
    expect(found).toContain('user.note="text"');
    expect(found).toMatch(/modified .* 1\.1234567890/);
  });

  for (const size of [undefined, '64MiB'] as const) {
    it(`copies what is on disk, ${size ? 'in a file system of its own' : 'in a directory'}`, async (context) => {
      needsRoot(context);
      if (size) needsLoopFiles(context);
      else needsUpperOnDisk(context);
      const storage = { upper: 'disk', ...(size && { size }) } as const;
      await using box = await Container.create({ ...options(), storage });
      await sh(box, `${script}; chown 5:6 added; dd if=/dev/urandom of=large bs=1M count=9 2> dd`);
      await using fork = await box.fork({ pause: needsFreezer.has() });
      const sums = `${shown}; sha256sum large`;
      expect(await sh(fork, sums)).toBe(await sh(box, sums));
      expect(await changesOf(fork)).toEqual(await changesOf(box));
      expect(fork.inspect().storage).toEqual(box.inspect().storage);
      await box.kill();
      await sh(fork, 'echo on >> /data/large && sync');
    });
  }

  it('stops what runs meanwhile, which then goes on', async (context) => {
    needsFreezer(context);
    await using box = await Container.create(options());
    const busy = box.exec([
      '/bin/sh',
      '-c',
      'i=0; while :; do i=$((i+1)); echo $i >> /data/a; echo $i >> /data/b; done',
    ]);
    try {
      await sh(box, 'until [ -s /data/b ]; do :; done');
      for (let round = 0; round < 3; round++) {
        await using fork = await box.fork();
        const [a = 0, b = 0] = (await sh(fork, 'tail -qn1 /data/a /data/b')).trim().split('\n').map(Number);
        expect([0, 1]).toContain(a - b);
        const before = Number(await sh(box, 'tail -n1 /data/b'));
        await sh(box, `until [ $(tail -n1 /data/b) -gt ${before} ]; do :; done`);
      }
    } finally {
      busy.kill('SIGKILL');
      await busy.catch(() => {});
    }
  });

  it('counts the copy as memory of the new one, whose limit holds', async (context) => {
    needsController(context, 'memory');
    await using box = await Container.create({ ...options(), limits: { memory: '64MiB' } });
    await sh(box, 'head -c 30M /dev/urandom > /data/large');
    const pause = needsFreezer.has();
    await using fork = await box.fork({ pause });
    expect((await fork.stats()).memory.current).toBeGreaterThan(30e6);
  });

  it('can be done fifty times at once, and of forks', async () => {
    await using box = await Container.create(options());
    await sh(box, script);
    const pause = needsFreezer.has();
    const forks = await Promise.all(Array.from({ length: 50 }, () => box.fork({ pause: false })));
    try {
      expect(new Set(forks.map(({ id }) => id)).size).toBe(50);
      const found = await Promise.all(forks.map((fork) => sh(fork, 'cat /data/again; echo own > /data/again')));
      expect(found).toEqual(forks.map(() => 'a\n'));
      expect(await sh(box, 'cat /data/again')).toBe('a\n');
    } finally {
      await Promise.all(forks.map((fork) => fork.kill()));
    }
    let last = await box.fork({ pause });
    for (let generation = 0; generation < 3; generation++) {
      await sh(last, `echo ${generation} >> /data/modified`);
      const next = await last.fork({ pause });
      await last.kill();
      last = next;
    }
    expect(await sh(last, 'cat /data/modified')).toBe('new\n0\n1\n2\n');
    await last.kill();
  });

  it('waits for its turn, where several are made of a container that is to stop meanwhile', async (context) => {
    needsFreezer(context);
    await using box = await Container.create(options());
    await sh(box, script);
    const forks = await Promise.all(Array.from({ length: 5 }, () => box.fork()));
    // What is asked for beside it waits, too, and is no error.
    const [beside, changes] = await Promise.all([box.fork(), changesOf(box)]);
    expect(changes).toEqual(await changesOf(beside));
    forks.push(beside);
    for (const fork of forks) expect(await sh(fork, 'cat /data/again')).toBe('a\n');
    await Promise.all(forks.map((fork) => fork.kill()));
    expect(await sh(box, 'echo on')).toBe('on\n');
  });

  it('keeps the layers of an image for itself', async (context) => {
    needsRoot(context);
    await using store = await ImageStore.open({ path: mkdtempSync(join(directory, 'store-')) });
    await using first = await Container.create(options());
    const pause = needsFreezer.has();
    const image = await first.commit({ store, pause });
    const box = await Container.create({ image, mounts: [usr] });
    await sh(box, script);
    await using fork = await box.fork({ pause });
    await box.kill();
    expect(await sh(fork, 'cat /data/modified')).toBe('new\n');
    const next = await fork.commit({ pause });
    expect(next.manifest.layers.length).toBe(2);
    expect(next.manifest.layers[0]).toEqual(image.manifest.layers[0]);
  });

  it('is refused where it cannot be', async () => {
    await using host = await Container.create();
    await expect(host.fork()).rejects.toThrow(UnsupportedError);
    const box = await Container.create(options());
    if (needsFreezer.has()) {
      await box.pause();
      await expect(box.fork()).rejects.toMatchObject({ code: 'ERR_PAUSED' });
      await box.resume();
    }
    await expect(box.fork({ paused: true } as never)).rejects.toThrow(OptionError);
    await box.kill();
    await expect(box.fork()).rejects.toMatchObject({ code: 'ERR_CONTAINER_GONE' });
  });
});
