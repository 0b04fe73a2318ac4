/**
 * The formats of cgroup files: one number, `key value` lines, `device key=value …` lines. What is missing, unknown or
 * malformed counts for nothing, as the text may be of a newer kernel, and names in it may be anybody's.
 */

/** The longest text that is looked at. io.stat has about 100 bytes a device, memory.stat 2 KiB in all. */
const maxText = 128 * 1024;

/** The words of every line. */
export function linesOf(text: string | undefined): string[][] {
  return bounded(text ?? '')
    .split('\n')
    .map((line) => line.split(' '));
}

/** `key value` lines. The first of equal keys counts. */
export function tableOf(text: string | undefined): ReadonlyMap<string, number> {
  const table = new Map<string, number>();
  for (const line of bounded(text ?? '').split('\n')) {
    const space = line.indexOf(' ');
    const number = space > 0 ? count(line.slice(space + 1)) : undefined;
    const key = line.slice(0, space);
    if (number !== undefined && !table.has(key)) table.set(key, number);
  }
  return table;
}

/** A file of one number. */
export function numberOf(text: string | undefined): number | undefined {
  return count(text?.replace(/\n$/, ''));
}

/** A file of one number or the word `max`, the kernel's for no limit. */
export function limitOf(text: string | undefined): number | 'max' | undefined {
  return text?.trim() === 'max' ? 'max' : numberOf(text);
}

/** `first key=value key=value` lines; values that are neither counts nor `max` are left out. */
export function nestedOf(text: string | undefined): ReadonlyMap<string, ReadonlyMap<string, number | 'max'>> {
  const table = new Map<string, Map<string, number | 'max'>>();
  for (const [first, ...fields] of linesOf(text)) {
    if (!first || table.has(first)) continue;
    const values = new Map<string, number | 'max'>();
    for (const field of fields) {
      const at = field.indexOf('=');
      const value = limitOf(field.slice(at + 1));
      if (at > 0 && value !== undefined) values.set(field.slice(0, at), value);
    }
    table.set(first, values);
  }
  return table;
}

/** A count as the kernel prints it: an unsigned 64-bit decimal, held to what a number is exact for. */
export function count(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,20}$/.test(text)) return undefined;
  return Math.min(Number(text), Number.MAX_SAFE_INTEGER);
}

export function scaled(value: number | undefined, divisor: number): number | undefined {
  return value === undefined ? undefined : value / divisor;
}

/** `major:minor` */
export function isDevice(text: string | undefined): text is string {
  return text !== undefined && /^\d{1,10}:\d{1,10}$/.test(text);
}

/** The whole lines of the first part of a text that is too long: a number cut in two would be another number. */
function bounded(text: string): string {
  return text.length <= maxText ? text : text.slice(0, text.lastIndexOf('\n', maxText) + 1);
}

/** The object without the properties that are undefined. */
export function known<T extends object>(values: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T;
}
