/** Programs of a container under profiles of AppArmor, where the kernel has it (the test machine of `npm run test:vm`). */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AppArmor, type AppArmorProfileOptions, Container, OptionError, spawn } from '../../lib/index.js';
import { needsAppArmor } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const sh = (script: string): [string, ...string[]] => ['/bin/sh', '-c', script];
const name = `tscontain-test-${process.pid}`;
const inner = `${name} inner`;
const label = '/proc/self/attr/apparmor/current';

describe('a program under a profile', () => {
  let directory: string;
  /** Text to compiled policy: the parser's job, which the library does not run. */
  const compile = (options: AppArmorProfileOptions) => {
    const file = join(directory, 'profile');
    writeFileSync(file, AppArmor.profile(options));
    execFileSync('apparmor_parser', ['--skip-kernel-load', '--skip-cache', '--ofile', `${file}.bin`, file]);
    return readFileSync(`${file}.bin`);
  };
  const loads = AppArmor.enabled() && process.geteuid?.() === 0;
  beforeAll(() => {
    if (!loads) return;
    directory = mkdtempSync(join(tmpdir(), 'apparmor-'));
    AppArmor.load(compile({ name, denyFiles: [{ path: '/tmp/secret', below: true, access: ['read', 'write'] }] }));
    AppArmor.load(compile({ name: inner, denyFiles: [{ path: '/etc/passwd', access: ['read'] }] }));
  });
  afterAll(() => {
    if (!loads) return;
    AppArmor.remove(name);
    AppArmor.remove(inner);
    rmSync(directory, { recursive: true });
  });
  beforeEach(needsAppArmor);
  const script =
    'mkdir -p /tmp/secret /tmp/open; for d in secret open; do (echo > /tmp/$d/x) 2> /dev/null && echo $d; done';

  it('is listed where it is loaded', () => {
    expect(AppArmor.profiles()).toContainEqual({ name, mode: 'enforce' });
    expect(AppArmor.current()).toEqual({ name: 'unconfined', mode: undefined });
  });

  it('has its label, and is denied what that denies; without it it is not', async () => {
    const denied = await Container.run(sh(`cat ${label}; ${script}`), { appArmor: name });
    expect(denied.stdout).toBe(`${name} (enforce)\nopen\n`);
    expect((await Container.run(sh(`cat ${label}; ${script}`))).stdout).toBe('unconfined\nsecret\nopen\n');
  });

  it('of an exec has both its container’s profile and its own', async () => {
    await using box = await Container.create({ appArmor: name });
    const read = sh(`${script}; cat /etc/passwd > /dev/null 2>&1 && echo passwd; cat ${label}`);
    expect((await box.exec(read)).stdout).toBe(`open\npasswd\n${name} (enforce)\n`);
    const both = await box.exec(read, { appArmor: inner });
    expect(both.stdout).toMatch(/^open\n.*\/\/&.* \(enforce\)\n$/);
    expect(both.stdout).toContain(inner);
    expect((await box.exec(['cat', label], { user: 1234 })).stdout).toBe(`${name} (enforce)\n`);
    await using free = await Container.create();
    expect((await free.exec(read, { appArmor: inner })).stdout).toBe(`secret\nopen\n${inner} (enforce)\n`);
  });

  it('can be told from outside', async () => {
    await using box = await Container.create({ appArmor: name });
    const sleeper = box.exec(['sleep', '60']);
    await box.exec(['true']);
    const { stdout } = await box.exec(sh('echo ok'));
    expect(stdout).toBe('ok\n');
    const pids = execFileSync('sh', ['-c', 'grep -ls "^sleep$" /proc/[0-9]*/comm']).toString().match(/\d+/g) ?? [];
    expect(pids.map((pid) => AppArmor.current(Number(pid)).name)).toContain(name);
    await sleeper[Symbol.asyncDispose]();
  });

  it('stacked on what the starter has, is under both', async () => {
    const { stdout } = await Container.run(sh(`cat ${label}; ${script}`), { appArmor: { profile: name, stack: true } });
    expect(stdout).toContain(name);
    expect(stdout).toMatch(/\nopen\n$/);
    expect(stdout).not.toContain('secret');
  });

  it('runs under it without a container, on the host and in namespaces of its own', async () => {
    for (const namespaces of [[], ['user', 'pid', 'mnt']] as const) {
      const { stdout } = await spawn(sh(`cat ${label}; ${script}; rm -r /tmp/open`), { appArmor: name, namespaces });
      expect(stdout).toBe(`${name} (enforce)\nopen\n`);
    }
    expect((await spawn(['cat', label])).stdout).toBe('unconfined\n');
    expect(() => spawn(['true'], { appArmor: 'no-such-profile' })).toThrow(OptionError);
  });

  it('does not start where that is not loaded', async () => {
    const failure = await Container.run(['true'], { appArmor: 'no-such-profile' }).catch((error) => error);
    expect(failure).toBeInstanceOf(OptionError);
    expect(failure).toMatchObject({ option: 'appArmor', received: expect.stringContaining('no-such-profile') });
  });
});
