/** Group N of the catalogue: what is special to a library for Node. N4 and N6 are in test/faults. */

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Container } from '../../lib/index.js';
import { addon } from '../../lib/launcher/native.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { runFresh } from './fresh.js';

checkResidue();

describe('N: Node', () => {
  it('N1: no path below a root is ever opened by Node, and no container has it enter a namespace', () => {
    const files = readdirSync('lib', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
    const code = new Map(files.map((name) => [name, readFileSync(`lib/${name}`, 'utf8')]));
    const users = files.filter((name) => /from 'node:fs(\/promises)?'/.test(code.get(name) ?? ''));
    // Each of these looks at the host: layout, sources of mounts, our own directories, host ends of copies, what this process
    // is and has; the store of images, and sources of these. What is read and written of a container is a descriptor that init has opened (fs/transfer.ts), or an agent (changes.ts, views.ts, network/sysctl.ts). Networks ask the host for its name servers. A primitive
    // by itself acts on the host, on paths that its caller names.
    const known =
      /^(container\/(changes|fs|sources|views)\.ts|container\/fs\/(copy-out|transfer)\.ts|container\/(plan|sources)\/(host-image|kernel-file-systems|devices)\.ts|container\/settings\/kernel\.ts|container\/storage\/(bound|sweep)\.ts|host\/|image\/|launcher\/native\.ts|network\/(sysctl|bridge\/name-servers)\.ts|plan\/step\.ts|process\/(own|settings)\.ts|primitives\/)/;
    expect(users.filter((name) => !known.test(name))).toEqual([]);
    expect(users.length).toBeGreaterThan(2);
    // A function may be run in a namespace that a thread can enter, by the one primitive that offers it, and by no container.
    const enters = readdirSync('native/addon').filter((name) =>
      /\bsetns\(|SYS_setns|\bunshare\(|\bchroot\(/.test(readFileSync(`native/addon/${name}`, 'utf8')),
    );
    expect(enters).toEqual(['namespace.cc']);
    const askers = files.filter((name) => /\binNamespace\b/.test(code.get(name) ?? ''));
    expect(askers.sort()).toEqual(['launcher/native.ts', 'primitives/namespace/namespace.ts']);
  });

  it('N2: variables that change how programs are loaded reach neither the launcher nor a container', async (context) => {
    needsRoot(context);
    const env = { ...process.env, LD_PRELOAD: '/no/such/library.so', LD_LIBRARY_PATH: '/no/such', NODE_OPTIONS: '' };
    const program = `
const box = await Container.create();
const { stdout, stderr } = await box.exec(['env']);
const { readFileSync } = await import('node:fs');
console.log(JSON.stringify([stdout, stderr, readFileSync('/proc/' + box.inspect().pid + '/environ', 'utf8')]));
await box.kill();`;
    const [stdout, stderr, environ] = JSON.parse(await runFresh(program, { env }));
    expect(stdout).not.toContain('LD_');
    expect(stdout).toContain('PATH=');
    expect(stderr).toBe('');
    expect(environ).toBe('');
    expect(execFileSync('/usr/bin/env', { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })).toContain(
      'LD_PRELOAD',
    );
  });

  it('N3: a descriptor is closed once', () => {
    const [read, write] = addon().pipe();
    expect([read.open, write.open]).toEqual([true, true]);
    read.close();
    expect(read.open).toBe(false);
    expect(() => read.close()).toThrow();
    expect(() => read.number).toThrow();
    write.close();
    expect(() => write.close()).toThrow();
  });

  it('N3: 200 runs leave the number of descriptors as it was', async () => {
    const count = () => readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 5; i++) await Container.run(['/bin/true']);
    const before = count();
    for (let i = 0; i < 200; i += 10) {
      await Promise.all(Array.from({ length: 10 }, () => Container.run(['/bin/true'], { stdin: 'x' })));
      await Container.run(['/no/such/program']).catch(() => {});
    }
    expect(count()).toBeLessThanOrEqual(before + 1);
    const kept = addon().pipe();
    expect(count()).toBeGreaterThan(before + 0);
    for (const descriptor of kept) descriptor.close();
  });

  it('N5, C5, L9: the package runs nothing when it is installed and holds no set-user-ID file', () => {
    const listing = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [{ files }] = JSON.parse(listing) as [{ files: { path: string; mode: number }[] }];
    expect(files.length).toBeGreaterThan(10);
    for (const { path, mode } of files) {
      expect(mode & 0o6000, path).toBe(0);
      expect(path).not.toMatch(/(^|\/)binding\.gyp$(?<!native\/binding\.gyp)/);
      expect(statSync(path).mode & 0o6000, path).toBe(0);
    }
    const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
    for (const name of ['preinstall', 'install', 'postinstall']) expect(manifest.scripts).not.toHaveProperty(name);
    expect(Object.keys(manifest.dependencies).length).toBeLessThanOrEqual(5);
    for (const name of Object.keys(manifest.dependencies)) {
      const scripts = JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8')).scripts ?? {};
      for (const hook of ['preinstall', 'install', 'postinstall']) expect(scripts, name).not.toHaveProperty(hook);
    }
  });
});
