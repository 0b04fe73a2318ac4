/** Signals by name or number (signal(7)). */

import { constants } from 'node:os';
import { OptionError } from '../errors.js';

const byName = new Map<string, number>(Object.entries(constants.signals));
const lastSignal = 64;

/**
 * The number of a signal given as `'SIGTERM'`, `'TERM'` or 15.
 * @throws OptionError for one that does not exist
 */
export function signalNumber(signal: unknown, option = 'signal'): number {
  if (typeof signal === 'number' && Number.isInteger(signal) && signal >= 1 && signal <= lastSignal) return signal;
  const name = typeof signal === 'string' ? signal.toUpperCase() : '';
  const number = byName.get(name) ?? byName.get(`SIG${name}`);
  if (number === undefined) throw new OptionError(option, "a signal such as 'SIGTERM' or 15", signal);
  return number;
}
