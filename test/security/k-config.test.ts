/** Group K of the catalogue: strings and numbers of the configuration. */

import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Container, type ContainerOptions, OptionError } from '../../lib/index.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';
import { inside, makeRoot, over, scratch } from './probe.js';

checkResidue();

const refused = async (options: unknown, why: string) => {
  await expect(Container.plan(options as ContainerOptions), why).rejects.toBeInstanceOf(OptionError);
};

describe('K: configuration', () => {
  it('K1: bytes that end a string or a line are refused, or come through exactly', async () => {
    for (const byte of ['\0', '\n', '\r']) {
      const text = `a${byte}b`;
      await refused({ name: text }, 'name');
      await refused({ hostname: text }, 'hostname');
      await refused({ user: text }, 'user');
      await refused({ env: { [text]: 'x' } }, 'env name');
    }
    for (const text of ['a\0b']) {
      await refused({ cwd: `/${text}` }, 'cwd');
      await refused({ env: { A: text } }, 'env');
      await refused({ mounts: [{ type: 'tmpfs', target: `/${text}` }] }, 'target');
      await refused({ image: { rootfs: `/${text}` } }, 'rootfs');
      await expect(Container.run(['/bin/echo', text])).rejects.toBeInstanceOf(OptionError);
    }
    const value = 'one\ntwo\rthree=four\n';
    const found = await inside<[string, string[], string]>(
      `answer([os.environ['A'], sorted(k for k in os.environ if k.startswith(('two', 'three', 'A'))), os.getcwd()])`,
      { env: { A: value }, cwd: '/tmp/with\nnewline' },
    );
    expect(found).toEqual([value, ['A'], '/tmp/with\nnewline']);
    const { stdout } = await Container.run(['/bin/echo', '-n', value, '--', '']);
    expect(stdout).toBe(`${value} -- `);
  });

  it('K2: no shell and no tool is run by the library', () => {
    const files = readdirSync('lib', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
    const uses = (text: string) =>
      /child_process|execSync|spawnSync|\bexecFile\b/.test(text.replace(/\/\*[\s\S]*?\*\//g, ''));
    expect(files.filter((name) => uses(readFileSync(`lib/${name}`, 'utf8')))).toEqual([]);
    expect(uses(readFileSync('test/security/probe.ts', 'utf8'))).toBe(true);
    const native = readdirSync('native/addon').filter((name) => name.endsWith('.cc'));
    for (const name of native)
      expect(readFileSync(`native/addon/${name}`, 'utf8')).not.toMatch(/\b(system|popen|execvp|posix_spawn)\(/);
  });

  it('K2: names that look like switches are names', async (context) => {
    needsRoot(context);
    await refused({ name: '-x' }, 'name');
    await refused({ hostname: '-x' }, 'hostname');
    const source = `${scratch()}/--help`;
    mkdirSync(source);
    const { stdout } = await Container.run(['ls', '/'], { mounts: [{ type: 'bind', source, target: '/-rf' }] });
    expect(stdout).toContain('-rf');
  });

  it('K3, H4: a name is one safe word', async () => {
    const bad = [
      '',
      '.',
      '..',
      '.a',
      '-a',
      '_a',
      'a/b',
      '../a',
      'a b',
      'a\tb',
      'ä',
      'a:b',
      'a,b',
      'a'.repeat(65),
      'a\\b',
      '%s',
      'a..b',
      'a*',
      '$(a)',
      '~',
    ];
    for (const name of bad) await refused({ name }, name);
    for (const name of ['a', 'A1', 'a.b-c_d', '0', 'a'.repeat(64), 'a.b.c']) {
      await expect(Container.plan({ name }), name).resolves.toBeDefined();
    }
  });

  it('K5: numbers are whole, finite and in range, or errors', async () => {
    const wrong = [
      Number.NaN,
      Infinity,
      -Infinity,
      -1,
      -0.5,
      Number('1e309'),
      2 ** 60,
      '1e3',
      '0x10',
      '',
      ' 1',
      '1 ',
      '-1',
      '1e309',
      'NaN',
      'Infinity',
      null,
      {},
      [],
      true,
      '12 MiB x',
      1.5,
    ];
    for (const value of wrong) {
      await refused({ limits: { memory: value } }, `memory ${String(value)}`);
      await refused({ limits: { pids: value } }, `pids ${String(value)}`);
      await refused({ limits: { openFiles: value } }, `openFiles ${String(value)}`);
      await refused({ storage: { inodes: value } }, `inodes ${String(value)}`);
    }
    for (const value of [Number.NaN, Infinity, -1, 0, '1', null])
      await refused({ limits: { cpus: value } }, `cpus ${String(value)}`);
    for (const value of [Number.NaN, -1, Infinity, 'soon', null]) {
      await expect(Container.run(['/bin/true'], { timeout: value as number })).rejects.toBeInstanceOf(OptionError);
    }
    await expect(Container.plan({ limits: { memory: '64MiB', pids: 10 } })).resolves.toBeDefined();
  });

  it('K6: a key that is not known is an error that names it', async () => {
    await expect(
      Container.plan({ mounts: [{ type: 'bind', source: '/usr', target: '/x', readonyl: true }] } as never),
    ).rejects.toThrow(/readonyl.*readOnly/);
    await refused({ Limits: {} }, 'Limits');
    await refused({ limits: { memroy: 1 } }, 'memroy');
    await expect(Container.plan({ limits: {} })).resolves.toBeDefined();
  });

  it('K7: what was checked is what is used', async () => {
    let reads = 0;
    const options = {
      get hostname() {
        return reads++ === 0 ? 'first' : 'second\n127.0.0.1 evil';
      },
    };
    const { stdout } = await Container.run(['hostname'], options);
    expect(stdout).toBe('first\n');
    expect(reads).toBe(1);
    const limits = { pids: 5 };
    const planned = Container.plan({ limits });
    limits.pids = -1;
    await expect(planned).resolves.toBeDefined();
    const polluted = JSON.parse('{"__proto__": {"unsafe": true}}');
    await refused(polluted, '__proto__');
    await refused(Object.create({ hostname: 'x' }), 'inherited');
    expect(({} as { unsafe?: boolean }).unsafe).toBeUndefined();
    expect(options.hostname).toContain('second');
  });

  it('K8: hosts, hostname and resolv.conf are ours, whatever the root has in their place', async (context) => {
    needsRoot(context);
    for (const hostname of ['a b', 'a_b', '-a', 'a\n1.2.3.4 b', 'a'.repeat(64), '', 'ä', 'a..b'])
      await refused({ hostname }, hostname);
    const root = makeRoot();
    const sentinel = `${scratch()}/hosts`;
    writeFileSync(sentinel, 'sentinel');
    for (const name of ['hosts', 'hostname', 'resolv.conf']) symlinkSync(sentinel, `${root}/etc/${name}`);
    const { stdout } = await Container.run(['cat', '/etc/hosts', '/etc/hostname'], { ...over(root), hostname: 'box' });
    expect(stdout).toMatch(/127\.0\.1\.1\tbox\nbox\n$/);
    expect(readFileSync(sentinel, 'utf8')).toBe('sentinel');
    writeFileSync(`${root}/etc/hosts`, 'through the link');
    expect(readFileSync(sentinel, 'utf8')).toBe('through the link');
  });

  it('K10: there is no switch that turns everything off, and a default container has no relaxation', async (context) => {
    for (const key of ['privileged', 'unsafe', 'security', 'securityOpt']) await refused({ [key]: true }, key);
    await refused({ seccomp: 'unconfined' }, 'unconfined');
    await refused({ seccomp: false }, 'false');
    await refused({ network: 'host' }, 'host network');
    needsRoot(context);
    await using plain = await Container.create();
    expect(plain.inspect().relaxations.filter((text) => !text.startsWith('limits.'))).toEqual([]);
    const mount = { type: 'bind', source: '/', target: '/m', unsafeSource: true } as const;
    await using weak = await Container.create({ capabilities: ['SYS_PTRACE'], mounts: [mount] });
    expect(weak.inspect().relaxations.join()).toContain('SYS_PTRACE');
    expect(weak.inspect().relaxations.join()).toContain('mounts[0].unsafeSource');
  });

  it('K11: what is too long is an error, never cut', async () => {
    await refused({ hostname: 'a'.repeat(65) }, 'hostname');
    await refused({ cwd: `/${'a'.repeat(256)}` }, 'component');
    await refused({ cwd: `/${'a/'.repeat(2500)}a` }, 'path');
    await refused({ user: 'a'.repeat(40) }, 'user');
    await refused({ env: { A: 'x'.repeat(200_000) } }, 'env');
    await expect(Container.run(['/bin/echo', 'x'.repeat(140_000)])).rejects.toBeInstanceOf(OptionError);
    const longest = 'x'.repeat(131_000);
    expect((await Container.run(['/bin/echo', '-n', longest])).stdout).toBe(longest);
  });
});
