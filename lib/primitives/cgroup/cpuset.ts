/**
 * Lists of processors as the kernel writes them: `0-3,5`. Parsed strictly and within bounds, as what comes in may be
 * hostile (`0-9999999999` must not make a list of that length).
 */

import { OptionError } from '../../errors.js';

/** NR_CPUS is at most 8192 on every architecture (x86 MAXSMP). */
const maxProcessors = 8192;
const maxText = 4096;

interface Span {
  readonly first: number;
  readonly last: number;
}

/**
 * The list in canonical form: ascending, without overlaps (`'5,0-2,3'` becomes `'0-3,5'`).
 * @throws OptionError naming `option`
 */
export function parseCpuset(text: unknown, option = 'limits.cpuset'): string {
  const spans = typeof text === 'string' ? parseSpans(text) : undefined;
  if (!spans) {
    throw new OptionError(option, `a list of processors such as '0-3,5', each below ${maxProcessors}`, text);
  }
  return spans.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}

/** The list as sched_setaffinity(2) takes it: bit _n_ is processor _n_, in whole 64-bit words. */
export function processorMask(list: string): Buffer {
  const spans = parseSpans(list) ?? [];
  const words = Math.ceil(((spans.at(-1)?.last ?? 0) + 1) / 64);
  const mask = Buffer.alloc(words * 8);
  for (const { first, last } of spans) {
    for (let cpu = first; cpu <= last; cpu++) mask[cpu >> 3] = (mask[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  }
  return mask;
}

/** The part of `wanted` that `available` lacks, in canonical form; empty when it lacks nothing or a list is unreadable. */
export function missingProcessors(wanted: string, available: string): string {
  const has = parseSpans(available);
  if (!has) return '';
  const missing: string[] = [];
  for (const { first, last } of parseSpans(wanted) ?? []) {
    for (let cpu = first; cpu <= last; cpu++) {
      if (!has.some((span) => cpu >= span.first && cpu <= span.last)) missing.push(`${cpu}`);
    }
  }
  return missing.length > 0 ? parseCpuset(missing.join(',')) : '';
}

/** The spans of a list, sorted and merged; undefined when it is none. */
function parseSpans(text: string): Span[] | undefined {
  if (text.length > maxText) return undefined;
  const spans: Span[] = [];
  for (const item of text.split(',')) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(item);
    if (!match) return undefined;
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (first > last || last >= maxProcessors) return undefined;
    spans.push({ first, last });
  }
  spans.sort((a, b) => a.first - b.first);
  const merged: Span[] = [];
  for (const span of spans) {
    const previous = merged.at(-1);
    if (previous && span.first <= previous.last + 1) {
      merged[merged.length - 1] = { first: previous.first, last: Math.max(previous.last, span.last) };
    } else {
      merged.push(span);
    }
  }
  return merged;
}
