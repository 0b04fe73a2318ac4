/** Capabilities as the tools of libcap see them: masks, processes, files. */

import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, describe, expect, it } from 'vitest';
import { Capabilities, IdMap, OptionError, TscontainError } from '../../lib/index.js';
import { setXattr } from '../../lib/primitives/xattr.js';
import { needsPrograms, needsRoot, needsSetuid } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const directory = mkdtempSync(`${tmpdir()}/tscontain-capabilities-`);
afterAll(() => rmSync(directory, { recursive: true }));

function tool(...argv: [string, ...string[]]): string {
  return execFileSync(argv[0], argv.slice(1), { encoding: 'utf8' }).trim();
}

describe('capabilities', () => {
  it('have the names that capsh(1) decodes from their mask', (context) => {
    needsPrograms(context, 'capsh');
    let state = 99n;
    for (let i = 0; i < 25; i++) {
      state = (state * 6_364_136_223_846_793_005n + 1_442_695_040_888_963_407n) % (1n << 64n);
      const set = Capabilities.fromMask(state & Capabilities.all.mask);
      const decoded = tool('capsh', `--decode=${set.toHex()}`);
      expect(decoded).toBe(`0x${set.toHex()}=${set.toArray().join(',').toLowerCase()}`);
      expect(Capabilities.parse(decoded.split('=')[1] ?? '').equals(set)).toBe(true);
    }
  });

  it('of a process are the five sets that it was started with', async (context) => {
    needsPrograms(context, 'capsh');
    needsRoot(context);
    const own = Capabilities.ofProcess('self');
    expect(own.effective.isSubsetOf(own.permitted)).toBe(true);
    const keep = ['--keep=1', '--inh=cap_chown,cap_kill', '--drop=cap_sys_time,cap_bpf', '--uid=65534'];
    const child = spawn('capsh', [...keep, '--addamb=cap_chown', '--', '-c', 'echo; exec cat'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    const sets = Capabilities.ofProcess(child.pid ?? 0);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    expect(sets.bounding.equals(own.bounding.drop('SYS_TIME', 'BPF'))).toBe(true);
    expect(sets.inheritable.toArray()).toEqual(['CAP_CHOWN', 'CAP_KILL']);
    expect(sets.ambient.toArray()).toEqual(['CAP_CHOWN']);
    expect(sets.permitted.toArray()).toEqual(['CAP_CHOWN']);
    expect(sets.effective.toArray()).toEqual(['CAP_CHOWN']);
    child.stdin.end();
    await ended;
  });
});

describe('capabilities of a file', () => {
  const file = (name: string) => {
    writeFileSync(`${directory}/${name}`, '#!/bin/true');
    return `${directory}/${name}`;
  };

  it('that setcap(8) wrote are read, and the other way round', (context) => {
    needsPrograms(context, 'setcap', 'getcap');
    needsRoot(context);
    const theirs = file('theirs');
    expect(Capabilities.ofFile(theirs)).toBeUndefined();
    tool('setcap', 'cap_net_raw,cap_bpf=eip cap_chown=ei', theirs);
    const read = Capabilities.ofFile(theirs);
    expect(read?.permitted.toArray()).toEqual(['CAP_NET_RAW', 'CAP_BPF']);
    expect(read?.inheritable.toArray()).toEqual(['CAP_CHOWN', 'CAP_NET_RAW', 'CAP_BPF']);
    expect([read?.effective, read?.rootId]).toEqual([true, undefined]);

    const ours = file('ours');
    Capabilities.setFile(ours, { permitted: ['net_raw', 'BPF'], inheritable: ['CHOWN', 'NET_RAW', 'BPF'] });
    expect(tool('getcap', ours).replace(ours, '')).toBe(tool('getcap', theirs).replace(theirs, ''));
    Capabilities.setFile(ours, { permitted: ['kill'], effective: false });
    expect(tool('getcap', ours)).toContain('cap_kill=p');
    expect(Capabilities.removeFile(ours)).toBe(true);
    expect(Capabilities.removeFile(ours)).toBe(false);
    expect(tool('getcap', ours)).toBe('');
  });

  it('of one user namespace name its root', (context) => {
    needsPrograms(context, 'setcap', 'getcap');
    needsRoot(context);
    const path = file('namespaced');
    Capabilities.setFile(path, { permitted: ['CHOWN'], rootId: 100_000 });
    expect(Capabilities.ofFile(path)?.rootId).toBe(100_000);
    expect(tool('getcap', '-n', path)).toContain('cap_chown=ep [rootid=100000]');
    tool('setcap', '-n', '5000', 'cap_kill=ep', path);
    expect(Capabilities.ofFile(path)).toMatchObject({ rootId: 5000, effective: true });
  });

  it('are what an ordinary user has who executes it', (context) => {
    needsSetuid(context, directory);
    needsRoot(context);
    const program = `${directory}/chown`;
    execFileSync('chmod', ['755', directory]);
    copyFileSync('/usr/bin/chown', program);
    const target = file('target');
    const change = () => tool('setpriv', '--reuid=65534', '--clear-groups', program, '1', target);
    expect(change).toThrow(/not permitted/);
    Capabilities.setFile(program, { permitted: ['CHOWN'] });
    expect(change()).toBe('');
    Capabilities.removeFile(program);
    expect(change).toThrow(/not permitted/);
  });

  it('are given to files only, and never through a link', (context) => {
    needsRoot(context);
    const target = file('linked');
    symlinkSync(target, `${directory}/link`);
    mkdirSync(`${directory}/d`);
    for (const path of [`${directory}/link`, `${directory}/d`]) {
      expect(() => Capabilities.setFile(path, { permitted: ['CHOWN'] }), path).toThrow(OptionError);
    }
    expect(() => Capabilities.setFile(`${directory}/none`, { permitted: ['CHOWN'] })).toThrow(/ENOENT/);
    expect(() => Capabilities.ofFile(`${directory}/none`)).toThrow(TscontainError);
    for (const option of [
      { permitted: ['TYPO'] },
      { permitted: 'CHOWN' },
      { allowed: ['CHOWN'] },
      { effective: 1 },
      { rootId: -1 },
      { rootId: 2 ** 32 - 1 },
      { rootId: Number.NaN },
      null,
    ]) {
      expect(() => Capabilities.setFile(target, option as never), JSON.stringify(option)).toThrow(OptionError);
    }
    expect(Capabilities.ofFile(target)).toBeUndefined();
    // The kernel keeps no other form: what it takes, we understand.
    expect(() => setXattr(target, 'security.capability', Buffer.alloc(20, 7))).toThrow(/EINVAL/);
  });
});

describe('subordinate ids', () => {
  it('are mapped for a user that has some', (context) => {
    needsRoot(context);
    const line = (path: string) => {
      const found = execFileSync('cat', [path], { encoding: 'utf8' })
        .split('\n')
        .find((one) => /^[^:#]+:\d+:\d+$/.test(one));
      return found?.split(':') ?? [];
    };
    const [user = '', first] = line('/etc/subuid');
    context.skip(first === undefined || line('/etc/subgid')[0] !== user, 'no user has subordinate ids here');
    const { uid, gid } = IdMap.subordinate(user, { root: 'subordinate' });
    expect([uid.toOutside(0), gid.toOutside(0)]).toEqual([Number(first), Number(line('/etc/subgid')[1])]);
    const self = IdMap.subordinate(user);
    expect(self.uid.toOutside(0)).toBe(Number(tool('id', '-u', user)));
    expect(self.uid.toOutside(1)).toBe(Number(first));
  });
});
