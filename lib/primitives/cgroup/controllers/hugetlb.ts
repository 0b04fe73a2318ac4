/** The hugetlb controller: bytes in huge pages, for each size of page. */

import { copyObject, defineSchema, optionName, readObject } from '../../../container/settings/schema.js';
import { OptionError } from '../../../errors.js';
import type { Size } from '../../../units.js';
import { known, limitOf, numberOf } from '../text.js';
import { type ControllerKind, type FileTexts, Writes } from './controller.js';
import { readLimit } from './memory.js';

/** Keys are sizes of pages as the kernel names them: `'2MB'`, `'1GB'`. */
export interface HugetlbSettings {
  /** What may be used: beyond it a page fault kills (SIGBUS). */
  readonly max?: Readonly<Record<string, Size | 'max'>>;
  /** What may be reserved: beyond it mmap(2) fails (Linux 5.7). */
  readonly reservedMax?: Readonly<Record<string, Size | 'max'>>;
}

/** {@link HugetlbSettings}, checked: sizes are bytes. */
export interface HugetlbValues extends HugetlbSettings {
  readonly max?: Readonly<Record<string, number | 'max'>>;
  readonly reservedMax?: Readonly<Record<string, number | 'max'>>;
}

const schema = defineSchema(['max', 'reservedMax']);
const pageSize = /^[1-9]\d{0,4}(KB|MB|GB)$/;
const suffixes = {
  1: { max: 'limit_in_bytes', reservedMax: 'rsvd.limit_in_bytes' },
  2: { max: 'max', reservedMax: 'rsvd.max' },
} as const;

function readSizes(value: unknown, option: string): Record<string, number | 'max'> {
  const sizes = Object.entries(copyObject(value, option)).map(([page, size]) => {
    const name = optionName(option, page);
    if (!pageSize.test(page)) throw new OptionError(name, "a size of pages such as '2MB'", page);
    const limit = readLimit(size, name);
    if (limit === undefined) throw new OptionError(name, "a size, or 'max'", size);
    return [page, limit] as const;
  });
  return Object.fromEntries(sizes);
}

/** The controller, for {@link CgroupV2.hugetlb}. */
export const hugetlb: ControllerKind<HugetlbSettings, HugetlbValues> = {
  name: 'hugetlb',
  parse(settings, option) {
    const { max, reservedMax } = readObject(settings, option, schema);
    return known<HugetlbValues>({
      max: max === undefined ? undefined : readSizes(max, `${option}.max`),
      reservedMax: reservedMax === undefined ? undefined : readSizes(reservedMax, `${option}.reservedMax`),
    });
  },
  writes(values, version) {
    const writes = new Writes('hugetlb');
    for (const key of ['reservedMax', 'max'] as const) {
      for (const [page, limit] of Object.entries(values[key] ?? {})) {
        writes.add(`hugetlb.${page}.${suffixes[version][key]}`, version === 1 && limit === 'max' ? -1 : limit);
      }
    }
    return writes.list;
  },
  onlyUnified: [],
  files: (version, present) =>
    present.filter((file) =>
      Object.values(suffixes[version]).some(
        (suffix) => /^hugetlb\.[^.]+\./.exec(file)?.[0] === file.slice(0, -suffix.length),
      ),
    ),
  read(texts, version) {
    return { max: limitsIn(texts, suffixes[version].max), reservedMax: limitsIn(texts, suffixes[version].reservedMax) };
  },
};

/** v1 prints a number of whole pages for no limit, which is more than any number is exact for. */
function limitsIn(texts: FileTexts, suffix: string): Record<string, number | 'max'> {
  return Object.fromEntries(
    [...texts].flatMap(([file, text]) => {
      const [, page, rest] = /^hugetlb\.([^.]+)\.(.+)$/.exec(file) ?? [];
      const limit = limitOf(text);
      if (page === undefined || rest !== suffix || limit === undefined) return [];
      return [[page, limit === Number.MAX_SAFE_INTEGER ? 'max' : limit] as const];
    }),
  );
}

/** Bytes in use, by size of page. */
export function hugetlbStats(unified: FileTexts, v1: FileTexts): Record<string, number> {
  return Object.fromEntries(
    [...unified, ...v1].flatMap(([file, text]) => {
      const page = /^hugetlb\.([^.]+)\.(?:current|usage_in_bytes)$/.exec(file)?.[1];
      const bytes = numberOf(text);
      return page === undefined || bytes === undefined ? [] : [[page, bytes] as const];
    }),
  );
}
