/** Agents: steps and descriptors outside of containers. */

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { TscontainError } from '../../lib/index.js';
import { Agent } from '../../lib/launcher/agent.js';
import { addon, type Descriptor } from '../../lib/launcher/native.js';
import { openFlag, type Step } from '../../lib/plan/step.js';
import { namespaceKinds as allKinds, type NamespaceKind } from '../../lib/primitives/namespace/kind.js';
import { needsRoot } from '../support/requirements.js';
import { checkResidue, expectNoResidue, takeResidue } from '../support/residue.js';

checkResidue();

/** Those that this kernel has: one built without time namespaces is common enough. */
const namespaceKinds = allKinds.filter((kind) => existsSync(`/proc/self/ns/${kind}`));

const link = (pid: number | 'self', kind: string) => readlinkSync(`/proc/${pid}/ns/${kind}`);

function openNamespace(kind: NamespaceKind): Step {
  return { kind: 'open', to: `ns ${kind}`, from: null, path: `/proc/self/ns/${kind}`, flags: 0, resolve: 0 };
}

/** Which namespace a descriptor stands for, as /proc shows it. */
const nameOf = (descriptor: Descriptor) => readlinkSync(`/proc/self/fd/${descriptor.number}`);

describe('agents', () => {
  it('are in no other namespace than the caller unless asked', async () => {
    await using agent = await Agent.start();
    for (const kind of namespaceKinds) expect(link(agent.pid ?? 0, kind), kind).toBe(link('self', kind));
  });

  it('do not take what cannot be moved aside for discarded', async () => {
    const top = mkdtempSync(join(tmpdir(), 'tscontain-discard-'));
    const open = (name: string) => addon().openPath(Buffer.from(join(top, name)), true);
    const directory = (to: string, from: string): Step => ({
      kind: 'open',
      to,
      from,
      path: '.',
      flags: openFlag.DIRECTORY,
      resolve: 0,
    });
    const names = ['upper', 'work', 'gone'];
    for (const name of names) mkdirSync(join(top, name));
    writeFileSync(join(top, 'upper', 'file'), '');
    const descriptors = names.map(open);
    rmdirSync(join(top, 'gone'));
    const discard = (work: string): readonly Step[] => [
      directory('upper', '0'),
      directory('work', work),
      { kind: 'discard', upper: 'upper', work: 'work' },
    ];
    await using agent = await Agent.start();
    await expect(agent.run(discard('2'), { descriptors })).rejects.toThrow('ESTALE');
    expect(readdirSync(join(top, 'upper'))).toEqual(['file']);
    await agent.run(discard('1'), { descriptors });
    expect(['upper', 'work'].flatMap((name) => readdirSync(join(top, name)))).toEqual([]);
    for (const descriptor of descriptors) descriptor.close();
    rmSync(top, { recursive: true });
  });

  it('are in new namespaces of exactly the kinds asked for', async (context) => {
    needsRoot(context);
    const combinations: NamespaceKind[][] = [
      ...namespaceKinds.map((kind) => [kind]),
      ['user', 'net'],
      [...namespaceKinds],
    ];
    for (const create of combinations) {
      await using agent = await Agent.start({ create });
      for (const kind of namespaceKinds) {
        const same = link(agent.pid ?? 0, kind) === link('self', kind);
        expect(same, `${kind} of ${create}`).toBe(!create.includes(kind));
      }
    }
  });

  it('hand back the descriptors that steps have made, and keep none of them', async (context) => {
    needsRoot(context);
    await using agent = await Agent.start({ create: ['net', 'uts'] });
    const before = readdirSync(`/proc/${agent.pid}/fd`);
    const [net, uts] = await agent.run([openNamespace('net'), openNamespace('uts'), openNamespace('ipc')], {
      take: ['ns net', 'ns uts'],
    });
    // It closes its own once it has answered.
    await expect.poll(() => readdirSync(`/proc/${agent.pid}/fd`)).toEqual(before);
    if (!net || !uts) throw new Error('no descriptors');
    expect(nameOf(net)).toBe(link(agent.pid ?? 0, 'net'));
    expect(nameOf(uts)).toBe(link(agent.pid ?? 0, 'uts'));
    await expect(agent.run([], { take: ['ns ipc'] })).rejects.toMatchObject({ errno: 'EBADF' });
    net.close();
    uts.close();
  });

  it('take descriptors as the first slots, and enter the namespaces they stand for', async (context) => {
    needsRoot(context);
    await using there = await Agent.start({ create: ['uts', 'net'] });
    const [net, uts] = await there.run([openNamespace('net'), openNamespace('uts')], { take: ['ns net', 'ns uts'] });
    if (!net || !uts) throw new Error('no descriptors');
    await using agent = await Agent.start({
      join: new Map([
        ['net', net],
        ['uts', uts],
      ]),
    });
    expect(link(agent.pid ?? 0, 'net')).toBe(link(there.pid ?? 0, 'net'));
    expect(link(agent.pid ?? 0, 'uts')).toBe(link(there.pid ?? 0, 'uts'));
    expect(link(agent.pid ?? 0, 'ipc')).toBe(link('self', 'ipc'));
    net.close();
    uts.close();
  });

  it('say which step failed, and go on', async () => {
    await using agent = await Agent.start();
    const steps: Step[] = [
      { kind: 'open', to: 'a', from: null, path: '/', flags: openFlag.PATH, resolve: 0 },
      { kind: 'open', to: 'b', from: null, path: '/not there', flags: 0, resolve: 0 },
    ];
    const failure = await agent.run(steps, { take: ['a'], doing: 'testing' }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(TscontainError);
    expect(failure).toMatchObject({
      message: 'testing: step 2 of 2, open /not there as "b": openat2 gave ENOENT',
      code: 'ERR_STEP',
      errno: 'ENOENT',
      syscall: 'openat2',
      path: '/not there',
      step: { index: 2, of: 2, kind: 'open' },
    });
    expect(await agent.run([])).toEqual([]);
  });

  it('end when they are closed, and answer nothing after', async () => {
    const before = takeResidue();
    const agent = await Agent.start();
    const running = agent.run([{ kind: 'changeDirectory', path: '/' }]);
    // It may have been ended before it could answer.
    await Promise.allSettled([running, agent.close(), agent.close()]);
    await expect(agent.run([])).rejects.toMatchObject({ code: 'ERR_AGENT_GONE' });
    await expectNoResidue(before);
  });

  it('that cannot be made leave nothing', async (context) => {
    needsRoot(context);
    const before = takeResidue();
    const here = await Agent.start();
    const [stale] = await here.run([openNamespace('uts')], { take: ['ns uts'] });
    await here.close();
    if (!stale) throw new Error('no descriptor');
    // A uts namespace is no net namespace.
    const failure = await Agent.start({ join: new Map([['net', stale]]) }).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'ERR_STEP', syscall: 'setns', errno: 'EINVAL' });
    stale.close();
    await expectNoResidue(before);
  });
});
