/** What the tests of options have in common: the error of a refused option, checked for what every one of them owes. */

import { expect } from 'vitest';
import { OptionError } from '../../../../lib/errors.js';

/** Runs what must be refused and returns its OptionError, which names the option and what came. */
export function refusal(act: () => unknown, option: string): OptionError {
  let error: unknown;
  try {
    const result = act();
    expect.fail(`${option} was accepted: ${JSON.stringify(result)}`);
  } catch (caught) {
    error = caught;
  }
  if (!(error instanceof OptionError)) throw error;
  expect(error.option).toBe(option);
  expect(error.code).toBe('ERR_OPTION');
  expect(error.message).toContain(`option ${option}: expected `);
  expect(error.message).toContain(error.received);
  return error;
}

/** The value as it stands in the title of a test. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'object' && value !== null) return JSON.stringify(value).slice(0, 60);
  return Object.is(value, -0) ? '-0' : String(value);
}
