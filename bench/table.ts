/** What a bench table is, and how one is printed. */

import { type Contender, type Ratio, ratioOfMedians, type Summary, summarize, takeTurns } from './measure.js';

export interface Options {
  /** Rounds asked for on the command line. */
  readonly rounds: number | undefined;
  /** Bytes of resident memory beyond what Node itself has. */
  readonly ballast: number;
}

/** One table of the bench. It runs in a process of its own, once for each ballast. */
export interface Table {
  readonly name: string;
  readonly ballasts: readonly number[];
  measure(options: Options): Promise<Section[]>;
}

export interface Row {
  readonly name: string;
  readonly summary?: Summary;
  /** Against the section's baseline. */
  readonly ratio?: Ratio;
  /** Why there are no numbers. */
  readonly absent?: string;
}

export interface Section {
  readonly title: string;
  readonly unit: string;
  readonly rounds: number;
  readonly rows: readonly Row[];
  readonly notes: readonly string[];
}

export interface Comparison {
  readonly title: string;
  readonly unit: string;
  readonly rounds: number;
  readonly warmUp?: number;
  /** The first is what the others are compared with. */
  readonly contenders: readonly (Contender | { readonly name: string; readonly absent: string })[];
  readonly notes?: readonly string[];
}

/** Runs a comparison and makes a section of it. */
export async function compare({ title, unit, rounds, warmUp, contenders, notes = [] }: Comparison): Promise<Section> {
  const present = contenders.filter((contender) => 'sample' in contender);
  const samples = await takeTurns(present, { rounds, warmUp: warmUp ?? Math.max(1, Math.ceil(rounds / 10)) });
  const baseline = samples[0] ?? [];
  const rows = contenders.map((contender): Row => {
    if (!('sample' in contender)) return contender;
    const own = samples[present.indexOf(contender)] ?? [];
    const summary = summarize(own);
    return own === baseline
      ? { name: contender.name, summary }
      : { name: contender.name, summary, ratio: ratioOfMedians(own, baseline) };
  });
  return { title, unit, rounds, rows, notes };
}

/** `50 MB resident`, for a title. */
export function resident(): string {
  return `${Math.round(process.memoryUsage.rss() / 1e6)} MB resident`;
}

export function formatSection({ title, unit, rounds, rows, notes }: Section): string {
  const header = ['', `median ${unit}`, 'p95', 'p99', 'ratio', '95 of 100'];
  const cells = rows.map(({ name, summary, ratio, absent }) => [
    name,
    ...(summary
      ? [summary.median, summary.p95, summary.p99].map(formatNumber)
      : [absent === undefined ? '' : 'absent']),
    ratio ? `${ratio.value.toFixed(2)} ×` : '',
    ratio ? `${ratio.low.toFixed(2)} to ${ratio.high.toFixed(2)}` : '',
  ]);
  const widths = header.map((text, column) =>
    Math.max(...[header, ...cells].map((row) => (row[column] ?? text).length)),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ')
      .trimEnd();
  const heading = `${title} (${rounds} rounds)`;
  const reasons = rows.flatMap(({ name, absent }) => (absent === undefined ? [] : [`${name} is absent: ${absent}`]));
  const lines = cells.length === 0 ? [] : [line(header), ...cells.map(line)];
  return [heading, ...lines, ...[...reasons, ...notes].map((note) => `  ${note}`), ''].join('\n');
}

function formatNumber(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(3);
}
