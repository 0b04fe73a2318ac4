/** Group H, and B7, where a control group is used by itself. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CgroupV2, OptionError, PermissionError } from '../../lib/index.js';
import { CgroupDirectory } from '../../lib/primitives/cgroup/directory.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue } from '../support/residue.js';

checkResidue();

const name = (): string => `test-security-${process.pid}`;

/** What a shell prints that runs in the cgroup. */
async function within(group: CgroupV2, script: string): Promise<string> {
  const child = spawn('/bin/sh', ['-c', `read go; ${script}`], { stdio: ['pipe', 'pipe', 'ignore'] });
  let output = '';
  child.stdout.on('data', (data) => {
    output += data;
  });
  await group.attach(child.pid ?? 0);
  child.stdin.end('go\n');
  await once(child, 'close');
  return output;
}

describe('H: a control group by itself', () => {
  it('H4: a name leads nowhere but beneath the base', async () => {
    for (const path of ['../x', 'a/../../x', '/../x', 'x/', './x', 'a\0b', 'a\nb', 'cgroup.procs', 'memory.max']) {
      await expect(CgroupV2.create(path), path).rejects.toBeInstanceOf(OptionError);
    }
    await using group = await CgroupV2.create(name());
    const { base } = CgroupV2.layout().hierarchies[0] ?? {};
    expect(group.path).toBe(`${base}/${name()}`);
  });

  it('H10: hostile text in files of statistics and values makes no number, and no second line', async () => {
    await using group = await CgroupV2.create(name());
    const hostile = await within(group, "printf 'a) R 1 (\\n0::/x' > /proc/$$/comm; cat /proc/$$/comm");
    expect(hostile).toContain('a) R 1 (');
    const { cpu, pids } = await group.stats();
    expect(Number.isFinite(cpu.usageMs) && pids.current >= 0).toBe(true);
    for (const value of ['max\n', '1\n2', ' 5', '5;6']) {
      await expect(group.pids.set({ max: value as 'max' }), value).rejects.toBeInstanceOf(OptionError);
    }
    for (const device of ['8:0 rbps=1', '8:0\n8:16', '8:0 ']) {
      await expect(group.io.set({ max: [{ device, readBps: 1 }] }), device).rejects.toBeInstanceOf(OptionError);
    }
  });

  it('H11: files are only those of a cgroup file system, and no link is followed', async (context) => {
    needsRoot(context);
    const directory = mkdtempSync(join(tmpdir(), 'tscontain-'));
    try {
      mkdirSync(`${directory}/group`);
      writeFileSync(`${directory}/group/cgroup.procs`, '');
      expect(() => CgroupDirectory.open(`${directory}/group`, 2)).toThrow('not in a cgroup file system');
      await using group = await CgroupV2.create(name());
      symlinkSync(group.path, `${directory}/link`);
      expect(() => CgroupDirectory.open(`${directory}/link`, 2)).toThrow(/ENOTDIR|ELOOP/);
      const opened = CgroupDirectory.open(group.path, 2);
      await expect(opened.read('../cgroup.procs')).rejects.toBeInstanceOf(OptionError);
      await expect(opened.write('a/b', '')).rejects.toBeInstanceOf(OptionError);
      expect(await opened.read('cgroup.procs')).toBe('');
      await opened.close();
      expect(readFileSync(`${directory}/group/cgroup.procs`, 'utf8')).toBe('');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('H8: what an object has not made it does not end', async () => {
    await using group = await CgroupV2.create(name());
    const stranger = await CgroupV2.open(group.path);
    for (const verb of ['kill', 'freeze', 'remove'] as const) {
      await expect(stranger[verb]()).rejects.toBeInstanceOf(PermissionError);
    }
    await stranger[Symbol.asyncDispose]();
    expect(existsSync(group.path)).toBe(true);
    const own = await CgroupV2.self();
    await expect(own.kill()).rejects.toBeInstanceOf(PermissionError);
    await own.close();
  });

  it('B7: a device that no rule allows is not opened, whoever asks', async (context) => {
    needsRoot(context);
    await using group = await CgroupV2.create(name());
    const probe =
      'for d in null zero; do head -c0 /dev/$d >/dev/null 2>&1; (: < /dev/$d) 2>/dev/null && echo $d; done; true';
    expect(await within(group, probe)).toBe('null\nzero\n');
    await group.devices.set([{ type: 'char', major: 1, minor: 3 }]);
    expect(await within(group, probe)).toBe('null\n');
    await group.devices.set([]);
    expect(await within(group, probe)).toBe('');
    const made = `mknod ${tmpdir()}/tscontain-$$ c 1 3 2>/dev/null && echo made; rm -f ${tmpdir()}/tscontain-$$`;
    expect(await within(group, made)).toBe('');
    await group.devices.clear();
    expect(await within(group, made)).toBe('made\n');
  });
});
