import { describe, expect, it } from 'vitest';
import { OptionError } from '../../../../lib/errors.js';
import {
  type CheckedDeviceRule,
  compileDeviceRules,
  readDeviceRule,
} from '../../../../lib/primitives/cgroup/device-program.js';

interface Request {
  readonly type: 1 | 2;
  readonly access: number;
  readonly major: number;
  readonly minor: number;
}

/** An interpreter of the few instructions that the compiler uses; anything else is an error. */
function run(program: Uint8Array, { type, access, major, minor }: Request): number {
  const bytes = Buffer.from(program);
  const context = Buffer.alloc(12);
  context.writeUInt32LE((access << 16) | type, 0);
  context.writeUInt32LE(major, 4);
  context.writeUInt32LE(minor, 8);
  const registers: (number | 'context')[] = [Number.NaN, 'context'];
  const number = (register: number): number => {
    const value = registers[register];
    if (typeof value !== 'number' || Number.isNaN(value)) throw new Error(`register ${register} is not a number`);
    return value;
  };
  for (let at = 0, steps = 0; steps < 10_000; steps++) {
    const code = bytes.readUInt8(at * 8);
    const to = bytes.readUInt8(at * 8 + 1) & 15;
    const from = bytes.readUInt8(at * 8 + 1) >> 4;
    const offset = bytes.readInt16LE(at * 8 + 2);
    const value = bytes.readInt32LE(at * 8 + 4);
    at++;
    if (code === 0x95) return number(0);
    if (code === 0x61 && registers[from] === 'context') registers[to] = context.readUInt32LE(offset);
    else if (code === 0xbf) registers[to] = number(from);
    else if (code === 0xb7) registers[to] = value;
    else if (code === 0x57) registers[to] = number(to) & value;
    else if (code === 0x77) registers[to] = number(to) >>> value;
    else if (code === 0x55) at += number(to) !== value ? offset : 0;
    else if (code === 0x5d) at += number(to) !== number(from) ? offset : 0;
    else throw new Error(`instruction ${code.toString(16)}`);
  }
  throw new Error('the program does not end');
}

/** What the rules mean, said another way. */
function allows(rules: readonly CheckedDeviceRule[], { type, access, major, minor }: Request): boolean {
  const wanted = [...'mrw'].filter((_, bit) => access & (1 << bit));
  return rules.some(
    (rule) =>
      (rule.type === 'all' || rule.type === (type === 1 ? 'block' : 'char')) &&
      (rule.major === '*' || rule.major === major) &&
      (rule.minor === '*' || rule.minor === minor) &&
      wanted.every((letter) => rule.access.includes(letter)),
  );
}

/** A linear congruential generator, so that a failure is seen again. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe('a device program', () => {
  it('refuses everything without rules', () => {
    for (const access of [0, 1, 2, 4, 7])
      expect(run(compileDeviceRules([]), { type: 2, access, major: 1, minor: 3 })).toBe(0);
  });

  it('means what its rules mean', () => {
    const random = generator(1);
    const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;
    let allowed = 0;
    for (let round = 0; round < 300; round++) {
      const rules = Array.from({ length: random(8) }, () =>
        readDeviceRule(
          {
            type: pick(['char', 'block', 'all']),
            major: pick(['*', 0, 1, 5, 4095]),
            minor: pick(['*', 0, 3, 1048575]),
            access: pick(['r', 'w', 'm', 'rw', 'wr', 'rm', 'rwm']),
          },
          'rule',
        ),
      );
      const program = compileDeviceRules(rules);
      for (let i = 0; i < 60; i++) {
        const request = {
          type: pick([1, 2] as const),
          access: random(8),
          major: pick([0, 1, 5, 4095]),
          minor: pick([0, 3, 7, 1048575]),
        };
        const verdict = run(program, request);
        expect(verdict, JSON.stringify({ rules, request })).toBe(allows(rules, request) ? 1 : 0);
        allowed += verdict;
      }
    }
    expect(allowed).toBeGreaterThan(1000);
    expect(allowed).toBeLessThan(17_000);
  });

  it.each([
    {},
    { type: 'c' },
    { type: 'char', major: 4096 },
    { type: 'char', minor: -1 },
    { type: 'char', major: '1' },
    { type: 'char', access: '' },
    { type: 'char', access: 'rwx' },
    { type: 'char', access: 'rr' },
    { type: 'char', allow: true },
  ])('is not made of %j', (rule) => {
    expect(() => readDeviceRule(rule, 'rule')).toThrow(OptionError);
  });
});
