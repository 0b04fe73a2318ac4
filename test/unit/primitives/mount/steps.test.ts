/** The steps that mounts are made of. */

import { describe, expect, it } from 'vitest';
import { decodeRecords } from '../../../../lib/launcher/wire.js';
import { describeStep } from '../../../../lib/plan/describe.js';
import { encodeSteps, stepOp } from '../../../../lib/plan/encode.js';
import type { Step } from '../../../../lib/plan/step.js';
import { hostTree, overlay, tmpfs } from '../../../../lib/primitives/mount/steps.js';

const slots = (count: number) => Array.from({ length: count }, (_, index) => ({ slot: `mount lower ${index}` }));
const configured = (steps: readonly Step[]) =>
  steps.flatMap((step) => (step.kind === 'fsconfig' || step.kind === 'fsconfigLayers' ? [step] : []));

describe('steps of an overlay', () => {
  it('name layers by descriptor, where the kernel takes that', () => {
    const steps = overlay('m', { lower: slots(2), upper: { slot: 'u' }, work: { slot: 'w' }, options: [['volatile']] });
    expect(configured(steps)).toEqual([
      { kind: 'fsconfig', on: 'm context', key: 'lowerdir+', file: 'mount lower 0' },
      { kind: 'fsconfig', on: 'm context', key: 'lowerdir+', file: 'mount lower 1' },
      { kind: 'fsconfig', on: 'm context', key: 'upperdir', file: 'u' },
      { kind: 'fsconfig', on: 'm context', key: 'workdir', file: 'w' },
      { kind: 'fsconfig', on: 'm context', key: 'volatile' },
    ]);
  });

  it('name them by their number in /proc, one by one or all together, for older kernels', () => {
    const one = configured(overlay('m', { lower: slots(2), options: [], passing: 'append' }));
    expect(one).toMatchObject([
      { key: 'lowerdir+', prefix: '/proc/self/fd/', layers: ['mount lower 0'] },
      { key: 'lowerdir+', prefix: '/proc/self/fd/', layers: ['mount lower 1'] },
    ]);
    const all = overlay('m', { lower: slots(2), options: [], passing: 'joined' });
    expect(all.slice(0, 2).map(({ kind }) => kind)).toEqual(['open', 'fchdir']);
    expect(configured(all)).toMatchObject([
      { key: 'lowerdir', prefix: '', layers: ['mount lower 0', 'mount lower 1'] },
    ]);
  });

  it('keep names of ours in one string as long as it fits, and add them one by one where it does not', () => {
    const names = (count: number) => Array.from({ length: count }, (_, index) => ({ path: `l${index}` }));
    expect(configured(overlay('m', { lower: names(3), options: [] }))).toEqual([
      { kind: 'fsconfig', on: 'm context', key: 'lowerdir', value: 'l0:l1:l2' },
    ]);
    const many = configured(overlay('m', { lower: names(300), options: [] }));
    expect(many).toHaveLength(300);
    expect(many[299]).toMatchObject({ key: 'lowerdir+', value: 'l299' });
  });
});

describe('steps of mounts on the wire', () => {
  it('are records with the numbers of slots', () => {
    const steps: Step[] = [
      { kind: 'fsconfigLayers', on: '0', key: 'lowerdir', prefix: '', layers: ['1', '2'] },
      { kind: 'fsconfig', on: '0', key: 'upperdir', file: '3' },
      { kind: 'unmount', under: '4', name: 'a,b', mountId: 2 ** 40 + 1 },
      { kind: 'detach', mount: '5' },
      { kind: 'discard', upper: '6', work: '7' },
    ];
    const [layers, file, unmount, detach, discard] = decodeRecords(encodeSteps(steps));
    expect(layers).toMatchObject({ op: stepOp.fsconfigLayers, ints: [0] });
    expect(layers?.blobs.map(String).slice(0, 2)).toEqual(['lowerdir', '']);
    expect([...new Uint32Array(Uint8Array.from(layers?.blobs[2] ?? []).buffer)]).toEqual([1, 2]);
    expect(file).toMatchObject({ op: stepOp.fsconfig, ints: [0, 5, 3] });
    expect(unmount).toMatchObject({ op: stepOp.unmount, ints: [4, 2 ** 40 + 1] });
    expect(String(unmount?.blobs[0])).toBe('a,b');
    expect(detach).toMatchObject({ op: stepOp.detach, ints: [5] });
    expect(discard).toMatchObject({ op: stepOp.discard, ints: [6, 7] });
    for (const step of steps) expect(describeStep(step)).toMatchObject({ manual: expect.stringMatching(/^\w+\(2\)$/) });
  });
});

describe('steps of binds and tmpfs', () => {
  it('set the attributes of all that is below, before anything is attached', () => {
    expect(hostTree('m', { path: '/x', readOnly: true, idmap: false })).toEqual([
      { kind: 'openTree', to: 'm', from: null, path: '/x', recursive: true },
      { kind: 'mountSetattr', on: 'm', path: '', recursive: true, set: 1 | 2 | 4, clear: 0, propagation: 0x40000 },
    ]);
  });

  it('give an owner only where one was asked for', () => {
    const keys = (steps: readonly Step[]) => steps.flatMap((step) => (step.kind === 'fsconfig' ? [step.key] : []));
    expect(keys(tmpfs('m', { size: 4096, inodes: 16, mode: 0o755 }))).toEqual(['size', 'nr_inodes', 'mode']);
    expect(keys(tmpfs('m', { size: 4096, inodes: 16, mode: 0o755, uid: 1, gid: 2 }))).toContain('gid');
  });
});
