/** Group D of the catalogue: programs started in a running container. */

import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Container, OptionError, TscontainError } from '../../lib/index.js';
import { checkResidue } from '../support/residue.js';
import { insideOf, outside } from './probe.js';

checkResidue();

const profile = `
names = ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Groups', 'Uid', 'Gid')
status = dict(line.split(':', 1) for line in open('/proc/self/status').read().splitlines())
answer({n: ' '.join(status[n].split()) for n in names})`;

describe('D: exec', () => {
  it('D1: the first program, a later one, one with a terminal and one that runs alone have the same profile', async () => {
    await using box = await Container.create();
    const first = await insideOf<Record<string, string>>(box, profile);
    expect(await insideOf(box, profile)).toEqual(first);
    expect(await insideOf(box, profile, { tty: true })).toEqual(first);
    const alone = await Container.run(['/usr/bin/cat', '/proc/self/status']);
    for (const [name, value] of Object.entries(first)) {
      expect(alone.stdout.replace(/\s+\n/g, '\n').replace(/[\t ]+/g, ' ')).toContain(`${name}: ${value}`.trimEnd());
    }
    expect(first).toMatchObject({ NoNewPrivs: '1', Seccomp: '2' });
    expect(outside<Record<string, string>>(profile)).not.toEqual(first);
  });

  it('D3: a user is parsed as a whole, or refused', async () => {
    await using box = await Container.create();
    for (const user of [
      '1000x',
      '+0',
      '',
      '1:',
      ':1',
      ' 0',
      '0 ',
      '-1',
      '0x0',
      '1e3',
      '00',
      '1000:wheel',
      'a b',
      'root\n',
      'ro\0ot',
    ]) {
      expect(() => box.exec(['/bin/true'], { user }), JSON.stringify(user)).toThrow(OptionError);
    }
    expect((await box.exec(['id', '-u'], { user: '1000' })).stdout).toBe('1000\n');
    expect((await box.exec(['id', '-u'], { user: 'nobody' })).stdout).toBe('65534\n');
  });

  it('D4: a program left in the background does not hold the result, and 300 programs leave no descriptor', async () => {
    await using box = await Container.create();
    const startedAt = Date.now();
    const held = await box.exec(['sh', '-c', 'sleep 600 & echo done']);
    expect(held.stdout).toBe('done\n');
    expect(Date.now() - startedAt).toBeLessThan(2000);
    for (let i = 0; i < 20; i++) await box.exec(['/bin/true']);
    const before = readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 300; i++) await box.exec(['/bin/true']);
    expect(readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before + 2);
    await expect(box.exec(['/no/such/program'])).rejects.toBeInstanceOf(TscontainError);
    const kept = [];
    for (let i = 0; i < 20; i++) kept.push(box.exec(['/bin/sleep', '60']));
    await kept[0]?.kill('SIGKILL');
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(readdirSync('/proc/self/fd').length).toBeGreaterThan(before + 2);
    await box.kill();
    await Promise.allSettled(kept);
  });

  it('D5: what is started later is in the container’s cgroups', async () => {
    await using box = await Container.create();
    const lines = await insideOf<string[]>(box, `answer(open('/proc/self/cgroup').read().splitlines())`);
    // Seen from the container's own cgroup namespace: the root of each, or a direct child.
    for (const line of lines) expect(line).toMatch(/:\/(x\d+)?$/);
    const { pid, cgroup } = box.inspect();
    const process = box.exec(['/bin/sleep', '60']);
    const children = () => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    while (children() === '') await new Promise((resolve) => setTimeout(resolve, 5));
    const paths = (of: string) => readFileSync(`/proc/${of}/cgroup`, 'utf8').trim().split('\n');
    const own = paths(String(pid));
    const theirs = paths(children());
    expect(own.some((line) => line.includes(cgroup ?? 'none'))).toBe(true);
    for (const [index, line] of own.entries()) expect(theirs[index]?.replace(/\/x\d+$/, '')).toBe(line);
    expect(paths('self').some((line) => line.includes(cgroup ?? 'none'))).toBe(false);
    process.kill('SIGKILL');
    await process;
  });

  it('D6, H8: after the end there is nothing to start in and nothing to signal', async () => {
    const box = await Container.create();
    const process = box.exec(['/bin/sleep', '60']);
    expect(process.kill('SIGCONT')).toBe(true);
    await box.kill();
    await Promise.allSettled([process]);
    await expect(box.exec(['/bin/true'])).rejects.toMatchObject({ code: 'ERR_CONTAINER_GONE' });
    await expect(box.fs.readFile('/etc/hosts')).rejects.toBeInstanceOf(TscontainError);
    expect(process.kill()).toBe(false);
  });
});
