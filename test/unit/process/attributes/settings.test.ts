import { describe, expect, it } from 'vitest';
import { parseContainerOptions, parseExecOptions, parseRunOptions } from '../../../../lib/container/settings.js';
import { OptionError, PermissionError } from '../../../../lib/errors.js';
import { resourceNames } from '../../../../lib/primitives/rlimits.js';
import { expectRlimitsWithinOwn } from '../../../../lib/process/attributes/rlimits.js';
import { expectSchedulable } from '../../../../lib/process/attributes/scheduling.js';
import {
  type AttributeSettings,
  overlayAttributes,
  readAttributes,
} from '../../../../lib/process/attributes/settings.js';
import { attributeSteps } from '../../../../lib/process/attributes/steps.js';

const Infinite = Number.POSITIVE_INFINITY;

function attributesOf(options: object): AttributeSettings {
  return parseContainerOptions(options).attributes;
}

function refusalOf(options: object, parse: (options: object) => unknown = attributesOf): [string, string | undefined] {
  try {
    parse(options);
  } catch (error) {
    if (error instanceof OptionError) return [error.option, error.hint];
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(options)}`);
}

describe('attributes of a program', () => {
  it('are few unless something is said', () => {
    const { rlimits, scheduling, personality, oomScoreAdj } = attributesOf({});
    expect(rlimits).toEqual({ nofile: { soft: 1024, hard: 1024 }, core: { soft: 0, hard: 0 } });
    expect([scheduling, personality, oomScoreAdj]).toEqual([{}, undefined, undefined]);
    expect(attributesOf({})).toBe(attributesOf({ limits: undefined }));
  });

  it('take each resource by its name, as one value or two', () => {
    for (const name of resourceNames) {
      expect(attributesOf({ rlimits: { [name]: 20 } }).rlimits[name]).toEqual({ soft: 20, hard: 20 });
      const both = { soft: 10, hard: name === 'nice' || name === 'rtprio' ? 40 : 'unlimited' };
      const hard = both.hard === 40 ? 40 : Infinite;
      expect(attributesOf({ rlimits: { [name]: both } }).rlimits[name]).toEqual({ soft: 10, hard });
    }
    expect(attributesOf({ rlimits: { stack: '8MiB' } }).rlimits.stack?.soft).toBe(2 ** 23);
  });

  it.each([
    [{ rlimits: { nofile: 3 } }, 'rlimits.nofile'],
    [{ rlimits: { nofile: '1024' } }, 'rlimits.nofile'],
    [{ rlimits: { nproc: -1 } }, 'rlimits.nproc'],
    [{ rlimits: { nproc: Number.NaN } }, 'rlimits.nproc'],
    [{ rlimits: { nproc: Infinite } }, 'rlimits.nproc'],
    [{ rlimits: { cpu: 1.5 } }, 'rlimits.cpu'],
    [{ rlimits: { as: 'lots' } }, 'rlimits.as'],
    [{ rlimits: { nice: 41 } }, 'rlimits.nice'],
    [{ rlimits: { rtprio: 100 } }, 'rlimits.rtprio'],
    [{ rlimits: { stack: { soft: 2, hard: 1 } } }, 'rlimits.stack.soft'],
    [{ rlimits: { stack: { hard: 1 } } }, 'rlimits.stack.soft'],
    [{ rlimits: { stack: { soft: 1, max: 2 } } }, 'rlimits.stack.max'],
    [{ rlimits: { NOFILE: 10 } }, 'rlimits.NOFILE'],
    [{ rlimits: { openFiles: 10 } }, 'rlimits.openFiles'],
    [{ rlimits: [1] }, 'rlimits'],
    [{ rlimits: { nofile: 10 }, limits: { openFiles: 10 } }, 'rlimits.nofile'],
    [{ rlimits: { fsize: 10 }, limits: { fileSize: 10 } }, 'rlimits.fsize'],
    [{ scheduling: { policy: 'normal' } }, 'scheduling.policy'],
    [{ scheduling: { nice: 20 } }, 'scheduling.nice'],
    [{ scheduling: { nice: -21 } }, 'scheduling.nice'],
    [{ scheduling: { nice: '5' } }, 'scheduling.nice'],
    [{ scheduling: { policy: 'fifo' } }, 'scheduling.priority'],
    [{ scheduling: { policy: 'fifo', priority: 0 } }, 'scheduling.priority'],
    [{ scheduling: { policy: 'rr', priority: 100 } }, 'scheduling.priority'],
    [{ scheduling: { policy: 'rr', priority: 1, nice: 1 } }, 'scheduling.nice'],
    [{ scheduling: { priority: 1 } }, 'scheduling.priority'],
    [{ scheduling: { policy: 'deadline', runtime: 2, deadline: 1 } }, 'scheduling.runtime'],
    [{ scheduling: { policy: 'deadline', runtime: 1, deadline: 3, period: 2 } }, 'scheduling.deadline'],
    [{ scheduling: { policy: 'deadline', runtime: Number.NaN, deadline: 3 } }, 'scheduling.runtime'],
    [{ scheduling: { policy: 'deadline', runtime: 0, deadline: 3 } }, 'scheduling.runtime'],
    [{ scheduling: { runtime: 1 } }, 'scheduling.runtime'],
    [{ scheduling: { affinity: '' } }, 'scheduling.affinity'],
    [{ scheduling: { affinity: '0-9999999999' } }, 'scheduling.affinity'],
    [{ scheduling: { affinity: [0] } }, 'scheduling.affinity'],
    [{ scheduling: { io: 'idle' } }, 'scheduling.io'],
    [{ scheduling: { io: { class: 'best' } } }, 'scheduling.io.class'],
    [{ scheduling: { io: { class: 'idle', level: 1 } } }, 'scheduling.io.level'],
    [{ scheduling: { io: { class: 'best-effort', level: 8 } } }, 'scheduling.io.level'],
    [{ scheduling: { core: 1 } }, 'scheduling.core'],
    [{ scheduling: { cpus: '0' } }, 'scheduling.cpus'],
    [{ personality: 'linux32' }, 'personality'],
    [{ personality: 0x40000 }, 'personality'],
    [{ personality: { domain: 'svr4' } }, 'personality.domain'],
    [{ personality: { readImpliesExec: true } }, 'personality.readImpliesExec'],
    [{ personality: { noRandomize: true } }, 'personality.noRandomize'],
    [{ oomScoreAdj: -1 }, 'oomScoreAdj'],
    [{ oomScoreAdj: 1001 }, 'oomScoreAdj'],
    [{ oomScoreAdj: 0.5 }, 'oomScoreAdj'],
    [{ oomScoreAdj: '5' }, 'oomScoreAdj'],
    [{ oomScoreAdj: Number.NaN }, 'oomScoreAdj'],
  ])('%j is refused at %s', (options, option) => {
    expect(refusalOf(options)[0]).toBe(option);
  });

  it('say why an execution domain is not to be had', () => {
    expect(refusalOf({ personality: { mmapPageZero: true } })[1]).toContain('null pointer');
  });

  it('have a score below zero only outside a container', () => {
    expect(readAttributes({ oomScoreAdj: -1000 }, 'host').oomScoreAdj).toBe(-1000);
    expect(refusalOf({ oomScoreAdj: -1000 })[1]).toContain('limit of memory');
  });

  it('are listed where they weaken the container', () => {
    expect(parseContainerOptions({ personality: { unsafeNoRandomize: true } }).relaxations).toEqual([
      'personality.unsafeNoRandomize',
    ]);
    expect(parseContainerOptions({ personality: { domain: 'linux32' } }).relaxations).toEqual([]);
    expect(parseContainerOptions({ scheduling: { policy: 'rr', priority: 3 } }).relaxations).toEqual([
      'scheduling.policy rr 3',
    ]);
  });

  it('of a run are the container’s', () => {
    const { container, exec } = parseRunOptions({ oomScoreAdj: 7, rlimits: { nproc: 9 } });
    expect([container.attributes.oomScoreAdj, container.attributes.rlimits.nproc?.hard]).toEqual([7, 9]);
    expect(exec.attributes).toBe(parseExecOptions({}).attributes);
  });
});

describe('an exec’s attributes', () => {
  const container = attributesOf({
    rlimits: { nproc: { soft: 10, hard: 20 }, stack: 'unlimited' },
    scheduling: { policy: 'batch', nice: 3, affinity: '0' },
    oomScoreAdj: 100,
  });
  const over = (options: object) => overlayAttributes(container, parseExecOptions(options).attributes);

  it('lie over the container’s', () => {
    expect(over({})).toBe(container);
    const both = over({ rlimits: { nproc: 20, cpu: 5 }, scheduling: { nice: 7 }, oomScoreAdj: 300 });
    expect(both.rlimits).toMatchObject({
      nproc: { soft: 20, hard: 20 },
      stack: { soft: Infinite, hard: Infinite },
      cpu: { soft: 5, hard: 5 },
      nofile: { soft: 1024, hard: 1024 },
    });
    expect(both.scheduling.policy).toMatchObject({ policy: 'other', nice: 7 });
    expect(both.scheduling.affinity).toBe('0');
    expect(both.oomScoreAdj).toBe(300);
  });

  it('are never wider', () => {
    expect(refusalOf({ rlimits: { nproc: 21 } }, over)[0]).toBe('rlimits.nproc');
    expect(refusalOf({ rlimits: { nproc: { soft: 1, hard: 'unlimited' } } }, over)[0]).toBe('rlimits.nproc');
    expect(refusalOf({ rlimits: { nofile: 1025 } }, over)[0]).toBe('rlimits.nofile');
    expect(refusalOf({ rlimits: { core: 1 } }, over)[0]).toBe('rlimits.core');
    expect(refusalOf({ oomScoreAdj: 99 }, over)[0]).toBe('oomScoreAdj');
  });
});

describe('what a process may hand on', () => {
  const own = {
    nofile: { soft: 100, hard: 200 },
    rtprio: { soft: 0, hard: 0 },
    nice: { soft: 22, hard: 22 },
  };

  it('bounds the hard limits of its programs, and the error says so', () => {
    const check = (rlimits: object) =>
      expectRlimitsWithinOwn(readAttributes({ rlimits }, 'host').rlimits, 'rlimits', own);
    check({ nofile: 200, stack: 'unlimited' });
    expect(() => check({ nofile: { soft: 10, hard: 201 } })).toThrow(PermissionError);
    expect(() => check({ nofile: 'unlimited' })).toThrow(
      /rlimits\.nofile: the hard limit unlimited .* 200 \(hint: ask for at most 200/,
    );
  });

  it('bounds their scheduling', () => {
    const check = (scheduling: object, rlimits = {}) => {
      const read = readAttributes({ scheduling, rlimits }, 'container');
      expectSchedulable(read.scheduling, read.rlimits, 'scheduling', own);
    };
    check({ policy: 'idle' });
    check({ nice: -2 });
    check({ policy: 'fifo', priority: 5 }, { rtprio: 5 });
    for (const options of [
      { nice: -3 },
      { policy: 'fifo', priority: 5 },
      { policy: 'deadline', runtime: 1, deadline: 2 },
      { io: { class: 'realtime' } },
    ]) {
      expect(() => check(options), JSON.stringify(options)).toThrow(PermissionError);
    }
  });
});

describe('attributes as steps', () => {
  it('limit descriptors last, and everything else while there are privileges', () => {
    const steps = attributeSteps(
      attributesOf({
        rlimits: { cpu: { soft: 1, hard: 'unlimited' } },
        scheduling: {
          policy: 'deadline',
          runtime: 0.001,
          deadline: 2,
          resetOnFork: true,
          affinity: '3,1-2',
          core: true,
        },
        personality: { domain: 'linux32', uname26: true },
        oomScoreAdj: 5,
      }),
    );
    expect(steps.last).toEqual([{ kind: 'rlimit', resource: 7, name: 'NOFILE', soft: 1024, hard: 1024 }]);
    expect(steps.beforeIds).toEqual([
      { kind: 'oomScoreAdjust', value: 5 },
      { kind: 'personality', value: 0x20008 },
      { kind: 'rlimit', resource: 4, name: 'CORE', soft: 0, hard: 0 },
      { kind: 'rlimit', resource: 0, name: 'CPU', soft: 1, hard: Infinite },
      { kind: 'affinity', processors: '1-3' },
      {
        kind: 'scheduling',
        policy: 'deadline',
        nice: 0,
        priority: 0,
        runtime: 1024,
        deadline: 2e6,
        period: 2e6,
        resetOnFork: true,
      },
      { kind: 'coreScheduling' },
    ]);
  });
});
