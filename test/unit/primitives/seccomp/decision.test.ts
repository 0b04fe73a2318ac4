import { describe, expect, it } from 'vitest';
import { readDecision } from '../../../../lib/primitives/seccomp/decision.js';

describe('a decision', () => {
  it('goes on, fails, returns a value, or hands a descriptor over', () => {
    expect(readDecision('continue')).toEqual({ kind: 'continue' });
    expect(readDecision({ errno: 'EPERM' })).toEqual({ kind: 'errno', errno: 1 });
    expect(readDecision({ errno: 4095 })).toEqual({ kind: 'errno', errno: 4095 });
    expect(readDecision({ value: 0 })).toEqual({ kind: 'value', value: 0n });
    expect(readDecision({ value: 2n ** 63n - 1n })).toEqual({ kind: 'value', value: 2n ** 63n - 1n });
    expect(readDecision({ value: -4096 })).toEqual({ kind: 'value', value: -4096n });
    const fd = { kind: 'fd', source: 3, number: 3, at: -1, closeOnExec: true, close: false };
    expect(readDecision({ fd: 3 })).toEqual(fd);
    expect(readDecision({ fd: 3, at: 0, closeOnExec: false, close: true })).toEqual({
      ...fd,
      at: 0,
      closeOnExec: false,
      close: true,
    });
    const handle = { fd: 9, close: () => {} };
    expect(readDecision({ fd: handle })).toMatchObject({ source: handle, number: 9 });
  });

  it.each([
    ['decision', undefined],
    ['decision', null],
    ['decision', 'allow'],
    ['decision', true],
    ['decision', {}],
    ['decision', { errno: 1, value: 1 }],
    ['decision', { value: 1, at: 3 }],
    ['decision', { fd: 3, cloexec: true }],
    ['decision.errno', { errno: 0 }],
    ['decision.errno', { errno: -1 }],
    ['decision.errno', { errno: 4096 }],
    ['decision.errno', { errno: 'EPREM' }],
    ['decision.errno', { errno: 'constructor' }],
    ['decision.value', { value: -1 }],
    ['decision.value', { value: -4095n }],
    ['decision.value', { value: 2n ** 63n }],
    ['decision.value', { value: 0.5 }],
    ['decision.value', { value: '1' }],
    ['decision.fd', { fd: -1 }],
    ['decision.fd', { fd: '3' }],
    ['decision.fd', { fd: {} }],
    ['decision.fd', { fd: null }],
    ['decision.at', { fd: 3, at: -1 }],
    ['decision.closeOnExec', { fd: 3, closeOnExec: 1 }],
    ['decision.close', { fd: 3, close: 'yes' }],
  ])('%s is not that of %o', (option, value) => {
    expect(() => readDecision(value)).toThrow(expect.objectContaining({ name: 'OptionError', option }));
  });
});
