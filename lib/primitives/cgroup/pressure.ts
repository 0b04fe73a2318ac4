/** Pressure: for how long work has stood still for want of a resource (PSI, Documentation/accounting/psi.rst). */

import { linesOf } from './text.js';

export const pressureResources = ['cpu', 'io', 'memory', 'irq'] as const;
export type PressureResource = (typeof pressureResources)[number];

/** Shares in percent over the last 10, 60 and 300 seconds, and the time in all, in milliseconds. */
export interface PressureLine {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly totalMs: number;
}

/** `some`: at least one task waited; `full`: all did. What the kernel does not have is absent. */
export interface Pressure {
  readonly some?: PressureLine;
  readonly full?: PressureLine;
}

/** `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` */
export function parsePressure(text: string | undefined): Pressure {
  const found: { some?: PressureLine; full?: PressureLine } = {};
  for (const [kind, ...fields] of linesOf(text)) {
    if ((kind !== 'some' && kind !== 'full') || found[kind]) continue;
    const values = new Map(
      fields.map((field) => [field.slice(0, field.indexOf('=')), field.slice(field.indexOf('=') + 1)] as const),
    );
    const number = (key: string): number => {
      const word = values.get(key);
      return word !== undefined && /^\d{1,20}(\.\d{1,6})?$/.test(word)
        ? Math.min(Number(word), Number.MAX_SAFE_INTEGER)
        : 0;
    };
    found[kind] = {
      avg10: number('avg10'),
      avg60: number('avg60'),
      avg300: number('avg300'),
      totalMs: number('total') / 1e3,
    };
  }
  return found;
}
